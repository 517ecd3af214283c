"""Certificates and ports that TLS cannot use: attempted once, with a message that helps."""

import hashlib
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.certificates import XE, Authority, respond, tls_server
from support.raw_servers import raw_server, web_server

from marketplace_async import BillableItem, ConnectError, MarketplaceClient, Retry
from marketplace_async._core import session as session_module
from marketplace_async.testing import account

FAST = Retry(attempts=3, initial_backoff=0.001)
ITEM = BillableItem("BI" + "a" * 32, 1)


@pytest.fixture(autouse=True, params=["direct", "aiohttp"])
def exchange(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "_direct", request.param == "direct")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def failure(url: str, **options: Any) -> ConnectError:
    """Return the error of a usage report, which must not be retried."""
    async with MarketplaceClient(account(), base_url=url, retry=FAST, **options) as client:
        with pytest.raises(ConnectError) as raised:
            await client.installed_add_ons.usage(XE).create([ITEM])
        assert client.stats.sent == 1
    assert raised.value.permanent
    return raised.value


async def test_tls_is_verified_by_default(authority: Authority) -> None:
    async with tls_server(authority.server()) as url:
        for verification in (authority.client, False):
            async with MarketplaceClient(account(), base_url=url, ssl=verification) as client:
                assert (await client.installed_add_ons.fetch(XE)).sid == XE
        error = await failure(url)
    assert error.reason.startswith(
        f"the certificate of {url.removeprefix('https://')} cannot be verified: "
    )
    assert "CERTIFICATE_VERIFY_FAILED" in error.reason
    assert error.reason.endswith("; to trust its CA, set SSL_CERT_FILE or pass ssl=")


@pytest.mark.parametrize(
    ("name", "expired", "reason"),
    [
        ("other.example", False, "it is for another host: check base_url"),
        ("127.0.0.2", False, "it is for another host: check base_url"),
        ("127.0.0.1", True, "the server must renew it, or the clock of this machine is wrong"),
    ],
)
async def test_the_message_says_what_is_wrong_with_a_certificate(
    authority: Authority, name: str, expired: bool, reason: str
) -> None:
    async with tls_server(authority.server(name, expired=expired)) as url:
        error = await failure(url, ssl=authority.client)
        assert error.reason.endswith(f"; {reason}")
        if name == "other.example":
            error = await failure(url.replace("127.0.0.1", "localhost"), ssl=authority.client)
            assert error.reason.endswith(f"; {reason}")


async def test_a_certificate_with_another_fingerprint_is_not_trusted(authority: Authority) -> None:
    async with tls_server(authority.server()) as url:
        other = aiohttp.Fingerprint(hashlib.sha256(b"other").digest())
        error = await failure(url, ssl=other)
        assert error.reason.endswith("has another fingerprint than ssl= says")
        async with aiohttp.ClientSession() as session:
            error = await failure(url, ssl=other, session=session)
    assert error.reason.endswith("has another fingerprint than ssl= says")


async def test_a_port_that_does_not_speak_tls_is_tried_once() -> None:
    async with web_server(respond) as url:
        error = await failure(url.replace("http:", "https:"))
    where = url.removeprefix("http://")
    assert error.reason.startswith(f"no TLS connection to {where}: ")
    assert error.reason.endswith("; does this port speak TLS? check the scheme and port of the URL")


@pytest.mark.parametrize(
    ("code", "name", "attempts"),
    [
        (40, "HANDSHAKE_FAILURE", 1),
        (70, "PROTOCOL_VERSION", 1),
        (112, "UNRECOGNIZED_NAME", 1),
        (80, "INTERNAL_ERROR", 3),
    ],
)
async def test_only_an_internal_error_of_the_server_may_pass(
    code: int, name: str, attempts: int
) -> None:
    received = []

    async def alert(reader: Any, writer: Any) -> None:
        received.append(await reader.read(1))
        writer.write(bytes([21, 3, 3, 0, 2, 2, code]))
        await writer.drain()
        await reader.read(2**16)

    async with raw_server(alert) as url:
        https = url.replace("http:", "https:")
        async with MarketplaceClient(account(), base_url=https, retry=FAST) as client:
            with pytest.raises(ConnectError, match=name):
                await client.installed_add_ons.usage(XE).create([ITEM])
    assert len(received) == attempts


async def test_a_server_that_hangs_up_in_the_handshake_may_be_back_soon() -> None:
    attempts = []

    async def hang_up(reader: Any, writer: Any) -> None:
        attempts.append(await reader.read(1))

    async with raw_server(hang_up) as url:
        https = url.replace("http:", "https:")
        async with MarketplaceClient(account(), base_url=https, retry=FAST) as client:
            with pytest.raises(ConnectError, match=r"cannot connect to .*: .*[Rr]eset") as error:
                await client.installed_add_ons.usage(XE).create([ITEM])
    assert len(attempts) == 3
    assert not error.value.permanent


async def test_a_reply_that_is_not_tls_is_permanent() -> None:
    async with raw_server(_greeting) as url:
        error = await failure(url.replace("http:", "https:"))
    assert error.reason.startswith("no TLS connection to ")


async def _greeting(reader: Any, writer: Any) -> None:
    writer.write(b"220 mail.example ESMTP\r\n")
    await writer.drain()
    await reader.read(1)
