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
        task = create_task(coroutine)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def aclose(self) -> None:
        """Cancel the running tasks and wait until they have ended."""
        # Other tasks may start more in the meantime.
        while running := [task for task in self._running if not _has_ended(task)]:
            await cancelled(*running)


def create_task(coroutine: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    """Run a coroutine as a task. Its exception is not logged if no waiter is left to see it."""
    task = asyncio.create_task(coroutine)
    task.add_done_callback(_retrieve_exception)
    return task


def _retrieve_exception(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        task.exception()


async def settled(task: "asyncio.Task[Any]") -> None:
    """Wait until a task has ended. Cancelling the waiter does not cancel the task."""
    if task.done():
        return
    # Half the overhead of `asyncio.wait`.
    waiter: asyncio.Future[None] = task.get_loop().create_future()

    def wake_up(_: object) -> None:
        if not waiter.done():
            waiter.set_result(None)

    task.add_done_callback(wake_up)
    try:
        await waiter
    finally:
        task.remove_done_callback(wake_up)


async def result_of(task: "asyncio.Task[T]") -> T:
    """Wait for a task of the client. Cancelling the waiter does not cancel the task.

    Raises:
        ClientClosedError: The client was closed before the task ended.
        Exception: The task raised it.
    """
    try:
        await settled(task)
        return value_of(task)
    finally:
        del task  # in a traceback, it would form a reference cycle with its exception


def value_of(task: "asyncio.Task[T]") -> T:
    """Return the result of a task of the client that has ended, or raise as `result_of`."""
    if task.cancelled():
        # A CancelledError would look like a cancellation of the waiter, and be lost.
        raise ClientClosedError("this client is closed")
    try:
        return task.result()
    finally:
        del task


async def cancelled(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks and wait until they have ended, even if this call is cancelled meanwhile."""
    running = [task for task in tasks if not _has_ended(task)]
    for task in running:
        task.cancel()
    await _ended(*running)


def _has_ended(task: "asyncio.Task[Any]") -> bool:
    # Nothing ends a task of a closed event loop.
    return task.done() or task.get_loop().is_closed()


async def _ended(*tasks: "asyncio.Task[Any]") -> None:
    running = [task for task in tasks if not task.done()]
    if not running:
        return
    try:
        await asyncio.wait(running)
    except asyncio.CancelledError:
        await _ended(*running)
        raise
