"""The problems of a desired state: all at once, in plain words, with line and path."""

import pickle
import re
import time
import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from hypothesis import example, given, settings, strategies as st
from support.machine import SLOWDOWN

from marketplace_async import MarketplaceError, fleet
from marketplace_async.fleet import DesiredStateError
from marketplace_async.fleet.toml_text import MAX_DEPTH, MAX_SIZE, Lines, parse_toml

SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
ONE = "AC" + "1" * 32


def add_on(**changes: Any) -> dict[str, Any]:
    whole = {
        "unique_name": "spam",
        "available_add_on_sid": SPAM_SCORE,
        "accept_terms_of_service": True,
        "accounts": "all",
        **changes,
    }
    return {name: value for name, value in whole.items() if value is not None}


def problems(document: Any, environ: dict[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(DesiredStateError) as caught:
        fleet.from_document(document, environ or {})
    return caught.value.problems


KEYS = "friendly_names, sids, except_friendly_names, except_sids"


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({}, "add_ons is missing"),
        ({"addons": [add_on()]}, "addons: there is no such key; did you mean add_ons?"),
        ({"add_ons": []}, "add_ons: must not be empty"),
        (
            {"add_ons": add_on()},
            "add_ons: must be a list of tables, not a table: write [[add_ons]]",
        ),
        ({"add_ons": 5}, "add_ons: must be a list of tables, not a number"),
        ([add_on()], "must be a table, not a list"),
        (
            {"add_ons": [add_on()], "xyz": []},
            "xyz: there is no such key; the keys are add_ons, secret",
        ),
        (
            {"add_ons": [add_on(unique_name=5)]},
            "add_ons[0].unique_name: must be text, not a number",
        ),
        (
            {"add_ons": [add_on(unique_name=" ")]},
            "add_ons[0].unique_name ( ): must be text that is not blank, not ' '",
        ),
        (
            {"add_ons": [add_on(), add_on(accounts=None, acounts="all")]},
            "add_ons[1].acounts (spam): there is no such key; did you mean accounts?",
        ),
        ({"add_ons": [add_on(accounts=None)]}, "add_ons[0] (spam): accounts is missing"),
        (
            {"add_ons": [add_on(accounts="some")]},
            f"""add_ons[0].accounts (spam): must be "all" or a table with any of {KEYS}, """
            "not 'some'",
        ),
        (
            {"add_ons": [add_on(accounts={})]},
            f"add_ons[0].accounts (spam): must have at least one of {KEYS}",
        ),
        (
            {"add_ons": [add_on(accounts={"sids": [ONE, "AC1"]})]},
            "add_ons[0].accounts.sids[1] (spam): 'AC1' is not the SID of an account (AC and 32 hex "
            "digits)",
        ),
        (
            {"add_ons": [add_on(accounts={"sids": ONE})]},
            "add_ons[0].accounts.sids (spam): must be a list, not text",
        ),
        (
            {"add_ons": [add_on(accounts={"friendly_names": ["x" * 257]})]},
            "add_ons[0].accounts.friendly_names[0] (spam): must be a pattern of 1 to 256 "
            "characters, not 257 characters",
        ),
        (
            {"add_ons": [add_on(available_add_on_sid="XE" + "1" * 32)]},
            f"add_ons[0].available_add_on_sid (spam): 'XE{'1' * 32}' is not the SID of an "
            "available Add-on or listing (XB and 32 hex digits); it is the SID of an installed "
            "Add-on",
        ),
        (
            {"add_ons": [add_on(available_add_on_sid=None)]},
            'add_ons[0] (spam): available_add_on_sid is required unless state = "absent"',
        ),
        (
            {"add_ons": [add_on(accept_terms_of_service=None)]},
            "add_ons[0] (spam): accept_terms_of_service = true is required: an Add-on is installed "
            "only if its terms are accepted",
        ),
        (
            {"add_ons": [add_on(accept_terms_of_service=False)]},
            "add_ons[0].accept_terms_of_service (spam): must be true: an Add-on is installed only "
            "if its terms are accepted",
        ),
        (
            {"add_ons": [add_on(accept_terms_of_service="yes")]},
            "add_ons[0].accept_terms_of_service (spam): must be true or false, not text",
        ),
        (
            {"add_ons": [add_on(state="gone")]},
            """add_ons[0].state (spam): must be "present" or "absent", not 'gone'""",
        ),
        (
            {"add_ons": [add_on(state="absent", accept_terms_of_service=None, ignore=["a"])]},
            'add_ons[0].ignore (spam): is not allowed with state = "absent"',
        ),
        (
            {"add_ons": [add_on(configuration={"rate": float("inf")})]},
            "add_ons[0].configuration.rate (spam): JSON cannot hold inf",
        ),
        (
            {"add_ons": [add_on(configuration={"digits": 10**5000})]},
            "add_ons[0].configuration.digits (spam): the number has too many digits",
        ),
        (
            {"add_ons": [add_on(configuration={"a": {5: 1}})]},
            "add_ons[0].configuration.a (spam): keys must be text, not a number",
        ),
        (
            {"add_ons": [add_on(ignore=["a..b"])]},
            "add_ons[0].ignore[0] (spam): must be a path of keys such as limits.minutes, not "
            "'a..b'",
        ),
        (
            {"add_ons": [add_on(extensions={"voice incoming": "on"})]},
            """add_ons[0].extensions."voice incoming" (spam): must be true or false, not text""",
        ),
        (
            {"add_ons": [add_on(overrides=[{"configuration": {}}])]},
            "add_ons[0].overrides[0] (spam): accounts is missing",
        ),
        (
            {
                "add_ons": [
                    add_on(overrides=[{"accounts": "all", "state": "absent", "extensions": {}}])
                ]
            },
            'add_ons[0].overrides[0].extensions (spam): is not allowed with state = "absent"',
        ),
        (
            {"add_ons": [add_on(), add_on(accounts={"sids": [ONE]}), add_on()]},
            "add_ons[2] (spam): add_ons[0] also defines this unique name for all accounts",
        ),
        (
            {"add_ons": [add_on(configuration={"api_token": "x"})], "secret": ["api_tokn"]},
            "secret[0]: no configuration has the key 'api_tokn'; did you mean api_token?",
        ),
    ],
)
def test_a_problem_is_told_with_its_path_and_in_words(document: Any, problem: str) -> None:
    assert problems(document) == (problem,)


