"""Call sites as users write them: nothing here runs, type checkers read it."""

from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from typing import Any, assert_type

import aiohttp

from marketplace_async import (
    Account,
    AccountSource,
    AccountToken,
    APIError,
    ApiKey,
    AvailableAddOn,
    AvailableAddOnExtension,
    BillableItem,
    ClientCredentials,
    ClientOptions,
    Exchange,
    InstalledAddOn,
    InstalledAddOnExtension,
    Listing,
    MarketplaceClient,
    Page,
    Paginator,
    RateLimitedError,
    ReferralConversion,
    Request,
    Response,
    Retry,
    Timeout,
    UsageReport,
    accounts,
    bulk,
    capture,
    from_dict,
    from_json,
    to_dict,
    to_json,
)
from marketplace_async.emulator import Emulator
from marketplace_async.serialization import make_converter
from marketplace_async.testing import emulated


async def construct(session: aiohttp.ClientSession) -> None:
    async with MarketplaceClient.from_env() as client:
        assert_type(client, MarketplaceClient)
    async with MarketplaceClient(
        AccountToken("AC...", "token"),
        session=session,
        concurrency=64,
        timeout=10.0,
        retry=Retry(attempts=4, max_elapsed=30.0),
    ) as client:
        assert_type(client.with_credentials(ApiKey("SK...", "secret")), MarketplaceClient)
        assert_type(client.with_options(timeout=Timeout(connect=1)), MarketplaceClient)
    options: ClientOptions = {"region": "au1", "user_agent": "billing/1.4", "headers": {"X-A": "1"}}
    MarketplaceClient.from_env(**options)
    MarketplaceClient(AccountToken("AC...", "token"), color="red")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    MarketplaceClient("AC...", "token")  # type: ignore[call-arg, arg-type]  # pyright: ignore


