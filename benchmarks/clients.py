"""The clients to compare, each used as an experienced engineer would use it.

Imports are deferred, so that a process loads only the client that it measures. Every client uses
keep-alive and one connection per concurrent request. All other settings are defaults. Over TLS, the
default certificate authorities are those in the file that `SSL_CERT_FILE` names.
"""

import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Sized
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any, Final, Protocol
from urllib.parse import urljoin

LIST: Final = "/v1/InstalledAddOns"
ACCOUNT: Final = "AC" + "1" * 32
SECRET: Final = "x"


class Client(Protocol):
    """The operations that every client supports, for one account."""

    async def fetch(self, sid: str) -> object:
        """Return one record."""
        ...

    async def list(self) -> Sized:
        """Return all records."""
        ...


class Ours:
    def __init__(self, client: Any) -> None:
        self._add_ons = client.installed_add_ons

    async def fetch(self, sid: str) -> object:
        return await self._add_ons.fetch(sid)

    async def list(self) -> Sized:
        records: Sized = await self._add_ons.list().collect()
        return records


class OursDerived:
    """Derives a client for each call, as a service does that acts for another account each time.

    Args:
        derive: Returns a new client that shares connections and limits with all others.
    """

    def __init__(self, derive: Callable[[], Any]) -> None:
        self._derive = derive

    async def fetch(self, sid: str) -> object:
        return await self._derive().installed_add_ons.fetch(sid)

    async def list(self) -> Sized:
        records: Sized = await self._derive().installed_add_ons.list().collect()
        return records


class Official:
    def __init__(self, client: Any) -> None:
        self._add_ons = client.marketplace.v1.installed_add_ons

    async def fetch(self, sid: str) -> object:
        return await self._add_ons(sid).fetch_async()

    async def list(self) -> Sized:
        records: Sized = await self._add_ons.list_async()
        return records


class PlainHttp:
    """Plain HTTP requests, records as dicts. `get` sends a request and decodes the response."""

    def __init__(self, get: Callable[[str], Awaitable[Any]]) -> None:
        self._get = get

    async def fetch(self, sid: str) -> object:
        return await self._get(f"{LIST}/{sid}")

    async def list(self) -> Sized:
        records: list[Any] = []
        url: str | None = f"{LIST}?PageSize=1000"
        while url:
            page = await self._get(url)
            records += page["installed_add_ons"]
            url = page["meta"]["next_page_url"]
        return records


def authorization(account_sid: str) -> str:
    """Return the Authorization header of an account."""
    return "Basic " + base64.b64encode(f"{account_sid}:{SECRET}".encode()).decode()


@asynccontextmanager
async def ours(url: str, account_sid: str, concurrency: int) -> AsyncIterator[Client]:
    from marketplace_async import AccountToken, MarketplaceClient

    credentials = AccountToken(account_sid, SECRET)
    async with MarketplaceClient(credentials, base_url=url, concurrency=concurrency) as client:
        yield Ours(client)


@asynccontextmanager
async def ours_derived(url: str, account_sid: str, concurrency: int) -> AsyncIterator[Client]:
    from marketplace_async import AccountToken, MarketplaceClient

    credentials = AccountToken(account_sid, SECRET)
    async with MarketplaceClient(credentials, base_url=url, concurrency=concurrency) as client:
        yield OursDerived(lambda: client.with_credentials(AccountToken(account_sid, SECRET)))


@asynccontextmanager
async def floor(url: str, account_sid: str, concurrency: int) -> AsyncIterator[Client]:
    from .floor import connect

    async with connect(url, authorization(account_sid)) as client:
        yield client


@asynccontextmanager
async def official(url: str, account_sid: str, concurrency: int) -> AsyncIterator[Client]:
    from twilio.http.async_http_client import (  # type: ignore[import-untyped]
        AsyncTwilioHttpClient,
    )
    from twilio.rest import Client  # type: ignore[import-untyped]

    async with AsyncTwilioHttpClient() as http:
        client = Client(account_sid, SECRET, http_client=http)
        client.marketplace.base_url = url
        yield Official(client)


@asynccontextmanager
async def aiohttp_json(url: str, account_sid: str, concurrency: int) -> AsyncIterator[Client]:
    import aiohttp

    headers = {"Authorization": authorization(account_sid)}
    connector = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(url, headers=headers, connector=connector) as session:

        async def get(url: str) -> Any:
            async with session.get(url) as r:
                r.raise_for_status()
                return await r.json()

        yield PlainHttp(get)


@asynccontextmanager
async def aiohttp_orjson(url: str, account_sid: str, concurrency: int) -> AsyncIterator[Client]:
    import aiohttp
    import orjson

    headers = {"Authorization": authorization(account_sid)}
    connector = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(url, headers=headers, connector=connector) as session:

        async def get(url: str) -> Any:
            async with session.get(url) as r:
                r.raise_for_status()
                return orjson.loads(await r.read())

        yield PlainHttp(get)


@asynccontextmanager
async def httpx_json(url: str, account_sid: str, concurrency: int) -> AsyncIterator[Client]:
    import httpx

    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    auth = (account_sid, SECRET)
    async with httpx.AsyncClient(base_url=url, auth=auth, limits=limits) as client:

        async def get(url: str) -> Any:
            r = await client.get(url)
            r.raise_for_status()
            return r.json()

        yield PlainHttp(get)


@asynccontextmanager
async def pyreqwest_json(url: str, account_sid: str, concurrency: int) -> AsyncIterator[Client]:
    from pyreqwest.client import ClientBuilder

    headers = {"Authorization": authorization(account_sid)}
    builder = ClientBuilder().base_url(url).default_headers(headers).error_for_status()
    async with builder.max_connections(concurrency).build() as client:

        async def get(url: str) -> Any:
            r = await client.get(url).build().send()
            return await r.json()

        yield PlainHttp(get)


@asynccontextmanager
async def aiosonic_orjson(url: str, account_sid: str, concurrency: int) -> AsyncIterator[Client]:
    import aiosonic
    import orjson
    from aiosonic.pools import PoolConfig

    headers = {"Authorization": authorization(account_sid)}
    connector = aiosonic.TCPConnector({":default": PoolConfig(size=concurrency)})
    async with aclosing(aiosonic.HTTPClient(connector)) as client:

        async def get(target: str) -> Any:
            r = await client.get(urljoin(url, target), headers=headers)
            r.raise_for_status()
            return orjson.loads(await r.content())

        yield PlainHttp(get)


CLIENTS: Final[dict[str, Callable[[str, str, int], AbstractAsyncContextManager[Client]]]] = {
    "ours": ours,
    "ours, derived": ours_derived,
    "floor": floor,
    "official": official,
    "aiohttp": aiohttp_json,
    "aiohttp, orjson": aiohttp_orjson,
    "pyreqwest": pyreqwest_json,
    "aiosonic, orjson": aiosonic_orjson,
    "httpx": httpx_json,
}
