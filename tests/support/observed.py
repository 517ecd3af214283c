"""Faults, and what observers, spans, logs and metrics say about each: one table for all of them."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import attrs

from marketplace_async import (
    ClientCredentials,
    MarketplaceClient,
    MarketplaceError,
    Retry,
    Timeout,
)
from marketplace_async.observe import (
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    CallInfo,
    Observer,
    Waiting,
)
from marketplace_async.testing import account, emulated
from support.certificates import Authority, tls_server
from support.raw_servers import free_port, full_backlog, raw_server, responding, silent

XE = "XE" + "a" * 32
SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
OQ = "OQ" + "1" * 32
TWICE = Retry(attempts=2, initial_backoff=0.001)
SECRET = "made-up"  # of every account of the tests


class Recorder(Observer):
    """Records every event, in order."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def call_started(self, call: CallInfo) -> None:
        self.events.append(call)

    def attempt_started(self, attempt: AttemptStarted) -> None:
        self.events.append(attempt)

    def attempt_ended(self, attempt: AttemptEnded) -> None:
        self.events.append(attempt)

    def waiting(self, wait: Waiting) -> None:
        self.events.append(wait)

    def call_ended(self, end: CallEnded) -> None:
        self.events.append(end)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def names(self) -> list[str]:
        return [type(event).__name__ for event in self.events]


Options = dict[str, Any]
Connect = Callable[[Options], AbstractAsyncContextManager[MarketplaceClient]]
Act = Callable[[MarketplaceClient], Awaitable[object]]


@attrs.frozen
class Case:
    """A fault, and what is told about it.

    Attributes:
        connect: Returns a client with these options whose service has the fault.
        act: The call.
        attempts: The status and the error type of each attempt of the call.
        end: The error type of the call.
        gave_up: Whether a warning is logged.
    """

    connect: Connect
    act: Act
    attempts: tuple[tuple[int | None, str | None], ...]
    end: str | None
    gave_up: bool = False

    @asynccontextmanager
    async def run(self, **options: Any) -> AsyncIterator[MarketplaceClient]:
        """Run the call, and yield its client afterwards."""
        async with self.connect({"retry": TWICE, **options}) as client:
            with suppress(MarketplaceError, asyncio.CancelledError, TimeoutError, Broken):
                await self.act(client)
            yield client


def fetch(client: MarketplaceClient) -> Awaitable[object]:
    return client.installed_add_ons.fetch(XE)


def create(client: MarketplaceClient) -> Awaitable[object]:
    return client.installed_add_ons.create(
        available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True
    )


def list_first(client: MarketplaceClient) -> Awaitable[object]:
    return client.available_add_ons.list(limit=1).collect()


async def cancelled_fetch(client: MarketplaceClient) -> None:
    task = asyncio.ensure_future(fetch(client))
    await asyncio.sleep(0.1)
    task.cancel()
    await task


async def fetch_with_timeout_of_the_caller(client: MarketplaceClient) -> None:
    async with asyncio.timeout(0.1):
        await fetch(client)


async def fetch_twice(client: MarketplaceClient) -> None:
    try:
        await fetch(client)
    except MarketplaceError:
        await fetch(client)


async def fetch_when_closed(client: MarketplaceClient) -> None:
    await client.aclose()
    await fetch(client)


def emulating(*faults: dict[str, Any], **more: Any) -> Connect:
    @asynccontextmanager
    async def connect(options: Options) -> AsyncIterator[MarketplaceClient]:
        async with emulated(**{**options, **more}) as (client, emulator):
            for fault in faults:
                emulator.faults.add(**{"method": "*", "path": "*", **fault})
            yield client

    return connect


def serving(handler: Any, deadline: float | None = None, **more: Any) -> Connect:
    @asynccontextmanager
    async def connect(options: Options) -> AsyncIterator[MarketplaceClient]:
        async with raw_server(handler) as url:
            async with MarketplaceClient(account(), base_url=url, **{**options, **more}) as client:
                yield client if deadline is None else client.with_options(deadline=deadline)

    return connect


def at(url: str, **more: Any) -> Connect:
    @asynccontextmanager
    async def connect(options: Options) -> AsyncIterator[MarketplaceClient]:
        base_url = url or f"http://127.0.0.1:{free_port()}"
        async with MarketplaceClient(account(), base_url=base_url, **{**options, **more}) as client:
            yield client

    return connect


@asynccontextmanager
async def unconnectable(options: Options) -> AsyncIterator[MarketplaceClient]:
    with full_backlog() as url:
        timeout = Timeout(connect=0.05)
        async with MarketplaceClient(account(), base_url=url, timeout=timeout, **options) as client:
            yield client


@asynccontextmanager
async def untrusted(options: Options) -> AsyncIterator[MarketplaceClient]:
    with TemporaryDirectory() as folder:
        context: ssl.SSLContext = Authority(Path(folder)).server()
    async with tls_server(context) as url:
        async with MarketplaceClient(account(), base_url=url, **options) as client:
            yield client


class Broken(Exception):
    """What the hook of a session raises."""


@asynccontextmanager
async def hooked(options: Options) -> AsyncIterator[MarketplaceClient]:
    async def fail(*_: object) -> None:
        raise Broken(f"Basic {SECRET}")

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(fail)
    async with aiohttp.ClientSession(trace_configs=[trace]) as session:
        async with raw_server(silent) as url:
            yield MarketplaceClient(account(), base_url=url, session=session, **options)


