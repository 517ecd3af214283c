"""The client: construction, sessions and derived clients."""

import asyncio
import copy
import gc
import warnings
from typing import Any
from unittest.mock import create_autospec

import aiohttp
import pytest
from aiohttp import web
from support.raw_servers import free_port, web_server
from yarl import URL

from marketplace_async import (
    AccountToken,
    APIError,
    ApiKey,
    ClientClosedError,
    CredentialsError,
    MarketplaceClient,
    Request,
    RequestTimeoutError,
    Retry,
    TransportError,
)
from marketplace_async._core import session
from marketplace_async.emulator import Emulator
from marketplace_async.testing import account, emulated

XE = "XE" + "a" * 32
SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
FAST = Retry(attempts=3, initial_backoff=0.001)
ONCE = Retry(attempts=1)


# -- construction


def test_a_client_can_be_created_outside_an_event_loop() -> None:
    async def fetch_list(client: MarketplaceClient) -> int:
        async with Emulator(port=port) as emulator, client:
            assert emulator.url == base_url
            return len(await client.available_add_ons.list(limit=3).collect())

    port = free_port()
    base_url = f"http://127.0.0.1:{port}"
    client = MarketplaceClient(account(), base_url=base_url)
    assert asyncio.run(fetch_list(client)) == 3


async def test_an_unused_client_closes_silently() -> None:
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
        ({"base_url": "http://[::1"}, ValueError, "base_url: expected a URL"),
        ({"base_url": "http://[::1]x"}, ValueError, "base_url: expected a URL"),
        ({"base_url": "https://h:99999"}, ValueError, "base_url: expected a URL"),
        ({"base_url": "https://h:0"}, ValueError, "base_url: expected a URL"),
        ({"base_url": "https://a..b"}, ValueError, "base_url: expected a URL"),
        ({"base_url": "https://a b"}, ValueError, "base_url: expected a URL"),
        ({"base_url": "https://a%20b"}, ValueError, "base_url: expected a URL"),
        ({"base_url": "https://" + "a" * 64}, ValueError, "base_url: expected a URL"),
        ({"base_url": "https://twilio.com\r\n"}, ValueError, "base_url: expected a URL"),
        ({"base_url": "https://twi\tlio.com"}, ValueError, "base_url: expected a URL"),
        ({"proxy": "http://a..b:3128"}, ValueError, "proxy: expected a URL"),
        ({"proxy": "socks5://p:1080"}, ValueError, "proxy: expected a URL"),
        ({"base_url": "http://[2001:db8::1]"}, ValueError, "send the credentials to 2001:db8::1"),
        ({"region": "x/y"}, ValueError, "region: expected a name"),
        ({"edge": "x.y"}, ValueError, "edge: expected a name"),
        ({"user_agent": 5}, TypeError, "user_agent: expected text, got int"),
        ({"user_agent": ""}, ValueError, "user_agent: expected printable ASCII"),
        ({"user_agent": "a\r\nX: y"}, ValueError, "user_agent: expected printable ASCII"),
        ({"user_agent": "Café/1"}, ValueError, "user_agent: expected printable ASCII"),
        ({"headers": "X: y"}, TypeError, "headers: expected a mapping, got str"),
        ({"headers": {"User-Agent": "a"}}, ValueError, "the client sets User-Agent itself"),
        ({"headers": {"X-A": "a\r\nX: y"}}, ValueError, "headers: X-A: expected printable ASCII"),
        ({"proxies": "x"}, TypeError, "proxies"),
    ],
)
def test_an_invalid_option_is_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        MarketplaceClient(account(), **options)


def test_credentials_must_be_credentials() -> None:
    with pytest.raises(
        TypeError, match="expected AccountToken, ApiKey or ClientCredentials, got tuple"
    ):
        MarketplaceClient(("AC1", "token"))  # type: ignore[arg-type]


