"""The emulator sends signed webhooks to a real server, and has what belongs to Add-ons there."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import attrs
import pytest
from aiohttp import web
from support.raw_servers import free_port, web_server
from twilio.request_validator import (  # type: ignore[import-untyped]  # it has no types
    RequestValidator,
)

from marketplace_async import (
    AccountToken,
    APIError,
    MarketplaceClient,
    NotFoundError,
    Request,
    WebhookError,
    webhooks,
)
from marketplace_async.emulator import Emulator
from marketplace_async.testing import account, emulated

AC = account().account_sid
SPEECH_TO_TEXT = "XB85b56ed9ce713e0ac62342b901233193"
SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
NUMBER, RECORDING = "PN" + "1" * 32, "RE" + "1" * 32


@attrs.frozen
class Received:
    """One request, as the service received it."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, list[str]]:
        return parse_qs(self.body.decode(), keep_blank_values=True)

    def verify(self, **options: Any) -> None:
        options.setdefault("auth_token", "made-up")
        webhooks.verify(
            url=self.url,
            body=self.body,
            signature=self.headers.get("X-Twilio-Signature"),
            settings=self.headers.get("X-Twilio-Webhooks-Signature-Settings"),
            **options,
        )


@asynccontextmanager
async def service() -> AsyncIterator[tuple[str, list[Received]]]:
    """Run a service that keeps what it receives. Yields its URL."""
    received: list[Received] = []

    async def handle(request: web.BaseRequest) -> web.Response:
        url = f"http://{request.host}{request.path_qs}"
        body = await request.read()
        received.append(Received(request.method, url, dict(request.headers), body))
        return web.Response(status=201, text="<Response/>", headers={"X-A": "b"})

    async with web_server(handle) as url:
        yield url, received


FORMS: list[dict[str, Any]] = [
    {},
    {"add_ons": {"spam": {"result": {"score": 1}}}},
    {"fields": {"Body": " ä & b = c\r\n", "Empty": "", "Twice": ["b", "a", "b"]}},
    {"method": "GET", "fields": {"Body": "ä &"}},
    {"json": {"ä": [1, None]}},
]
KEYS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"auth_token": "made-up"}, {}),
    (
        {"shared_key": ["webhooks_sharedkey_1", "geheim"]},
        {"shared_keys": {"webhooks_sharedkey_1": "geheim"}, "auth_token": ()},
    ),
]


@pytest.mark.parametrize("content", FORMS, ids=str)
@pytest.mark.parametrize(("signing", "verifying"), KEYS, ids=["auth token", "shared key"])
@pytest.mark.parametrize("public_url", [None, "https://example.com/api"])
async def test_the_client_and_the_official_helper_verify_what_the_emulator_sends(
    marketplace_emulator: Emulator,
    content: dict[str, Any],
    signing: dict[str, Any],
    verifying: dict[str, Any],
    public_url: str | None,
) -> None:
    async with service() as (url, received):
        options = {**content, **signing, "public_url": public_url}
        response = await marketplace_emulator.webhook(f"{url}/hooks?a=b", AC, **options)
        assert (response.status, response.headers["x-a"]) == (201, "b")
        assert response.body == b"<Response/>"
    (request,) = received
    request.verify(**verifying, public_url=public_url)
    with pytest.raises(WebhookError):
        attrs.evolve(request, body=request.body + b"&x=y").verify(
            **verifying, public_url=public_url
        )
    if public_url is None:
        algorithm = "HMAC_SHA256" if "shared_key" in signing else None
        key = signing.get("shared_key", [None, "made-up"])[1]
        params = request.body.decode()
        form = {name: each[0] for name, each in request.form.items()}
        if "Twice" not in form:  # the helper takes no dict of lists
            assert RequestValidator(key).validate(
                request.url,
                params if "json" in content else form,
                request.headers["X-Twilio-Signature"],
                algorithm,
            )


async def test_the_auth_token_of_the_account_signs_by_default() -> None:
    async with service() as (url, received), emulated() as (client, emulator):
        ((sid, token),) = emulator.add_subaccounts(AC)
        await emulator.webhook(url, sid)
        await emulator.webhook(url, AC)
        credentials = (await client.accounts.fetch(AC)).credentials
        assert isinstance(credentials, AccountToken)
    received[0].verify(auth_token=token)
    received[1].verify(auth_token=credentials.auth_token)
    assert received[1].form == {"AccountSid": [AC]}
    secrets = {AC: "its secret"}
    async with service() as (url, received), Emulator(accounts=secrets) as emulator:
        await emulator.webhook(url, AC)
    received[0].verify(auth_token=secrets[AC])


