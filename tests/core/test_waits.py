"""What a wait costs: pauses, deadlines of whole calls, look-ups, and what errors then say."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from support.every_error import every_error
from support.observed import Recorder
from support.raw_servers import raw_server

from marketplace_async import (
    AmbiguousOutcomeError,
    MarketplaceClient,
    MarketplaceError,
    NotFoundError,
    RateLimitedError,
    Request,
    RequestTimeoutError,
    Response,
    ResponseError,
    Retry,
    TransportError,
    bulk,
)
from marketplace_async._core.clocks import monotonic
from marketplace_async._core.limiter import Limiter, Paused
from marketplace_async._core.operation import Parse
from marketplace_async._core.quota import RetryQuota, RetryQuotas
from marketplace_async._core.retrying import Retrying
from marketplace_async._core.tasks import Tasks
from marketplace_async.emulator import Emulator
from marketplace_async.observe import Waiting
from marketplace_async.testing import account, emulated

T = TypeVar("T")

SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
AC, XE = account().account_sid, "XE" + "a" * 32
FETCH = Request("GET", f"/v1/InstalledAddOns/{XE}", operation="installed_add_ons.fetch")
UPDATE = Request("POST", FETCH.path, body=b"UniqueName=n", repeat="always")
THROTTLED = Response(429, {"Retry-After": "1"}, b"{}")


class Attempts:
    """An attempt that ends in turn as it is told: with an error, or with None."""

    def __init__(self, *ends: Exception | None) -> None:
        self.ends = list(ends)
        self.made = 0

    async def __call__(self, request: Request, parse: Parse[T]) -> T:
        self.made += 1
        end = self.ends.pop(0) if len(self.ends) > 1 else self.ends[0]
        if isinstance(end, Paused):
            # As long as it was told, from now on.
            raise Paused(monotonic() + end.until, end.response)
        if end is not None:
            raise end
        return parse(request, Response(200, {}, b""))


def retrying(attempts: Attempts, policy: Retry, **options: Any) -> Retrying:
    return Retrying(attempts, policy, Tasks(), **options)


async def call(retrying: Retrying, request: Request = FETCH) -> None:
    await retrying(request, lambda _, __: None)


async def create(client: MarketplaceClient) -> Any:
    return await client.installed_add_ons.create(
        available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True, unique_name="mine"
    )


# -- pauses


@pytest.mark.parametrize("attempts", [1, 2])
async def test_waiting_for_the_end_of_pauses_is_no_attempt_and_costs_no_quota(
    attempts: int,
) -> None:
    quotas = RetryQuotas(Limiter(1))
    made = Attempts(*[Paused(0.001, THROTTLED)] * 60, None)
    quota = RetryQuota(quotas, AC, "origin")
    await call(retrying(made, Retry(attempts=attempts), quota=quota))
    assert made.made == 61
    assert quotas.is_full


async def test_a_service_that_pauses_an_account_for_ever_is_waited_for_as_long_as_allowed() -> None:
    made = Attempts(Paused(0.01, THROTTLED))
    with pytest.raises(RateLimitedError, match="not sent: the account is paused") as error:
        await call(retrying(made, Retry(max_elapsed=0.1)))
    assert error.value.attempts is None
    assert 2 <= made.made <= 12
    made = Attempts(Paused(0.01, THROTTLED))
    with pytest.raises(MarketplaceError):
        await call(retrying(made, Retry(max_elapsed=1e9), deadline=0.1))


async def test_a_bulk_that_is_paused_again_and_again_loses_no_item() -> None:
    async with emulated(Emulator(concurrency=None, latency=0.01)) as (client, emulator):

        def fetch_all(number: int) -> Awaitable[list[bulk.Success[int, Any] | bulk.Failure[int]]]:
            fetch = client.available_add_ons.fetch
            return bulk.settle(lambda _: fetch(SPAM_SCORE), range(number), limit=200)

        emulator.faults.add("*", "*", status=429, times=3)
        await fetch_all(50)
        # The limit of the account is known: from now on, a throttled request costs quota.
        assert not client._limiter.is_searching(AC)
        emulator.faults.add("*", "*", status=429, retry_after=1, times=None)
        outcomes = asyncio.ensure_future(fetch_all(200))
        await asyncio.sleep(1.7)
        emulator.faults.clear()
        assert all(outcome.ok for outcome in await outcomes)
        assert client.stats.withheld == 0


# -- deadlines


async def test_a_deadline_bounds_all_requests_of_an_operation_together() -> None:
    async with emulated(Emulator(latency=0.4)) as (client, emulator):
        hurried = client.with_options(deadline=0.7)
        # The latter if the create was not sent in time.
        ends = (AmbiguousOutcomeError, RequestTimeoutError)
        with pytest.raises(ends, match=r"the deadline of 0\.7 s has passed"):
            await hurried.installed_add_ons.ensure(
                unique_name="mine", available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True
            )
        assert len(emulator.log) <= 2


@pytest.mark.parametrize("prefetch", [True, False])
async def test_a_deadline_bounds_all_of_a_collected_list_and_each_page_of_an_iterated_one(
    prefetch: bool,
) -> None:
    async with emulated(Emulator(latency=0.3)) as (client, emulator):
        for number in range(4):
            emulator.install(AC, SPAM_SCORE, unique_name=f"number {number}")
        add_ons = client.with_options(deadline=1.0).installed_add_ons
        with pytest.raises(RequestTimeoutError, match="has passed") as error:
            await add_ons.list(page_size=1, prefetch=prefetch).collect()
        assert error.value.resume_at is not None
        records = [one async for one in add_ons.list(page_size=1, prefetch=prefetch)]
        assert len(records) == 4


async def test_nothing_is_sent_once_the_time_of_an_operation_is_over() -> None:
    made = Attempts(None)
    bounded = retrying(made, Retry(), deadline=0.3)
    for block in (bounded.one_deadline(), bounded.operation("name")):
        with block:
            await call(bounded)
            await asyncio.sleep(0.31)
            with pytest.raises(RequestTimeoutError, match="has passed"):
                await call(bounded)
            # The deadline of another client is its own.
            await call(retrying(made, Retry(), deadline=10.0))
        await call(bounded)
    assert made.made == 6


# -- look-ups


@pytest.mark.parametrize("throttled", [0, 3])
async def test_a_lost_create_is_looked_up_after_the_last_attempt(throttled: int) -> None:
    retry = Retry(attempts=throttled + 1, initial_backoff=0.01)
    async with emulated(retry=retry) as (client, emulator):
        emulator.faults.add("POST", "*", status=429, times=throttled) if throttled else None
        emulator.faults.add("POST", "*", drop=True, when="after")
        assert (await create(client)).unique_name == "mine"
        methods = [entry.method for entry in emulator.log]
        assert methods == [*["POST"] * (throttled + 1), "GET"]


async def test_a_look_up_after_the_last_attempt_is_not_told_as_a_retry() -> None:
    seen = Recorder()
    retry = Retry(attempts=1, initial_backoff=0.01)
    async with emulated(retry=retry, observers=[seen]) as (client, emulator):
        emulator.faults.add("POST", "*", drop=True, when="after")
        await create(client)
        assert client.stats.retried == 0
    assert [wait.reason for wait in seen.of(Waiting)] == ["look_up"]


async def test_a_lost_create_is_looked_up_though_its_attempt_took_all_of_the_time() -> None:
    retry = Retry(max_elapsed=0, initial_backoff=0)
    async with emulated(retry=retry) as (client, emulator):
        emulator.faults.add("POST", "*", drop=True, when="after")
        assert (await create(client)).unique_name == "mine"


async def test_a_create_that_the_last_look_up_does_not_find_is_ambiguous() -> None:
    async with emulated(retry=Retry(attempts=1, initial_backoff=0.01)) as (client, emulator):
        emulator.faults.add("POST", "*", drop=True)
        with pytest.raises(AmbiguousOutcomeError):
            await create(client)
        assert [entry.method for entry in emulator.log] == ["POST", "GET"]


# -- responses that are too large


READS: dict[str, Callable[[MarketplaceClient], Awaitable[object]]] = {
    "fetch": lambda client: client.installed_add_ons.fetch(XE),
    "list": lambda client: client.installed_add_ons.list().collect(),
    "own listings": lambda client: client.listings.list_own(),
    "accounts": lambda client: client.accounts.list().collect(),
    "update": lambda client: client.installed_add_ons.update(XE, unique_name="n"),
}


@pytest.mark.parametrize("name", READS)
async def test_a_response_that_is_too_large_is_downloaded_once(name: str) -> None:
    requests = 0
    body = json.dumps({"sid": XE, "description": "x" * 5000}).encode()

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await reader.readuntil(b"\r\n\r\n")
        requests += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()

    async with raw_server(respond) as url:
        retry = Retry(initial_backoff=0.01)
        async with MarketplaceClient(
            account(), base_url=url, max_response_size=1000, retry=retry
        ) as client:
            with pytest.raises(ResponseError, match="larger than 1000 bytes") as error:
                await READS[name](client)
    assert error.value.permanent
    assert requests == 1


# -- what errors say about the attempts before them


def errors_of_calls() -> list[MarketplaceError]:
    errors = every_error(UPDATE, Response(400, {}, b"{}"), "text")
    return [
        error
        for error in errors
        if ".fleet" not in type(error).__module__ and not isinstance(error, AmbiguousOutcomeError)
    ]


ERRORS = [type(error) for error in errors_of_calls()]


@pytest.mark.parametrize("number", range(len(ERRORS)), ids=lambda n: ERRORS[n].__name__)
async def test_every_error_says_that_an_earlier_attempt_may_have_taken_effect(number: int) -> None:
    def ending(*earlier: MarketplaceError) -> Attempts:
        return Attempts(*earlier, errors_of_calls()[number])

    twice = Retry(attempts=2, initial_backoff=0)
    with pytest.raises(MarketplaceError) as error:
        await call(retrying(ending(TransportError(UPDATE, "lost")), twice), UPDATE)
    assert type(error.value) is ERRORS[number]
    assert error.value.after_unknown
    assert str(error.value).count("an earlier attempt may have taken effect") == 1
    # A read has no effect, and without an earlier attempt there is nothing to say.
    with pytest.raises(MarketplaceError) as error:
        await call(retrying(ending(TransportError(FETCH, "lost")), twice), FETCH)
    assert not error.value.after_unknown
    with pytest.raises(MarketplaceError) as error:
        await call(retrying(ending(), Retry(attempts=1)), UPDATE)
    assert not error.value.after_unknown
    assert "earlier attempt" not in str(error.value)


async def test_a_deadline_and_an_ambiguous_outcome_tell_of_earlier_attempts() -> None:
    lost = TransportError(UPDATE, "lost")
    waiting = retrying(Attempts(lost), Retry(initial_backoff=0.001, attempts=10**6), deadline=0.05)
    with pytest.raises(RequestTimeoutError, match="an earlier attempt may have taken") as error:
        await call(waiting, UPDATE)
    assert error.value.after_unknown
    lost.after_unknown = True
    ambiguous = AmbiguousOutcomeError(UPDATE, lost)
    assert ambiguous.after_unknown
    assert str(ambiguous).count("an earlier attempt may have taken effect") == 1


async def test_an_update_whose_conflict_cannot_be_looked_up_may_have_taken_effect() -> None:
    async with emulated(retry=Retry(initial_backoff=0.01)) as (client, emulator):
        installed = await create(client)
        emulator.faults.add("POST", "*", drop=True)
        emulator.faults.add("POST", "*", status=409)
        emulator.faults.add("GET", "*", status=404)
        with pytest.raises(NotFoundError, match="may have taken effect") as error:
            await client.installed_add_ons.update(installed.sid, unique_name="new")
        assert error.value.after_unknown
