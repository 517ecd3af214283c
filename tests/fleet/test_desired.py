"""The desired state: its file format, its error messages and its meaning."""

import json
import pickle
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings, strategies as st

from marketplace_async import fleet
from marketplace_async.fleet import DesiredStateError

SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
TRANSCRIPTION = "XB85b56ed9ce713e0ac62342b901233193"
ONE, TWO = "AC" + "1" * 32, "AC" + "2" * 32


def add_on(**changes: Any) -> dict[str, Any]:
    whole = {
        "unique_name": "spam-score",
        "available_add_on_sid": SPAM_SCORE,
        "accept_terms_of_service": True,
        "accounts": "all",
        **changes,
    }
    return {name: value for name, value in whole.items() if value is not None}


def desired(*add_ons: dict[str, Any], **more: Any) -> fleet.Desired:
    return fleet.from_document({"add_ons": list(add_ons), **more}, {"TOKEN": "from-outside"})


WHOLE = f"""
secret = ["api_token"]

[[add_ons]]
unique_name = "transcription"
available_add_on_sid = "{TRANSCRIPTION}"
accept_terms_of_service = true
accounts = {{ except_friendly_names = ["Test *"] }}

[add_ons.configuration]
callback_url = "https://example.com/done"
api_token = {{ env = "TOKEN" }}
limits = {{ minutes = 5, files = [1, 2.5] }}

[add_ons.extensions]
recording-dial = true

[[add_ons.overrides]]
accounts = {{ friendly_names = ["EU *"], sids = ["{ONE}"] }}
configuration = {{ callback_url = "https://eu.example.com/done", limits = {{ minutes = 9 }} }}

[[add_ons.overrides]]
accounts = {{ friendly_names = ["EU old"] }}
state = "absent"

[[add_ons]]
unique_name = "left-over"
accounts = "all"
state = "absent"
"""


def test_a_file_defines_the_desired_state_of_each_account(tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(WHOLE)
    read = fleet.load(file, {"TOKEN": "from-outside"})
    ordinary, left_over = read.wanted(TWO, "Shop")
    assert ordinary.available_add_on_sid == TRANSCRIPTION
    assert ordinary.configuration == {
        "callback_url": "https://example.com/done",
        "api_token": "from-outside",
        "limits": {"minutes": 5, "files": [1, 2.5]},
    }
    assert ordinary.extensions == {"recording-dial": True}
    assert (left_over.state, left_over.available_add_on_sid) == ("absent", None)

    for account in ((TWO, "EU west"), (ONE, None)):
        special, _ = read.wanted(*account)
        assert special.configuration == {
            "callback_url": "https://eu.example.com/done",
            "api_token": "from-outside",
            "limits": {"minutes": 9, "files": [1, 2.5]},
        }
    removed, _ = read.wanted(TWO, "EU old")
    assert (removed.state, removed.configuration) == ("absent", None)
    assert [one.unique_name for one in read.wanted(TWO, "Test 1")] == ["left-over"]


def test_two_entries_for_one_name_and_account_are_both_reported() -> None:
    read = desired(add_on(accounts={"friendly_names": ["EU *"]}), add_on(accounts={"sids": [ONE]}))
    assert len(read.wanted(TWO, "EU west")) == 1
    with pytest.raises(
        DesiredStateError, match=r"add_ons\[0\] and add_ons\[1\] both define 'spam-score' for AC1"
    ):
        read.wanted(ONE, "EU west")


def test_secrets_appear_in_no_repr_or_digest_and_survive_pickling() -> None:
    def with_token(token: str) -> fleet.Desired:
        return desired(add_on(configuration={"api_token": token, "a": 1}), secret=["api_token"])

    def from_outside(token: str) -> fleet.Desired:
        configuration = {"api_token": {"env": "TOKEN"}, "a": 1}
        document = {"add_ons": [add_on(configuration=configuration)], "secret": ["api_token"]}
        return fleet.from_document(document, {"TOKEN": token})

    read = with_token("very-secret")
    assert "very-secret" not in repr(read) + repr(read.wanted(ONE, None))
    assert read.secret_values() == {"very-secret"}
    assert read.digest() == with_token("other").digest()
    assert read.digest() != desired(add_on()).digest()
    assert read.digest() == from_outside("one").digest() == from_outside("two").digest()
    assert pickle.loads(pickle.dumps(read)).wanted(ONE, None) == read.wanted(ONE, None)


# -- the JSON Schema


VALIDATOR = jsonschema_rs.validator_for(fleet.schema(), offline=True)

TEXTS = st.sampled_from(
    ["all", "absent", "present", "", " ", "x", "EU *", ONE, SPAM_SCORE, ONE + "\n", "x" * 257]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
SELECTIONS = st.just("all") | st.dictionaries(
    st.sampled_from(["friendly_names", "sids", "except_friendly_names", "except_sids", "nonsense"]),
    st.lists(TEXTS, max_size=2) | VALUES,
    max_size=2,
)
CONFIGURATIONS = st.dictionaries(TEXTS, VALUES, max_size=2)
EXTENSIONS = st.dictionaries(TEXTS, st.booleans() | VALUES, max_size=2)


def table(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Generate tables: valid ones, and ones with a missing, unknown or possibly invalid key."""
    valid = st.fixed_dictionaries(required, optional=optional)
    names = st.sampled_from([*required, *optional, "nonsense"])
    changed = st.tuples(valid, names, VALUES).map(lambda parts: {**parts[0], parts[1]: parts[2]})
    shortened = st.tuples(valid, names).map(
        lambda parts: {name: value for name, value in parts[0].items() if name != parts[1]}
    )
    return valid | valid | changed | shortened


OVERRIDES = table(
    {"accounts": SELECTIONS},
    {
        "configuration": CONFIGURATIONS,
        "extensions": EXTENSIONS,
        "state": st.sampled_from(["absent", "present"]),
    },
)
OPTIONAL = {
    "configuration": CONFIGURATIONS,
    "ignore": st.lists(TEXTS | st.sampled_from(["a.b", 'a."b.c"', "a..b", ".", 'a"', "a\n"])),
    "extensions": EXTENSIONS,
    "overrides": st.lists(OVERRIDES, max_size=2),
}
ADD_ONS = table(
    {
        "unique_name": st.just("spam-score"),
        "accounts": SELECTIONS,
        "available_add_on_sid": st.just(SPAM_SCORE),
        "accept_terms_of_service": st.just(True),
    },
    {**OPTIONAL, "state": st.just("present")},
) | table(
    {"unique_name": st.just("left-over"), "accounts": SELECTIONS, "state": st.just("absent")},
    {"available_add_on_sid": st.just(SPAM_SCORE), **OPTIONAL},
)
# One Add-on only: a schema cannot detect two entries for the same unique name.
FILES = table({"add_ons": st.lists(ADD_ONS, min_size=1, max_size=1)}, {"secret": st.just([])})


@settings(max_examples=400, deadline=None)
@given(FILES)
def test_the_schema_and_the_parser_agree(document: Any) -> None:
    # TOML has no null. A schema cannot compare the secret keys with those of configurations.
    secret = document.get("secret")
    if "null" in json.dumps(document) or (isinstance(secret, list) and secret):
        return
    try:
        fleet.from_document(document, {})
        parses = True
    except DesiredStateError:
        parses = False
    assert VALIDATOR.is_valid(document) == parses


def test_the_schema_describes_each_field() -> None:
    document = fleet.schema()
    assert document["$schema"].endswith("2020-12/schema")
    for name in ("unique_name", "accounts", "available_add_on_sid", "state"):
        assert document["$defs"]["AddOn"]["properties"][name]["description"]
