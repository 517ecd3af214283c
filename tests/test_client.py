"""The client around the operations: how it is built, shared, limited, watched and closed."""

import asyncio
import gc
import logging
import pickle
import ssl
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from marketplace_async import (
    AccountToken,
    AmbiguousOutcomeError,
    APIError,
    ApiKey,
    ClientClosedError,
    CredentialsError,
    MarketplaceClient,
    MarketplaceError,
    RateLimitedError,
    Request,
    RequestTimeoutError,
    Response,
    ResponseError,
    Retry,
    ServerError,
    Timeout,
    TransportError,
    capture,
)
from marketplace_async.emulator import Emulator
from marketplace_async.testing import account, emulated

XE = "XE" + "a" * 32
SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
FAST = Retry(attempts=3, initial_backoff=0.001)

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw_server(handler: Handler) -> AsyncIterator[str]:
    """A server that says what it likes, below HTTP."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1")
    host, port = server.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.close()
        await server.wait_closed()


def answering(answer: bytes) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    return handle


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


# -- built


def test_a_client_is_built_outside_a_loop_and_used_in_one() -> None:
    async def fetch_list(client: MarketplaceClient) -> int:
        async with Emulator(port=port) as emulator, client:
            assert emulator.url == base_url
            return len(await client.available_add_ons.list(limit=3).collect())

    port = _free_port()
    base_url = f"http://127.0.0.1:{port}"
    client = MarketplaceClient(account(), base_url=base_url)
    assert asyncio.run(fetch_list(client)) == 3


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_client_that_was_never_used_closes_without_a_word() -> None:
    client = MarketplaceClient(account())
    await client.aclose()
    await client.aclose()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"concurrency": 0}, ValueError, "concurrency: must be a positive integer, got 0"),
        ({"concurrency": True}, ValueError, "concurrency: must be a positive integer"),
        ({"timeout": 0}, ValueError, "timeout: must be more than 0 seconds, got 0"),
        ({"timeout": float("inf")}, ValueError, "timeout: must be more than 0 seconds"),
        ({"timeout": float("nan")}, ValueError, "timeout: must be more than 0 seconds"),
        ({"timeout": "5"}, TypeError, "timeout: expected a number of seconds, got '5'"),
        ({"timeout": True}, TypeError, "timeout: expected a number of seconds, got True"),
        (
            {"requests_per_second": 0},
            ValueError,
            "requests_per_second: must be more than 0 requests per second, got 0",
        ),
        (
            {"requests_per_second": "5"},
            TypeError,
            "requests_per_second: expected a number of requests per second, got '5'",
        ),
        ({"retry": 3}, TypeError, "retry: expected a Retry"),
        ({"retry": None}, TypeError, "retry: expected a Retry"),
        ({"session": 5}, TypeError, "session: expected an aiohttp.ClientSession"),
        ({"ssl": "no"}, TypeError, "ssl: expected an SSLContext"),
        ({"trust_env": "x"}, TypeError, "trust_env: expected True or False"),
        ({"proxy": "nonsense"}, ValueError, "proxy: expected a URL"),
        ({"proxy": 5}, TypeError, "proxy: expected a URL"),
        ({"base_url": 5}, TypeError, "base_url: expected a URL"),
        ({"base_url": "http://h/v1"}, ValueError, "base_url: leave out /v1, the client adds it"),
        ({"base_url": "127.0.0.1"}, ValueError, "base_url: expected a URL"),
        ({"region": "x/y"}, ValueError, "region: expected a name"),
        ({"edge": "x.y"}, ValueError, "edge: expected a name"),
        ({"proxies": "x"}, TypeError, "proxies"),
    ],
)
def test_an_option_that_cannot_be_right_is_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        MarketplaceClient(account(), **options)


def test_credentials_must_be_credentials() -> None:
    with pytest.raises(
        TypeError, match="expected AccountToken, ApiKey or ClientCredentials, got tuple"
    ):
        MarketplaceClient(("AC1", "token"))  # type: ignore[arg-type]


def test_a_client_says_where_it_sends_and_for_whom_but_no_secret() -> None:
    client = MarketplaceClient(AccountToken("AC" + "1" * 32, "geheim"), region="au1")
    assert f"AC{'1' * 32}" in repr(client)
    assert "https://marketplace.au1.twilio.com" in repr(client)
    assert "geheim" not in repr(client)


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:8080", "http://localhost:8080"])
def test_region_and_edge_leave_a_base_url_alone(base_url: str) -> None:
    client = MarketplaceClient(account(), base_url=base_url, region="au1", edge="sydney")
    assert f"at {base_url}>" in repr(client)


def test_from_env_takes_everything_from_the_environment_and_tells_from_where() -> None:
    client = MarketplaceClient.from_env(
        {
            "TWILIO_ACCOUNT_SID": "AC" + "1" * 32,
            "TWILIO_AUTH_TOKEN": "geheim",
            "TWILIO_REGION": "au1",
            "TWILIO_EDGE": "sydney",
        }
    )
    assert "https://marketplace.sydney.au1.twilio.com" in repr(client)
    assert client.environment is not None
    assert client.environment.variables["edge"] == "TWILIO_EDGE"
    assert "geheim" not in repr(client.environment)


def test_an_option_goes_before_the_environment() -> None:
    environ = {
        "TWILIO_ACCOUNT_SID": "AC" + "1" * 32,
        "TWILIO_AUTH_TOKEN": "x",
        "MARKETPLACE_BASE_URL": "http://127.0.0.1:1",
    }
    assert "127.0.0.1:1>" in repr(MarketplaceClient.from_env(environ))
    assert "127.0.0.1:2>" in repr(
        MarketplaceClient.from_env(environ, base_url="http://127.0.0.1:2")
    )


def test_from_env_names_what_is_missing() -> None:
    with pytest.raises(CredentialsError, match="TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN missing"):
        MarketplaceClient.from_env({})


# -- sessions


async def test_a_borrowed_session_is_used_and_never_closed(
    marketplace_emulator: Emulator,
) -> None:
    async with aiohttp.ClientSession() as session:
        async with MarketplaceClient(
            account(), base_url=marketplace_emulator.url, session=session
        ) as client:
            await client.available_add_ons.list(limit=1).collect()
        assert not session.closed


async def test_a_borrowed_session_that_is_closed_says_so() -> None:
    session = aiohttp.ClientSession()
    await session.close()
    with pytest.raises(ClientClosedError, match="session that this client borrowed is closed"):
        await MarketplaceClient(account(), session=session).installed_add_ons.fetch(XE)


async def test_what_a_borrowed_session_sets_does_not_reach_our_requests(
    marketplace_emulator: Emulator,
) -> None:
    async with aiohttp.ClientSession(
        raise_for_status=True, timeout=aiohttp.ClientTimeout(total=0.000001)
    ) as session:
        client = MarketplaceClient(account(), base_url=marketplace_emulator.url, session=session)
        with pytest.raises(APIError, match="404 20404"):
            await client.installed_add_ons.fetch(XE)


async def test_a_session_with_credentials_of_its_own_cannot_send_ours(
    marketplace_emulator: Emulator,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        session = aiohttp.ClientSession(auth=aiohttp.BasicAuth("a", "b"))
    async with session:
        client = MarketplaceClient(
            account(), base_url=marketplace_emulator.url, session=session, retry=FAST
        )
        with pytest.raises(TransportError, match="Cannot combine AUTHORIZATION header"):
            await client.installed_add_ons.fetch(XE)


async def test_trust_env_belongs_to_the_session() -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ValueError, match="trust_env: belongs to the session"):
            MarketplaceClient(account(), session=session, trust_env=True)


async def test_a_closed_client_sends_nothing(marketplace_client: MarketplaceClient) -> None:
    await marketplace_client.available_add_ons.list(limit=1).collect()
    await marketplace_client.aclose()
    with pytest.raises(ClientClosedError, match="this client is closed"):
        await marketplace_client.installed_add_ons.fetch(XE)


def test_a_client_of_another_event_loop_says_so() -> None:
    client = MarketplaceClient(account(), base_url="http://127.0.0.1:1", retry=Retry(attempts=1))
    with asyncio.Runner() as one, asyncio.Runner() as other:
        with pytest.raises(TransportError):
            one.run(client.installed_add_ons.fetch(XE))
        with pytest.raises(ClientClosedError, match="belongs to another event loop"):
            other.run(client.installed_add_ons.fetch(XE))
        one.run(client.aclose())


async def test_who_is_cancelled_while_closing_still_closes() -> None:
    async with (
        emulated() as (_, emulator),
        MarketplaceClient(account(), base_url=emulator.url) as client,
    ):
        emulator.install(account().account_sid, SPAM_SCORE, times=9)
        pages = client.installed_add_ons.list(page_size=5).pages()
        await anext(pages)  # the next is on its way
        closing = asyncio.ensure_future(client.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert client.stats.in_flight == 0
        session = client._session.pool._session
        assert session is not None
        assert session.closed


async def test_nothing_is_left_behind_by_a_client_that_was_closed(
    marketplace_emulator: Emulator,
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with MarketplaceClient(account(), base_url=marketplace_emulator.url) as client:
            await asyncio.gather(*(client.available_add_ons.list().collect() for _ in range(10)))
        del client
        gc.collect()
    assert [str(warning.message) for warning in caught] == []
    assert {task for task in asyncio.all_tasks() if task is not asyncio.current_task()} == (
        _server_tasks()
    )


def _server_tasks() -> set[asyncio.Task[Any]]:
    return {task for task in asyncio.all_tasks() if "RequestHandler" in repr(task.get_coro())}


# -- siblings


def test_a_sibling_is_made_for_an_account_and_nothing_else() -> None:
    client = MarketplaceClient(account())
    with pytest.raises(TypeError, match="account: expected an Account, got AccountToken"):
        client.with_account(account(2))  # type: ignore[arg-type]  # on purpose


async def test_siblings_share_the_connections_and_keep_accounts_apart(
    marketplace_client: MarketplaceClient, marketplace_emulator: Emulator
) -> None:
    siblings = [marketplace_client.with_credentials(account(number)) for number in range(2, 6)]
    for sibling in siblings:
        await sibling.installed_add_ons.create(
            available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True
        )
    lists = await asyncio.gather(*(each.installed_add_ons.list().collect() for each in siblings))
    assert [[item.account_sid for item in items] for items in lists] == [
        [account(number).account_sid] for number in range(2, 6)
    ]
    assert await marketplace_client.installed_add_ons.list().collect() == []


async def test_a_sibling_is_never_of_another_account_by_mistake() -> None:
    environ = {"TWILIO_ACCOUNT_SID": "AC" + "1" * 32, "TWILIO_AUTH_TOKEN": "x"}
    client = MarketplaceClient.from_env(environ)
    with pytest.raises(
        TypeError, match="expected AccountToken, ApiKey or ClientCredentials, got NoneType"
    ):
        client.with_credentials(None)  # type: ignore[arg-type]
    assert client.with_credentials(account()).environment is None
    assert client.with_options(timeout=5).environment is client.environment


async def test_no_cookie_is_kept_and_no_connection_waited_for() -> None:
    cookies: list[str | None] = []
    together = asyncio.Barrier(150)

    async def answer(request: web.Request) -> web.Response:
        cookies.append(request.headers.get("Cookie"))
        await together.wait()
        response = web.json_response({"sid": XE, "account_sid": "AC"})
        response.set_cookie("a", "b")
        return response

    async with _web_server(answer) as url:
        async with MarketplaceClient(account(), base_url=url, concurrency=150) as client:
            siblings = [client.with_credentials(account(number)) for number in range(150)]
            for _ in range(2):
                await asyncio.gather(*(one.installed_add_ons.fetch(XE) for one in siblings))
    assert set(cookies) == {None}


async def test_closing_a_sibling_closes_nothing_and_closing_its_origin_does(
    marketplace_client: MarketplaceClient,
) -> None:
    async with marketplace_client.with_credentials(account(2)) as sibling:
        await sibling.available_add_ons.list(limit=1).collect()
    await marketplace_client.available_add_ons.list(limit=1).collect()
    await marketplace_client.aclose()
    with pytest.raises(ClientClosedError):
        await sibling.available_add_ons.list(limit=1).collect()


async def test_options_are_a_siblings_own(
    marketplace_client: MarketplaceClient, marketplace_emulator: Emulator
) -> None:
    marketplace_emulator.faults.add("GET", "*", delay=0.2, times=None)
    hurried = marketplace_client.with_options(timeout=0.05, retry=FAST)
    with pytest.raises(RequestTimeoutError, match=r"no answer within 0\.05 s \(GET /v1/Inst"):
        await hurried.installed_add_ons.fetch(XE)
    with pytest.raises(RequestTimeoutError):
        await hurried.with_credentials(account(2)).installed_add_ons.fetch(XE)
    with pytest.raises(APIError, match="404"):
        await marketplace_client.installed_add_ons.fetch(XE)


async def test_an_api_key_reaches_its_account(marketplace_client: MarketplaceClient) -> None:
    key = ApiKey("SK" + account().account_sid[2:], "anything")
    await marketplace_client.with_credentials(key).installed_add_ons.create(
        available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True
    )
    assert len(await marketplace_client.installed_add_ons.list().collect()) == 1


# -- limits and time


async def test_never_more_than_concurrency_requests_are_in_flight() -> None:
    in_flight = highest = 0

    async def handle(request: web.Request) -> web.Response:
        nonlocal in_flight, highest
        in_flight += 1
        highest = max(highest, in_flight)
        await asyncio.sleep(0.005)
        in_flight -= 1
        return web.json_response({"sid": XE, "account_sid": "AC"})

    async with _web_server(handle) as url:
        client = MarketplaceClient(account(), base_url=url, concurrency=7)
        family = [client.with_credentials(account(number)) for number in range(1, 4)]
        async with client:
            await asyncio.gather(
                *(each.installed_add_ons.fetch(XE) for each in family for _ in range(40))
            )
    assert highest == 7


@asynccontextmanager
async def _web_server(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(handler))  # type: ignore[arg-type]
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl_context).start()
    try:
        yield f"{'https' if ssl_context else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_slot_is_given_back_when_a_waiter_or_a_sender_is_cancelled() -> None:
    async with raw_server(silent) as url:
        client = MarketplaceClient(account(), base_url=url, concurrency=1, timeout=0.2, retry=FAST)
        async with client:
            tasks = [asyncio.ensure_future(client.installed_add_ons.fetch(XE)) for _ in range(3)]
            await asyncio.sleep(0.05)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(result) for result in results] == [asyncio.CancelledError] * 3
            with pytest.raises(RequestTimeoutError):
                await client.installed_add_ons.fetch(XE)


async def test_a_silent_server_is_not_waited_for_longer_than_allowed() -> None:
    async with raw_server(silent) as url:
        async with MarketplaceClient(account(), base_url=url, timeout=0.05, retry=FAST) as client:
            with pytest.raises(RequestTimeoutError, match=r"no answer within 0\.05 s") as error:
                await client.installed_add_ons.fetch(XE)
            assert isinstance(error.value, TimeoutError)
            assert error.value.request == Request("GET", f"/v1/InstalledAddOns/{XE}")


async def test_a_read_time_out_is_between_two_pieces() -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
        await reader.read()

    async with raw_server(trickle) as url:
        timeout = Timeout(total=None, read=0.05)
        async with MarketplaceClient(
            account(), base_url=url, timeout=timeout, retry=FAST
        ) as client:
            with pytest.raises(RequestTimeoutError, match=r"Timeout on reading|timeout"):
                await client.installed_add_ons.fetch(XE)


async def test_waiting_for_a_slot_does_not_count_as_time_for_an_answer() -> None:
    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(0.06)
        return web.json_response({"sid": XE, "account_sid": "AC"})

    async with (
        _web_server(slow) as url,
        MarketplaceClient(account(), base_url=url, concurrency=1, timeout=0.15) as client,
    ):
        await asyncio.gather(*(client.installed_add_ons.fetch(XE) for _ in range(5)))


async def test_the_callers_own_time_out_ends_a_call_at_once() -> None:
    async with (
        raw_server(silent) as url,
        MarketplaceClient(account(), base_url=url, retry=FAST) as client,
    ):
        with pytest.raises(TimeoutError) as error:
            async with asyncio.timeout(0.05):
                await client.installed_add_ons.fetch(XE)
        assert not isinstance(error.value, RequestTimeoutError)


async def test_a_time_out_is_no_cancellation_and_a_cancellation_no_time_out() -> None:
    async with (
        raw_server(silent) as url,
        MarketplaceClient(account(), base_url=url, timeout=0.05, retry=Retry(attempts=1)) as client,
    ):
        task = asyncio.current_task()
        assert task is not None
        with pytest.raises(RequestTimeoutError):
            await client.installed_add_ons.fetch(XE)
        assert task.cancelling() == 0
        # Both in the same step of the loop.
        asyncio.get_running_loop().call_later(0.03, lambda: time.sleep(0.03))
        with pytest.raises(TimeoutError) as error:
            async with asyncio.timeout(0.05):
                await client.installed_add_ons.fetch(XE)
        assert not isinstance(error.value, RequestTimeoutError)
        assert task.cancelling() == 0


async def test_a_time_out_that_a_middleware_makes_something_else_of_is_taken_back() -> None:
    async def hides(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        try:
            return await handler(request)
        except asyncio.CancelledError:
            raise aiohttp.ClientConnectionError("gone") from None

    async with raw_server(silent) as url, aiohttp.ClientSession(middlewares=[hides]) as session:
        client = MarketplaceClient(
            account(), base_url=url, session=session, timeout=0.05, retry=Retry(attempts=1)
        )
        with pytest.raises(TransportError, match="gone"):
            await client.installed_add_ons.fetch(XE)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_request_that_hangs_keeps_nothing_of_those_that_ended_after_it() -> None:
    async with emulated(timeout=30.0) as (client, emulator):
        emulator.faults.add("GET", "*", delay=20, times=1)
        hangs = asyncio.ensure_future(client.installed_add_ons.list().collect())
        await asyncio.sleep(0.05)
        await asyncio.gather(*(client.available_add_ons.list().first() for _ in range(50)))
        deadlines = client._session._deadlines
        assert deadlines is not None
        assert len(deadlines._running) == 1
        hangs.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hangs
        assert not deadlines._running


# -- refusals


async def create(client: MarketplaceClient) -> Any:
    return await client.installed_add_ons.create(
        available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True
    )


@pytest.mark.parametrize("status", [429, 503])
async def test_what_the_service_refused_is_tried_again_even_if_it_is_a_write(status: int) -> None:
    async with emulated(retry=FAST) as (client, emulator):
        emulator.faults.add("POST", "/v1/InstalledAddOns", status=status, times=2)
        await create(client)
        assert [entry.status for entry in emulator.log] == [status, status, 201]


async def test_the_last_refusal_is_the_error() -> None:
    async with emulated(retry=FAST) as (client, emulator):
        emulator.faults.add("*", "*", status=429, retry_after=0, times=None)
        with pytest.raises(RateLimitedError) as error:
            await create(client)
        assert error.value.retry_after == 0
        assert len(emulator.log) == 3


async def test_what_may_have_been_processed_is_not_sent_twice() -> None:
    async with emulated(retry=FAST) as (client, emulator):
        emulator.faults.add("POST", "*", status=500, when="after")
        with pytest.raises(AmbiguousOutcomeError, match="500 20500") as error:
            await create(client)
        assert [entry.status for entry in emulator.log] == [500]
        assert isinstance(error.value.error, ServerError)
        assert error.value.request.body == emulator.log[0].body


async def test_the_budget_covers_tries_and_waits_but_not_the_queue_for_a_slot() -> None:
    retry = Retry(attempts=100, max_elapsed=0.5, initial_backoff=0.0)
    async with emulated(concurrency=1, retry=retry) as (client, emulator):
        emulator.faults.add("GET", "*", delay=0.7)
        queueing = asyncio.ensure_future(client.available_add_ons.list().first())
        await asyncio.sleep(0.05)
        emulator.faults.add("POST", "*", status=429)
        await create(client)
        await queueing
        emulator.faults.add("POST", "*", status=429, delay=0.1, times=None)
        with pytest.raises(RateLimitedError):
            await create(client)
        assert 5 <= len(emulator.log.matching("POST")) <= 8


async def test_a_wait_longer_than_the_budget_is_not_begun() -> None:
    async with emulated(retry=Retry(max_elapsed=5.0)) as (client, emulator):
        emulator.faults.add("*", "*", status=429, retry_after=6, times=None)
        async with asyncio.timeout(2):
            with pytest.raises(RateLimitedError):
                await create(client)
        assert len(emulator.log) == 1


async def test_sleeping_between_tries_holds_no_slot() -> None:
    async with emulated(concurrency=1, retry=Retry(initial_backoff=0.0)) as (client, emulator):
        emulator.faults.add("POST", "*", status=429, retry_after=1)
        refused = asyncio.ensure_future(create(client))
        while not len(emulator.log):
            await asyncio.sleep(0.005)
        async with asyncio.timeout(0.5):
            await client.available_add_ons.list(limit=1).collect()
        assert not refused.done()
        await refused


# -- answers that are none


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (b"", TransportError, "ServerDisconnectedError"),
        (b"nonsense\r\n\r\n", TransportError, "Bad"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{", TransportError, "ClientPayloadError"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
            ResponseError,
            "200: the body is not",
        ),
        (b"HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n", ResponseError, "204: the body is not"),
        (
            b"HTTP/1.1 304 No\r\nContent-Length: 0\r\n\r\n",
            APIError,
            "304: an answer without a body",
        ),
        (
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
            APIError,
            "302: an answer without a body",
        ),
    ],
)
async def test_an_answer_that_is_none_is_a_typed_error_that_names_the_request(
    answer: bytes, error: type[Exception], message: str
) -> None:
    async with raw_server(answering(answer)) as url:
        async with MarketplaceClient(account(), base_url=url, retry=FAST) as client:
            with pytest.raises(error, match=message) as raised:
                await client.installed_add_ons.fetch(XE)
    assert f"(GET /v1/InstalledAddOns/{XE})" in str(raised.value)
    assert pickle.loads(pickle.dumps(raised.value)).request == raised.value.request  # type: ignore[attr-defined]


async def test_a_refused_connection_is_a_transport_error_with_its_cause() -> None:
    base_url = f"http://127.0.0.1:{_free_port()}"
    async with MarketplaceClient(account(), base_url=base_url, retry=FAST) as client:
        with pytest.raises(TransportError, match="cannot connect to 127") as error:
            await client.installed_add_ons.fetch(XE)
    assert isinstance(error.value.__cause__, ConnectionRefusedError)
    assert error.value.__context__ is None


# -- proxies and TLS


async def test_requests_go_through_the_proxy_that_is_given(
    marketplace_emulator: Emulator,
) -> None:
    asked: list[str] = []

    async def proxy(request: web.Request) -> web.Response:
        asked.append(str(request.url))
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, request.url, headers=request.headers) as answer,
        ):
            return web.Response(body=await answer.read(), status=answer.status)

    async with (
        _web_server(proxy) as url,
        MarketplaceClient(account(), base_url=marketplace_emulator.url, proxy=url) as client,
    ):
        assert await client.available_add_ons.list(limit=1).collect()
    assert asked == [f"{marketplace_emulator.url}/v1/AvailableAddOns?PageSize=1"]


async def test_the_password_of_a_proxy_is_in_no_error() -> None:
    with pytest.raises(ValueError, match="proxy: expected a URL") as refused:
        MarketplaceClient(account(), proxy="user:geheim@127.0.0.1")
    assert "geheim" not in str(refused.value)

    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=407)

    async with _web_server(refuse) as url:
        proxy = url.replace("//", "//user:geheim@")
        async with MarketplaceClient(account(), proxy=proxy, retry=FAST) as client:
            with pytest.raises(TransportError, match="ClientHttpProxyError: 407") as asked:
                await client.installed_add_ons.fetch(XE)
    assert "geheim" not in repr(asked.value) + str(asked.value)
    assert b"geheim" not in pickle.dumps(asked.value)
    proxy = f"http://user:geheim@127.0.0.1:{_free_port()}"
    async with MarketplaceClient(
        account(), base_url="http://127.0.0.1:1", proxy=proxy, retry=FAST
    ) as client:
        with pytest.raises(TransportError) as error:
            await client.installed_add_ons.fetch(XE)
    shown = repr(error.value) + str(error.value) + repr(client) + repr(client._session)
    assert "geheim" not in shown
    assert error.value.__context__ is None


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 with its key, signed by nobody."""
    file = tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=127.0.0.1"
    extension = "subjectAltName=IP:127.0.0.1"
    try:
        run = subprocess.run(
            [*command.split(), "-addext", extension, "-keyout", "-", "-out", "-"],
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        pytest.skip("no openssl program to make a certificate with")
    file.write_bytes(run.stdout)
    return file


async def test_tls_is_verified_unless_told_otherwise(certificate: Path) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate)

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"sid": XE, "account_sid": "AC"})

    trusting = ssl.create_default_context(cafile=certificate)
    async with _web_server(answer, server) as url:
        async with MarketplaceClient(account(), base_url=url, retry=FAST) as client:
            with pytest.raises(TransportError, match="CERTIFICATE_VERIFY_FAILED"):
                await client.installed_add_ons.fetch(XE)
        for verification in (trusting, False):
            async with MarketplaceClient(account(), base_url=url, ssl=verification) as client:
                assert (await client.installed_add_ons.fetch(XE)).sid == XE


