"""Cassettes of vcrpy hold no credentials, and replay what was recorded."""

import asyncio
import gzip
import json
from base64 import b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote, quote_plus

import aiohttp
import attrs
import pytest
from aiohttp import web
from support.raw_servers import web_server

from marketplace_async import (
    Account,
    AccountToken,
    ApiKey,
    BillableItem,
    ClientCredentials,
    ConflictError,
    MarketplaceClient,
    NotFoundError,
    Request,
    Retry,
    bulk,
)
from marketplace_async.emulator import AddOn, Catalogue, Emulator
from marketplace_async.testing import scrubbed
from marketplace_async.testing.cassettes import _Scrubber

vcr: Any = pytest.importorskip("vcr")

NUMBER = "00000000000000000000000000000001"
PARENT, KEY, APP = f"AC{NUMBER}", f"SK{NUMBER}", f"OQ{NUMBER}"
SECRETS = {
    PARENT: "parent+token/geheim 1",
    KEY: "key-secret-geheim-2",
    APP: "app-secret-geheim-3",
}
IN_CONFIGURATION = 'configured-geheim-4"&ä'
GATEWAY = "gateway-geheim-5"
SPEECH_TO_TEXT = "XB85b56ed9ce713e0ac62342b901233193"
SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"

Program = Callable[[MarketplaceClient], Awaitable[list[Any]]]


def cassette(file: Path, **options: Any) -> Any:
    arguments = scrubbed(secrets=[IN_CONFIGURATION])
    return vcr.VCR(**arguments, **options).use_cassette(str(file))


def client_of(url: str, credentials: Any = None, **options: Any) -> MarketplaceClient:
    if credentials is None:
        credentials = AccountToken(PARENT, SECRETS[PARENT])
    options.setdefault("headers", {"X-Gateway-Key": GATEWAY})
    return MarketplaceClient(
        credentials, base_url=url, retry=Retry(initial_backoff=0.01), **options
    )


async def every_kind_of_call(client: MarketplaceClient) -> list[Any]:
    """Return what the client returns, for reads, writes, retries and errors."""
    found: list[Any] = []
    installed = await client.installed_add_ons.create(
        available_add_on_sid=SPEECH_TO_TEXT,
        accept_terms_of_service=True,
        configuration={"callback_url": "https://x.example", "token": IN_CONFIGURATION},
        unique_name="speech",
    )
    found.append(attrs.evolve(installed, configuration=None))
    found.append(await client.available_add_ons.list(page_size=7).collect())
    found.append(await client.installed_add_ons.extensions(installed.sid).list().collect())
    items = [BillableItem("BI" + "1" * 32, 2)]
    found.append(await client.installed_add_ons.usage(installed.sid).create(items))
    for call in (
        client.installed_add_ons.fetch("XE" + "9" * 32),
        client.installed_add_ons.create(
            available_add_on_sid=SPEECH_TO_TEXT, accept_terms_of_service=True, unique_name="speech"
        ),
    ):
        with pytest.raises((NotFoundError, ConflictError)) as error:
            await call
        found.append((error.value.status, error.value.code, error.value.message))
    await client.installed_add_ons.delete(installed.sid)
    response = await client.send(Request("GET", f"/2010-04-01/Accounts/{PARENT}.json", host="api"))
    headers = {name for name in response.headers if name != "Content-Length"}
    found.append((response.status, response.request_id, headers))
    return found


async def every_subaccount(client: MarketplaceClient) -> list[Any]:
    """Return the accounts, and what is installed on each, requested at the same time."""
    accounts = await client.accounts.list(page_size=3).collect()

    async def installed(account: Account) -> list[Any]:
        derived = client.with_account(account)
        await asyncio.sleep(Random().random() / 20)  # in another order each time
        return await derived.installed_add_ons.list().collect()

    outcomes = await bulk.gather(installed, accounts, limit=20)
    assert outcomes
    return [[attrs.evolve(each, credentials=None) for each in accounts], outcomes]


def in_every_form(secret: str) -> list[str]:
    headers = [b64encode(f"{user}:{secret}".encode()).decode() for user in SECRETS]
    escaped = json.dumps(secret)[1:-1]
    return [secret, escaped, quote(secret), quote(secret, safe=""), quote_plus(secret), *headers]


def assert_no_secret(file: Path, *more: str) -> None:
    text = file.read_text()
    for secret in (*SECRETS.values(), IN_CONFIGURATION, GATEWAY, *more):
        for form in in_every_form(secret):
            assert form not in text
            # YAML quotes and folds long text.
            assert form not in "".join(text.split()).replace("\\", "")


CREDENTIALS = {
    "auth token": AccountToken(PARENT, SECRETS[PARENT]),
    "API key": ApiKey(KEY, SECRETS[KEY], PARENT),
    "OAuth app": ClientCredentials(APP, SECRETS[APP], PARENT),
}
OTHERS = {
    "auth token": AccountToken(PARENT, "another"),
    "API key": ApiKey(KEY, "another", PARENT),
    "OAuth app": ClientCredentials(APP, "another", PARENT),
}


