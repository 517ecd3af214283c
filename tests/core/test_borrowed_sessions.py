"""Borrowed sessions: what they add never mixes with the credentials of the client."""

import asyncio
import pickle
import traceback
import warnings
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from support.raw_servers import free_port, raw_server, web_server

from marketplace_async import (
    AccountToken,
    AmbiguousOutcomeError,
    BillableItem,
    ConflictError,
    MarketplaceClient,
    MarketplaceError,
    Request,
    Retry,
)
from marketplace_async.emulator import Emulator
from marketplace_async.testing import account

XE = "XE" + "a" * 32
SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
FAST = Retry(attempts=3, initial_backoff=0.001)
ONCE = Retry(attempts=1)
CREDENTIALS = AccountToken(account().account_sid, "geheim-42")
BASIC = CREDENTIALS.authorization.reveal().removeprefix("Basic ")
ITEM = BillableItem("BI" + "a" * 32, 1)


class Service:
    """A service that records the headers of its requests and sets a cookie."""

    def __init__(self) -> None:
        self.headers: list[Any] = []
        self.url = ""

    async def respond(self, request: web.Request) -> web.Response:
        self.headers.append(request.headers)
        response = web.json_response({"sid": XE})
        response.set_cookie("session", f"of {len(self.headers)}")
        return response

    @property
    def cookies(self) -> list[str | None]:
        return [headers.get("Cookie") for headers in self.headers]


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    async with web_server(service.respond) as url:
        service.url = url
        yield service


# -- cookies


async def test_cookies_of_one_account_never_reach_another(service: Service) -> None:
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        client = MarketplaceClient(account(), base_url=service.url, session=session)
        for number in range(1, 4):
            await client.with_credentials(account(number)).installed_add_ons.fetch(XE)
    assert service.cookies == [None, None, None]


async def test_a_cookie_that_the_application_adds_is_sent(service: Service) -> None:
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar, headers={"Cookie": "gate=1"}) as session:
        client = MarketplaceClient(account(), base_url=service.url, session=session)
        for _ in range(2):
            await client.installed_add_ons.fetch(XE)
        client = MarketplaceClient(
            account(), base_url=service.url, session=session, headers={"cookie": "gate=2"}
        )
        await client.installed_add_ons.fetch(XE)
    assert service.cookies == ["gate=1", "gate=1", "gate=2"]


# -- credentials


def test_a_session_with_credentials_is_refused_at_once() -> None:
    async def create() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            session = aiohttp.ClientSession(auth=aiohttp.BasicAuth("user", "geheim"))
        async with session:
            with pytest.raises(ValueError, match=r"^session: it has credentials .*auth=") as error:
                MarketplaceClient(account(), session=session)
            assert "geheim" not in str(error.value)

    asyncio.run(create())


async def test_a_session_that_does_not_decompress_is_refused_at_once() -> None:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        with pytest.raises(ValueError, match=r"^session: it does not decompress .*auto_decompress"):
            MarketplaceClient(account(), session=session)


