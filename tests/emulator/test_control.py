"""The control API of the emulator, over plain HTTP."""

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import attrs
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from support.plain_http import AC, FORM, INSTALL, SPAM_SCORE, XE, Http, basic, report, send

from marketplace_async.emulator import Emulator, Fault, RequestLog
from marketplace_async.emulator.control_description import describe
from marketplace_async.emulator.control_routes import ROOT, ROUTES
from marketplace_async.emulator.request_log import Exchange

OTHER = "AC" + "2" * 32
LISTINGS = "/v1/Listings"


async def fetch(http: Http, path: str) -> Any:
    status, body, _ = await http("GET", ROOT + path)
    assert status == 200, body
    return body


# -- the description


def test_every_route_and_every_attribute_is_explained() -> None:
    description = describe(ROOT, ROUTES)
    operations = [(path, method) for path, item in description["paths"].items() for method in item]
    assert len(operations) == len(ROUTES)
    for name, schema in description["components"]["schemas"].items():
        assert schema["description"], name
        if name in ("Fault", "Install", "LogRecord", "Health"):
            for attribute, property_ in schema["properties"].items():
                assert property_["description"], f"{name}.{attribute}"
    fault = description["components"]["schemas"]["Fault"]
    assert fault["properties"].keys() == {field.name for field in attrs.fields(Fault)}
    assert fault["properties"]["hits"]["readOnly"] is True


async def test_the_description_is_available_over_http(http: Http) -> None:
    assert await fetch(http, "/openapi.json") == json.loads(json.dumps(describe(ROOT, ROUTES)))


schema = schemathesis.openapi.from_dict(describe(ROOT, ROUTES))


@pytest.fixture(scope="module")
def running() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


@schema.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_responses_to_generated_requests_match_the_description(
    case: "schemathesis.Case[Any]", running: Emulator
) -> None:
    case.call_and_validate(
        base_url=running.url,
        timeout=10,
        checks=[
            *(not_a_server_error, response_schema_conformance, content_type_conformance),
            status_code_conformance,
        ],
    )


# -- state


async def test_health_says_which_emulator_it_is(http: Http) -> None:
    await http("GET", LISTINGS)
    health = await fetch(http, "/health")
    assert health["status"] == "ok"
    assert health["url"] == http.emulator.url
    assert health["accepts_any_credentials"] is True
    assert health["last_number"] == 1
    async with Emulator(accounts={AC: "x"}) as emulator, aiohttp.ClientSession() as session:
        _, other, _ = await send(session, emulator, "GET", f"{ROOT}/health")
    assert other["accepts_any_credentials"] is False
    assert other["emulator"] != health["emulator"]


async def test_state_is_set_up_looked_at_and_reset(http: Http) -> None:
    subaccounts = {"owner_account_sid": AC, "count": 2, "friendly_name": "Shop {number}"}
    status, created, _ = await http("POST", f"{ROOT}/accounts", json=subaccounts)
    assert (status, [one["friendly_name"] for one in created["accounts"]]) == (
        201,
        ["Shop 1", "Shop 2"],
    )
    shop = created["accounts"][0]
    status, page, _ = await http(
        "GET", "/v1/InstalledAddOns", headers=basic(shop["sid"], shop["auth_token"])
    )
    assert (status, page["installed_add_ons"]) == (200, [])
    assert [one["auth_token"] is None for one in (await fetch(http, "/accounts"))["accounts"]] == [
        *(True, False, False)
    ]
    install = {"account_sid": shop["sid"], "available_add_on_sid": SPAM_SCORE, "times": 3}
    status, installed, _ = await http("POST", f"{ROOT}/install", json=install)
    assert (status, len(installed["sids"])) == (201, 3)
    enable = {"installed_add_on_sid": installed["sids"][0], "extension": "lookup-api"}
    assert (await http("POST", f"{ROOT}/enable", json=enable))[0] == 204
    _, own, _ = await http("POST", "/v1/InstalledAddOns", data=INSTALL)
    await report(http.emulator, own["sid"])
    state = await fetch(http, "/state")
    assert [one["account_sid"] for one in state["installations"]] == [shop["sid"]] * 3 + [AC]
    assert [one["enabled"] for one in state["extensions"]] == [True] + [False] * 7
    assert [one["quantity"] for one in state["usage"]] == [1.5, 2]
    assert shop["auth_token"] not in json.dumps(state)
    assert (await fetch(http, "/usage"))["usage"] == state["usage"]
    assert (await http("POST", f"{ROOT}/reset"))[0] == 204
    assert (await fetch(http, "/state"))["installations"] == []
    assert (await fetch(http, "/log"))["log"] == []


