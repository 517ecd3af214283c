"""Responses that are complete but do not answer the request, and what becomes of a write then."""

import json
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import pytest

from marketplace_async import (
    AmbiguousOutcomeError,
    BillableItem,
    ConflictError,
    IncompleteListError,
    InstalledAddOn,
    MarketplaceError,
    NotEnsuredError,
    Request,
    Response,
    ResponseError,
    Retry,
    SchemaError,
    TransportError,
    UnreadableFieldError,
    UnusableResponseError,
    configuration_errors,
)
from marketplace_async._core.pipeline import parsing
from marketplace_async._core.retrying import Retrying
from marketplace_async._core.tasks import Tasks
from marketplace_async.accounts import Accounts
from marketplace_async.resources import (
    AvailableAddOns,
    InstalledAddOns,
    Listings,
    ReferralConversions,
)
from marketplace_async.resources.available_add_ons import AvailableAddOn

AC = "AC" + "a" * 32
OTHER_AC = "AC" + "b" * 32
XE, OTHER_XE = "XE" + "1" * 32, "XE" + "2" * 32
XB, OTHER_XB = "XB" + "1" * 32, "XB" + "2" * 32
XF, OTHER_XF = "XF" + "1" * 32, "XF" + "2" * 32
BI, OTHER_BI = "BI" + "1" * 32, "BI" + "2" * 32
FAST = Retry(initial_backoff=0.001, max_backoff=0.001)

Reply = Response | MarketplaceError | Callable[[Request], Response | MarketplaceError]


def ok(document: Any, status: int = 200) -> Response:
    return Response(status, {}, json.dumps(document).encode())


def installed(**changes: Any) -> dict[str, Any]:
    """Return the document of an installed Add-on. A change to `...` removes the field."""
    document = {
        "sid": XE,
        "account_sid": AC,
        "friendly_name": "Spam Score",
        "description": "Scores spam",
        "configuration": {"threshold": 1},
        "unique_name": "spam",
        "date_created": "2016-04-07T23:52:28Z",
        "date_updated": "2016-04-07T23:52:28Z",
        "url": f"https://x.example/v1/InstalledAddOns/{XE}",
        "links": {"available_add_on": f"https://x.example/v1/AvailableAddOns/{XB}"},
        **changes,
    }
    return {name: value for name, value in document.items() if value is not ...}


def extension(**changes: Any) -> dict[str, Any]:
    return {
        "sid": XF,
        "available_add_on_sid": XB,
        "installed_add_on_sid": XE,
        "friendly_name": "Voice",
        "product_name": "Voice",
        "unique_name": "voice",
        "enabled": True,
        "url": "https://x.example",
        **changes,
    }


def page(*items: Any, key: str = "installed_add_ons", **meta: Any) -> Response:
    return ok({key: items, "meta": {"key": key, "next_page_url": None, **meta}})


class Service:
    """Responds with prepared responses, the last one again and again, through the real pipeline."""

    def __init__(self, *replies: Reply, account_sid: str | None = AC) -> None:
        self.replies = list(replies)
        self.requests: list[str] = []
        self.call = Retrying(parsing(self._send), FAST, Tasks(), account_sid=account_sid)

    async def _send(self, request: Request) -> Response:
        self.requests.append(str(request))
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if callable(reply) and not isinstance(reply, Response):
            reply = reply(request)
        if isinstance(reply, MarketplaceError):
            raise reply
        return reply


def create(call: Any, **changes: Any) -> Any:
    arguments = {
        "available_add_on_sid": XB,
        "accept_terms_of_service": True,
        "unique_name": "spam",
        "configuration": {"threshold": 1},
        **changes,
    }
    return InstalledAddOns(call).create(**arguments)


def ensure(call: Any, **changes: Any) -> Any:
    arguments = {
        "available_add_on_sid": XB,
        "accept_terms_of_service": True,
        "unique_name": "spam",
        "configuration": {"threshold": 1},
        **changes,
    }
    return InstalledAddOns(call).ensure(**arguments)


