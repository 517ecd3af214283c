"""One exchange: how far a request got, and what makes a connection fit for the next one."""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from support.raw_servers import full_backlog
from yarl import URL

from marketplace_async import MarketplaceClient, RequestTimeoutError, Retry
from marketplace_async._core import connection as connections
from marketplace_async._core.connection import (
    Bounds,
    ExchangeError,
    Origin,
    Progress,
    Reply,
    Stage,
)
from marketplace_async.testing import account

GET = b"GET /v1/X HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTwilio-Request-Id: RQ1\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
BOUNDS = Bounds(aiohttp.ClientTimeout(total=None), 1000)

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Wire:
    """A raw server and the connections to it."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.accepted = 0
        self.requests = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def get(self, bounds: Bounds = BOUNDS, message: bytes = GET) -> tuple[Reply, Stage]:
        progress = Progress()
        reply = await asyncio.wait_for(self.origin.exchange(message, bounds, progress), 5)
        return reply, progress.stage

    async def failing(self, error: type[Exception], bounds: Bounds = BOUNDS) -> tuple[str, Stage]:
        progress = Progress()
        with pytest.raises(error) as raised:
            await asyncio.wait_for(self.origin.exchange(GET, bounds, progress), 5)
        return str(raised.value), progress.stage


@asynccontextmanager
async def wire(
    respond: Callable[[int], bytes | None], *, close: bool = False
) -> AsyncIterator[Wire]:
    """A server that sends `respond(n)` for its request number n, and then may close."""
    here: Wire

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        here.accepted += 1
        here.writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                here.requests += 1
                response = respond(here.requests)
                if response is None:
                    await asyncio.sleep(60)
                else:
                    writer.write(response)
                    await writer.drain()
                if close:
                    break
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1")
    host, port = server.sockets[0].getsockname()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        here = Wire(Origin(session, URL(f"http://{host}:{port}"), True))
        try:
            yield here
        finally:
            here.origin.close()
            server.close()
            for writer in here.writers:
                writer.transport.abort()
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("response", [OK, CHUNKED, NO_CONTENT, CONTINUE + OK, CONTINUE + CHUNKED])
async def test_a_connection_is_reused_after_any_complete_response(response: bytes) -> None:
    async with wire(lambda _: response) as here:
        for _ in range(3):
            reply, stage = await here.get()
            assert (reply.status, stage) == (204 if response is NO_CONTENT else 200, Stage.COMPLETE)
            assert reply.body == (b"" if response is NO_CONTENT else b"ok")
        assert (here.accepted, here.requests) == (1, 3)


async def test_headers_are_read_without_regard_to_case() -> None:
    async with wire(lambda _: OK) as here:
        reply, _ = await here.get()
        assert reply.headers["twilio-request-id"] == "RQ1"
        assert dict(reply.headers) == {"Content-Length": "2", "Twilio-Request-Id": "RQ1"}


@pytest.mark.parametrize("response", [OK, CHUNKED, NO_CONTENT, CONTINUE + OK])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 20])
async def test_a_response_may_arrive_in_pieces_of_any_size(response: bytes, size: int) -> None:
    async with wire(lambda _: b"") as here:
        getting = asyncio.ensure_future(here.get())
        while not here.requests:
            await asyncio.sleep(0)
        for start in range(0, len(response), size):
            here.writers[0].write(response[start : start + size])
            await asyncio.sleep(0.0005)
        reply, _ = await getting
        assert reply.body == (b"" if response is NO_CONTENT else b"ok")


@pytest.mark.parametrize(
    ("response", "message", "stage"),
    [
        (b"", "the server closed the connection before it responded", Stage.WRITTEN),
        (b"HTTP/1.1 200", "the response was cut off in its head", Stage.RESPONDING),
        (OK[:-1], "the response was cut off 1 bytes before its end", Stage.RESPONDING),
        (OK + b"x", "malformed response", Stage.RESPONDING),
        (b"SSH-2.0-x\r\n", "malformed response", Stage.RESPONDING),
        (b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", "malformed", Stage.RESPONDING),
    ],
)
async def test_a_failure_says_how_far_the_request_got(
    response: bytes, message: str, stage: Stage
) -> None:
    async with wire(lambda _: response, close=True) as here:
        text, reached = await here.failing(ExchangeError)
        assert message in text
        assert reached == stage


@pytest.mark.parametrize("end", [b"\n", b"\r"])
async def test_a_bare_line_end_does_not_hang(end: bytes) -> None:
    response = b"HTTP/1.1 200 OK" + end + b"Content-Length: 2" + end + end + b"ok"
    async with wire(lambda _: response) as here:
        with contextlib.suppress(ExchangeError):
            async with asyncio.timeout(2):
                progress = Progress()
                bounds = Bounds(aiohttp.ClientTimeout(total=None, sock_read=1), 1000)
                with contextlib.suppress(TimeoutError):
                    await here.origin.exchange(GET, bounds, progress)
                assert progress.stage >= Stage.RESPONDING


async def test_a_port_that_nobody_listens_on_is_not_connected() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = URL(f"http://127.0.0.1:{unused.getsockname()[1]}")
        async with aiohttp.ClientSession() as session:
            progress = Progress()
            with pytest.raises(aiohttp.ClientConnectorError):
                await Origin(session, url, True).exchange(GET, BOUNDS, progress)
            assert progress.stage == Stage.NOT_CONNECTED


async def test_a_connect_timeout_is_not_connected() -> None:
    with full_backlog() as url:
        async with aiohttp.ClientSession() as session:
            progress = Progress()
            bounds = Bounds(aiohttp.ClientTimeout(total=None, connect=0.1), 1000)
            with pytest.raises(
                ExchangeError, match=r"no connection to 127\.0\.0\.1:\d+ within 0\.1 s"
            ):
                await Origin(session, URL(url), True).exchange(GET, bounds, progress)
            assert progress.stage == Stage.NOT_CONNECTED


@pytest.mark.parametrize("late", [b"", b"x", OK], ids=["closed", "a byte", "a response"])
async def test_an_idle_connection_with_anything_to_read_is_never_used(late: bytes) -> None:
    async with wire(lambda _: OK) as here:
        await here.get()
        with socket.socket(
            fileno=os.dup(here.writers[0].get_extra_info("socket").fileno())
        ) as server_side:
            if late:
                server_side.send(late)
            else:
                server_side.shutdown(socket.SHUT_WR)
        # The event loop has not run since: it could not have noticed.
        reply, stage = await here.get()
        assert (reply.body, stage) == (b"ok", Stage.COMPLETE)
        assert here.accepted == 2


async def test_an_idle_connection_that_was_reset_is_never_used() -> None:
    async with wire(lambda _: OK) as here:
        await here.get()
        server_side = here.writers[0].get_extra_info("socket")
        server_side.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, (1).to_bytes(4, "little") + bytes(4)
        )
        here.writers[0].transport.abort()
        await asyncio.sleep(0.01)
        reply, _ = await here.get()
        assert reply.body == b"ok"
        assert here.accepted == 2


async def test_the_connection_used_last_is_reused_first() -> None:
    async with wire(lambda _: OK) as here:
        await asyncio.gather(*(here.get() for _ in range(4)))
        assert here.accepted == 4
        for _ in range(5):
            await here.get()
        assert here.accepted == 4
        busy = [writer for writer in here.writers if not writer.is_closing()]
        assert len(busy) == 4


async def test_a_cancelled_exchange_closes_its_connection() -> None:
    async with wire(lambda number: None if number == 1 else OK) as here:
        task = asyncio.ensure_future(here.get())
        while not here.requests:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await here.get())[0].body == b"ok"
        assert here.accepted == 2


async def test_a_body_that_is_too_large_is_not_read() -> None:
    big = b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" + b"x" * 1001
    async with wire(lambda number: big if number == 1 else OK) as here:
        reply, _ = await here.get()
        assert (reply.status, reply.body) == (200, None)
        assert (await here.get())[0].body == b"ok"
        assert here.accepted == 2


@pytest.mark.parametrize(
    "response", [OK[:-1], CHUNKED[:-9], b"HTTP/1.1 200 OK\r\nX: y"], ids=["body", "chunk", "head"]
)
async def test_a_response_that_stalls_times_out(response: bytes) -> None:
    bounds = Bounds(aiohttp.ClientTimeout(total=None, sock_read=0.1), 1000)
    async with wire(lambda _: response) as here:
        _, stage = await here.failing(TimeoutError, bounds)
        assert stage == Stage.RESPONDING


async def test_a_response_that_keeps_coming_does_not_time_out() -> None:
    bounds = Bounds(aiohttp.ClientTimeout(total=None, sock_read=0.2), 1000)
    async with wire(lambda _: OK[:-2]) as here:
        getting = asyncio.ensure_future(here.get(bounds))
        while not here.requests:
            await asyncio.sleep(0)
        for byte in b"o", b"k":
            await asyncio.sleep(0.15)
            here.writers[0].write(byte)
        assert (await getting)[0].body == b"ok"


async def test_a_response_before_the_whole_request_was_sent_settles_nothing() -> None:
    """A server that responds and does not read on: a success cannot be about the whole request."""
    finished = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport for both ways
        writer.write(OK)
        await finished.wait()
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", limit=1)
    host, port = server.sockets[0].getsockname()
    async with aiohttp.ClientSession() as session:
        origin = Origin(session, URL(f"http://{host}:{port}"), True)
        progress = Progress()
        message = GET + b"x" * 64 * 2**20
        with pytest.raises(ExchangeError, match="responded before the whole request was sent"):
            await asyncio.wait_for(origin.exchange(message, BOUNDS, progress), 5)
        assert Stage.WRITTEN <= progress.stage < Stage.COMPLETE
        origin.close()
    finished.set()
    server.close()
    await asyncio.sleep(0.01)


async def test_idle_connections_are_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from marketplace_async._core import connection

    monkeypatch.setattr(connection, "_KEEP_ALIVE", 0.05)
    async with wire(lambda _: OK) as here:
        await here.get()
        await asyncio.sleep(0.2)
        idle: list[Any] = here.origin._idle
        assert idle == []
        await here.get()
        assert here.accepted == 2


@contextlib.contextmanager
def taken(writer: asyncio.StreamWriter) -> Iterator[socket.socket]:
    """Take the socket of a server's connection away from the event loop."""
    here = writer.get_extra_info("socket").fileno()
    with socket.socket(fileno=os.dup(here)) as connected:
        writer.transport.abort()
        yield connected


