"""pydantic reads and writes records by the same rules, and describes them in JSON Schema."""

import json
import subprocess
import sys
from decimal import Decimal
from typing import Any, get_origin

import jsonschema_rs
import pytest
from hypothesis import given, strategies as st
from support.records import CLASSES, quick, records_of, unknown_fields

from marketplace_async import (
    Account,
    AccountToken,
    BillableItem,
    ConfigurationIssue,
    InstalledAddOn,
    InstalledAddOnExtension,
    Page,
    bulk,
    fleet,
)

pydantic = pytest.importorskip("pydantic", reason="these tests are about it")

# An issue is part of an error, which no API takes.
TYPES = [cls for cls in CLASSES if cls is not ConfigurationIssue]
REPORTS = [fleet.InventoryReport, fleet.PlanReport, fleet.ApplyReport]
AC = "AC" + "1" * 32


@pytest.mark.parametrize("cls", TYPES, ids=lambda cls: getattr(cls, "__name__", str(cls)))
@quick
@given(data=st.data())
def test_a_record_passes_through_pydantic_and_meets_its_json_schema(
    cls: Any, data: st.DataObject
) -> None:
    record = data.draw(records_of(cls))
    adapter = pydantic.TypeAdapter(cls)
    text = adapter.dump_json(record)
    back = adapter.validate_json(text)
    assert back == record
    assert unknown_fields(back) == unknown_fields(record)
    assert adapter.validate_python(record) is record
    for mode in ("validation", "serialization"):
        assert jsonschema_rs.is_valid(adapter.json_schema(mode=mode), json.loads(text))


@pytest.mark.parametrize("cls", [*TYPES, *REPORTS, bulk.Failure[str]], ids=str)
def test_a_json_schema_describes_each_field(cls: Any) -> None:
    schema = pydantic.TypeAdapter(cls).json_schema()
    assert schema["title"] == (get_origin(cls) or cls).__name__
    assert schema["description"]
    if cls is not fleet.ExtensionRecord:
        assert all(each["description"] for each in schema["properties"].values())
    assert "credentials" not in schema["properties"]


def test_records_are_fields_of_models() -> None:
    class Team(pydantic.BaseModel):  # type: ignore[misc, name-defined, unused-ignore]
        add_ons: list[InstalledAddOn]
        page: Page[InstalledAddOn] | None = None

    installed = InstalledAddOn(sid="XE1", configuration={"a": 1.5})
    team = Team(add_ons=[installed], page=Page((installed,), None))
    assert Team.model_validate_json(team.model_dump_json()) == team
    assert json.dumps(team.model_dump())


def test_pydantic_reports_each_problem_at_its_place_and_shows_no_value() -> None:
    adapter = pydantic.TypeAdapter(list[InstalledAddOnExtension])
    with pytest.raises(pydantic.ValidationError) as error:
        adapter.validate_python([{"sid": "XF1"}, {"sid": 5, "enabled": "hush"}, "hush"])
    assert [(each["loc"], each["msg"]) for each in error.value.errors()] == [
        ((1, "sid"), "expected text, got a number"),
        ((1, "enabled"), "expected true or false, got text"),
        ((2,), "expected an object, got text"),
    ]
    assert "hush" not in str(error.value)


def test_amounts_are_read_from_a_body() -> None:
    adapter = pydantic.TypeAdapter(BillableItem)
    sid = "BI" + "1" * 32
    for quantity in (b"12.355", b'"12.355"'):
        item = adapter.validate_json(b'{"sid":"%s","quantity":%s}' % (sid.encode(), quantity))
        assert item == BillableItem(sid, Decimal("12.355"))
    with pytest.raises(pydantic.ValidationError, match="expected more than 0"):
        adapter.validate_python({"sid": sid, "quantity": 0})


def test_pydantic_writes_no_credentials() -> None:
    account = Account(sid=AC, credentials=AccountToken(AC, "hush-hush"))
    adapter = pydantic.TypeAdapter(bulk.Success[Any, Account])
    written = adapter.dump_json(bulk.Success(AccountToken(AC, "hush-hush"), account))
    assert b"hush" not in written
    assert b"credentials" not in written


def test_pydantic_is_not_imported_for_serialization() -> None:
    program = (
        "import sys\n"
        "from marketplace_async import InstalledAddOn, from_json, to_dict, to_json\n"
        "installed = InstalledAddOn(sid='XE1')\n"
        "assert from_json(to_json(installed), InstalledAddOn) == installed\n"
        "assert to_dict(installed)\n"
        "assert not {'pydantic', 'pydantic_core'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