@pytest.mark.parametrize(
    "fault",
    [
        {"drop": True},
        {"status": 401},
        {"status": 429},
        {"status": 500},
        {"body": "garbled"},
        {"body": "cut"},
        {"delay": 2.0},
        None,
        "cancelled",
    ],
)
async def test_no_secret_is_in_a_traceback_not_even_among_its_variables(fault: Any) -> None:
    credentials = AccountToken(account().account_sid, "geheim-42")
    emulator = Emulator()
    await emulator.start()
    async with MarketplaceClient(
        credentials, base_url=emulator.url, retry=FAST, timeout=0.2
    ) as client:
        if fault is None:
            await emulator.stop()
        elif fault == "cancelled":
            emulator.faults.add("*", "*", delay=2.0)
        else:
            emulator.faults.add("*", "*", **fault, times=None)
        error: BaseException | None = None
        try:
            async with asyncio.timeout(0.05 if fault == "cancelled" else None):
                await create(client)
        except (MarketplaceError, TimeoutError) as raised:
            error = raised
        assert error is not None
    await emulator.stop()
    shown = "".join(
        traceback.TracebackException.from_exception(error, capture_locals=True).format()
    )
    basic = credentials.authorization.reveal().removeprefix("Basic ")
    assert "pipeline.py" in shown
    assert not any(secret in shown for secret in ("geheim-42", basic))


