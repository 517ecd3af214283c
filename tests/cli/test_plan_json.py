"""Plans in JSON: values are JSON, never text inside text."""

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings, strategies as st
from support.shops import Shops

from marketplace_async.cli.json_text import to_json
from marketplace_async.cli.plan_json import plain_change, plain_group
from marketplace_async.fleet import Change, Group, Step, Target
from marketplace_async.fleet.comparison import differences

SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(-1e9, 1e9)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=5)
CONFIGURATIONS = st.dictionaries(st.text("abc", min_size=1, max_size=2), VALUES, max_size=4)


@given(before=CONFIGURATIONS, after=CONFIGURATIONS)
@settings(max_examples=150, deadline=None)
def test_a_difference_has_the_values_themselves(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    for change in differences(before, after, ()):
        shown = json.loads(to_json(plain_change(change)))
        path = shown["path"]
        assert shown.keys() <= {"path", "before", "after"}
        for name, configuration in (("before", before), ("after", after)):
            assert (name in shown) == (path in configuration)
            if name in shown:
                assert shown[name] == configuration[path]


def test_a_masked_value_and_every_digit_are_kept() -> None:
    assert plain_change(Change("token", None, "***")) == {"path": "token", "after": "***"}
    assert to_json(plain_change(Change("price", "null", "12.3550"))) == (
        '{"path":"price","before":null,"after":12.3550}'
    )


def test_a_group_counts_the_accounts_of_each_difference() -> None:
    group = Group(action="update", unique_name="a", available_add_on_sid="XB", extension=None)
    for number, after in enumerate(("1", "1", "2")):
        step = Step(action="update", unique_name="a", changes=(Change("k", None, after),))
        group.add(Target(f"AC{number}", None), step)
    assert plain_group(group)["changes"] == [
        {"path": "k", "after": 1, "accounts": 2},
        {"path": "k", "after": 2, "accounts": 1},
    ]
    assert "differences" not in plain_group(group)


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for key, inner in value.items():
                yield key
                yield from _texts(inner)
        case list():
            for inner in value:
                yield from _texts(inner)


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), str | list | dict)
    except ValueError:
        return False


def test_no_json_of_a_job_has_json_inside_text(shops: Shops) -> None:
    documents = []
    for command in (
        ("plan", "fleet.toml", "-o", "json"),
        ("plan", "fleet.toml", "-o", "jsonl"),
        ("apply", "fleet.toml", "--yes", "-o", "json"),
        ("inventory", "-o", "json"),
    ):
        done = shops.run(*command, "--subaccounts")
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines() if "jsonl" in command else [done.stdout]
        documents += [json.loads(line) for line in lines]
    assert [text for text in _texts(documents) if _is_json(text)] == []
    assert not [text for text in _texts(documents) if " = " in text]
    (transcription,) = (
        group for group in documents[0]["groups"] if group["unique_name"] == "transcription"
    )
    assert transcription["changes"] == [
        {"path": "api_token", "after": "***", "accounts": 60},
        {"path": "callback_method", "after": "POST", "accounts": 49},
        {"path": "callback_method", "after": "GET", "accounts": 11},
    ]
