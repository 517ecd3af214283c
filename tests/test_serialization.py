"""Records as dicts and as JSON: nothing is lost on the way out and back, and no secret gets out."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, get_origin

import attrs
import cattrs
import msgspec
import pytest
from hypothesis import given, strategies as st
from support.records import (
    CLASSES,
    amounts,
    plain_json,
    quick,
    raw_values,
    records_of,
    texts,
    unknown_fields,
)

from marketplace_async import (
    Account,
    AccountToken,
    ApiKey,
    BillableItem,
    ClientCredentials,
    Ensured,
    InstalledAddOn,
    InstalledAddOnExtension,
    NotFoundError,
    Page,
    ReportedItem,
    Request,
    Response,
    UsageReport,
    _public,
    bulk,
    fleet,
    from_dict,
    from_json,
    to_dict,
    to_json,
    webhooks,
)
from marketplace_async._core.codec import to
from marketplace_async._core.records import Value
from marketplace_async.emulator import Emulator
from marketplace_async.serialization import make_converter
from marketplace_async.testing import account

XE = "XE" + "a" * 32
AC = "AC" + "1" * 32
BI = "BI" + "b" * 32
TOKEN = AccountToken(AC, "hush-hush")
SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
WANTED = {
    "unique_name": "wanted",
    "available_add_on_sid": SPAM_SCORE,
    "accept_terms_of_service": True,
}
REQUEST = Request("GET", "/v1/X")

# Of these, none is a record. Some hold secrets.
OTHERS = {
    *("AccountStats", "AccountToken", "ApiKey", "ClientCredentials", "Environment", "Exchange"),
    *("Request", "Response", "Retry", "Stats", "Timeout"),
}
# A failure does not come back, and reports are those of real jobs.
TESTED_ALONE = {"ApplyReport", "Failure", "InventoryReport", "PlanReport"}


def test_every_public_value_is_serialized_below_or_is_not_a_record() -> None:
    public = {name for name in _public.__all__ if attrs.has(getattr(_public, name))}
    public |= {name for name in webhooks.__all__ if attrs.has(getattr(webhooks, name))}
    public |= {name for name in bulk.__all__ if attrs.has(getattr(bulk, name))}
    classes = (getattr(fleet, name) for name in fleet.__all__)
    public |= {cls.__name__ for cls in classes if isinstance(cls, type) and issubclass(cls, Value)}
    tested = {(get_origin(cls) or cls).__name__ for cls in CLASSES}
    assert tested | OTHERS | TESTED_ALONE == public
    assert not any(issubclass(getattr(_public, name), Value) for name in OTHERS)


# -- out and back


def by_json(record: Any, cls: Any) -> Any:
    return from_json(to_json(record), cls)


def by_dict(record: Any, cls: Any) -> Any:
    return from_dict(to_dict(record, properties=True), cls)


def by_the_json_module(record: Any, cls: Any) -> Any:
    text = json.dumps(to_dict(record), allow_nan=False, ensure_ascii=False)
    return from_dict(json.loads(text.encode()), cls)


def by_msgspec(record: Any, cls: Any) -> Any:
    return from_dict(msgspec.msgpack.decode(msgspec.msgpack.encode(to_dict(record))), cls)


def by_a_converter(record: Any, cls: Any) -> Any:
    return make_converter().loads(make_converter(properties=True).dumps(record), cls)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: getattr(cls, "__name__", str(cls)))
@quick
@given(data=st.data())
def test_a_record_comes_back_as_it_was(cls: Any, data: st.DataObject) -> None:
    record = data.draw(records_of(cls))
    for way in (by_json, by_dict, by_the_json_module, by_msgspec, by_a_converter):
        back = way(record, cls)
        assert back == record
        assert type(back) is type(record)
        assert unknown_fields(back) == unknown_fields(record)


odd_documents = st.fixed_dictionaries(
    {"sid": st.just(XE)},
    optional={
        "friendly_name": texts | raw_values,
        "configuration": st.dictionaries(texts, plain_json, max_size=3) | raw_values,
        "date_created": st.just("2016-04-07T23:52:28Z") | raw_values,
        "links": st.dictionaries(texts, texts, max_size=2) | raw_values,
        "invented": plain_json,
    },
)


@quick
@given(odd_documents)
def test_what_a_response_left_unknown_is_unknown_when_it_comes_back(
    document: dict[str, Any],
) -> None:
    body = json.dumps(document).encode()
    record = to(InstalledAddOn)(REQUEST, Response(200, {}, body))
    for back in (by_json(record, InstalledAddOn), by_the_json_module(record, InstalledAddOn)):
        assert back == record
        assert back.unreadable == record.unreadable


@given(amounts)
def test_json_has_each_digit_of_an_amount(amount: Decimal) -> None:
    text = to_json(UsageReport(total_submitted=amount))
    assert text == f'{{"billable_items":null,"total_submitted":{amount}}}'.encode()
    back = from_json(text, UsageReport).total_submitted
    assert back is not None
    assert back.as_tuple() == amount.as_tuple()


@pytest.mark.parametrize(
    ("amount", "plain"),
    [
        ("12", 12),
        ("12.000", 12),
        ("-0", 0),
        ("1E+2", 100),
        ("12.355", 12.355),
        ("12.3550", 12.355),
        ("1E-7", 1e-07),
        ("9223372036854775807", 9223372036854775807),
        ("9223372036854775808", "9223372036854775808"),
        ("1E+30", 1e30),
        ("9223372036854775809", "9223372036854775809"),
        ("0.1000000000000000055511151231257827", "0.1000000000000000055511151231257827"),
        ("1E+300", 1e300),
        ("1E+400", "1E+400"),
        ("1E+999999999", "1E+999999999"),
        ("1E-999999999", "1E-999999999"),
    ],
)
def test_a_dict_has_an_amount_as_the_simplest_value_that_is_the_same_amount(
    amount: str, plain: object
) -> None:
    value = to_dict(UsageReport(total_submitted=Decimal(amount)))["total_submitted"]
    assert (type(value), value) == (type(plain), plain)


@pytest.mark.parametrize("amount", [1.5, "1.5", "1.50", Decimal("1.5"), "15E-1"])
def test_an_amount_is_read_from_each_form(amount: object) -> None:
    document = {"billable_items": None, "total_submitted": amount}
    assert from_dict(document, UsageReport).total_submitted == Decimal("1.5")


def test_dates_are_written_as_the_service_writes_them() -> None:
    date = datetime(2016, 4, 8, 1, 52, 28, tzinfo=timezone(timedelta(hours=2)))
    document = to_dict(InstalledAddOn(sid=XE, date_created=date))
    assert document["date_created"] == "2016-04-07T23:52:28Z"


@pytest.mark.parametrize("hours", [14, -12])
def test_a_date_at_the_end_of_the_calendar_comes_back(hours: int) -> None:
    zone = timezone(timedelta(hours=hours))
    for date in (datetime.min.replace(tzinfo=zone), datetime.max.replace(tzinfo=zone)):
        installed = InstalledAddOn(sid=XE, date_created=date)
        assert by_json(installed, InstalledAddOn) == installed


def test_properties_are_included_on_request() -> None:
    links = {"available_add_on": "https://marketplace.twilio.com/v1/AvailableAddOns/XB1"}
    installed = InstalledAddOn(sid=XE, links=links)
    assert "available_add_on_sid" not in to_dict(installed)
    page = to_dict(Page((installed,), None), properties=True)
    assert page["items"][0]["available_add_on_sid"] == "XB1"
    assert b'"available_add_on_sid":"XB1"' in to_json([installed], properties=True)
    results = webhooks.parse_add_ons('{"status":"successful","results":{"x":{"status":"failed"}}}')
    document = to_dict(results, properties=True)
    assert (document["ok"], document["results"]["x"]["ok"]) == (False, False)


def test_a_dict_shares_nothing_with_its_record() -> None:
    installed = InstalledAddOn(sid=XE, configuration={"a": [1]})
    to_dict(installed)["configuration"]["a"].append(2)
    assert installed.configuration == {"a": [1]}
    document = {"sid": XE, "configuration": {"a": [1]}}
    installed = from_dict(document, InstalledAddOn)
    document["configuration"]["a"].append(2)  # type: ignore[index]
    assert installed.configuration == {"a": [1]}


def test_fields_that_the_package_does_not_know_are_ignored() -> None:
    document = {**to_dict(InstalledAddOn(sid=XE)), "invented": {"later": [1]}}
    assert from_dict(document, InstalledAddOn) == InstalledAddOn(sid=XE)


def test_lists_of_records_are_written_and_read_as_json() -> None:
    installed = [InstalledAddOn(sid=XE), InstalledAddOn(sid="XE2")]
    assert from_json(to_json(installed), list[InstalledAddOn]) == installed
    assert from_json(to_json(tuple(installed)).decode(), list[InstalledAddOn]) == installed
    assert json.loads(json.dumps(installed, default=to_dict)) == json.loads(to_json(installed))


# -- outcomes


def test_outcomes_say_which_they_are() -> None:
    response = Response(404, {"Twilio-Request-Id": "RQ1"}, b"")
    error = NotFoundError(REQUEST, response, 20404, "no such add-on")
    outcomes = [bulk.Success(XE, InstalledAddOn(sid=XE)), bulk.Failure(XE, error)]
    good, bad = json.loads(to_json(outcomes))
    assert (good["ok"], good["item"], good["value"]["sid"]) == (True, XE, XE)
    assert (bad["ok"], bad["item"]) == (False, XE)
    assert bad["error"] == {
        "type": "NotFoundError",
        "message": "404 20404: no such add-on (GET /v1/X, RQ1)",
        "status": 404,
        "code": 20404,
        "request_id": "RQ1",
        "account_sid": None,
    }
    odd = bulk.Failure(XE, OSError("half of \ud83d"))
    assert json.loads(to_json(odd))["error"]["message"] == "half of ?"
    with pytest.raises(ValueError, match="Failure: error: an error cannot be read back"):
        from_dict(bad, bulk.Failure[str])
    with pytest.raises(ValueError, match="Success: ok: expected true"):
        from_dict(bad, bulk.Success[str, InstalledAddOn])


# -- secrets


@pytest.mark.parametrize(
    "value",
    [
        Account(sid=AC, credentials=TOKEN),
        Page((Account(sid=AC, credentials=TOKEN),), None),
        bulk.Success(Account(sid=AC, credentials=TOKEN), 1),
        bulk.Success(TOKEN, ApiKey("SK" + "1" * 32, "hush-hush", AC)),
        bulk.Failure({"in": [TOKEN]}, ValueError("no")),
        bulk.Success(ClientCredentials("OQ" + "1" * 32, "hush-hush"), None),
    ],
)
def test_secrets_are_never_written(value: Any) -> None:
    for written in (repr(to_dict(value)), to_json(value).decode(), make_converter().dumps(value)):
        assert "hush-hush" not in str(written)


def test_an_account_comes_back_without_credentials() -> None:
    account = Account(sid=AC, friendly_name="Shop", credentials=TOKEN)
    assert "credentials" not in to_dict(account)
    back = by_json(account, Account)
    assert back == attrs.evolve(account, credentials=None)
    assert not back.unreadable


def test_credentials_as_an_item_are_written_as_their_sids() -> None:
    key = ApiKey("SK" + "1" * 32, "hush-hush", AC)
    assert to_dict(bulk.Success(key, None))["item"] == {"key_sid": key.key_sid, "account_sid": AC}
    assert to_dict(bulk.Success(TOKEN, None))["item"] == {"account_sid": AC}


@pytest.mark.parametrize(
    "value",
    [TOKEN, TOKEN.auth_token, REQUEST, Response(200, {}, b""), 5, None, {"sid": XE}],
    ids=lambda value: type(value).__name__,
)
def test_only_records_are_written(value: Any) -> None:
    for write in (to_dict, to_json):
        with pytest.raises(TypeError, match="record: expected a record"):
            write(value)


@pytest.mark.parametrize("value", [REQUEST, TOKEN.auth_token, {1, 2}, object()])
def test_an_outcome_of_something_else_is_refused(value: Any) -> None:
    for write in (to_dict, to_json):
        with pytest.raises((ValueError, TypeError), match=r"JSON cannot hold|never written"):
            write(bulk.Success("item", {"in": [value]}))


# -- what is wrong, and where


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (InstalledAddOn(sid=XE, configuration={"a": [{1}]}), "configuration.a[0]: JSON cannot"),
        (InstalledAddOn(sid=XE, configuration={"a": float("nan")}), "configuration.a: JSON cannot"),
        (InstalledAddOn(sid=XE, configuration={1: 2}), "configuration: keys must be text"),  # type: ignore[dict-item]
        (InstalledAddOn(sid=XE, unique_name="\ud83d"), "unique_name: JSON cannot hold text that"),
        (
            InstalledAddOn(sid=XE, date_created=datetime(2020, 1, 1)),
            "date_created: expected a date with a time zone",
        ),
        (UsageReport(total_submitted=Decimal("NaN")), "total_submitted: expected a finite amount"),
        (
            UsageReport(billable_items=(ReportedItem(quantity=Decimal("Infinity")),)),
            "billable_items",
        ),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_path(record: Any, message: str) -> None:
    for write in (to_dict, to_json):
        with pytest.raises(ValueError) as error:  # noqa: PT011 - compared below
            write(record)
        assert f"{type(record).__name__}: {message}" in str(error.value)


def test_a_value_that_contains_itself_is_refused() -> None:
    configuration: dict[str, Any] = {}
    configuration["self"] = configuration
    with pytest.raises(ValueError, match="nested too deeply, or contains itself"):
        to_json(InstalledAddOn(sid=XE, configuration=configuration))


@pytest.mark.parametrize(
    ("document", "cls", "message"),
    [
        ({}, InstalledAddOn, "InstalledAddOn: sid: is missing"),
        ({"sid": None}, InstalledAddOn, "InstalledAddOn: sid: expected text, got null"),
        (
            {"sid": 5, "enabled": "hush"},
            InstalledAddOnExtension,
            "InstalledAddOnExtension: sid: expected text, got a number; "
            "enabled: expected true or false, got text",
        ),
        ({"sid": XE, "date_created": "hush"}, InstalledAddOn, "date_created: expected a date with"),
        ({"sid": XE, "date_created": "2020-01-01T00:00:00"}, InstalledAddOn, "with a time zone"),
        ({"sid": XE, "configuration": ["hush"]}, InstalledAddOn, "configuration: expected an ob"),
        ({"sid": XE, "configuration": {"a": [{"hush"}]}}, InstalledAddOn, "configuration.a[0]: J"),
        ({"sid": XE, "configuration": {"a": float("inf")}}, InstalledAddOn, "a finite number"),
        ({"total_submitted": "hush"}, UsageReport, "total_submitted: expected an amount, got text"),
        ({"total_submitted": True}, UsageReport, "total_submitted: expected an amount, got true"),
        ({"total_submitted": float("nan")}, UsageReport, "total_submitted: expected an amount"),
        ({"billable_items": "hush"}, UsageReport, "billable_items: expected a list, got text"),
        (
            {"billable_items": [{}, {"sid": 1}, 2]},
            UsageReport,
            "UsageReport: billable_items[1].sid: expected text, got a number; "
            "billable_items[2]: expected an object, got a number",
        ),
        ({"sid": XE, "quantity": 1}, BillableItem, "is not the SID of a billing item"),
        ({"sid": BI, "quantity": 0}, BillableItem, "quantity: expected more than 0"),
        (
            {"record": {"sid": XE}, "action": "hush"},
            Ensured,
            'action: expected "installed" or "updated" or "unchanged"',
        ),
        ({"sid": XE, "unreadable": "hush"}, InstalledAddOn, "unreadable: expected an object"),
        ({"sid": XE, "unreadable": {"url": "{"}}, InstalledAddOn, "unreadable: expected JSON text"),
        ({"results": {"x": {"code": "hush"}}}, webhooks.AddOnResults, "results.x.code: expected"),
        ({"sid": XE, "url": "\ud83d"}, InstalledAddOn, "url: expected text, got text that is not"),
    ],
)
def test_a_document_that_is_wrong_is_refused_with_each_path_and_no_value(
    document: dict[str, Any], cls: type[Any], message: str
) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - compared below
        from_dict(document, cls)
    assert message in str(error.value)
    assert "hush" not in str(error.value)
    assert error.value.__cause__ is None
    assert error.value.__context__ is None


def test_an_outcome_without_a_value_comes_back() -> None:
    outcome = bulk.Success("a", None)
    assert from_json(to_json(outcome), bulk.Success[str, None]) == outcome
    with pytest.raises(ValueError, match="Success: value: expected null, got a number"):
        from_dict({"ok": True, "item": "a", "value": 1}, bulk.Success[str, None])


@pytest.mark.parametrize("inner", [complex, list[complex], dict[str, complex]])
def test_a_type_that_json_cannot_be_read_as_is_named(inner: Any) -> None:
    with pytest.raises(TypeError, match="cls: no JSON can be read as <class 'complex'>"):
        from_json(b'{"ok":true,"item":"a","value":1}', bulk.Success[str, inner])


def test_only_a_class_of_ones_own_stands_before_the_problems() -> None:
    for data, message in (
        (b'[{"sid": 5}]', "[0].sid: expected text, got a number"),
        (b"{}", "expected a list, got an object"),
    ):
        with pytest.raises(ValueError) as error:  # noqa: PT011 - compared below
            from_json(data, list[InstalledAddOn])
        assert str(error.value) == message
    with pytest.raises(ValueError, match=r"^\[0\]\.configuration\.a: "):
        to_json([InstalledAddOn(sid=XE, configuration={"a": float("nan")})])


def test_json_that_is_wrong_is_refused() -> None:
    for data, reason in ((b"<html>", "not JSON"), (b"[" * 200_000, "nested too deeply")):
        with pytest.raises(ValueError, match=reason):
            from_json(data, InstalledAddOn)
    with pytest.raises(ValueError, match="InstalledAddOn: expected an object, got a list"):
        from_json(b"[]", InstalledAddOn)


@pytest.mark.parametrize("cls", [int, dict, Request, AccountToken, list[int], "InstalledAddOn"])
def test_only_records_are_read(cls: Any) -> None:
    with pytest.raises(TypeError, match="cls: expected a class such as InstalledAddOn"):
        from_json(b"{}", cls)
    with pytest.raises(TypeError, match="cls: expected a class such as InstalledAddOn"):
        from_dict({}, cls)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="document: expected a mapping, got list"):
        from_dict([], InstalledAddOn)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="data: expected bytes or text, got dict"):
        from_json({}, InstalledAddOn)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"cls: say what Page holds: Page\[T\]"):
        from_dict({"items": [], "next_url": None}, Page)


# -- a converter of one's own


@attrs.frozen
class Team:
    name: str


@attrs.frozen
class Deployment:
    team: Team
    installed: InstalledAddOn
    report: UsageReport


def test_a_converter_takes_classes_and_hooks_of_ones_own() -> None:
    converter = make_converter()
    converter.register_unstructure_hook(Team, lambda team: team.name)
    converter.register_structure_hook(Team, lambda name, _: Team(name))
    converter.register_unstructure_hook(datetime, lambda date: int(date.timestamp()))
    report = UsageReport(total_submitted=Decimal("1.50"))
    installed = InstalledAddOn(sid=XE, date_created=datetime(2020, 1, 1, tzinfo=UTC))
    text = converter.dumps(Deployment(Team("Shop"), installed, report))
    assert json.loads(text)["team"] == "Shop"
    assert json.loads(text)["installed"]["date_created"] == 1577836800
    assert b'"total_submitted":1.50' in text
    assert converter.dumps(bulk.Success(Team("Shop"), 1)) == b'{"ok":true,"item":"Shop","value":1}'
    # It is a copy: other converters, and the package, do not know these hooks.
    assert to_dict(installed)["date_created"] == "2020-01-01T00:00:00Z"
    again = make_converter()
    again.register_structure_hook(Team, lambda name, _: Team(name))
    deployment = Deployment(Team("Shop"), attrs.evolve(installed, date_created=None), report)
    assert again.loads(converter.dumps(deployment), Deployment) == deployment


def test_a_plain_cattrs_converter_does_not_write_credentials() -> None:
    with pytest.raises(TypeError):
        json.dumps(cattrs.unstructure(Account(sid=AC, credentials=TOKEN)))


# -- jobs


async def test_reports_of_jobs_and_lines_of_inventories_come_back(
    marketplace_emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MARKETPLACE_BASE_URL", marketplace_emulator.url)
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", account().account_sid)
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "made-up")
    for sid, _ in marketplace_emulator.add_subaccounts(account().account_sid, 3):
        marketplace_emulator.install(sid, SPAM_SCORE)
    marketplace_emulator.faults.add("GET", "/v1/InstalledAddOns", status=403, times=1)
    source, file = fleet.Subaccounts(), tmp_path / "inventory.jsonl"
    report = await fleet.inventory(source, file, extensions=True)
    assert report.failures.count == 1
    assert by_json(report, fleet.InventoryReport) == report
    for line in file.read_bytes().splitlines():
        assert to_json(from_json(line, fleet.InventoryRecord)) == line

    desired = fleet.from_document({"add_ons": [{**WANTED, "accounts": "all"}]})
    plan = await fleet.plan(source, desired)
    assert by_the_json_module(plan, fleet.PlanReport) == plan
    journal = tmp_path / "fleet.journal"
    applied = await fleet.apply(source, desired, journal=journal, approve=lambda _: True)
    assert applied.writes["done"] == 4
    assert by_the_json_module(applied, fleet.ApplyReport) == applied