# -- seeing through


async def test_capture_collects_every_attempt_and_no_credentials() -> None:
    async with emulated(retry=FAST) as (client, emulator):
        emulator.faults.add("GET", "*", status=429, times=1)
        with capture() as exchanges:
            await client.available_add_ons.list(limit=1).collect()
    assert [exchange.response and exchange.response.status for exchange in exchanges] == [429, 200]
    response = exchanges[-1].response
    assert response is not None
    assert response.headers["twilio-request-id"] == emulator.log[-1].request_id
    assert exchanges[-1].request == Request("GET", "/v1/AvailableAddOns", "PageSize=1")
    assert b"made-up" not in pickle.dumps(exchanges)
    assert b"Basic" not in pickle.dumps(exchanges)


async def test_capture_collects_errors_and_what_other_tasks_of_the_block_do() -> None:
    async with MarketplaceClient(
        account(), base_url=f"http://127.0.0.1:{_free_port()}", retry=FAST
    ) as client:
        with capture() as outer, capture() as inner:
            results = await asyncio.gather(
                *(client.installed_add_ons.fetch(XE) for _ in range(2)), return_exceptions=True
            )
        with pytest.raises(TransportError):
            await client.installed_add_ons.fetch(XE)
    assert outer == inner
    errors = [exchange.error for exchange in outer]
    assert len(errors) == 2 * FAST.attempts
    assert set(results) <= set(errors)
    assert outer[0].response is None


