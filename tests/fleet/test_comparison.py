"""Comparing configurations: differences, ignored keys, and changes that the service makes."""

from typing import Any

import pytest
from hypothesis import given, strategies as st

from marketplace_async._core.codec import same_json
from marketplace_async.fleet import Change
from marketplace_async.fleet.comparison import (
    configuration_to_write,
    differences,
    is_configured,
    kept_by_service,
    kept_message,
)
from marketplace_async.fleet.desired import Wanted


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, ["~ a = 1 -> 2"]),
        ({"a": "1"}, {"a": 1}, ['~ a = "1" -> 1']),
        ({"a": True}, {"a": 1}, ["~ a = true -> 1"]),
        ({}, {"a": None}, ["+ a = null"]),
        ({"a": None}, {}, ["- a = null"]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, ["~ a.c = 2 -> 3"]),
        ({"a": {"b": 1}}, {}, ["- a.b = 1"]),
        ({}, {"a": {"b": {"c": "ü"}}}, ['+ a.b.c = "ü"']),
        ({"a": {}}, {}, ["- a = {}"]),
        ({"a": {"b": 1}}, {"a": 5}, ['~ a = {"b": 1} -> 5']),
        ({"a": [1, 2]}, {"a": [1]}, ["~ a = [1, 2] -> [1]"]),
        ({"token": "old"}, {"token": "new"}, ["~ token = *** -> ***"]),
        ({}, {"token": {"deep": "new"}}, ["+ token = ***"]),
        ({"token": "old", "a": 1}, {"a": 1}, ["- token = ***"]),
        ({}, {"a": {"token": "new"}}, ["+ a.token = ***"]),
        ({}, {"a": [{"token": "new", "b": 1}]}, ['+ a = [{"token": "***", "b": 1}]']),
    ],
)
def test_differences_are_listed_key_by_key_with_secrets_masked(
    before: dict[str, Any], after: dict[str, Any], changes: list[str]
) -> None:
    assert [str(change) for change in differences(before, after, {"token"})] == changes


def test_a_change_contains_no_secrets() -> None:
    (change,) = differences({"token": "old-secret"}, {"token": "new-secret"}, ["token"])
    assert change == Change("token", "***", "***")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, 1.0, True),
        (0, -0.0, True),
        (100, 1e2, True),
        (True, 1, False),
        (False, 0, False),
        (True, True, True),
        (None, False, False),
        ("1", 1, False),
        (2**53, float(2**53), True),
        (2**53 + 1, float(2**53), False),
        (2**53 + 1, float(2**53 + 1), False),
        (10**400, 10**400, True),
        (10**400, 1e308, False),
        ([1, [True]], [1.0, [True]], True),
        ([1, [True]], [1.0, [1]], False),
        ({"a": {"b": 1}}, {"a": {"b": 1.0}}, True),
        ({"a": {}}, {"a": []}, False),
    ],
)
def test_numbers_are_equal_by_value_and_exactly(one: Any, other: Any, same: bool) -> None:
    assert is_configured({"a": one}, {"a": other}, ()) is same
    assert is_configured({"a": other}, {"a": one}, ()) is same
    changes = list(differences({"a": one}, {"a": other}, ()))
    assert (changes == []) is same


@pytest.mark.parametrize(
    ("wanted", "current", "ignore", "written"),
    [
        ({"a": 1}, {"a": 1}, [], None),
        ({"a": 1}, {"a": 1, "b": 2}, [], {"a": 1}),
        ({"a": 1}, {"a": 1, "b": 2}, ["b"], None),
        ({"a": 1}, {"a": 2, "b": 2}, ["b"], {"a": 1, "b": 2}),
        ({"a": 1}, {"a": 2, "b": 2}, ["a"], {"a": 2}),
        ({"a": 1}, {"a": 2}, ["a"], None),
        ({"a": 1}, {}, ["a"], None),
        ({"a": 1, "b": 1}, {}, ["a"], {"b": 1}),
        ({}, {"t": {"x": 1, "y": 2}}, ["t"], None),
        ({}, {"t": {"x": 1, "y": 2}}, ["t.x"], {"t": {"x": 1}}),
        ({}, {"t": {"x": 1}}, ["t.x"], None),
        ({"t": {}}, {"t": {"x": 1}}, ["t.x"], None),
        ({"t": {"x": 5}}, {"t": {}}, ["t.x"], None),
        ({"t": {"x": 5}}, {}, ["t.x"], None),
        ({"t": {"x": 5, "z": 1}}, {"t": {"x": 1, "y": 1}}, ["t.x"], {"t": {"x": 1, "z": 1}}),
        ({"t": 5}, {"t": {"x": 1}}, ["t.x"], {"t": 5}),
        ({"t": {"x": 1}}, {"t": 5}, ["t"], None),
        ({"t": {"y": 1}}, {"t": 5}, ["t.x"], {"t": {"y": 1}}),
        ({"t": {"x": {"y": 1}}}, {"t": {"x": {"y": 2, "z": 3}}}, ["t.x.y", "t.x"], None),
        ({"t": {"x": {"y": 1}}}, {"t": {"x": {"y": 2, "z": 3}}}, ["t.x", "t.x.y"], None),
        ({}, {"a.b": 1}, ['"a.b"'], None),
        ({}, {"a.b": {"c": 1}}, ["'a.b'.c"], None),
        ({}, {"a.b": 1}, ["a.b"], {}),
        ({}, {"a b-c": 1}, ["a b-c"], None),
        ({"a": [1, 2]}, {"a": [1]}, ["a"], None),
    ],
)
def test_ignored_keys_are_not_compared_and_stay_as_they_are(
    wanted: dict[str, Any], current: dict[str, Any], ignore: list[str], written: Any
) -> None:
    assert is_configured(wanted, current, ignore) is (written is None)
    expected = current if written is None else written
    assert configuration_to_write(wanted, current, ignore, ()) == expected
    # An installation has no values to keep.
    assert configuration_to_write(wanted, None, ignore, ()) == wanted