def report(call: Any, *sids: str) -> Any:
    return InstalledAddOns(call).usage(XE).create([BillableItem(sid, 1) for sid in sids or [BI]])


WRITES: dict[str, Callable[[Any], Any]] = {
    "create": create,
    "create without a name": lambda call: create(call, unique_name=None),
    "update": lambda call: InstalledAddOns(call).update(XE, unique_name="spam"),
    "enable": lambda call: InstalledAddOns(call).extensions(XE).update(XF, enabled=True),
    "usage": report,
    "referral": lambda call: ReferralConversions(call).create(referral_account_sid=AC),
    "create listing": lambda call: Listings(call).create(module_info={}),
    "update listing": lambda call: Listings(call).update(XB, pricing={}),
}
READS: dict[str, Callable[[Any], Any]] = {
    "fetch": lambda call: InstalledAddOns(call).fetch(XE),
    "fetch Add-on": lambda call: AvailableAddOns(call).fetch(XB),
    "list": lambda call: InstalledAddOns(call).list().collect(),
    "own listings": lambda call: Listings(call).list_own(),
}
EVERY = {**WRITES, **READS}


# -- complete JSON of another shape


@pytest.mark.parametrize("operation", EVERY.values(), ids=EVERY)
@pytest.mark.parametrize("document", [[], None, "ok", 5, [{"sid": XE}]])
async def test_complete_json_of_another_shape_is_reported_once(
    operation: Callable[[Any], Any], document: Any
) -> None:
    service = Service(ok(document, 201))
    with pytest.raises(UnusableResponseError) as raised:
        await operation(service.call)
    assert len(service.requests) == 1
    error = raised.value
    assert (error.status, error.document, error.sid) == (201, document, None)
    assert error.is_write == (operation in WRITES.values())
    assert ("the request was accepted, but" in str(error)) == error.is_write


@pytest.mark.parametrize("name", ["update", "enable", "update listing"])
async def test_the_error_tells_the_sid_of_what_was_changed(name: str) -> None:
    with pytest.raises(UnusableResponseError) as raised:
        await WRITES[name](Service(ok({"sid": "XE5"})).call)
    assert raised.value.sid == "XE5"


