"""Blocking calls in daemon threads, awaited from an event loop.

A daemon thread never keeps the program from ending, not even while it writes to a full pipe.
"""

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
    """A resource with a `close` method."""

    def close(self) -> None: ...


C = TypeVar("C", bound=Closable)


async def to_daemon_thread(call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `call` in a daemon thread of its own and return its result.

    Unlike `asyncio.to_thread`, a cancelled caller leaves the thread behind: Ctrl-C ends a command
    that writes to a pager or waits for input at once.
    """
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    work = functools.partial(_fulfil, future, functools.partial(call, *args, **kwargs))
    threading.Thread(target=work, daemon=True, name=f"to_daemon_thread: {call}").start()
    return await future


class WorkerThread:
    """A daemon thread that runs calls one after another; use it as `async with`.

    A call runs to its end even if its caller is cancelled, so that everything that was opened is
    closed.
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
        """Open a resource in the thread; it is closed there when the block ends."""

        def opened_in_the_thread() -> C:
            opened = function(*args, **kwargs)
            self._opened.callback(opened.close)
            return opened

        return await self(opened_in_the_thread)

    def start(self) -> None:
        """Start the thread. `async with` does it, too."""
        threading.Thread(target=self._work, daemon=True, name="marketplace_async.worker").start()

    def abandon(self, last: Callable[[], object] | None = None) -> None:
        """End the thread after its current call, and after `last`. Waits for neither."""
        if last is not None:
            call = functools.partial(_ignore_errors, last)
            self._calls.put((asyncio.get_running_loop().create_future(), call))
        self._calls.put(None)

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self(self._opened.close)
        finally:
            self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            _fulfil(*call)


def _ignore_errors(call: Callable[[], object]) -> None:
    with suppress(Exception):
        call()


def _fulfil(future: "asyncio.Future[T]", call: Callable[[], T]) -> None:
    value, error = None, None
    try:
        value = call()
    except BaseException as failure:  # noqa: BLE001 - raised again on the loop
        error = failure
    with suppress(RuntimeError):  # the loop is closed: no caller is left
        future.get_loop().call_soon_threadsafe(_settle, future, value, error)


def _settle(future: "asyncio.Future[T]", value: T | None, error: BaseException | None) -> None:
    if future.done():
        return
    if isinstance(error, StopIteration):
        future.set_exception(RuntimeError("the call raised StopIteration"))  # no future takes it
    elif error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)  # type: ignore[arg-type]  # it is what the call returned