def test_the_repr_shows_account_and_url_but_no_secret() -> None:
    client = MarketplaceClient(AccountToken("AC" + "1" * 32, "geheim"), region="au1")
    assert f"AC{'1' * 32}" in repr(client)
    assert "https://marketplace.au1.twilio.com" in repr(client)
    assert "geheim" not in repr(client)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("::1", "[::1]"),
        ("::", "[::]"),
        ("127.0.0.1", "[::ffff:127.0.0.1]"),
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),
    ],
)
@pytest.mark.parametrize("direct", [True, False])
async def test_any_address_of_this_machine_is_a_base_url(
    host: str, address: str, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_direct", direct)
    async with Emulator(host=host) as emulator:
        url = emulator.url
        for base_url in (url, URL(url), f"http://{address}:{URL(url).port}/"):
            async with MarketplaceClient(account(), base_url=base_url, retry=ONCE) as client:
                assert len(await client.available_add_ons.list(limit=3, page_size=1).collect()) == 3


@pytest.mark.parametrize("host", ["::1", "127.0.0.1"])
async def test_a_base_url_may_have_a_path(host: str) -> None:
    paths = []

    async def respond(request: web.Request) -> web.Response:
        paths.append((request.headers["Host"], request.path))
        return web.json_response({"sid": XE})

    async with web_server(respond, host=host) as url:
        for path in ("", "/", "/gateway", "/gateway/twilio/"):
            async with MarketplaceClient(account(), base_url=url + path) as client:
                await client.installed_add_ons.fetch(XE)
    place = f"/v1/InstalledAddOns/{XE}"
    assert paths == [
        (url.removeprefix("http://"), prefix + place)
        for prefix in ("", "", "/gateway", "/gateway/twilio")
    ]


@pytest.mark.parametrize(
    ("base_url", "host"),
    [
        ("https://[::1]", "[::1]"),
        ("https://[::1]:443/a", "[::1]"),
        ("https://[::1]:8443/a", "[::1]:8443"),
        ("https://127.0.0.1:80", "127.0.0.1:80"),
        ("https://EXAMPLE.com:443", "example.com"),
    ],
)
def test_the_default_port_is_not_sent(base_url: str, host: str) -> None:
    client = MarketplaceClient(account(), base_url=base_url)
    message = client._session._message(Request("GET", "/v1/AvailableAddOns"), None)
    assert f"\r\nHost: {host}\r\n".encode() in message


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:8080", "http://localhost:8080"])
def test_region_and_edge_do_not_change_a_base_url(base_url: str) -> None:
    client = MarketplaceClient(account(), base_url=base_url, region="au1", edge="sydney")
    assert f"at {base_url}>" in repr(client)


def test_from_env_reads_all_settings_and_lists_their_variables() -> None:
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


def test_an_option_takes_precedence_over_the_environment() -> None:
    environ = {
        "TWILIO_ACCOUNT_SID": "AC" + "1" * 32,
        "TWILIO_AUTH_TOKEN": "x",
        "MARKETPLACE_BASE_URL": "http://127.0.0.1:1",
    }
    assert "127.0.0.1:1>" in repr(MarketplaceClient.from_env(environ))
    assert "127.0.0.1:2>" in repr(
        MarketplaceClient.from_env(environ, base_url="http://127.0.0.1:2")
    )


def test_from_env_names_missing_variables() -> None:
    with pytest.raises(CredentialsError, match="TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN missing"):
        MarketplaceClient.from_env({})


# -- sessions


async def test_a_borrowed_session_is_not_closed(
    marketplace_emulator: Emulator,
) -> None:
    async with aiohttp.ClientSession() as session:
        async with MarketplaceClient(
            account(), base_url=marketplace_emulator.url, session=session
        ) as client:
            await client.available_add_ons.list(limit=1).collect()
        assert not session.closed


async def test_a_closed_borrowed_session_is_an_error() -> None:
    session = aiohttp.ClientSession()
    await session.close()
    with pytest.raises(ClientClosedError, match="session that this client borrowed is closed"):
        await MarketplaceClient(account(), session=session).installed_add_ons.fetch(XE)


async def test_defaults_of_a_borrowed_session_do_not_apply(
    marketplace_emulator: Emulator,
) -> None:
    async with aiohttp.ClientSession(
        raise_for_status=True, timeout=aiohttp.ClientTimeout(total=0.000001)
    ) as session:
        client = MarketplaceClient(account(), base_url=marketplace_emulator.url, session=session)
        with pytest.raises(APIError, match="404 20404"):
            await client.installed_add_ons.fetch(XE)


async def test_trust_env_belongs_to_the_session() -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ValueError, match="trust_env: set it on the session"):
            MarketplaceClient(account(), session=session, trust_env=True)
        environ = {"TWILIO_ACCOUNT_SID": "AC" + "1" * 32, "TWILIO_AUTH_TOKEN": "x"}
        with pytest.raises(ValueError, match="trust_env: set it on the session"):
            MarketplaceClient.from_env(environ, session=session, trust_env=True)
        MarketplaceClient.from_env({**environ, "HTTPS_PROXY": "not a URL"}, session=session)