@pytest.mark.parametrize("kind", CREDENTIALS)
@pytest.mark.parametrize("serializer", ["yaml", "json"])
@pytest.mark.parametrize("borrowed", [False, True])
async def test_every_kind_of_call_is_recorded_without_secrets_and_replayed(
    kind: str, serializer: str, borrowed: bool, tmp_path: Path
) -> None:
    file = tmp_path / f"cassette.{serializer}"

    async def run(url: str, credentials: Any) -> list[Any]:
        with cassette(file, serializer=serializer):
            if not borrowed:
                async with client_of(url, credentials) as client:
                    return await every_kind_of_call(client)
            async with aiohttp.ClientSession(headers={"X-Own": GATEWAY}) as session:
                async with client_of(url, credentials, session=session) as client:
                    return await every_kind_of_call(client)

    # Only the real secrets are accepted: the credentials reach the service.
    async with Emulator(accounts=SECRETS) as emulator:
        emulator.faults.add("GET", "/v1/AvailableAddOns", status=429, times=2)
        recorded = await run(emulator.url, CREDENTIALS[kind])
        statuses = [entry.status for entry in emulator.log]
        sent = len(emulator.log)
        assert await run(emulator.url, OTHERS[kind]) == recorded
        assert len(emulator.log) == sent  # a replay sends nothing
        url = emulator.url
    assert statuses.count(429) == 2
    assert await run(url, CREDENTIALS[kind]) == recorded
    assert_no_secret(file)
    assert PARENT in file.read_text()


async def test_subaccounts_that_are_read_at_the_same_time_are_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "cassette.yaml"
    async with Emulator(accounts=SECRETS) as emulator:
        added = emulator.add_subaccounts(PARENT, 10)
        for number, (sid, _) in enumerate(added):
            emulator.install(sid, SPAM_SCORE, times=number)
        url = emulator.url
        with cassette(file):
            async with client_of(url) as client:
                recorded = await every_subaccount(client)
    assert [len(each) for each in recorded[1]] == [0, *range(10)]
    assert_no_secret(file, *(token for _, token in added))
    for _ in range(3):
        with cassette(file):
            async with client_of(url) as client:
                assert await every_subaccount(client) == recorded


async def test_on_replay_the_mask_stands_for_a_secret_of_a_configuration(tmp_path: Path) -> None:
    file = tmp_path / "cassette.yaml"

    async def run(url: str, secret: str) -> str:
        with cassette(file):
            async with client_of(url) as client:
                ensured = await client.installed_add_ons.ensure(
                    available_add_on_sid=SPEECH_TO_TEXT,
                    accept_terms_of_service=True,
                    configuration={"callback_url": "https://x.example", "token": secret},
                    unique_name="speech",
                )
        assert (ensured.record.configuration or {})["token"] == secret
        return ensured.action

    async with Emulator(accounts=SECRETS) as emulator:
        url = emulator.url
        assert await run(url, IN_CONFIGURATION) == "installed"
    assert await run(url, "***") == "installed"
    assert_no_secret(file)


async def test_a_request_that_was_not_recorded_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "cassette.yaml"
    async with Emulator() as emulator:
        url = emulator.url
        with cassette(file):
            async with client_of(url) as client:
                await client.available_add_ons.fetch(SPAM_SCORE)
    with cassette(file):
        async with client_of(url) as client:
            with pytest.raises(vcr.errors.CannotOverwriteExistingCassetteException):
                await client.installed_add_ons.list().collect()


async def test_outside_a_cassette_nothing_has_changed(tmp_path: Path) -> None:
    file = tmp_path / "cassette.yaml"
    async with Emulator() as emulator:
        async with client_of(emulator.url) as client:
            # The arguments can be given to a single cassette as well.
            with vcr.VCR().use_cassette(str(file), **scrubbed()):
                await client.available_add_ons.fetch(SPAM_SCORE)
            await client.available_add_ons.fetch(SPAM_SCORE)
        assert len(emulator.log) == 2
    assert file.read_text().count("method: GET") == 1


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", None])
async def test_compressed_bodies_unknown_headers_and_signed_urls_are_scrubbed(
    encoding: str | None, tmp_path: Path
) -> None:
    token = "f" * 32
    document = {"sid": PARENT, "auth_token": token, "friendly_name": f"has {token} twice"}

    async def handle(request: web.BaseRequest) -> web.Response:
        assert request.headers["Authorization"].startswith("Basic ")
        assert request.headers["X-Gateway-Key"] == GATEWAY
        if request.path.endswith("Data.json"):
            location = "https://data.example/x?a=b&X-Amz-Signature=geheim-6&Expires=5"
            return web.Response(status=307, headers={"Location": location})
        body = json.dumps(document).encode()
        headers = {"Set-Cookie": "session=geheim-7", "X-Debug": "geheim-8"}
        if encoding is not None:
            headers["Content-Encoding"] = encoding
            body = gzip.compress(body)
        return web.Response(body=body, headers=headers, content_type="application/json")

    file = tmp_path / "cassette.yaml"

    async def run(url: str) -> Any:
        with cassette(file):
            async with client_of(url) as client:
                account = await client.accounts.fetch(PARENT)
                with pytest.raises(Exception, match=r"redirected to https://data\.example/x, "):
                    await client.send(Request("GET", "/2010-04-01/Data.json", host="api"))
                return account

    async with web_server(handle) as url:
        recorded = await run(url)
        assert recorded.credentials == AccountToken(PARENT, token)
    replayed = await run(url)
    assert replayed.friendly_name == "has *** twice"
    assert replayed.credentials == AccountToken(PARENT, "***")
    assert_no_secret(file, token, "geheim-6", "geheim-7", "geheim-8")