@pytest.mark.parametrize("operation", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("body", [b"", b'{"sid":', b"<html>"])
async def test_a_body_that_is_not_json_leaves_the_outcome_of_a_write_unknown(
    operation: Callable[[Any], Any], body: bytes
) -> None:
    service = Service(Response(200, {}, body))
    with pytest.raises((AmbiguousOutcomeError, ResponseError)) as raised:
        await operation(service.call)
    assert not isinstance(raised.value, UnusableResponseError)


async def test_missing_fields_of_a_write_are_no_error() -> None:
    usage = await report(Service(ok({"billable_items": [{"sid": BI, "quantity": 1.5}]}, 202)).call)
    assert usage.billable_items[0].submitted is None
    for name in ("create", "update"):
        record = await EVERY[name](Service(ok({"sid": XE}, 201)).call)
        assert record.account_sid is None
    conversion = await EVERY["referral"](Service(ok({})).call)
    assert conversion.converted_account_sid is None


async def test_a_deletion_expects_no_body() -> None:
    for body in (b"", b"[]", b"<html>"):
        await InstalledAddOns(Service(Response(204, {}, body)).call).delete(XE)


# -- a response about something else


MISMATCHES: dict[str, tuple[Callable[[Any], Any], Any, str]] = {
    "fetch: sid": (READS["fetch"], installed(sid=OTHER_XE), "sid is"),
    "fetch: account": (READS["fetch"], installed(account_sid=OTHER_AC), "account_sid is"),
    "list: account": (
        READS["list"],
        {"installed_add_ons": [installed(), installed(account_sid=OTHER_AC)]},
        "account_sid is",
    ),
    "fetch Add-on": (READS["fetch Add-on"], {"sid": OTHER_XB}, "sid is"),
    "fetch extension": (
        lambda call: AvailableAddOns(call).extensions(XB).fetch(XF),
        extension(sid=OTHER_XF),
        "sid is",
    ),
    "fetch extension of another": (
        lambda call: AvailableAddOns(call).extensions(XB).fetch(XF),
        extension(available_add_on_sid=OTHER_XB),
        "available_add_on_sid is",
    ),
    "list extensions": (
        lambda call: AvailableAddOns(call).extensions(XB).list().collect(),
        {"extensions": [extension(), extension(available_add_on_sid=OTHER_XB)]},
        "available_add_on_sid is",
    ),
    "list installed extensions": (
        lambda call: InstalledAddOns(call).extensions(XE).list().collect(),
        {"extensions": [extension(installed_add_on_sid=OTHER_XE)]},
        "installed_add_on_sid is",
    ),
    "fetch installed extension": (
        lambda call: InstalledAddOns(call).extensions(XE).fetch(XF),
        extension(installed_add_on_sid=OTHER_XE),
        "installed_add_on_sid is",
    ),
    "fetch listing": (lambda call: Listings(call).fetch(XB), {"sid": OTHER_XB}, "sid is"),
    "fetch account": (lambda call: Accounts(call).fetch(AC), {"sid": OTHER_AC}, "sid is"),
    "create: account": (WRITES["create"], installed(account_sid=OTHER_AC), "account_sid is"),
    "create: name": (WRITES["create"], installed(unique_name="Spam"), "unique_name is 'Spam'"),
    "create: Add-on": (
        WRITES["create without a name"],
        installed(links={"available_add_on": f"/v1/AvailableAddOns/{OTHER_XB}"}),
        "available_add_on_sid is",
    ),
    "update: sid": (WRITES["update"], installed(sid=OTHER_XE), "sid is"),
    "update: account": (WRITES["update"], installed(account_sid=OTHER_AC), "account_sid is"),
    "update: name": (WRITES["update"], installed(unique_name="old"), "unique_name is 'old'"),
    "enable: extension": (WRITES["enable"], extension(sid=OTHER_XF), "sid is"),
    "enable: Add-on": (WRITES["enable"], extension(installed_add_on_sid=OTHER_XE), "add_on_sid is"),
    "enable: state": (WRITES["enable"], extension(enabled=False), "enabled is False, not True"),
    "usage: other": (report, {"billable_items": [{"sid": OTHER_BI}]}, "were not reported"),
    "usage: fewer": (report, {"billable_items": []}, "1 billable items were reported, and 0"),
    "usage: more": (report, {"billable_items": [{"sid": BI}] * 2}, "and 2 returned"),
    "usage: twice": (
        lambda call: report(call, BI, OTHER_BI),
        {"billable_items": [{"sid": BI}, {"sid": BI}]},
        "were not reported",
    ),
    "referral": (WRITES["referral"], {"converted_account_sid": OTHER_AC}, "account_sid is"),
    "update listing": (WRITES["update listing"], {"sid": OTHER_XB}, "sid is"),
}


@pytest.mark.parametrize(("operation", "document", "reason"), MISMATCHES.values(), ids=MISMATCHES)
async def test_a_response_about_something_else_is_an_error_and_is_not_requested_again(
    operation: Callable[[Any], Any], document: Any, reason: str
) -> None:
    service = Service(ok(document))
    with pytest.raises(UnusableResponseError, match=reason) as raised:
        await operation(service.call)
    assert len(service.requests) == 1
    assert raised.value.document == document
    accepted = "the request was accepted, but the response is about" in str(raised.value)
    assert accepted <= raised.value.is_write


async def test_a_page_of_another_list_is_an_error() -> None:
    with pytest.raises(UnusableResponseError, match="got a page of extensions"):
        await READS["list"](
            Service(ok({"installed_add_ons": [], "meta": {"key": "extensions"}})).call
        )


async def test_unknown_fields_and_the_case_of_sids_are_no_mismatch() -> None:
    upper = installed(sid=XE.upper(), account_sid="AC" + "A" * 32)
    for document in (upper, installed(account_sid=...), installed(account_sid=None, links=5)):
        assert await READS["fetch"](Service(ok(document)).call)
        assert await READS["list"](Service(page(document)).call)
    usage = await report(Service(ok({"billable_items": [{}, {"sid": BI}]})).call, BI, OTHER_BI)
    assert len(usage.billable_items or ()) == 2


async def test_the_account_is_compared_only_if_the_credentials_tell_it() -> None:
    service = Service(ok(installed(account_sid=OTHER_AC)), account_sid=None)
    assert (await READS["fetch"](service.call)).account_sid == OTHER_AC


# -- unknown fields decide nothing


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"unique_name": ...}, "unique_name"),
        ({"unique_name": 5}, "unique_name"),
        ({"account_sid": ...}, "account_sid"),
        ({"account_sid": None}, "account_sid"),
        ({"links": ...}, "links"),
        ({"links": None}, "links"),
        ({"links": {"available_add_on": None}}, "links"),
        ({"configuration": ...}, "configuration"),
        ({"configuration": "{}"}, "configuration"),
    ],
)
async def test_ensure_changes_nothing_if_a_field_that_decides_is_unknown(
    changes: dict[str, Any], field: str
) -> None:
    service = Service(page(installed(**changes)))
    with pytest.raises(UnreadableFieldError, match=f"{XE}: .* readable {field}") as raised:
        await ensure(service.call)
    assert (raised.value.sid, raised.value.fields) == (XE, (field,))
    assert service.requests == ["GET /v1/InstalledAddOns"]
    # The same for an inventory that the caller has read.
    service = Service(page(installed(**changes)))
    inventory = await InstalledAddOns(service.call).list().collect()
    with pytest.raises(UnreadableFieldError):
        await ensure(service.call, inventory=inventory)
    assert len(service.requests) == 1