async def test_a_closed_client_sends_nothing(marketplace_client: MarketplaceClient) -> None:
    await marketplace_client.available_add_ons.list(limit=1).collect()
    await marketplace_client.aclose()
    with pytest.raises(ClientClosedError, match="this client is closed"):
        await marketplace_client.installed_add_ons.fetch(XE)


def test_a_client_of_another_event_loop_is_an_error() -> None:
    client = MarketplaceClient(account(), base_url="http://127.0.0.1:1", retry=Retry(attempts=1))
    with asyncio.Runner() as one, asyncio.Runner() as other:
        with pytest.raises(TransportError):
            one.run(client.installed_add_ons.fetch(XE))
        with pytest.raises(ClientClosedError, match="bound to another event loop"):
            other.run(client.installed_add_ons.fetch(XE))
        one.run(client.aclose())


async def test_a_cancelled_close_still_closes() -> None:
    async with (
        emulated() as (_, emulator),
        MarketplaceClient(account(), base_url=emulator.url) as client,
    ):
        emulator.install(account().account_sid, SPAM_SCORE, times=9)
        pages = client.installed_add_ons.list(page_size=5).pages()
        await anext(pages)  # starts a prefetch
        closing = asyncio.ensure_future(client.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert client.stats.in_flight == 0
        session = client._session.pool._session
        assert session is not None
        assert session.closed


async def test_a_closed_client_leaves_no_tasks_and_no_warnings(
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


# -- derived clients


def test_with_account_accepts_only_accounts() -> None:
    client = MarketplaceClient(account())
    with pytest.raises(TypeError, match="account: expected an Account, got AccountToken"):
        client.with_account(account(2))  # type: ignore[arg-type]  # on purpose


async def test_derived_clients_share_connections_and_keep_accounts_apart(
    marketplace_client: MarketplaceClient, marketplace_emulator: Emulator
) -> None:
    derived = [marketplace_client.with_credentials(account(number)) for number in range(2, 6)]
    for each in derived:
        await each.installed_add_ons.create(
            available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True
        )
    lists = await asyncio.gather(*(each.installed_add_ons.list().collect() for each in derived))
    assert [[item.account_sid for item in items] for items in lists] == [
        [account(number).account_sid] for number in range(2, 6)
    ]
    assert await marketplace_client.installed_add_ons.list().collect() == []


async def test_a_derived_client_for_other_credentials_has_no_environment() -> None:
    environ = {"TWILIO_ACCOUNT_SID": "AC" + "1" * 32, "TWILIO_AUTH_TOKEN": "x"}
    client = MarketplaceClient.from_env(environ)
    with pytest.raises(
        TypeError, match="expected AccountToken, ApiKey or ClientCredentials, got NoneType"
    ):
        client.with_credentials(None)  # type: ignore[arg-type]
    assert client.with_credentials(account()).environment is None
    assert client.with_options(timeout=5).environment is client.environment


async def test_no_cookies_are_kept_and_the_pool_does_not_limit_connections() -> None:
    cookies: list[str | None] = []
    together = asyncio.Barrier(150)

    async def respond(request: web.Request) -> web.Response:
        cookies.append(request.headers.get("Cookie"))
        await together.wait()
        response = web.json_response({"sid": XE})
        response.set_cookie("a", "b")
        return response

    async with web_server(respond) as url:
        async with MarketplaceClient(account(), base_url=url, concurrency=150) as client:
            derived = [client.with_credentials(account(number)) for number in range(150)]
            for _ in range(2):
                await asyncio.gather(*(one.installed_add_ons.fetch(XE) for one in derived))
    assert set(cookies) == {None}


async def test_closing_a_derived_client_closes_nothing(
    marketplace_client: MarketplaceClient,
) -> None:
    async with marketplace_client.with_credentials(account(2)) as derived:
        await derived.available_add_ons.list(limit=1).collect()
    await marketplace_client.available_add_ons.list(limit=1).collect()
    await marketplace_client.aclose()
    with pytest.raises(ClientClosedError):
        await derived.available_add_ons.list(limit=1).collect()


async def test_with_options_changes_only_the_derived_client(
    marketplace_client: MarketplaceClient, marketplace_emulator: Emulator
) -> None:
    marketplace_emulator.faults.add("GET", "*", delay=0.2, times=None)
    impatient = marketplace_client.with_options(timeout=0.05, retry=FAST)
    with pytest.raises(RequestTimeoutError, match=r"no response within 0\.05 s \(.*GET /v1/Inst"):
        await impatient.installed_add_ons.fetch(XE)
    with pytest.raises(RequestTimeoutError):
        await impatient.with_credentials(account(2)).installed_add_ons.fetch(XE)
    with pytest.raises(APIError, match="404"):
        await marketplace_client.installed_add_ons.fetch(XE)


async def test_a_copy_is_a_derived_client(marketplace_client: MarketplaceClient) -> None:
    copied = copy.copy(marketplace_client)
    assert type(copied) is MarketplaceClient
    assert copied.installed_add_ons is not marketplace_client.installed_add_ons
    async with copied:
        assert await copied.available_add_ons.list(limit=1).collect()
    assert await marketplace_client.available_add_ons.list(limit=1).collect()
    assert copied.stats == marketplace_client.stats
    await marketplace_client.aclose()
    with pytest.raises(ClientClosedError):
        await copied.available_add_ons.list(limit=1).collect()


def test_a_copy_keeps_the_environment_and_the_deadline() -> None:
    environ = {"TWILIO_ACCOUNT_SID": "AC" + "1" * 32, "TWILIO_AUTH_TOKEN": "x"}
    client = MarketplaceClient.from_env(environ).with_options(deadline=5)
    copied = copy.copy(client)
    assert copied.environment is client.environment
    assert copied._deadline == 5


def test_a_derived_client_has_its_own_collections() -> None:
    client = MarketplaceClient(account())
    derived = client.with_credentials(account(2))
    for name in ("accounts", "available_add_ons", "installed_add_ons", "listings"):
        assert getattr(client, name) is getattr(client, name)
        assert getattr(derived, name) is not getattr(client, name)


async def test_a_mock_of_the_client_knows_its_collections() -> None:
    mock = create_autospec(MarketplaceClient, instance=True)
    mock.installed_add_ons.fetch.return_value = "an installed Add-on"
    assert await mock.installed_add_ons.fetch(XE) == "an installed Add-on"
    mock.installed_add_ons.list(limit=5)
    with pytest.raises(TypeError, match="unexpected keyword argument 'size'"):
        mock.installed_add_ons.list(size=5)
    with pytest.raises(AttributeError):
        mock.installed_add_ons.remove  # noqa: B018
    assert mock.accounts.list
    assert mock.available_add_ons.extensions


async def test_an_api_key_accesses_its_account(marketplace_client: MarketplaceClient) -> None:
    key = ApiKey("SK" + account().account_sid[2:], "anything")
    await marketplace_client.with_credentials(key).installed_add_ons.create(
        available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True
    )
    assert len(await marketplace_client.installed_add_ons.list().collect()) == 1
