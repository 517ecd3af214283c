"""Odd responses: a field that cannot be read costs only itself, and the record says so."""

import copy
import json
import logging
import pickle
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from marketplace_async import (
    InstalledAddOn,
    ReferralConversion,
    ReportedItem,
    Request,
    Response,
    ResponseError,
    UnusableResponseError,
    UsageReport,
)
from marketplace_async._core.codec import encode, same_json, to
from marketplace_async._core.records import absent
from marketplace_async.resources import installed_add_ons

REQUEST = Request("GET", "/v1/InstalledAddOns")
XE = "XE" + "a" * 32
AC = "AC" + "a" * 32
BI = "BI" + "a" * 32
DATE = datetime(2016, 4, 7, 23, 52, 28, tzinfo=UTC)
DOCUMENT: dict[str, Any] = {
    "sid": XE,
    "account_sid": AC,
    "friendly_name": "Spam Score",
    "description": "Scores spam",
    "configuration": {"threshold": 0.5},
    "unique_name": "spam",
    "date_created": "2016-04-07T23:52:28Z",
    "date_updated": "2016-04-07T23:52:28Z",
    "url": f"https://marketplace.twilio.com/v1/InstalledAddOns/{XE}",
    "links": {
        "available_add_on": f"https://marketplace.twilio.com/v1/AvailableAddOns/XB{'b' * 32}"
    },
}
RECORD = InstalledAddOn(**{**DOCUMENT, "date_created": DATE, "date_updated": DATE})


def read(body: bytes | dict[str, Any], cls: type[Any] = InstalledAddOn) -> Any:
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    return to(cls)(REQUEST, Response(200, {}, body))


def page_of(*records: bytes | dict[str, Any]) -> tuple[InstalledAddOn, ...]:
    texts = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in records]
    body = b'{"installed_add_ons":[%s],"meta":{"next_page_url":null}}' % b",".join(texts)
    page = to(installed_add_ons._Page)(REQUEST, Response(200, {}, body))
    return page.installed_add_ons


def raw_document(name: str, value: bytes) -> bytes:
    """Return a document in which one field has this JSON text."""
    return json.dumps({**DOCUMENT, name: "?"}).encode().replace(b'"?"', value)


def test_a_complete_record_has_no_unknown_fields() -> None:
    assert read(DOCUMENT) == RECORD
    assert read(DOCUMENT).unreadable == {}


@pytest.mark.parametrize(
    ("name", "text", "value", "raw"),
    [
        ("date_created", b'""', None, ""),
        ("date_created", b'"Thu, 07 Apr 2016 23:52:28 +0000"', None, ...),
        ("date_created", b'"2016-04-07T23:52:28"', None, "2016-04-07T23:52:28"),
        ("date_updated", b'"2016-04-07T23:52:60Z"', None, "2016-04-07T23:52:60Z"),
        ("date_updated", b"1460073148", None, 1460073148),
        ("friendly_name", b'"cut \\ud83d"', "cut \ufffd", "cut \ud83d"),
        ("friendly_name", b'"\xff"', "\ufffd", "\udcff"),
        ("friendly_name", b"5", None, 5),
        ("friendly_name", b"0.5", None, "0.5"),
        ("unique_name", b"[]", None, []),
        ("account_sid", b"{}", None, {}),
        ("configuration", b'"{}"', None, "{}"),
        ("configuration", b"[]", None, []),
        ("configuration", b'{"a":Infinity}', None, {"a": float("inf")}),
        ("configuration", b'{"a":1E+999}', None, {"a": float("inf")}),
        ("configuration", b'{"a":%s}' % (b"9" * 5000), None, {"a": float("inf")}),
        ("configuration", b'{"a":["\\udc00",0.5]}', {"a": ["\ufffd", 0.5]}, {"a": ["\udc00", 0.5]}),
        ("configuration", b'{"\\udc00":1}', {"\ufffd": 1}, {"\udc00": 1}),
        ("links", b'"https://x.example"', None, "https://x.example"),
        ("links", b"[]", None, []),
    ],
)
def test_an_odd_field_costs_only_itself(name: str, text: bytes, value: Any, raw: Any) -> None:
    body = raw_document(name, text)
    for record in (read(body), page_of(body)[0]):
        assert record.unreadable.keys() == {name}
        assert raw is ... or record.unreadable[name] == raw
        assert getattr(record, name) == value
        assert attrs.evolve(record, **{name: getattr(RECORD, name)}) == RECORD


def test_nan_is_no_number() -> None:
    record = read(raw_document("configuration", b'{"a":NaN}'))
    assert record.configuration is None
    assert repr(record.unreadable) == "mappingproxy({'configuration': {'a': nan}})"


