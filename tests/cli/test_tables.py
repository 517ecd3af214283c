"""Tables: what fits a terminal, what is hidden, and how values look."""

import io
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings, strategies as st

from marketplace_async.cli import styles, tables
from marketplace_async.cli.tables import Table, record_table

COLUMNS = ("account_sid", "unique_name", "sid", "account_friendly_name", "friendly_name")
AC, XE = "AC" + "1" * 32, "XE" + "2" * 32


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def record(name: str = "spam", friendly_name: str = "Shop") -> Mapping[str, str]:
    names = {"account_friendly_name": friendly_name, "friendly_name": "Spam Score"}
    return {"account_sid": AC, "unique_name": name, "sid": XE, **names}


@pytest.mark.parametrize("columns", [40, 80])
def test_a_problem_is_shown_however_long_it_is(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", str(columns))
    table = Table(["line", "account_sid", "problem"])
    text = table.chunk([{"line": 3, "account_sid": "", "problem": "word " * 30 + "end"}])
    assert not table.hidden
    assert text.split().count("word") == 30
    assert max(map(len, text.splitlines())) <= columns


@given(
    room=st.integers(30, 250),
    name=st.text("ab-", min_size=1, max_size=64),
    friendly_name=st.text("ab 名", min_size=0, max_size=80),
)
@settings(max_examples=200, deadline=None)
def test_sids_and_names_are_always_shown_and_the_rest_is_shown_or_named(
    room: int, name: str, friendly_name: str
) -> None:
    from rich.cells import cell_len

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "_room", lambda: room)
        table = Table(COLUMNS)
        lines = table.chunk([record(name, friendly_name)]).splitlines()
    text = "\n".join(lines)
    assert AC in text
    assert XE in text
    assert name.strip() == "" or name[:8] in text
    assert not {"account_sid", "unique_name", "sid"} & set(table.hidden)
    shown = " ".join(lines[: len(lines) // 2 + 1]).split()
    assert all(column in shown for column in COLUMNS if column not in table.hidden) or room < 80
    # Only a SID may be wider than the terminal.
    assert all(cell_len(line) <= max(room, 36) for line in lines)


def test_a_table_before_its_first_record_hides_nothing() -> None:
    assert Table(COLUMNS).hidden == ()


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("sid", XE, "2"),
        ("account_sid", AC, "2"),
        ("status", "active", "32"),
        ("status", "suspended", "33"),
        ("status", "closed", "31"),
        ("enabled", "true", "32"),
        ("enabled", "false", "33"),
        ("friendly_name", "active", ""),
    ],
)
def test_states_have_colors_and_sids_are_dim(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, code: str
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", Terminal())
    styled = f"\x1b[{code}m{text}\x1b[0m" if code else text
    assert styles.painted(text, styles.style_of(name, text)) == styled
    shown = record_table({"other": 1, name: text})
    assert shown.splitlines()[1].endswith(styled)


def test_without_a_terminal_or_with_no_color_nothing_is_colored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert "\x1b" not in Table(COLUMNS).chunk([record()])
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert "\x1b[32m" not in record_table({"status": "active"})


def test_times_have_a_zone() -> None:
    east = timezone(timedelta(hours=9))
    value = {"sid": XE, "date_created": datetime(2026, 11, 24, 3, 4, 5, tzinfo=east)}
    assert "  2026-11-23 18:04 UTC" in Table(("sid", "date_created")).chunk([value])
    assert record_table(value).endswith("date_created  2026-11-23 18:04:05 UTC\n")