async def test_capture_ends_with_its_block_and_sees_what_is_cancelled() -> None:
    async with emulated() as (client, emulator):
        emulator.faults.add("GET", "*", delay=5)
        with capture() as exchanges:
            slow = asyncio.ensure_future(client.listings.list_own())
            await asyncio.sleep(0.05)
            slow.cancel()
            with pytest.raises(asyncio.CancelledError):
                await slow

            async def later() -> None:
                await asyncio.sleep(0.05)
                await client.listings.list_own()

            outlives = asyncio.ensure_future(later())
            await asyncio.sleep(0)
        await outlives
    assert [type(exchange.error) for exchange in exchanges] == [asyncio.CancelledError]


async def test_what_has_no_method_can_be_sent(marketplace_client: MarketplaceClient) -> None:
    response = await marketplace_client.send(Request("GET", "/v1/AvailableAddOns", {"PageSize": 5}))
    assert isinstance(response, Response)
    assert response.status == 200
    assert response.elapsed > 0
    with pytest.raises(APIError, match="405 20004"):
        await marketplace_client.send(Request("PUT", "/v1/Listings"))


async def test_one_line_is_logged_for_each_attempt_and_no_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "marketplace_async")
    async with emulated(retry=FAST) as (client, emulator):
        emulator.faults.add("GET", "*", status=429, times=1)
        await client.available_add_ons.list(limit=1).collect()
        emulator.faults.add("POST", "*", drop=True)
        with pytest.raises(AmbiguousOutcomeError):
            await create(client)
        ids = [entry.request_id for entry in emulator.log]
    lines = [record.getMessage() for record in caplog.records if record.name == "marketplace_async"]
    assert len(lines) == 3
    assert lines[0].startswith("GET /v1/AvailableAddOns -> 429 in 0.")
    assert lines[0].endswith(f" s, {ids[0]}")
    assert lines[1].startswith("GET /v1/AvailableAddOns -> 200 in 0.")
    assert lines[2].startswith("POST /v1/InstalledAddOns -> ServerDisconnectedError: Server disc")
    assert "made-up" not in caplog.text
    assert "Basic" not in caplog.text


def test_without_logging_set_up_nothing_is_printed() -> None:
    program = (
        "import asyncio\n"
        "from marketplace_async import *\n"
        "async def main():\n"
        "    async with MarketplaceClient(AccountToken('AC' + '1' * 32, 'x'),"
        " base_url='http://127.0.0.1:1') as client:\n"
        "        try: await client.listings.list_own()\n"
        "        except TransportError: pass\n"
        "asyncio.run(main())\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert (run.stdout, run.stderr) == ("", "")
