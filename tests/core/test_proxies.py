"""Requests through a real proxy: tunnels, forwarding, rejections, and who is to blame."""

import asyncio
import pickle
import traceback
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.certificates import XE, Authority, tls_server
from support.proxies import proxy
from support.raw_servers import free_port, raw_server, responding, silent

from marketplace_async import (
    AmbiguousOutcomeError,
    BillableItem,
    ConnectError,
    CredentialsError,
    MarketplaceClient,
    MarketplaceError,
    Retry,
    Timeout,
)
from marketplace_async._core import session as session_module
from marketplace_async.emulator import Emulator
from marketplace_async.testing import account

FAST = Retry(attempts=3, initial_backoff=0.001)
ITEM = BillableItem("BI" + "a" * 32, 1)
# A name that this machine does not have: only the proxy knows where it is.
HOST = "marketplace.example"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def service(authority: Authority) -> AsyncIterator[str]:
    """The URL of a service that only a proxy reaches."""
    async with tls_server(authority.server(HOST)) as url:
        yield url.replace("127.0.0.1", HOST)


def environment(**variables: str) -> dict[str, str]:
    credentials = {"TWILIO_ACCOUNT_SID": account().account_sid, "TWILIO_AUTH_TOKEN": "geheim-42"}
    return {**credentials, **variables}


async def fetch(client: MarketplaceClient) -> str:
    async with client:
        return (await client.installed_add_ons.fetch(XE)).sid


# -- https goes through a tunnel


async def test_https_goes_through_a_tunnel(service: str, authority: Authority) -> None:
    async with proxy(password="geheim") as running:
        running.hosts[HOST] = "127.0.0.1"
        client = MarketplaceClient(
            account(), base_url=service, proxy=running.url, ssl=authority.client
        )
        async with client:
            for _ in range(3):
                assert (await client.installed_add_ons.fetch(XE)).sid == XE
    # The connection is kept, and the proxy reads no credentials but its own.
    assert running.requests == [f"CONNECT {service.removeprefix('https://')} HTTP/1.1"]
    assert "\r\nAuthorization" not in running.heads[0]


async def test_a_proxy_can_be_reached_by_tls(service: str, authority: Authority) -> None:
    async with proxy(ssl_context=authority.server()) as running:
        running.hosts[HOST] = "127.0.0.1"
        url = running.url.replace("http:", "https:")
        client = MarketplaceClient(account(), base_url=service, proxy=url, ssl=authority.client)
        assert await fetch(client) == XE


async def test_from_env_honors_proxy_and_ca_file(service: str, authority: Authority) -> None:
    async with proxy() as running:
        running.hosts[HOST] = "127.0.0.1"
        variables = environment(
            MARKETPLACE_BASE_URL=service,
            HTTPS_PROXY=running.url,
            SSL_CERT_FILE=str(authority.file),
        )
        client = MarketplaceClient.from_env(variables)
        assert client.environment is not None
        assert client.environment.variables["proxy"] == "HTTPS_PROXY"
        assert client.environment.variables["ssl"] == "SSL_CERT_FILE"
        assert await fetch(client) == XE
        assert len(running.requests) == 1

        for ignored in (
            MarketplaceClient.from_env(variables | {"NO_PROXY": HOST}, retry=FAST),
            MarketplaceClient.from_env(variables, trust_env=False, retry=FAST),
        ):
            with pytest.raises(ConnectError, match=f"cannot connect to {HOST}:"):
                await fetch(ignored)
    assert len(running.requests) == 1


async def test_trust_env_reads_the_environment_of_the_process(
    service: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with proxy() as running:
        running.hosts[HOST] = "127.0.0.1"
        monkeypatch.setenv("https_proxy", running.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        client = MarketplaceClient(account(), base_url=service, trust_env=True)
        derived = client.with_options(timeout=5).with_credentials(account(2))
        assert (await derived.installed_add_ons.fetch(XE)).sid == XE
        assert await fetch(client) == XE
    assert len(running.requests) == 1


async def test_a_netrc_file_is_never_read(
    service: str, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login other password geheim\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with proxy() as running:
        running.hosts[HOST] = "127.0.0.1"
        variables = environment(HTTPS_PROXY=running.url, SSL_CERT_FILE=str(authority.file))
        assert await fetch(MarketplaceClient.from_env(variables, base_url=service)) == XE
    assert "Authorization" not in running.heads[0]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"HTTPS_PROXY": "socks5://u:geheim@p:1"}, "^HTTPS_PROXY: expected a URL such as"),
        ({"SSL_CERT_FILE": "/missing"}, "^SSL_CERT_FILE: cannot read certificates from '/missing"),
        ({"MARKETPLACE_CA_FILE": "/missing"}, "^MARKETPLACE_CA_FILE: cannot read"),
        ({"MARKETPLACE_ALLOW_HTTP": "maybe"}, "^MARKETPLACE_ALLOW_HTTP: expected true or false"),
    ],
)
def test_a_malformed_variable_is_an_error_at_once(variables: Any, message: str) -> None:
    with pytest.raises(CredentialsError, match=message) as raised:
        MarketplaceClient.from_env(environment(**variables))
    shown = traceback.TracebackException.from_exception(raised.value, capture_locals=True)
    assert "geheim" not in "".join(line for line in shown.format() if "test_proxies" not in line)