async def test_a_large_state_is_looked_at_account_by_account(http: Http) -> None:
    emulator = http.emulator
    ((shop, _),) = emulator.add_subaccounts(AC, friendly_name="Shop")
    emulator.install(shop, SPAM_SCORE, times=5)
    (sid,) = emulator.install(OTHER, SPAM_SCORE)
    await report(emulator, sid, OTHER)
    await http("POST", LISTINGS, data={"ModuleInfo": "{}"})
    page = await fetch(http, "/accounts")
    names = ("sid", "installations", "usage_items", "listings")
    assert [tuple(one[name] for name in names) for one in page["accounts"]] == [
        (AC, 0, 0, 1),
        (shop, 5, 0, 0),
        (OTHER, 1, 2, 0),
    ]
    assert page["total"] == 3
    short = await fetch(http, "/accounts?limit=1")
    assert ([one["sid"] for one in short["accounts"]], short["total"]) == ([AC], 3)
    state = await fetch(http, f"/state?account_sid={shop}&limit=2")
    assert [one["sid"] for one in state["accounts"]] == [shop]
    assert len(state["installations"]) == 2
    assert {one["installed_add_on_sid"] for one in state["extensions"]} == {
        one["sid"] for one in state["installations"]
    }
    assert (state["usage"], state["listings"]) == ([], [])
    state = await fetch(http, f"/state?account_sid={OTHER}")
    assert (len(state["installations"]), len(state["usage"])) == (1, 2)
    assert [one["sid"] for one in (await fetch(http, "/state?limit=3"))["listings"]] != []


async def test_the_catalogue_is_listed(http: Http) -> None:
    add_ons = (await fetch(http, "/catalogue"))["add_ons"]
    assert SPAM_SCORE in [one["sid"] for one in add_ons]
    assert add_ons[0]["configuration_schema"]["type"] == "object"


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/faults", b"{", "truncated"),
        ("/faults", b"[]", "Expected `object`"),
        ("/faults", b"{}", "a fault needs a status"),
        ("/faults", b'{"status": 503, "color": 1}', "unknown attribute 'color': must be one of"),
        ("/faults", b'{"hits": 1}', "unknown attribute 'hits'"),
        ("/faults", b'{"status": 503, "path": 5}', "Expected `str`, got `int` - at `$.path`"),
        ("/faults", b'{"a":' * 100_000, "nested too deeply"),
        ("/install", b"{}", "missing required field `account_sid`"),
        ("/install", b'{"account_sid": "me", "available_add_on_sid": "XB"}', "account_sid: must"),
        (
            "/install",
            msgspec.json.encode(
                {"account_sid": AC, "available_add_on_sid": SPAM_SCORE, "times": -1}
            ),
            "times: must be a whole number of at least 0, got -1",
        ),
        (
            "/install",
            msgspec.json.encode(
                {"account_sid": AC, "available_add_on_sid": SPAM_SCORE, "times": 10**9}
            ),
            "times: must be at most 10000, got 1000000000",
        ),
        ("/accounts", b'{"owner_account_sid": "me"}', "owner_account_sid: must be AC"),
        ("/enable", b'{"installed_add_on_sid": "XE1", "extension": "x"}', "XE1 is not installed"),
        ("/enable", b"\xff", "invalid"),
    ],
)
async def test_an_invalid_body_is_rejected_with_the_reason(
    http: Http, path: str, body: bytes, message: str
) -> None:
    json_type = {"Content-Type": "application/json"}
    status, problem, _ = await http("POST", ROOT + path, data=body, headers=json_type)
    assert (status, message in problem["message"]) == (400, True), problem


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/log/1", 404),
        ("PUT", "/faults", 405),
        ("GET", "/log?after=-1", 400),
        ("GET", "/log?limit=1001", 400),
        ("GET", "/state?account_sid=me", 400),
        ("GET", "/log?limit=\u0663", 400),
        ("GET", "/log/x", 400),
    ],
)
async def test_unknown_paths_methods_and_values_are_rejected(
    http: Http, method: str, path: str, status: int
) -> None:
    actual, problem, _ = await http(method, ROOT + path)
    assert actual == status
    assert problem["message"]


