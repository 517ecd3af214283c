"""Starting and stopping an emulator, and the state that survives."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from support.faults import until_injected
from support.plain_http import AC, INSTALL, SPAM_SCORE, Http, basic, report, restricted, send

from marketplace_async.emulator import Emulator


async def test_an_emulator_can_be_restarted_but_not_started_twice() -> None:
    emulator = Emulator()
    with pytest.raises(RuntimeError, match="not running"):
        _ = emulator.url
    with pytest.raises(RuntimeError, match="not running"):
        emulator.usage()
    for _ in range(2):
        await emulator.start()
        with pytest.raises(RuntimeError, match="already running"):
            await emulator.start()
        emulator.install(AC, SPAM_SCORE)
        await emulator.stop()
        await emulator.stop()


async def test_a_port_in_use_is_an_error_and_nothing_stays_open() -> None:
    async with Emulator() as emulator:
        port = int(emulator.url.rpartition(":")[2])
        with pytest.raises(OSError, match="address already in use"):
            await Emulator(port=port).start()


async def test_the_url_has_an_ipv6_address_in_brackets() -> None:
    try:
        async with Emulator(host="::1") as emulator:
            assert emulator.url.startswith("http://[::1]:")
    except OSError:
        pytest.skip("no IPv6 on this machine")


async def test_install_accepts_only_valid_arguments(http: Http) -> None:
    with pytest.raises(ValueError, match="account_sid: must be AC and 32 hex digits"):
        http.emulator.install("me", SPAM_SCORE)
    with pytest.raises(ValueError, match="Configuration does not match the schema"):
        http.emulator.install(AC, SPAM_SCORE, {"unknown": 1}, times=3)
    with pytest.raises(ValueError, match="is not in the catalogue"):
        http.emulator.install(AC, "XB" + "0" * 32)


async def test_state_in_a_file_survives_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    catalogue = restricted()
    async with (
        Emulator(db=file, catalogue=catalogue) as emulator,
        aiohttp.ClientSession() as session,
    ):
        (sid,) = emulator.install(AC, "XB" + "c" * 32)
        await send(session, emulator, "POST", "/v1/Listings", data={"ModuleInfo": '{"a": 1}'})
        await report(emulator, sid)
    async with Emulator(db=file) as emulator, aiohttp.ClientSession() as session:
        _, installed, _ = await send(session, emulator, "GET", f"/v1/InstalledAddOns/{sid}")
        assert installed["friendly_name"] == "A"
        _, listings, _ = await send(session, emulator, "GET", "/v1/Listings")
        assert listings == {"listings": [{"a": 1}]}
        assert len(emulator.usage()) == 2
        # The Add-on is no longer in the catalogue: no schema, no extensions, no usage.
        path = f"/v1/InstalledAddOns/{sid}"
        data = {"Configuration": '{"x": 1}'}
        assert (await send(session, emulator, "POST", path, data=data))[0] == 200
        _, page, _ = await send(session, emulator, "GET", f"{path}/Extensions")
        assert page["extensions"] == []
        assert (await report(emulator, sid))[0] == 404


def start(*arguments: str) -> tuple["subprocess.Popen[str]", str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "marketplace_async", "emulator", "--quiet", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


async def test_two_emulators_on_one_file_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    process, _ = await asyncio.to_thread(start, "--db", str(file))
    with pytest.raises(OSError, match=r"state\.db.*(in use|is using)"):
        await Emulator(db=file).start()
    process.send_signal(signal.SIGKILL)
    await asyncio.to_thread(process.communicate)
    async with Emulator(db=file) as emulator:
        emulator.install(AC, SPAM_SCORE)
        with pytest.raises(OSError, match=r"state\.db.*(in use|is using)"):
            await Emulator(db=file).start()
        assert len(emulator.state().installations) == 1


async def test_kill_9_loses_no_acknowledged_request(tmp_path: Path) -> None:
    file = str(tmp_path / "state.db")
    process, url = await asyncio.to_thread(start, "--db", file)
    acknowledged: list[str] = []

    async def install(session: aiohttp.ClientSession) -> None:
        while True:
            async with session.post(f"{url}/v1/InstalledAddOns", data=INSTALL) as response:
                acknowledged.append((await response.json())["sid"])
                if len(acknowledged) == 200:
                    process.send_signal(signal.SIGKILL)

    async with aiohttp.ClientSession(headers=basic()) as session:
        workers = [asyncio.ensure_future(install(session)) for _ in range(8)]
        results = await asyncio.gather(*workers, return_exceptions=True)
    assert all(isinstance(result, aiohttp.ClientError) for result in results)
    await asyncio.to_thread(process.communicate)
    async with Emulator(db=Path(file)) as emulator, aiohttp.ClientSession() as session:
        _, page, _ = await send(session, emulator, "GET", "/v1/InstalledAddOns?PageSize=1000")
    found = {item["sid"] for item in page["installed_add_ons"]}
    assert len(acknowledged) >= 200
    assert set(acknowledged) <= found
    assert len(found) <= len(acknowledged) + 8


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(number: signal.Signals) -> None:
    process, url = start()
    assert url.startswith("http://127.0.0.1:")
    process.send_signal(number)
    assert process.communicate(timeout=10)[0] == ""
    assert process.returncode == 0


async def test_a_cancelled_request_logs_nothing_when_the_emulator_stops(
    caplog: pytest.LogCaptureFixture,
) -> None:
    emulator = Emulator()
    await emulator.start()
    fault = emulator.faults.add("GET", "*", delay=1.5)  # longer than stop() waits
    async with aiohttp.ClientSession() as session:
        request = asyncio.ensure_future(send(session, emulator, "GET", "/v1/InstalledAddOns"))
        await until_injected(fault)
        request.cancel()
    await emulator.stop()
    await asyncio.sleep(1.6)
    assert caplog.records == []
