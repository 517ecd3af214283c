"""A plan of a desired state that was drafted from installed Add-ons changes nothing."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st
from support.fleet import PARENT, SPAM_SCORE, TRANSCRIPTION, VOICEBASE, Fleet

from marketplace_async import MarketplaceClient, fleet
from marketplace_async.emulator import AddOn, Catalogue, Emulator
from marketplace_async.fleet import InventoryRecord
from marketplace_async.fleet.configurations import keys_of
from marketplace_async.fleet.importing import drafted
from marketplace_async.fleet.toml_writing import common, difference
from marketplace_async.testing import account

ANYTHING = "XB" + "e" * 32
SIDS = ["AC" + digit * 32 for digit in "1234"]


def record(
    account_sid: str,
    configuration: dict[str, Any] | None,
    *,
    unique_name: str | None = "speech",
    add_on: str | None = VOICEBASE,
    sid: str = "XE" + "1" * 32,
) -> InventoryRecord:
    return InventoryRecord(
        account_sid=account_sid,
        account_friendly_name=f"Shop\n{account_sid[-1]}",
        sid=sid,
        unique_name=unique_name,
        friendly_name="An Add-on",
        available_add_on_sid=add_on,
        configuration=configuration,
        date_created=None,
        date_updated=None,
    )


# -- any fleet

keys = st.sampled_from(
    ["a", "b.c", 'quoted"', "it's", "env", "null", "remove", "literal", "", "ü", "api_token"]
) | st.text(max_size=3)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "{account_sid}", "{{a}}", "{a}}", "x\x7f\x00", SIDS[0], "{" + SIDS[1]])
    | st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=6)
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=2),
    max_leaves=5,
)
configurations = st.dictionaries(keys, values, max_size=4)
fleets = st.lists(
    st.tuples(
        st.sampled_from(SIDS),
        st.sampled_from(["speech", "spam", "naïve-名"]),
        st.sampled_from([SPAM_SCORE, VOICEBASE]),
        st.none() | configurations | st.sampled_from([{"a": 1}, {"a": 2, "b": {"c": 1}}]),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda one: one[:2],
)


@settings(max_examples=150, deadline=None)
@given(installed=fleets, known=st.booleans())
@example(
    [
        (SIDS[0], "a", ANYTHING, {"a": {"env": "x", "b": 1}}),
        (SIDS[1], "a", ANYTHING, {"a": {"env": "y", "b": 1}}),
    ],
    True,
)
@example(
    [(SIDS[0], "a", ANYTHING, {"a": {"b": 1}}), (SIDS[1], "a", ANYTHING, {"a": {"env": "y"}})], True
)
@example(
    [
        (SIDS[0], "a", ANYTHING, {"a": {"null": True, "b": 1}}),
        (SIDS[1], "a", ANYTHING, {"a": {"null": True}}),
    ],
    True,
)
@example([(SIDS[0], "a", ANYTHING, {"api_token": "x", "": {"env": None}})], False)
def test_any_fleet_is_reproduced(installed: list[Any], known: bool) -> None:
    records = [
        record(sid, configuration, unique_name=name, add_on=add_on)
        for sid, name, add_on, configuration in installed
    ]
    draft, environ = drafted(records, accounts=SIDS if known else None)
    used = {key for one in records for key in keys_of(one.configuration)}
    if used.isdisjoint(["", "env", "null", "remove", "literal"]):
        assert not [text for text in draft.warnings if "left as it is" in text]
    desired = fleet.parse(draft.text, environ)
    for sid in SIDS:
        wanted = {one.unique_name: one for one in desired.wanted(sid, "Shop")}
        own = {one.unique_name: one for one in records if one.account_sid == sid}
        assert wanted.keys() == own.keys()
        for name, one in wanted.items():
            assert one.available_add_on_sid == own[str(name)].available_add_on_sid
            assert one.is_configured(own[str(name)].configuration)


trees = st.recursive(
    st.dictionaries(st.sampled_from("abc"), st.sampled_from(["1", "2"]), max_size=3),
    lambda inner: st.dictionaries(
        st.sampled_from("abc"), inner | st.sampled_from(["1", "2"]), max_size=3
    ),
    max_leaves=4,
)


@settings(max_examples=100, deadline=None)
@given(st.lists(trees, min_size=1, max_size=4))
def test_the_difference_from_what_is_common_restores_each_tree(found: list[Any]) -> None:
    def merged(base: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
        result = dict(base)
        for key, value in override.items():
            if value == "{ remove = true }":
                del result[key]
            elif isinstance(value, dict):
                existing = result.get(key)
                result[key] = merged(existing if isinstance(existing, dict) else {}, value)
            else:
                result[key] = value
        return result

    base = common(found)
    for tree in found:
        assert merged(base, difference(base, tree)) == tree


# -- fleets on an emulator

ADD_ONS = [TRANSCRIPTION, VOICEBASE, SPAM_SCORE, ANYTHING]
urls = st.sampled_from(["https://a.example", "https://b.example"])
valid = {
    SPAM_SCORE: st.just({}),
    TRANSCRIPTION: st.fixed_dictionaries(
        {"callback_url": urls}, optional={"callback_method": st.sampled_from(["GET", "POST"])}
    ),
    VOICEBASE: st.fixed_dictionaries({"callback_url": urls}),
    ANYTHING: configurations,
}
installations = st.sampled_from(ADD_ONS).flatmap(
    lambda add_on: st.tuples(
        st.integers(0, 4),
        st.just(add_on),
        valid[add_on],
        st.sampled_from(["one", "two", "three"]),
        st.booleans(),
    )
)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(installations, min_size=1, max_size=10, unique_by=lambda one: (one[0], one[3])))
def test_a_fleet_is_imported_and_a_plan_of_it_changes_nothing(installed: list[Any]) -> None:
    asyncio.run(_import_and_plan(installed))


async def _import_and_plan(installed: list[Any]) -> None:
    anything = AddOn(
        sid=ANYTHING, unique_name="anything", friendly_name="Anything", configuration_schema={}
    )
    async with Emulator(catalogue=Catalogue.built_in().extended([anything])) as emulator:
        shops = [PARENT, *(sid for sid, _ in emulator.add_subaccounts(PARENT, 4))]
        for shop, add_on, configuration, name, enabled in installed:
            (sid,) = emulator.install(shops[shop], add_on, configuration, unique_name=name)
            if enabled and add_on == SPAM_SCORE:
                emulator.enable(sid, "voice-incoming")
        source = fleet.Subaccounts(lambda: MarketplaceClient(account(), base_url=emulator.url))
        records: list[InventoryRecord] = []
        await fleet.inventory(source, _Collect(records), extensions=True)
        draft, environ = drafted(records, accounts=shops)
        report = await fleet.plan(source, fleet.parse(draft.text, environ), unmanaged=True)
        assert (report.steps, report.failures.count, report.unmatched) == (0, 0, ())
        assert report.unmanaged == ()


class _Collect:
    def __init__(self, records: list[InventoryRecord]) -> None:
        self.records = records

    def begin(self) -> None: ...

    def resume(self, position: int) -> None: ...

    def write(self, account_sid: str, records: Any) -> None:
        self.records += records

    def sync(self) -> int:
        return 0

    def close(self) -> None: ...


# -- the text of a draft


def test_common_parts_are_written_once_and_secrets_are_variables() -> None:
    draft = fleet.draft(
        [
            record(sid, {"url": f"https://x.example/{sid}", "api_token": token, "mode": mode})
            for sid, token, mode in zip(
                SIDS, ["s3cret-1"] * 3 + ["s3cret-2"], ["a", "b", "a", "a"], strict=True
            )
        ],
        accounts=SIDS,
    )
    assert (
        draft.text.split("\n\n", 1)[1]
        == f"""\
