"""What tests share: nothing of ours may block the event loop, and the vendor's description."""

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
from blockbuster import blockbuster_ctx

import marketplace_async
from marketplace_async.emulator import Emulator, UsageItem
from marketplace_async.emulator.store import Store

T = TypeVar("T")

pytest_plugins = ["marketplace_async.testing", "pytester", "command_line"]

PROJECT = Path(__file__).parents[1]

# This process stays in development mode. The programs that tests start do not inherit it: there
# asyncio writes to standard error when a step takes long, as one does on a busy machine.
os.environ.pop("PYTHONDEVMODE", None)

DESCRIPTION = Path(
    os.environ.get("MARKETPLACE_OPENAPI", PROJECT / "../shared/api/marketplace_v1.json")
)
NO_DESCRIPTION = f"no OpenAPI description at {DESCRIPTION}: MARKETPLACE_OPENAPI says where it is"


@pytest.fixture(autouse=True)
def _nothing_blocks_the_loop() -> Iterator[None]:
    with blockbuster_ctx(marketplace_async) as blockbuster:
        for name, function in blockbuster.functions.items():
            if name.startswith("sqlite3."):
                function.can_block_in("emulator/store.py", set(vars(Store)))
        yield


@pytest.fixture(scope="session")
def description() -> dict[str, Any]:
    """The vendor's OpenAPI description of the API."""
    if not DESCRIPTION.is_file():
        pytest.skip(NO_DESCRIPTION)
    document: dict[str, Any] = json.loads(DESCRIPTION.read_bytes())
    return document


class ServedEmulator(Emulator):
    """An emulator that runs in one thread, and is filled and looked into from another."""

    _loop: asyncio.AbstractEventLoop

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        await super().start()

    def _there(self, call: Callable[[], T]) -> T:
        async def run() -> T:
            return call()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(timeout=120)

    def install(self, *args: Any, **kwargs: Any) -> list[str]:
        return self._there(lambda: Emulator.install(self, *args, **kwargs))

    def add_subaccounts(self, *args: Any, **kwargs: Any) -> list[tuple[str, str]]:
        return self._there(lambda: Emulator.add_subaccounts(self, *args, **kwargs))

    def usage(self) -> list[UsageItem]:
        return self._there(lambda: Emulator.usage(self))


def serve(emulator: Emulator) -> Iterator[Emulator]:
    """Run an emulator for clients that block: in a thread, in a loop of its own."""
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def run() -> None:
        async with emulator:
            stop = asyncio.Event()
            started.set_result((asyncio.get_running_loop(), stop))
            await stop.wait()

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(asyncio.run, run())
        loop, stop = started.result(timeout=10)
        try:
            yield emulator
        finally:
            loop.call_soon_threadsafe(stop.set)
            done.result(timeout=10)


@pytest.fixture
def served() -> Iterator[Emulator]:
    """An emulator for clients that block."""
    yield from serve(ServedEmulator())