def test_neither_matters_to_an_emulator_on_this_machine() -> None:
    variables = environment(HTTP_PROXY="socks5://p", SSL_CERT_FILE="/missing")
    MarketplaceClient.from_env(variables, base_url="http://127.0.0.1:1")


# -- http is forwarded


async def test_the_proxy_reads_what_it_forwards_so_it_must_be_allowed(
    marketplace_emulator: Emulator,
) -> None:
    url = marketplace_emulator.url
    async with proxy(password="geheim") as running:
        for other in (running.url, running.url.replace("http:", "https:")):
            with pytest.raises(ValueError, match="the proxy would read the credentials"):
                MarketplaceClient(account(), base_url=url, proxy=other)
        async with MarketplaceClient(
            account(), base_url=url, proxy=running.url, allow_http=True
        ) as client:
            installed = await client.installed_add_ons.create(
                available_add_on_sid="XB06d5274893cc9af4198667d2f7d74d09",
                accept_terms_of_service=True,
            )
            assert await client.installed_add_ons.fetch(installed.sid) == installed
            await client.installed_add_ons.delete(installed.sid)
    assert running.requests == [
        f"POST {url}/v1/InstalledAddOns HTTP/1.1",
        *(
            f"{method} {url}/v1/InstalledAddOns/{installed.sid} HTTP/1.1"
            for method in ("GET", "DELETE")
        ),
    ]


async def test_a_proxy_of_the_environment_is_not_used_for_this_machine(
    marketplace_emulator: Emulator,
) -> None:
    async with proxy() as running:
        variables = environment(HTTP_PROXY=running.url, HTTPS_PROXY=running.url)
        async with MarketplaceClient.from_env(
            variables, base_url=marketplace_emulator.url
        ) as client:
            assert await client.available_add_ons.list(limit=1).collect()
    assert running.requests == []


# -- what cannot succeed is attempted once, and the message names who failed


@pytest.mark.parametrize("way", ["direct", "aiohttp"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_rejected_proxy_credentials_are_sent_once(
    way: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "_direct", way == "direct")
    async with proxy(password="geheim") as running:
        wrong = running.url.replace("geheim", "falsch")
        base_url = f"{scheme}://{HOST}"
        client = MarketplaceClient(
            account(), base_url=base_url, proxy=wrong, allow_http=True, retry=FAST
        )
        async with client:
            with pytest.raises(ConnectError) as error:
                await client.installed_add_ons.usage(XE).create([ITEM])
    assert len(running.requests) == 1
    assert error.value.permanent
    assert error.value.reason == (
        f"the proxy {running.address} (from proxy=) refused to connect: "
        "407 Proxy Authentication Required; set the user name and password in its URL"
    )
    assert "falsch" not in repr(error.value) + str(error.value)
    assert b"falsch" not in pickle.dumps(error.value)
    assert pickle.loads(pickle.dumps(error.value)).permanent


@pytest.mark.parametrize(
    ("response", "attempts"),
    [
        *(("401 Unauthorized", 1), ("403 Forbidden", 1), ("405 Method Not Allowed", 1)),
        *(("302 Found", 3), ("429 Too Many", 3), ("502 Bad Gateway", 3), ("503 No", 3)),
    ],
)
async def test_a_tunnel_that_is_not_allowed_is_asked_for_once(response: str, attempts: int) -> None:
    async with proxy(response=response) as running:
        variables = environment(HTTPS_PROXY=running.url)
        async with MarketplaceClient.from_env(variables, retry=FAST) as client:
            with pytest.raises(ConnectError) as error:
                await client.installed_add_ons.usage(XE).create([ITEM])
    assert running.requests == ["CONNECT marketplace.twilio.com:443 HTTP/1.1"] * attempts
    where = f"the proxy {running.address} (from HTTPS_PROXY) refused to connect: {response}"
    assert error.value.reason.startswith(where)
    assert ("NO_PROXY" in error.value.reason) is (response[:3] in ("401", "403"))


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_password_that_a_proxy_echoes_is_masked(scheme: str) -> None:
    encoded = b64encode(b"user:geheim-42").decode()
    answer = f"502 cannot accept Basic {encoded} of geheim-42"
    async with proxy(response=answer) as running:
        url = running.url.replace("://", "://user:geheim-42@")
        client = MarketplaceClient(
            account(),
            base_url=f"{scheme}://{HOST}",
            proxy=url,
            allow_http=True,
            retry=Retry(attempts=1),
        )
        async with client:
            with pytest.raises(MarketplaceError) as error:
                await client.installed_add_ons.fetch(XE)
    shown = repr(error.value) + str(error.value) + str(pickle.dumps(error.value))
    assert "geheim-42" not in shown
    assert encoded not in shown


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_is_down_is_named(scheme: str) -> None:
    url = f"http://user:geheim@127.0.0.1:{free_port()}"
    client = MarketplaceClient(
        account(), base_url=f"{scheme}://{HOST}", proxy=url, allow_http=True, retry=FAST
    )
    async with client:
        with pytest.raises(ConnectError) as error:
            await client.installed_add_ons.usage(XE).create([ITEM])
    place = url.rpartition("@")[2]
    assert error.value.reason.startswith(f"cannot connect to the proxy {place} (from proxy=): ")
    assert not error.value.permanent
    assert error.value.__context__ is None
    assert isinstance(error.value.__cause__, ConnectionRefusedError)
    shown = repr(error.value) + str(error.value) + repr(client) + repr(client._session)
    assert "geheim" not in shown


async def test_a_proxy_without_an_address_is_named() -> None:
    client = MarketplaceClient(account(), proxy="http://proxy.invalid:3128", retry=FAST)
    async with client:
        with pytest.raises(ConnectError, match=r"the proxy proxy\.invalid:3128 \(from proxy=\)"):
            await client.installed_add_ons.fetch(XE)


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (b"", "the proxy {0} closed the connection before it responded"),
        (b"nonsense\r\n\r\n", "malformed response of the proxy {0}: 400 "),
    ],
)
async def test_a_proxy_that_speaks_no_http_is_named(response: bytes, reason: str) -> None:
    async with raw_server(responding(response)) as url:
        async with MarketplaceClient(account(), proxy=url, retry=FAST) as client:
            with pytest.raises(ConnectError) as error:
                await client.installed_add_ons.usage(XE).create([ITEM])
    assert error.value.reason.startswith(reason.format(url.removeprefix("http://")))