@pytest.mark.parametrize("depth", [400, 600, 900])
def test_a_field_that_is_nested_deeply_costs_at_most_itself(depth: int) -> None:
    nested = b'{"a":' * depth + b"1" + b"}" * depth
    odd = json.loads(raw_document("configuration", b"{}"))
    del odd["description"]
    first, second = page_of(
        DOCUMENT,
        json.dumps(odd).encode().replace(b'"configuration": {}', b'"configuration":' + nested),
    )
    assert first == RECORD
    assert second.unreadable.keys() >= {"description"}
    if "configuration" in second.unreadable:
        assert (second.configuration, second.unreadable["configuration"]) == (None, None)


@pytest.mark.parametrize("name", sorted(DOCUMENT.keys() - {"sid"}))
def test_a_missing_field_is_unknown_and_a_null_is_not(name: str) -> None:
    record = read({key: value for key, value in DOCUMENT.items() if key != name})
    assert record.unreadable == {name: attrs.NOTHING}
    assert getattr(record, name) is None
    assert attrs.evolve(record, **{name: getattr(RECORD, name)}) == RECORD
    assert read({**DOCUMENT, name: None}).unreadable == {}


def test_one_odd_record_of_a_page_leaves_the_others_as_they_are() -> None:
    odd = raw_document("friendly_name", b'"cut \\ud83d"')
    first, second, third = page_of(DOCUMENT, odd, DOCUMENT)
    assert (first, third) == (RECORD, RECORD)
    assert (first.unreadable, third.unreadable) == ({}, {})
    assert second.friendly_name == "cut \ufffd"


def test_values_of_links_may_be_null_or_not_text() -> None:
    values: list[Any] = [None, 5, ["x"], {}, ""]
    for value in values:
        record = read({**DOCUMENT, "links": {"available_add_on": value}})
        assert record.unreadable == {}
        assert record.links == {"available_add_on": value}
        assert record.available_add_on_sid is None


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + json.dumps(DOCUMENT).encode(),
        json.dumps(DOCUMENT).encode().replace(b"Scores spam", b"Scores\tspam"),
        json.dumps(DOCUMENT).encode() + b" \r\n",
    ],
)
def test_a_byte_order_mark_and_control_characters_are_read(body: bytes) -> None:
    record = read(body)
    assert record.unreadable == {}
    assert record.sid == XE


@pytest.mark.parametrize(
    ("body", "error", "reason"),
    [
        (b"", ResponseError, "the body is not JSON"),
        (json.dumps(DOCUMENT).encode()[:-1], ResponseError, "the body is not JSON"),
        (b"<html>", ResponseError, "the body is not JSON"),
        (b"[" * 100_000, ResponseError, "nested too deeply"),
        (b"[]", UnusableResponseError, "expected an object, got a list"),
        (b'{"sid":null}', UnusableResponseError, "sid: expected text, got null"),
        (raw_document("sid", b"\x00"), ResponseError, "the body is not JSON"),
    ],
)
def test_complete_json_of_another_shape_is_told_from_what_is_no_json(
    body: bytes, error: type[ResponseError], reason: str
) -> None:
    with pytest.raises(ResponseError, match=reason) as raised:
        read(body)
    assert type(raised.value) is error
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None


def test_the_error_of_another_shape_has_status_document_and_sid() -> None:
    body = {"sid": XE, "billable_items": "none", "total_submitted": 0.5}
    with pytest.raises(UnusableResponseError) as raised:
        to(installed_add_ons._Page)(REQUEST, Response(201, {}, json.dumps(body).encode()))
    error = pickle.loads(pickle.dumps(raised.value))
    assert (error.status, error.document, error.sid) == (201, body, XE)
    assert not error.is_write
    large = Response(201, {}, json.dumps({**body, "x": "x" * 70_000}).encode())
    with pytest.raises(UnusableResponseError) as raised:
        to(installed_add_ons._Page)(REQUEST, large)
    assert (raised.value.document, raised.value.sid) == (None, XE)


def test_the_error_of_a_confidential_response_has_no_document() -> None:
    response = Response(200, {}, b'{"sid":5,"token":"secret"}', confidential=True)
    with pytest.raises(UnusableResponseError) as raised:
        to(InstalledAddOn)(REQUEST, response)
    assert raised.value.document is None
    assert "secret" not in repr(raised.value)


# -- amounts


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        (b"12.3550", "12.3550"),
        (b"1e3", "1E+3"),
        (b"1E+300", "1E+300"),
        (b"5e-324", "5E-324"),
        (b'"12.5"', "12.5"),
        (b"0", "0"),
        (b"-3", "-3"),
        (b"1E+200000000", None),
        (b"1E+99999999999999999999", None),
        (b"1E-200000000", None),
        (b"9" * 5000, None),
        (b"0." + b"9" * 5000, None),
        (b"NaN", None),
        (b"Infinity", None),
        (b'"NaN"', None),
        (b'"sNaN"', None),
        (b'"1E+200000000"', None),
        (b'"Infinity"', None),
        (b'" 1"', None),
        (b"true", None),
        (b"{}", None),
    ],
)
def test_an_amount_is_exact_and_bounded(text: bytes, amount: str | None) -> None:
    body = b'{"total_submitted":%s,"billable_items":[{"quantity":%s}]}' % (text, text)
    report = read(body, UsageReport)
    for holder, name in ((report, "total_submitted"), (report.billable_items[0], "quantity")):
        value = getattr(holder, name)
        assert str(value) == str(amount)
        assert (name in holder.unreadable) == (amount is None)
    assert len(encode(report)) < 2000 + 2 * len(text)


