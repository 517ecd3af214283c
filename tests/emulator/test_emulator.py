"""The emulator on the wire, asked by plain aiohttp: nothing of the client is in between."""

import asyncio
import base64
import io
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from marketplace_async.emulator import AddOn, Catalogue, Emulator, Extension, Fault
from marketplace_async.emulator.dispatch import Dispatcher

AC = "AC" + "1" * 32
XE = "XE" + "a" * 32
BI = "BI" + "a" * 32
SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
INSTALL = {"AvailableAddOnSid": SPAM_SCORE, "AcceptTermsOfService": "true"}
FORM = "application/x-www-form-urlencoded"


def basic(user: str = AC, secret: str = "x") -> dict[str, str]:
    encoded = base64.b64encode(f"{user}:{secret}".encode()).decode()
    return {"Authorization": f"Basic {encoded}"}


class Wire:
    """Plain HTTP to one emulator."""

    def __init__(self, session: aiohttp.ClientSession, emulator: Emulator) -> None:
        self._session = session
        self.emulator = emulator

    async def __call__(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any
    ) -> tuple[int, Any, Any]:
        async with self._session.request(
            method, self.emulator.url + path, headers={**basic(), **(headers or {})}, **options
        ) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else None, answer.headers


@pytest.fixture
async def wire(marketplace_emulator: Emulator) -> AsyncIterator[Wire]:
    async with aiohttp.ClientSession() as session:
        yield Wire(session, marketplace_emulator)


async def wired(
    session: aiohttp.ClientSession, emulator: Emulator, *args: Any, **options: Any
) -> Any:
    return await Wire(session, emulator)(*args, **options)


# -- who is let in


@pytest.mark.parametrize(
    ("authorization", "message"),
    [
        ("", "Authenticate"),
        ("Bearer abc", "Authenticate"),
        ("Basic !!!", "Authentication Error - invalid username"),
        (
            "Basic " + base64.b64encode(b"\xff:x").decode(),
            "Authentication Error - invalid username",
        ),
        (basic("me")["Authorization"], "Authentication Error - invalid username"),
        (basic("XB" + "1" * 32)["Authorization"], "Authentication Error - invalid username"),
    ],
)
async def test_who_has_no_well_formed_sid_is_not_let_in(
    wire: Wire, authorization: str, message: str
) -> None:
    status, body, headers = await wire(
        "GET", "/v1/AvailableAddOns", headers={"Authorization": authorization}
    )
    assert status == 401
    assert body == {
        "code": 20003,
        "message": message,
        "more_info": "https://www.twilio.com/docs/errors/20003",
        "status": 401,
    }
    assert headers["WWW-Authenticate"] == 'Basic realm="Twilio API"'


