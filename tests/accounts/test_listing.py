"""`client.accounts`: what the parent account lists, and how its auth tokens stay hidden."""

import asyncio
import json
import logging
import pickle
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st
from support.accounts import PARENT, SECRET, assert_hidden, collect, sid_of
from support.wire_server import http_response, sending, serving

from marketplace_async import (
    Account,
    AccountToken,
    ClientCredentials,
    MarketplaceClient,
    MarketplaceError,
    NotFoundError,
    PermissionDeniedError,
    Response,
    ResponseError,
    Retry,
    UnusableResponseError,
    accounts,
    capture,
)
from marketplace_async.accounts.listing import _utc
from marketplace_async.emulator import Emulator
from marketplace_async.testing import account, emulated

SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
PATH = "/2010-04-01/Accounts.json"


async def test_a_parent_lists_itself_and_its_subaccounts_with_their_credentials() -> None:
    async with emulated() as (client, emulator):
        added = emulator.add_subaccounts(PARENT, 3, friendly_name="Shop {number}")
        emulator.install(added[1][0], SPAM_SCORE)
        parent, *subaccounts = await client.accounts.list().collect()
        assert (parent.sid, parent.owner_account_sid) == (PARENT, PARENT)
        assert [one.credentials for one in subaccounts] == [AccountToken(*one) for one in added]
        assert [one.friendly_name for one in subaccounts] == ["Shop 1", "Shop 2", "Shop 3"]
        assert {one.owner_account_sid for one in subaccounts} == {PARENT}
        assert {one.status for one in subaccounts} == {"active"}
        for one in subaccounts:
            assert one.credentials is not None
            assert one.date_created is not None
            assert one.date_created.tzinfo is UTC
            assert abs((datetime.now(UTC) - one.date_created).total_seconds()) < 60
            assert await client.accounts.fetch(one.sid) == one
            derived = client.with_credentials(one.credentials)
            installed = await derived.installed_add_ons.list().collect()
            assert [each.account_sid for each in installed] == [one.sid] * (one.sid == added[1][0])
            assert await derived.accounts.list().collect() == [one]


async def test_the_listing_follows_page_links_without_a_host() -> None:
    async with emulated() as (client, emulator):
        emulator.add_subaccounts(PARENT, 9, status="suspended")
        emulator.add_subaccounts(PARENT, 1)
        suspended = client.accounts.list(status="suspended", page_size=4)
        pages = [page async for page in suspended.pages()]
        assert [len(page.items) for page in pages] == [4, 4, 1]
        first = pages[0].next_url
        assert first is not None
        assert first.startswith(f"{PATH}?Status=suspended&PageSize=4&Page=1&PageToken=")
        rest = await client.accounts.list(start=first).collect()
        assert rest == [*pages[1].items, *pages[2].items]
        assert await suspended.collect() == [*pages[0].items, *rest]
        assert len(await client.accounts.list(limit=7, page_size=3).collect()) == 7
        assert {entry.path for entry in emulator.log} == {PATH}


async def test_the_listing_filters_by_status_and_name() -> None:
    async with emulated() as (client, emulator):
        for status in ("active", "suspended", "closed"):
            emulator.add_subaccounts(PARENT, friendly_name=f"is {status}", status=status)
        everything = await client.accounts.list().collect()
        assert [one.status for one in everything] == ["active", "active", "suspended", "closed"]
        statuses: tuple[accounts.AccountStatus, ...] = ("active", "suspended", "closed")
        for status in statuses:
            (one,) = await client.accounts.list(
                status=status, friendly_name=f"is {status}"
            ).collect()
            assert one.status == status
            assert one.credentials is not None
            derived = client.with_credentials(one.credentials)
            if status == "active":
                await derived.installed_add_ons.list().collect()
            else:
                with pytest.raises(PermissionDeniedError, match=f"403 20403: .* is {status}"):
                    await derived.installed_add_ons.list().collect()
                with pytest.raises(PermissionDeniedError):
                    await derived.accounts.fetch(one.sid)


async def test_a_subaccount_of_another_account_is_not_found() -> None:
    async with emulated() as (client, emulator):
        ((sid, _),) = emulator.add_subaccounts(sid_of(2))
        with pytest.raises(NotFoundError):
            await client.accounts.fetch(sid)