async def test_no_middleware_sees_the_credentials(service: Service) -> None:
    seen: list[Any] = []

    async def spying(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        seen.append(dict(request.headers))
        try:
            response = await handler(request)
            seen.append(dict(response.request_info.headers))
            return response
        finally:
            seen.append(dict(request.headers))

    nobody = f"http://127.0.0.1:{free_port()}"
    async with aiohttp.ClientSession(middlewares=(spying,)) as session:
        for url in (service.url, nobody):
            client = MarketplaceClient(CREDENTIALS, base_url=url, session=session, retry=ONCE)
            with suppress(MarketplaceError):
                await client.installed_add_ons.fetch(XE)
            with suppress(MarketplaceError):
                await client.installed_add_ons.usage(XE).create([ITEM])
    assert len(seen) == 2 * 3 + 2 * 2
    assert BASIC not in repr(seen)
    assert {headers["Authorization"] for headers in service.headers} == {f"Basic {BASIC}"}


KEY = "key-of-the-gateway"


def with_key(url: str, session: aiohttp.ClientSession | None) -> MarketplaceClient:
    return MarketplaceClient(
        CREDENTIALS, base_url=url, session=session, headers={"X-Api-Key": KEY}, retry=ONCE
    )


@pytest.mark.parametrize("borrowed", [False, True])
async def test_a_header_that_the_application_adds_is_masked_where_it_is_echoed(
    borrowed: bool,
) -> None:
    async def echo(request: web.Request) -> web.Response:
        message = f"rejected {request.headers['X-Api-Key']}"
        return web.json_response({"code": 20001, "message": message}, status=400)

    texts = []
    async with web_server(echo) as service, aiohttp.ClientSession() as session:
        for url in (service, f"http://127.0.0.1:{free_port()}"):
            async with with_key(url, session if borrowed else None) as client:
                with pytest.raises(MarketplaceError) as error:
                    await client.installed_add_ons.fetch(XE)
            texts.append(shown(error.value) + str(pickle.dumps(error.value)))
    assert "rejected ***" in texts[0]
    assert KEY not in "".join(texts)


async def test_neither_netrc_nor_a_default_header_replaces_the_credentials(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password other\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for options in ({"trust_env": True}, {"headers": {"Authorization": "Basic other"}}):
        async with aiohttp.ClientSession(**options) as session:
            client = MarketplaceClient(CREDENTIALS, base_url=service.url, session=session)
            await client.installed_add_ons.fetch(XE)
    assert [headers.getall("Authorization") for headers in service.headers] == [
        [CREDENTIALS.authorization.reveal()]
    ] * 2


# -- hooks


async def test_a_middleware_that_sends_twice_is_noticed(marketplace_emulator: Emulator) -> None:
    async def twice(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        (await handler(request)).close()
        return await handler(request)

    async with aiohttp.ClientSession(middlewares=(twice,)) as session:
        client = MarketplaceClient(
            account(), base_url=marketplace_emulator.url, session=session, retry=FAST
        )
        # The second create conflicts with the first, which is found.
        installed = await client.installed_add_ons.create(
            available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True, unique_name="one"
        )
        assert installed.unique_name == "one"
        with pytest.raises(ConflictError) as error:
            await client.installed_add_ons.create(
                available_add_on_sid="XB85b56ed9ce713e0ac62342b901233193",
                accept_terms_of_service=True,
                unique_name="one",
            )
        assert error.value.response.resent
        # The second delete finds nothing, because of the first.
        await client.installed_add_ons.delete(installed.sid)


def hooks(event: str, starts: list[str]) -> aiohttp.TraceConfig:
    """Return hooks that record what the first one is told, and of which one fails."""
    tracing = aiohttp.TraceConfig()

    def hook(name: str) -> Any:
        async def called(session: Any, context: SimpleNamespace, params: Any) -> None:
            if name == "on_request_start":
                starts.append(repr(params))
            if name == event:
                raise LookupError(f"the hook {name} failed")

        return called

    for name in EVENTS:
        getattr(tracing, name).append(hook(name))
    return tracing


EVENTS = (
    *("on_request_start", "on_connection_create_start", "on_request_headers_sent"),
    *("on_request_chunk_sent", "on_request_end"),
)


def shown(error: BaseException) -> str:
    """Return all that a report of an error can show: its causes, with their variables."""
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join(report.format())


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("write", [False, True])
async def test_no_frame_of_a_failed_hook_holds_the_credentials(
    event: str, write: bool, service: Service
) -> None:
    starts: list[str] = []
    error: BaseException | None = None
    async with aiohttp.ClientSession(trace_configs=[hooks(event, starts)]) as session:
        client = MarketplaceClient(CREDENTIALS, base_url=service.url, session=session, retry=FAST)
        try:
            if write:
                await client.installed_add_ons.usage(XE).create([ITEM])
            else:
                await client.installed_add_ons.fetch(XE)
        except (LookupError, AmbiguousOutcomeError) as raised:
            error = raised
    if error is None:
        # Without a body, no chunk of it is sent.
        assert (event, write) == ("on_request_chunk_sent", False), event
        return
    assert LookupError in (type(error), type(error.__cause__))
    text = shown(error)
    assert BASIC not in text
    assert "geheim-42" not in text
    # The first hook is called before the credentials are added.
    assert BASIC not in starts[0]


async def test_an_error_of_a_middleware_holds_no_credentials(service: Service) -> None:
    async def failing(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        response = await handler(request)
        try:
            raise aiohttp.ClientResponseError(response.request_info, (response,), status=418)
        except aiohttp.ClientResponseError as error:
            raise LookupError("the middleware failed") from error

    async with aiohttp.ClientSession(middlewares=(failing,)) as session:
        client = MarketplaceClient(CREDENTIALS, base_url=service.url, session=session, retry=FAST)
        with pytest.raises(LookupError) as error:
            await client.installed_add_ons.fetch(XE)
        with pytest.raises(AmbiguousOutcomeError) as unknown:
            await client.installed_add_ons.usage(XE).create([ITEM])
    assert BASIC not in shown(error.value)
    assert BASIC not in shown(unknown.value)
    assert isinstance(unknown.value.__cause__, LookupError)


@pytest.mark.parametrize("after", [False, True], ids=["before it is sent", "afterwards"])
@pytest.mark.parametrize(
    "failure",
    [OSError("vault"), TimeoutError("vault"), aiohttp.ClientError("vault"), LookupError("vault")],
    ids=repr,
)
async def test_the_error_of_a_middleware_is_not_taken_for_one_of_the_network(
    service: Service, failure: Exception, after: bool
) -> None:
    calls = 0

    async def failing(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        nonlocal calls
        calls += 1
        if after:
            await handler(request)
        raise failure

    async with aiohttp.ClientSession(middlewares=(failing,)) as session:
        client = MarketplaceClient(CREDENTIALS, base_url=service.url, session=session, retry=FAST)
        with pytest.raises(type(failure)) as raised:
            await client.installed_add_ons.fetch(XE)
        assert raised.value is failure
        with pytest.raises((type(failure), AmbiguousOutcomeError)) as unknown:
            await client.installed_add_ons.usage(XE).create([ITEM])
        assert (unknown.value.__cause__ if after else unknown.value) is failure
    assert calls == 2
    assert len(service.headers) == (2 if after else 0)


@pytest.mark.parametrize("event", ["on_connection_create_start", "on_request_headers_sent"])
async def test_the_error_of_a_trace_is_not_taken_for_one_of_the_network(
    service: Service, event: str
) -> None:
    calls = 0

    async def failing(session: Any, context: SimpleNamespace, params: Any) -> None:
        nonlocal calls
        calls += 1
        raise ConnectionResetError("the collector is gone")

    tracing = aiohttp.TraceConfig()
    getattr(tracing, event).append(failing)
    async with aiohttp.ClientSession(trace_configs=[tracing]) as session:
        client = MarketplaceClient(CREDENTIALS, base_url=service.url, session=session, retry=FAST)
        with pytest.raises((ConnectionResetError, AmbiguousOutcomeError)):
            await client.installed_add_ons.usage(XE).create([ITEM])
    assert calls == 1


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "POST", "OPTIONS"])
@pytest.mark.parametrize("borrowed", [False, True])
async def test_aiohttp_never_sends_a_request_again_that_is_not_safe_to_repeat(
    method: str, borrowed: bool
) -> None:
    received: list[bytes] = []

    async def close_at_the_second(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            received.append(head[: head.index(b" ")])
            if b"Content-Length: 3" in head:
                await reader.readexactly(3)
            if len(received) > 1:
                return
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    async with raw_server(close_at_the_second) as url, aiohttp.ClientSession() as session:
        async with MarketplaceClient(
            CREDENTIALS, base_url=url, session=session if borrowed else None, retry=FAST
        ) as client:
            request = Request(method, "/v1/Thing", body=b"x=1", repeat="if_rejected")
            await client.send(request)
            with pytest.raises(AmbiguousOutcomeError):
                await client.send(request)
    assert received == [method.encode()] * 2


async def test_a_middleware_may_handle_a_rejection_itself(service: Service) -> None:
    """Retrying a request that a gateway rejected is not an error."""
    calls = []

    async def again(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        calls.append(request.method)
        (await handler(request)).close()
        return await handler(request)

    async with aiohttp.ClientSession(middlewares=(again,)) as session:
        client = MarketplaceClient(account(), base_url=service.url, session=session)
        assert (await client.installed_add_ons.fetch(XE)).sid == XE
    assert len(service.headers) == 2
    assert len(calls) == 1


async def test_the_session_is_as_it_was(service: Service) -> None:
    async with aiohttp.ClientSession() as session:
        async with MarketplaceClient(account(), base_url=service.url, session=session) as client:
            await client.installed_add_ons.fetch(XE)
        assert not session.closed
        async with session.get(service.url) as response:
            assert response.status == 200
    assert "Authorization" not in service.headers[-1]
