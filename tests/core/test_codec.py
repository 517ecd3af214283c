"""JSON: responses become records, values become bodies, and no value is converted silently."""

import json
import pickle
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from marketplace_async import (
    AvailableAddOn,
    AvailableAddOnExtension,
    BillableItem,
    InstalledAddOn,
    InstalledAddOnExtension,
    Listing,
    ReferralConversion,
    ReportedItem,
    Request,
    Response,
    ResponseError,
    UsageReport,
)
from marketplace_async._core.codec import encode, json_object, to

REQUEST = Request("GET", "/v1/X")
XE = "XE" + "a" * 32
AC = "AC" + "a" * 32
BI = "BI" + "a" * 32
RECORDS = [
    AvailableAddOn(sid="XB", configuration_schema={"type": "object"}, links={"extensions": "u"}),
    AvailableAddOnExtension(sid="XF", available_add_on_sid="XB"),
    InstalledAddOn(sid=XE, account_sid=AC, configuration={"a": [1, {"b": None}]}),
    InstalledAddOnExtension(sid="XF", installed_add_on_sid=XE, enabled=True),
    BillableItem(BI, Decimal("12.355")),
    ReportedItem(sid=BI, quantity=Decimal("12.355"), submitted=True),
    UsageReport(billable_items=(), total_submitted=Decimal(0)),
    Listing(sid="XB", module_info={"name": "n"}),
    ReferralConversion(converted_account_sid=AC),
]

plain_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


def read(body: bytes, cls: type[Any] = InstalledAddOn) -> Any:
    return to(cls)(REQUEST, Response(200, {"Twilio-Request-Id": "RQ1"}, body))


def installed(**fields: object) -> bytes:
    return json.dumps({"sid": XE, "account_sid": AC, **fields}).encode()


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_records_are_values(record: Any) -> None:
    copy = pickle.loads(pickle.dumps(record))
    assert copy == record
    assert hash(copy) == hash(record)
    assert not hasattr(record, "__dict__")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        record.sid = "other"


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_records_survive_a_round_trip_through_json(record: Any) -> None:
    assert read(encode(record), type(record)) == record


def test_only_identifiers_are_required_and_unknown_fields_are_ignored() -> None:
    record = read(installed(invented={"later": [1]}))
    assert record == InstalledAddOn(sid=XE, account_sid=AC)


def test_dates_are_aware_and_in_utc() -> None:
    record = read(installed(date_created="2016-04-07T23:52:28Z", date_updated=None))
    assert record.date_created == datetime(2016, 4, 7, 23, 52, 28, tzinfo=UTC)
    assert record.date_created.tzinfo is UTC
    assert record.date_updated is None


def test_a_date_in_another_zone_is_the_same_instant() -> None:
    record = read(installed(date_created="2016-04-08T01:52:28+02:00"))
    assert record.date_created == datetime(2016, 4, 7, 23, 52, 28, tzinfo=UTC)


def test_amounts_are_exact() -> None:
    body = b'{"total_submitted":0.1000000000000000055511151231257827,"billable_items":[]}'
    report = read(body, UsageReport)
    assert report.total_submitted == Decimal("0.1000000000000000055511151231257827")
    assert (
        encode(BillableItem(BI, Decimal("12.3550")))
        == f'{{"sid":"{BI}","quantity":12.3550}}'.encode()
    )


def test_floats_in_a_configuration_survive_a_round_trip() -> None:
    record = read(installed(configuration={"threshold": 0.5}))
    assert record.configuration == {"threshold": 0.5}
    assert json_object(record.configuration, "configuration") == '{"threshold":0.5}'