def oauth(connect: Connect) -> Connect:
    @asynccontextmanager
    async def derived(options: Options) -> AsyncIterator[MarketplaceClient]:
        async with connect(options) as client:
            sid = account().account_sid
            yield client.with_credentials(ClientCredentials(OQ, SECRET, sid))

    return derived


def body(size: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % size


async def stalls_in_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(body(100) + b'{"sid"')
    await reader.read()


def document(sid: str) -> bytes:
    text = ("friendly_name", "description", "unique_name", "url")
    dates = ("date_created", "date_updated")
    return json.dumps(
        {
            "sid": sid,
            "account_sid": account().account_sid,
            "configuration": {},
            "links": {},
            **dict.fromkeys(text, "a"),
            **dict.fromkeys(dates, "2016-04-07T23:52:28Z"),
        }
    ).encode()


FOUND, OTHER = document(XE), document("XE" + "b" * 32)
LOST = (None, "TransportError")
LATE = (None, "timeout")
CANCELLED = (None, "cancelled")
NOT_CONNECTED = (None, "ConnectError")

CASES: dict[str, Case] = {
    "success": Case(serving(responding(body(len(FOUND)) + FOUND)), fetch, ((200, None),), None),
    "404": Case(emulating(), fetch, ((404, "404"),), "404"),
    "409": Case(emulating({"status": 409}), create, ((409, "409"),), "409"),
    "redirect": Case(emulating({"status": 302}), fetch, ((302, "302"),), "302"),
    "429, then success": Case(
        emulating({"status": 429}), list_first, ((429, "429"), (200, None)), None
    ),
    "429": Case(emulating({"status": 429, "times": 9}), create, ((429, "429"),) * 2, "429", True),
    "503, not processed": Case(
        emulating({"status": 503, "times": 9}), create, ((503, "503"),) * 2, "503", True
    ),
    "500 of a write": Case(
        emulating({"status": 500}), create, ((500, "500"),), "AmbiguousOutcomeError", True
    ),
    "500 of a read": Case(
        emulating({"status": 500, "times": 9}), fetch, ((500, "500"),) * 2, "500", True
    ),
    "the account is paused": Case(
        emulating({"status": 429, "retry_after": 60}), fetch_twice, ((429, "429"),), "429", True
    ),
    "reset of a read": Case(
        emulating({"drop": True, "times": 9}), fetch, (LOST, LOST), "TransportError", True
    ),
    "reset of a write": Case(
        emulating({"drop": True}), create, (LOST,), "AmbiguousOutcomeError", True
    ),
    "cut off": Case(
        emulating({"body": "cut", "times": 9}), list_first, (LOST, LOST), "TransportError", True
    ),
    "malformed head": Case(
        serving(responding(b"nonsense\r\n\r\n")), fetch, (LOST, LOST), "TransportError", True
    ),
    "malformed body": Case(
        emulating({"body": "garbled", "times": 9}),
        *(list_first, ((200, "ResponseError"),) * 2, "ResponseError", True),
    ),
    "about something else": Case(
        serving(responding(body(len(OTHER)) + OTHER)),
        *(fetch, ((200, "UnusableResponseError"),), "UnusableResponseError", True),
    ),
    "too large": Case(
        serving(responding(body(len(FOUND)) + FOUND), max_response_size=10),
        *(fetch, ((200, "ResponseError"),), "ResponseError", True),
    ),
    "no connection in time": Case(unconnectable, fetch, (LATE, LATE), "timeout", True),
    "no response in time": Case(
        serving(silent, timeout=0.05), fetch, (LATE, LATE), "timeout", True
    ),
    "no response in time to a write": Case(
        serving(silent, timeout=0.05), create, (LATE,), "AmbiguousOutcomeError", True
    ),
    "timeout in the body": Case(
        serving(stalls_in_body, timeout=0.05), fetch, (LATE, LATE), "timeout", True
    ),
    "timeout between two reads": Case(
        serving(stalls_in_body, timeout=Timeout(read=0.05)), fetch, (LATE, LATE), "timeout", True
    ),
    "deadline during an attempt": Case(
        serving(silent, deadline=0.1), fetch, (LATE,), "timeout", True
    ),
    "deadline during an attempt to write": Case(
        serving(silent, deadline=0.1), create, (LATE,), "AmbiguousOutcomeError", True
    ),
    "cancelled": Case(serving(silent), cancelled_fetch, (CANCELLED,), "cancelled"),
    "cancelled in the body": Case(
        serving(stalls_in_body), cancelled_fetch, (CANCELLED,), "cancelled"
    ),
    "timeout of the caller": Case(
        serving(silent), fetch_with_timeout_of_the_caller, (CANCELLED,), "cancelled"
    ),
    "no such host": Case(
        at("https://name.invalid"), fetch, (NOT_CONNECTED,) * 2, "ConnectError", True
    ),
    "nothing listens": Case(at(""), create, (NOT_CONNECTED,) * 2, "ConnectError", True),
    "untrusted certificate": Case(untrusted, fetch, (NOT_CONNECTED,), "ConnectError", True),
    "a hook raises": Case(hooked, fetch, ((None, "Broken"),), "Broken"),
    "closed": Case(
        emulating(), fetch_when_closed, ((None, "ClientClosedError"),), "ClientClosedError"
    ),
    "no access token": Case(
        oauth(emulating({"path": "/v2/token", "status": 503, "times": 9})),
        *(fetch, (), "TokenError", True),
    ),
    "the access token is rejected once": Case(
        oauth(emulating({"path": "/v1/*", "status": 401})),
        *(list_first, ((401, "401"), (200, None)), None),
    ),
}