async def test_invalid_arguments_raise_before_any_request() -> None:
    async with emulated() as (client, emulator):
        for options, message in (
            ({"status": "gone"}, "status: expected one of active, suspended, closed, got 'gone'"),
            ({"friendly_name": " "}, "friendly_name: must not be blank"),
            ({"page_size": 0}, "page_size: expected 1 to 1000"),
            (
                {"start": f"{PATH}?Page=1", "status": "active"},
                "Status: cannot be combined with start",
            ),
            ({"start": "/v1/InstalledAddOns?Page=1"}, "start: expected a link to a page of"),
        ):
            with pytest.raises(ValueError, match=message):
                client.accounts.list(**options)
        with pytest.raises(ValueError, match=r"sid: .* is not the SID of an account"):
            await client.accounts.fetch("../x")
        assert len(emulator.log) == 0


@pytest.mark.parametrize("link", ["repeated", "cyclic", "foreign"])
async def test_an_invalid_page_link_ends_the_list_with_an_error(link: Any) -> None:
    async with emulated() as (client, emulator):
        added = emulator.add_subaccounts(PARENT, 5)
        emulator.faults.add("GET", PATH, next_link=link, times=None)
        found: list[Account] = []
        with pytest.raises(ResponseError, match="the link to the next page: points") as error:
            await collect(client.accounts.list(page_size=4), found)
        assert [one.sid for one in found] == [PARENT, *(sid for sid, _ in added[:3])]
        assert error.value.response.body == b""


async def test_the_listing_is_retried_within_the_concurrency_of_the_client() -> None:
    async with emulated(concurrency=1, retry=Retry(initial_backoff=0.001)) as (client, emulator):
        emulator.faults.add("GET", PATH, status=429)
        emulator.faults.add("GET", PATH, drop=True)
        lists = await asyncio.gather(*(client.accounts.list().collect() for _ in range(5)))
        assert {len(items) for items in lists} == {1}
        assert {entry.status for entry in emulator.log} == {429, None, 200}


async def test_client_credentials_can_list_accounts() -> None:
    async with Emulator() as emulator:
        app = ClientCredentials(f"OQ{PARENT[2:]}", "x")
        async with MarketplaceClient(app, base_url=emulator.url) as client:
            assert [one.sid async for one in client.accounts.list()] == [PARENT]


def test_the_host_for_accounts_includes_region_and_edge() -> None:
    def host(**options: Any) -> str:
        return MarketplaceClient(account(), **options)._api_url

    assert host() == "https://api.twilio.com"
    assert host(region="au1", edge="sydney") == "https://api.sydney.au1.twilio.com"
    assert host(base_url="http://127.0.0.1:1") == "http://127.0.0.1:1"


# -- responses


def responding_with(document: Any) -> AbstractAsyncContextManager[MarketplaceClient]:
    """A client of a server that sends this document in every response."""
    return serving(sending(http_response(json.dumps(document).encode())))


async def test_accounts_that_the_filters_exclude_do_not_belong_to_the_list() -> None:
    document = {
        "accounts": [{"sid": PARENT, "status": "suspended", "friendly_name": "Shop"}],
        "next_page_uri": None,
    }
    async with responding_with(document) as client:
        for filters, reason in (
            ({"status": "active"}, "status is 'suspended', not 'active'"),
            ({"friendly_name": "Store"}, "friendly_name is 'Shop', not 'Store'"),
        ):
            with pytest.raises(UnusableResponseError, match=f"{PARENT} does not .*: {reason}"):
                await client.accounts.list(**filters).collect()  # type: ignore[arg-type]
        asked = client.accounts.list(status="suspended", friendly_name="Shop")
        assert len(await asked.collect()) == 1


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("Thu, 07 Apr 2016 23:52:28 +0000", datetime(2016, 4, 7, 23, 52, 28, tzinfo=UTC)),
        ("Thu, 07 Apr 2016 23:52:28 +0200", datetime(2016, 4, 7, 21, 52, 28, tzinfo=UTC)),
        ("Thu, 07 Apr 2016 23:52:28 -0000", datetime(2016, 4, 7, 23, 52, 28, tzinfo=UTC)),
        (None, None),
    ],
)
async def test_dates_of_rfc_2822_are_aware_and_in_utc(
    text: str | None, date: datetime | None
) -> None:
    async with responding_with({"sid": PARENT, "date_created": text}) as client:
        found = await client.accounts.fetch(PARENT)
    assert found == Account(sid=PARENT, date_created=date)
    assert date is None or (found.date_created or date).tzinfo is UTC


@given(st.text())
def test_a_date_is_read_or_noted_as_unreadable(text: str) -> None:
    unreadable: dict[str, Any] = {}
    date = _utc(text, "date", unreadable)
    assert (date is None) == (unreadable == {"date": text})


