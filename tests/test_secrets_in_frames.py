"""No frame of a traceback holds a secret: proved with Sentry and rich, which record variables.

The frames of this file hold none either: secrets come from a file or the environment, as they do
in a program.
"""

import os
from base64 import b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.every_error import every_error
from support.raw_servers import free_port, raw_server, responding, web_server
from support.reporters import reports

from marketplace_async import (
    AccountToken,
    ApiKey,
    ClientCredentials,
    MarketplaceClient,
    MarketplaceError,
    Request,
    Response,
    Retry,
    Secret,
    accounts,
    capture,
    credentials,
    fleet,
)
from marketplace_async.emulator import Emulator

AC, SK, OQ, XE = (prefix + "0" * 32 for prefix in ("AC", "SK", "OQ", "XE"))
ONCE = Retry(attempts=1)
GET = Request("GET", "/v1/InstalledAddOns")
DESIRED = """
secret = ["k"]
[[add_ons]]
unique_name = "a"
accounts = "all"
available_add_on_sid = "XB06d5274893cc9af4198667d2f7d74d09"
accept_terms_of_service = true
configuration = %s
"""


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("TWILIO_", "MARKETPLACE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("THE_SECRET", "s3cr3t/TOKEN+valué")


def _read() -> str:
    return os.environ["THE_SECRET"]


def _forms() -> list[str]:
    plain = _read()
    headers = [b64encode(f"{user}:{plain}".encode()).decode() for user in (AC, SK, "u")]
    forms = [plain, *headers, f"Bearer {plain}"]
    return [*forms, plain.replace("é", "\\u00e9"), plain.replace("/", "\\/")]


def check(error: BaseException) -> None:
    for reporter, text in reports(error).items():
        for number, form in enumerate(_forms()):
            assert form not in text, f"{reporter} shows form {number} of the secret"


def in_environment(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


# -- constructors: each is called with a secret, and something that is wrong

KEY = {"TWILIO_API_KEY": SK, "TWILIO_ACCOUNT_SID": AC}
CONSTRUCTORS: dict[str, Callable[[], object]] = {
    "AccountToken, SID": lambda: AccountToken("AC1", _read()),
    "AccountToken, swapped": lambda: AccountToken(_read(), AC),
    "AccountToken, bytes": lambda: AccountToken(AC, _read().encode()),  # type: ignore[arg-type]
    "AccountToken, too many": lambda: AccountToken(AC, _read(), _read()),  # type: ignore[call-arg]
    "AccountToken, surrogate": lambda: AccountToken(AC, _read() + "\ud800"),
    "ApiKey, SID": lambda: ApiKey("SK1", _read()),
    "ApiKey, account": lambda: ApiKey(SK, _read(), "AC1"),
    "ClientCredentials, SID": lambda: ClientCredentials("OQ1", _read()),
    "ClientCredentials, account": lambda: ClientCredentials(OQ, _read(), "AC1"),
    "Secret, bytes": lambda: Secret(_read().encode()),  # type: ignore[arg-type]
    "Secret, surrogate": lambda: Secret(_read() + "\ud800"),
    "client, a tuple": lambda: MarketplaceClient((AC, _read())),  # type: ignore[arg-type]
    "client, keyword": lambda: MarketplaceClient(
        credentials=(AC, _read()),  # type: ignore[arg-type]
    ),
    "client, proxy scheme": lambda: _client(proxy=f"ftp://u:{_read()}@h"),
    "client, proxy and an option": lambda: _client(proxy=f"http://u:{_read()}@h", concurrency=0),
    "client, base_url": lambda: _client(base_url=f"http://u:{_read()}@127.0.0.1"),
    "client, with_credentials": lambda: _client().with_credentials(
        {"auth_token": _read()}  # type: ignore[arg-type]
    ),
    "from_env, options": lambda: MarketplaceClient.from_env(
        {"TWILIO_ACCOUNT_SID": AC, "TWILIO_AUTH_TOKEN": _read()}, concurrency=0
    ),
    "from_env, proxy": lambda: MarketplaceClient.from_env(
        {"TWILIO_ACCOUNT_SID": AC, "TWILIO_AUTH_TOKEN": "made-up"}, proxy=f"ftp://u:{_read()}@h"
    ),
    "from_env, SID": lambda: credentials.from_env(
        {"TWILIO_ACCOUNT_SID": "AC1", "TWILIO_AUTH_TOKEN": _read()}
    ),
    "from_env, swapped": lambda: credentials.from_env(
        {"TWILIO_ACCOUNT_SID": _read(), "TWILIO_AUTH_TOKEN": AC}
    ),
    "from_env, no key": lambda: credentials.from_env({"TWILIO_API_SECRET": _read()}),
    "from_env, region": lambda: credentials.from_env(
        {**KEY, "TWILIO_API_SECRET": _read(), "TWILIO_REGION": "a b"}
    ),
    "from_env, base URL": lambda: credentials.from_env(
        {**KEY, "TWILIO_API_SECRET": "x", "MARKETPLACE_BASE_URL": f"http://u:{_read()}@h"}
    ),
    "fleet, not TOML": lambda: fleet.parse(f'k = "{_read()}'),
    "fleet, literal": lambda: fleet.parse(
        (DESIRED % f'{{ k = "{_read()}" }}').replace("accept_terms", "reject_terms")
    ),
    "fleet, literal of a wrong type": lambda: fleet.parse(DESIRED % f'"{_read()}"'),
    "fleet, missing variable": lambda: fleet.parse(
        DESIRED % '{ k = { env = "THE_SECRET" }, z = { k = { env = "MISSING" } } }'
    ),
    "fleet, given environment": lambda: fleet.parse(
        DESIRED % '{ z = { k = { env = "MISSING" } } }', {"OTHER": _read()}
    ),
    "fleet, defined twice": lambda: _twice().wanted(AC, "any"),
}


def _client(**options: Any) -> MarketplaceClient:
    try:
        return MarketplaceClient(AccountToken(AC, _read()), **options)
    finally:
        options.clear()  # a frame of the test


def _twice() -> fleet.Desired:
    text = DESIRED % f'{{ k = "{_read()}" }}'
    one = text.replace('"all"', f'{{ sids = ["{AC}"] }}')
    try:
        return fleet.parse(one + text.replace('secret = ["k"]\n', ""))
    finally:
        del text, one


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_a_constructor_that_raises_shows_no_secret(name: str) -> None:
    with pytest.raises((ValueError, TypeError, MarketplaceError)) as raised:
        CONSTRUCTORS[name]()
    check(raised.value)


@pytest.mark.parametrize("variable", ["TWILIO_ACCOUNT_SID", "TWILIO_REGION", "TWILIO_EDGE"])
def test_the_environment_of_the_process_is_not_shown(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_environment(monkeypatch, **KEY, TWILIO_API_SECRET=_read())
    monkeypatch.setenv(variable, "not valid")
    with pytest.raises(MarketplaceError) as raised:
        MarketplaceClient.from_env()
    check(raised.value)


# -- every error of a request, from a service that echoes what it was sent


async def echo(request: web.Request) -> web.Response:
    """Respond with the status in the path, and everything that the request contains."""
    status = int(request.query.get("status", "400"))
    echoed = {
        "code": 20001,
        "message": f"rejected: {dict(request.headers)} {_read()}",
        "more_info": f"https://example.com/?token={_read()}",
        "details": {_read(): [dict(request.headers), await request.text(), _read()]},
    }
    headers = {"X-Echo": request.headers.get("Authorization", ""), "Location": f"/?t={_read()}"}
    return web.json_response(echoed, status=status, headers=headers)


async def _of_request(client: MarketplaceClient, status: int, method: str = "GET") -> None:
    await client.send(Request(method, "/v1/InstalledAddOns", {"status": status}))


STATUSES = (302, 400, 401, 403, 404, 409, 418, 429, 500, 503)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("kind", ["AccountToken", "ApiKey"])
async def test_a_secret_that_the_service_echoes_is_masked(kind: str, status: int) -> None:
    async with web_server(echo) as url:
        async with _client_of(kind, url) as client:
            with capture() as exchanges, pytest.raises(MarketplaceError) as raised:
                await _of_request(client, status)
    check(raised.value)
    assert "***" in str(raised.value)
    response = exchanges[0].response
    assert response is not None
    captured = [repr(exchanges), response.body.decode(), *response.headers.values()]
    assert not any(form in text for form in _forms() for text in captured)


def _client_of(kind: str, url: str) -> MarketplaceClient:
    one = AccountToken(AC, _read()) if kind == "AccountToken" else ApiKey(SK, _read())
    return MarketplaceClient(one, base_url=url, retry=ONCE)


async def test_a_secret_in_a_response_of_another_shape_is_masked() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"meta": request.headers["Authorization"], "sid": _read()})

    async with web_server(handler) as url, _client_of("AccountToken", url) as client:
        with pytest.raises(MarketplaceError) as raised:
            await client.installed_add_ons.list().collect()
        check(raised.value)
        with pytest.raises(MarketplaceError) as raised:
            await client.installed_add_ons.fetch(XE)
        check(raised.value)


async def test_a_secret_in_a_malformed_response_is_masked() -> None:
    status_line = b"HTTP/1.1 " + _read().encode() + b"\r\n\r\n"
    async with raw_server(responding(status_line)) as url:
        del status_line
        async with _client_of("AccountToken", url) as client:
            with pytest.raises(MarketplaceError) as raised:
                await client.installed_add_ons.fetch(XE)
    check(raised.value)


@pytest.mark.parametrize("status", [200, 400, 401, 500])
async def test_a_token_endpoint_that_echoes_the_client_secret(status: int) -> None:
    async def handler(request: web.Request) -> web.Response:
        form = dict(await request.post())
        echoed = {"error": "invalid_client", "error_description": f"not {form}", "params": form}
        return web.json_response(echoed, status=status)

    async with (
        web_server(handler) as url,
        MarketplaceClient(ClientCredentials(OQ, _read()), base_url=url, retry=ONCE) as client,
    ):
        with pytest.raises(MarketplaceError) as raised:
            await client.installed_add_ons.fetch(XE)
    check(raised.value)


async def test_a_service_that_echoes_an_access_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_SECRET", "t0k3n/OF+access=")

    async def handler(request: web.Request) -> web.Response:
        if request.path == "/v2/token":
            return web.json_response({"access_token": _read()})
        return await echo(request)

    async with (
        web_server(handler) as url,
        MarketplaceClient(ClientCredentials(OQ, "made-up"), base_url=url, retry=ONCE) as client,
    ):
        with pytest.raises(MarketplaceError) as raised:
            await _of_request(client, 403)
    check(raised.value)


@pytest.mark.parametrize("number", range(len(every_error(GET, Response(200, {}, b""), "why"))))
def test_an_error_of_any_class_about_a_response_with_a_secret(number: int) -> None:
    def response() -> Response:
        basic = AccountToken(AC, _read()).authorization
        body = f'{{"details": "{_read()}", "message": "{basic.reveal()}"}}'.encode()
        return Response(200, {"X-Echo": _read()}, body, authorization=basic)

    with pytest.raises(MarketplaceError) as raised:
        raise every_error(GET, response(), "why")[number]
    check(raised.value)


async def test_a_listing_of_accounts_that_cannot_be_read_shows_no_token() -> None:
    async def handler(request: web.Request) -> web.Response:
        account = {"sid": "not a SID", "auth_token": _read()}
        return web.json_response({"accounts": [account], "next_page_uri": None, **account})

    async with web_server(handler) as url, _client_of("AccountToken", url) as client:
        for call in (client.accounts.list().collect(), client.accounts.fetch(AC)):
            with capture() as exchanges, pytest.raises(MarketplaceError) as raised:
                await call
            check(raised.value)
            assert all(each.response is None or not each.response.body for each in exchanges)


# -- every other way in which a request fails


async def _fault(kind: str, **fault: Any) -> None:
    async with Emulator() as emulator, _client_of(kind, emulator.url) as client:
        emulator.faults.add("*", "*", **fault)
        await client.with_options(timeout=0.3).installed_add_ons.fetch(XE)


async def _proxy() -> None:
    async with _client(
        proxy=f"http://u:{_read()}@127.0.0.1:{free_port()}", allow_http=True, retry=ONCE
    ) as client:
        await client.installed_add_ons.fetch(XE)


async def _rejecting_proxy() -> None:
    async def reject(request: web.Request) -> web.Response:
        return web.Response(status=407, text=f"{dict(request.headers)}")

    async with (
        web_server(reject) as url,
        _client(proxy=url.replace("//", f"//u:{_read()}@"), allow_http=True, retry=ONCE) as client,
    ):
        await client.installed_add_ons.fetch(XE)


async def _no_connection() -> None:
    async with _client_of("ApiKey", f"http://127.0.0.1:{free_port()}") as client:
        await client.installed_add_ons.fetch(XE)


async def _vault(find: Callable[[str], Any]) -> None:
    await accounts.from_vault([AC], find).fetch(AC)


async def _accounts_file(rows: Callable[[], str]) -> None:
    path = Path(os.environ["PYTEST_FILES"]) / "accounts.csv"
    path.touch(mode=0o600)
    path.write_text(rows(), "utf-8")
    await accounts.from_file(path).fetch(AC)


FAILURES: dict[str, Callable[[], Awaitable[object]]] = {
    "not found": lambda: _fault("ApiKey", status=404),
    "dropped": lambda: _fault("ApiKey", drop=True),
    "garbled": lambda: _fault("ApiKey", body="garbled"),
    "timeout": lambda: _fault("AccountToken", delay=2),
    "no connection": _no_connection,
    "no proxy": _proxy,
    "a proxy that rejects": _rejecting_proxy,
    "vault, other account": lambda: _vault(lambda _: AccountToken("AC" + "1" * 32, _read())),
    "vault, a dict": lambda: _vault(lambda _: {"auth_token": _read()}),
    "vault, nothing": lambda: _vault(lambda _: None),
    "file, SID": lambda: _accounts_file(lambda: f"account_sid,auth_token\nAC1,{_read()}\n"),
    "file, cells": lambda: _accounts_file(lambda: f"account_sid,auth_token\n{AC},{_read()},x\n"),
    "file, no header": lambda: _accounts_file(lambda: f"{AC},{_read()}\n"),
    "file, status": lambda: _accounts_file(
        lambda: f"account_sid,auth_token,status\n{AC},{_read()},foo\n"
    ),
    "file, shifted": lambda: _accounts_file(
        lambda: f"account_sid,auth_token,status\n{AC},x,{_read()}\n"
    ),
    "file, quote": lambda: _accounts_file(lambda: f'account_sid,auth_token\n{AC},"{_read()}\n'),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_a_failure_shows_no_secret(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_FILES", str(tmp_path))
    with pytest.raises((ValueError, TypeError, MarketplaceError)) as raised:
        await FAILURES[name]()
    check(raised.value)