# -- the log


async def test_an_entry_shows_both_bodies_the_time_and_the_fault(http: Http) -> None:
    http.emulator.faults.add("POST", "/v1/InstalledAddOns", delay=0.05)
    before = time.time()
    _, installed, _ = await http("POST", "/v1/InstalledAddOns?a=b", data=INSTALL)
    http.emulator.faults.add("POST", "*", drop=True)
    with pytest.raises(aiohttp.ClientConnectionError):
        await http("POST", LISTINGS)
    created, dropped = (await fetch(http, "/log"))["log"]
    entry = http.emulator.log[0]
    assert before - 1 < entry.time.timestamp() < time.time() + 1
    assert 0.05 <= entry.duration < 5
    assert created["duration"] == pytest.approx(entry.duration, abs=1e-5)
    assert (created["number"], created["query"]) == (1, "a=b")
    assert created["body"] == f"AvailableAddOnSid={SPAM_SCORE}&AcceptTermsOfService=true"
    assert json.loads(created["response_body"]) == installed
    assert (created["fault"]["delay"], created["fault"]["hits"]) == (0.05, 1)
    assert entry.fault is next(iter(http.emulator.faults))
    assert (dropped["status"], dropped["fault"]["drop"]) == (None, True)
    assert await fetch(http, "/log/1") == created


async def test_credentials_are_masked_in_the_log(http: Http) -> None:
    form = {"grant_type": "client_credentials", "client_id": "OQ" + "1" * 32}
    _, token, _ = await http("POST", "/v2/token", data={**form, "client_secret": "secret-1"})
    headers = {"Authorization": f"Bearer {token['access_token']}", "Cookie": "secret-2"}
    await http("GET", LISTINGS, headers=headers)
    await http("GET", LISTINGS, headers={"Authorization": "secret-3"})
    await http("GET", LISTINGS, headers=basic(AC, "secret-4"))
    _, account, _ = await http("POST", "/2010-04-01/Accounts.json", data={"FriendlyName": "Shop"})
    await http("POST", LISTINGS, data={**form, "client_secret": "secret-5"})
    await http("POST", LISTINGS, json={"client_secret": 'secret-"6', "auth_token": "secret-7"})
    await http("POST", LISTINGS, data=b'{"auth_token": "secret-8' + b"x" * 300_000)
    text = json.dumps(await fetch(http, "/log")) + repr(list(http.emulator.log))
    assert "secret-" not in text
    assert token["access_token"] not in text
    assert account["auth_token"] not in text
    assert basic(AC, "secret-4")["Authorization"].split()[1] not in text
    shown = [
        dict(entry["headers"]).get("Authorization") for entry in (await fetch(http, "/log"))["log"]
    ]
    assert shown[1:4] == ["Bearer ***", "***", "Basic ***"]


async def test_a_log_is_read_from_where_the_reader_is(http: Http) -> None:
    for _ in range(5):
        await http("GET", LISTINGS)
    page = await fetch(http, "/log?after=2&limit=2")
    assert ([one["number"] for one in page["log"]], page["last_number"]) == ([3, 4], 5)
    assert (await fetch(http, "/log?after=5"))["log"] == []
    (summary,) = (await fetch(http, "/log?after=4&summaries=1"))["log"]
    assert (summary["headers"], summary["body"], summary["response_body"]) == (None, None, None)
    await http("DELETE", f"{ROOT}/log")
    await http("GET", LISTINGS)
    assert [one["number"] for one in (await fetch(http, "/log?after=5"))["log"]] == [6]
    # A number that this emulator has not reached is one of an emulator before it.
    assert [one["number"] for one in (await fetch(http, "/log?after=900"))["log"]] == [6]


async def test_long_headers_and_paths_count_as_well(http: Http) -> None:
    log = http.emulator.log
    for _ in range(3000):
        headers = [(b"X-%d" % number, b"x" * 2000) for number in range(5)]
        log.append(Exchange("GET", "/", "", headers, b"", None, 401, b"", "", 0.0, 0.0, None))
    held = sum(len(value) for entry in log for _, value in entry.headers)
    assert 15 * 1024 * 1024 < held <= 16 * 1024 * 1024
    assert (log[0].headers, log[0].truncated) == ((), True)