async def test_with_accounts_given_only_those_are_let_in() -> None:
    key = "SK" + "2" * 32
    accounts = {AC: "secret", key: "key-secret"}
    async with Emulator(accounts=accounts) as emulator, aiohttp.ClientSession() as session:
        path = "/v1/InstalledAddOns"
        for user, secret, status in (
            (AC, "secret", 200),
            (AC, "wrong", 401),
            (key, "key-secret", 200),
            ("AC" + "3" * 32, "secret", 401),
        ):
            got = await wired(session, emulator, "GET", path, headers=basic(user, secret))
            assert got[0] == status, (user, secret)
        _, body, _ = await wired(
            session, emulator, "POST", path, headers=basic(key, "key-secret"), data=INSTALL
        )
        assert body["account_sid"] == "AC" + "2" * 32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accounts": {"me": "x"}}, "accounts: expected AC, SK or OQ"),
        ({"concurrency": 0}, "concurrency: expected 1 or more"),
        ({"latency": -1.0}, "latency: expected 0 seconds or more"),
    ],
)
def test_an_emulator_that_makes_no_sense_is_refused(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Emulator(**options)


# -- what stands in every answer


async def test_every_answer_carries_the_headers_of_the_service(wire: Wire) -> None:
    for path in ("/v1/AvailableAddOns", "/v1/nowhere"):
        _, _, headers = await wire("GET", path)
        assert headers["Content-Type"] == "application/json; charset=utf-8"
        assert headers["Twilio-Request-Id"].startswith("RQ")
        assert len(headers["Twilio-Request-Id"]) == 34
        assert headers["Twilio-Concurrent-Requests"] == "1"
        assert float(headers["Twilio-Request-Duration"]) >= 0
        assert headers["X-Shenanigans"] == "none"
        assert headers["Access-Control-Allow-Origin"] == "*"


async def test_a_connection_is_closed_for_who_asks_so_and_kept_for_others(wire: Wire) -> None:
    _, _, headers = await wire("GET", "/v1/AvailableAddOns", headers={"Connection": "close"})
    assert headers["Connection"] == "close"
    _, _, headers = await wire("GET", "/v1/AvailableAddOns")
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
async def test_what_is_not_there_is_not_found_and_what_cannot_be_done_is_said(
    wire: Wire, method: str, path: str, status: int, code: int
) -> None:
    got, body, _ = await wire(method, path)
    assert (got, body["status"], body["code"]) == (status, status, code)
    assert path in body["message"]


async def test_an_escaped_slash_divides_no_path(wire: Wire) -> None:
    assert (await wire("GET", f"/v1/InstalledAddOns/{XE}/Usage"))[0] == 405
    assert (await wire("GET", f"/v1/InstalledAddOns/{XE}%2FUsage"))[0] == 404


async def test_an_escaped_letter_is_that_letter(wire: Wire) -> None:
    path = URL(wire.emulator.url + "/v1/Installed%41ddOns", encoded=True)
    async with aiohttp.ClientSession(headers=basic()) as session, session.get(path) as answer:
        assert answer.status == 200


def test_what_answers_is_found_by_method_and_path() -> None:
    table = [
        ("GET", "/a", "list"),
        ("POST", "/a", "create"),
        ("GET", "/a/{one}", "fetch"),
        ("GET", "/a/{one}/b/{two}", "fetch below"),
        ("GET", "/c.json", "dotted list"),
        ("GET", "/c/{three}.json", "dotted fetch"),
    ]
    dispatcher = Dispatcher(table, no_path="no path", no_method="no method")
    found = {
        ("GET", "/a"): ("list", {}),
        ("POST", "/a"): ("create", {}),
        ("PUT", "/a"): ("no method", {}),
        ("GET", "/a/1"): ("fetch", {"one": "1"}),
        ("GET", "/a/1%2F%252"): ("fetch", {"one": "1/%2"}),
        ("PUT", "/a/1"): ("no method", {"one": "1"}),
        ("GET", "/a/1/b/2"): ("fetch below", {"one": "1", "two": "2"}),
        ("GET", "/c.json"): ("dotted list", {}),
        ("GET", "/c/3.json"): ("dotted fetch", {"three": "3"}),
        ("GET", "/c/3"): ("no path", {}),
        ("GET", "/cxjson"): ("no path", {}),
        ("GET", "/a/"): ("no path", {}),
        ("GET", "/a/1/"): ("no path", {}),
        ("GET", "/a\n"): ("no path", {}),
        ("GET", "/"): ("no path", {}),
        ("GET", ""): ("no path", {}),
    }
    assert {asked: dispatcher.find(*asked) for asked in found} == found


# -- what real clients send


async def test_who_asks_before_sending_a_body_is_told_to_go_on(wire: Wire) -> None:
    async with asyncio.timeout(10):
        status, installed, _ = await wire(
            "POST", "/v1/InstalledAddOns", data=INSTALL, expect100=True
        )
    assert (status, installed["sid"][:2]) == (201, "XE")


async def test_a_configuration_comes_back_as_it_was_sent(wire: Wire) -> None:
    text = '{"callback_url": "https://x", "n": 123456789012345678901234567890, "é": "\\u0000é"}'
    add_on = "XB85b56ed9ce713e0ac62342b901233193"
    data = {**INSTALL, "AvailableAddOnSid": add_on, "Configuration": text}
    _, installed, _ = await wire("POST", "/v1/InstalledAddOns", data=data)
    path = f"/v1/InstalledAddOns/{installed['sid']}"
    assert (await wire("GET", path))[1]["configuration"] == json.loads(text)
    _, updated, _ = await wire("POST", path, data={"Configuration": "{}"})
    assert updated["configuration"] == {}


@pytest.mark.parametrize("flag", ["true", "True", "TRUE"])
async def test_flags_are_read_as_clients_spell_them(wire: Wire, flag: str) -> None:
    data = {**INSTALL, "AcceptTermsOfService": flag}
    assert (await wire("POST", "/v1/InstalledAddOns", data=data))[0] == 201


@pytest.mark.parametrize("body", [b"UniqueName=a+b%2Bc", b"UniqueName=a%20b%2Bc"])
async def test_spaces_are_read_in_either_form(wire: Wire, body: bytes) -> None:
    _, installed, _ = await wire("POST", "/v1/InstalledAddOns", data=INSTALL)
    _, updated, _ = await wire(
        "POST",
        f"/v1/InstalledAddOns/{installed['sid']}",
        data=body,
        headers={"Content-Type": FORM},
    )
    assert updated["unique_name"] == "a b+c"


async def test_a_content_type_on_a_get_and_an_update_of_nothing_are_fine(wire: Wire) -> None:
    _, installed, _ = await wire("POST", "/v1/InstalledAddOns", data=INSTALL)
    path = f"/v1/InstalledAddOns/{installed['sid']}"
    assert (await wire("GET", path, headers={"Content-Type": FORM}))[1] == installed
    assert (await wire("POST", path))[:2] == (200, installed)


@pytest.mark.parametrize(
    ("data", "content_type", "message"),
    [
        (b"", FORM, "Missing required parameter AvailableAddOnSid in the post body"),
        (b"AvailableAddOnSid=XB1", FORM, "Missing required parameter AcceptTermsOfService"),
        (json.dumps(INSTALL).encode(), "application/json", "Missing required parameter"),
        (b"AvailableAddOnSid=XB1&AcceptTermsOfService=maybe", FORM, "expected true or false"),
        (b"AvailableAddOnSid=%ff&AcceptTermsOfService=true", FORM, "The post body cannot be read"),
        (b"\xff\xfe", FORM, "The post body cannot be read"),
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
async def test_a_form_that_cannot_be_right_is_a_bad_request(
    wire: Wire, data: bytes, content_type: str, message: str
) -> None:
    status, body, _ = await wire(
        "POST", "/v1/InstalledAddOns", data=data, headers={"Content-Type": content_type}
    )
    assert (status, body["code"]) == (400, 20001)
    assert message in body["message"]


async def test_a_body_that_is_too_large_is_refused(wire: Wire) -> None:
    body = io.BytesIO(b"x" * (33 * 1024 * 1024))
    status, answer, _ = await wire("POST", "/v1/Listings", data=body)
    assert (status, answer["status"]) == (413, 413)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"billable_items=1", "The post body cannot be read"),
        (b"{}", "missing required field `billable_items`"),
        (b'{"billable_items":[]}', "Missing required parameter billable_items"),
        (b'{"billable_items":[{"quantity":1}]}', "missing required field `sid`"),
        (b'{"billable_items":[{"sid":"BI1","quantity":1}]}', "expected BI and 32 hex digits"),
        (f'{{"billable_items":[{{"sid":"{BI}"}}]}}'.encode(), "missing required field `quantity`"),
        (f'{{"billable_items":[{{"sid":"{BI}","quantity":null}}]}}'.encode(), "got `null`"),
        (f'{{"billable_items":[{{"sid":"{BI}","quantity":""}}]}}'.encode(), "cannot be read"),
        (f'{{"billable_items":[{{"sid":"{BI}","quantity":0}}]}}'.encode(), "a number above 0"),
        (f'{{"billable_items":[{{"sid":"{BI}","quantity":-1}}]}}'.encode(), "a number above 0"),
        (f'{{"billable_items":[{{"sid":"{BI}","quantity":"NaN"}}]}}'.encode(), "above 0"),
        (f'{{"billable_items":[{{"sid":"{BI}","quantity":9e999999}}]}}'.encode(), "out of range"),
    ],
)
async def test_usage_that_cannot_be_right_is_a_bad_request_and_bills_nothing(
    wire: Wire, body: bytes, message: str
) -> None:
    (sid,) = wire.emulator.install(AC, SPAM_SCORE)
    status, answer, _ = await wire(
        "POST",
        f"/v1/InstalledAddOns/{sid}/Usage",
        data=body,
        headers={"Content-Type": "application/json"},
    )
    assert (status, answer["code"]) == (400, 20001)
    assert message in answer["message"]
    assert wire.emulator.usage() == []


