"""Requests and responses of the emulator, over plain HTTP."""

import asyncio
import io
import json

import aiohttp
import pytest
from support.plain_http import FORM, INSTALL, SPAM_SCORE, XE, Http, basic
from yarl import URL

from marketplace_async.emulator.dispatch import Dispatcher


async def test_every_response_has_the_headers_of_the_service(http: Http) -> None:
    for path in ("/v1/AvailableAddOns", "/v1/nowhere"):
        _, _, headers = await http("GET", path)
        assert headers["Content-Type"] == "application/json; charset=utf-8"
        assert headers["Twilio-Request-Id"].startswith("RQ")
        assert len(headers["Twilio-Request-Id"]) == 34
        assert headers["Twilio-Concurrent-Requests"] == "1"
        assert float(headers["Twilio-Request-Duration"]) >= 0
        assert headers["X-Shenanigans"] == "none"
        assert headers["Access-Control-Allow-Origin"] == "*"


async def test_a_connection_is_closed_only_when_the_request_says_so(http: Http) -> None:
    _, _, headers = await http("GET", "/v1/AvailableAddOns", headers={"Connection": "close"})
    assert headers["Connection"] == "close"
    _, _, headers = await http("GET", "/v1/AvailableAddOns")
    assert "Connection" not in headers


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, 20404),
        ("GET", "/v1/availableaddons", 404, 20404),
        ("GET", "/v1/AvailableAddOns/", 404, 20404),
        ("GET", "/v1/AvailableAddOns/XB1", 404, 20404),
        ("GET", f"/v1/AvailableAddOns/{SPAM_SCORE}/Extensions/XF1", 404, 20404),
        ("GET", f"/v1/Listings/{SPAM_SCORE}", 404, 20404),
        ("GET", "/v1/Listing/XB1", 404, 20404),
        ("GET", "/v1/InstalledAddOns/XE1/Usage", 405, 20004),
        ("PUT", "/v1/InstalledAddOns", 405, 20004),
        ("DELETE", "/v1/Listings", 405, 20004),
        ("PATCH", "/v1/ReferralConversion", 405, 20004),
    ],
)
async def test_unknown_paths_and_methods_are_rejected(
    http: Http, method: str, path: str, status: int, code: int
) -> None:
    actual, body, _ = await http(method, path)
    assert (actual, body["status"], body["code"]) == (status, status, code)
    assert path in body["message"]


async def test_an_escaped_slash_does_not_separate_segments(http: Http) -> None:
    assert (await http("GET", f"/v1/InstalledAddOns/{XE}/Usage"))[0] == 405
    assert (await http("GET", f"/v1/InstalledAddOns/{XE}%2FUsage"))[0] == 404


async def test_an_escaped_letter_is_decoded(http: Http) -> None:
    path = URL(http.emulator.url + "/v1/Installed%41ddOns", encoded=True)
    async with aiohttp.ClientSession(headers=basic()) as session, session.get(path) as response:
        assert response.status == 200


def test_the_dispatcher_finds_handlers_by_method_and_path() -> None:
    routes = [
        ("GET", "/a", "list"),
        ("POST", "/a", "create"),
        ("GET", "/a/{one}", "fetch"),
        ("GET", "/a/{one}/b/{two}", "fetch below"),
        ("GET", "/c.json", "dotted list"),
        ("GET", "/c/{three}.json", "dotted fetch"),
    ]
    dispatcher = Dispatcher(routes, not_found="not found", method_not_allowed="not allowed")
    expected = {
        ("GET", "/a"): ("list", {}),
        ("POST", "/a"): ("create", {}),
        ("PUT", "/a"): ("not allowed", {}),
        ("GET", "/a/1"): ("fetch", {"one": "1"}),
        ("GET", "/a/1%2F%252"): ("fetch", {"one": "1/%2"}),
        ("PUT", "/a/1"): ("not allowed", {"one": "1"}),
        ("GET", "/a/1/b/2"): ("fetch below", {"one": "1", "two": "2"}),
        ("GET", "/c.json"): ("dotted list", {}),
        ("GET", "/c/3.json"): ("dotted fetch", {"three": "3"}),
        ("GET", "/c/3"): ("not found", {}),
        ("GET", "/cxjson"): ("not found", {}),
        ("GET", "/a/"): ("not found", {}),
        ("GET", "/a/1/"): ("not found", {}),
        ("GET", "/a\n"): ("not found", {}),
        ("GET", "/"): ("not found", {}),
        ("GET", ""): ("not found", {}),
    }
    assert {request: dispatcher.find(*request) for request in expected} == expected


# -- request bodies


async def test_expect_100_continue_is_honored(http: Http) -> None:
    async with asyncio.timeout(10):
        status, installed, _ = await http(
            "POST", "/v1/InstalledAddOns", data=INSTALL, expect100=True
        )
    assert (status, installed["sid"][:2]) == (201, "XE")


async def test_a_configuration_is_returned_unchanged(http: Http) -> None:
    text = '{"callback_url": "https://x", "n": 123456789012345678901234567890, "é": "\\u0000é"}'
    add_on = "XB85b56ed9ce713e0ac62342b901233193"
    data = {**INSTALL, "AvailableAddOnSid": add_on, "Configuration": text}
    _, installed, _ = await http("POST", "/v1/InstalledAddOns", data=data)
    path = f"/v1/InstalledAddOns/{installed['sid']}"
    assert (await http("GET", path))[1]["configuration"] == json.loads(text)
    _, updated, _ = await http("POST", path, data={"Configuration": "{}"})
    assert updated["configuration"] == {}


