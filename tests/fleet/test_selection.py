"""The accounts that an entry of a desired state selects, and the cost of the selection."""

import re
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any
from unicodedata import normalize

import pytest
from hypothesis import example, given, settings, strategies as st
from support.machine import SLOWDOWN

from marketplace_async import fleet
from marketplace_async.fleet.plan_report import Unmatched
from marketplace_async.fleet.selection import Pattern

SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
ONE, TWO = "AC" + "1" * 32, "AC" + "2" * 32


def add_on(**changes: Any) -> dict[str, Any]:
    return {
        "unique_name": "spam",
        "available_add_on_sid": SPAM_SCORE,
        "accept_terms_of_service": True,
        "accounts": "all",
        **changes,
    }


def desired(*add_ons: dict[str, Any]) -> fleet.Desired:
    return fleet.from_document({"add_ons": list(add_ons)})


@pytest.mark.parametrize(
    ("accounts", "matched"),
    [
        ("all", [True, True, True]),
        ({"friendly_names": ["EU *"]}, [True, False, False]),
        ({"friendly_names": ["eu *"]}, [False, False, False]),
        ({"friendly_names": ["?S *", "EU *"]}, [True, True, False]),
        ({"sids": [TWO]}, [False, True, False]),
        ({"sids": [TWO.replace("AC", "AC")], "friendly_names": ["EU *"]}, [True, True, False]),
        ({"except_friendly_names": ["EU *"]}, [False, True, True]),
        ({"except_sids": [TWO]}, [True, False, True]),
        ({"friendly_names": ["*"], "except_friendly_names": ["US *"]}, [True, False, True]),
    ],
)
def test_accounts_are_selected_by_name_pattern_and_sid(accounts: Any, matched: list[bool]) -> None:
    read = desired(add_on(accounts=accounts))
    three = [(ONE, "EU west"), (TWO, "US east"), ("AC" + "3" * 32, None)]
    assert [bool(read.wanted(*account)) for account in three] == matched


def selects(accounts: Any, name: str | None) -> bool:
    return bool(desired(add_on(accounts=accounts)).wanted(ONE, name))


@pytest.mark.parametrize(
    ("pattern", "name", "selected"),
    [
        ("Team [A]", "Team [A]", True),
        ("Team [A]", "Team A", False),
        ("Team [!A]*", "Team [!A] 1", True),
        ("Team [!A]*", "Team B", False),
        ("a.b", "axb", False),
        ("a|b", "a", False),
        (r"a\*", r"a\b", True),
        ("*", "two\nlines", True),
        ("?", "\n", True),
        ("Caf\u00e9*", "Cafe\u0301 Oslo", True),
        ("Cafe\u0301", "Caf\u00e9", True),
        ("Caf?", "Cafe\u0301", True),
        ("caf\u00e9", "CAF\u00c9", False),
        ("EU *", "EU ", True),
        ("EU *", "EU", False),
        ("*a*a*", "aa", True),
        ("*a*a*", "a", False),
        ("a*a", "a", False),
        ("?*?", "a", False),
        ("**", None, True),
        ("?", None, False),
    ],
)
def test_a_pattern_has_two_wildcards_and_nothing_else(
    pattern: str, name: str | None, selected: bool
) -> None:
    assert selects({"friendly_names": [pattern]}, name) is selected
    assert selects({"except_friendly_names": [pattern]}, name) is not selected


def test_sids_are_compared_without_regard_to_case() -> None:
    sid = "AC" + "aB" * 16
    read = desired(add_on(accounts={"sids": [sid]}))
    assert read.wanted("AC" + "Ab" * 16, None)
    assert not read.wanted(ONE, None)


SMALL = st.text("ab*?", min_size=1, max_size=8)
NAMES = st.text("ab\u0301", max_size=10)


@settings(max_examples=500, deadline=None)
@given(st.lists(SMALL, min_size=1, max_size=6), NAMES)
@example(["*a*ab"], "aab")
@example(["a*?b*"], "aab")
def test_the_index_selects_what_each_pattern_alone_matches(patterns: list[str], name: str) -> None:
    def matches(pattern: str) -> bool:
        parts = {"*": ".*", "?": "."}
        return bool(re.fullmatch("".join(parts.get(c, c) for c in pattern), normal, re.DOTALL))

    normal = normalize("NFC", name)
    add_ons = [
        add_on(unique_name=str(number), accounts={"friendly_names": [pattern]})
        for number, pattern in enumerate(patterns)
    ]
    expected = [str(number) for number, pattern in enumerate(patterns) if matches(pattern)]
    assert [one.unique_name for one in desired(*add_ons).wanted(ONE, name)] == expected


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("*a" * 20 + "*b", "a" * 1_000_000),
        ("*" * 256, "a" * 1_000_000),
        ("*" * 255 + "x", "a" * 1_000_000),
        ("?" * 256, "a" * 1_000_000),
        ("*?" * 100 + "b", "a" * 1_000_000),
        ("*" + "a" * 250 + "b", "a" * 1_000_000),
        ("*" + "?" * 250 + "b*", "a" * 10_000),
    ],
    ids=lambda value: value[:8],
)
def test_a_pattern_matches_in_time_that_is_linear_in_the_name(pattern: str, name: str) -> None:
    start = time.process_time()
    Pattern(pattern).matches(name)
    assert time.process_time() - start < SLOWDOWN