async def test_usage_is_summed_exactly(wire: Wire) -> None:
    (sid,) = wire.emulator.install(AC, SPAM_SCORE)
    quantity = "1.000000000000000000000000000001"
    body = f'{{"billable_items":[{{"sid":"{BI}","quantity":{quantity}}}]}}'
    async with aiohttp.ClientSession(headers=basic()) as session:
        url = f"{wire.emulator.url}/v1/InstalledAddOns/{sid}/Usage"
        async with session.post(url, data=body) as answer:
            assert f'"total_submitted":{quantity},' in await answer.text()


async def test_what_is_not_billed_leaves_nothing_half_done(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sid,) = wire.emulator.install(AC, SPAM_SCORE)
    with monkeypatch.context() as broken:
        broken.setattr("marketplace_async.emulator.store.str", lambda _: object(), raising=False)
        assert (await report(wire.emulator, sid))[0] == 500
    assert (await report(wire.emulator, sid))[0] == 202
    assert len(wire.emulator.usage()) == 2


async def test_a_body_that_is_no_gzip_is_a_bad_request(wire: Wire) -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": FORM}
    status, body, _ = await wire("POST", "/v1/Listings", data=b"nonsense", headers=headers)
    assert (status, body["code"]) == (400, 20001)


async def test_a_caller_that_hangs_up_in_the_middle_is_not_logged(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    host, port = wire.emulator.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /v1/Listings HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nhalf")
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.transport.abort()
    await asyncio.sleep(0.05)
    assert len(wire.emulator.log) == 0
    assert "failed" not in caplog.text


async def test_a_referral_needs_an_account(wire: Wire) -> None:
    for json_body in ({}, {"referral_account_sid": None}, {"referral_account_sid": "AC1"}):
        status, body, _ = await wire("POST", "/v1/ReferralConversion", json=json_body)
        assert (status, body["code"]) == (400, 20001)


async def test_parts_of_a_listing_must_be_json_objects(wire: Wire) -> None:
    for data in ({}, {"ModuleInfo": "x"}, {"ModuleInfo": "[]"}, {"Configuration": "{}"}):
        assert (await wire("POST", "/v1/Listings", data=data))[0] == 400
    _, listing, _ = await wire("POST", "/v1/Listings", data={"ModuleInfo": '{"a": 1}'})
    path = f"/v1/Listing/{listing['sid']}"
    assert (await wire("POST", path, data={"Policies": "{"}))[0] == 400
    large = io.BytesIO(b"Policies=" + json.dumps({"legal": "x" * 5_000_000}).encode())
    status, body, _ = await wire("POST", path, data=large, headers={"Content-Type": FORM})
    assert (status, body["message"].endswith("larger than 5 MB")) == (400, True)


async def test_an_unchanged_listing_is_answered_304_without_a_body(wire: Wire) -> None:
    _, listing, _ = await wire("POST", "/v1/Listings", data={"ModuleInfo": '{"a": 1}'})
    path = f"/v1/Listing/{listing['sid']}"
    status, body, _ = await wire("POST", path, data={"ModuleInfo": '{"a": 1}'})
    assert (status, body) == (304, None)


# -- paging


async def test_pages_have_links_in_both_directions_on_the_host_that_was_asked(wire: Wire) -> None:
    sids = wire.emulator.install(AC, SPAM_SCORE, times=5)
    base = f"{wire.emulator.url}/v1/InstalledAddOns"
    _, first, _ = await wire("GET", "/v1/InstalledAddOns?PageSize=2")
    assert [item["sid"] for item in first["installed_add_ons"]] == sids[:2]
    assert first["meta"] == {
        "page": 0,
        "page_size": 2,
        "first_page_url": f"{base}?PageSize=2&Page=0",
        "previous_page_url": None,
        "url": f"{base}?PageSize=2&Page=0",
        "next_page_url": f"{base}?PageSize=2&Page=1&PageToken=PA{sids[1]}",
        "key": "installed_add_ons",
    }
    _, second, _ = await wire("GET", first["meta"]["next_page_url"].removeprefix(wire.emulator.url))
    assert [item["sid"] for item in second["installed_add_ons"]] == sids[2:4]
    assert second["meta"]["previous_page_url"] == f"{base}?PageSize=2&Page=0&PageToken=PB{sids[2]}"
    _, third, _ = await wire("GET", second["meta"]["next_page_url"].removeprefix(wire.emulator.url))
    assert [item["sid"] for item in third["installed_add_ons"]] == sids[4:]
    assert third["meta"]["next_page_url"] is None
    _, back, _ = await wire(
        "GET", third["meta"]["previous_page_url"].removeprefix(wire.emulator.url)
    )
    assert back["installed_add_ons"] == second["installed_add_ons"]
    assert back["meta"]["next_page_url"] is not None
    _, start, _ = await wire(
        "GET", back["meta"]["previous_page_url"].removeprefix(wire.emulator.url)
    )
    assert start["installed_add_ons"] == first["installed_add_ons"]
    assert start["meta"]["previous_page_url"] is None


async def test_lists_that_do_not_change_page_the_same_way(wire: Wire) -> None:
    _, whole, _ = await wire("GET", "/v1/AvailableAddOns")
    sids = [item["sid"] for item in whole["available_add_ons"]]
    assert whole["meta"]["page_size"] == 50
    seen: list[str] = []
    path: str | None = "/v1/AvailableAddOns?PageSize=7"
    while path:
        _, page, _ = await wire("GET", path)
        seen += [item["sid"] for item in page["available_add_ons"]]
        previous, path = path, (page["meta"]["next_page_url"] or "").removeprefix(wire.emulator.url)
    assert seen == sids
    _, back, _ = await wire(
        "GET", page["meta"]["previous_page_url"].removeprefix(wire.emulator.url)
    )
    assert [item["sid"] for item in back["available_add_ons"]] == sids[7:14]
    assert "Page=2" in previous


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("PageSize=0", 400, 20007),
        ("PageSize=1001", 400, 20007),
        ("PageSize=x", 400, 20001),
        ("PageSize=-1", 400, 20001),
        ("Page=x", 400, 20001),
        ("Page=1", 400, 70002),
        ("PageToken=x", 400, 21481),
        (f"PageToken=PA{XE}", 400, 21481),
        (f"PageToken=PB{XE}", 400, 21481),
        ("PageSize=", 200, None),
        ("PageSize=1000", 200, None),
        ("Page=0", 200, None),
        ("Unknown=1", 200, None),
    ],
)
@pytest.mark.parametrize("path", ["/v1/InstalledAddOns", "/v1/AvailableAddOns"])
async def test_what_a_page_may_be_asked_for(
    wire: Wire, path: str, query: str, status: int, code: int | None
) -> None:
    got, body, _ = await wire("GET", f"{path}?{query}")
    assert (got, body.get("code")) == (status, code)