secret = ["api_token"]

[[add_ons]]
unique_name = "speech"
available_add_on_sid = "{VOICEBASE}"  # An Add-on
accept_terms_of_service = true
accounts = "all"
[add_ons.configuration]
url = "https://x.example/{{account_sid}}"
api_token = {{ env = "SPEECH_API_TOKEN" }}
mode = "a"

[[add_ons.overrides]]
[add_ons.overrides.accounts]
sids = [
  "{SIDS[1]}",  # Shop\\n2
]
[add_ons.overrides.configuration]
mode = "b"

[[add_ons.overrides]]
[add_ons.overrides.accounts]
sids = [
  "{SIDS[3]}",  # Shop\\n4
]
[add_ons.overrides.configuration]
api_token = {{ env = "SPEECH_API_TOKEN_{SIDS[3]}" }}
"""
    )
    assert draft.variables == ("SPEECH_API_TOKEN", f"SPEECH_API_TOKEN_{SIDS[3]}")
    assert "s3cret" not in draft.text + repr(draft)


@pytest.mark.parametrize(
    "configuration",
    [
        {"api_token": 12345678},
        {"password": ["12345678"]},
        {"list": [{"pin": "12345678"}]},
        {"pin": "12345678"},
        {"x": {"env": {"pin": "12345678"}}},
        {"x": [{"literal": {"auth-token": "12345678"}}]},
    ],
)
def test_no_secret_value_is_written_wherever_it_is(configuration: dict[str, Any]) -> None:
    draft = fleet.draft([record(SIDS[0], configuration)], secret=["pin"])
    assert "12345678" not in draft.text + repr(draft)


def test_accounts_are_selected_by_exceptions_only_if_all_are_known() -> None:
    records = [record(sid, {}) for sid in SIDS[:3]]
    assert "except_sids" in fleet.draft(records, accounts=SIDS).text
    assert "except_sids" not in fleet.draft(records).text
    assert '"all"' not in fleet.draft(records).text


def test_what_cannot_be_imported_is_named() -> None:
    records = [
        record(SIDS[0], {"x": {"literal": None}}),
        record(SIDS[1], {}, unique_name=None),
        record(SIDS[2], {}, add_on=None),
        record(SIDS[0], {}, sid="XE" + "2" * 32),
    ]
    draft = fleet.draft(records, secret=["nowhere"])
    assert "ignore" in draft.text
    for words in (
        "has no unique name",
        "its Add-on is unknown",
        "a second",
        "ignores x",
        "nowhere",
    ):
        assert words in "; ".join(draft.warnings)
    with pytest.raises(ValueError, match="nothing is installed"):
        fleet.draft(records[1:3])


async def test_an_inventory_can_be_imported_later(shops: Fleet, tmp_path: Path) -> None:
    for suffix in ("jsonl", "csv", "db"):
        file = tmp_path / f"inventory.{suffix}"
        await fleet.inventory(shops.source, file, extensions=True)
        records = await asyncio.to_thread(list, fleet.read_inventory(str(file)))
        draft = fleet.draft(records)
        assert (draft.add_ons, draft.warnings) == (1, ()), suffix
        assert (await fleet.plan(shops.source, fleet.parse(draft.text))).steps == 0, suffix
    file = tmp_path / "inventory.jsonl"
    file.write_text(json.dumps({"sid": 1}) + "\n")
    with pytest.raises(ValueError, match=r"line 1: .*write an inventory with"):
        list(fleet.read_inventory(file))
