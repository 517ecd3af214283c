"""The emulator's catalogue of Add-ons."""

import json
from pathlib import Path
from typing import Any, get_args

import aiohttp
import attrs
import jsonschema_rs
import msgspec
import pytest
from hypothesis import given, strategies as st
from support.plain_http import INSTALL, SPAM_SCORE, restricted, send

from marketplace_async.emulator import AddOn, Catalogue, Emulator, Extension
from marketplace_async.emulator.add_ons import Origin
from marketplace_async.emulator.catalogue_files import parse

AN_ADD_ON = '[{"unique_name": "a", "friendly_name": "A", %s}]'
EXTENSION = '{"unique_name": "e", "friendly_name": "E", "product_name": "P"}'


async def test_an_add_on_outside_ga_and_beta_is_neither_visible_nor_installable() -> None:
    async with (
        Emulator(catalogue=restricted(stage="coming_soon")) as emulator,
        aiohttp.ClientSession() as session,
    ):
        sid = "XB" + "c" * 32
        data = {**INSTALL, "AvailableAddOnSid": sid}
        _, page, _ = await send(session, emulator, "GET", "/v1/AvailableAddOns")
        assert page["available_add_ons"] == []
        assert (await send(session, emulator, "GET", f"/v1/AvailableAddOns/{sid}"))[0] == 404
        assert (await send(session, emulator, "POST", "/v1/InstalledAddOns", data=data))[0] == 404


