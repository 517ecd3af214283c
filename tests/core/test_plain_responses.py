"""Plain responses are read by `connection.py`: just as aiohttp's own parser would read them."""

import asyncio
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from unittest.mock import patch

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError
from hypothesis import HealthCheck, example, given, settings, strategies as st
from yarl import URL

from marketplace_async._core import connection as exchanges
from marketplace_async._core.bodies import read_body
from marketplace_async._core.connection import Bounds, ExchangeError, Progress

CASES = int(os.environ.get("MARKETPLACE_DIFFERENTIAL_CASES", "300"))
BOUNDS = Bounds(aiohttp.ClientTimeout(total=None), 10_000)

Outcome = tuple[int, list[tuple[str, str]], bytes] | None

NAMES = [
    *("Content-Length", "content-length", "Connection", "Proxy-Connection", "Transfer-Encoding"),
    *("Content-Encoding", "Upgrade", "Trailer", "Date", "Twilio-Request-Id", "X", "Set-Cookie"),
]
VALUES = [
    *("0", "2", "5", "05", "-1", "+2", "2, 2", "9" * 12, "9" * 30, "", "close", "keep-alive"),
    *("Keep-Alive", "chunked", "gzip", "identity", "x", "a\tb", "caf\xe9", "\x00", "a b"),
]
field_names = st.sampled_from(NAMES) | st.text("Xx-_. :\t", min_size=0, max_size=4)
field_values = st.sampled_from(VALUES) | st.text(max_size=5).map(
    lambda text: text.encode("utf-8", "ignore").decode("latin-1")
)
line_ends = st.sampled_from([b"\r\n"] * 20 + [b"\n", b"\r", b"\r\n "])
plain_lines = st.tuples(st.sampled_from(NAMES[8:]), st.sampled_from(["x", "a b", ""]))


@st.composite
def plain_heads(draw: st.DrawFn) -> bytes:
    lines = draw(st.lists(plain_lines, max_size=4))
    lines.insert(
        draw(st.integers(0, len(lines))), ("Content-Length", draw(st.sampled_from("0259")))
    )
    status = draw(st.sampled_from([200, 201, 202, 400, 404, 429, 503, 204, 304]))
    return f"HTTP/1.1 {status} OK\r\n".encode() + b"".join(
        f"{name}: {value}\r\n".encode("latin-1") for name, value in lines
    )