async def test_add_ons_have_the_form_that_twilio_documents(
    marketplace_emulator: Emulator,
) -> None:
    failed = {"status": "failed", "code": 61003, "message": "Add-on failed"}
    async with service() as (url, received):
        await marketplace_emulator.webhook(
            url, AC, add_ons={"spam": {"result": {"score": 1}}, "speech": failed}
        )
    (text,) = received[0].form["AddOns"]
    results = webhooks.parse_add_ons(text)
    assert (results.status, results.ok) == ("successful", False)
    assert (results["spam"].ok, results["spam"].result) == (True, {"score": 1})
    assert (results["spam"].request_sid or "").startswith("XR")
    assert (results["speech"].ok, results["speech"].code) == (False, 61003)
    assert not results.unreadable


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"url": "example.com"}, "url: must be an http or https URL"),
        ({"url": "http://h/ä"}, "url: must be an http or https URL"),
        ({"url": "http://h/a b"}, "url: must be an http or https URL"),
        ({"url": "http://h:x"}, "url: must be an http or https URL"),
        ({"url": 5}, "url: must be an http or https URL"),
        ({"account_sid": "AC1"}, "account_sid: must be AC and 32 hex digits"),
        ({"account_sid": None}, "account_sid: must be AC and 32 hex digits"),
        ({"method": "PUT"}, "method: must be one of"),
        ({"method": "GET", "add_ons": {}}, "add_ons: Twilio sends results with POST only"),
        ({"method": "GET", "json": 1}, "json: cannot be combined"),
        ({"json": 1, "fields": {"a": "b"}}, "json: cannot be combined"),
        ({"add_ons": [1]}, "add_ons: must be an object"),
        ({"add_ons": {"a": 1}}, "add_ons: a: must be an object"),
        ({"fields": [1]}, "fields: must be an object"),
        ({"fields": {"a": 1}}, "fields: a: must be text"),
        ({"fields": {"a": [1]}}, "fields: a: must be text"),
        ({"auth_token": ""}, "auth_token: must be text"),
        ({"shared_key": ["a", ""]}, "shared_key: must be a key and its secret"),
        ({"shared_key": ["a,b", "c"]}, "shared_key: must be a key and its secret"),
        ({"shared_key": "ab"}, "shared_key: must be a key and its secret"),
        ({"public_url": "example.com"}, "public_url: must be an http or https URL"),
        ({"public_url": "https://h?x=1"}, "public_url: must have no query and no fragment"),
        ({"public_url": "https://h/#x"}, "public_url: must have no query and no fragment"),
        ({"signature": "x"}, "a webhook has no argument 'signature'"),
    ],
)
async def test_an_invalid_argument_is_named_and_nothing_is_sent(
    marketplace_emulator: Emulator, arguments: dict[str, Any], message: str
) -> None:
    async with service() as (url, received):
        given = {"url": url, "account_sid": AC, **arguments}
        with pytest.raises((ValueError, TypeError), match=message):
            await marketplace_emulator.webhook(**given)
        async with aiohttp.ClientSession(marketplace_emulator.url) as session:
            async with session.post("/_emulator/webhook", json=given) as response:
                assert response.status == 400
                assert (await response.json())["message"]
    assert not received


