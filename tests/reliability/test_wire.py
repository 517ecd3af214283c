"""What is checked is what is sent: the value itself, not what it shows itself as."""

import asyncio
import contextlib
import json
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from enum import Enum
from random import Random
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings, strategies as st
from support.disguises import ShownDecimal, ShownDict, ShownInt, ShownText, disguised
from support.raw_servers import web_server

from marketplace_async import (
    AccountToken,
    ApiKey,
    AvailableAddOn,
    BillableItem,
    ClientCredentials,
    MarketplaceClient,
    MarketplaceError,
    Request,
    Retry,
    configuration_errors,
)
from marketplace_async.testing import account, emulated

XE = "XE" + "a" * 32
SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
SPEECH_TO_TEXT = "XB85b56ed9ce713e0ac62342b901233193"
ONCE = Retry(attempts=1)


class Sent(NamedTuple):
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, list[str]]
    body: bytes
    headers: dict[str, str]

    @property
    def form(self) -> dict[str, str]:
        fields = parse_qs(self.body.decode("ascii"), strict_parsing=True, keep_blank_values=True)
        return {name: value for name, (value,) in fields.items()}


class Wire(NamedTuple):
    url: str
    sent: list[Sent]
    client: MarketplaceClient


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    """A client, and what arrives at its server, which knows nothing."""
    sent: list[Sent] = []

    async def respond(request: web.Request) -> web.Response:
        path, _, query = request.raw_path.partition("?")
        sent.append(
            Sent(
                request.method,
                path,
                parse_qs(query, strict_parsing=bool(query), keep_blank_values=True),
                await request.read(),
                dict(request.headers),
            )
        )
        return web.json_response({"code": 20404}, status=404)

    async with web_server(respond) as url:
        async with MarketplaceClient(account(), base_url=url, retry=ONCE) as client:
            yield Wire(url, sent, client)


# -- every operation


def sids(prefix: str) -> st.SearchStrategy[str]:
    return st.text("0123456789abcdefABCDEF", min_size=32, max_size=32).map(prefix.__add__)


NAMES = st.text(min_size=1).filter(str.strip)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
OBJECTS = st.dictionaries(
    st.text(),
    st.recursive(
        st.none() | st.booleans() | NUMBERS | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    ),
    max_size=4,
)
FLAGS = st.booleans()
AMOUNTS = st.decimals(min_value="0.001", max_value=10**9, places=3) | st.integers(1, 10**20)
PAGE = {"limit": st.integers(1), "page_size": st.integers(1, 1000)}
LINKS = st.integers(1, 1000).map("/v1/InstalledAddOns?PageToken=PA1&PageSize={}".format)

Arguments = dict[str, st.SearchStrategy[Any]]
Call = Callable[..., Awaitable[object]]

INSTALL = {
    "available_add_on_sid": sids("XB"),
    "accept_terms_of_service": FLAGS,
    "configuration": OBJECTS,
    "unique_name": NAMES,
}
PARTS = (
    *("module_info", "description", "documentation", "policies"),
    *("support", "configuration", "pricing"),
)


def page(args: dict[str, Any]) -> dict[str, list[str]]:
    return {"PageSize": [str(args["page_size"])]}


class Operation(NamedTuple):
    """An operation, its arguments, and what it has to send for them."""

    arguments: Arguments
    call: Call
    method: str
    path: str
    query: Callable[[dict[str, Any]], dict[str, list[str]]] = lambda _: {}
    form: Callable[[dict[str, Any]], dict[str, Any]] | None = None


