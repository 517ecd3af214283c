"""A response in one write says what a response of aiohttp's says."""

import asyncio

import pytest
from support.plain_http import AC, SPAM_SCORE, basic

from marketplace_async.emulator import Emulator

VARYING = ("Date", "Twilio-Request-Id", "Twilio-Request-Duration", "Connection")


def request(line: str, *headers: str) -> bytes:
    return "\r\n".join(
        [line, "Host: emulator", f"Authorization: {basic()['Authorization']}", *headers, "", ""]
    ).encode()


async def exchange(emulator: Emulator, data: bytes) -> bytes:
    """Send these bytes and return all bytes until the server closes the connection."""
    host, port = emulator.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()
        await writer.wait_closed()


def parsed(response: bytes) -> tuple[dict[str, str], bytes]:
    head, _, body = response.partition(b"\r\n\r\n")
    _, *lines = head.decode("ascii").split("\r\n")
    return dict(line.split(": ", 1) for line in lines), body


async def test_it_has_the_headers_and_the_body_of_a_response_by_aiohttp() -> None:
    async with Emulator() as emulator:
        (sid,) = emulator.install(AC, SPAM_SCORE)
        line = f"GET /v1/InstalledAddOns/{sid} HTTP/1.1"
        closing = request(line, "Connection: close")
        both = await exchange(emulator, request(line) + closing)
    length = int(parsed(both)[0]["Content-Length"])
    end = both.index(b"\r\n\r\n") + 4 + length
    (plain, plain_body), (other, other_body) = parsed(both[:end]), parsed(both[end:])
    assert plain_body == other_body
    assert set(plain) ^ set(other) == {"Connection"}
    for name in VARYING:
        plain.pop(name, None)
        other.pop(name, None)
    assert plain == other


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with Emulator() as emulator:
        sids = emulator.install(AC, SPAM_SCORE, times=20)
        lines = [f"GET /v1/InstalledAddOns/{sid} HTTP/1.1" for sid in sids]
        *most, last = lines
        data = b"".join(map(request, most)) + request(last, "Connection: close")
        responses = await exchange(emulator, data)
    places = [responses.index(f'"sid":"{sid}"'.encode()) for sid in sids]
    assert places == sorted(places)
    assert responses.count(b"HTTP/1.1 200 OK\r\n") == 20


@pytest.mark.parametrize("line", ["HEAD {} HTTP/1.1", "GET {} HTTP/1.0"])
async def test_other_requests_are_answered_by_aiohttp(line: str) -> None:
    async with Emulator() as emulator:
        (sid,) = emulator.install(AC, SPAM_SCORE)
        line = line.format(f"/v1/InstalledAddOns/{sid}")
        headers, body = parsed(await exchange(emulator, request(line, "Connection: close")))
    assert (body == b"") is line.startswith("HEAD")
    assert "Server" in headers


async def test_a_client_that_leaves_during_a_response_does_no_harm() -> None:
    async with Emulator(latency=0.05) as emulator:
        host, port = emulator.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(request("GET /v1/InstalledAddOns HTTP/1.1"))
        await writer.drain()
        writer.transport.abort()
        await asyncio.sleep(0.2)
        assert b"200 OK" in await exchange(
            emulator, request("GET /v1/InstalledAddOns HTTP/1.1", "Connection: close")
        )


async def test_a_client_that_does_not_read_makes_the_server_wait() -> None:
    async with Emulator() as emulator:
        emulator.install(AC, SPAM_SCORE, times=1000)
        host, port = emulator.url.removeprefix("http://").split(":")
        _reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        page = request("GET /v1/InstalledAddOns?PageSize=1000 HTTP/1.1")
        writer.write(page * 100)
        await asyncio.sleep(0.5)
        assert len(emulator.log) < 50  # the rest waits, instead of filling the memory
        writer.transport.abort()