@pytest.mark.parametrize("flag", ["true", "True", "TRUE"])
async def test_booleans_are_case_insensitive(http: Http, flag: str) -> None:
    data = {**INSTALL, "AcceptTermsOfService": flag}
    assert (await http("POST", "/v1/InstalledAddOns", data=data))[0] == 201


@pytest.mark.parametrize("body", [b"UniqueName=a+b%2Bc", b"UniqueName=a%20b%2Bc"])
async def test_spaces_are_decoded_from_either_form(http: Http, body: bytes) -> None:
    _, installed, _ = await http("POST", "/v1/InstalledAddOns", data=INSTALL)
    _, updated, _ = await http(
        "POST",
        f"/v1/InstalledAddOns/{installed['sid']}",
        data=body,
        headers={"Content-Type": FORM},
    )
    assert updated["unique_name"] == "a b+c"


async def test_a_content_type_on_a_get_and_an_empty_update_are_accepted(http: Http) -> None:
    _, installed, _ = await http("POST", "/v1/InstalledAddOns", data=INSTALL)
    path = f"/v1/InstalledAddOns/{installed['sid']}"
    assert (await http("GET", path, headers={"Content-Type": FORM}))[1] == installed
    assert (await http("POST", path))[:2] == (200, installed)


@pytest.mark.parametrize(
    ("data", "content_type", "message"),
    [
        (b"", FORM, "Missing required parameter AvailableAddOnSid in the post body"),
        (b"AvailableAddOnSid=XB1", FORM, "Missing required parameter AcceptTermsOfService"),
        (json.dumps(INSTALL).encode(), "application/json", "Missing required parameter"),
        (b"AvailableAddOnSid=XB1&AcceptTermsOfService=maybe", FORM, "must be true or false"),
        (b"AvailableAddOnSid=%ff&AcceptTermsOfService=true", FORM, "Invalid request body"),
        (b"\xff\xfe", FORM, "Invalid request body"),
        (
            b"AvailableAddOnSid=XB1&AcceptTermsOfService=true&Configuration={",
            FORM,
            "Invalid value for parameter Configuration",
        ),
        (
            b"AvailableAddOnSid=XB1&AcceptTermsOfService=true&Configuration=[]",
            FORM,
            "Invalid value for parameter Configuration",
        ),
        (
            b"AvailableAddOnSid=XB1&AcceptTermsOfService=true&Configuration=" + b'{"a":' * 100_000,
            FORM,
            "nested too deeply",
        ),
    ],
)
async def test_an_invalid_form_is_a_bad_request(
    http: Http, data: bytes, content_type: str, message: str
) -> None:
    status, body, _ = await http(
        "POST", "/v1/InstalledAddOns", data=data, headers={"Content-Type": content_type}
    )
    assert (status, body["code"]) == (400, 20001)
    assert message in body["message"]


async def test_a_body_that_is_too_large_is_rejected(http: Http) -> None:
    data = io.BytesIO(b"x" * (33 * 1024 * 1024))
    status, body, _ = await http("POST", "/v1/Listings", data=data)
    assert (status, body["status"]) == (413, 413)


async def test_an_invalid_gzip_body_is_a_bad_request(http: Http) -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": FORM}
    status, body, _ = await http("POST", "/v1/Listings", data=b"nonsense", headers=headers)
    assert (status, body["code"]) == (400, 20001)


async def test_a_client_that_disconnects_during_a_request_is_not_logged(
    http: Http, caplog: pytest.LogCaptureFixture
) -> None:
    host, port = http.emulator.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /v1/Listings HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nhalf")
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.transport.abort()
    await asyncio.sleep(0.05)
    assert len(http.emulator.log) == 0
    assert "failed" not in caplog.text


async def test_a_referral_requires_an_account(http: Http) -> None:
    for json_body in ({}, {"referral_account_sid": None}, {"referral_account_sid": "AC1"}):
        status, body, _ = await http("POST", "/v1/ReferralConversion", json=json_body)
        assert (status, body["code"]) == (400, 20001)


async def test_parts_of_a_listing_must_be_json_objects(http: Http) -> None:
    for data in ({}, {"ModuleInfo": "x"}, {"ModuleInfo": "[]"}, {"Configuration": "{}"}):
        assert (await http("POST", "/v1/Listings", data=data))[0] == 400
    _, listing, _ = await http("POST", "/v1/Listings", data={"ModuleInfo": '{"a": 1}'})
    path = f"/v1/Listing/{listing['sid']}"
    assert (await http("POST", path, data={"Policies": "{"}))[0] == 400
    large = io.BytesIO(b"Policies=" + json.dumps({"legal": "x" * 5_000_000}).encode())
    status, body, _ = await http("POST", path, data=large, headers={"Content-Type": FORM})
    assert (status, body["message"].endswith("larger than 5 MB")) == (400, True)


async def test_updating_a_listing_without_changes_returns_304_without_a_body(http: Http) -> None:
    _, listing, _ = await http("POST", "/v1/Listings", data={"ModuleInfo": '{"a": 1}'})
    path = f"/v1/Listing/{listing['sid']}"
    status, body, _ = await http("POST", path, data={"ModuleInfo": '{"a": 1}'})
    assert (status, body) == (304, None)