async def test_the_bodies_in_the_log_are_bounded(http: Http) -> None:
    for number in range(120):
        data = b"%d:" % number + b"x" * 400_000
        # Nobody authenticated these.
        await http("POST", LISTINGS, data=data, headers={"Authorization": "none"})
    log = http.emulator.log
    assert len(log) == 120
    assert sum(len(entry.body) + len(entry.response_body) for entry in log) <= 16 * 1024 * 1024
    assert log[-1].body.startswith(b"119:x")
    assert len(log[-1].body) == 256 * 1024
    assert log[-1].truncated
    assert (log[0].body, log[0].status, log[0].truncated) == (b"", 401, True)
    log.clear()
    await http("POST", LISTINGS, data=b"a=b")
    assert (log[0].body, log[0].truncated) == (b"a=b", False)


def test_a_full_log_drops_its_oldest_entries_and_their_bodies() -> None:
    log = RequestLog(size=100)
    size = 200 * 1024
    for number in range(250):
        log.append(
            Exchange(
                *("POST", f"/{number}", "", (), b"x" * (number % 2 * size), None, 200),
                *(b"", "", 0.0, 0.0, None),
            )
        )
        if number % 10 > 1:
            continue
        held = sum(len(entry.body) for entry in log)
        assert held <= 16 * 1024 * 1024
        assert held >= min((number + 1) // 2, 50) * size
    assert [entry.path for entry in log] == [f"/{number}" for number in range(150, 250)]


# -- the log as a stream


@asynccontextmanager
async def stream(
    emulator: Emulator, query: str = "", **headers: str
) -> AsyncIterator[AsyncIterator[tuple[str, Any]]]:
    async def events(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Any]]:
        name = ""
        async for line in response.content:
            field, _, value = line.decode().rstrip("\n").partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                yield name, json.loads(value)

    accept = {"Accept": "text/event-stream", **headers}
    async with (
        aiohttp.ClientSession() as session,
        asyncio.timeout(20),
        session.get(f"{emulator.url}{ROOT}/log{query}", headers=accept) as response,
    ):
        assert response.headers["Content-Type"].startswith("text/event-stream")
        yield events(response)


async def test_a_stream_sends_what_was_logged_and_then_each_new_entry(http: Http) -> None:
    for _ in range(250):
        await http("GET", LISTINGS)
    async with stream(http.emulator, "?after=10&summaries=1") as events:
        health = await fetch(http, "/health")
        assert await anext(events) == ("emulator", {"emulator": health["emulator"]})
        numbers = [(await anext(events))[1]["number"] for _ in range(240)]
        assert numbers == list(range(11, 251))
        await http("GET", "/v1/AvailableAddOns")
        name, entry = await anext(events)
        assert (name, entry["path"], entry["body"]) == ("request", "/v1/AvailableAddOns", None)
        http.emulator.log.clear()
        assert await anext(events) == ("cleared", {})
        await http("POST", LISTINGS, data={"ModuleInfo": "{}"})
        _, entry = await anext(events)
        assert entry["number"] == 252


async def test_a_stream_that_reconnects_continues_after_the_last_event(http: Http) -> None:
    for _ in range(3):
        await http("GET", LISTINGS)
    async with stream(http.emulator, "?after=0", **{"Last-Event-ID": "2"}) as events:
        await anext(events)
        assert (await anext(events))[1]["number"] == 3
    async with stream(http.emulator, "?after=0", **{"Last-Event-ID": "99"}) as events:
        await anext(events)
        assert (await anext(events))[1]["number"] == 1


async def test_a_stream_does_not_delay_the_stop() -> None:
    async with Emulator() as emulator:
        async with stream(emulator) as events:
            await anext(events)
            started = time.perf_counter()
            await emulator.stop()
            assert time.perf_counter() - started < 0.8
            assert [event async for event in events] == []


async def test_a_stream_ends_when_its_client_disconnects(http: Http) -> None:
    async with stream(http.emulator) as events:
        await anext(events)
        assert len(http.emulator.log._watchers) == 1
    await http("GET", LISTINGS)
    async with asyncio.timeout(10):
        while http.emulator.log._watchers:
            await asyncio.sleep(0.05)


# -- web pages

