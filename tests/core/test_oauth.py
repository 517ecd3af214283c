"""OAuth client credentials: requests share a token, which is renewed in time and never shown."""

import asyncio
import logging
import pickle
import traceback
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from support.raw_servers import web_server

from marketplace_async import (
    APIError,
    AuthenticationError,
    ClientClosedError,
    ClientCredentials,
    CredentialsError,
    MarketplaceClient,
    MarketplaceError,
    Retry,
    TokenError,
    capture,
)
from marketplace_async._core import oauth
from marketplace_async._core.clocks import monotonic
from marketplace_async._core.oauth import _TokenDocument
from marketplace_async.credentials import from_env
from marketplace_async.emulator import Emulator
from marketplace_async.testing import emulated

OQ = "OQ" + "1" * 32
AC = "AC" + "1" * 32
SECRET = "geheim-42"
SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
CREDENTIALS = ClientCredentials(OQ, SECRET)
RETRY = Retry(attempts=4, initial_backoff=0.001)


def client_of(emulator: Emulator, **options: Any) -> MarketplaceClient:
    return MarketplaceClient(CREDENTIALS, base_url=emulator.url, **{"retry": RETRY, **options})


def tokens_issued(emulator: Emulator) -> int:
    return sum(entry.status == 200 for entry in emulator.log.matching("POST", "/v2/token"))


async def create(client: MarketplaceClient) -> Any:
    return await client.installed_add_ons.create(
        available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True
    )


async def test_concurrent_requests_share_one_token_even_with_a_single_permit() -> None:
    async with Emulator() as emulator, client_of(emulator, concurrency=1) as client:
        derived = client.with_credentials(ClientCredentials(OQ, SECRET))
        lists = await asyncio.gather(
            *(each.installed_add_ons.list().collect() for each in (client, derived) * 25)
        )
        assert lists == [[]] * 50
        assert tokens_issued(emulator) == 1
        assert (await create(client)).account_sid == AC


async def test_cancelling_a_request_that_waits_for_a_token_fails_no_other() -> None:
    async with Emulator() as emulator, client_of(emulator) as client:
        emulator.faults.add("POST", "/v2/token", delay=0.1)
        tasks = [asyncio.ensure_future(client.listings.list_own()) for _ in range(5)]
        await asyncio.sleep(0.03)
        tasks[0].cancel()
        tasks[3].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [result for result in results if isinstance(result, tuple)] == [()] * 3
        assert tokens_issued(emulator) == 1


