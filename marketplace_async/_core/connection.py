"""One HTTP exchange over a connection that aiohttp opened, and how far it got.

aiohttp looks up names, connects and negotiates TLS. Most responses are plain: a status line, ASCII
headers and a body of known length. Those are read here, at half the cost. Every other response goes
to aiohttp's own parser, from its first byte.
"""

import asyncio
import select
import socket
import ssl as tls
from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum
from typing import Final, NamedTuple

import aiohttp
import attrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError
from yarl import URL

from .bodies import read_body
from .clocks import monotonic
from .messages import MAX_ERROR_BODY, Headers
from .plain_heads import PLAIN_HEAD, is_begun

# Seconds for which an idle connection is kept, as in aiohttp.
_KEEP_ALIVE: Final = 15.0
# Bytes of the buffer of a connection. A record fits with its head; a page has a buffer of its own.
_BUFFER: Final = 16 * 1024
# Bytes of a body that are allocated at once, whatever `Content-Length` says.
_MAX_PIECE: Final = 1024 * 1024
CLOSED_EARLY: Final = "the server closed the connection before it responded"


class Stage(IntEnum):
    """How far a request got."""

    NOT_CONNECTED = 0
    CONNECTED = 1
    WRITTEN = 2
    """At least its first byte may have been sent."""
    RESPONDING = 3
    COMPLETE = 4


@attrs.define(eq=False, repr=False)
class Progress:
    """The stage of one exchange, for its caller: an exchange can be cancelled at any stage."""

    stage: Stage = Stage.NOT_CONNECTED


class Bounds(NamedTuple):
    """The bounds of one exchange: seconds to connect and between reads, and bytes of the body."""

    timers: aiohttp.ClientTimeout
    max_response_size: int


class Reply(NamedTuple):
    """A complete response. `body` is None if it is larger than allowed."""

    status: int
    headers: Headers
    body: bytes | None


class ExchangeError(Exception):
    """The exchange failed. The message is a sentence without secrets."""


class ConnectTimeout(ExchangeError):
    """No connection was established in time."""


class Origin:
    """The connections to one origin. Idle ones are kept here and reused last in, first out."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: URL,
        ssl: "tls.SSLContext | bool | aiohttp.Fingerprint",
        proxy: URL | None = None,
    ) -> None:
        assert session.connector is not None
        self._connector = session.connector
        self._loop = asyncio.get_running_loop()
        # Tells the connector where to connect, and is never sent.
        self._destination = aiohttp.ClientRequest(
            "GET", url, ssl=ssl, session=session, loop=self._loop, proxy=proxy
        )
        self._idle: list[_Connection] = []
        self._sweeping: asyncio.TimerHandle | None = None

    async def exchange(
        self, message: bytes, bounds: Bounds, progress: Progress, *, fresh: bool = False
    ) -> Reply:
        """Send a message and read the response.

        Args:
            fresh: Whether to open a connection for this exchange alone.

        Raises:
            ExchangeError, aiohttp.ClientError, OSError: The exchange failed; `progress` says where.
            TimeoutError: One of the timers of `bounds` expired.
        """
        kept = None if fresh else self._reuse()
        connection = kept or await self._connect(bounds.timers)
        try:
            reply = await connection.exchange(message, bounds, progress)
        except BaseException:
            connection.abort()
            raise
        if connection.is_open() and not fresh:
            self._keep(connection)
        else:
            connection.close()
        return reply

    def close(self) -> None:
        """Close the idle connections."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        while self._idle:
            # A transport of a closed event loop cannot be closed any more.
            with suppress(RuntimeError):
                self._idle.pop().close()

    def _reuse(self) -> "_Connection | None":
        while self._idle:
            connection = self._idle.pop()
            if connection.is_quiet() and monotonic() - connection.idle_since < _KEEP_ALIVE:
                return connection
            connection.close()
        return None

    async def _connect(self, timers: aiohttp.ClientTimeout) -> "_Connection":
        try:
            opened = await self._connector.connect(self._destination, [], timers)
        except TimeoutError:
            url, proxy = self._destination.url, self._destination.proxy
            where = f"{url.host_subcomponent}:{url.port}"
            if proxy is not None:
                where += f" through the proxy {proxy.host_subcomponent}:{proxy.port}"
            raise ConnectTimeout(f"no connection to {where} within {timers.connect} s") from None
        return _Connection(opened)

    def _keep(self, connection: "_Connection") -> None:
        connection.idle_since = monotonic()
        self._idle.append(connection)
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(_KEEP_ALIVE, self._sweep)

    def _sweep(self) -> None:
        """Close the connections that have been idle for too long."""
        self._sweeping = None
        kept, self._idle = self._idle, []
        before = monotonic() - _KEEP_ALIVE
        for connection in kept:
            if connection.idle_since > before and connection.is_quiet():
                self._idle.append(connection)
            else:
                connection.close()
        if self._idle:
            self._sweeping = self._loop.call_later(_KEEP_ALIVE, self._sweep)


