"""Runs what blocks, such as a write to a full pipe or a question, beside the event loop."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")


async def off_the_loop(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what `call` returns, run in a thread that nobody waits for if this is cancelled.

    Unlike the threads of an executor, it keeps no program from ending: Ctrl-C ends a command
    that writes to a pager, or waits for an answer, at once.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)  # type: ignore[arg-type]  # it is what `call` returned

    def work() -> None:
        value, error = None, None
        try:
            value = call(*args, **kwargs)
        except BaseException as failure:  # noqa: BLE001 - it is raised again, on the loop
            error = failure
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=work, daemon=True, name=f"off the loop: {call}").start()
    return await future