def test_all_problems_are_reported_at_once_in_the_order_of_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(
        f"""\
secret = ["api_tokn"]

[[add_ons]]
unique_name = "spam"
available_add_on_sid = "{SPAM_SCORE}"
accept_terms_of_service = true
acounts = "all"

[[add_ons]]
unique_name = "transcription"
state = "abent"
accounts = {{ friendly_names = [
    "x",
    5,
] }}

[add_ons.configuration]
api_token = {{ env = "X" }}
when = 2020-01-01

[[add_ons.overrides]]
accounts = "al"
configuration = {{ gone = {{ remove = true }} }}
[add_ons.overrides.extensions]
"voice.incoming" = "on"
"""
    )
    with pytest.raises(DesiredStateError) as caught:
        fleet.load(file, {})
    error = caught.value
    places = [problem.split(" (")[0] for problem in error.problems]
    assert places == [
        "line 1: secret[0]: no configuration has the key 'api_tokn'; did you mean api_token?",
        "line 7: add_ons[0].acounts",
        "line 11: add_ons[1].state",
        "line 14: add_ons[1].accounts.friendly_names[1]",
        "line 18: add_ons[1].configuration.api_token",
        "line 19: add_ons[1].configuration.when",
        "line 22: add_ons[1].overrides[0].accounts",
        "line 23: add_ons[1].overrides[0].configuration.gone",
        'line 25: add_ons[1].overrides[0].extensions."voice.incoming"',
    ]
    assert all("(spam)" in one or "(transcription)" in one for one in error.problems[1:])
    assert str(error) == "\n  ".join([f"{file}: 9 problems", *error.problems])
    assert isinstance(error, ValueError)
    assert isinstance(error, MarketplaceError)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.problems, copy.file) == (str(error), error.problems, str(file))


def test_a_control_character_in_a_name_does_not_reach_the_terminal() -> None:
    with pytest.raises(DesiredStateError) as caught:
        fleet.from_document({"add_ons": [add_on(unique_name="a\x1b[2J\nb", state=1)]})
    assert str(caught.value).startswith("add_ons[0].state (a\\x1b[2J\\nb): ")


