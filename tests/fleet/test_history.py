"""The audit log of `apply`, and the undo of a run."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, strategies as st
from support.fleet import PARENT, SPAM_SCORE, VOICEBASE, Fleet
from support.records import quick

from marketplace_async import fleet
from marketplace_async._core.masking import MASK
from marketplace_async.fleet import JobError
from marketplace_async.fleet._engine.entries import Write
from marketplace_async.fleet._engine.journal import Journal

CHANGED = f"""
[[add_ons]]
unique_name = "voicebase_transcription"
available_add_on_sid = "{VOICEBASE}"
accept_terms_of_service = true
accounts = {{ friendly_names = ["Shop 1", "Shop 2"] }}
configuration = {{ callback_url = "https://example.com/new" }}
extensions = {{ recording-dial = true }}

[[add_ons]]
unique_name = "spam-score"
available_add_on_sid = "{SPAM_SCORE}"
accept_terms_of_service = true
accounts = {{ friendly_names = ["Shop 1"] }}
"""


async def applied(shops: Fleet, desired: str, journal: Path) -> fleet.ApplyReport:
    state = fleet.parse(desired)
    return await fleet.apply(
        shops.source, state, journal=journal, approve=lambda _: True, credentials='profile "work"'
    )


async def test_the_journal_tells_who_changed_what_and_an_undo_puts_it_back(
    shops: Fleet, tmp_path: Path
) -> None:
    journal = tmp_path / "fleet.journal"
    first = await shops.state()
    report = await applied(shops, CHANGED, journal)
    assert report.writes == {"done": 5}
    writes = await asyncio.to_thread(fleet.read_journal, journal)
    assert len({one.run for one in writes}) == 1
    assert {one.credentials for one in writes} == {'profile "work"'}
    assert all("@" in one.user and one.outcome == "done" and one.ended for one in writes)
    assert {one.desired for one in writes} == {fleet.parse(CHANGED).digest()}
    updates = [one for one in writes if one.step.action == "update"]
    assert {one.friendly_name for one in updates} == {"Shop 1", "Shop 2"}
    assert updates[0].before == {"callback_url": "https://example.com"}
    assert updates[0].after == {"callback_url": "https://example.com/new"}

    undo = await asyncio.to_thread(fleet.undo_of, journal)
    assert (undo.changes, undo.variables) == (4, ())
    (installed,) = undo.not_undone
    assert "install spam-score: to undo it, run" in installed
    assert "marketplace-async installed delete XE" in installed
    assert undo.desired is not None
    assert (await applied(shops, undo.desired, journal)).writes == {"done": 4}
    state = await shops.state()
    assert state["Shop 1"].pop("spam-score")
    assert state == first

    again = await asyncio.to_thread(fleet.undo_of, journal)
    assert (again.changes, again.not_undone) == (4, ())
    of_first = await asyncio.to_thread(fleet.undo_of, journal, run=undo.run[:8])
    assert of_first == undo
    sid = updates[0].account_sid
    of_account = await asyncio.to_thread(fleet.read_journal, journal, account_sid=sid)
    assert {one.account_sid for one in of_account} == {sid}
    with pytest.raises(ValueError, match="the journal has no run 'x'"):
        await asyncio.to_thread(fleet.read_journal, journal, run="x")


async def test_an_undo_renames_back_together_with_all_that_the_run_changed(
    shops: Fleet, tmp_path: Path
) -> None:
    journal = tmp_path / "fleet.journal"
    first = await shops.state()
    renamed = f"""
[[add_ons]]
unique_name = "voicebase"
previous_names = ["voicebase_transcription"]
available_add_on_sid = "{VOICEBASE}"
accept_terms_of_service = true
accounts = {{ friendly_names = ["Shop 1", "Shop 2"] }}
configuration = {{ callback_url = "https://example.com" }}
extensions = {{ recording-dial = true }}

