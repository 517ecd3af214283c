"""Under an outage: retry quotas, pauses and deadlines."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from support.raw_servers import free_port

from marketplace_async import (
    AmbiguousOutcomeError,
    ConnectError,
    MarketplaceClient,
    RateLimitedError,
    RequestTimeoutError,
    Retry,
    ServerError,
    bulk,
)
from marketplace_async._core.limiter import Limiter
from marketplace_async._core.quota import RetryQuotas
from marketplace_async.emulator import Emulator
from marketplace_async.testing import account, emulated

XE = "XE" + "a" * 32
SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
FAST = Retry(initial_backoff=0.01, max_backoff=0.05)


@asynccontextmanager
async def out(
    retry: Retry = FAST, **fault: object
) -> AsyncIterator[tuple[MarketplaceClient, Emulator]]:
    """A service on which every request fails."""
    async with emulated(Emulator(concurrency=None), retry=retry) as (client, emulator):
        emulator.faults.add("*", "*", **{"status": 500, "times": None, **fault})  # type: ignore[arg-type]
        yield client, emulator


async def fetch(client: MarketplaceClient, number: int) -> object:
    return await client.with_credentials(account(number)).installed_add_ons.fetch(XE)


@pytest.mark.parametrize("accounts", [1, 100])
async def test_a_bulk_against_a_service_that_is_out_sends_little_more_than_one_request_per_item(
    accounts: int,
) -> None:
    async with out() as (client, _):
        outcomes = await bulk.settle(lambda n: fetch(client, n % accounts), range(3000), limit=64)
        assert not any(outcome.ok for outcome in outcomes)
        assert client.stats.sent <= 1.3 * 3000
        assert client.stats.withheld > 1000
        last = outcomes[-1].error
        assert isinstance(last, ServerError)
        assert last.retry_withheld == ("account" if accounts == 1 else "service")
        assert f"the retry quota of this {last.retry_withheld} is used up" in str(last)


async def test_when_the_service_is_back_so_is_the_client() -> None:
    async with out() as (client, emulator):
        await bulk.settle(lambda n: fetch(client, 0), range(300), limit=64)
        assert client.stats.withheld
        emulator.faults.clear()
        started = time.monotonic()
        await client.installed_add_ons.list().collect()
        outcomes = await bulk.settle(
            lambda n: client.available_add_ons.fetch(SPAM_SCORE), range(500), limit=64
        )
        assert all(outcome.ok for outcome in outcomes)
        assert time.monotonic() - started < 2
        # Successes refill the quota.
        withheld = client.stats.withheld
        emulator.faults.add("*", "*", status=500, times=2)
        await client.available_add_ons.fetch(SPAM_SCORE)
        assert client.stats.withheld == withheld


async def test_a_service_that_fails_now_and_then_never_uses_up_the_quota() -> None:
    async with out(probability=0.3) as (client, _):
        for _ in range(5):
            await bulk.settle(
                lambda n: client.available_add_ons.fetch(SPAM_SCORE), range(200), limit=16
            )
        assert client.stats.withheld == 0


async def test_throttling_while_the_limit_is_searched_costs_no_quota() -> None:
    async with emulated(Emulator(concurrency=2, latency=0.02), retry=FAST) as (client, _):
        outcomes = await bulk.settle(
            lambda n: client.available_add_ons.fetch(SPAM_SCORE), range(200), limit=64
        )
        assert all(outcome.ok for outcome in outcomes)
        assert client.stats.throttled
        assert client.stats.withheld == 0


def test_forgetting_accounts_does_not_refill_the_quota_of_the_service() -> None:
    quotas = RetryQuotas(Limiter(1))
    for _ in range(400):
        assert quotas.take("first", "origin") is None
        quotas.put_back("first", "elsewhere", 1)
    for number in range(20_000):
        quotas.take(f"account {number}", f"origin {number}")
    taken = sum(quotas.take(f"later {number}", "origin") is None for number in range(500))
    assert taken == 500 - 400


async def test_looking_up_the_outcome_of_a_write_is_never_withheld() -> None:
    async with out() as (client, emulator):
        await bulk.settle(lambda n: fetch(client, 0), range(300), limit=64)
        assert client.stats.withheld
        emulator.faults.clear()
        emulator.faults.add("POST", "*", status=500, when="after")
        installed = await client.with_credentials(account(0)).installed_add_ons.create(
            available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True, unique_name="mine"
        )
        assert installed.unique_name == "mine"


async def test_a_throttled_account_sends_nothing_before_its_pause_is_over() -> None:
    async with out(status=429, retry_after=2) as (client, emulator):
        started = time.monotonic()
        settled = asyncio.ensure_future(
            bulk.settle(lambda n: fetch(client, 0), range(200), limit=200)
        )
        await asyncio.sleep(1.8)
        # Only those that were in flight before the first response said so.
        assert len(emulator.log) <= 8
        emulator.faults.clear()
        outcomes = await settled
        assert {type(outcome.error).__name__ for outcome in outcomes} == {"NotFoundError"}
        assert time.monotonic() - started < 6


async def test_a_call_that_cannot_outlast_the_pause_fails_at_once() -> None:
    async with out(Retry(max_elapsed=5), status=429, retry_after=60) as (client, emulator):
        with pytest.raises(RateLimitedError):
            await fetch(client, 0)
        started = time.monotonic()
        with pytest.raises(RateLimitedError, match="not sent: the account is paused") as error:
            await fetch(client, 0)
        assert time.monotonic() - started < 0.5
        assert error.value.retry_after is not None
        assert 59 < error.value.retry_after <= 66
        assert len(emulator.log) == 1


async def test_a_deadline_shorter_than_the_pause_fails_at_once() -> None:
    async with out(status=429, retry_after=5) as (client, emulator):
        hurried = client.with_options(deadline=1.0)
        with pytest.raises((RateLimitedError, RequestTimeoutError)):
            await fetch(hurried, 0)
        started = time.monotonic()
        with pytest.raises(RateLimitedError):
            await fetch(hurried, 0)
        assert time.monotonic() - started < 0.5
        assert len(emulator.log) == 1


# -- deadlines


async def test_a_deadline_bounds_a_whole_call() -> None:
    async with out(Retry(attempts=50, initial_backoff=0.05), status=500) as (client, _):
        started = time.monotonic()
        with pytest.raises((ServerError, RequestTimeoutError)):
            await client.with_options(deadline=0.4).available_add_ons.fetch(SPAM_SCORE)
        assert time.monotonic() - started < 0.8


async def test_a_deadline_covers_the_wait_for_a_permit() -> None:
    async with emulated(Emulator(latency=0.5), concurrency=1) as (client, _):
        first = asyncio.ensure_future(client.available_add_ons.fetch(SPAM_SCORE))
        await asyncio.sleep(0.05)
        started = time.monotonic()
        with pytest.raises(RequestTimeoutError, match=r"the deadline of 0\.1 s has passed"):
            await create(client.with_options(deadline=0.1))
        assert time.monotonic() - started < 0.3
        await first
        assert client.stats.in_flight == 0


async def test_a_write_that_a_deadline_interrupts_is_ambiguous_if_it_was_sent() -> None:
    async with emulated(Emulator(latency=0.5)) as (client, emulator):
        with pytest.raises(AmbiguousOutcomeError):
            await create(client.with_options(deadline=0.1))
        assert len(emulator.log.matching("POST")) <= 1


async def test_a_write_that_a_deadline_interrupts_before_it_was_sent_is_not_ambiguous() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with MarketplaceClient(account(), base_url=url, retry=Retry(attempts=50)) as client:
        with pytest.raises((RequestTimeoutError, ConnectError)):
            await create(client.with_options(deadline=0.3))


async def test_the_caller_can_still_cancel_a_call_with_a_deadline() -> None:
    async with emulated(Emulator(latency=0.5)) as (client, _):
        call = asyncio.ensure_future(create(client.with_options(deadline=5)))
        await asyncio.sleep(0.05)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


@pytest.mark.parametrize("deadline", [0, -1, float("inf")])
async def test_a_deadline_must_be_positive(deadline: float) -> None:
    client = MarketplaceClient(account())
    with pytest.raises(ValueError, match="deadline: must be more than 0 seconds"):
        client.with_options(deadline=deadline)


async def create(client: MarketplaceClient) -> object:
    return await client.installed_add_ons.create(
        available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True
    )