def test_links_contain_the_sid_of_the_available_add_on() -> None:
    links = {"available_add_on": "https://marketplace.twilio.com/v1/AvailableAddOns/XB1"}
    assert InstalledAddOn(sid=XE, account_sid=AC, links=links).available_add_on_sid == "XB1"
    assert InstalledAddOn(sid=XE, account_sid=AC).available_add_on_sid is None


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body is not JSON"),
        (b"<html>", "the body is not JSON"),
        (b'{"sid":', "the body is not JSON"),
        (b"\xff\xfe", "the body is not JSON"),
        (b'{"sid":"\xff"}', r"\$.sid: expected text, got text that is not Unicode"),
        (b"[]", r"\$: expected an object, got a list"),
        (b"null", r"\$: expected an object, got null"),
        (b"true", r"\$: expected an object, got true or false"),
        (b"{}", r"\$.sid is missing"),
        (b'{"sid":null,"account_sid":"AC"}', r"\$.sid: expected text, got null"),
        (b'{"sid":5,"account_sid":"AC"}', r"\$.sid: expected text, got a number"),
        (installed()[:-1] + b',"configuration":' + b'{"a":' * 200_000, "nested too deeply"),
    ],
)
def test_an_unexpected_body_is_an_error_that_names_path_and_request(
    body: bytes, reason: str
) -> None:
    with pytest.raises(ResponseError, match=reason) as error:
        read(body)
    assert str(error.value).endswith("(GET /v1/X, RQ1)")


@given(st.dictionaries(st.text(), plain_json))
def test_plain_json_is_encoded_unchanged(value: dict[str, Any]) -> None:
    assert json.loads(json_object(value, "configuration")) == value


class Text(str):
    """A subclass of str, such as markupsafe.Markup."""


def test_tuples_are_encoded_as_arrays_and_subclasses_as_their_base() -> None:
    value = {"a": (1, 2), Text("b"): Text("c")}
    assert json_object(value, "configuration") == '{"a":[1,2],"b":"c"}'


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ("text", TypeError, "configuration: expected a mapping, got str"),
        ([1], TypeError, "configuration: expected a mapping, got list"),
        ({"a": {1, 2}}, TypeError, "configuration.a: JSON cannot hold set"),
        ({"a": [b"x"]}, TypeError, r"configuration.a\[0\]: JSON cannot hold bytes"),
        ({"a": datetime(2020, 1, 1, tzinfo=UTC)}, TypeError, "JSON cannot hold datetime"),
        ({"a": Decimal(1)}, TypeError, "configuration.a: JSON cannot hold Decimal"),
        ({"a": {1: 2}}, TypeError, "configuration.a: keys must be text, got 1"),
        ({"a": float("nan")}, ValueError, "configuration.a: JSON cannot hold nan"),
        ({"a": float("inf")}, ValueError, "configuration.a: JSON cannot hold inf"),
        ({"a": "\ud800"}, ValueError, "configuration.a: '.ud800' is not valid Unicode"),
        ({"\ud800": 1}, ValueError, "is not valid Unicode"),
    ],
)
def test_values_that_json_cannot_hold_are_refused_with_their_path(
    value: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        json_object(value, "configuration")


def test_a_value_that_contains_itself_is_refused() -> None:
    value: dict[str, Any] = {}
    value["self"] = value
    with pytest.raises(ValueError, match="nested too deeply, or contains itself"):
        json_object(value, "configuration")


@pytest.mark.parametrize(
    ("quantity", "error"),
    [
        (1.5, TypeError),
        ("1.5", TypeError),
        (True, TypeError),
        (None, TypeError),
        (0, ValueError),
        (Decimal(-1), ValueError),
        (Decimal("0.000"), ValueError),
        (Decimal("NaN"), ValueError),
        (Decimal("sNaN"), ValueError),
        (Decimal("Infinity"), ValueError),
    ],
)
def test_a_quantity_that_cannot_be_billed_is_refused(quantity: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="quantity: expected"):
        BillableItem(BI, quantity)


def test_a_billable_item_needs_the_sid_of_a_billing_item() -> None:
    with pytest.raises(ValueError, match=r"sid: .* is not the SID of a billing item"):
        BillableItem(XE, Decimal(1))


def test_integer_quantities_are_accepted() -> None:
    assert BillableItem(BI, 44) == BillableItem(BI, Decimal(44))
