"""The tasks that a client and its derived clients own. None outlives them."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from ..errors import ClientClosedError

T = TypeVar("T")


class Tasks:
    """Starts tasks, and cancels those that are still running when it is closed."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def start(self, coroutine: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Run a coroutine as a task."""
        task = asyncio.create_task(coroutine)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    async def aclose(self) -> None:
        """Cancel the running tasks and wait until they have ended."""
        # Other tasks may start more in the meantime.
        while running := [task for task in self._running if not task.done()]:
            await cancelled(*running)

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._running.discard(task)
        if not task.cancelled():
            # Retrieve the exception: no waiter may be left to do it.
            task.exception()


async def result_of(task: "asyncio.Task[T]") -> T:
    """Wait for a task of the client. Cancelling the waiter does not cancel the task.

    Raises:
        ClientClosedError: The client was closed before the task ended.
        Exception: The task raised it.
    """
    await asyncio.wait([task])
    if task.cancelled():
        # A CancelledError would look like a cancellation of the waiter, and be lost.
        raise ClientClosedError("this client is closed")
    return task.result()


async def cancelled(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks and wait until they have ended, even if this call is cancelled meanwhile."""
    for task in tasks:
        task.cancel()
    await _ended(*tasks)


async def _ended(*tasks: "asyncio.Task[Any]") -> None:
    running = [task for task in tasks if not task.done()]
    if not running:
        return
    try:
        await asyncio.wait(running)
    except asyncio.CancelledError:
        await _ended(*running)
        raise
