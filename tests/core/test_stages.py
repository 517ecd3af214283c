"""How far a request got: before its first byte it is a rejection, whatever failed."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from support.raw_servers import full_backlog, raw_server, silent

from marketplace_async import (
    AmbiguousOutcomeError,
    BillableItem,
    ConnectError,
    MarketplaceClient,
    Request,
    Retry,
    Timeout,
    TransportError,
    capture,
)
from marketplace_async._core import session as sessions
from marketplace_async.testing import account

XB, XE, BI, AC = ("XB" + "b" * 32, "XE" + "a" * 32, "BI" + "c" * 32, "AC" + "d" * 32)
TWICE = Retry(attempts=2, initial_backoff=0.001)

Call = Callable[[MarketplaceClient], Awaitable[object]]


async def report(client: MarketplaceClient) -> object:
    return await client.installed_add_ons.usage(XE).create([BillableItem(BI, Decimal(1))])


UNSAFE: dict[str, Call] = {
    "report usage": report,
    "create without a name": lambda client: client.installed_add_ons.create(
        available_add_on_sid=XB, accept_terms_of_service=True
    ),
    "create a listing": lambda client: client.listings.create(module_info={"name": "x"}),
    "convert a referral": lambda client: client.referral_conversions.create(
        referral_account_sid=AC
    ),
}


# -- no connection


@asynccontextmanager
async def no_syn(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, Any]]:
    with full_backlog() as url:
        yield {"base_url": url}


@asynccontextmanager
async def no_handshake(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, Any]]:
    async with raw_server(silent) as url:
        yield {"base_url": url.replace("http:", "https:")}


@asynccontextmanager
async def no_tunnel(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, Any]]:
    async with raw_server(silent) as url:
        yield {"base_url": "https://marketplace.test", "proxy": url}


@asynccontextmanager
async def dropped_tunnel(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, Any]]:
    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async with raw_server(drop) as url:
        yield {"base_url": "https://marketplace.test", "proxy": url}


@asynccontextmanager
async def no_name(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, Any]]:
    async def hang(*_: object, **__: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(aiohttp.DefaultResolver, "resolve", hang)
    yield {"base_url": "https://marketplace.test"}


@asynccontextmanager
async def greeted(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, Any]]:
    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")

    async with raw_server(close) as url:
        # The client finds the response as soon as it is connected.
        connect = aiohttp.TCPConnector.connect

        async def connect_slowly(*args: Any, **options: Any) -> Any:
            connection = await connect(*args, **options)
            try:
                await asyncio.sleep(0.02)
            except asyncio.CancelledError:
                connection.close()
                raise
            return connection

        monkeypatch.setattr(aiohttp.TCPConnector, "connect", connect_slowly)
        yield {"base_url": url}


NOT_SENT = [no_syn, no_handshake, no_tunnel, dropped_tunnel, no_name, greeted]


@pytest.fixture(params=["direct", "aiohttp"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sessions, "_direct", request.param == "direct")
    return str(request.param)


@pytest.mark.parametrize("limit", ["connect", "total"])
@pytest.mark.parametrize("failing", NOT_SENT)
@pytest.mark.parametrize("call", UNSAFE.values(), ids=UNSAFE)
async def test_what_was_not_sent_is_retried_whatever_the_operation_is(
    call: Call, failing: Any, limit: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeout = Timeout(connect=0.05) if limit == "connect" else Timeout(total=0.05)
    async with failing(monkeypatch) as options:
        async with MarketplaceClient(account(), retry=TWICE, timeout=timeout, **options) as client:
            with capture() as exchanges:
                with pytest.raises(ConnectError):
                    await call(client)
    assert [type(exchange.error) for exchange in exchanges] == [ConnectError, ConnectError]


@pytest.mark.parametrize("limits", [Timeout(connect=0.05), Timeout(total=0.05)], ids=str)
@pytest.mark.parametrize("call", UNSAFE.values(), ids=UNSAFE)
async def test_waiting_for_a_connection_of_a_borrowed_session_is_not_sending(
    call: Call, limits: Timeout
) -> None:
    async with (
        raw_server(silent) as url,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session,
    ):
        busy = asyncio.ensure_future(session.get(url))
        await asyncio.sleep(0.02)
        client = MarketplaceClient(
            account(), base_url=url, session=session, retry=TWICE, timeout=limits
        )
        with pytest.raises(ConnectError, match=r"no connection within 0\.05 s"):
            await call(client)
        busy.cancel()
        await asyncio.wait([busy])


def test_connecting_has_a_timeout_of_its_own() -> None:
    connect, total = Timeout().connect, Timeout().total
    assert connect is not None
    assert total is not None
    assert connect < total


# -- a connection that the server closed while the loop was busy


class Threaded:
    """A server in a thread that keeps a connection alive for a moment after each response."""

    def __init__(self, linger: float) -> None:
        self.requests = 0
        self._linger = linger
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while self._read(connection):
                self.requests += 1
                text = json.dumps({"billable_items": [{"sid": BI, "quantity": 1}]})
                head = f"HTTP/1.1 202 Accepted\r\nContent-Length: {len(text)}\r\n\r\n"
                connection.sendall((head + text).encode())
                connection.settimeout(self._linger)

    def _read(self, connection: socket.socket) -> bool:
        data = b""
        while b"billable_items" not in data and b"GET " not in data:
            piece = connection.recv(65536)
            if not piece:
                return False
            data += piece
        return True

    def close(self) -> None:
        self._socket.close()


@pytest.mark.parametrize("borrowed", [False, True])
async def test_a_connection_that_closed_while_the_loop_was_frozen_is_not_used(
    borrowed: bool, way: str
) -> None:
    server = Threaded(linger=0.05)
    async with aiohttp.ClientSession() as session:
        client = MarketplaceClient(
            account(), base_url=server.url, retry=TWICE, session=session if borrowed else None
        )
        async with client:
            for number in range(1, 4):
                await report(client)
                assert server.requests == number
                time.sleep(0.15)  # noqa: ASYNC251 - the server closes the connection meanwhile
    server.close()


# -- fresh connections


class Counted:
    """A server that counts connections, and returns a usage report to every request."""

    def __init__(self) -> None:
        self.connections = 0
        self.requests = 0
        self.open = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        async with raw_server(self._handle) as url:
            yield url

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                if b"content-length:" in head:
                    length = head.partition(b"content-length:")[2].split(b"\r\n")[0]
                    await reader.readexactly(int(length))
                self.requests += 1
                text = json.dumps({"sid": XE, "billable_items": [{"sid": BI, "quantity": 1}]})
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\n\r\n".encode()
                writer.write(head + text.encode())
        except asyncio.IncompleteReadError:
            pass
        finally:
            self.open -= 1


async def test_a_fresh_connection_carries_one_unsafe_write_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # aiohttp's own session would open one for every request.
    monkeypatch.setattr(sessions, "_direct", True)
    server = Counted()
    async with server.running() as url:
        async with MarketplaceClient(
            account(), base_url=url, fresh_connection_for_unsafe_writes=True
        ) as client:
            for _ in range(3):
                await client.send(Request("GET", "/v1/X"))
                await report(client)
            assert (server.connections, server.requests) == (4, 6)
            await asyncio.sleep(0.02)
            assert server.open == 1
        async with MarketplaceClient(account(), base_url=url) as client:
            for _ in range(3):
                await client.send(Request("GET", "/v1/X"))
                await report(client)
        assert server.connections == 5


async def test_fresh_connections_are_a_matter_of_a_borrowed_session() -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ValueError, match="TCPConnector\\(force_close=True\\)"):
            MarketplaceClient(account(), session=session, fresh_connection_for_unsafe_writes=True)


# -- hooks of a borrowed session


class Broken(Exception):
    """What a hook raises."""


def tracing(signal: str) -> Any:
    """Return options of a session with a trace that fails at this signal."""
    calls: list[str] = []

    async def fail(*_: object) -> None:
        calls.append(signal)
        raise Broken(signal)

    trace = aiohttp.TraceConfig()
    getattr(trace, signal).append(fail)
    return {"trace_configs": [trace]}, calls


def middleware(when: str) -> Any:
    calls: list[str] = []

    async def fail(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        calls.append(when)
        if when == "after":
            await handler(request)
        raise Broken(when)

    return {"middlewares": [fail]}, calls


BEFORE = [
    *("on_request_start", "on_connection_create_start", "on_connection_create_end"),
    *("on_request_headers_sent", "on_request_chunk_sent"),
]
AFTER = ["on_request_end"]


@pytest.mark.parametrize("hook", [*BEFORE, "middleware"])
async def test_a_hook_that_raises_before_the_first_byte_is_raised_as_it_is_once(hook: str) -> None:
    options, calls = middleware("before") if hook == "middleware" else tracing(hook)
    server = Counted()
    async with server.running() as url, aiohttp.ClientSession(**options) as session:
        client = MarketplaceClient(account(), base_url=url, session=session, retry=TWICE)
        with pytest.raises(Broken):
            await report(client)
        await asyncio.sleep(0.02)
        assert (len(calls), server.requests) == (1, 0)


@pytest.mark.parametrize("hook", [*AFTER, "middleware"])
async def test_a_hook_that_raises_later_never_hides_the_outcome_of_a_write(hook: str) -> None:
    options, calls = middleware("after") if hook == "middleware" else tracing(hook)
    server = Counted()
    async with server.running() as url, aiohttp.ClientSession(**options) as session:
        client = MarketplaceClient(account(), base_url=url, session=session, retry=TWICE)
        with capture() as exchanges, pytest.raises(AmbiguousOutcomeError) as error:
            await report(client)
        assert isinstance(error.value.__cause__, Broken)
        assert (len(calls), server.requests) == (1, 1)
        assert [exchange.error for exchange in exchanges] == [error.value]
        # A write that may be repeated: the hook would fail again.
        with pytest.raises(AmbiguousOutcomeError) as error:
            await client.installed_add_ons.update(XE, unique_name="new")
        assert isinstance(error.value.__cause__, Broken)
        # A read has no outcome.
        with pytest.raises(Broken):
            await client.send(Request("GET", "/v1/X"))
        assert (len(calls), server.requests) == (3, 3)


async def test_a_request_without_a_body_counts_as_written_where_nothing_tells() -> None:
    options, _ = tracing("on_connection_create_end")
    server = Counted()
    async with server.running() as url, aiohttp.ClientSession(**options) as session:
        client = MarketplaceClient(account(), base_url=url, session=session, retry=TWICE)
        with pytest.raises(AmbiguousOutcomeError):
            await client.installed_add_ons.delete(XE)
        assert server.requests == 0


async def test_a_middleware_that_replaces_the_body_hides_the_stage() -> None:
    async def rewrite(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        await request.update_body(b'{"billable_items": []}')
        return await handler(request)

    requests = 0

    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await reader.readuntil(b"\r\n\r\n")
        requests += 1

    async with raw_server(drop) as url, aiohttp.ClientSession(middlewares=[rewrite]) as session:
        client = MarketplaceClient(account(), base_url=url, session=session, retry=TWICE)
        with pytest.raises(AmbiguousOutcomeError):
            await report(client)
        assert requests == 1


async def test_a_head_that_is_sent_before_the_body_counts_as_written() -> None:
    async with (
        raw_server(silent) as url,
        aiohttp.ClientSession(headers={"Expect": "100-continue"}) as session,
    ):
        client = MarketplaceClient(
            account(), base_url=url, session=session, retry=TWICE, timeout=0.05
        )
        with pytest.raises(AmbiguousOutcomeError):
            await report(client)


async def test_a_middleware_that_sends_twice_does_not_turn_a_write_into_a_rejection() -> None:
    """The first request was carried out. The second finds no server."""
    server = Counted()
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(server.running())

        async def again(
            request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            response = await handler(request)
            response.close()
            request.url = request.url.with_port(1)
            return await handler(request)

        session = await stack.enter_async_context(aiohttp.ClientSession(middlewares=[again]))
        client = MarketplaceClient(account(), base_url=url, session=session, retry=TWICE)
        with pytest.raises(AmbiguousOutcomeError):
            await report(client)
        assert server.requests == 1


async def test_an_invalid_header_of_a_borrowed_session_is_raised_as_it_is() -> None:
    server = Counted()
    async with server.running() as url:
        async with aiohttp.ClientSession(headers={"X-App": "a\r\nb"}) as session:
            client = MarketplaceClient(account(), base_url=url, session=session, retry=TWICE)
            with capture() as exchanges, pytest.raises(ValueError, match="header") as error:
                await report(client)
    assert not exchanges
    assert not isinstance(error.value, TransportError)
    assert server.requests == 0


async def test_a_rejection_after_an_unknown_outcome_says_so() -> None:
    """The first update may have taken effect. The server is gone when it is retried."""

    async def drop_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        server.close()
        writer.close()

    server = await asyncio.start_server(drop_once, "127.0.0.1")
    host, port = server.sockets[0].getsockname()
    async with MarketplaceClient(
        account(), base_url=f"http://{host}:{port}", retry=TWICE
    ) as client:
        with pytest.raises(ConnectError, match="an earlier attempt may have taken") as error:
            await client.installed_add_ons.update(XE, unique_name="new")
    assert error.value.after_unknown


async def test_a_hook_that_raises_after_an_unknown_outcome_does_not_hide_it() -> None:
    calls = 0

    async def fail_later(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise Broken

    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(fail_later)
    async with raw_server(drop) as url, aiohttp.ClientSession(trace_configs=[trace]) as session:
        client = MarketplaceClient(account(), base_url=url, session=session, retry=TWICE)
        with pytest.raises(AmbiguousOutcomeError) as error:
            await client.installed_add_ons.update(XE, unique_name="new")
        assert isinstance(error.value.__cause__, Broken)
        assert calls == 2