OPERATIONS = {
    "available_add_ons.list": Operation(
        PAGE,
        lambda c, **args: c.available_add_ons.list(**args).collect(),
        *("GET", "/v1/AvailableAddOns", page),
    ),
    "available_add_ons.fetch": Operation(
        {"sid": sids("XB")},
        lambda c, sid: c.available_add_ons.fetch(sid),
        *("GET", "/v1/AvailableAddOns/{sid}"),
    ),
    "available_add_ons.extensions.list": Operation(
        {"sid": sids("XB"), **PAGE},
        lambda c, sid, **args: c.available_add_ons.extensions(sid).list(**args).collect(),
        *("GET", "/v1/AvailableAddOns/{sid}/Extensions", page),
    ),
    "available_add_ons.extensions.fetch": Operation(
        {"sid": sids("XB"), "extension": sids("XF")},
        lambda c, sid, extension: c.available_add_ons.extensions(sid).fetch(extension),
        *("GET", "/v1/AvailableAddOns/{sid}/Extensions/{extension}"),
    ),
    "installed_add_ons.list": Operation(
        PAGE,
        lambda c, **args: c.installed_add_ons.list(**args).collect(),
        *("GET", "/v1/InstalledAddOns", page),
    ),
    "installed_add_ons.create": Operation(
        INSTALL,
        lambda c, **args: c.installed_add_ons.create(**args),
        *("POST", "/v1/InstalledAddOns"),
        form=lambda args: {
            "AvailableAddOnSid": args["available_add_on_sid"],
            "AcceptTermsOfService": "true" if args["accept_terms_of_service"] else "false",
            "Configuration": args["configuration"],
            "UniqueName": args["unique_name"],
        },
    ),
    "installed_add_ons.fetch": Operation(
        {"sid": sids("XE")},
        lambda c, sid: c.installed_add_ons.fetch(sid),
        *("GET", "/v1/InstalledAddOns/{sid}"),
    ),
    "installed_add_ons.update": Operation(
        {"sid": sids("XE"), "configuration": OBJECTS, "unique_name": NAMES},
        lambda c, sid, **args: c.installed_add_ons.update(sid, **args),
        *("POST", "/v1/InstalledAddOns/{sid}"),
        form=lambda args: {
            "Configuration": args["configuration"],
            "UniqueName": args["unique_name"],
        },
    ),
    "installed_add_ons.delete": Operation(
        {"sid": sids("XE")},
        lambda c, sid: c.installed_add_ons.delete(sid),
        *("DELETE", "/v1/InstalledAddOns/{sid}"),
    ),
    "installed_add_ons.extensions.list": Operation(
        {"sid": sids("XE"), **PAGE},
        lambda c, sid, **args: c.installed_add_ons.extensions(sid).list(**args).collect(),
        *("GET", "/v1/InstalledAddOns/{sid}/Extensions", page),
    ),
    "installed_add_ons.extensions.fetch": Operation(
        {"sid": sids("XE"), "extension": sids("XF")},
        lambda c, sid, extension: c.installed_add_ons.extensions(sid).fetch(extension),
        *("GET", "/v1/InstalledAddOns/{sid}/Extensions/{extension}"),
    ),
    "installed_add_ons.extensions.update": Operation(
        {"sid": sids("XE"), "extension": sids("XF"), "enabled": FLAGS},
        lambda c, sid, extension, enabled: c.installed_add_ons.extensions(sid).update(
            extension, enabled=enabled
        ),
        *("POST", "/v1/InstalledAddOns/{sid}/Extensions/{extension}"),
        form=lambda args: {"Enabled": "true" if args["enabled"] else "false"},
    ),
    "installed_add_ons.usage.create": Operation(
        {"sid": sids("XE"), "item": sids("BI"), "quantity": AMOUNTS},
        lambda c, sid, item, quantity: c.installed_add_ons.usage(sid).create(
            [BillableItem(item, quantity)]
        ),
        *("POST", "/v1/InstalledAddOns/{sid}/Usage"),
    ),
    "listings.create": Operation(
        {"module_info": OBJECTS, "configuration": OBJECTS},
        lambda c, **args: c.listings.create(**args),
        *("POST", "/v1/Listings"),
        form=lambda args: {
            "ModuleInfo": args["module_info"],
            "Configuration": args["configuration"],
        },
    ),
    "listings.list_own": Operation({}, lambda c: c.listings.list_own(), "GET", "/v1/Listings"),
    "listings.fetch": Operation(
        {"sid": sids("XB")}, lambda c, sid: c.listings.fetch(sid), "GET", "/v1/Listing/{sid}"
    ),
    "listings.update": Operation(
        {"sid": sids("XB"), **dict.fromkeys(PARTS, OBJECTS)},
        lambda c, sid, **args: c.listings.update(sid, **args),
        *("POST", "/v1/Listing/{sid}"),
        form=lambda args: {part.title().replace("_", ""): args[part] for part in PARTS},
    ),
    "referral_conversions.create": Operation(
        {"sid": sids("AC")},
        lambda c, sid: c.referral_conversions.create(referral_account_sid=sid),
        *("POST", "/v1/ReferralConversion"),
    ),
    # Beside the 18 operations of the API:
    "accounts.fetch": Operation(
        {"sid": sids("AC")},
        lambda c, sid: c.accounts.fetch(sid),
        *("GET", "/2010-04-01/Accounts/{sid}.json"),
    ),
    "accounts.list": Operation(
        {
            "status": st.sampled_from(["active", "suspended", "closed"]),
            "friendly_name": NAMES,
            "page_size": st.integers(1, 1000),
        },
        lambda c, **args: c.accounts.list(**args).collect(),
        *("GET", "/2010-04-01/Accounts.json"),
        query=lambda args: {
            "Status": [args["status"]],
            "FriendlyName": [args["friendly_name"]],
            **page(args),
        },
    ),
    "list(start=)": Operation(
        {"start": LINKS},
        lambda c, start: c.installed_add_ons.list(start=start).collect(),
        *("GET", "/v1/InstalledAddOns"),
        query=lambda args: parse_qs(args["start"].partition("?")[2]),
    ),
    "send": Operation(
        {
            "method": st.sampled_from(["GET", "POST", "DELETE"]),
            "query": st.dictionaries(
                st.text(min_size=1), st.text() | st.integers() | st.booleans(), max_size=3
            ),
            "body": st.just(b"{}"),
        },
        lambda c, **args: c.send(Request(path=ShownText("/v1/X"), **args)),
        *("{method}", "/v1/X"),
        query=lambda args: {
            name: [str(value).lower() if isinstance(value, bool) else str(value)]
            for name, value in args["query"].items()
        },
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data(), random=st.randoms(use_true_random=False))
async def test_an_operation_sends_exactly_the_values_that_it_checked(
    wire: Wire, name: str, data: st.DataObject, random: Random
) -> None:
    operation = OPERATIONS[name]
    plain = {key: data.draw(values, key) for key, values in operation.arguments.items()}
    wire.sent.clear()
    with contextlib.suppress(MarketplaceError):
        await operation.call(
            wire.client, **{key: disguised(value, random) for key, value in plain.items()}
        )
    (sent,) = wire.sent
    assert (sent.method, sent.path) == (
        operation.method.format(**plain),
        operation.path.format(**plain),
    )
    assert sent.query == operation.query(plain)
    if operation.form is not None:
        expected = operation.form(plain)
        # The repr tells 1, 1.0 and True apart.
        assert {
            field: repr(json.loads(text)) if isinstance(expected[field], dict) else text
            for field, text in sent.form.items()
        } == {
            field: repr(value) if isinstance(value, dict) else value
            for field, value in expected.items()
        }
    elif name == "installed_add_ons.usage.create":
        item = {"sid": plain["item"], "quantity": Decimal(plain["quantity"])}
        read = json.loads(sent.body, parse_float=Decimal, parse_int=Decimal)
        assert read == {"billable_items": [item]}
    elif name == "referral_conversions.create":
        assert json.loads(sent.body) == {"referral_account_sid": plain["sid"]}


def test_the_table_has_all_operations() -> None:
    assert len(OPERATIONS) == 18 + 4


# -- credentials and headers


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    account_sid=sids("AC"),
    key_sid=sids("SK"),
    client_id=sids("OQ"),
    secret=NAMES,
    random=st.randoms(use_true_random=False),
)
async def test_credentials_are_sent_exactly_as_they_were_checked(
    wire: Wire, account_sid: str, key_sid: str, client_id: str, secret: str, random: Random
) -> None:
    def shown(text: str) -> str:
        value: str = disguised(text, random)
        return value

    wire.sent.clear()
    for credentials in (
        AccountToken(shown(account_sid), shown(secret)),
        ApiKey(shown(key_sid), shown(secret), shown(account_sid)),
        ClientCredentials(shown(client_id), shown(secret), shown(account_sid)),
    ):
        assert type(credentials.account_sid) is str
        with contextlib.suppress(MarketplaceError):
            await wire.client.with_credentials(credentials).listings.list_own()
    by_token, by_key, app = wire.sent
    for sent, user in ((by_token, account_sid), (by_key, key_sid)):
        encoded = sent.headers["Authorization"].removeprefix("Basic ")
        assert b64decode(encoded).decode() == f"{user}:{secret}"
    assert app.form == {
        "grant_type": "client_credentials",
        "client_id": client_id,
        "client_secret": secret,
    }


