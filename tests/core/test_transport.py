"""Invalid responses, proxies, TLS, and secrets in tracebacks."""

import asyncio
import pickle
import ssl
import subprocess
import traceback
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from support.raw_servers import free_port, raw_server, responding, web_server

from marketplace_async import (
    AccountToken,
    APIError,
    MarketplaceClient,
    MarketplaceError,
    ResponseError,
    Retry,
    TransportError,
)
from marketplace_async.emulator import Emulator
from marketplace_async.testing import account

XE = "XE" + "a" * 32
SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
FAST = Retry(attempts=3, initial_backoff=0.001)


async def create(client: MarketplaceClient) -> Any:
    return await client.installed_add_ons.create(
        available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True
    )


# -- invalid responses


@pytest.mark.parametrize(
    ("response", "error", "message"),
    [
        (b"", TransportError, "the server closed the connection before it responded"),
        (b"nonsense\r\n\r\n", TransportError, "Bad"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{",
            TransportError,
            "the response was cut off 9 bytes before its end",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
            ResponseError,
            "200: the body is not",
        ),
        (b"HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n", ResponseError, "204: the body is not"),
        (
            b"HTTP/1.1 304 No\r\nContent-Length: 0\r\n\r\n",
            APIError,
            "304: empty body",
        ),
        (
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
            APIError,
            "302: empty body",
        ),
    ],
)
async def test_an_invalid_response_is_a_typed_error_that_names_the_request(
    response: bytes, error: type[Exception], message: str
) -> None:
    async with raw_server(responding(response)) as url:
        async with MarketplaceClient(account(), base_url=url, retry=FAST) as client:
            with pytest.raises(error, match=message) as raised:
                await client.installed_add_ons.fetch(XE)
    assert f"(GET /v1/InstalledAddOns/{XE})" in str(raised.value)
    assert pickle.loads(pickle.dumps(raised.value)).request == raised.value.request  # type: ignore[attr-defined]


async def test_a_refused_connection_is_a_transport_error_with_its_cause() -> None:
    base_url = f"http://127.0.0.1:{free_port()}"
    async with MarketplaceClient(account(), base_url=base_url, retry=FAST) as client:
        with pytest.raises(TransportError, match="cannot connect to 127") as error:
            await client.installed_add_ons.fetch(XE)
    assert isinstance(error.value.__cause__, ConnectionRefusedError)
    assert error.value.__context__ is None


# -- proxies and TLS


async def test_requests_go_through_the_proxy(
    marketplace_emulator: Emulator,
) -> None:
    requested: list[str] = []

    async def proxy(request: web.Request) -> web.Response:
        requested.append(str(request.url))
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, request.url, headers=request.headers) as response,
        ):
            return web.Response(body=await response.read(), status=response.status)

    async with (
        web_server(proxy) as url,
        MarketplaceClient(account(), base_url=marketplace_emulator.url, proxy=url) as client,
    ):
        assert await client.available_add_ons.list(limit=1).collect()
    assert requested == [f"{marketplace_emulator.url}/v1/AvailableAddOns?PageSize=1"]


async def test_the_password_of_a_proxy_is_in_no_error() -> None:
    with pytest.raises(ValueError, match="proxy: expected a URL") as refused:
        MarketplaceClient(account(), proxy="user:geheim@127.0.0.1")
    assert "geheim" not in str(refused.value)

    async def reject(request: web.Request) -> web.Response:
        return web.Response(status=407)

    async with web_server(reject) as url:
        proxy = url.replace("//", "//user:geheim@")
        async with MarketplaceClient(account(), proxy=proxy, retry=FAST) as client:
            with pytest.raises(
                TransportError, match="the proxy refused to connect: 407"
            ) as rejected:
                await client.installed_add_ons.fetch(XE)
    assert "geheim" not in repr(rejected.value) + str(rejected.value)
    assert b"geheim" not in pickle.dumps(rejected.value)
    proxy = f"http://user:geheim@127.0.0.1:{free_port()}"
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
    """A self-signed certificate for 127.0.0.1, with its key."""
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
        pytest.skip("the openssl program is not installed")
    file.write_bytes(run.stdout)
    return file


async def test_tls_is_verified_by_default(certificate: Path) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate)

    async def respond(request: web.Request) -> web.Response:
        return web.json_response({"sid": XE, "account_sid": "AC"})

    trusting = ssl.create_default_context(cafile=certificate)
    async with web_server(respond, server) as url:
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
async def test_no_traceback_contains_a_secret_even_with_its_variables(fault: Any) -> None:
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