def test_an_ignored_secret_is_written_from_the_file_because_the_service_may_mask_it() -> None:
    wanted = {"token": "secret", "t": {"token": "deep", "x": 1}, "list": [{"token": "in-list"}]}
    masked = {"token": "****", "t": {"token": "****", "x": 2}, "list": [{"token": "****"}]}
    ignore = ["token", "t", "list"]
    assert is_configured(wanted, masked, ignore)
    assert configuration_to_write({**wanted, "a": 1}, masked, ignore, {"token"}) == {
        "token": "secret",
        "t": {"token": "deep", "x": 2},
        "list": [{"token": "in-list"}],
        "a": 1,
    }
    assert configuration_to_write(wanted, {}, ["token"], {"token"}) == wanted


KEYS = st.sampled_from("ab")
VALUES = st.recursive(
    st.integers(0, 1) | st.booleans(),
    lambda inner: st.dictionaries(KEYS, inner, max_size=2) | st.lists(inner, max_size=2),
    max_leaves=5,
)
CONFIGURATIONS = st.dictionaries(KEYS, VALUES, max_size=2)
IGNORED = st.lists(st.lists(KEYS, min_size=1, max_size=3).map(".".join), max_size=3)


@given(CONFIGURATIONS, CONFIGURATIONS, IGNORED)
def test_an_update_leaves_nothing_to_do(
    wanted: dict[str, Any], current: dict[str, Any], ignore: list[str]
) -> None:
    written = configuration_to_write(wanted, current, ignore, ())
    assert is_configured(wanted, written, ignore)
    assert is_configured(wanted, current, ignore) is same_json(written, current)
    if not ignore:
        assert same_json(written, wanted)
    assert kept_by_service(wanted, written, ignore, ()) == ()


@pytest.mark.parametrize(
    ("sent", "returned", "messages"),
    [
        ({"a": 1}, {"a": 1.0}, []),
        (
            {"a": 1},
            {"a": 1, "include-topics": False},
            ["keeps include-topics = false: add it to the configuration, or ignore it"],
        ),
        (
            {"method": "post", "t": {"x": 1}},
            {"method": "POST", "t": {"x": 1, "y": 0}},
            [
                'keeps method = "POST", not "post": change it in the configuration, or ignore it',
                "keeps t.y = 0: add it to the configuration, or ignore it",
            ],
        ),
        ({"a": 1, "b": 2}, {"a": 1}, ["drops b: remove it from the configuration, or ignore it"]),
        (
            {"token": "very-secret"},
            {"token": "****"},
            ["returns another value of token, which may be masked: ignore it"],
        ),
        ({"a": 1}, {"a": 1, "ignored": 5, "t": {"ignored": 1}}, []),
    ],
)
def test_what_the_service_makes_of_a_configuration_is_told_with_what_to_do(
    sent: dict[str, Any], returned: dict[str, Any], messages: list[str]
) -> None:
    kept = kept_by_service(sent, returned, ["ignored", "t.ignored"], {"token"})
    assert [kept_message(change) for change in kept] == messages
    assert "very-secret" not in repr(kept)


def test_a_wanted_state_without_a_configuration_accepts_any() -> None:
    one = Wanted(path="add_ons[0]", unique_name="a", state="present")
    assert one.is_configured({"a": 1})
    assert one.is_configured(None)
    assert one.configuration_to_write({"a": 1}, ()) is None
    empty = Wanted(path="add_ons[0]", unique_name="a", state="present", configuration={})
    assert empty.is_configured(None)
    assert not empty.is_configured({"a": 1})
