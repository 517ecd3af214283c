"""The tasks that a family of clients owns: none of them outlives it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from .errors import ClientClosedError

T = TypeVar("T")


class Tasks:
    """Starts tasks, and ends those that are still under way when it is closed."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def start(self, coroutine: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Run a coroutine as a task."""
        task = asyncio.create_task(coroutine)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    async def aclose(self) -> None:
        """Cancel what is under way, and wait until it has ended."""
        # Others go on meanwhile, and may start some more.
        while running := [task for task in self._running if not task.done()]:
            await cancelled(*running)

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._running.discard(task)
        if not task.cancelled():
            # Retrieved here, as everybody who waited for it may have left.
            task.exception()


async def result_of(task: "asyncio.Task[T]") -> T:
    """Wait for a task of a client's; who is cancelled meanwhile does not end it.

    Raises:
        ClientClosedError: The client was closed before it had ended.
        Exception: What the task raised.
    """
    await asyncio.wait([task])
    if task.cancelled():
        # As a CancelledError, this would count as a cancellation of whoever waits, and be lost.
        raise ClientClosedError("this client is closed")
    return task.result()


async def cancelled(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks, and wait until they have ended, however they do: also if cancelled itself."""
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