async def test_a_name_that_is_null_is_known_and_an_exact_match_decides_before_an_unknown_name() -> (
    None
):
    for other in ({"unique_name": None}, {"unique_name": ...}):
        service = Service(page(installed(), installed(sid=OTHER_XE, **other)))
        assert (await ensure(service.call)).action == "unchanged"
    service = Service(page(installed(sid=OTHER_XE, unique_name=None)), ok(installed(), 201))
    assert (await ensure(service.call)).action == "installed"


async def test_an_inventory_of_another_account_is_refused() -> None:
    service = Service(page())
    other = InstalledAddOn(sid=XE, account_sid=OTHER_AC, unique_name="spam")
    with pytest.raises(ValueError, match=f"inventory: {XE} belongs to another account"):
        await ensure(service.call, inventory=[other])
    assert service.requests == []


async def test_ensure_names_a_malformed_sid_that_the_service_returned() -> None:
    other = installed(sid="odd", unique_name="other")
    service = Service(page(other, installed(sid="bogus", configuration={})))
    reason = r"installed_add_ons\[1\]\.sid: 'bogus' is not the SID of an installed Add-on"
    with pytest.raises(UnusableResponseError, match=reason) as error:
        await ensure(service.call)
    assert error.value.request.operation == "installed_add_ons.list"
    assert service.requests == ["GET /v1/InstalledAddOns"]
    # Another record's odd SID decides nothing.
    assert (await ensure(Service(page(other, installed())).call)).action == "unchanged"
    inventory = [InstalledAddOn(sid="bogus", account_sid=AC, unique_name="spam")]
    with pytest.raises(ValueError, match="inventory: sid: 'bogus' is not the SID"):
        await ensure(service.call, inventory=inventory)