@pytest.mark.parametrize(
    ("changes", "unreadable"),
    [
        ({"auth_token": [SECRET]}, {"credentials": attrs.NOTHING}),
        ({"auth_token": " "}, {"credentials": attrs.NOTHING}),
        ({"date_created": "never"}, {"date_created": "never"}),
        ({"date_updated": "2016-04-07T23:52:28Z"}, {"date_updated": "2016-04-07T23:52:28Z"}),
        ({"friendly_name": 5}, {"friendly_name": 5}),
    ],
)
async def test_an_odd_field_of_an_account_costs_only_itself(
    changes: dict[str, Any], unreadable: dict[str, Any]
) -> None:
    dates = dict.fromkeys(["date_created", "date_updated"], "Thu, 07 Apr 2016 23:52:28 +0000")
    names = {"friendly_name": "One", "status": "active", "owner_account_sid": PARENT}
    good = {"sid": PARENT, "auth_token": SECRET, **dates, **names}
    page = {"accounts": [good, {**good, **changes}], "next_page_uri": None}
    async with responding_with(page) as client:
        first, second = await client.accounts.list().collect()
    assert (first.unreadable, second.unreadable) == ({}, unreadable)
    assert first.credentials is not None
    assert (second.credentials is None) == ("auth_token" in changes)
    (changed,) = {"credentials" if name == "auth_token" else name for name in changes}
    assert attrs.evolve(second, **{changed: getattr(first, changed)}) == first


async def test_an_account_without_an_auth_token_has_no_credentials() -> None:
    for token in ({}, {"auth_token": None}, {"auth_token": ""}):
        async with responding_with({"sid": PARENT, **token}) as client:
            found = await client.accounts.fetch(PARENT)
        assert found.credentials is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sid": SECRET}, "sid: expected the SID of an account"),
        ({"sid": None}, r"\$.accounts\[1\].sid: expected text, got null"),
    ],
)
async def test_an_unexpected_response_raises_an_error_that_shows_no_secret(
    changes: dict[str, Any], reason: str
) -> None:
    good = {"sid": PARENT, "auth_token": SECRET}
    page = {"accounts": [good, {**good, **changes}], "next_page_uri": None}
    async with responding_with(page) as client:
        with pytest.raises(ResponseError, match=reason) as error:
            await client.accounts.list().collect()
    assert_hidden(SECRET, error.value)


# -- secrets


async def test_no_auth_token_is_captured_logged_or_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with emulated() as (client, emulator):
        ((sid, token),) = emulator.add_subaccounts(PARENT)
        with capture() as exchanges:
            found = await client.accounts.list().collect()
            found.append(await client.accounts.fetch(sid))
        assert found[1] == found[2]
        assert len(exchanges) == 2
        for exchange in exchanges:
            assert exchange.response is not None
            assert exchange.response.status == 200
            assert exchange.response.body == b""
            assert exchange.response.request_id is not None
        shown = [repr(found), str(found), repr(client.accounts), repr(client.accounts.list())]
        for text in (caplog.text, repr(exchanges), repr(pickle.dumps(exchanges)), *shown):
            assert token not in text
        assert f"GET {PATH} -> 200" in caplog.text


async def test_an_account_with_credentials_cannot_be_pickled() -> None:
    found = Account(sid=PARENT, credentials=AccountToken(PARENT, SECRET))
    with pytest.raises(TypeError, match="a secret is never pickled"):
        pickle.dumps(found)
    bare = attrs.evolve(found, credentials=None)
    assert pickle.loads(pickle.dumps(bare)) == bare
    assert len({found, bare}) == 2


@pytest.mark.parametrize(
    "fault",
    [
        {"body": "garbled"},
        {"body": "cut"},
        {"status": 500, "when": "after"},
        {"status": 200, "when": "after"},
        {"drop": True, "when": "after"},
    ],
)
@pytest.mark.parametrize("operation", ["fetch", "list"])
async def test_no_auth_token_is_in_an_error_or_its_causes(
    fault: Any, operation: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with emulated(retry=Retry(attempts=1)) as (client, emulator):
        ((sid, token),) = emulator.add_subaccounts(PARENT)
        emulator.faults.add("GET", "/2010-04-01/*", times=None, **fault)
        listing = client.accounts.list()
        call = client.accounts.fetch(sid) if operation == "fetch" else listing.collect()
        with capture() as exchanges, pytest.raises(MarketplaceError) as error:
            await call
    assert_hidden(token, error.value, caplog.text, repr(exchanges), repr(pickle.dumps(exchanges)))


def test_a_confidential_response_is_pickled_without_its_body() -> None:
    response = Response(200, {"A": "b"}, SECRET.encode(), confidential=True)
    assert SECRET.encode() not in pickle.dumps(response)
    assert pickle.loads(pickle.dumps(response)) == response.without_secrets()
    assert Response(200, {}, b"body").without_secrets().body == b"body"
