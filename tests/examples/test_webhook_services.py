"""The recipes for webhooks: real frameworks in processes of their own, called by the emulator."""

import asyncio
import io
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.paths import PROJECT
from support.raw_servers import free_port

from marketplace_async.emulator import Emulator
from marketplace_async.testing import account, emulated

AC = account().account_sid
SPEECH_TO_TEXT = "XB85b56ed9ce713e0ac62342b901233193"
PUBLIC_URL = "https://hooks.example.com"
SIGNED: dict[str, Any] = {"auth_token": "made-up", "public_url": PUBLIC_URL}
EXAMPLES = PROJECT / "examples"
COMMANDS = {
    "fastapi": ["-m", "uvicorn", "--app-dir", str(EXAMPLES), "webhook_fastapi:app", "--port"],
    "aiohttp": [str(EXAMPLES / "webhook_aiohttp.py")],
}


@asynccontextmanager
async def running(framework: str, log: Path) -> AsyncIterator[str]:
    """Run a recipe. Yields the URL of its webhook."""
    if framework == "fastapi":
        pytest.importorskip("fastapi")
        pytest.importorskip("uvicorn")
    port = free_port()
    command = [*COMMANDS[framework], *([str(port)] if framework == "fastapi" else [])]
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            env={
                **os.environ,
                "PORT": str(port),
                "PUBLIC_URL": PUBLIC_URL,
                "TWILIO_AUTH_TOKEN": "old-token,made-up",
            },
            stdout=output,
            stderr=output,
        )
        try:
            await until_listening(f"http://127.0.0.1:{port}/")
            yield f"http://127.0.0.1:{port}/add-ons"
        finally:
            process.terminate()
            await process.wait()


async def until_listening(url: str) -> None:
    async with asyncio.timeout(30), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url):
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("framework", COMMANDS)
async def test_a_service_receives_what_twilio_signed_and_nothing_else(
    framework: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    async with running(framework, log) as url, emulated() as (client, emulator):
        installed = await client.installed_add_ons.create(
            available_add_on_sid=SPEECH_TO_TEXT,
            accept_terms_of_service=True,
            configuration={"callback_url": url, "callback_method": "POST"},
        )
        delivered = await emulator.deliver_result(installed.sid, result="hello", **SIGNED)
        assert delivered.status == 204

        spam = {"result": {"score": 7}}
        speech = {"status": "failed", "code": 61003, "message": "Add-on failed"}
        options: dict[str, Any] = {"add_ons": {"spam": spam, "speech": speech}, **SIGNED}
        fields = {"Body": "ä & b\r\n", "Twice": ["b", "a"]}
        for query in ("", "?next=https%3A%2F%2Fx.example&a=%7E+b"):
            response = await emulator.webhook(f"{url}{query}", AC, fields=fields, **options)
            assert response.status == 204
        rotating = await emulator.webhook(url, AC, **{**options, "auth_token": "old-token"})
        assert rotating.status == 204

        for forged in (
            {"auth_token": "another"},
            {"public_url": "https://other.example.com"},
            {"public_url": None},
            {"shared_key": ["key", "made-up"]},
        ):
            response = await emulator.webhook(url, AC, **{**options, **forged})
            assert (response.status, b"signature" in response.body) == (403, True)
        assert await unsigned(url) == 403
        assert (await emulator.webhook(url, AC, json={"a": 1}, **SIGNED)).status == 400
        assert (await emulator.webhook(url, AC, **SIGNED)).status == 400
        fields = {"AddOns": "[]"}
        assert (await emulator.webhook(url, AC, fields=fields, **SIGNED)).status == 400
        payload = f"{emulator.url}/2010-04-01/Accounts/{AC}/Recordings/RE"
    text = log.read_text()
    assert f"ibm_watson_speechtotext: ['{payload}" in text
    assert text.count("spam: {'score': 7}") == 3
    assert text.count("speech: failed, 61003 Add-on failed") == 3
    assert "made-up" not in text
    assert "Traceback" not in text


@pytest.mark.parametrize("framework", COMMANDS)
async def test_a_service_refuses_a_body_that_is_too_large(framework: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with running(framework, log) as url, aiohttp.ClientSession() as session:

        async def body() -> AsyncIterator[bytes]:
            for _ in range(20):
                yield b"&a=b" * 2**14

        # With and without a length that is known in advance.
        for data in (io.BytesIO(b"a" * (2**20 + 1)), body()):
            async with session.post(url, data=data) as response:
                assert response.status == 413
        assert await unsigned(url) == 403
    assert "Traceback" not in log.read_text()


async def unsigned(url: str) -> int:
    async with aiohttp.ClientSession() as session, session.post(url, data={"AddOns": "{}"}) as got:
        return got.status


@pytest.mark.parametrize("framework", COMMANDS)
async def test_a_webhook_can_be_sent_by_a_program_in_any_language(
    framework: str, tmp_path: Path, marketplace_emulator: Emulator
) -> None:
    async with running(framework, tmp_path / "log") as url:
        given = {"url": url, "account_sid": AC, "add_ons": {"spam": {"result": 1}}, **SIGNED}
        async with aiohttp.ClientSession(marketplace_emulator.url) as session:
            async with session.post("/_emulator/webhook", json=given) as response:
                assert (response.status, (await response.json())["status"]) == (200, 204)
