"""Every Python block of the README and of the manual is a program that runs unchanged."""

import asyncio
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.manual import MANUAL
from support.paths import PROJECT
from support.programs import environ

from marketplace_async import MarketplaceClient, _public
from marketplace_async.cli.app import app
from marketplace_async.emulator import Emulator
from marketplace_async.testing import account

README = (PROJECT / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", MANUAL, re.MULTILINE | re.DOTALL)
NAMED = {block.split("\n")[0].removeprefix("# "): block for block in BLOCKS if block[0] == "#"}
PROGRAMS = [block for block in BLOCKS if block not in NAMED.values()]
XE = "XE" + "a" * 32


@contextmanager
def running(program: str, base_url: str, *arguments: str, **more: str) -> Iterator[Any]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env={**environ(base_url), **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_the_manual_has_the_expected_blocks() -> None:
    assert len(PROGRAMS) == 20
    assert set(NAMED) == {"conftest.py", "test_install.py", "service.py", "worker.py"}


@pytest.mark.parametrize(
    "program", PROGRAMS, ids=lambda program: str(re.findall(r"client\.(\w+)", program)[:1])
)
def test_each_program_runs(program: str, served: Emulator) -> None:
    with running(program, served.url) as process:
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert "Traceback" not in errors
        assert output or "emulated" in program


def test_the_programs_print_the_described_output(served: Emulator) -> None:
    def output(part: str) -> str:
        (program,) = (program for program in PROGRAMS if part in program)
        with running(program, served.url) as process:
            out, errors = process.communicate(timeout=60)
            return str(out + errors)

    assert "readme" in output("print(add_on.sid")
    assert "12.355 [True]" in output("BillableItem(")
    assert "installed {'callback_method': 'GET'}\nunchanged" in output("ensured.action")
    assert "callback_url 5 is not of type" in output("configuration_errors(")
    assert "10 add-ons\n7 more" in output("resume_at")
    assert "100 installed, 0 missing" in output("concurrency=32")
    found = output("accounts.from_file")
    assert f"listed: {account().account_sid}" in found
    assert "Shop AccountToken(" in found
    assert "Cafe" not in found
    assert "from the vault: AC00000000000000000000000000000002 []" in found
    report = output("fleet.Subaccounts()")
    assert "installed on 1 accounts\ninstall caller-names on 1 accounts\n1 done, 0" in report
    assert "TWILIO_AUTH_TOKEN" in output("from_env.environment")
    assert "the unique name is taken" in output("except ConflictError")
    assert "DEBUG:marketplace_async:send: GET /v1/AvailableAddOns -> 200" in output("logging.DEBUG")
    assert "'$15 a month'" in output("listings.create")


async def test_the_program_for_all_subaccounts_lists_every_add_on(
    marketplace_emulator: Emulator,
) -> None:
    accounts = marketplace_emulator.add_subaccounts(account().account_sid, 3)
    subaccounts = [sid for sid, _ in accounts]
    for sid in subaccounts:
        marketplace_emulator.install(sid, "XB06d5274893cc9af4198667d2f7d74d09", times=2)
    (program,) = (program for program in PROGRAMS if "parent.with_account" in program)
    with running(program, marketplace_emulator.url) as process:
        output, errors = await asyncio.to_thread(process.communicate)
    assert errors == ""
    lines = output.splitlines()
    assert sorted(line.split()[0] for line in lines[:-1]) == sorted(subaccounts * 2)
    assert lines[-1] == "Stats(sent=5, throttled=0, retried=0, withheld=0, waiting=0, in_flight=0)"


def test_the_pytest_example_runs(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    for name in ("conftest.py", "test_install.py"):
        Path(name).write_text(NAMED[name])
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


# -- the service


async def until_listening(url: str) -> None:
    async with asyncio.timeout(20), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"{url}/"):
                    return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)


@pytest.fixture
def port(unused_tcp_port: int) -> str:
    return str(unused_tcp_port)


async def test_the_service_serves_and_maps_errors(
    marketplace_emulator: Emulator, port: str
) -> None:
    (sid,) = marketplace_emulator.install(
        account().account_sid, "XB06d5274893cc9af4198667d2f7d74d09"
    )
    url = f"http://127.0.0.1:{port}"
    with running(NAMED["service.py"], marketplace_emulator.url, PORT=port):
        await until_listening(url)
        async with aiohttp.ClientSession(url) as session:
            for path, status, content in (
                ("/add-ons", 200, [{"sid": sid, "name": "nomorobo_spamscore"}]),
                (f"/add-ons/{sid}", 200, {"sid": sid, "configuration": {}}),
                (f"/add-ons/{XE}", 404, {"error": "no such add-on"}),
            ):
                async with session.get(path) as response:
                    assert (response.status, await response.json()) == (status, content)
            async with session.get("/add-ons/XE1") as response:
                assert response.status == 404
            for status, expected in ((403, 502), (429, 503)):
                marketplace_emulator.faults.add(
                    "GET", "*", status=status, retry_after=60, times=None
                )
                async with session.get("/add-ons") as response:
                    assert response.status == expected
                marketplace_emulator.faults.clear()
            assert response.headers["Retry-After"] == "60"


async def test_a_caller_that_disconnects_cancels_its_call(port: str) -> None:
    requested, disconnected = asyncio.Event(), asyncio.Event()

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        requested.set()
        await reader.read()
        disconnected.set()
        writer.close()

    server = await asyncio.start_server(upstream, "127.0.0.1", 0)
    base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    url = f"http://127.0.0.1:{port}"
    async with server, asyncio.timeout(30):
        with running(NAMED["service.py"], base_url, PORT=port):
            await until_listening(url)
            async with aiohttp.ClientSession(url) as session:
                call = asyncio.ensure_future(session.get(f"/add-ons/{XE}"))
                await requested.wait()
                call.cancel()
                async with asyncio.timeout(4):  # less than the client's own timeout
                    await disconnected.wait()


async def test_shutdown_lets_running_calls_finish(
    marketplace_emulator: Emulator, port: str
) -> None:
    url = f"http://127.0.0.1:{port}"
    marketplace_emulator.faults.add("GET", "*", delay=1.0)
    with running(NAMED["service.py"], marketplace_emulator.url, PORT=port) as process:
        await until_listening(url)
        async with aiohttp.ClientSession(url) as session:
            call = asyncio.ensure_future(session.get("/add-ons"))
            await asyncio.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            async with await call as response:
                assert (response.status, await response.json()) == (200, [])
        assert await asyncio.to_thread(process.wait, 15) == 0


# -- the worker


async def test_the_worker_finishes_its_running_jobs(marketplace_emulator: Emulator) -> None:
    marketplace_emulator.faults.add("POST", "*", delay=0.1, times=None)
    names = [f"name-{number}" for number in range(200)]
    with running(NAMED["worker.py"], marketplace_emulator.url, *names) as process:
        async with asyncio.timeout(20):
            while len(marketplace_emulator.log.matching("POST")) < 10:
                await asyncio.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        started = len(marketplace_emulator.log.matching("POST"))
        output, errors = await asyncio.to_thread(process.communicate)
        assert (process.returncode, errors) == (0, "")
    async with MarketplaceClient(account(), base_url=marketplace_emulator.url) as client:
        installed = {one.unique_name async for one in client.installed_add_ons.list()}
    assert {line.split()[0] for line in output.splitlines()} == installed
    assert started <= len(installed) < 100  # of 200: SIGTERM starts no further jobs


def test_the_worker_reports_the_result_of_each_job(served: Emulator) -> None:
    for names, expected, status in (
        ((), "spam-score-1 installed\nspam-score-2 installed\n", 0),
        ((), "spam-score-1 unchanged\nspam-score-2 unchanged\n", 0),
        (("", "spam-score-1"), "spam-score-1 unchanged\n'' failed: unique_name: expected", 1),
    ):
        with running(NAMED["worker.py"], served.url, *names) as process:
            output, errors = process.communicate(timeout=60)
            lines = "".join(sorted((output + errors).splitlines(keepends=True), reverse=True))
            assert expected.split("\n")[0] in lines
            assert max(expected.split("\n")) in lines
            assert process.returncode == status


# -- tables


def test_the_error_table_lists_every_error() -> None:
    errors = {
        name for name in _public.__all__ if name.endswith("Error") and name != "MarketplaceError"
    }
    assert (
        set(
            re.findall(
                r"^\| `(\w+Error)` \|",
                (PROJECT / "docs" / "reference" / "errors.md").read_text(),
                re.MULTILINE,
            )
        )
        == errors
    )


def test_the_option_table_lists_every_option_of_the_emulator() -> None:
    options = {
        name
        for argument in app["emulator"].assemble_argument_collection()
        for name in argument.names
        if name.startswith("--")
    }
    assert options == {
        name
        for row in re.findall(r"^\| (`--.+?) \|", MANUAL, re.MULTILINE)
        for name in re.findall(r"--[\w-]+", row)
    }


def test_the_readme_and_ci_run_the_same_commands() -> None:
    assert "pip install nox && nox -s demo" in README
    assert "pip install nox && nox -s tests" in README
    assert "pip install nox && nox -s tests" in (PROJECT / ".ci" / "run").read_text()


def test_the_readme_fits_on_two_hundred_lines() -> None:
    assert len(README.splitlines()) <= 200
