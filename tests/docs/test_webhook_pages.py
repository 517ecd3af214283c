"""The Python blocks of the pages on webhooks and on cassettes run unchanged."""

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web
from support.paths import PROJECT
from support.raw_servers import web_server

from marketplace_async import MarketplaceClient, Request
from marketplace_async.emulator import Emulator
from marketplace_async.testing import account

AC = account().account_sid
SPEECH_TO_TEXT = "XB85b56ed9ce713e0ac62342b901233193"
SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
FENCED = re.compile(r"^```(?:python|py)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks_of(page: str) -> list[str]:
    return FENCED.findall((PROJECT / "docs" / "how-to" / page).read_text())


WEBHOOKS, CASSETTES = blocks_of("webhooks.md"), blocks_of("record-and-replay.md")


def environ(base_url: str) -> dict[str, str]:
    return {
        "MARKETPLACE_BASE_URL": base_url,
        "TWILIO_ACCOUNT_SID": AC,
        "TWILIO_AUTH_TOKEN": "made-up",
    }


def run(program: str, base_url: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environ(base_url)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    return finished.stdout


@contextmanager
def variables(**values: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        yield


def test_the_pages_have_the_expected_blocks() -> None:
    assert (len(WEBHOOKS), len(CASSETTES)) == (4, 1)


def test_the_program_that_verifies_refuses_a_forged_webhook() -> None:
    assert run(WEBHOOKS[0], "") == "the signature does not match the request\nFalse\n"


def test_the_program_that_reads_results_prints_each() -> None:
    expected = "successful False\nspam {'score': 1}\nspeech 61003: Add-on failed\n"
    assert run(WEBHOOKS[1], "") == expected


def test_the_example_of_a_test_passes(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    pytester.makeconftest('pytest_plugins = ["marketplace_async.testing"]')
    Path("test_hooks.py").write_text(WEBHOOKS[2])
    path = os.pathsep.join([str(PROJECT / "examples"), os.environ.get("PYTHONPATH", "")])
    values = {"PUBLIC_URL": "https://example.com", "TWILIO_AUTH_TOKEN": "made-up"}
    with variables(PYTHONPATH=path, **values):
        pytester.runpytest_subprocess().assert_outcomes(passed=1)


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
async def test_the_curl_command_sends_a_webhook(marketplace_emulator: Emulator) -> None:
    async def handle(request: web.BaseRequest) -> web.Response:
        return web.Response(status=201)

    page = (PROJECT / "docs" / "how-to" / "webhooks.md").read_text()
    (command,) = re.findall(r"^```console\n(curl .*?)^```", page, re.MULTILINE | re.DOTALL)
    async with web_server(handle) as url:
        command = command.replace("http://127.0.0.1:8912", marketplace_emulator.url)
        arguments = shlex.split(command.replace("http://127.0.0.1:8080", url))
        process = await asyncio.create_subprocess_exec(
            *arguments, "--silent", stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
    assert json.loads(output)["status"] == 201


async def test_the_program_for_the_core_api_prints_assignments_and_results(
    marketplace_emulator: Emulator,
) -> None:
    async def handle(request: web.BaseRequest) -> web.Response:
        return web.Response()

    async with web_server(handle) as url:
        configuration = {"callback_url": url}
        (sid,) = marketplace_emulator.install(AC, SPEECH_TO_TEXT, configuration)
        await marketplace_emulator.deliver_result(sid, result=1, recording_sid="RE" + "1" * 32)
    path = f"/2010-04-01/Accounts/{AC}/IncomingPhoneNumbers/PN{'1' * 32}/AssignedAddOns.json"
    body, form = f"InstalledAddOnSid={sid}".encode(), "application/x-www-form-urlencoded"
    async with MarketplaceClient(account(), base_url=marketplace_emulator.url) as client:
        await client.send(Request("POST", path, body=body, content_type=form, host="api"))
    output = await asyncio.to_thread(run, WEBHOOKS[3], marketplace_emulator.url)
    first, second, third = output.splitlines()
    assert first == "assigned: ['ibm_watson_speechtotext']"
    assert second == "result: completed application/json"
    assert third.startswith(f"data: {marketplace_emulator.url}/")


def test_the_example_of_a_cassette_replays_without_an_emulator(
    pytester: pytest.Pytester, served: Emulator
) -> None:
    pytest.importorskip("vcr")
    ((subaccount, token),) = served.add_subaccounts(AC)
    served.install(subaccount, SPAM_SCORE)
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    Path("test_installed.py").write_text(CASSETTES[0])
    with variables(**environ(served.url)):
        pytester.runpytest_subprocess().assert_outcomes(passed=1)
        requests = len(served.log)
        assert requests == 2
        with variables(TWILIO_AUTH_TOKEN="any text"):
            pytester.runpytest_subprocess().assert_outcomes(passed=1)
        assert len(served.log) == requests
    assert token not in (pytester.path / "cassettes" / "accounts.yaml").read_text()
