"""Invalid responses, and secrets in tracebacks."""

import asyncio
import pickle
import traceback
from typing import Any

import pytest
from support.raw_servers import free_port, raw_server, responding

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
            "the response was cut off",
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
            "302: redirected to http://127.0.0.1:1/, which is not followed",
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
    assert f"(installed_add_ons.fetch, GET /v1/InstalledAddOns/{XE}, AC" in str(raised.value)
    assert pickle.loads(pickle.dumps(raised.value)).request == raised.value.request  # type: ignore[attr-defined]


async def test_a_refused_connection_is_a_transport_error_with_its_cause() -> None:
    base_url = f"http://127.0.0.1:{free_port()}"
    async with MarketplaceClient(account(), base_url=base_url, retry=FAST) as client:
        with pytest.raises(TransportError, match="cannot connect to 127") as error:
            await client.installed_add_ons.fetch(XE)
    assert isinstance(error.value.__cause__, ConnectionRefusedError)
    assert error.value.__context__ is None


# -- secrets


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