# -- selectors that match no account


def unmatched(read: fleet.Desired, *targets: tuple[str, str | None]) -> tuple[Any, Any]:
    found = Unmatched(read)
    for target in targets:
        found.add(fleet.Target(*target))
    return found.messages(), [(one.account_sid, one.message) for one in found.failures()]


def test_a_selector_or_a_pattern_that_matches_no_account_is_reported() -> None:
    missing = "AC" + "e" * 32
    read = desired(
        add_on(accounts={"friendly_names": ["Shop *", "Stroe *"], "except_sids": [missing]}),
        add_on(
            unique_name="b",
            accounts={"sids": [ONE, missing]},
            overrides=[
                {"accounts": {"friendly_names": ["Shop 2"]}, "extensions": {}},
                {"accounts": {"friendly_names": ["Shop 1"]}, "extensions": {}},
            ],
        ),
        add_on(
            unique_name="c",
            accounts={"friendly_names": ["Nobody"]},
            overrides=[{"accounts": "all", "extensions": {}}],
        ),
        add_on(unique_name="d", accounts={"except_friendly_names": ["Shop *", "Test *"]}),
    )
    messages, failures = unmatched(read, (ONE, "Shop 1"), (TWO, "Shop 2"))
    assert messages == (
        'add_ons[1].overrides[0] ("b") matches no account of add_ons[1]',
        'add_ons[2] ("c") matches no account',
        'add_ons[3] ("d") matches no account',
        """add_ons[0].accounts.friendly_names[1] ("spam"): 'Stroe *' matches no account""",
        f"""add_ons[0].accounts.except_sids[0] ("spam"): '{missing}' matches no account""",
    )
    assert failures == [
        (missing, "add_ons[1].accounts: the account is not in the list of accounts")
    ]


# -- cost


def by_sid(number: int) -> dict[str, Any]:
    return {"sids": [f"AC{number:032x}"]}


def by_name(number: int) -> dict[str, Any]:
    return {"friendly_names": [f"Shop {number} of {number}"]}


def by_start(number: int) -> dict[str, Any]:
    return {"friendly_names": [f"Shop {number} *"]}


def by_end(number: int) -> dict[str, Any]:
    return {"friendly_names": [f"*of {number}"]}


def by_part(number: int) -> dict[str, Any]:
    return {"friendly_names": [f"*p {number} o?*"]}


def lines_executed(call: Callable[[], object]) -> int:
    """Count the lines of this package that a call executes. Unlike time, this never varies."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    def enter(frame: FrameType, event: str, _: object) -> Any:
        return trace if "marketplace_async" in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("accounts", [by_sid, by_name, by_start, by_end, by_part])
@pytest.mark.parametrize("many", ["overrides", "add_ons"])
def test_the_cost_of_selection_is_in_proportion_to_the_number_of_accounts(
    accounts: Callable[[int], dict[str, Any]], many: str
) -> None:
    def select(size: int) -> None:
        numbers = range(1, size + 1)
        tables = [{"accounts": accounts(n), "configuration": {"n": n}} for n in numbers]
        if many == "overrides":
            read = desired(add_on(overrides=tables))
        else:
            read = desired(*(add_on(**table) for table in tables))
        found = Unmatched(read)
        for number in numbers:
            sid, name = f"AC{number:032x}", f"Shop {number} of {number}"
            (wanted,) = read.wanted(sid, name)
            assert wanted.configuration == {"n": number}
            read.secret_values()
            found.add(fleet.Target(sid, name))
        assert found.messages() == ()
        assert found.failures() == []

    small, large = lines_executed(lambda: select(60)), lines_executed(lambda: select(600))
    assert large <= 12 * small


def test_ten_times_the_accounts_and_overrides_take_about_ten_times_as_long() -> None:
    def seconds(size: int) -> float:
        overrides = "".join(
            f'[[add_ons.overrides]]\naccounts = {{ sids = ["AC{number:032x}"] }}\n'
            f'configuration = {{ api_token = "token-{number}" }}\n'
            for number in range(size)
        )
        text = (
            'secret = ["api_token"]\n[[add_ons]]\nunique_name = "a"\naccounts = "all"\n'
            f'available_add_on_sid = "{SPAM_SCORE}"\naccept_terms_of_service = true\n{overrides}'
        )
        start = time.process_time()
        read = fleet.parse(text)
        found = Unmatched(read)
        for number in range(size):
            sid = f"AC{number:032x}"
            read.wanted(sid, None)
            read.secret_values()
            found.add(fleet.Target(sid))
        return time.process_time() - start

    small = min(seconds(500) for _ in range(3))
    # Quadratic time would be a hundred times as much.
    assert seconds(5000) < 25 * small
