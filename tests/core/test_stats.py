"""The counters of a client, of its accounts, and what else it says about itself."""

import asyncio

import pytest
from support.observed import SECRET, SPAM_SCORE, TWICE, XE

from marketplace_async import (
    AccountToken,
    ApiKey,
    ConflictError,
    InstalledAddOn,
    MarketplaceClient,
    MarketplaceError,
    Retry,
    UnreadableFieldError,
    capture,
)
from marketplace_async._core import session as sessions
from marketplace_async._core.records import marked
from marketplace_async.testing import account, emulated

SID = account().account_sid


@pytest.fixture(params=["direct", "aiohttp"])
def exchange(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_direct", request.param == "direct")


async def test_stats_count_what_the_family_of_clients_did() -> None:
    async with emulated(retry=Retry(attempts=2, initial_backoff=0.001)) as (client, emulator):
        emulator.faults.add("GET", "*", status=429)
        await client.available_add_ons.list(limit=1).collect()
        emulator.faults.add("GET", "*", status=429, times=2)
        with pytest.raises(MarketplaceError):
            await client.with_options(timeout=5).available_add_ons.list(limit=1).collect()
        stats = client.stats
        assert (stats.sent, stats.throttled, stats.retried) == (4, 3, 2)
        assert (stats.withheld, stats.waiting, stats.in_flight) == (0, 0, 0)


async def test_stats_of_an_account_are_known_while_it_is_in_use() -> None:
    async with emulated(concurrency=2) as (client, emulator):
        emulator.faults.add("GET", "*", delay=0.3, times=3)
        assert client.stats.account(SID) is None
        fetches = [
            asyncio.ensure_future(client.available_add_ons.fetch(SPAM_SCORE)) for _ in range(3)
        ]
        await asyncio.sleep(0.1)
        stats = client.stats
        assert (stats.in_flight, stats.waiting) == (2, 1)
        found = stats.account(SID)
        assert found is not None
        assert (found.sent, found.in_flight, found.waiting) == (2, 2, 1)
        assert (found.limit, found.learned_limit, found.throttled) == (8, None, 0)
        fetches[2].cancel()
        await asyncio.gather(*fetches, return_exceptions=True)
        assert (client.stats.in_flight, client.stats.waiting) == (0, 0)
        assert client.stats.account(SID) is None
        assert stats.account("AC" + "9" * 32) is None


async def test_a_learned_limit_is_known_after_the_requests_and_forgotten_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with emulated(retry=Retry(attempts=9, initial_backoff=0.01)) as (client, emulator):
        emulator.faults.add("GET", "*", status=429, times=3, delay=0.02)
        emulator.faults.add("GET", "*", delay=0.05, times=None)
        await asyncio.gather(*(client.available_add_ons.fetch(SPAM_SCORE) for _ in range(30)))
        found = client.stats.account(SID)
        assert found is not None
        assert found.learned_limit is not None
        assert found.throttled == 3
        later = client._limiter._clock() + 61
        monkeypatch.setattr(client._limiter, "_clock", lambda: later)
        assert client.stats.account(SID) is None


async def test_the_account_and_the_base_url_of_a_client_can_be_read() -> None:
    async with emulated() as (client, emulator):
        assert (client.account_sid, client.base_url) == (SID, emulator.url)
        assert client.with_credentials(ApiKey("SK" + "1" * 32, SECRET)).account_sid is None
    twilio = MarketplaceClient(AccountToken(SID, SECRET), region="au1", edge="sydney")
    assert twilio.base_url == "https://marketplace.sydney.au1.twilio.com"


async def test_exchanges_and_errors_carry_the_account() -> None:
    async with emulated(retry=TWICE) as (client, emulator):
        with capture() as exchanges:
            await client.available_add_ons.list(limit=1).collect()
            emulator.faults.add("GET", "*", drop=True, times=None)  # aiohttp repeats a GET
            with pytest.raises(MarketplaceError) as lost:
                await client.available_add_ons.fetch(SPAM_SCORE)
            emulator.faults.clear()
        assert {exchange.account for exchange in exchanges} == {SID}
        assert lost.value.account_sid == SID
        await client.installed_add_ons.ensure(
            unique_name="a", available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True
        )
        with pytest.raises(ConflictError) as taken:
            await client.installed_add_ons.ensure(
                unique_name="a",
                available_add_on_sid="XBac2c99d9c684a765ced0b18cf0e5e1c7",
                accept_terms_of_service=True,
            )
        assert taken.value.account_sid == SID


async def test_an_error_that_the_client_itself_raises_carries_the_account() -> None:
    async with emulated() as (client, _):
        with pytest.raises(UnreadableFieldError) as raised:
            await client.installed_add_ons.ensure(
                unique_name="a",
                available_add_on_sid=SPAM_SCORE,
                accept_terms_of_service=True,
                inventory=[marked(InstalledAddOn(sid=XE), {"unique_name": None})],
            )
    assert raised.value.account_sid == SID