async def test_a_token_is_renewed_before_it_expires() -> None:
    async with Emulator(token_lifetime=2.0) as emulator, client_of(emulator) as client:
        for _ in range(45):
            await client.listings.list_own()
            await asyncio.sleep(0.1)
        assert {entry.status for entry in emulator.log} == {200}
        assert 3 <= tokens_issued(emulator) <= 4


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let seconds pass for the client, whose tokens live an hour."""
    passed = 0.0

    def let_pass(seconds: float) -> None:
        nonlocal passed
        passed += seconds

    monkeypatch.setattr(oauth, "monotonic", lambda: monotonic() + passed)
    return let_pass


async def test_a_failed_renewal_does_no_harm_while_the_token_is_valid(
    passing: Callable[[float], None],
) -> None:
    async with Emulator() as emulator, client_of(emulator, retry=Retry(attempts=1)) as client:
        await client.listings.list_own()
        passing(3550.0)
        emulator.faults.add("POST", "/v2/token", status=500, times=2)
        await client.listings.list_own()
        while all(entry.status != 500 for entry in emulator.log):
            await asyncio.sleep(0.01)
        passing(46.0)  # it could expire on the way
        with pytest.raises(MarketplaceError, match="500 20500"):
            await client.listings.list_own()


async def test_a_renewal_that_hangs_delays_no_request_while_the_token_is_valid(
    passing: Callable[[float], None],
) -> None:
    async with Emulator() as emulator, client_of(emulator) as client:
        await client.listings.list_own()
        passing(3550.0)
        emulator.faults.add("POST", "/v2/token", delay=3600.0)
        for _ in range(3):
            await client.listings.list_own()
        assert tokens_issued(emulator) == 1
        assert {entry.status for entry in emulator.log if "Listings" in entry.path} == {200}


async def test_any_operation_is_sent_once_more_with_a_new_token() -> None:
    async with (
        Emulator() as emulator,
        client_of(emulator, retry=Retry(attempts=1)) as client,
    ):
        await client.listings.list_own()
        emulator.revoke_tokens()
        await create(client)
        assert [entry.status for entry in emulator.log.matching("POST", "/v1/*")] == [401, 201]
        emulator.revoke_tokens()
        await asyncio.gather(*(client.listings.list_own() for _ in range(20)))
        assert tokens_issued(emulator) == 3


async def test_a_repeated_401_is_raised() -> None:
    async with Emulator() as emulator, client_of(emulator) as client:
        emulator.faults.add("*", "/v1/*", status=401, times=None)
        with pytest.raises(AuthenticationError):
            await create(client)
        assert len(emulator.log.matching("POST", "/v1/*")) == 2


async def test_a_failed_token_request_is_retried() -> None:
    async with Emulator() as emulator, client_of(emulator) as client:
        emulator.faults.add("POST", "/v2/token", drop=True)
        emulator.faults.add("POST", "/v2/token", status=500)
        await client.listings.list_own()


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 400},
        {"status": 500},
        {"drop": True},
        {"delay": 2.0},
        {"body": "cut"},
        {"body": "garbled"},
        {"status": 200},
        None,
    ],
)
async def test_no_secret_and_no_token_is_in_an_error_or_its_causes(
    fault: dict[str, Any] | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    accounts = {OQ: "another secret"} if fault is None else None
    async with (
        Emulator(accounts=accounts) as emulator,
        client_of(emulator, retry=Retry(attempts=1), timeout=0.2) as client,
    ):
        if fault is not None:
            emulator.faults.add("POST", "/v2/token", **fault)
        with capture() as exchanges, pytest.raises(MarketplaceError) as error:
            await client.listings.list_own()
    shown = caplog.text + repr(exchanges) + repr(client) + repr(error.value)
    shown += "".join(
        traceback.TracebackException.from_exception(error.value, capture_locals=True).format()
    )
    encoded = b64encode(SECRET.encode()).decode().rstrip("=")
    pickled = pickle.dumps(error.value)
    assert exchanges == []
    for secret in (SECRET, encoded, "access_token"):
        assert secret not in shown
        assert secret.encode() not in pickled
    if fault is None or fault.get("status") == 400:
        assert isinstance(error.value, AuthenticationError)
    else:
        assert isinstance(error.value, TokenError)


@asynccontextmanager
async def token_server(
    status: int = 200, **document: object
) -> AsyncIterator[tuple[MarketplaceClient, list[str]]]:
    """Run a service with this token response. Yields a client, and the paths of its requests."""
    paths: list[str] = []

    async def respond(request: web.Request) -> web.Response:
        paths.append(request.path)
        if request.path == "/v2/token":
            return web.json_response(document, status=status)
        return web.json_response({"listings": []})

    async with web_server(respond) as url:
        async with MarketplaceClient(CREDENTIALS, base_url=url, retry=RETRY) as client:
            yield client, paths


UNREADABLE: list[Any] = ["", "soon", "nan", "inf", 0, -5, True, [1], {}, 10**400]


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [
        (1800, 1800.0),
        (0.5, 0.5),
        ("1800", 1800.0),
        (" 90 ", 90.0),
        (None, 3600.0),
        *((value, 3600.0) for value in UNREADABLE),
    ],
)
async def test_a_lifetime_may_be_text_and_is_an_hour_if_unknown(
    expires_in: Any, seconds: float
) -> None:
    assert _TokenDocument("x", expires_in).lifetime == seconds
    if expires_in == 10**400:
        return  # more digits than JSON decoders read as a number
    async with token_server(access_token="x", expires_in=expires_in) as (client, paths):
        await client.listings.list_own()
        await client.listings.list_own()
    assert paths == ["/v2/token", "/v1/Listings", "/v1/Listings"]


async def test_a_token_without_a_lifetime_is_used() -> None:
    async with token_server(access_token="x") as (client, paths):
        await client.listings.list_own()
        await client.listings.list_own()
    assert paths == ["/v2/token", "/v1/Listings", "/v1/Listings"]


@pytest.mark.parametrize(
    "token",
    ["", " ", "geheim ", " geheim", "geheim\r\nX: y", "geheim\n", "geheim\0", "名geheim", "é"],
)
async def test_a_token_that_no_header_can_hold_is_an_error_at_once(token: str) -> None:
    async with token_server(access_token=token, expires_in=3600) as (client, paths):
        with pytest.raises(TokenError, match="no header can hold the access token") as error:
            await create(client)
    assert paths == ["/v2/token"]
    traced = error.value.__traceback__
    assert traced is not None
    # Without the frame of this test, which holds the token.
    shown = "".join(
        traceback.TracebackException(
            TokenError, error.value, traced.tb_next, capture_locals=True
        ).format()
    )
    assert "geheim" not in shown
    assert b"access_token" not in pickle.dumps(error.value)


@pytest.mark.parametrize("document", [{}, {"access_token": None}, {"access_token": 5}])
async def test_a_response_without_a_token_is_an_error_at_once(document: dict[str, Any]) -> None:
    async with token_server(**document) as (client, paths):
        with pytest.raises(TokenError, match="the response contains no access token"):
            await create(client)
    assert paths == ["/v2/token"]


@pytest.mark.parametrize(
    ("status", "kind"), [(400, AuthenticationError), (401, AuthenticationError), (503, TokenError)]
)
async def test_the_error_of_a_token_endpoint_is_shown_without_the_secret(
    status: int, kind: type[MarketplaceError]
) -> None:
    document = {
        "error": "invalid_client",
        "error_description": f"the secret {SECRET} is wrong",
        "error_uri": "https://example.com/help",
    }
    async with token_server(status, **document) as (client, _):
        with pytest.raises(kind, match=r"invalid_client: the secret \*\*\* is wrong") as error:
            await client.listings.list_own()
    failure = error.value.error if isinstance(error.value, TokenError) else error.value
    assert isinstance(failure, APIError)
    assert failure.more_info == "https://example.com/help"
    assert SECRET.encode() not in pickle.dumps(error.value)


async def test_without_a_token_a_write_is_not_ambiguous() -> None:
    async with Emulator() as emulator, client_of(emulator) as client:
        emulator.faults.add("POST", "/v2/token", drop=True, times=None)
        with pytest.raises(
            TokenError,
            match="no access token: the server closed the connection before it responded",
        ):
            await create(client)
        assert {entry.path for entry in emulator.log} == {"/v2/token"}


async def test_closing_the_client_cancels_a_token_request() -> None:
    async with Emulator() as emulator:
        emulator.faults.add("POST", "/v2/token", delay=5)
        client = client_of(emulator)
        call = asyncio.ensure_future(client.listings.list_own())
        await asyncio.sleep(0.05)
        call.cancel()
        await client.aclose()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert not [task for task in asyncio.all_tasks() if "Tokens._fetch" in repr(task)]


async def test_closing_the_client_fails_requests_that_wait_for_a_token() -> None:
    async with Emulator() as emulator:
        emulator.faults.add("POST", "/v2/token", delay=5)
        client = client_of(emulator)
        calls = [asyncio.ensure_future(client.listings.list_own()) for _ in range(2)]
        await asyncio.sleep(0.05)
        await client.aclose()
        for call in calls:
            with pytest.raises(ClientClosedError):
                await call


def test_client_credentials_are_read_from_the_environment() -> None:
    environ = {"TWILIO_CLIENT_ID": OQ, "TWILIO_CLIENT_SECRET": SECRET, "TWILIO_ACCOUNT_SID": AC}
    environment = from_env(environ)
    assert environment.credentials == ClientCredentials(OQ, SECRET, AC)
    assert environment.variables["client_id"] == "TWILIO_CLIENT_ID"
    with pytest.raises(CredentialsError, match="TWILIO_CLIENT_SECRET missing"):
        from_env({"TWILIO_CLIENT_ID": OQ})
    with pytest.raises(CredentialsError, match="TWILIO_CLIENT_ID: expected the SID of an OAuth"):
        from_env({"TWILIO_CLIENT_ID": SECRET, "TWILIO_CLIENT_SECRET": OQ})


def test_region_and_edge_are_part_of_the_host_for_tokens() -> None:
    client = MarketplaceClient(CREDENTIALS, region="au1", edge="sydney")
    assert client._oauth_url == "https://oauth.sydney.au1.twilio.com"


async def test_a_thousand_interleaved_calls_do_not_mix_accounts() -> None:
    async with Emulator() as emulator, client_of(emulator, concurrency=50) as client:
        derived = [
            client.with_credentials(ClientCredentials(f"OQ{number:032x}", SECRET))
            for number in range(20)
        ]
        for each in derived:
            await create(each)
        lists = await asyncio.gather(
            *(derived[n % 20].installed_add_ons.list().collect() for n in range(1000))
        )
        for number, items in enumerate(lists):
            assert [one.account_sid for one in items] == [f"AC{number % 20:032x}"]


async def test_the_emulator_rejects_an_invalid_grant() -> None:
    import aiohttp

    async with Emulator() as emulator, aiohttp.ClientSession(emulator.url) as session:
        good = {"grant_type": "client_credentials", "client_id": OQ, "client_secret": "x"}
        for changes, status in (
            ({}, 200),
            ({"grant_type": "password"}, 400),
            ({"client_id": "me"}, 401),
            ({"client_secret": ""}, 401),
        ):
            async with session.post("/v2/token", data={**good, **changes}) as response:
                assert response.status == status
                body = await response.json()
        assert body["code"] == 20003
        assert emulator.log[0].body == b""
        headers = {"Authorization": "Bearer nonsense"}
        async with session.get("/v1/Listings", headers=headers) as response:
            assert response.status == 401


async def test_the_number_of_cached_tokens_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("marketplace_async.client._MAX_TOKENS", 2)
    async with emulated() as (client, emulator):
        for number in (1, 2, 3, 3, 1):
            app = ClientCredentials(f"OQ{number:032x}", "made-up")
            await client.with_credentials(app).available_add_ons.list(limit=1).first()
            assert len(client._tokens) <= 2
        # The token of the first app was evicted before its second request.
        assert len(emulator.log.matching("POST", "/v2/token")) == 4
