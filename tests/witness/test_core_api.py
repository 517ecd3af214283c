"""Twilio's official Python client reads what belongs to Add-ons on the emulator's core API."""

import asyncio
from typing import Any

import pytest
from aiohttp import web
from support.raw_servers import web_server

from marketplace_async.emulator import Emulator
from marketplace_async.testing import account

twilio_rest = pytest.importorskip("twilio.rest")

AC = account().account_sid
SPEECH_TO_TEXT = "XB85b56ed9ce713e0ac62342b901233193"
NUMBER, RECORDING = "PN" + "1" * 32, "RE" + "1" * 32


async def test_the_official_client_reads_assigned_add_ons_and_results(
    marketplace_emulator: Emulator,
) -> None:
    async def handle(request: web.BaseRequest) -> web.Response:
        return web.Response()

    async with web_server(handle) as url:
        (sid,) = marketplace_emulator.install(AC, SPEECH_TO_TEXT, {"callback_url": url})
        await marketplace_emulator.deliver_result(sid, result=1, recording_sid=RECORDING)

    def read() -> None:
        client: Any = twilio_rest.Client(AC, "made-up")
        client.api.base_url = marketplace_emulator.url
        assigned = client.api.v2010.account.incoming_phone_numbers(NUMBER).assigned_add_ons
        created = assigned.create(installed_add_on_sid=sid)
        assert (created.sid, created.resource_sid) == (sid, NUMBER)
        assert created.configuration == {"callback_url": url}
        assert [one.sid for one in assigned.list()] == [sid]
        assert assigned(sid).fetch().date_created is not None
        assert assigned(sid).delete() is True
        results = client.api.v2010.account.recordings(RECORDING).add_on_results
        (result,) = results.list()
        assert (result.status, result.add_on_configuration_sid) == ("completed", sid)
        (payload,) = results(result.sid).payloads.list()
        assert payload.content_type == "application/json"
        assert results(result.sid).payloads(payload.sid).fetch().label == "results"
        assert results(result.sid).payloads(payload.sid).delete() is True
        assert results(result.sid).delete() is True
        assert results.list() == []

    await asyncio.to_thread(read)