def test_a_catalogue_file_extends_the_built_in_catalogue(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.json"
    file.write_text(
        json.dumps(
            [
                {
                    "unique_name": "mine",
                    "friendly_name": "Mine",
                    "configuration_schema": {"type": "object", "required": ["a"]},
                    "extensions": [{"unique_name": "e", "friendly_name": "E", "product_name": "P"}],
                }
            ]
        )
    )
    *_, mine = Catalogue.load(file)
    assert mine.sid.startswith("XB")
    assert mine.extensions == (Extension("e", "E", "P"),)
    assert len(list(Catalogue.load(file))) == len(list(Catalogue.built_in())) + 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "Expecting value: line 1 column 2"),
        ("{}", "needs 'add_ons'"),
        ('"x"', 'must be a list or an object, got "x"'),
        ("[5]", "[0]: must be an object, got 5"),
        ('{"add_ons": [{}, 5]}', "add_ons[1]: must be an object, got 5"),
        ('[{"unique_name": "a"}]', "[0]: needs 'friendly_name'"),
        ('[{"unique_name": "", "friendly_name": "A"}]', "[0].unique_name: must not be empty"),
        (AN_ADD_ON % '"color": 1', "[0]: has no attribute 'color'"),
        (AN_ADD_ON % '"extension": []', "'extension'; did you mean 'extensions'?"),
        (AN_ADD_ON % '"sid": "XB1"', '[0].sid: must be XB and 32 hex digits, got "XB1"'),
        (AN_ADD_ON % '"billing_items": ["x"]', "[0].billing_items[0]: must be BI and 32 hex"),
        (AN_ADD_ON % '"partner_account_sid": 5', "must be null or text, got 5"),
        (AN_ADD_ON % '"stage": "x"', "[0].stage: must be one of ga, beta, marketing_preview"),
        (AN_ADD_ON % '"manual_usage": "no"', "[0].manual_usage: must be true or false"),
        (AN_ADD_ON % '"extensions": [{}]', "[0].extensions[0]: needs 'unique_name'"),
        (AN_ADD_ON % f'"extensions": [{EXTENSION}, {EXTENSION}]', "each needs a unique name"),
        (AN_ADD_ON % '"color": NaN', "NaN is not JSON"),
        (AN_ADD_ON % '"stage": "ga", "stage": "beta"', "an object has 'stage' twice"),
        (f"[{'[' * 100_000}", "nested too deeply"),
        (AN_ADD_ON % '"configuration_schema": {"type": 5}', "[0].configuration_schema: not a JSON"),
        (
            AN_ADD_ON % '"configuration_schema": {"$ref": "http://127.0.0.1:1/x"}',
            "127.0.0.1:1",
        ),
        (
            f'[{{"unique_name": "a", "friendly_name": "A", "sid": "{SPAM_SCORE}"}}]',
            f"[0].sid: {SPAM_SCORE} is already that of 'nomorobo_spamscore'; \"replace\": true",
        ),
    ],
)
def test_the_error_for_an_invalid_catalogue_file_says_where_and_what(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "catalogue.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"catalogue\.json: ") as error:
        Catalogue.load(file)
    assert message in str(error.value)
    assert len(str(error.value)) < 500


def test_several_errors_of_a_catalogue_file_are_reported_at_once(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.json"
    file.write_text(json.dumps([{}] * 10))
    with pytest.raises(ValueError, match=r"\[0\]: needs 'unique_name'; \[0\]: needs 'f") as error:
        Catalogue.load(file)
    assert str(error.value).endswith("[2]: needs 'unique_name'; and 15 more")


def test_an_add_on_of_a_file_replaces_one_only_on_request(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.json"
    replacing = {"unique_name": "mine", "friendly_name": "Mine", "sid": SPAM_SCORE, "replace": True}
    file.write_text(json.dumps({"$schema": "catalogue.schema.json", "add_ons": [replacing]}))
    catalogue = Catalogue.load(file)
    assert len(catalogue) == len(Catalogue.built_in())
    mine = catalogue.get(SPAM_SCORE)
    assert mine is not None
    assert (mine.unique_name, mine.origin) == ("mine", "made_up")


def test_the_schema_describes_what_an_add_on_has() -> None:
    schema = Catalogue.schema()
    attributes = schema["$defs"]["add_on"]["properties"]
    fields = attrs.fields_dict(AddOn)
    assert attributes.keys() - {"replace"} == fields.keys()
    for name, field in fields.items():
        if "default" in attributes[name] and not isinstance(field.default, attrs.Factory):  # type: ignore[arg-type]
            assert attributes[name]["default"] == field.default, name
    extension = schema["$defs"]["extension"]["properties"]
    assert extension.keys() == attrs.fields_dict(Extension).keys()
    assert set(attributes["origin"]["enum"]) == set(get_args(Origin))
    jsonschema_rs.meta.validate(schema)


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


def sids(prefix: str) -> st.SearchStrategy[str]:
    return st.from_regex(rf"\A{prefix}[0-9a-fA-F]{{32}}\Z")


ADD_ONS = st.builds(
    AddOn,
    unique_name=NAMES,
    friendly_name=st.text(st.characters(codec="utf-8")),
    description=st.text(st.characters(codec="utf-8")),
    sid=sids("XB"),
    extensions=st.lists(
        st.builds(Extension, NAMES, NAMES, NAMES),
        max_size=3,
        unique_by=lambda extension: extension.unique_name,
    ).map(tuple),
    stage=st.sampled_from(["ga", "beta", "private_beta", "coming_soon"]),
    partner_account_sid=st.none() | sids("AC"),
    manual_usage=st.booleans(),
    billing_items=st.none() | st.lists(sids("BI"), max_size=3).map(tuple),
    origin=st.sampled_from(get_args(Origin)),
)


@given(ADD_ONS, st.booleans())
def test_every_add_on_can_be_written_to_a_file(add_on: AddOn, replace: bool) -> None:
    document = {**msgspec.to_builtins(add_on), "replace": replace}
    assert list(parse(json.dumps([document]).encode())) == [("[0]", add_on, replace)]


def test_two_add_ons_with_one_sid_are_an_error_unless_one_replaces_the_other() -> None:
    first, second = (AddOn(unique_name=name, friendly_name="A", sid=SPAM_SCORE) for name in "ab")
    with pytest.raises(ValueError, match=f"sid: {SPAM_SCORE} is already that of 'a'"):
        Catalogue([first, second])
    catalogue = Catalogue([first])
    with pytest.raises(ValueError, match="is already that of 'a'"):
        catalogue.extended([second])
    assert list(catalogue.extended([second], replace=True)) == [second]
    assert list(catalogue) == [first]
    extended = Catalogue.built_in().extended([AddOn(unique_name="mine", friendly_name="Mine")])
    assert len(extended) == len(Catalogue.built_in()) + 1
    misread: Any = {"unique_name": "mine"}
    with pytest.raises(TypeError, match="expected AddOn objects, got dict"):
        Catalogue([misread])


async def test_a_catalogue_may_be_empty() -> None:
    async with Emulator(catalogue=Catalogue([])) as emulator, aiohttp.ClientSession() as session:
        _, page, _ = await send(session, emulator, "GET", "/v1/AvailableAddOns")
        assert page["available_add_ons"] == []


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"unique_name": ""}, "unique_name: must be text that is not empty"),
        ({"friendly_name": 5}, "friendly_name: must be text, got 5"),
        ({"sid": "XE1"}, "sid: must be XB and 32 hex digits, got 'XE1'"),
        ({"partner_account_sid": "me"}, "partner_account_sid: must be AC and 32 hex digits"),
        ({"billing_items": ("BI1",)}, r"billing_items\[0\]: must be BI and 32 hex digits"),
        ({"stage": "x"}, "stage: must be one of"),
        ({"origin": "x"}, "origin: must be one of"),
        ({"configuration_schema": {"type": 5}}, "configuration_schema: not a JSON Schema"),
        ({"extensions": (Extension("e", "E", "P"),) * 2}, "each needs a unique name of its own"),
    ],
)
def test_an_invalid_add_on_is_rejected(attributes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AddOn(**{"unique_name": "a", "friendly_name": "A", **attributes})


def test_the_built_in_add_ons_say_which_sids_are_real() -> None:
    real = {add_on.sid for add_on in Catalogue.built_in() if add_on.origin == "real"}
    assert real == {
        "XB06d5274893cc9af4198667d2f7d74d09",
        "XB56520d8bffd66533ca92b398596b8438",
        "XB73cdb5ac3395a439800f298fa8a43f02",
        "XB7afe11af3e292cadb03248e0066b8c1e",
        "XB85b56ed9ce713e0ac62342b901233193",
        "XBac2c99d9c684a765ced0b18cf0e5e1c7",
    }
    for add_on in Catalogue.built_in():
        derived = AddOn(unique_name=add_on.unique_name, friendly_name="A").sid
        assert (add_on.sid == derived) is (add_on.origin == "made_up_sid")