@pytest.mark.parametrize("field", ["unique_name", "links", "configuration", "account_sid"])
async def test_a_lost_create_is_not_reconciled_on_an_unknown_field(field: str) -> None:
    lost = TransportError(Request("POST", "/v1/InstalledAddOns"), "lost")
    service = Service(lost, page(installed(**{field: ...})))
    with pytest.raises(AmbiguousOutcomeError, match=field):
        await create(service.call)
    assert service.requests == ["POST /v1/InstalledAddOns", "GET /v1/InstalledAddOns"]


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"configuration": {"threshold": 1, "level": "default"}}, "level was not asked for"),
        ({"unique_name": "SPAM"}, "unique_name is 'SPAM', not 'spam'"),
    ],
)
async def test_a_lost_create_that_may_be_what_has_the_name_stays_unknown(
    changes: dict[str, Any], difference: str
) -> None:
    lost = TransportError(Request("POST", "/v1/InstalledAddOns"), "lost")
    conflict = ok({"message": "taken"}, 409)
    service = Service(lost, page(), conflict, page(installed(**changes)))
    with pytest.raises(AmbiguousOutcomeError, match=difference):
        await create(service.call)
    # A different Add-on has the name: nothing was installed.
    links = {"available_add_on": f"https://x.example/v1/AvailableAddOns/{OTHER_XB}"}
    service = Service(lost, page(), conflict, page(installed(**changes, links=links)))
    with pytest.raises(ConflictError):
        await create(service.call)


async def test_a_schema_that_is_unknown_is_not_taken_for_no_schema() -> None:
    service = Service(ok({"sid": XB}))
    add_on = await AvailableAddOns(service.call).fetch(XB)
    with pytest.raises(SchemaError, match=f"the configuration schema of {XB} is unknown"):
        configuration_errors(add_on, {})
    assert configuration_errors(AvailableAddOn(sid=XB, configuration_schema=None), {}) == ()


# -- lists on which a write depends


def unstated(*items: Any, **meta: Any) -> Response:
    return ok({"installed_add_ons": items, "meta": {"key": "installed_add_ons", **meta}})


async def test_a_write_depends_only_on_a_list_that_says_that_it_ends() -> None:
    service = Service(unstated(installed(unique_name="other")))
    with pytest.raises(IncompleteListError, match="does not say that it is the last"):
        await ensure(service.call)
    assert service.requests == ["GET /v1/InstalledAddOns"]
    lost = TransportError(Request("POST", "/v1/InstalledAddOns"), "lost")
    service = Service(lost, ok({"installed_add_ons": []}))
    with pytest.raises(AmbiguousOutcomeError, match="does not say that it is the last"):
        await create(service.call)
    # What was found is found.
    assert (await ensure(Service(unstated(installed())).call)).action == "unchanged"


async def test_a_list_without_an_end_ends_ensure() -> None:
    served = 0

    def endless(request: Request) -> Response:
        nonlocal served
        served += 1
        link = f"https://x.example/v1/InstalledAddOns?PageToken=PA{served}"
        return page(installed(sid=f"XE{served:032x}", unique_name="other"), next_page_url=link)

    with pytest.raises(IncompleteListError, match="does not end after 1000 pages"):
        await ensure(Service(endless).call)
    assert served == 1000


# -- ensure compares its result with what was asked


class Store:
    """A service that keeps one installation, and changes what it is given."""

    def __init__(
        self,
        *,
        name: Callable[[str], str] = str,
        configuration: Callable[[dict[str, Any]], dict[str, Any]] = dict,
        **changes: Any,
    ) -> None:
        self.name, self.configuration, self.changes = name, configuration, changes
        self.installed: dict[str, Any] | None = None
        self.requests: list[str] = []

    def __call__(self, request: Request) -> Response:
        self.requests.append(request.method)
        if request.method == "GET":
            return page(*([self.installed] if self.installed else []))
        fields = {
            key: values[0] for key, values in parse_qs((request.body or b"").decode()).items()
        }
        if request.path == "/v1/InstalledAddOns" and self.installed:
            return ok({"code": 20409, "message": "taken"}, 409)
        known = self.installed or installed()
        name = self.name(fields["UniqueName"]) if "UniqueName" in fields else known["unique_name"]
        configuration = self.configuration(json.loads(fields.get("Configuration", "{}")))
        self.installed = {**known, "unique_name": name, "configuration": configuration}
        return ok({**self.installed, **self.changes}, 201)