@pytest.mark.parametrize("operation", ["listings.list_own", "listings.create", "accounts.fetch"])
async def test_headers_of_an_application_are_added_to_every_request(
    wire: Wire, operation: str
) -> None:
    client = MarketplaceClient(
        account(),
        base_url=ShownText(wire.url),
        user_agent=ShownText("billing/1.4 (team a)"),
        headers=ShownDict({ShownText("X-Gateway"): ShownText("a b"), "X-Empty": "-"}),
        retry=ONCE,
    )
    arguments: dict[str, dict[str, Any]] = {
        "listings.list_own": {},
        "listings.create": {"module_info": {}, "configuration": {}},
        "accounts.fetch": {"sid": "AC" + "1" * 32},
    }
    async with client:
        with contextlib.suppress(MarketplaceError):
            await OPERATIONS[operation].call(client, **arguments[operation])
        with contextlib.suppress(MarketplaceError):
            await OPERATIONS[operation].call(wire.client, **arguments[operation])
    sent, without = wire.sent
    ours = without.headers.pop("User-Agent")
    assert ours.startswith("marketplace_async/")
    assert sent.headers.pop("User-Agent") == f"billing/1.4 (team a) {ours}"
    assert sent.headers == {**without.headers, "X-Gateway": "a b", "X-Empty": "-"}