def test_what_is_not_toml_is_reported_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text("secret = []\n[[add_ons]\n")
    with pytest.raises(DesiredStateError, match=r"fleet\.toml: not TOML: .*line 2"):
        fleet.load(file)
    file.write_bytes(b"\xff")
    with pytest.raises(DesiredStateError, match=r"fleet\.toml: not UTF-8: .*; save .* as UTF-8"):
        fleet.load(file)
    with pytest.raises(FileNotFoundError):
        fleet.load(tmp_path / "nowhere.toml")


def test_a_byte_order_mark_and_crlf_are_read(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    text = f'[[add_ons]]\nunique_name = "a"\naccounts = {{ sids = ["{ONE}"] }}\nstate = "absent"\n'
    file.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    (wanted,) = fleet.load(file).wanted(ONE, None)
    assert wanted.state == "absent"
    file.write_bytes(
        b"\xef\xbb\xbf" + text.replace("absent", "gone").replace("\n", "\r\n").encode()
    )
    with pytest.raises(DesiredStateError, match="line 4: "):
        fleet.load(file)


VALID = f"""\
secret = ["api_token"]
[[add_ons]]
unique_name = "transcription"
available_add_on_sid = "{SPAM_SCORE}"
accept_terms_of_service = true
accounts = {{ except_friendly_names = ["Test *"], sids = ["{ONE}"] }}
ignore = ["a.b"]
[add_ons.configuration]
callback_url = "https://example.com/{{account_sid}}"
api_token = {{ env = "TOKEN" }}
limits = {{ minutes = 5, files = [1, 2.5], none = {{ null = true }} }}
[add_ons.extensions]
recording-dial = true
[[add_ons.overrides]]
accounts = "all"
configuration = {{ limits = {{ minutes = {{ remove = true }} }} }}
"""
WORDS = re.findall(r"\w+|\W", VALID)
OTHERS = [*WORDS, "[[", "]]", "{", "1979-05-27", "inf", "0x1", '""', '"""', "\ud800", "9" * 5000]


@settings(max_examples=500, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, len(WORDS) - 1), st.lists(st.sampled_from(OTHERS), max_size=3)),
        max_size=4,
    )
)
def test_a_damaged_file_has_problems_and_raises_nothing_else(
    damages: list[tuple[int, list[str]]],
) -> None:
    words = list(WORDS)
    for index, others in damages:
        words[index] = "".join(others)
    text = "".join(words)
    with suppress(DesiredStateError):
        read = fleet.parse(text, {"TOKEN": "x"})
        read.wanted(ONE, "Shop")


# -- bounds


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x=" + "[" * 100_000, "nested more than 32 levels"),
        ("x=" + "[\n" * 100_000, "line 33: nested more than 32 levels"),
        ("[[add_ons]]\nx=" + "{a=" * 50_000, "line 2: nested more than 32 levels"),
        (".".join("a" * 100_000) + "=1", "more than 32 parts"),
        ("configuration." + ".".join(["'a'"] * 40_000) + "=1", "more than 32 parts"),
        ("x={" + ".".join("a" * 50_000) + "=1}", "more than 32 parts"),
        ("[" + " . ".join("a" * 50_000) + "]\nx=1", "more than 32 parts"),
        ("[[" + ".".join("a" * 50_000) + "]]\nx=1", "more than 32 parts"),
        ("x=" + "9" * 5000, "a number has too many digits"),
        ('x="""' + 'a\\"""' * 200_000, "not TOML"),
        ("'''" * 100_001, "not TOML"),
        ("\x00", "not TOML"),
        ("#" * (MAX_SIZE + 1), "longer than 16,777,216 characters"),
    ],
    ids=lambda value: value[:20],
)
def test_what_is_too_deep_or_too_long_is_rejected_before_it_is_parsed(
    text: str, reason: str
) -> None:
    start = time.process_time()
    with pytest.raises(DesiredStateError, match=reason):
        fleet.parse(text)
    # The dotted keys alone took 22 s.
    assert time.process_time() - start < 2 * SLOWDOWN