async def test_a_service_that_returns_equal_numbers_is_ensured_once() -> None:
    store = Store(configuration=lambda asked: {key: float(value) for key, value in asked.items()})
    assert (await ensure(Service(store).call)).action == "installed"
    assert (await ensure(Service(store).call)).action == "unchanged"
    assert store.requests == ["GET", "POST", "GET"]


async def test_a_service_that_adds_defaults_is_reported_and_not_asked_forever() -> None:
    store = Store(configuration=lambda asked: {**asked, "secret": "s3cret", "nested": {"a": 1}})
    for action in ("installed", "updated"):
        store.requests.clear()
        with pytest.raises(NotEnsuredError) as raised:
            await ensure(Service(store).call)
        assert raised.value.action == action
        assert raised.value.record.sid == XE
        assert str(raised.value) == (
            f"{XE}: {action}, but not as asked: configuration.secret was not asked for; "
            "configuration.nested was not asked for"
        )
        assert store.requests == ["GET", "POST"]
    assert "s3cret" not in str(raised.value)


async def test_a_service_that_folds_names_is_reported_and_not_asked_forever() -> None:
    store = Store(name=str.lower)
    with pytest.raises(UnusableResponseError, match="unique_name is 'spam', not 'Spam'"):
        await ensure(Service(store).call, unique_name="Spam")
    store.requests.clear()
    with pytest.raises(NotEnsuredError, match="unique_name is 'spam', not 'Spam'") as raised:
        await ensure(Service(store).call, unique_name="Spam")
    assert raised.value.action is None
    assert str(raised.value).startswith(f"{XE}: unchanged, and not as asked")
    assert store.requests == ["GET", "POST", "GET"]


async def test_an_add_on_that_was_renamed_meanwhile_is_reported() -> None:
    service = Service(page(installed(configuration={})), ok(installed(unique_name="other")))
    with pytest.raises(NotEnsuredError, match="unique_name is 'other', not 'spam'") as raised:
        await ensure(service.call)
    assert raised.value.action == "updated"
    assert len(service.requests) == 2


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"configuration": {"threshold": 2}}, "configuration.threshold has another value"),
        ({"configuration": {}}, "configuration.threshold is missing"),
        ({"configuration": ...}, "configuration is unknown"),
        ({"unique_name": ...}, "unique_name is unknown"),
        ({"account_sid": None}, "account_sid is unknown"),
        ({"links": ...}, "available_add_on_sid is unknown"),
    ],
)
async def test_a_result_that_does_not_tell_or_differs_is_not_reported_as_done(
    changes: dict[str, Any], difference: str
) -> None:
    for found, action in ((page(), "installed"), (page(installed(configuration={})), "updated")):
        service = Service(found, ok(installed(**changes)))
        with pytest.raises(NotEnsuredError, match=difference) as raised:
            await ensure(service.call)
        assert raised.value.action == action
        assert len(service.requests) == 2


async def test_a_name_that_conflicts_but_is_not_listed_ends_ensure() -> None:
    def conflict(request: Request) -> Response:
        return page() if request.method == "GET" else ok({"message": "taken"}, 409)

    service = Service(conflict)
    with pytest.raises(ConflictError):
        await ensure(service.call)
    assert len(service.requests) == 7


async def test_a_different_add_on_with_the_name_is_a_conflict() -> None:
    links = {"available_add_on": f"https://x.example/v1/AvailableAddOns/{OTHER_XB}"}

    def other(request: Request) -> Response:
        if request.method == "GET":
            return page(installed(links=links))
        return ok({"message": "taken"}, 409)

    service = Service(other)
    with pytest.raises(ConflictError):
        await ensure(service.call)
    assert len(service.requests) == 3


async def test_repaired_fields_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "marketplace_async"):
        await READS["fetch"](Service(ok(installed(date_created=""))).call)
    (message,) = caplog.messages
    assert message.startswith(
        f"installed_add_ons.fetch: GET /v1/InstalledAddOns/{XE} -> unknown fields: "
        f"{XE}: could not read date_created ["
    )
