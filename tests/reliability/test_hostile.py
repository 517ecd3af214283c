"""Hostile and broken servers: typed errors, in bounded time and memory."""

import asyncio
import contextlib
import gzip
import json
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from support.wire_server import ONCE, Handler, http_response, sending, serving

from marketplace_async import (
    InstalledAddOn,
    MarketplaceClient,
    MarketplaceError,
    Request,
    RequestTimeoutError,
    Response,
    ResponseError,
    Retry,
    TransportError,
)
from marketplace_async._core.codec import to
from marketplace_async._core.error_documents import api_error
from marketplace_async.emulator import Emulator
from marketplace_async.testing import account, emulated

XE = "XE" + "a" * 32
SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
MB = 2**20

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"10000\r\n" + b" " * 65536 + b"\r\n"


@pytest.mark.parametrize(
    ("handler", "error", "message"),
    [
        (sending(), TransportError, "the server closed the connection before it responded"),
        (sending(b"HTTP/1.1 200"), TransportError, ""),
        (sending(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"), TransportError, ""),
        (
            sending(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"),
            TransportError,
            "the response was cut off",
        ),
        (sending(CHUNKED + b"zz\r\n"), TransportError, ""),
        (sending(b"SSH-2.0-OpenSSH\r\n\r\n"), TransportError, "Bad"),
        (sending(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n"), TransportError, ""),
        (sending(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000), TransportError, ""),
        (
            sending(b"HTTP/1.1 200 OK\r\n", forever=b"X: " + b"x" * 1000 + b"\r\n"),
            TransportError,
            "",
        ),
        (sending(http_response(b"x" * 2 * MB)), ResponseError, "larger than 1048576 bytes"),
        (sending(CHUNKED, forever=CHUNK), ResponseError, "larger than 1048576 bytes"),
        (
            sending(http_response(gzip.compress(b" " * 100 * MB), Content_Encoding="gzip")),
            ResponseError,
            "larger than 1048576 bytes",
        ),
        (
            sending(http_response(zlib.compress(b" " * 100 * MB), Content_Encoding="deflate")),
            ResponseError,
            "larger than 1048576 bytes",
        ),
        (
            sending(http_response(gzip.compress(b" " * 100 * MB), Content_Encoding="x-gzip")),
            ResponseError,
            "larger than 1048576 bytes",
        ),
        (sending(http_response(b"nonsense", Content_Encoding="gzip")), TransportError, ""),
        (sending(http_response(b"nonsense", Content_Encoding="x-gzip")), TransportError, ""),
        (
            sending(http_response(gzip.compress(b'{"sid":')[:-9], Content_Encoding="x-gzip")),
            ResponseError,
            "200: the body is not JSON",
        ),
        (sending(http_response(b'{"sid":')), ResponseError, "200: the body is not JSON"),
        (sending(http_response(b"<html>", Content_Type="text/html")), ResponseError, "not JSON"),
        (sending(http_response(b"\xff\xfe\x00")), ResponseError, "not JSON"),
        (
            sending(
                http_response(
                    b'{"sid":"XE","account_sid":null,"configuration":'
                    + b'{"a":' * 100_000
                    + b"1"
                    + b"}" * 100_000
                    + b"}"
                )
            ),
            ResponseError,
            "nested too deeply",
        ),
        (sending(http_response(b'{"sid":null}')), ResponseError, "sid: expected text, got null"),
        (sending(http_response(b"", "204 No Content")), ResponseError, "204: the body is not JSON"),
        (sending(http_response(b'{"x":1}', "204 No Content")), MarketplaceError, ""),
        (
            sending(http_response(b"", "304 Not Modified")),
            MarketplaceError,
            "304: empty body",
        ),
        (
            sending(http_response(b"", "302 Found", Location="http://127.0.0.2:9/")),
            MarketplaceError,
            "302: redirected to http://127.0.0.2:9/, which is not followed",
        ),
        (
            sending(http_response(b"<html>", "502 Bad Gateway")),
            MarketplaceError,
            "502: unexpected body",
        ),
        (
            sending(
                http_response(
                    b'{"type":"https://x","title":"T","status":400,"detail":"D"}',
                    "400 Bad Request",
                    Content_Type="application/problem+json",
                )
            ),
            MarketplaceError,
            "400: D",
        ),
    ],
)
async def test_a_broken_response_raises_a_typed_error_that_names_the_request(
    handler: Handler, error: type[MarketplaceError], message: str
) -> None:
    tracemalloc.start()
    try:
        async with serving(handler, max_response_size=MB, timeout=5.0) as client:
            with pytest.raises(error, match=message or None) as raised:
                await client.installed_add_ons.fetch(XE)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert f"(installed_add_ons.fetch, GET /v1/InstalledAddOns/{XE}, AC" in str(raised.value)
    assert peak < 40 * MB


@pytest.mark.parametrize(
    "handler",
    [
        sending(),
        sending(http_response(b" " * 100), interval=0.0, forever=b""),
    ],
)
async def test_a_fetch_with_a_garbled_response_is_retried(handler: Handler) -> None:
    requests = 0

    async def garbled_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        requests += 1
        body = json.dumps({"sid": XE, "account_sid": None}).encode()
        await (handler if requests == 1 else sending(http_response(body)))(reader, writer)

    async with serving(garbled_first, retry=Retry(initial_backoff=0.001)) as client:
        assert (await client.installed_add_ons.fetch(XE)).sid == XE


async def test_a_response_that_trickles_in_does_not_outlast_the_timeout() -> None:
    async with serving(
        sending(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", interval=0.05, forever=b" "),
        timeout=0.3,
    ) as client:
        loop = asyncio.get_running_loop()
        started = loop.time()
        with pytest.raises(RequestTimeoutError):
            await client.installed_add_ons.fetch(XE)
        assert loop.time() - started < 1.0


async def test_a_body_of_the_maximum_size_is_accepted() -> None:
    body = json.dumps({"sid": XE, "account_sid": None}).encode()
    for response in (
        http_response(body),
        http_response(gzip.compress(body), Content_Encoding="gzip"),
        http_response(gzip.compress(body), Content_Encoding="X-GZIP"),
    ):
        async with serving(sending(response), max_response_size=len(body)) as client:
            assert (await client.installed_add_ons.fetch(XE)).sid == XE
    async with serving(sending(http_response(body)), max_response_size=len(body) - 1) as client:
        with pytest.raises(ResponseError, match="larger than"):
            await client.installed_add_ons.fetch(XE)


# -- lists


async def list_until_error(
    emulator: Emulator, client: MarketplaceClient
) -> tuple[list[str], list[str], Any]:
    """List until an error. Return the SIDs on the server, those received, and the error."""
    sids = emulator.install(account().account_sid, SPAM_SCORE, times=100)
    received: list[str] = []
    error: MarketplaceError | None = None
    try:
        async for one in client.installed_add_ons.list(page_size=10):
            received.append(one.sid)  # noqa: PERF401 - keeps the SIDs before the error
    except MarketplaceError as raised:
        error = raised
    return sids, received, error


@pytest.mark.parametrize("link", ["repeated", "cyclic", "foreign"])
async def test_a_bad_next_link_ends_the_list_after_its_page(link: Any) -> None:
    async with emulated(retry=ONCE) as (client, emulator):
        emulator.faults.add("GET", "/v1/InstalledAddOns", next_link=link, times=None)
        sids, received, error = await list_until_error(emulator, client)
        assert isinstance(error, ResponseError)
        assert "the link to the next page" in str(error)
        assert received == sids[:10]
        assert len(emulator.log) == 1


@pytest.mark.parametrize("fault", [{"status": 500}, {"drop": True}, {"body": "garbled"}])
async def test_a_list_that_fails_on_page_7_resumes_there(fault: dict[str, Any]) -> None:
    async with emulated(retry=ONCE) as (client, emulator):
        for _ in range(6):
            emulator.faults.add("GET", "/v1/InstalledAddOns", delay=0.0001)
        emulator.faults.add("GET", "/v1/InstalledAddOns", **fault, times=2)
        sids, received, error = await list_until_error(emulator, client)
        assert received == sids[:60]
        assert error is not None
        emulator.faults.clear()
        rest = await client.installed_add_ons.list(start=error.resume_at).collect()
        assert received + [one.sid for one in rest] == sids


async def test_endless_empty_pages_and_growing_links_raise_an_error() -> None:
    for grow in (False, True):
        number = 0

        async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal number
            number += 1
            token = "x" * (2**number if grow else number)  # noqa: B023 - used in the same iteration
            link = f"https://h/v1/InstalledAddOns?PageToken={token}"
            page = {
                "installed_add_ons": [{"sid": XE, "account_sid": None}] if grow else [],  # noqa: B023
                "meta": {"key": "installed_add_ons", "next_page_url": link},
            }
            await sending(http_response(json.dumps(page).encode()))(reader, writer)

        async with serving(endless) as client:
            with pytest.raises(ResponseError, match="characters long" if grow else "empty pages"):
                await client.installed_add_ons.list().collect()
        assert number < 20


async def test_plain_http_to_another_host_requires_allow_http() -> None:
    for url in ("http://twilio.example", "http://10.0.0.1:80", "http://[2001:db8::1]"):
        with pytest.raises(ValueError, match="plain http would send the credentials"):
            MarketplaceClient(account(), base_url=url)
        MarketplaceClient(account(), base_url=url, allow_http=True)
    for url in ("http://localhost", "http://127.8.8.8", "http://[::1]", "http://a.localhost"):
        MarketplaceClient(account(), base_url=url)


# -- fuzzing

headers = st.dictionaries(
    st.sampled_from(["Retry-After", "Twilio-Request-Id", "Content-Type"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=30),
)
fragments = st.sampled_from(
    [b'{"sid":', b'"account_sid"', b'"XE"', b"null", b"1e999", b"[", b"]", b"{", b"}", b":", b",",
     b'"date_created":', b'"2016-04-07T23:52:28Z"', b"\xff", b'"\\ud800"', b"-0", b" ", b'"code":',
     b'"message":', b'"links":', b"true", b"0.1", b"\x00"]
)  # fmt: skip
bodies = st.binary(max_size=200) | st.lists(fragments, max_size=30).map(b"".join)


@settings(max_examples=3000, deadline=None)
@given(status=st.integers(200, 599), body=bodies, headers=headers)
def test_any_response_raises_only_errors_of_the_package(
    status: int, body: bytes, headers: dict[str, str]
) -> None:
    request, response = Request("GET", "/v1/X"), Response(status, headers, body)
    error = api_error(request, response)
    assert str(error)
    assert response.retry_after is None or response.retry_after >= 0
    with contextlib.suppress(MarketplaceError):
        assert isinstance(to(InstalledAddOn)(request, response), InstalledAddOn)