BODIES = {
    b'{"auth_token": "abc", "n": 12.3550}': b'{"auth_token": "***", "n": 12.3550}',
    b'{"authToken":"a\\"b","x":"auth_token"}': b'{"authToken":"***","x":"auth_token"}',
    b'{"secret" : "cut off': b'{"secret" : "***"',
    b'{"secret": "cut off\\': b'{"secret": "***"',
    b'{"secret": null, "secrets": "x"}': b'{"secret": null, "secrets": "x"}',
    b"<AuthToken>abc</AuthToken>": b"<AuthToken>***</AuthToken>",
    b"": b"",
    b"\xff\x00": b"\xff\x00",
    # Short values of such fields occur elsewhere by chance.
    b'{"password": "true", "enabled": true}': b'{"password": "***", "enabled": true}',
    # The query of a signed URL is a credential.
    b'{"url": "https://x/?a=b&X-Amz-Signature=a/b\\/c"}': b'{"url": "https://x/?a=b&X-Amz-Signature=***"}',
    b"https://x/?Signature=abc&X-Amz-Credential=d": b"https://x/?Signature=***&X-Amz-Credential=***",
    b"x?a=b\\u0026X-Amz-Security-Token=c\\u0026d": b"x?a=b\\u0026X-Amz-Security-Token=***\\u0026d",
    b'{"next_page_url": "https://x/?PageToken=PA1"}': b'{"next_page_url": "https://x/?PageToken=PA1"}',
}


@pytest.mark.parametrize("body", BODIES, ids=repr)
def test_the_fields_of_a_body_that_hold_credentials_are_masked(body: bytes) -> None:
    response: dict[str, Any] = {"headers": {"Content-Length": [str(len(body))]}}
    for string in (body, body.decode("latin-1")) if body.isascii() else (body,):
        response["body"] = {"string": string}
        for _ in range(2):  # vcrpy scrubs again what it loads
            response = _Scrubber().response(response)
            assert response["body"]["string"] == BODIES[body]
    length = response["headers"]["Content-Length"]
    assert length == [str(len(BODIES[body]))]


async def test_the_fields_of_a_configuration_that_hold_credentials_are_masked(
    tmp_path: Path,
) -> None:
    file = tmp_path / "cassette.yaml"
    token, password = "0123456789abcdef" * 2, "geheim-pass"
    mine = AddOn(
        unique_name="m", friendly_name=f"has {token}", configuration_schema={"type": "object"}
    )
    async with Emulator(catalogue=Catalogue([mine])) as emulator:
        with cassette(file):
            async with client_of(emulator.url) as client:
                installed = await client.installed_add_ons.create(
                    available_add_on_sid=mine.sid,
                    accept_terms_of_service=True,
                    configuration={"auth_token": token, "nested": {"password": password}},
                )
                assert installed.configuration == {
                    "auth_token": token,
                    "nested": {"password": password},
                }
                # It was learned from the request.
                await client.available_add_ons.fetch(mine.sid)
    assert_no_secret(file, token, password)
    assert "has ***" in file.read_text()


def test_a_credential_in_a_form_is_masked_in_later_messages() -> None:
    scrubber, secret = _Scrubber(), "geheim" * 4
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    for body in (f"Password={secret}&A=b", f"Note={secret}"):
        request = vcr.request.Request("POST", "https://x/", body, headers)
        assert secret.encode() not in scrubber.request(request).body


@pytest.mark.parametrize(
    ("secrets", "message"),
    [
        ("geheim", "expected several"),
        (["abc"], "at least 4"),
        ([5], "expected text"),
        ([" "], "blank"),
    ],
)
def test_an_unusable_secret_is_refused_and_not_shown(secrets: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message) as error:
        scrubbed(secrets=secrets)
    assert "geheim" not in str(error.value)
    assert "abc" not in str(error.value)


def test_the_arguments_show_no_secret() -> None:
    assert "geheim" not in repr(scrubbed(secrets=["geheim-9"]))