async def test_a_service_that_does_not_respond_is_a_connection_error(
    marketplace_emulator: Emulator,
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(ConnectionError, match=f"{url}/: Cannot connect"):
        await marketplace_emulator.webhook(url, AC)
    async with aiohttp.ClientSession(marketplace_emulator.url) as session:
        given = {"url": url, "account_sid": AC}
        async with session.post("/_emulator/webhook", json=given) as response:
            assert response.status == 502
            assert url in (await response.json())["message"]


async def test_an_emulator_that_is_not_running_sends_nothing() -> None:
    with pytest.raises(RuntimeError, match="not running"):
        await Emulator().webhook("http://127.0.0.1:1", AC)


async def test_webhooks_are_sent_over_http_as_well(marketplace_emulator: Emulator) -> None:
    (sid,) = marketplace_emulator.install(AC, SPEECH_TO_TEXT, {"callback_url": "http://x"})
    async with (
        service() as (url, received),
        MarketplaceClient(account(), base_url=marketplace_emulator.url) as client,
    ):
        await client.installed_add_ons.update(sid, configuration={"callback_url": f"{url}/done"})
        async with aiohttp.ClientSession(marketplace_emulator.url) as session:
            for given in (
                {"url": url, "account_sid": AC, "json": {"a": 1}, "auth_token": "made-up"},
                {"installed_add_on_sid": sid, "result": "text", "auth_token": "made-up"},
            ):
                async with session.post("/_emulator/webhook", json=given) as response:
                    document = await response.json()
                    assert (response.status, document["status"]) == (200, 201)
                    assert document["body"] == "<Response/>"
            for part in (
                {},
                {"url": url},
                {"account_sid": AC},
                {"installed_add_on_sid": sid, "account_sid": AC},
                {"installed_add_on_sid": sid, "url": url},
            ):
                async with session.post("/_emulator/webhook", json=part) as response:
                    message = (await response.json())["message"]
                    assert response.status == 400
                    assert message.endswith("url and account_sid, or installed_add_on_sid")
            for body in (b"[]", b"{", b"{}"):
                headers = {"Content-Type": "application/json"}
                async with session.post(
                    "/_emulator/webhook", data=body, headers=headers
                ) as response:
                    assert response.status == 400
    for request in received:
        request.verify()
    assert json.loads(received[0].body) == {"a": 1}
    assert received[1].url.endswith("/done")


# -- results of recordings


async def results_of(client: MarketplaceClient, path: str) -> dict[str, Any]:
    response = await client.send(Request("GET", path, host="api"))
    document: dict[str, Any] = json.loads(response.body)
    return document


async def test_a_result_is_delivered_to_the_callback_url_and_kept_for_the_recording() -> None:
    async with service() as (url, received), emulated() as (client, emulator):
        installed = await client.installed_add_ons.create(
            available_add_on_sid=SPEECH_TO_TEXT,
            accept_terms_of_service=True,
            configuration={"callback_url": f"{url}/hooks?a=b", "callback_method": "POST"},
            unique_name="transcription",
        )
        response = await emulator.deliver_result(
            installed.sid,
            result={"text": "hello"},
            recording_sid=RECORDING,
            auth_token="made-up",
        )
        assert response.status == 201
        (request,) = received
        request.verify()
        assert request.form["AccountSid"] == [AC]
        result = webhooks.parse_add_ons(request.form["AddOns"][0])["transcription"]
        assert (result.ok, result.status) == (True, "completed")

        # Everything is where the webhook says.
        root = f"/2010-04-01/Accounts/{AC}/Recordings/{RECORDING}/AddOnResults"
        (listed,) = (await results_of(client, f"{root}.json"))["add_on_results"]
        assert (listed["sid"], listed["status"]) == (result.request_sid, "completed")
        assert (listed["add_on_sid"], listed["reference_sid"]) == (SPEECH_TO_TEXT, RECORDING)
        assert await results_of(client, f"{root}/{listed['sid']}.json") == listed
        (payload,) = result.payload or ()
        assert payload.url is not None
        path = payload.url.removeprefix(emulator.url)
        assert (result.links or {})["payloads"] == f"{emulator.url}{root}/{listed['sid']}/Payloads"
        found = await results_of(client, f"{path}.json")
        assert found["content_type"] == payload.content_type == "application/json"
        payloads = await results_of(client, listed["subresource_uris"]["payloads"])
        assert payloads["payloads"] == [found]

        # The data is behind a signed URL.
        with pytest.raises(APIError) as error:
            await results_of(client, f"{path}/Data.json")
        assert error.value.status == 307
        location = error.value.response.headers["Location"]
        async with aiohttp.ClientSession() as session:
            async with session.get(location) as data:
                assert await data.json() == {"text": "hello"}
            async with session.get(location[:-1]) as data:
                assert data.status == 404

        await client.send(Request("DELETE", f"{root}/{listed['sid']}.json", host="api"))
        assert (await results_of(client, f"{root}.json"))["add_on_results"] == []
        with pytest.raises(NotFoundError):
            await results_of(client, f"{path}.json")


async def test_a_failed_result_has_a_code_and_no_payload(marketplace_emulator: Emulator) -> None:
    async with service() as (url, received):
        (sid,) = marketplace_emulator.install(AC, SPEECH_TO_TEXT, {"callback_url": url})
        await marketplace_emulator.deliver_result(sid, status="failed", code=61008, message="no")
    results = webhooks.parse_add_ons(received[0].form["AddOns"][0])
    result = results["ibm_watson_speechtotext"]
    assert (results.status, result.ok, result.code) == ("successful", False, 61008)
    assert not result.payload


async def test_a_callback_by_get_has_no_results(marketplace_emulator: Emulator) -> None:
    async with service() as (url, received):
        configuration = {"callback_url": f"{url}/a?b=c", "callback_method": "GET"}
        (sid,) = marketplace_emulator.install(AC, SPEECH_TO_TEXT, configuration)
        await marketplace_emulator.deliver_result(sid, result=1, auth_token="made-up")
    (request,) = received
    assert (request.method, request.body) == ("GET", b"")
    assert request.url == f"{url}/a?b=c&AccountSid={AC}"
    request.verify()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"installed_add_on_sid": "XE" + "9" * 32}, "is not installed"),
        ({"recording_sid": "RE1"}, "recording_sid: must be RE and 32 hex digits"),
        ({"results": 1}, "a webhook has no argument 'results'"),
    ],
)
async def test_a_result_that_cannot_be_delivered_is_refused(
    marketplace_emulator: Emulator, arguments: dict[str, Any], message: str
) -> None:
    (sid,) = marketplace_emulator.install(AC, SPEECH_TO_TEXT, {"callback_url": "http://x"})
    with pytest.raises((ValueError, TypeError), match=message):
        await marketplace_emulator.deliver_result(**{"installed_add_on_sid": sid, **arguments})
    (other,) = marketplace_emulator.install(AC, SPAM_SCORE)
    with pytest.raises(ValueError, match="has no callback_url"):
        await marketplace_emulator.deliver_result(other)