[[add_ons.overrides]]
accounts = {{ friendly_names = ["Shop 2"] }}
configuration = {{ callback_url = "https://example.com/new" }}
"""
    assert (await applied(shops, renamed, journal)).writes == {"done": 5}
    second = await shops.state()
    assert set(second["Shop 1"]) == {"voicebase"}
    undo = await asyncio.to_thread(fleet.undo_of, journal)
    assert (undo.changes, undo.not_undone) == (5, ())
    assert undo.desired is not None
    report = await applied(shops, undo.desired, journal)
    assert report.writes == {"done": 5}
    assert (report.plan.totals["rename"], report.plan.totals["install"]) == (2, 0)
    assert await shops.state() == first
    again = await asyncio.to_thread(fleet.undo_of, journal)
    assert (again.changes, again.not_undone) == (5, ())
    assert again.desired is not None
    await applied(shops, again.desired, journal)
    assert await shops.state() == second


async def test_another_journal_is_rejected(shops: Fleet, tmp_path: Path) -> None:
    await fleet.inventory(shops.source, tmp_path / "a.jsonl")
    with pytest.raises(JobError, match="is the journal of another job"):
        await asyncio.to_thread(fleet.read_journal, tmp_path / "a.jsonl.journal")
    with pytest.raises(FileNotFoundError):
        await asyncio.to_thread(fleet.read_journal, tmp_path / "missing")
    empty = tmp_path / "empty"
    sqlite3.connect(empty).close()
    with pytest.raises(JobError, match="is empty"):
        await asyncio.to_thread(fleet.read_journal, empty)


def journal_of(file: Path, *befores: dict[str, Any], outcome: Any = "done") -> Path:
    """Write the journal of a run that updated an Add-on on one account per configuration."""
    step = fleet.Step(
        action="update", unique_name="scan", available_add_on_sid=SPAM_SCORE, sid="XE1"
    )
    plans = [fleet.AccountPlan(f"AC{n:032x}", None, (step,)) for n in range(len(befores))]
    with Journal(file) as journal:
        journal.begin({"job": "apply"})
        journal.begin_run("1" * 32, None, "me@here", "digest")
        journal.begin_writes("1" * 32, plans)
        writes = {
            plan.account_sid: [Write(step.key, outcome, "XE1", before=before, after={})]
            for plan, before in zip(plans, befores, strict=True)
        }
        journal.end_writes("1" * 32, writes)
    return file


keys = st.text(max_size=4) | st.sampled_from(["env", "null", "literal", "remove", "a.b", "\x7f"])
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(["{account_sid}", "{{x}}", 'a\nb\t"\\', "\x7f\x1f"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=2),
    max_leaves=6,
)


@quick
@given(before=st.dictionaries(keys, values, max_size=3))
@example(before={"a": {"null": True}, "b": {"env": "X"}, "c": [{"remove": True}, None]})
def test_an_undo_contains_the_configuration_exactly_or_says_that_it_does_not(
    tmp_path_factory: pytest.TempPathFactory, before: dict[str, Any]
) -> None:
    undo = fleet.undo_of(journal_of(tmp_path_factory.mktemp("undo") / "journal", before))
    if undo.desired is None:
        assert "TOML has no null within a literal" in undo.not_undone[0]
        return
    ((wanted),) = fleet.parse(undo.desired).wanted("AC" + "0" * 32, None)
    assert wanted.configuration == before
    assert undo.not_undone == ()


def test_a_masked_secret_is_not_restored_but_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {"api_token": MASK, "limits": {"key": f"x{MASK}"}, "limit": 1}
    undo = fleet.undo_of(journal_of(tmp_path / "journal", before, before))
    sids = [f"AC{number:032x}" for number in range(2)]
    # The values of two accounts may differ.
    names = [f"UNDO_{key}_{sid.upper()}" for key in ("API_TOKEN", "LIMITS_KEY") for sid in sids]
    assert undo.variables == tuple(names)
    assert undo.desired is not None
    assert MASK not in undo.desired
    with pytest.raises(fleet.DesiredStateError, match=f"variable {names[0]} is not set"):
        fleet.parse(undo.desired)
    for name in names:
        monkeypatch.setenv(name, f"value of {name}")
    desired = fleet.parse(undo.desired)
    assert set(desired.secret) == {"api_token", "key"}
    (wanted,) = desired.wanted(sids[1], None)
    assert wanted.configuration == {
        "api_token": f"value of {names[1]}",
        "limits": {"key": f"value of {names[3]}"},
        "limit": 1,
    }


def test_a_secret_in_a_list_and_an_unknown_outcome_are_listed(tmp_path: Path) -> None:
    undo = fleet.undo_of(journal_of(tmp_path / "a", {"list": [MASK]}))
    assert undo.desired is None
    assert "a list or a literal contains a secret" in undo.not_undone[0]
    undo = fleet.undo_of(journal_of(tmp_path / "b", {}, outcome="unknown"))
    assert (undo.desired, undo.changes) == (None, 0)
    assert "its outcome is unknown; check the account" in undo.not_undone[0]


async def test_the_journal_has_no_secrets(shops: Fleet, tmp_path: Path) -> None:
    journal = tmp_path / "fleet.journal"
    report = await fleet.apply(shops.source, shops.desired, journal=journal, approve=lambda _: True)
    assert report.complete
    writes = await asyncio.to_thread(fleet.read_journal, journal)
    installed = [one for one in writes if one.step.unique_name == "transcription"]
    assert {one.after["api_token"] for one in installed if one.after} == {MASK}
    removed = [one for one in writes if one.step.action == "remove"]
    assert {str(one.before) for one in removed} == {"{'callback_url': 'https://example.com'}"}
    assert b"very-secret" not in await asyncio.to_thread(journal.read_bytes)
    undo = await asyncio.to_thread(fleet.undo_of, journal)
    assert any("installed create " + VOICEBASE in one for one in undo.not_undone)
    assert not any(PARENT in one and "voicebase" in one for one in undo.not_undone)