async def operations(client: MarketplaceClient) -> None:
    add_on = await client.available_add_ons.fetch("XB...")
    assert_type(add_on, AvailableAddOn)
    assert_type(add_on.sid, str)
    assert_type(add_on.description, str | None)
    assert_type(client.available_add_ons.list(), Paginator[AvailableAddOn])
    extensions = client.available_add_ons.extensions("XB...")
    assert_type(await extensions.fetch("XF..."), AvailableAddOnExtension)
    installed = await client.installed_add_ons.create(
        available_add_on_sid=add_on.sid,
        accept_terms_of_service=True,
        configuration={"bad_words": True},
        unique_name="transcription",
    )
    assert_type(installed, InstalledAddOn)
    assert_type(
        await client.installed_add_ons.update(installed.sid, configuration={}), InstalledAddOn
    )
    switched = await client.installed_add_ons.extensions(installed.sid).update(
        "XF...", enabled=True
    )
    assert_type(switched, InstalledAddOnExtension)
    report = await client.installed_add_ons.usage(installed.sid).create(
        [BillableItem("BI...", Decimal("12.355"))]
    )
    assert_type(report, UsageReport)
    assert_type(report.total_submitted, Decimal | None)
    await client.installed_add_ons.delete(installed.sid)
    listing = await client.listings.update("XB...", pricing={"body": "free"})
    assert_type(listing, Listing)
    assert_type(await client.listings.list_own(), tuple[dict[str, Any], ...])
    conversion = await client.referral_conversions.create(referral_account_sid="AC...")
    assert_type(conversion, ReferralConversion)
    await client.installed_add_ons.create(available_add_on_sid="XB...")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.installed_add_ons.fetch(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    installed.sid = "XE..."  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    BillableItem("BI...", 12.355)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def lists(client: MarketplaceClient) -> None:
    async for installed in client.installed_add_ons.list(limit=500):
        assert_type(installed, InstalledAddOn)
    assert_type(await client.installed_add_ons.list().collect(), list[InstalledAddOn])
    assert_type(await client.installed_add_ons.list().first(), InstalledAddOn | None)
    async for page in client.installed_add_ons.list(page_size=100).pages():
        assert_type(page, Page[InstalledAddOn])
        assert_type(page.items, tuple[InstalledAddOn, ...])
        client.installed_add_ons.list(start=page.next_url)
    client.installed_add_ons.list(size=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.installed_add_ons.list()  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


async def find_accounts(client: MarketplaceClient) -> None:
    assert_type(client.accounts.list(status="active", limit=5), Paginator[Account])
    found = await client.accounts.fetch("AC...")
    assert_type(found, Account)
    assert_type(found.credentials, AccountToken | ApiKey | ClientCredentials | None)
    source = accounts.from_file("accounts.csv", status="closed")
    assert_type(source, AccountSource)
    async for account in source:
        assert_type(account, Account)
    tokens = {"AC...": AccountToken("AC...", "token")}
    assert_type(await accounts.from_vault(tokens, tokens.get).fetch("AC..."), Account)

    async def find(sid: str) -> ApiKey:
        return ApiKey("SK...", "secret")

    async def sids() -> AsyncIterator[str]:
        yield "AC..."

    accounts.from_vault(sids(), find)
    client.accounts.list(status="gone")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def failures_and_exchanges(client: MarketplaceClient) -> None:
    with capture() as exchanges:
        response = await client.send(Request("GET", "/v1/AvailableAddOns", {"PageSize": 5}))
    assert_type(response, Response)
    assert_type(exchanges, list[Exchange])
    try:
        await client.installed_add_ons.delete("XE...")
    except RateLimitedError as error:
        assert_type(error.retry_after, float | None)
    except APIError as error:
        assert_type(error.code, int | None)
        assert_type(error.request_id, str | None)


async def tests() -> None:
    async with emulated() as (client, emulator):
        assert_type(client, MarketplaceClient)
        assert_type(emulator, Emulator)
        emulator.faults.add("POST", "/v1/InstalledAddOns", status=429, times=2)
        statuses: Sequence[int | None] = [entry.status for entry in emulator.log]
        del statuses


async def in_bulk(client: MarketplaceClient, sids: list[str]) -> None:
    fetch = client.installed_add_ons.fetch
    assert_type(await bulk.gather(fetch, sids), list[InstalledAddOn])
    outcomes = await bulk.settle(fetch, sids, limit=16)
    assert_type(outcomes, list[bulk.Success[str, InstalledAddOn] | bulk.Failure[str]])
    assert_type([o.value.sid for o in outcomes if o.ok], list[str])
    assert_type([o.error for o in outcomes if o.error], list[Exception])
    for outcome in outcomes:
        assert_type(outcome.ok, bool)
        assert_type(outcome.item, str)
        if outcome.error is None:
            assert_type(outcome.value, InstalledAddOn)
        else:
            assert_type(outcome.error, Exception)
        match outcome:
            case bulk.Success(sid, installed):
                assert_type((sid, installed), tuple[str, InstalledAddOn])
            case bulk.Failure(sid, error):
                assert_type((sid, error), tuple[str, Exception])
    async with bulk.settle(fetch, sids) as stream:
        async for each in stream:
            assert_type(each, bulk.Outcome[str, InstalledAddOn])
    async with bulk.as_completed(fetch, sids) as stream:
        async for each in stream:
            assert_type(each, bulk.Outcome[str, InstalledAddOn])
    lists = (
        client.with_account(one).installed_add_ons.list() async for one in client.accounts.list()
    )
    async with bulk.merge(lists) as records:
        async for record in records:
            assert_type(record, InstalledAddOn)
    async with bulk.merge_settled(
        lambda one: client.with_account(one).installed_add_ons.list(), client.accounts.list()
    ) as settled:
        async for found in settled:
            assert_type(found, bulk.Outcome[Account, InstalledAddOn])


def serialize(installed: InstalledAddOn) -> None:
    assert_type(to_dict(installed), dict[str, Any])
    assert_type(to_json([installed], properties=True), bytes)
    assert_type(from_dict({}, InstalledAddOn), InstalledAddOn)
    assert_type(from_json(b"", Page[InstalledAddOn]), Page[InstalledAddOn])
    assert_type(from_json("", list[InstalledAddOn]), list[InstalledAddOn])
    assert_type(make_converter().loads(b"", InstalledAddOn), InstalledAddOn)