def test_a_usage_report_may_lack_any_field() -> None:
    report = read({"billable_items": [{"sid": BI, "quantity": 1.5}]}, UsageReport)
    item = ReportedItem(sid=BI, quantity=Decimal("1.5"))
    assert report == UsageReport(billable_items=(item,))
    assert report.billable_items[0].unreadable == {"submitted": attrs.NOTHING}
    assert report.unreadable == {"total_submitted": attrs.NOTHING}
    assert read({}, UsageReport).billable_items is None
    assert read({"billable_items": 5}, UsageReport).unreadable["billable_items"] == 5
    assert read({}, ReferralConversion) == ReferralConversion()
    with pytest.raises(UnusableResponseError, match=r"billable_items\[0\]: expected an object"):
        read({"billable_items": [5]}, UsageReport)


# -- the record


def test_unknown_fields_survive_pickling_and_copying() -> None:
    record = read({**DOCUMENT, "configuration": [1]})
    for other in (
        pickle.loads(pickle.dumps(record)),
        copy.copy(record),
        copy.deepcopy(record),
    ):
        assert other == record
        assert other.unreadable == {"configuration": [1]}
    assert pickle.loads(pickle.dumps(read({"sid": XE}))).unreadable["links"] is attrs.NOTHING


def test_unknown_fields_can_be_neither_changed_nor_sent_by_the_service() -> None:
    record = read({**DOCUMENT, "unreadable": {"sid": 1}, "_unreadable": {"sid": 1}})
    assert record.unreadable == {}
    with pytest.raises(AttributeError):
        record.unreadable = {}
    with pytest.raises(TypeError):
        record.unreadable["sid"] = 1
    assert b"unreadable" not in encode(read({"sid": XE}))


def test_a_record_is_no_larger_for_what_it_can_note() -> None:
    plain = attrs.make_class("Plain", list(DOCUMENT), frozen=True, slots=True)
    assert sys.getsizeof(read(DOCUMENT)) <= sys.getsizeof(plain(**DOCUMENT))


def test_a_warning_names_record_and_field_and_no_value(caplog: pytest.LogCaptureFixture) -> None:
    odd = {key: value for key, value in DOCUMENT.items() if key != "url"}
    with caplog.at_level(logging.WARNING, "marketplace_async"):
        page_of(DOCUMENT, {**odd, "configuration": "secret"})
    (message,) = caplog.messages
    assert message == (
        "send: GET /v1/InstalledAddOns -> unknown fields: "
        f"{XE}: could not read configuration; url missing "
        "[account=- attempt=- status=200 elapsed=0.000 request_id=-]"
    )


def test_a_page_of_odd_records_is_one_short_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "marketplace_async"):
        page_of(*[{"sid": "not\na sid"}] * 1000)
    (message,) = caplog.messages
    assert "; and 990 more records [" in message
    assert "\n" not in message
    assert len(message) < 2000


def test_a_complete_page_is_read_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    absent()  # another thread, or a record that the caller creates
    with caplog.at_level(logging.WARNING, "marketplace_async"):
        assert page_of(DOCUMENT) == (RECORD,)
    assert not caplog.messages


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


optional = dict.fromkeys(DOCUMENT.keys() - {"sid"}, anything)


@given(st.fixed_dictionaries({"sid": st.just(XE)}, optional=optional))
def test_any_value_of_any_field_is_read_or_noted(document: dict[str, Any]) -> None:
    record = read(document)
    assert record.sid == XE
    for name in DOCUMENT.keys() - record.unreadable.keys() - {"date_created", "date_updated"}:
        assert same_json(getattr(record, name), document[name])
    encode(record)


# -- equality


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (True, True, True),
        (None, None, True),
        (None, 0, False),
        ("1", 1, False),
        ("a", "a", True),
        (2**53 + 1, float(2**53), False),
        (0.1, 0.1, True),
        ([1, [2.0]], [1.0, [2]], True),
        ([1, True], [1, 1], False),
        ([1], [1, 2], False),
        ([], {}, False),
        ({"a": 1, "b": 2}, {"b": 2.0, "a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": {"b": 0}}, {"a": {"b": False}}, False),
    ],
)
def test_json_is_equal_by_the_rules_of_json_schema(one: Any, other: Any, same: bool) -> None:
    assert same_json(one, other) is same
    assert same_json(other, one) is same
