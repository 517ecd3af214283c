"""The concurrency limit and the timeouts of requests."""

import asyncio
import time

import aiohttp
import pytest
from aiohttp import web
from support.raw_servers import raw_server, silent, web_server

from marketplace_async import (
    MarketplaceClient,
    Request,
    RequestTimeoutError,
    Retry,
    Timeout,
)
from marketplace_async.testing import account, emulated

XE = "XE" + "a" * 32
SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
FAST = Retry(attempts=3, initial_backoff=0.001)


async def test_concurrency_limits_requests_in_flight() -> None:
    in_flight = highest = 0

    async def handle(request: web.Request) -> web.Response:
        nonlocal in_flight, highest
        in_flight += 1
        highest = max(highest, in_flight)
        await asyncio.sleep(0.005)
        in_flight -= 1
        return web.json_response({"sid": XE})

    async with web_server(handle) as url:
        client = MarketplaceClient(account(), base_url=url, concurrency=7)
        clients = [client.with_credentials(account(number)) for number in range(1, 4)]
        async with client:
            await asyncio.gather(
                *(each.installed_add_ons.fetch(XE) for each in clients for _ in range(40))
            )
    assert highest == 7


async def test_cancelling_a_waiting_or_sending_request_releases_its_permit() -> None:
    async with raw_server(silent) as url:
        client = MarketplaceClient(account(), base_url=url, concurrency=1, timeout=0.2, retry=FAST)
        async with client:
            tasks = [asyncio.ensure_future(client.installed_add_ons.fetch(XE)) for _ in range(3)]
            await asyncio.sleep(0.05)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(result) for result in results] == [asyncio.CancelledError] * 3
            with pytest.raises(RequestTimeoutError):
                await client.installed_add_ons.fetch(XE)


async def test_a_silent_server_times_out() -> None:
    async with raw_server(silent) as url:
        async with MarketplaceClient(account(), base_url=url, timeout=0.05, retry=FAST) as client:
            with pytest.raises(RequestTimeoutError, match=r"no response within 0\.05 s") as error:
                await client.installed_add_ons.fetch(XE)
            assert isinstance(error.value, TimeoutError)
            assert error.value.request == Request("GET", f"/v1/InstalledAddOns/{XE}")


async def test_a_read_timeout_applies_between_two_reads() -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
        await reader.read()

    async with raw_server(trickle) as url:
        timeout = Timeout(total=None, read=0.05)
        async with MarketplaceClient(
            account(), base_url=url, timeout=timeout, retry=FAST
        ) as client:
            with pytest.raises(RequestTimeoutError, match=r"no data within 0.05 s"):
                await client.installed_add_ons.fetch(XE)


async def test_the_timeout_excludes_the_wait_for_a_permit() -> None:
    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(0.06)
        return web.json_response({"sid": XE})

    async with (
        web_server(slow) as url,
        MarketplaceClient(account(), base_url=url, concurrency=1, timeout=0.15) as client,
    ):
        await asyncio.gather(*(client.installed_add_ons.fetch(XE) for _ in range(5)))


async def test_the_callers_timeout_ends_a_call_immediately() -> None:
    async with (
        raw_server(silent) as url,
        MarketplaceClient(account(), base_url=url, retry=FAST) as client,
    ):
        with pytest.raises(TimeoutError) as error:
            async with asyncio.timeout(0.05):
                await client.installed_add_ons.fetch(XE)
        assert not isinstance(error.value, RequestTimeoutError)


async def test_timeouts_and_cancellations_are_not_confused() -> None:
    async with (
        raw_server(silent) as url,
        MarketplaceClient(account(), base_url=url, timeout=0.05, retry=Retry(attempts=1)) as client,
    ):
        task = asyncio.current_task()
        assert task is not None
        with pytest.raises(RequestTimeoutError):
            await client.installed_add_ons.fetch(XE)
        assert task.cancelling() == 0
        # Both timeouts expire in the same iteration of the event loop.
        asyncio.get_running_loop().call_later(0.03, lambda: time.sleep(0.03))
        with pytest.raises(TimeoutError) as error:
            async with asyncio.timeout(0.05):
                await client.installed_add_ons.fetch(XE)
        assert not isinstance(error.value, RequestTimeoutError)
        assert task.cancelling() == 0


async def test_a_timeout_that_a_middleware_replaces_is_still_one() -> None:
    async def replacing(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        try:
            return await handler(request)
        except asyncio.CancelledError:
            raise aiohttp.ClientConnectionError("gone") from None

    async with raw_server(silent) as url, aiohttp.ClientSession(middlewares=[replacing]) as session:
        client = MarketplaceClient(
            account(), base_url=url, session=session, timeout=0.05, retry=Retry(attempts=1)
        )
        with pytest.raises(RequestTimeoutError, match=r"no response within 0\.05 s"):
            await client.installed_add_ons.fetch(XE)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_hanging_request_does_not_keep_the_deadlines_of_later_requests() -> None:
    async with emulated(timeout=30.0) as (client, emulator):
        emulator.faults.add("GET", "*", delay=20, times=1)
        hanging = asyncio.ensure_future(client.installed_add_ons.list().collect())
        await asyncio.sleep(0.05)
        await asyncio.gather(*(client.available_add_ons.list().first() for _ in range(50)))
        deadlines = client._session._deadlines
        assert deadlines is not None
        assert len(deadlines._running) == 1
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        assert not deadlines._running
