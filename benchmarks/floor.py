"""The least that a client of this API can cost in asyncio: a protocol written by hand.

It keeps its connections, finds the length of the body in the head, and decodes typed records with
msgspec. It does nothing else: no timeouts, retries, limits or checks, and every error ends the run.
"""

import asyncio
from collections.abc import AsyncIterator, Sized
from contextlib import asynccontextmanager
from datetime import datetime
from ssl import SSLContext, create_default_context
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import msgspec

from .clients import LIST

T = TypeVar("T")


class InstalledAddOn(msgspec.Struct):
    """A record with the fields and types of `marketplace_async.InstalledAddOn`."""

    sid: str
    account_sid: str
    friendly_name: str | None
    description: str | None
    configuration: dict[str, Any] | None
    unique_name: str | None
    date_created: datetime | None
    date_updated: datetime | None
    url: str | None
    links: dict[str, str] | None


class Meta(msgspec.Struct):
    next_page_url: str | None


class Page(msgspec.Struct):
    installed_add_ons: list[InstalledAddOn]
    meta: Meta


class Connection(asyncio.BufferedProtocol):
    """A keep-alive connection for one request at a time, with a buffer of its own."""

    _transport: asyncio.Transport
    _response: "asyncio.Future[bytes]"

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._received: list[bytes] = []
        self._missing = 0
        self._buffer = memoryview(bytearray(256 * 1024))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def request(self, message: bytes) -> "asyncio.Future[bytes]":
        """Send a request. Return a future for the body of the response."""
        self._response = self._loop.create_future()
        self._transport.write(message)
        return self._response

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(self._buffer[:nbytes])
        if not self._missing:
            if self._received:  # an incomplete head
                data = self._received.pop() + data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._received.append(data)
                return
            head = data[: end + 2].lower()
            if not head.startswith(b"http/1.1 200 "):
                self._response.set_exception(RuntimeError(f"unexpected response: {head!r}"))
                return
            start = head.index(b"\r\ncontent-length:") + 17
            self._missing = int(head[start : head.index(b"\r\n", start)])
            data = data[end + 4 :]
        self._missing -= len(data)
        self._received.append(data)
        if not self._missing:
            body = data if len(self._received) == 1 else b"".join(self._received)
            self._received.clear()
            self._response.set_result(body)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._response.done():
            self._response.set_exception(exc or ConnectionError("the server closed the connection"))

    def close(self) -> None:
        self._transport.close()


class Floor:
    """Fetches and lists records. Opens as many connections as there are concurrent requests."""

    def __init__(self, url: str, authorization: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._host, self._port = parts.hostname, parts.port
        self._tls: SSLContext | None = None
        if parts.scheme == "https":
            self._tls = create_default_context()
        self._head = f" HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: {authorization}\r\n\r\n"
        self._idle: list[Connection] = []

    async def _get(self, target: str, decoder: "msgspec.json.Decoder[T]") -> T:
        if self._idle:
            connection = self._idle.pop()
        else:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(
                lambda: Connection(loop), self._host, self._port, ssl=self._tls
            )
        body = await connection.request(f"GET {target}{self._head}".encode())
        self._idle.append(connection)
        return decoder.decode(body)

    async def fetch(self, sid: str) -> InstalledAddOn:
        return await self._get(f"{LIST}/{sid}", _decode_record)

    async def list(self) -> Sized:
        records: list[InstalledAddOn] = []
        target: str | None = f"{LIST}?PageSize=1000"
        while target:
            page = await self._get(target, _decode_page)
            records += page.installed_add_ons
            url = page.meta.next_page_url
            target = url and url[url.index(LIST) :]
        return records

    def close(self) -> None:
        for connection in self._idle:
            connection.close()


_decode_record = msgspec.json.Decoder(InstalledAddOn)
_decode_page = msgspec.json.Decoder(Page)


@asynccontextmanager
async def connect(url: str, authorization: str) -> AsyncIterator[Floor]:
    floor = Floor(url, authorization)
    try:
        yield floor
    finally:
        floor.close()