@st.composite
def odd_heads(draw: st.DrawFn) -> bytes:
    end = draw(line_ends)
    version = draw(
        st.sampled_from([b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/2.0", b"http/1.1", b""])
    )
    status = draw(
        st.sampled_from([b"200 OK", b"200", b"200 ", b"99 X", b"600 X", b"2000 X", b"101 X"])
    )
    head = version + b" " + status + end
    for name, value in draw(st.lists(st.tuples(field_names, field_values), max_size=4)):
        separator = draw(st.sampled_from([": ", ":", " : ", ":\t", ""]))
        head += (name + separator + value).encode("latin-1") + draw(line_ends)
    return head


@st.composite
def responses(draw: st.DrawFn) -> list[bytes]:
    head = draw(plain_heads() | odd_heads())
    body = draw(st.sampled_from([b"", b"ok", b"hello", b"2\r\nok\r\n0\r\n\r\n", b"\r\n", b"x" * 9]))
    whole = head + draw(line_ends) + body
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    return [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True) if a < b]


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


async def both(pieces: Sequence[bytes]) -> tuple[Outcome, Outcome]:
    return await outcome(by_us, pieces), await outcome(by_aiohttp, pieces)


async def outcome(read: Any, pieces: Sequence[bytes]) -> Outcome:
    """Give the pieces to whatever the protocol is by then, and then the end of the stream."""
    here, there = socket.socketpair()
    with there:
        loop = asyncio.get_running_loop()
        transport, handler = await loop.create_connection(lambda: ResponseHandler(loop), sock=here)
        reading = asyncio.ensure_future(read(handler, transport))
        await asyncio.sleep(0)
        for piece in pieces:
            if transport.is_closing():
                break
            feed(transport.get_protocol(), piece)
            await asyncio.sleep(0)
        protocol: Any = transport.get_protocol()
        if not transport.is_closing():
            protocol.eof_received()
            transport.abort()
        try:
            return await asyncio.wait_for(reading, 5)
        except (ExchangeError, HttpProcessingError, aiohttp.ClientError, OSError):
            return None


def feed(protocol: Any, data: bytes) -> None:
    """Give data to a protocol as a proactor does: all of it to the same one."""
    if not isinstance(protocol, asyncio.BufferedProtocol):
        protocol.data_received(data)
        return
    while data:
        buffer = memoryview(protocol.get_buffer(len(data)))
        assert buffer
        part, data = data[: len(buffer)], data[len(buffer) :]
        buffer[: len(part)] = part
        protocol.buffer_updated(len(part))


async def by_us(handler: ResponseHandler, transport: asyncio.Transport) -> Outcome:
    async with aiohttp.ClientSession() as session:
        assert session.connector is not None
        loop = asyncio.get_running_loop()
        key = aiohttp.ClientRequest("GET", ANY_URL, session=session, loop=loop).connection_key
        opened = Connection(session.connector, key, handler, loop)
        connection = exchanges._Connection(opened)
        try:
            reply = await connection.exchange(b"GET / HTTP/1.1\r\n\r\n", BOUNDS, Progress())
        finally:
            connection.close()
        if reply.body is None:
            return None
        return reply.status, fields(reply.headers), reply.body


async def by_aiohttp(handler: ResponseHandler, transport: asyncio.Transport) -> Outcome:
    handler.set_response_params(read_until_eof=True)
    try:
        message, payload = await handler.read()
        while message.code < 200 and message.code != 101:
            message, payload = await handler.read()
        body = await read_body(message, payload, BOUNDS.max_response_size)
    finally:
        handler.close()
    return None if body is None else (message.code, fields(message.headers), body)


def fields(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the headers in order. aiohttp changes the case of some names."""
    return [(name.lower(), value) for name, value in headers.items()]


ANY_URL = URL("http://localhost")

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"


@settings(
    max_examples=CASES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(responses(), st.sampled_from([1_048_576, 1, 3]))
@example([OK + b"ok"], 3)
@example([OK, b"o", b"k"], 3)
@example([OK + b"okX"], 3)
@example([OK + b"o", b"kX"], 3)
@example([OK.replace(b"2\r", b"9\r"), b"x" * 4, b"x" * 5], 3)
@example([b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"], 3)
@example([OK[:-2] + b"Content-Length: 2\r\n\r\nok"], 3)
@example([OK[:-2] + b"Content-Length: 3\r\n\r\nok"], 3)
@example([b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok"], 3)
@example([b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok"], 3)
@example([b"HTTP/1.1 200 OK\r\nX: y" + b"\r\nX: y" * 200 + b"\r\nContent-Length: 2\r\n\r\nok"], 3)
@example([b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nok"], 3)
def test_a_response_is_read_as_aiohttp_reads_it(
    runner: asyncio.Runner, pieces: list[bytes], allocated: int
) -> None:
    with patch.object(exchanges, "_MAX_PIECE", allocated):
        ours, theirs = runner.run(both(pieces))
    assert ours == theirs


@pytest.mark.parametrize("size", [1, 7, 60, 100])
@pytest.mark.parametrize(
    "response",
    [
        OK + b"ok",
        OK[:-2] + b"X: y\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ],
    ids=["plain", "plain, more headers", "chunked"],
)
def test_a_response_may_be_larger_than_the_buffer(
    runner: asyncio.Runner, response: bytes, size: int
) -> None:
    with patch.object(exchanges, "_BUFFER", size):
        ours, theirs = runner.run(both([response]))
    assert ours == theirs
    assert ours is not None
