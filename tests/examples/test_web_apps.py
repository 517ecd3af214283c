"""Each application under `examples/` serves records, and maps the errors of the client."""

import importlib
import json
import sys
from typing import Any

import pytest
from support.every_error import every_error
from support.services import EXAMPLES, output_so_far, service

from marketplace_async import MarketplaceClient, Request, Response, to_dict
from marketplace_async.emulator import Emulator
from marketplace_async.testing import account

SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
SPEECH = "XB85b56ed9ce713e0ac62342b901233193"
NEW = {
    "available_add_on_sid": SPEECH,
    "unique_name": "speech",
    "configuration": {"callback_url": "https://example.com", "callback_method": "POST"},
}
ASGI = ["fastapi", "starlette", "litestar", "quart", "django"]
FRAMEWORKS = [*ASGI, "aiohttp"]


def command(framework: str, port: int) -> list[str]:
    pytest.importorskip(framework, reason=f"the example runs on {framework}")
    if framework == "aiohttp":
        return ["aiohttp_app.py"]
    pytest.importorskip("uvicorn", reason="the example runs on uvicorn")
    name = "application" if framework == "django" else "app"
    return ["-m", "uvicorn", f"{framework}_app:{name}", "--port", str(port), "--no-access-log"]


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_an_application_serves_records_and_maps_errors(
    framework: str,
    marketplace_emulator: Emulator,
    marketplace_client: MarketplaceClient,
    unused_tcp_port: int,
) -> None:
    faults = marketplace_emulator.faults
    (sid,) = marketplace_emulator.install(account().account_sid, SPAM_SCORE)
    record = to_dict(await marketplace_client.installed_add_ons.fetch(sid))
    base_url = marketplace_emulator.url
    arguments = command(framework, unused_tcp_port)
    async with service(*arguments, base_url=base_url, port=unused_tcp_port) as (session, process):

        async def call(method: str, path: str, body: Any = None) -> tuple[int, Any, Any]:
            async with session.request(method, path, json=body) as response:
                return response.status, json.loads(await response.read()), response.headers

        assert (await call("GET", "/add-ons"))[:2] == (200, [record])
        assert (await call("GET", f"/add-ons/{sid}"))[:2] == (200, record)
        assert (await call("GET", "/health"))[:2] == (200, {"status": "ok"})

        status, installed, _ = await call("POST", "/add-ons", NEW)
        assert (status, installed["configuration"]) == (201, NEW["configuration"])
        status, document, _ = await call("POST", "/add-ons", NEW)
        assert (status, document["error"]) == (409, "the unique name is taken")

        status, document, _ = await call("GET", f"/add-ons/XE{'f' * 32}")
        assert (status, document["error"]) == (404, "no such Add-on")
        assert document["request_id"].startswith("RQ")
        status, document, _ = await call("GET", "/add-ons/XE1")
        assert status == 422
        assert "is not the SID of an installed Add-on" in document["error"]
        status, document, _ = await call("POST", "/add-ons", {**NEW, "unique_name": " "})
        assert (status, "unique_name: must not be blank" in document["error"]) == (422, True)
        status, document, _ = await call("POST", "/add-ons", {**NEW, "configuration": {"a": 1}})
        assert status in (409, 422)

        faults.add("GET", "*", status=429, retry_after=60, times=1)
        status, document, headers = await call("GET", "/add-ons")
        assert (status, headers["Retry-After"]) == (503, "60")
        assert (await call("GET", "/health"))[0] == 503
        faults.clear()

        process.terminate()
        output = await output_so_far(process)
        assert "Traceback" not in output
        assert process.returncode in (0, -15)


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_an_outage_is_a_bad_gateway(
    framework: str, marketplace_emulator: Emulator, unused_tcp_port: int
) -> None:
    marketplace_emulator.faults.add("*", "*", status=403, times=None)
    base_url = marketplace_emulator.url
    arguments = command(framework, unused_tcp_port)
    async with service(*arguments, base_url=base_url, port=unused_tcp_port) as (session, _):
        for path in ("/add-ons", "/health"):
            async with session.get(path) as response:
                assert response.status == 502


async def test_fastapi_describes_records_and_reads_them(
    marketplace_emulator: Emulator, unused_tcp_port: int
) -> None:
    arguments = command("fastapi", unused_tcp_port)
    base_url = marketplace_emulator.url
    async with service(*arguments, base_url=base_url, port=unused_tcp_port) as (session, _):
        async with session.get("/openapi.json") as response:
            schema = (await response.json())["components"]["schemas"]["InstalledAddOn"]
        assert schema["required"] == ["sid"]
        assert schema["properties"]["unique_name"]["description"] == (
            "A name that is unique within the account."
        )
        record = {"sid": "XE1", "date_created": "2016-04-07T23:52:28Z", "configuration": {"a": 1}}
        async with session.put("/copy", json=record) as response:
            assert (response.status, await response.json()) == (200, record)
        wrong = {"sid": 5, "configuration": "secret", "date_created": "yesterday"}
        async with session.put("/copy", json=wrong) as response:
            assert response.status == 422
            problems = (await response.json())["detail"]
        assert [problem["loc"] for problem in problems] == [
            ["body", "sid"],
            ["body", "configuration"],
            ["body", "date_created"],
        ]
        assert "secret" not in str(problems)


async def test_litestar_describes_records(
    marketplace_emulator: Emulator, unused_tcp_port: int
) -> None:
    arguments = command("litestar", unused_tcp_port)
    base_url = marketplace_emulator.url
    async with service(*arguments, base_url=base_url, port=unused_tcp_port) as (session, _):
        async with session.get("/schema/openapi.json") as response:
            schemas = json.loads(await response.read())["components"]["schemas"]
    assert schemas["InstalledAddOn"]["required"] == ["sid"]


def test_the_table_has_a_response_to_every_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    table = importlib.import_module("error_responses")
    response = Response(500, {}, b"")
    for error in every_error(Request("GET", "/v1/X"), response, "text"):
        status, document, _ = table.response_to(error)
        assert status in (404, 409, 422, 502, 503, 504), error
        assert json.dumps(document)
    sys.modules.pop("error_responses")