def reset(connected: socket.socket) -> None:
    linger = struct.pack("ii", 1, 0)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    connected.close()


@pytest.mark.parametrize("told", [True, False], ids=["plain TCP", "a transport that cannot tell"])
async def test_a_write_that_fails_at_once_is_a_rejection_where_the_transport_tells(
    told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not told:
        monkeypatch.setattr(connections, "_tells_what_it_accepted", lambda _: False)
    async with wire(lambda _: OK) as here:
        await here.get()
        (kept,) = here.origin._idle
        with taken(here.writers[0]) as server_side:
            await asyncio.sleep(0.01)
            reset(server_side)
        # The loop has not run since. The check for input would notice: it is not asked here.
        progress = Progress()
        with pytest.raises(ExchangeError):
            await asyncio.wait_for(kept.exchange(GET, BOUNDS, progress), 5)
        told = told and type(kept._transport).__module__ == "asyncio.selector_events"
        assert progress.stage == (Stage.CONNECTED if told else Stage.WRITTEN)


async def test_a_write_after_the_server_closed_its_side_is_lost_and_counts_as_written() -> None:
    async with wire(lambda _: OK) as here:
        await here.get()
        (kept,) = here.origin._idle
        with taken(here.writers[0]) as server_side:
            await asyncio.sleep(0.01)
            server_side.shutdown(socket.SHUT_WR)
            assert not kept.is_quiet()
            progress = Progress()
            with pytest.raises(ExchangeError):
                await asyncio.wait_for(kept.exchange(GET, BOUNDS, progress), 5)
        assert progress.stage == Stage.WRITTEN


async def test_a_failure_after_a_part_was_accepted_counts_as_written() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", limit=1)
    host, port = server.sockets[0].getsockname()
    async with aiohttp.ClientSession() as session:
        origin = Origin(session, URL(f"http://{host}:{port}"), True)
        progress = Progress()
        with pytest.raises(ExchangeError):
            await origin.exchange(GET + b"x" * 64 * 2**20, BOUNDS, progress)
        assert progress.stage == Stage.WRITTEN
    server.close()
    await asyncio.sleep(0.01)


async def test_a_fresh_connection_is_neither_taken_from_the_idle_ones_nor_kept() -> None:
    async with wire(lambda _: OK) as here:
        for _ in range(2):
            await here.get()
            await here.origin.exchange(GET, BOUNDS, Progress(), fresh=True)
        assert here.accepted == 3
        assert len(here.origin._idle) == 1


async def test_a_write_that_timed_out_is_not_sent_any_further() -> None:
    """A server that wakes up must not apply it after a later write."""
    wake_up = asyncio.Event()
    received: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await wake_up.wait()
        received.append(len(await reader.read(-1)))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    listing, size = "XB" + 32 * "b", 4_900_000
    async with (
        server,
        MarketplaceClient(account(), base_url=url, timeout=0.3, retry=Retry(attempts=1)) as client,
    ):
        with pytest.raises(RequestTimeoutError):
            await client.listings.update(listing, policies={"text": "a" * size})
        wake_up.set()
        async with asyncio.timeout(10):
            while not received:
                await asyncio.sleep(0.01)
    assert received[0] < size
