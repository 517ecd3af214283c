"""What blocks, off the event loop: one call after another, in a thread."""

import asyncio
import functools
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from queue import SimpleQueue
from typing import Any, ParamSpec, Protocol, Self, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Closable(Protocol):
    """What is closed in the end."""

    def close(self) -> None: ...


C = TypeVar("C", bound=Closable)


class Thread:
    """A thread that does what it is called with, in that order; use it as `async with`.

    A call is done even if whoever waits for it is cancelled, so that nothing that was opened stays
    open. The thread keeps no program from ending: not even if a pipe that it writes to is full.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]] | None]
        self._calls = SimpleQueue()
        self._opened = ExitStack()

    async def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._calls.put((future, functools.partial(function, *args, **kwargs)))
        return await future

    async def open(self, function: Callable[P, C], /, *args: P.args, **kwargs: P.kwargs) -> C:
        """Make something in the thread that is closed there when the block ends."""

        def made() -> C:
            opened = function(*args, **kwargs)
            self._opened.callback(opened.close)
            return opened

        return await self(made)

    async def __aenter__(self) -> Self:
        threading.Thread(target=self._work, daemon=True, name="marketplace_async.fleet").start()
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self(self._opened.close)
        finally:
            self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function = call
            value, error = None, None
            try:
                value = function()
            except BaseException as failure:  # noqa: BLE001 - it is raised again, on the loop
                error = failure
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                future.get_loop().call_soon_threadsafe(_settle, future, value, error)


def _settle(future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)
