"""The URLs of an emulator: links behind a proxy, HTTPS, and the URL that it prints."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from support.certificates import Authority
from support.plain_http import SPAM_SCORE, Http, basic, send

from marketplace_async import MarketplaceClient
from marketplace_async.emulator import Emulator
from marketplace_async.emulator.addresses import PublicUrl, is_loopback, listening_url
from marketplace_async.testing import account

PAGE = "/v1/AvailableAddOns?PageSize=1"


async def links(emulator: Emulator, **headers: str) -> str:
    """Return what the links of a page start with."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with aiohttp.ClientSession() as session:
        _, page, _ = await send(session, emulator, "GET", PAGE, headers=named)
    link: str = page["meta"]["next_page_url"]
    base = link.partition("/v1/")[0]
    (add_on,) = page["available_add_ons"]
    assert add_on["url"].startswith(base)
    assert add_on["links"]["extensions"].startswith(base)
    assert page["meta"]["first_page_url"].startswith(base)
    return base


@pytest.mark.parametrize(
    ("headers", "base"),
    [
        ({}, "http://{address}"),
        ({"X_Forwarded_Proto": "https"}, "https://{address}"),
        ({"X_Forwarded_Proto": "HTTPS, http"}, "https://{address}"),
        ({"Host": "emulator.test", "X_Forwarded_Proto": "https"}, "https://emulator.test"),
        ({"X_Forwarded_Host": "a.test:8443"}, "http://a.test:8443"),
        ({"X_Forwarded_Host": "a.test, b.test", "X_Forwarded_Proto": "https"}, "https://a.test"),
        ({"X_Forwarded_Host": "[::1]:8443"}, "http://[::1]:8443"),
        ({"X_Forwarded_Proto": "ftp"}, "http://{address}"),
        ({"X_Forwarded_Host": "a.test/x"}, "http://{address}"),
        ({"X_Forwarded_Host": "user@a.test"}, "http://{address}"),
        ({"X_Forwarded_Host": '"><script>'}, "http://{address}"),
    ],
)
async def test_links_are_those_that_the_client_of_a_proxy_sees(
    http: Http, headers: dict[str, str], base: str
) -> None:
    address = http.emulator.url.removeprefix("http://")
    assert await links(http.emulator, **headers) == base.format(address=address)


async def test_a_public_url_is_that_of_every_link() -> None:
    async with Emulator(public_url="https://emulator.test/twilio/") as emulator:
        expected = "https://emulator.test/twilio"
        assert await links(emulator) == expected
        assert await links(emulator, X_Forwarded_Proto="http", Host="x") == expected
        async with aiohttp.ClientSession() as session:
            headers = {"Host": "emulator.test", "Origin": "https://emulator.test"}
            status, health, _ = await send(
                session, emulator, "GET", "/_emulator/health", headers=headers
            )
        assert (status, health["url"]) == (200, expected)
        assert urlsplit(emulator.url).hostname == "127.0.0.1"


@pytest.mark.parametrize(
    "url",
    [
        *("emulator.test", "ftp://emulator.test", "https://", "https://a b", "https://u:p@a.test"),
        *("https://a.test?x=1", "https://a.test#x", "https://a.test:port", "https://[::1", ""),
        "https://a.test/\n",
    ],
)
def test_a_public_url_must_be_the_base_url_of_a_server(url: str) -> None:
    with pytest.raises(ValueError, match="public_url: must be like https://"):
        Emulator(public_url=url)


def test_allowed_hosts_must_be_several() -> None:
    with pytest.raises(ValueError, match="allow_hosts: must be several host names"):
        Emulator(allow_hosts="a.test")


def forwarded(peer: str, trust_proxy: bool) -> str:
    class Transport(asyncio.Transport):
        def get_extra_info(self, name: str, default: Any = None) -> Any:
            return (peer, 40_000) if name == "peername" else default

    headers = {"Host": "a.test", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "b.test"}
    request: Any = SimpleNamespace(headers=headers, transport=Transport())
    return PublicUrl("http", None, trust_proxy).of(request)


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_a_proxy_on_this_machine_is_believed(peer: str) -> None:
    assert forwarded(peer, trust_proxy=False) == "https://b.test"


@pytest.mark.parametrize("peer", ["10.0.0.7", "::ffff:10.0.0.7", "fe80::1%eth0", "2001:db8::1"])
def test_a_proxy_on_another_machine_is_believed_only_if_it_is_trusted(peer: str) -> None:
    assert forwarded(peer, trust_proxy=False) == "http://a.test"
    assert forwarded(peer, trust_proxy=True) == "https://b.test"


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
        ("10.0.0.7", "http://10.0.0.7:80"),
    ],
)
def test_the_url_is_one_that_works_on_this_machine(address: str, url: str) -> None:
    assert listening_url("http", address, 80) == url


@pytest.mark.parametrize("host", ["0.0.0.0", "localhost", "::"])
async def test_an_emulator_is_reached_at_its_url(host: str) -> None:
    try:
        async with Emulator(host=host) as emulator:
            assert (await links(emulator)) == emulator.url
    except OSError:
        pytest.skip("no IPv6 on this machine")


def test_names_and_odd_addresses_are_not_loopback() -> None:
    assert not any(map(is_loopback, ("localhost", "", "0.0.0.0", "127.0.0.1.evil.example", "1")))


async def test_a_request_without_a_host_gets_links_that_work(http: Http) -> None:
    parts = urlsplit(http.emulator.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    authorization = basic()["Authorization"]
    writer.write(f"GET {PAGE} HTTP/1.0\r\nAuthorization: {authorization}\r\n\r\n".encode())
    body = (await reader.read()).partition(b"\r\n\r\n")[2]
    writer.close()
    await writer.wait_closed()
    assert json.loads(body)["meta"]["url"].startswith(http.emulator.url)


async def test_an_emulator_serves_https(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with Emulator(tls=authority.server()) as emulator:
        assert emulator.url.startswith("https://127.0.0.1:")
        emulator.install(account().account_sid, SPAM_SCORE, times=120)
        async with MarketplaceClient(
            account(), base_url=emulator.url, ssl=authority.client
        ) as client:
            pages = [page async for page in client.installed_add_ons.list(page_size=50).pages()]
    assert [len(page.items) for page in pages] == [50, 50, 20]
    assert pages[0].next_url is not None
    assert pages[0].next_url.startswith("https://")