# -- what follows from a value that is not the one that was checked


class Name(str, Enum):  # noqa: UP042 - its str() is "Name.A"
    A = "transcription"


class Given(str, Enum):  # noqa: UP042
    SID = SPEECH_TO_TEXT
    KEY = "callback_method"
    VALUE = "POST"


async def test_ensure_with_an_enum_member_installs_once() -> None:
    async with emulated() as (client, _):
        ensured = [
            await client.installed_add_ons.ensure(
                unique_name=Name.A,
                available_add_on_sid=Given.SID,
                accept_terms_of_service=True,
                configuration={Given.KEY: Given.VALUE},
            )
            for _ in range(2)
        ]
        assert [one.action for one in ensured] == ["installed", "unchanged"]
        assert ensured[1].record.unique_name == "transcription"
        assert ensured[1].record.configuration == {"callback_method": "POST"}


async def test_a_response_is_compared_with_the_value_that_was_sent() -> None:
    async with emulated() as (client, _):
        name, free = ShownText("transcription"), ShownText("free")
        installed = await client.installed_add_ons.create(
            available_add_on_sid=ShownText(SPEECH_TO_TEXT),
            accept_terms_of_service=True,
            unique_name=name,
            configuration={ShownText("callback_method"): ShownText("POST")},
        )
        sid = ShownText(installed.sid)
        assert await client.installed_add_ons.fetch(sid) == installed
        updated = await client.installed_add_ons.update(sid, unique_name=free)
        assert updated.unique_name == "free"
        extensions = client.installed_add_ons.extensions(sid)
        (extension,) = await extensions.list(limit=ShownInt(9)).collect()
        assert await extensions.fetch(ShownText(extension.sid)) == extension
        assert (await extensions.update(ShownText(extension.sid), enabled=True)).enabled
        items = [BillableItem(ShownText("BI" + "a" * 32), ShownDecimal("12.355"))]
        report = await client.installed_add_ons.usage(sid).create(items)
        assert report.total_submitted == Decimal("12.355")
        add_on = await client.available_add_ons.fetch(ShownText(SPEECH_TO_TEXT))
        assert add_on.sid == SPEECH_TO_TEXT
        available = client.available_add_ons.extensions(ShownText(SPEECH_TO_TEXT))
        (other,) = await available.list().collect()
        assert await available.fetch(ShownText(other.sid)) == other
        listing = await client.listings.create(module_info={ShownText("a"): ShownText("b")})
        assert await client.listings.fetch(ShownText(listing.sid)) == listing
        await client.listings.update(ShownText(listing.sid), pricing={"a": ShownInt(1)})
        await client.referral_conversions.create(referral_account_sid=ShownText("AC" + "b" * 32))
        parent = account().account_sid
        assert (await client.accounts.fetch(ShownText(parent))).sid == parent


async def test_deleting_by_an_enum_member_deletes_even_if_a_response_is_lost() -> None:
    async with emulated() as (client, emulator):
        (found,) = emulator.install(account().account_sid, SPAM_SCORE)
        sid = disguised(found, Random(1))
        emulator.faults.add("DELETE", "*", drop=True, when="after")
        await client.installed_add_ons.delete(sid)
        assert await client.installed_add_ons.list().collect() == []


async def test_a_schema_is_checked_against_what_is_sent() -> None:
    schema = {"properties": {"a": {"enum": ["transcription"]}}}
    add_on = AvailableAddOn(sid=SPAM_SCORE, configuration_schema=schema)
    assert configuration_errors(add_on, {"a": Name.A}) == ()
    assert len(configuration_errors(add_on, {ShownText("a"): ShownText("other")})) == 1


async def test_changing_a_configuration_during_a_call_changes_nothing() -> None:
    async with emulated() as (client, emulator):
        configuration = {"callback_method": "POST"}
        emulator.faults.add("POST", "*", drop=True, when="after")
        creating = asyncio.ensure_future(
            client.installed_add_ons.create(
                unique_name="a",
                available_add_on_sid=SPEECH_TO_TEXT,
                accept_terms_of_service=True,
                configuration=configuration,
            )
        )
        await asyncio.sleep(0)
        configuration["callback_method"] = "GET"
        # The response was lost, so the client compares what it finds with what it sent.
        assert (await creating).configuration == {"callback_method": "POST"}
