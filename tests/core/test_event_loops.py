"""One client over several event loops, one after another, and over a fork."""

import asyncio
import gc
import logging
import os
import sys
import warnings
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import pytest

from marketplace_async import (
    ClientClosedError,
    ClientCredentials,
    ConnectError,
    MarketplaceClient,
    RequestTimeoutError,
    Retry,
)
from marketplace_async._core.limiter import Limiter
from marketplace_async._core.tasks import Tasks
from marketplace_async.emulator import Emulator
from marketplace_async.testing import account

ONCE = Retry(attempts=1)
Run = Callable[[Coroutine[Any, Any, Any]], Any]


def run_and_close(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine as old programs do: nothing is shut down before the loop is closed."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()


runs = pytest.mark.parametrize("run", [asyncio.run, run_and_close])


@pytest.fixture
def leftovers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hide the sockets and tasks that nobody ends before a loop is closed: asyncio reports them."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    # pytest keeps the records of a test, and with them what the frames of their exceptions hold.
    monkeypatch.setattr(logging.getLogger("asyncio"), "disabled", True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


@contextmanager
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


async def count(client: MarketplaceClient) -> int:
    lists = (client.available_add_ons.list(limit=3).collect() for _ in range(10))
    return sum(map(len, await asyncio.gather(*lists)))


@pytest.mark.usefixtures("leftovers")
@runs
def test_a_client_works_over_several_event_loops_in_sequence(run: Run, served: Emulator) -> None:
    client = MarketplaceClient(account(), base_url=served.url, concurrency=4)
    for _ in range(3):
        assert run(count(client)) == 30
        assert client.stats.in_flight == 0
    run(client.aclose())
    with pytest.raises(ClientClosedError, match="this client is closed"):
        run(count(client))


def test_asyncio_run_closes_the_session_that_it_ends_with(served: Emulator) -> None:
    with no_warnings():
        client = MarketplaceClient(account(), base_url=served.url)
        session = asyncio.run(_session_after(client, count(client)))
        assert session.closed
        asyncio.run(count(client))
        del client


async def _session_after(
    client: MarketplaceClient, call: Coroutine[Any, Any, Any]
) -> aiohttp.ClientSession:
    await call
    return client._session.pool.session()


async def test_a_client_that_is_forgotten_closes_its_session(served: Emulator) -> None:
    with no_warnings():
        client = MarketplaceClient(account(), base_url=served.url)
        session = await _session_after(client, count(client))
        del client
        gc.collect()
        async with asyncio.timeout(5):
            while not session.closed:
                await asyncio.sleep(0.01)


@pytest.mark.usefixtures("leftovers")
@runs
def test_timeouts_work_in_the_next_event_loop(run: Run, served: Emulator) -> None:
    client = MarketplaceClient(account(), base_url=served.url, timeout=0.2, retry=ONCE)
    assert run(count(client)) == 30  # leaves a timer behind
    served.faults.add("GET", "*", delay=5.0, times=None)
    with pytest.raises(RequestTimeoutError):
        run(asyncio.wait_for(count(client), 3))


@pytest.mark.usefixtures("leftovers")
@runs
def test_requests_that_an_event_loop_leaves_behind_hold_no_permit(
    run: Run, served: Emulator
) -> None:
    client = MarketplaceClient(account(), base_url=served.url, concurrency=2, retry=ONCE)
    kept: list[asyncio.Task[Any]] = []

    async def leave() -> None:
        kept.extend(asyncio.ensure_future(count(client)) for _ in range(5))
        await asyncio.sleep(0.05)

    served.faults.add("GET", "*", delay=0.5, times=None)
    run(leave())
    served.faults.clear()
    assert run(asyncio.wait_for(count(client), 5)) == 30
    kept.clear()
    gc.collect()  # the coroutines of the first loop end now
    assert client.stats.in_flight == 0
    assert run(count(client)) == 30


@pytest.mark.usefixtures("leftovers")
@runs
def test_a_token_that_is_being_fetched_is_fetched_again(run: Run, served: Emulator) -> None:
    credentials = ClientCredentials("OQ" + account().account_sid[2:], "x")
    client = MarketplaceClient(credentials, base_url=served.url, retry=ONCE)
    kept: list[asyncio.Task[Any]] = []

    async def leave() -> None:
        kept.append(asyncio.ensure_future(count(client)))
        await asyncio.sleep(0.05)

    served.faults.add("POST", "/v2/token", delay=0.5)
    run(leave())
    served.faults.clear()
    assert run(asyncio.wait_for(count(client), 5)) == 30
    run(asyncio.wait_for(client.aclose(), 5))
    kept.clear()


@pytest.mark.usefixtures("leftovers")
@runs
def test_tasks_of_a_closed_event_loop_do_not_hold_up_a_close(run: Run) -> None:
    tasks = Tasks()
    kept = []

    async def leave() -> None:
        kept.append(tasks.start(asyncio.sleep(60)))
        await asyncio.sleep(0)

    run(leave())
    run(asyncio.wait_for(tasks.aclose(), 1))
    kept.clear()


def test_a_client_of_a_live_event_loop_is_refused_in_another() -> None:
    client = MarketplaceClient(account(), base_url="http://127.0.0.1:1", retry=ONCE)
    with asyncio.Runner() as one, asyncio.Runner() as other:
        with pytest.raises(ConnectError):
            one.run(client.installed_add_ons.fetch("XE" + "a" * 32))
        with pytest.raises(ClientClosedError, match="bound to another event loop that is still"):
            other.run(client.installed_add_ons.fetch("XE" + "a" * 32))
        one.run(client.aclose())


def test_what_was_learned_about_an_account_stays() -> None:
    limiter = Limiter(8)

    async def throttled() -> None:
        permit = limiter.try_acquire("a")
        assert permit is not None
        permit.queue.adaptive.throttled(permit.serial, 1, 4, 0.0)
        limiter.release(permit)

    async def ceiling() -> float | None:
        permit = limiter.try_acquire("a")
        assert permit is not None
        limiter.release(permit)
        return permit.queue.adaptive.ceiling

    asyncio.run(throttled())
    before = limiter._queues["a"].adaptive.ceiling
    assert before is not None
    assert asyncio.run(ceiling()) == before


def test_a_borrowed_session_of_another_event_loop_is_refused(served: Emulator) -> None:
    async def borrow(*, used: bool) -> MarketplaceClient:
        session = aiohttp.ClientSession()
        client = MarketplaceClient(account(), base_url=served.url, session=session)
        if used:
            await count(client)
        await session.close()
        return client

    for used in (False, True):
        client = asyncio.run(borrow(used=used))
        with pytest.raises(ClientClosedError, match="belongs to another event loop"):
            asyncio.run(count(client))


# -- forks


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("same_loop", [True, False])
def test_a_fork_of_a_used_client_is_noticed(same_loop: bool, served: Emulator) -> None:
    client = MarketplaceClient(account(), base_url=served.url)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(count(client))

    def use() -> str:
        runner = loop if same_loop else asyncio.new_event_loop()
        try:
            return str(runner.run_until_complete(count(client)))
        except ClientClosedError as error:
            return str(error)

    reason = "before the process forked" if same_loop else "bound to another event loop"
    assert reason in in_child(use)
    # The parent and its connections are as they were.
    assert loop.run_until_complete(count(client)) == 30
    loop.run_until_complete(client.aclose())
    loop.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.usefixtures("leftovers")
@runs
def test_a_client_is_forked_before_its_first_use_or_after_its_loop_is_closed(
    run: Run, served: Emulator
) -> None:
    client = MarketplaceClient(account(), base_url=served.url)
    assert in_child(lambda: str(asyncio.run(count(client)))) == "30"
    if run is asyncio.run:
        run(count(client))
        assert in_child(lambda: str(asyncio.run(count(client)))) == "30"
    run(client.aclose())


def in_child(function: Callable[[], str]) -> str:
    """Return the result of a function in a fork of this process."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the emulator runs in a thread
        child = os.fork()
    if child == 0:
        try:
            os.write(writer, function().encode())
        except BaseException as error:  # noqa: BLE001 - for the parent to see
            os.write(writer, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        result = stream.read()
    os.waitpid(child, 0)
    return result