async def test_a_page_token_of_another_account_is_invalid(wire: Wire) -> None:
    sids = wire.emulator.install("AC" + "2" * 32, SPAM_SCORE, times=2)
    status, body, _ = await wire("GET", f"/v1/InstalledAddOns?PageToken=PA{sids[0]}")
    assert (status, body["code"]) == (400, 21481)


# -- who may report usage


def restricted(**changes: Any) -> Catalogue:
    return Catalogue([AddOn(unique_name="a", friendly_name="A", sid="XB" + "c" * 32, **changes)])


async def report(emulator: Emulator, xe: str, user: str = AC) -> tuple[int, Any]:
    body = {"billable_items": [{"sid": BI, "quantity": 1.5}, {"sid": BI[:-1] + "b", "quantity": 2}]}
    async with aiohttp.ClientSession() as session:
        status, answer, _ = await wired(
            session,
            emulator,
            "POST",
            f"/v1/InstalledAddOns/{xe}/Usage",
            json=body,
            headers=basic(user),
        )
    return status, answer


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({}, 202, None),
        ({"partner_account_sid": AC}, 202, None),
        ({"partner_account_sid": "AC" + "9" * 32}, 403, "not the partner"),
        ({"manual_usage": False}, 403, "not set up for manual usage"),
        ({"stage": "private_beta"}, 202, None),
        ({"stage": "coming_soon"}, 403, "not in Marketing Preview, Private Beta or Active"),
    ],
)
async def test_the_catalogue_says_who_may_report_usage(
    changes: Any, status: int, message: str | None
) -> None:
    async with Emulator(catalogue=restricted(**changes)) as emulator:
        (sid,) = emulator.install(AC, "XB" + "c" * 32)
        got, body = await report(emulator, sid)
        assert got == status
        assert message is None or message in body["message"]
        assert len(emulator.usage()) == (2 if status == 202 else 0)


