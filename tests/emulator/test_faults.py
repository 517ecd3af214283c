"""Faults, limits and the log of the emulator, over plain HTTP."""

import asyncio
from typing import Any

import aiohttp
import pytest
from support.plain_http import AC, INSTALL, SPAM_SCORE, Http, basic, report, send

from marketplace_async import MarketplaceClient, Retry, TransportError
from marketplace_async.emulator import Emulator, Fault
from marketplace_async.testing import account


async def test_a_fault_affects_the_given_number_of_matching_requests(http: Http) -> None:
    fault = http.emulator.faults.add("GET", "/v1/Inst*", status=503, retry_after=3, times=2)
    other = [(await http("GET", "/v1/AvailableAddOns"))[0], (await http("POST", "/v1/Listings"))[0]]
    assert other == [200, 400]
    status, body, headers = await http("GET", "/v1/InstalledAddOns")
    assert (status, body["code"], body["message"]) == (503, 20503, "Service Unavailable")
    assert headers["Retry-After"] == "3"
    assert (await http("GET", "/v1/InstalledAddOns/XE1"))[0] == 503
    assert (await http("GET", "/v1/InstalledAddOns"))[0] == 200
    assert fault.hits == 2
    http.emulator.faults.add("*", "*", status=599, code=7, times=None)
    status, body, _ = await http("GET", "/v1/InstalledAddOns")
    assert (status, body["code"], body["message"]) == (599, 7, "Injected fault")
    http.emulator.faults.clear()
    assert (await http("GET", "/v1/InstalledAddOns"))[0] == 200


@pytest.mark.parametrize(("when", "count"), [("before", 0), ("after", 1)])
async def test_a_fault_is_injected_before_or_after_the_request_takes_effect(
    http: Http, when: Any, count: int
) -> None:
    http.emulator.faults.add("POST", "*", status=500, when=when)
    assert (await http("POST", "/v1/InstalledAddOns", data=INSTALL))[0] == 500
    http.emulator.faults.add("POST", "*", drop=True, when=when)
    with pytest.raises(aiohttp.ClientConnectionError):
        await http("POST", "/v1/InstalledAddOns", data=INSTALL)
    _, page, _ = await http("GET", "/v1/InstalledAddOns")
    assert len(page["installed_add_ons"]) == 2 * count
    assert [entry.status for entry in http.emulator.log] == [500, None, 200]


async def test_a_drip_sends_the_response_byte_by_byte(http: Http) -> None:
    http.emulator.faults.add("GET", "*", drip=0.001)
    loop = asyncio.get_running_loop()
    started = loop.time()
    status, body, headers = await http("GET", "/v1/InstalledAddOns")
    assert (status, body["installed_add_ons"]) == (200, [])
    assert loop.time() - started > 0.001 * int(headers["Content-Length"])