# -- the Add-ons of a phone number


async def test_an_add_on_is_assigned_to_a_phone_number() -> None:
    async with emulated() as (client, emulator):
        path = f"/2010-04-01/Accounts/{AC}/IncomingPhoneNumbers/{NUMBER}/AssignedAddOns"
        sids = emulator.install(AC, SPAM_SCORE, times=3)
        assert (await results_of(client, f"{path}.json"))["assigned_add_ons"] == []
        for sid in sids:
            body = f"InstalledAddOnSid={sid}".encode()
            form = "application/x-www-form-urlencoded"
            request = Request("POST", f"{path}.json", "", body, form, host="api")
            response = await client.send(request)
            assert response.status == 201
        page = await results_of(client, f"{path}.json")
        assert [each["sid"] for each in page["assigned_add_ons"]] == sids
        assert page["assigned_add_ons"][0] == json.loads(response.body) | {
            "sid": sids[0],
            "uri": f"{path}/{sids[0]}.json",
            "unique_name": "nomorobo_spamscore",
            "subresource_uris": {"extensions": f"{path}/{sids[0]}/Extensions.json"},
        }
        first = await client.send(Request("GET", f"{path}.json", {"PageSize": 2}, host="api"))
        assert json.loads(first.body)["next_page_uri"].startswith(f"{path}.json?PageSize=2")
        await client.send(Request("DELETE", f"{path}/{sids[0]}.json", host="api"))
        await client.installed_add_ons.delete(sids[1])
        page = await results_of(client, f"{path}.json")
        assert [each["sid"] for each in page["assigned_add_ons"]] == sids[2:]
        for sid in sids[:2]:
            with pytest.raises(NotFoundError):
                await results_of(client, f"{path}/{sid}.json")


async def test_other_accounts_see_neither_numbers_nor_recordings() -> None:
    async with service() as (url, _), emulated() as (client, emulator):
        ((subaccount, _),) = emulator.add_subaccounts(AC)
        (sid,) = emulator.install(subaccount, SPEECH_TO_TEXT, {"callback_url": url})
        await emulator.deliver_result(sid, recording_sid=RECORDING)
        path = f"/2010-04-01/Accounts/{subaccount}/Recordings/{RECORDING}/AddOnResults.json"
        assert len((await results_of(client, path))["add_on_results"]) == 1
        other = client.with_credentials(account(2))
        with pytest.raises(NotFoundError):
            await results_of(other, path)
        for name, wrong in (("Recordings", "PN"), ("IncomingPhoneNumbers", "RE")):
            kind = "AddOnResults" if name == "Recordings" else "AssignedAddOns"
            odd = f"/2010-04-01/Accounts/{AC}/{name}/{wrong}{'1' * 32}/{kind}.json"
            with pytest.raises(NotFoundError):
                await results_of(client, odd)


async def test_the_core_api_survives_a_restart(tmp_path: Any) -> None:
    file = tmp_path / "state.db"
    async with service() as (url, _), Emulator(db=file) as emulator:
        (sid,) = emulator.install(AC, SPEECH_TO_TEXT, {"callback_url": url})
        await emulator.deliver_result(sid, recording_sid=RECORDING)
    async with Emulator(db=file) as emulator:
        async with MarketplaceClient(account(), base_url=emulator.url) as client:
            path = f"/2010-04-01/Accounts/{AC}/Recordings/{RECORDING}/AddOnResults.json"
            assert len((await results_of(client, path))["add_on_results"]) == 1