SAME = {"Sec-Fetch-Site": "same-origin"}
CROSS = {"Sec-Fetch-Site": "cross-site"}
LINK = {**CROSS, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@pytest.mark.parametrize(
    ("headers", "accepted"),
    [
        ({}, True),
        (SAME, True),
        ({"Origin": "http://{address}"}, True),
        ({"Origin": "https://{address}"}, True),  # behind a TLS proxy that sends no X-Forwarded-*
        ({"Host": "localhost:{port}", "Origin": "http://localhost:{port}"}, True),
        ({"Host": "app.localhost"}, True),
        ({"Host": "[::1]:{port}"}, True),
        ({"Host": "127.0.0.2"}, True),
        ({"Host": "ok.example"}, True),
        ({"Host": "OK.example:{port}", "Origin": "http://ok.example:{port}"}, True),
        ({"X-Forwarded-Host": "front.example", "Origin": "https://front.example"}, True),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "http://127.0.0.1:1"}, False),
        ({"Origin": "http://localhost:{port}"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": ""}, False),
        ({"Origin": "http://[::1"}, False),
        (CROSS, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        # DNS rebinding
        ({"Host": "evil.example:{port}"}, False),
        ({"Host": "evil.example", "Origin": "http://evil.example", **SAME}, False),
        ({"Host": "127.0.0.1.evil.example"}, False),
        ({"Host": "localhost.evil.example"}, False),
    ],
)
async def test_no_web_page_drives_an_emulator(headers: dict[str, str], accepted: bool) -> None:
    async with Emulator(allow_hosts=["ok.example"]) as emulator:
        address = emulator.url.removeprefix("http://")
        port = address.rpartition(":")[2]
        headers = {
            name: value.replace("{address}", address).replace("{port}", port)
            for name, value in headers.items()
        }
        async with aiohttp.ClientSession() as session:
            for method, path in (("POST", "/reset"), ("GET", "/log"), ("GET", "/")):
                async with session.request(
                    method, f"{emulator.url}{ROOT}{path}", headers=headers
                ) as response:
                    assert (response.status < 300) is accepted
                    assert "Access-Control-Allow-Origin" not in response.headers
                    if not accepted:
                        assert response.status == 403
                        assert (await response.json())["message"]


async def test_a_link_on_another_site_opens_the_page_but_sends_nothing_else(http: Http) -> None:
    async def status(method: str, path: str) -> int:
        url = http.emulator.url + ROOT + path
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, url, headers=LINK) as response,
        ):
            return response.status

    assert await status("GET", "/") == 200
    assert await status("POST", "/reset") == 403


async def test_the_names_are_not_checked_where_other_machines_connect() -> None:
    async with Emulator(host="0.0.0.0") as emulator, aiohttp.ClientSession() as session:
        for host, status in (("build-7.lan", 204), ("10.0.0.7", 204)):
            headers = {"Host": host}
            got = await send(session, emulator, "POST", f"{ROOT}/reset", headers=headers)
            assert got[0] == status
        origin = {"Origin": "http://evil.example"}
        got = await send(session, emulator, "POST", f"{ROOT}/reset", headers=origin)
        assert got[0] == 403


@pytest.mark.parametrize("content_type", [FORM, "text/plain", "multipart/form-data", ""])
async def test_a_body_must_be_declared_as_json(http: Http, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    data = b'{"status": 500, "path": "*"}'
    status, problem, _ = await http("POST", f"{ROOT}/faults", data=data, headers=headers)
    assert (status, "Content-Type: application/json" in problem["message"]) == (415, True)
    assert list(http.emulator.faults) == []


async def test_a_body_that_is_too_large_is_rejected(http: Http) -> None:
    headers = {"Content-Type": "application/json"}
    data = io.BytesIO(b'{"friendly_name": "' + b"x" * (9 * 1024 * 1024))
    status, problem, _ = await http("POST", f"{ROOT}/accounts", data=data, headers=headers)
    assert (status, "larger than" in problem["message"]) == (413, True)


async def test_the_api_answers_preflights_as_it_announces(http: Http) -> None:
    preflight = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "DELETE",
        "Access-Control-Request-Headers": "authorization",
        "Authorization": "",
    }
    status, _, headers = await http("OPTIONS", f"/v1/InstalledAddOns/{XE}", headers=preflight)
    assert status == 204
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert "DELETE" in headers["Access-Control-Allow-Methods"]
    assert "Authorization" in headers["Access-Control-Allow-Headers"]
    assert (await http("OPTIONS", f"{ROOT}/reset", headers=preflight))[0] == 403
    assert (await http("OPTIONS", LISTINGS))[0] == 405