async def test_a_client_that_times_out_in_a_drip_is_no_error_of_the_emulator(
    http: Http, caplog: pytest.LogCaptureFixture
) -> None:
    http.emulator.faults.add("GET", "*", drip=0.01)
    client = MarketplaceClient(
        account(), base_url=http.emulator.url, timeout=0.1, retry=Retry(attempts=1)
    )
    async with client:
        with pytest.raises(TransportError):
            await client.installed_add_ons.list().collect()
    await asyncio.sleep(0.1)
    assert (await http("GET", "/v1/InstalledAddOns"))[0] == 200
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_delay_postpones_one_response(http: Http) -> None:
    http.emulator.faults.add("GET", "*", delay=0.1)
    loop = asyncio.get_running_loop()
    started = loop.time()
    assert (await http("GET", "/v1/InstalledAddOns"))[0] == 200
    assert loop.time() - started >= 0.1
    started = loop.time()
    assert (await http("GET", "/v1/InstalledAddOns"))[0] == 200
    assert loop.time() - started < 0.1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({}, "a fault needs a status, drop, delay, body, next_link or drip"),
        ({"status": 500, "drop": True}, "cannot both set a status and drop"),
        ({"status": 99}, "status: must be from 200 to 599"),
        ({"delay": -1}, "delay: must be at least 0, got -1"),
        ({"status": "x"}, "status: must be from 200 to 599"),
        ({"status": 500, "method": "get"}, "method: must be an uppercase word"),
        ({"status": 500, "path": "v1/x"}, "path: must start with /"),
        ({"status": 500, "probability": 2}, "probability: must be from 0 to 1, got 2"),
        ({"body": "burnt"}, "body: must be one of"),
        ({"status": 500, "times": -1}, "times: must be at least 0"),
        ({"status": 500, "when": "later"}, "when: must be one of"),
    ],
)
def test_an_invalid_fault_is_rejected(fault: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Fault(**fault)


async def test_an_account_beyond_its_limit_is_throttled_and_other_accounts_are_not() -> None:
    async with (
        Emulator(concurrency=3, latency=0.1) as emulator,
        aiohttp.ClientSession() as session,
    ):
        path = "/v1/InstalledAddOns"
        responses = await asyncio.gather(
            *(send(session, emulator, "GET", path) for _ in range(5)),
            *(
                send(session, emulator, "GET", path, headers=basic("AC" + "2" * 32))
                for _ in range(3)
            ),
        )
        assert sorted(status for status, _, _ in responses[:5]) == [200, 200, 200, 429, 429]
        assert {status for status, _, _ in responses[5:]} == {200}
        (throttled, *_) = (body for status, body, _ in responses if status == 429)
        assert throttled["code"] == 20429
        in_flight = [
            int(headers["Twilio-Concurrent-Requests"])
            for status, _, headers in responses
            if status == 200
        ]
        assert max(in_flight) == 3
        assert (await send(session, emulator, "GET", path))[0] == 200


async def test_the_log_contains_the_requests_without_credentials(http: Http) -> None:
    await http("GET", "/v1/InstalledAddOns?PageSize=5")
    _, _, headers = await http("POST", "/v1/InstalledAddOns", data=INSTALL)
    await http("GET", "/v1/Listings", headers={"Authorization": "Basic secret-value"})
    log = http.emulator.log
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
    assert "secret-value" not in repr(list(log))
    log.clear()
    assert len(log) == 0


async def test_faults_log_and_usage_are_available_over_http(http: Http) -> None:
    attributes = {"method": "GET", "path": "/v1/Listings", "status": 503, "times": 2}
    status, fault, _ = await http("POST", "/_emulator/faults", json=attributes)
    assert (status, fault["times"], fault["hits"]) == (201, 2, 0)
    assert (await http("GET", "/v1/Listings"))[0] == 503
    _, body, _ = await http("GET", "/_emulator/faults")
    assert [one["hits"] for one in body["faults"]] == [1]
    assert (await http("DELETE", "/_emulator/faults"))[0] == 204
    assert (await http("GET", "/v1/Listings"))[0] == 200
    await http("POST", "/v1/Listings", data={"ModuleInfo": "{}"})
    _, body, _ = await http("GET", "/_emulator/log")
    assert [(one["path"], one["status"]) for one in body["log"]] == [
        ("/v1/Listings", 503),
        ("/v1/Listings", 200),
        ("/v1/Listings", 200),
    ]
    assert body["log"][-1]["body"] == "ModuleInfo=%7B%7D"
    assert (await http("DELETE", "/_emulator/log"))[0] == 204
    assert len(http.emulator.log) == 0
    (sid,) = http.emulator.install(AC, SPAM_SCORE)
    await report(http.emulator, sid)
    _, body, _ = await http("GET", "/_emulator/usage")
    assert [item["quantity"] for item in body["usage"]] == [1.5, 2]


async def test_an_internal_error_sends_a_response_and_logs_a_line(
    http: Http, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("marketplace_async.emulator.store.Store.installations", fail)
    status, body, _ = await http("GET", "/v1/InstalledAddOns")
    assert (status, body["code"]) == (500, 20500)
    assert "GET /v1/InstalledAddOns failed" in caplog.text