def test_deep_keys_in_deep_values_are_rejected_although_each_is_allowed() -> None:
    key = ".".join("a" * 20)
    text = f"[[add_ons]]\nconfiguration = {f'{{{key} = ' * 20}1{'}' * 20}"
    with pytest.raises(DesiredStateError, match=r"line 2: .* nested more than 64 levels"):
        fleet.parse(text)
    endless: dict[str, Any] = {}
    endless["again"] = endless
    (problem,) = problems({"add_ons": [add_on(configuration=endless)]})
    assert "nested more than 64 levels" in problem


def test_a_file_that_does_not_end_is_not_read_to_its_end() -> None:
    with pytest.raises(DesiredStateError, match="/dev/zero: longer than 16,777,216 bytes"):
        fleet.load("/dev/zero")


# -- lines

KEYS_OF_TABLES = st.sampled_from(["a", "b-1", "", "c.d", 'say "x"', "it's", "# no", "[x]", "ü"])
SCALARS = (
    st.booleans()
    | st.integers(-5, 5)
    | st.floats(-2, 2)
    | st.dates()
    | st.datetimes()
    | st.sampled_from(["", "x", '"""', "'''", "a\nb\n", "# no", "x = 1", "\\", "[[a]]\n", "{"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS_OF_TABLES, inner, max_size=3),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(KEYS_OF_TABLES, VALUES, max_size=4)


def paths(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    below = [one for key, item in items for one in paths(item, (*path, key))]
    return [path, *below] if path else below


@settings(max_examples=300, deadline=None)
@given(DOCUMENTS, st.sampled_from(["", "# a comment\n\n", 'first = """\n[[a]]\n"""\n']))
@example({"a": [{"a": [{"a": 1}, {"b-1": {"a": 1.5}}]}, {"a": []}]}, "")
def test_each_value_is_found_on_its_line(document: dict[str, Any], before: str) -> None:
    text = before + tomlkit.dumps(document)
    parsed = parse_toml(text)
    lines = Lines(text)
    rows = text.split("\n")
    for path in paths(parsed):
        line = lines.of(path)
        assert line is not None
        keys = [part for part in path if isinstance(part, str)]
        # The key is on the line, unless the value is in a list of several lines.
        row = rows[line - 1]
        assert keys[-1] in row or tomlkit.key(keys[-1]).as_string() in row


TEXT = """\
a.b = 1
'x y' . "z" = [ 1, 2.5,
  { c = 1979-05-27 07:32:00, d = '''
' ] }''' }, [
  3 ] ]

[[t]]  # the first
k = 1
[t.sub.deep]
k = 2
[[t.list]]
[[t.list]]
k = 3
[[t]]
[[t.list]]
k = "\\"]"
[o]
"""


def test_lines_are_right_whatever_the_style() -> None:
    parse_toml(TEXT)
    lines = Lines(TEXT)
    expected: list[tuple[tuple[str | int, ...], int]] = [
        (("a",), 1),
        (("a", "b"), 1),
        (("x y", "z"), 2),
        (("x y", "z", 1), 2),
        (("x y", "z", 2, "c"), 3),
        (("x y", "z", 2, "d"), 3),
        (("x y", "z", 3), 4),
        (("x y", "z", 3, 0), 5),
        (("t",), 7),
        (("t", 0, "k"), 8),
        (("t", 0, "sub", "deep"), 9),
        (("t", 0, "sub", "deep", "k"), 10),
        (("t", 0, "list", 0), 11),
        (("t", 0, "list", 1), 12),
        (("t", 0, "list", 1, "k"), 13),
        (("t", 1), 14),
        (("t", 1, "list", 0, "k"), 16),
        (("o",), 17),
        (("o", "missing", "key"), 17),
    ]
    assert [(path, lines.of(path)) for path, _ in expected] == expected
    assert lines.of(("nothing",)) is None
    assert pickle.loads(pickle.dumps(lines)).of(("a",)) is None


def is_toml(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


LEXEMES = ['"', '"""', "'", "'''", "\\", "\n", "a", "=", "[", "]", "{", "}", ".", ",", "#"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(LEXEMES), max_size=MAX_DEPTH).map("".join))
def test_the_check_of_the_nesting_rejects_nothing_else(text: str) -> None:
    assert is_toml(parse_toml, text) == is_toml(tomllib.loads, text)