async def test_a_partner_reports_usage_on_the_installations_of_its_customers() -> None:
    partner = "AC" + "9" * 32
    async with Emulator(catalogue=restricted(partner_account_sid=partner)) as emulator:
        (sid,) = emulator.install(AC, "XB" + "c" * 32)
        assert (await report(emulator, sid, partner))[0] == 202
        assert [item.account_sid for item in emulator.usage()] == [partner, partner]


async def test_a_billing_item_that_is_not_known_fails_alone() -> None:
    async with Emulator(catalogue=restricted(billing_items=(BI,))) as emulator:
        (sid,) = emulator.install(AC, "XB" + "c" * 32)
        status, body = await report(emulator, sid)
        assert status == 202
        assert [item["submitted"] for item in body["billable_items"]] == [True, False]
        assert body["total_submitted"] == 1.5
        assert [item.quantity for item in emulator.usage()] == [Decimal("1.5")]


async def test_what_is_not_in_ga_or_beta_is_neither_seen_nor_installed() -> None:
    async with (
        Emulator(catalogue=restricted(stage="coming_soon")) as emulator,
        aiohttp.ClientSession() as session,
    ):
        sid = "XB" + "c" * 32
        data = {**INSTALL, "AvailableAddOnSid": sid}
        _, page, _ = await wired(session, emulator, "GET", "/v1/AvailableAddOns")
        assert page["available_add_ons"] == []
        assert (await wired(session, emulator, "GET", f"/v1/AvailableAddOns/{sid}"))[0] == 404
        assert (await wired(session, emulator, "POST", "/v1/InstalledAddOns", data=data))[0] == 404


# -- the catalogue in a file


