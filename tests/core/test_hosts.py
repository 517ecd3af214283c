"""A request names the host that it goes to, and responses from "api" stay confidential."""

import asyncio
import json
import logging
from typing import Any
from urllib.parse import urlencode

import pytest
from support.accounts import PARENT, SECRET, assert_hidden
from support.raw_servers import raw_server
from support.wire_server import ONCE, http_response, sending, serving

from marketplace_async import (
    APIError,
    ConnectError,
    MarketplaceClient,
    Request,
    ResponseError,
    capture,
)
from marketplace_async.testing import account, emulated

ACCOUNT = f"/2010-04-01/Accounts/{PARENT}.json"


@pytest.mark.parametrize(
    ("host", "options", "name"),
    [
        ("marketplace", {}, "marketplace.twilio.com"),
        ("api", {}, "api.twilio.com"),
        ("marketplace", {"region": "au1", "edge": "sydney"}, "marketplace.sydney.au1.twilio.com"),
        ("api", {"region": "au1", "edge": "sydney"}, "api.sydney.au1.twilio.com"),
        ("api", {"edge": "dublin"}, "api.dublin.us1.twilio.com"),
    ],
)
async def test_a_request_goes_to_the_host_that_it_names(
    host: Any, options: dict[str, Any], name: str
) -> None:
    asked: list[str] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split(b"\r\n")[0].decode())
        writer.write(b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with raw_server(proxy) as url:
        async with MarketplaceClient(account(), proxy=url, retry=ONCE, **options) as client:
            with pytest.raises(ConnectError):
                await client.send(Request("GET", "/v1/X", host=host))
    assert asked == [f"CONNECT {name}:443 HTTP/1.1"]


async def test_a_base_url_replaces_both_hosts() -> None:
    async with emulated() as (client, emulator):
        with capture() as exchanges:
            core = await client.send(Request("GET", ACCOUNT, host="api"))
            await client.send(Request("GET", "/v1/InstalledAddOns"))
            derived = client.with_options(timeout=5).with_credentials(account(2))
            await derived.send(Request("GET", "/2010-04-01/Accounts.json", host="api"))
        assert json.loads(core.body)["sid"] == PARENT
        assert [entry.status for entry in emulator.log] == [200] * 3
    assert [each.request.host for each in exchanges] == ["api", "marketplace", "api"]


async def test_the_requests_of_each_operation_name_the_host_that_serves_it() -> None:
    async with emulated() as (client, emulator):
        emulator.add_subaccounts(PARENT, 3)
        with capture() as exchanges:
            await client.accounts.list(page_size=2).collect()
            await client.accounts.fetch(PARENT)
            await client.available_add_ons.list(page_size=5).collect()
            await client.installed_add_ons.list().first()
    for exchange in exchanges:
        assert exchange.response is not None
        domain = exchange.response.headers["X-Api-Domain"]
        assert domain == f"{exchange.request.host}.twilio.com"
    assert len({each.request.host for each in exchanges}) == 2


@pytest.mark.parametrize(
    "host", ["", "API", "api.twilio.com", "https://api", "oauth", None, 5, b"api"]
)
def test_no_other_host_can_be_named(host: Any) -> None:
    with pytest.raises(ValueError, match='host: expected "marketplace" or "api", got'):
        Request("GET", "/v1/X", host=host)


KEYS = b'{"sid": "SK1", "secret": "geheim-42", "keys": [{"auth_token": "geheim-42"}]}'
RESPONSES = {
    "success": http_response(KEYS),
    "an error that echoes a secret": http_response(
        b'{"code": 1, "message": "No", "details": {"auth_token": "geheim-42"}}', "400 Bad Request"
    ),
    "an error of another shape": http_response(KEYS, "500 Internal Server Error"),
    "a redirect to a signed URL": http_response(
        KEYS, "307 Temporary Redirect", Location="https://data.example/x?Signature=geheim-42"
    ),
    "a page": http_response(b"<title>geheim-42</title>", "502 Bad Gateway"),
    "an oversized body": http_response(KEYS * 100),
}


@pytest.mark.parametrize("response", RESPONSES)
async def test_the_body_of_a_response_from_api_is_shown_nowhere(
    response: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    request = Request("POST", "/2010-04-01/Accounts/X/Keys.json", repeat="always", host="api")
    async with serving(sending(RESPONSES[response]), max_response_size=1000) as client:
        with capture() as exchanges:
            if response == "success":
                received = await client.send(request)
                assert received.body == KEYS
                assert SECRET not in repr(received)
                assert exchanges[0].response == received.without_secrets()
            else:
                with pytest.raises((APIError, ResponseError)) as error:
                    await client.send(request)
                assert_hidden(SECRET, error.value)
    assert len(exchanges) == 1
    for exchange in exchanges:
        if exchange.response is not None:
            assert exchange.response.body == b""
    assert SECRET not in caplog.text
    assert SECRET not in repr(exchanges)


MESSAGES = {
    "AuthToken deadbeefcafe0123456789abcdef0000 is the primary token": (
        "AuthToken *** is the primary token"
    ),
    "the name geheim+1 is taken": "the name *** is taken",
    "geheim-2 in Configuration": "*** in Configuration",
    "geheim-3": "***",
    f"{PARENT} has no {'SK' + 'a' * 32}": f"{PARENT} has no {'SK' + 'a' * 32}",
    "Page 5": "Page 5",
}


@pytest.mark.parametrize("message", MESSAGES)
async def test_the_message_of_an_error_from_api_quotes_no_value_and_no_token(
    message: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    document = {"code": 20001, "message": message, "more_info": f"https://x/?{SECRET}"}
    response = http_response(json.dumps(document).encode(), "400 Bad Request")
    request = Request(
        "POST",
        "/2010-04-01/Accounts.json",
        {"Page": 5, "Q": "geheim-3"},
        urlencode({"FriendlyName": "geheim+1", "C": '{"a": ["geheim-2"]}', "Sid": PARENT}).encode(),
        "application/x-www-form-urlencoded; charset=utf-8",
        repeat="always",
        host="api",
    )
    async with serving(sending(response)) as client:
        with pytest.raises(APIError) as error:
            await client.send(request)
    assert (error.value.code, error.value.message) == (20001, MESSAGES[message])
    assert_hidden(SECRET, error.value, caplog.text)
    if message != MESSAGES[message]:
        assert message not in caplog.text


async def test_the_target_of_a_redirect_is_in_the_headers_of_its_error() -> None:
    request = Request("GET", "/2010-04-01/Accounts/X/Data.json", host="api")
    async with serving(sending(RESPONSES["a redirect to a signed URL"])) as client:
        with pytest.raises(APIError, match=r"to https://data\.example/x, which") as error:
            await client.send(request)
    assert error.value.response.headers["Location"].endswith("?Signature=geheim-42")