@pytest.mark.parametrize("way", ["direct", "aiohttp"])
@pytest.mark.parametrize("bounds", [Timeout(connect=0.05), Timeout(total=0.05)])
async def test_a_proxy_that_never_answers_leaves_no_outcome_unknown(
    way: str, bounds: Timeout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "_direct", way == "direct")
    async with raw_server(silent) as url:
        async with MarketplaceClient(account(), proxy=url, retry=FAST, timeout=bounds) as client:
            with pytest.raises(ConnectError) as error:
                await client.installed_add_ons.usage(XE).create([ITEM])
    proxy_address = url.removeprefix("http://")
    assert error.value.reason.endswith(f" through the proxy {proxy_address} within 0.05 s")


async def test_a_tunnel_that_breaks_after_the_request_leaves_the_outcome_unknown(
    authority: Authority,
) -> None:
    received: list[str] = []

    async def hang_up(request: aiohttp.web.Request) -> aiohttp.web.Response:
        received.append(request.method)
        assert request.transport is not None
        request.transport.abort()
        return aiohttp.web.Response()

    async with tls_server(authority.server(HOST), hang_up) as url, proxy() as running:
        running.hosts[HOST] = "127.0.0.1"
        client = MarketplaceClient(
            account(),
            base_url=url.replace("127.0.0.1", HOST),
            proxy=running.url,
            ssl=authority.client,
        )
        async with client:
            with pytest.raises(AmbiguousOutcomeError):
                await client.installed_add_ons.usage(XE).create([ITEM])
    assert received == ["POST"]


async def test_an_untrusted_certificate_behind_a_proxy_is_not_the_proxys(service: str) -> None:
    async with proxy() as running:
        running.hosts[HOST] = "127.0.0.1"
        client = MarketplaceClient(account(), base_url=service, proxy=running.url, retry=FAST)
        with pytest.raises(ConnectError, match=f"the certificate of {HOST}:"):
            await fetch(client)
    assert len(running.requests) == 1


async def test_an_untrusted_certificate_of_a_proxy_is_the_proxys(authority: Authority) -> None:
    async with proxy(ssl_context=authority.server()) as running:
        url = running.url.replace("http:", "https:")
        client = MarketplaceClient(account(), proxy=url, retry=FAST)
        with pytest.raises(ConnectError, match=f"the certificate of the proxy {running.address}"):
            await fetch(client)


async def test_cancelling_while_the_tunnel_opens_leaves_nothing_behind() -> None:
    async with raw_server(silent) as url:
        async with MarketplaceClient(account(), proxy=url) as client:
            task = asyncio.ensure_future(client.installed_add_ons.fetch(XE))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert client.stats.in_flight == 0