def test_add_ons_of_a_file_join_those_that_are_built_in(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.json"
    file.write_text(
        json.dumps(
            [
                {
                    "unique_name": "mine",
                    "friendly_name": "Mine",
                    "configuration_schema": {"type": "object", "required": ["a"]},
                    "extensions": [{"unique_name": "e", "friendly_name": "E", "product_name": "P"}],
                }
            ]
        )
    )
    *_, mine = Catalogue.load(file)
    assert mine.sid.startswith("XB")
    assert mine.extensions == (Extension("e", "E", "P"),)
    assert len(list(Catalogue.load(file))) == len(list(Catalogue.built_in())) + 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "Input data was truncated"),
        ("{}", "Expected `array`, got `object`"),
        ("[5]", "Expected `object`, got `int`"),
        ('[{"unique_name": "a"}]', "missing required field `friendly_name`"),
        ('[{"unique_name": "a", "friendly_name": "A", "color": 1}]', "has no 'color'"),
        ('[{"unique_name": "a", "friendly_name": "A", "sid": "XB1"}]', "expected XB and 32"),
        ('[{"unique_name": "a", "friendly_name": "A", "stage": "x"}]', "expected one of"),
        (
            '[{"unique_name": "a", "friendly_name": "A", "configuration_schema": {"type": 5}}]',
            "5 is not valid",
        ),
        (
            '[{"unique_name": "a", "friendly_name": "A",'
            ' "configuration_schema": {"$ref": "http://127.0.0.1:1/x"}}]',
            "127.0.0.1:1",
        ),
    ],
)
def test_a_file_that_is_no_catalogue_says_where(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "catalogue.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"catalogue\.json: ") as error:
        Catalogue.load(file)
    assert message in str(error.value)


# -- faults, limits, the log


async def test_a_fault_happens_as_often_as_it_says_to_what_it_matches(wire: Wire) -> None:
    fault = wire.emulator.faults.add("GET", "/v1/Inst*", status=503, retry_after=3, times=2)
    other = [(await wire("GET", "/v1/AvailableAddOns"))[0], (await wire("POST", "/v1/Listings"))[0]]
    assert other == [200, 400]
    status, body, headers = await wire("GET", "/v1/InstalledAddOns")
    assert (status, body["code"], body["message"]) == (503, 20503, "Service Unavailable")
    assert headers["Retry-After"] == "3"
    assert (await wire("GET", "/v1/InstalledAddOns/XE1"))[0] == 503
    assert (await wire("GET", "/v1/InstalledAddOns"))[0] == 200
    assert fault.hits == 2
    wire.emulator.faults.add("*", "*", status=599, code=7, times=None)
    status, body, _ = await wire("GET", "/v1/InstalledAddOns")
    assert (status, body["code"], body["message"]) == (599, 7, "A fault of the emulator")
    wire.emulator.faults.clear()
    assert (await wire("GET", "/v1/InstalledAddOns"))[0] == 200


@pytest.mark.parametrize(("when", "count"), [("before", 0), ("after", 1)])
async def test_a_failure_comes_before_the_effect_or_after_it(
    wire: Wire, when: Any, count: int
) -> None:
    wire.emulator.faults.add("POST", "*", status=500, when=when)
    assert (await wire("POST", "/v1/InstalledAddOns", data=INSTALL))[0] == 500
    wire.emulator.faults.add("POST", "*", drop=True, when=when)
    with pytest.raises(aiohttp.ClientConnectionError):
        await wire("POST", "/v1/InstalledAddOns", data=INSTALL)
    _, page, _ = await wire("GET", "/v1/InstalledAddOns")
    assert len(page["installed_add_ons"]) == 2 * count
    assert [entry.status for entry in wire.emulator.log] == [500, None, 200]


async def test_a_drip_gives_the_answer_byte_by_byte(wire: Wire) -> None:
    wire.emulator.faults.add("GET", "*", drip=0.001)
    loop = asyncio.get_running_loop()
    started = loop.time()
    status, body, headers = await wire("GET", "/v1/InstalledAddOns")
    assert (status, body["installed_add_ons"]) == (200, [])
    assert loop.time() - started > 0.001 * int(headers["Content-Length"])


async def test_a_delay_delays(wire: Wire) -> None:
    wire.emulator.faults.add("GET", "*", delay=0.1)
    loop = asyncio.get_running_loop()
    started = loop.time()
    assert (await wire("GET", "/v1/InstalledAddOns"))[0] == 200
    assert loop.time() - started >= 0.1
    started = loop.time()
    assert (await wire("GET", "/v1/InstalledAddOns"))[0] == 200
    assert loop.time() - started < 0.1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({}, "a fault needs a status, drop, delay, body, next_link or drip"),
        ({"status": 500, "drop": True}, "cannot answer with a status and drop"),
        ({"status": 99}, "status: expected 200 to 599"),
        ({"delay": -1}, "delay: expected 0 to inf, got -1"),
        ({"status": "x"}, "status: expected 200 to 599"),
        ({"status": 500, "method": "get"}, "method: expected a word in capitals"),
        ({"status": 500, "path": "v1/x"}, "path: expected a path that begins with /"),
        ({"status": 500, "probability": 2}, "probability: expected 0 to 1.0, got 2"),
        ({"body": "burnt"}, "body: expected one of"),
        ({"status": 500, "times": -1}, "times: expected 0 to inf"),
        ({"status": 500, "when": "later"}, "when: expected one of"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(fault: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Fault(**fault)


async def test_beyond_its_limit_an_account_is_refused_and_others_are_not() -> None:
    async with (
        Emulator(concurrency=3, latency=0.1) as emulator,
        aiohttp.ClientSession() as session,
    ):
        path = "/v1/InstalledAddOns"
        answers = await asyncio.gather(
            *(wired(session, emulator, "GET", path) for _ in range(5)),
            *(
                wired(session, emulator, "GET", path, headers=basic("AC" + "2" * 32))
                for _ in range(3)
            ),
        )
        assert sorted(status for status, _, _ in answers[:5]) == [200, 200, 200, 429, 429]
        assert {status for status, _, _ in answers[5:]} == {200}
        (refused, *_) = (body for status, body, _ in answers if status == 429)
        assert refused["code"] == 20429
        at_once = [
            int(headers["Twilio-Concurrent-Requests"])
            for status, _, headers in answers
            if status == 200
        ]
        assert max(at_once) == 3
        assert (await wired(session, emulator, "GET", path))[0] == 200


async def test_the_log_tells_what_was_asked_and_holds_no_credentials(wire: Wire) -> None:
    await wire("GET", "/v1/InstalledAddOns?PageSize=5")
    _, _, headers = await wire("POST", "/v1/InstalledAddOns", data=INSTALL)
    await wire("GET", "/v1/Listings", headers={"Authorization": "Basic geheim"})
    log = wire.emulator.log
    assert [(entry.method, entry.path, entry.query, entry.status) for entry in log] == [
        ("GET", "/v1/InstalledAddOns", "PageSize=5", 200),
        ("POST", "/v1/InstalledAddOns", "", 201),
        ("GET", "/v1/Listings", "", 401),
    ]
    assert log[1].request_id == headers["Twilio-Request-Id"]
    assert log[1].body == f"AvailableAddOnSid={SPAM_SCORE}&AcceptTermsOfService=true".encode()
    assert [entry.account_sid for entry in log] == [AC, AC, None]
    assert log.matching("POST") == [log[1]]
    assert log.matching(path="/v1/Inst*") == [log[0], log[1]]
    assert "geheim" not in repr(list(log))
    log.clear()
    assert len(log) == 0


async def test_faults_log_and_usage_can_be_had_over_http(wire: Wire) -> None:
    wanted = {"method": "GET", "path": "/v1/Listings", "status": 503, "times": 2}
    status, fault, _ = await wire("POST", "/_emulator/faults", json=wanted)
    assert (status, fault["times"], fault["hits"]) == (201, 2, 0)
    assert (await wire("GET", "/v1/Listings"))[0] == 503
    _, body, _ = await wire("GET", "/_emulator/faults")
    assert [one["hits"] for one in body["faults"]] == [1]
    assert (await wire("DELETE", "/_emulator/faults"))[0] == 204
    assert (await wire("GET", "/v1/Listings"))[0] == 200
    await wire("POST", "/v1/Listings", data={"ModuleInfo": "{}"})
    _, body, _ = await wire("GET", "/_emulator/log")
    assert [(one["path"], one["status"]) for one in body["log"]] == [
        ("/v1/Listings", 503),
        ("/v1/Listings", 200),
        ("/v1/Listings", 200),
    ]
    assert body["log"][-1]["body"] == "ModuleInfo=%7B%7D"
    assert (await wire("DELETE", "/_emulator/log"))[0] == 204
    assert len(wire.emulator.log) == 0
    (sid,) = wire.emulator.install(AC, SPAM_SCORE)
    await report(wire.emulator, sid)
    _, body, _ = await wire("GET", "/_emulator/usage")
    assert [item["quantity"] for item in body["usage"]] == [1.5, 2]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (b"{", "truncated"),
        (b"[]", "Expected `object`"),
        (b"{}", "a fault needs a status"),
        (b'{"status": 503, "color": 1}', "a fault has no 'color'"),
        (b'{"hits": 1}', "a fault has no 'hits'"),
        (b'{"status": 503, "path": 5}', ""),
    ],
)
async def test_a_fault_over_http_that_makes_no_sense_is_refused(
    wire: Wire, wanted: bytes, message: str
) -> None:
    status, body, _ = await wire("POST", "/_emulator/faults", data=wanted)
    assert status == 400
    assert message in body["message"]


async def test_a_failure_inside_the_emulator_is_an_answer_and_a_log_line(
    wire: Wire, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("marketplace_async.emulator.store.Store.installations", fail)
    status, body, _ = await wire("GET", "/v1/InstalledAddOns")
    assert (status, body["code"]) == (500, 20500)
    assert "GET /v1/InstalledAddOns failed" in caplog.text


# -- start, stop, and what survives


async def test_an_emulator_starts_once_and_can_be_started_again() -> None:
    emulator = Emulator()
    with pytest.raises(RuntimeError, match="not running"):
        _ = emulator.url
    with pytest.raises(RuntimeError, match="not running"):
        emulator.usage()
    for _ in range(2):
        await emulator.start()
        with pytest.raises(RuntimeError, match="running already"):
            await emulator.start()
        emulator.install(AC, SPAM_SCORE)
        await emulator.stop()
        await emulator.stop()


async def test_a_port_that_is_taken_is_an_error_that_leaves_nothing_open() -> None:
    async with Emulator() as emulator:
        port = int(emulator.url.rpartition(":")[2])
        with pytest.raises(OSError, match="address already in use"):
            await Emulator(port=port).start()


async def test_an_ipv6_address_stands_in_brackets() -> None:
    try:
        async with Emulator(host="::1") as emulator:
            assert emulator.url.startswith("http://[::1]:")
    except OSError:
        pytest.skip("no IPv6 on this machine")


async def test_only_what_is_on_offer_can_be_installed_beforehand(wire: Wire) -> None:
    with pytest.raises(ValueError, match="account_sid: expected AC and 32 hex digits"):
        wire.emulator.install("me", SPAM_SCORE)
    with pytest.raises(ValueError, match="Configuration does not match the schema"):
        wire.emulator.install(AC, SPAM_SCORE, {"unknown": 1}, times=3)
    with pytest.raises(ValueError, match="is not on offer"):
        wire.emulator.install(AC, "XB" + "0" * 32)


async def test_state_in_a_file_survives_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    catalogue = restricted()
    async with (
        Emulator(db=file, catalogue=catalogue) as emulator,
        aiohttp.ClientSession() as session,
    ):
        (sid,) = emulator.install(AC, "XB" + "c" * 32)
        await wired(session, emulator, "POST", "/v1/Listings", data={"ModuleInfo": '{"a": 1}'})
        await report(emulator, sid)
    async with Emulator(db=file) as emulator, aiohttp.ClientSession() as session:
        _, installed, _ = await wired(session, emulator, "GET", f"/v1/InstalledAddOns/{sid}")
        assert installed["friendly_name"] == "A"
        _, own, _ = await wired(session, emulator, "GET", "/v1/Listings")
        assert own == {"listings": [{"a": 1}]}
        assert len(emulator.usage()) == 2
        # The add-on has left the catalogue: no schema to check against, no extensions, no usage.
        path = f"/v1/InstalledAddOns/{sid}"
        data = {"Configuration": '{"x": 1}'}
        assert (await wired(session, emulator, "POST", path, data=data))[0] == 200
        _, page, _ = await wired(session, emulator, "GET", f"{path}/Extensions")
        assert page["extensions"] == []
        assert (await report(emulator, sid))[0] == 404


def start(*arguments: str) -> tuple["subprocess.Popen[str]", str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "marketplace_async", "emulator", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


async def test_nothing_that_was_acknowledged_is_lost_by_kill_9(tmp_path: Path) -> None:
    file = str(tmp_path / "state.db")
    process, url = await asyncio.to_thread(start, "--db", file)
    acknowledged: list[str] = []

    async def install(session: aiohttp.ClientSession) -> None:
        while True:
            async with session.post(f"{url}/v1/InstalledAddOns", data=INSTALL) as answer:
                acknowledged.append((await answer.json())["sid"])
                if len(acknowledged) == 200:
                    process.send_signal(signal.SIGKILL)

    async with aiohttp.ClientSession(headers=basic()) as session:
        workers = [asyncio.ensure_future(install(session)) for _ in range(8)]
        results = await asyncio.gather(*workers, return_exceptions=True)
    assert all(isinstance(result, aiohttp.ClientError) for result in results)
    await asyncio.to_thread(process.communicate)
    async with Emulator(db=Path(file)) as emulator, aiohttp.ClientSession() as session:
        _, page, _ = await wired(session, emulator, "GET", "/v1/InstalledAddOns?PageSize=1000")
    found = {item["sid"] for item in page["installed_add_ons"]}
    assert len(acknowledged) >= 200
    assert set(acknowledged) <= found
    assert len(found) <= len(acknowledged) + 8


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(number: signal.Signals) -> None:
    process, url = start()
    assert url.startswith("http://127.0.0.1:")
    process.send_signal(number)
    assert process.communicate(timeout=10)[0] == ""
    assert process.returncode == 0


async def test_what_nobody_waits_for_when_it_is_stopped_fails_in_silence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    emulator = Emulator()
    await emulator.start()
    fault = emulator.faults.add("GET", "*", delay=1.5)  # longer than it is given to stop
    async with aiohttp.ClientSession() as session:
        asking = asyncio.ensure_future(wired(session, emulator, "GET", "/v1/InstalledAddOns"))
        while not fault.hits:
            await asyncio.sleep(0.01)
        asking.cancel()
    await emulator.stop()
    await asyncio.sleep(1.6)
    assert caplog.records == []