class _Connection(asyncio.BufferedProtocol):
    """One connection. While a response is not plain, aiohttp's handler is the protocol instead.

    The event loop reads into a buffer of this connection. For `asyncio.Protocol` it would allocate
    256 kB for each read, which costs a system call and page faults wherever malloc maps that much.
    """

    def __init__(self, opened: Connection) -> None:
        transport, handler = opened.transport, opened.protocol
        if transport is None or handler is None:
            opened.close()
            raise ExchangeError("the connection was lost at once")
        self.idle_since = 0.0
        self._opened = opened
        self._transport = transport
        self._handler: ResponseHandler = handler
        self._has_input = input_check(transport)
        self._lost = False
        self._received = False
        self._delegated = False
        self._waiter: asyncio.Future[Reply | None] | None = None
        self._buffer = memoryview(bytearray(_BUFFER))
        self._room = self._buffer
        self._head = b""
        self._status = 0
        self._headers: Headers | None = None
        self._pieces: list[bytes | memoryview] = []
        self._missing = 0
        # Over TLS, what there is to read may be a session ticket.
        over_tls = transport.get_extra_info("sslcontext") is not None
        if handler.should_close or not (over_tls or self.is_quiet()):
            self.close()
            raise ExchangeError("the server closed the connection, or sent something, at once")
        transport.set_protocol(self)

    def is_quiet(self) -> bool:
        """Return True if the server has neither closed the connection nor sent anything.

        A server may have closed it while the event loop was busy. Whatever is sent then is lost.
        """
        return self.is_open() and not self._has_input()

    def is_open(self) -> bool:
        """Return True if the connection is open, as far as the event loop knows."""
        return not (self._lost or self._transport.is_closing())

    def close(self) -> None:
        self._lost = True
        self._opened.close()
        self._transport.close()

    def abort(self) -> None:
        """Close the connection without sending the rest of the request.

        `close()` would go on sending it, so that a write could land after a later one.
        """
        self.close()
        self._transport.abort()

    async def exchange(self, message: bytes, bounds: Bounds, progress: Progress) -> Reply:
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        self._progress, self._bounds = progress, bounds
        progress.stage = Stage.WRITTEN
        self._transport.write(message)
        if self._transport.is_closing() and _tells_what_it_accepted(self._transport):
            progress.stage = Stage.CONNECTED
            raise ExchangeError("the connection was closed before the request was sent")
        read_timeout = bounds.timers.sock_read
        try:
            reply = await (waiter if read_timeout is None else self._patient(waiter, read_timeout))
        finally:
            self._waiter = None
            del waiter  # it holds its exception, whose traceback refers to this frame
        if reply is None:
            reply = await self._read_by_aiohttp(bounds)
        if self._transport.get_write_buffer_size():
            # The server did not wait for the whole request.
            self.abort()
            if reply.status < 300:
                raise ExchangeError("the server responded before the whole request was sent")
        progress.stage = Stage.COMPLETE
        return reply

    async def _patient(
        self, waiter: "asyncio.Future[Reply | None]", seconds: float
    ) -> Reply | None:
        """Wait for a response that never pauses for longer than this."""
        try:
            while True:
                self._received = False
                await asyncio.wait([waiter], timeout=seconds)
                if waiter.done():
                    return waiter.result()
                if not self._received:
                    raise TimeoutError(f"no data within {seconds} s")
        finally:
            del waiter  # as above

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        self._received = True
        if self._missing:
            self._read_body(nbytes)
        else:
            self._read_head(bytes(self._buffer[:nbytes]))

    def _read_body(self, size: int) -> None:
        surplus = max(0, size - self._missing)
        self._pieces.append(self._room[: size - surplus])
        self._missing -= size - surplus
        if self._missing:
            self._room = self._room[size:]
            if len(self._room) <= 1:
                self._make_room()
            return
        self._room = self._buffer
        body, self._pieces = b"".join(self._pieces), []
        assert self._headers is not None
        self._succeed(Reply(self._status, self._headers, body))
        if surplus:
            self.close()

    def _make_room(self) -> None:
        # One byte more shows whether the server sends more than it announced.
        self._room = memoryview(bytearray(min(self._missing, _MAX_PIECE) + 1))

    def _read_head(self, data: bytes) -> None:
        if self._waiter is None:
            if self._delegated:
                # A proactor hands on what it has read in pieces, all of them to the same protocol.
                self._handler.data_received(data)
            else:
                self.close()
            return
        if self._head:
            data = self._head + data
            self._head = b""
        else:
            self._progress.stage = Stage.RESPONDING
        head = PLAIN_HEAD.match(data)
        if head is None:
            if is_begun(data):
                self._head = data
            else:
                self._delegate(data)
            return
        status, headers, size = int(head[1]), Headers.from_head(head[0]), int(head[3])
        if size > self._bounds.max_response_size or (status >= 300 and size > MAX_ERROR_BODY):
            if status >= 300:
                # Only the beginning of the body is read.
                self._delegate(data)
                return
            self._succeed(Reply(status, headers, None))
            self.close()
            return
        body = data[head.end() :]
        if len(body) == size:
            self._succeed(Reply(status, headers, body))
        elif len(body) < size:
            self._missing = size - len(body)
            self._status, self._headers = status, headers
            self._pieces.append(body)
            self._make_room()
        else:
            self._delegate(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if self._missing > 0:
            why = f"the response was cut off {self._missing} bytes before its end"
        elif self._head:
            why = "the response was cut off in its head"
        else:
            why = CLOSED_EARLY
        self._fail(ExchangeError(f"{why}: {exc}" if isinstance(exc, OSError) else why))
        self._handler.connection_lost(exc)

    def _succeed(self, reply: Reply | None) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(reply)

    def _fail(self, error: Exception) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
        self.close()

    def _delegate(self, data: bytes) -> None:
        """Let aiohttp read this response, from its first byte."""
        timers, _ = self._bounds
        self._delegated = True
        self._transport.set_protocol(self._handler)
        self._handler.set_response_params(read_until_eof=True, read_timeout=timers.sock_read)
        self._handler.data_received(data)
        self._succeed(None)

    async def _read_by_aiohttp(self, bounds: Bounds) -> Reply:
        handler = self._handler
        try:
            message, payload = await handler.read()
            while message.code < 200 and message.code != 101:
                message, payload = await handler.read()
            body = await read_body(message, payload, bounds.max_response_size)
        except HttpProcessingError as error:
            raise ExchangeError(f"malformed response: {error.code} {error.message}") from None
        if body is None or handler.should_close:
            self.close()
        else:
            self._delegated = False
            self._transport.set_protocol(self)
        return Reply(message.code, Headers(message.headers), body)


def _tells_what_it_accepted(transport: asyncio.Transport) -> bool:
    """Return True if a transport that is closing as soon as `write` returns has accepted nothing.

    That is so for asyncio's transport over plain TCP, which hands the data to the socket at once. A
    TLS transport, a proactor's or uvloop's may have accepted a part of it.
    """
    return type(transport).__module__ == "asyncio.selector_events"


def input_check(transport: asyncio.BaseTransport) -> Callable[[], bool]:
    """Return a function that checks whether there is anything to read, including the end."""
    connected: socket.socket | None = transport.get_extra_info("socket")
    if connected is None:
        return lambda: False
    if not hasattr(select, "poll"):
        return lambda: bool(select.select([connected], [], [], 0)[0])
    poll = select.poll()
    poll.register(connected.fileno(), select.POLLIN)
    return lambda: bool(poll.poll(0))
