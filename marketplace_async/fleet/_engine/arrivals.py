"""Batches the results that arrive while earlier ones are being saved."""

import asyncio
from collections.abc import AsyncIterator
from typing import Generic, Self, TypeVar

from ..._core.tasks import cancelled, create_task

T = TypeVar("T")


class Arrivals(Generic[T]):
    """Reads a stream in a background task and yields its results in batches. Use `async with`.

    A batch contains all results that have arrived since the previous one. It never waits for more,
    so results are saved promptly, and a slow disk costs only one write per batch.

    Args:
        stream: The stream.
        most: Maximum number of results to read ahead.
        abort: Ends the stream as soon as it is set.
    """

    def __init__(
        self, stream: AsyncIterator[T], most: int, abort: asyncio.Event | None = None
    ) -> None:
        self._stream = stream
        self._most = most
        self._abort = abort
        self._batch: list[T] = []
        self._changed = asyncio.Event()
        self._taken = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks.append(create_task(self._read()))
        if self._abort is not None:
            self._tasks.append(create_task(self._wake_up_after(self._abort)))
        return self

    async def __aexit__(self, *_: object) -> None:
        await cancelled(*self._tasks)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[T]:
        """Return the results that have arrived, at least one.

        Raises:
            StopAsyncIteration: The stream has ended, or `abort` is set.
            Exception: The stream raised it. All results before it have been returned.
        """
        reader = self._tasks[0]
        while not self._batch:
            if reader.done():
                await reader
                raise StopAsyncIteration
            if self._abort is not None and self._abort.is_set():
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        batch, self._batch = self._batch, []
        self._taken.set()
        return batch

    async def _read(self) -> None:
        try:
            async for result in self._stream:
                self._batch.append(result)
                self._changed.set()
                while len(self._batch) >= self._most:
                    self._taken.clear()
                    await self._taken.wait()
        finally:
            self._changed.set()

    async def _wake_up_after(self, abort: asyncio.Event) -> None:
        await abort.wait()
        self._changed.set()
