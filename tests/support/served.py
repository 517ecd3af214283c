"""An emulator in a separate thread and event loop, for synchronous clients."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from marketplace_async.emulator import Emulator, UsageItem

T = TypeVar("T")


class ServedEmulator(Emulator):
    """An emulator whose state other threads can change and read."""

    _loop: asyncio.AbstractEventLoop

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        await super().start()

    def _call(self, function: Callable[[], T]) -> T:
        async def run() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(timeout=120)

    def install(self, *args: Any, **kwargs: Any) -> list[str]:
        return self._call(lambda: Emulator.install(self, *args, **kwargs))

    def add_subaccounts(self, *args: Any, **kwargs: Any) -> list[tuple[str, str]]:
        return self._call(lambda: Emulator.add_subaccounts(self, *args, **kwargs))

    def usage(self) -> list[UsageItem]:
        return self._call(lambda: Emulator.usage(self))


def serve(emulator: Emulator) -> Iterator[Emulator]:
    """Run an emulator in a separate thread and event loop. Yields it once it is started."""
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
