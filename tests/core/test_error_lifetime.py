"""What errors keep alive: no cycles, no large bodies, and nothing of an abandoned capture."""

import asyncio
import gc
import tracemalloc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from aiohttp import web
from support.raw_servers import free_port, raw_server, web_server
from support.wire_server import http_response

from marketplace_async import (
    ClientCredentials,
    Exchange,
    MarketplaceClient,
    MarketplaceError,
    Request,
    Retry,
    bulk,
    capture,
)
from marketplace_async._core import session
from marketplace_async.testing import account, emulated

XE = "XE" + "a" * 32
SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
FAST = Retry(attempts=2, initial_backoff=0.001)
LARGE = 5 * 2**20


@pytest.fixture(autouse=True, params=["direct", "aiohttp"])
def exchange(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_direct", request.param == "direct")


@contextmanager
def no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


# -- reference cycles


async def _create(client: MarketplaceClient) -> object:
    return await client.installed_add_ons.create(
        available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True, unique_name="spam"
    )


CALLS: dict[str, Callable[[MarketplaceClient], Awaitable[object]]] = {
    "fetch": lambda client: client.installed_add_ons.fetch(XE),
    "create": _create,
    "update": lambda client: client.installed_add_ons.update(XE, unique_name="a"),
    "delete": lambda client: client.installed_add_ons.delete(XE),
    "collect": lambda client: client.installed_add_ons.list().collect(),
    "first": lambda client: client.installed_add_ons.list().first(),
    "accounts": lambda client: client.accounts.list().collect(),
    "send": lambda client: client.send(Request("POST", "/v1/Listings")),
}
FAULTS: dict[str, dict[str, Any]] = {
    "400": {"status": 400},
    "429": {"status": 429},
    "429 with a pause": {"status": 429, "retry_after": 1},
    "500": {"status": 500},
    "garbled": {"body": "garbled"},
    "dropped": {"drop": True},
    "timeout": {"delay": 1},
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", FAULTS)
async def test_an_error_is_in_no_reference_cycle(call: str, fault: str) -> None:
    retry = Retry(attempts=2, initial_backoff=0.001, max_elapsed=0.5)
    async with emulated(retry=retry, timeout=0.1) as (client, emulator):
        emulator.faults.add("*", "*", times=None, **FAULTS[fault])
        assert await _is_freed(lambda: CALLS[call](client))


async def test_an_error_of_a_deadline_is_in_no_reference_cycle() -> None:
    async with emulated(retry=FAST) as (client, emulator):
        emulator.faults.add("*", "*", times=None, delay=1)
        hurried = client.with_options(deadline=0.05)
        assert await _is_freed(lambda: hurried.installed_add_ons.fetch(XE))
        assert await _is_freed(lambda: _create(hurried))


async def test_an_error_without_a_connection_is_in_no_reference_cycle() -> None:
    base_url = f"http://127.0.0.1:{free_port()}"
    async with MarketplaceClient(account(), base_url=base_url, retry=FAST) as client:
        assert await _is_freed(lambda: client.installed_add_ons.fetch(XE))
        assert await _is_freed(lambda: client.installed_add_ons.list().collect())


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_error_of_a_token_is_in_no_reference_cycle(fault: str) -> None:
    async with emulated(retry=FAST, timeout=0.1) as (client, emulator):
        emulator.faults.add("POST", "/v2/token", times=None, **FAULTS[fault])
        derived = client.with_credentials(ClientCredentials("OQ" + "1" * 32, "made-up"))
        assert await _is_freed(lambda: derived.installed_add_ons.fetch(XE))


async def test_an_error_of_a_bulk_call_is_in_no_reference_cycle() -> None:
    async with emulated(retry=FAST) as (client, emulator):
        emulator.faults.add("*", "*", times=None, status=400)
        fetch = client.installed_add_ons.fetch
        assert await _is_freed(lambda: bulk.gather(fetch, [XE]))


async def _is_freed(call: Callable[[], Awaitable[object]]) -> bool:
    """Return whether the error of a call is freed without the garbage collector."""
    errors: list[weakref.ref[BaseException]] = []
    with no_collection():
        try:
            await call()
        except (MarketplaceError, ExceptionGroup) as error:
            errors.append(weakref.ref(error))
        await asyncio.sleep(0.01)
        (error_ref,) = errors
        return error_ref() is None


# -- bodies


async def test_an_error_response_is_read_no_further_than_64_kb() -> None:
    sent = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 50000000\r\n\r\n")
        while sent < 50_000_000:
            writer.write(b"x" * 65_536)
            await writer.drain()
            sent += 65_536

    async with raw_server(handle) as url:
        async with MarketplaceClient(account(), base_url=url, retry=Retry(attempts=1)) as client:
            with pytest.raises(MarketplaceError) as raised:
                await client.installed_add_ons.fetch(XE)
    assert len(raised.value.response.body) == 65_536  # type: ignore[attr-defined]
    assert sent < LARGE + 2**20, "the rest is in the buffers of the two sockets"


@pytest.mark.parametrize("framing", ["length", "chunks", "gzip", "small limit"])
async def test_a_large_error_response_is_an_error_of_its_status(framing: str) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        body = b'{"code": 20001, "message": "' + b"m" * 200_000 + b'"}'
        response = web.Response(body=body, status=400, content_type="application/json")
        if framing == "chunks":
            response.enable_chunked_encoding()
        if framing == "gzip":
            response.enable_compression(web.ContentCoding.gzip)
        return response

    options: dict[str, Any] = {"max_response_size": 1000} if framing == "small limit" else {}
    async with (
        web_server(handler) as url,
        MarketplaceClient(account(), base_url=url, retry=FAST, **options) as client,
    ):
        for _ in range(3):
            with pytest.raises(MarketplaceError, match=r"^400") as raised:
                await client.installed_add_ons.fetch(XE)
            size = 1000 if framing == "small limit" else 65_536
            assert len(raised.value.response.body) == size  # type: ignore[attr-defined]
        await _succeeds_after(client)


async def _succeeds_after(client: MarketplaceClient) -> None:
    """The connection on which a response was not read to its end is not used again."""
    with pytest.raises(MarketplaceError, match=r"^400"):
        await client.installed_add_ons.fetch(XE)


@pytest.mark.parametrize("status", ["500 No", "400 No", "200 OK"])
async def test_a_hundred_failures_with_large_bodies_hold_little(status: str) -> None:
    body = b'{"code": 1, "x": "' + b"x" * LARGE + b'"}'
    response = http_response(body, status)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response)
        await writer.drain()

    errors = []
    async with raw_server(handle) as url:
        async with MarketplaceClient(account(), base_url=url, retry=Retry(attempts=1)) as client:
            tracemalloc.start()
            try:
                for _ in range(20):
                    with pytest.raises(MarketplaceError) as raised:
                        await client.installed_add_ons.fetch(XE)
                    errors.append(raised.value)
                gc.collect()
                held, _ = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
    assert len(errors) == 20
    assert held < 20 * 200_000 + LARGE, "as much as one body in the buffers of the server"


# -- captures


def _alive() -> int:
    gc.collect()
    return sum(isinstance(each, Exchange) for each in gc.get_objects())


async def test_a_capture_in_an_abandoned_generator_holds_nothing() -> None:
    async with emulated() as (client, _):

        async def listing() -> AsyncIterator[object]:
            with capture() as exchanges:
                async for each in client.available_add_ons.list(page_size=1):
                    yield each, len(exchanges)

        before = _alive()
        for _ in range(3):
            async for _each in listing():
                break
        await asyncio.sleep(0.05)  # until the loop has closed the generators
        for _ in range(5):
            await client.available_add_ons.list(limit=1).collect()
        assert _alive() == before


async def test_a_capture_in_a_generator_of_another_task_holds_nothing() -> None:
    async with emulated() as (client, _):

        def capturing() -> Generator[list[Exchange], None, None]:
            with capture() as exchanges:
                yield exchanges

        async def begin() -> None:
            await client.available_add_ons.list(limit=1).collect()

        before = _alive()
        generator = capturing()
        next(generator)
        await begin()
        # Closed in another context, as the garbage collector may do.
        await asyncio.get_running_loop().run_in_executor(None, generator.close)
        del generator
        await begin()
        assert _alive() == before
