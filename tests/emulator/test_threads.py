"""An emulator in a thread of its own, and its methods called from any thread."""

import asyncio
import gc
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.plain_http import AC, SPAM_SCORE, basic, send

from marketplace_async.emulator import Emulator, State
from marketplace_async.emulator.background import Background

PATH = "/v1/InstalledAddOns"


def fetch(emulator: Emulator) -> int:
    """Send a request and block the thread until its response is there."""
    request = urllib.request.Request(emulator.url + PATH, headers=basic())
    with urllib.request.urlopen(request, timeout=10) as response:
        response.read()
        return int(response.status)


def emulator_threads() -> int:
    return sum(thread.name == "marketplace emulator" for thread in threading.enumerate())


def test_a_synchronous_program_needs_no_event_loop() -> None:
    with Emulator() as emulator:
        assert fetch(emulator) == 200
        assert len(emulator.log) == 1
        assert emulator_threads() == 1
    assert emulator_threads() == 0


async def test_a_test_that_blocks_its_event_loop_is_served(marketplace_emulator: Emulator) -> None:
    assert fetch(marketplace_emulator) == 200


def test_several_event_loops_use_one_emulator() -> None:
    emulator = Emulator()

    async def count() -> int:
        async with aiohttp.ClientSession() as session:
            _, page, _ = await send(session, emulator, "GET", PATH)
        return len(page["installed_add_ons"])

    with emulator, ThreadPoolExecutor(3) as pool:
        emulator.install(AC, SPAM_SCORE, times=7)
        assert list(pool.map(lambda _: asyncio.run(count()), range(3))) == [7, 7, 7]


def test_starting_and_stopping_in_a_thread_takes_under_20_ms() -> None:
    starts, stops = [], []
    for _ in range(9):
        emulator = Emulator()
        begun = time.perf_counter()
        with emulator:
            starts.append(time.perf_counter() - begun)
            assert fetch(emulator) == 200
            begun = time.perf_counter()
        stops.append(time.perf_counter() - begun)
    assert sorted(starts)[4] < 0.02
    assert sorted(stops)[4] < 0.02


def test_after_a_stop_and_a_start_the_state_is_empty() -> None:
    emulator = Emulator()
    for _ in range(2):
        with emulator:
            assert emulator.state() == State()
            emulator.install(AC, SPAM_SCORE)
            emulator.add_subaccounts(AC)
        with pytest.raises(RuntimeError, match="the emulator is not running"):
            emulator.state()


def test_a_failed_start_raises_in_the_caller_and_leaves_no_thread(tmp_path: Path) -> None:
    with Emulator() as emulator:
        port = int(emulator.url.rpartition(":")[2])
        with pytest.raises(OSError, match="address already in use"), Emulator(port=port):
            pass
        with (
            pytest.raises(OSError, match="expected the path of a regular file"),
            Emulator(db=tmp_path),
        ):
            pass
        assert emulator_threads() == 1
        with pytest.raises(RuntimeError, match="already running"), emulator:
            pass
        assert fetch(emulator) == 200


class Interrupted(Background):
    """A background whose caller is interrupted while it waits for the start."""

    def __init__(self, emulator: Emulator, seconds: float) -> None:
        super().__init__(emulator, "marketplace emulator")
        original = self._entered.result

        def interrupt() -> Any:
            self._entered.result = original  # type: ignore[method-assign]
            time.sleep(seconds)
            raise KeyboardInterrupt

        self._entered.result = interrupt  # type: ignore[method-assign, assignment]


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.05])
def test_an_interrupted_start_leaves_no_thread(seconds: float) -> None:
    emulator = Emulator()
    for _ in range(10):
        with pytest.raises(KeyboardInterrupt):
            Interrupted(emulator, seconds).start()
        assert emulator_threads() == 0
    with emulator:
        assert fetch(emulator) == 200


def test_what_stopping_raises_is_raised_in_the_caller() -> None:
    class Failing(Emulator):
        async def stop(self) -> None:
            await super().stop()
            raise OSError("no")

    with pytest.raises(OSError, match="no"), Failing():
        pass
    assert emulator_threads() == 0


def test_another_event_loop_can_stop_it() -> None:
    with Emulator() as emulator:
        asyncio.run(emulator.stop())
        with pytest.raises(RuntimeError, match="the emulator is not running"):
            _ = emulator.url
    assert emulator_threads() == 0


def test_an_emulator_on_an_event_loop_that_does_not_run_says_so() -> None:
    emulator = Emulator()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(emulator.start())
    with pytest.raises(RuntimeError, match=r"not running; `with Emulator\(\)` runs it in a thread"):
        asyncio.run(emulator.stop())
    loop.run_until_complete(emulator.stop())
    loop.close()


def test_starting_it_without_an_event_loop_says_so() -> None:
    starting = Emulator().start()
    with pytest.raises(RuntimeError, match="needs a running asyncio event loop"):
        starting.send(None)


def test_it_is_stopped_if_nobody_waits_for_its_thread() -> None:
    with Emulator():
        (thread,) = (one for one in threading.enumerate() if one.name == "marketplace emulator")
        assert thread.daemon


def test_every_method_can_be_called_from_any_thread_while_requests_come() -> None:
    """Threads change, read and reset the state while others send requests."""
    emulator = Emulator()
    seconds, errors = 1.5, list[BaseException]()
    ends_at = time.monotonic() + seconds

    def repeat(action: Any) -> int:
        times = 0
        while time.monotonic() < ends_at and not errors:
            try:
                action()
            except BaseException as error:  # noqa: BLE001 - collected
                errors.append(error)
            times += 1
        return times

    def install_and_enable() -> None:
        (sid, _) = emulator.install(AC, SPAM_SCORE, times=2)
        with suppress(ValueError):  # reset in between
            emulator.enable(sid, "lookup-api")

    def inject() -> None:
        fault = emulator.faults.add("GET", PATH, status=503, probability=0.2)
        assert fault.hits <= 1
        assert len(list(emulator.faults)) >= 0
        emulator.faults.unmatched()

    def read() -> None:
        state = emulator.state()
        assert len(state.extensions) == 2 * len(state.installations)
        assert len(state.installations) % 2 == 0  # no half of a transaction
        emulator.usage()

    def reset() -> None:
        time.sleep(0.02)
        emulator.reset()

    def request() -> None:
        request = urllib.request.Request(emulator.url + PATH, headers=basic())
        opener = urllib.request.OpenerDirector()  # raises for no status
        opener.add_handler(urllib.request.HTTPHandler())
        response: Any = opener.open(request, timeout=10)
        with response:
            assert response.status in (200, 503)

    actions = [
        install_and_enable,
        lambda: emulator.add_subaccounts(AC, 2),
        inject,
        read,
        reset,
        lambda: emulator.faults.clear(),
        lambda: emulator.revoke_tokens(),
        request,
        request,
    ]
    with emulator, ThreadPoolExecutor(len(actions)) as pool:
        times = list(pool.map(repeat, actions))
    assert errors == []
    assert min(times) > 1
    gc.collect()  # an unclosed socket would be reported here
