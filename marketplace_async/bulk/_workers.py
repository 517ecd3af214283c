"""The engine of all bulk calls: works on many items concurrently and streams the results."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Coroutine, Iterable, Sized
from typing import Any, Generic, Protocol, Self, TypeAlias, TypeVar

from .._core.listeners import guarded
from .._core.streams import Stream
from .._core.tasks import cancelled

Item = TypeVar("Item")
T = TypeVar("T")

AnyIterable: TypeAlias = Iterable[T] | AsyncIterable[T]


_METHODS = ("started", "advanced", "failed")


class Progress(Protocol):
    """Receives progress updates from a bulk call. Its methods must return immediately.

    If one raises, the call goes on: the exception is reported once, to the exception handler of the
    event loop.
    """

    def started(self, total: int | None) -> None:
        """The call starts. `total` is the number of items, or None if it is unknown."""

    def advanced(self, count: int = 1) -> None:
        """More items are done, whether or not they failed."""

    def failed(self, item: object, error: Exception) -> None:
        """An item failed. `advanced` counts it as well."""


class Workers(Generic[Item, T]):
    """Works on items concurrently and returns results as they arrive. Subclasses define `work`."""

    def __init__(self, items: AnyIterable[Item], limit: int, progress: Progress | None) -> None:
        self._items = items
        self._permits = asyncio.Semaphore(limit)
        self._progress = None if progress is None else guarded(progress, _METHODS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._feeder: asyncio.Task[None] | None = None
        self._results: deque[T] = deque()
        self._error: BaseException | None = None
        self._wakeup: asyncio.Future[None] | None = None
        self._entered = False
        self._closed = False

    async def work(self, number: int, item: Item) -> None:
        """Work on an item and `emit` its results. The first item has number 0."""
        raise NotImplementedError

    def emit(self, result: T) -> None:
        """Pass a result to the consumer."""
        self._results.append(result)
        self._wake_up()

    def release(self) -> None:
        """Return a permit, so that the next item can start."""
        self._permits.release()

    def report_done(self, item: object, error: Exception | None = None) -> None:
        """Report to the progress that an item is done."""
        if self._progress is not None:
            if error is not None:
                self._progress.failed(item, error)
            self._progress.advanced(1)

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError("this was already awaited or entered: call settle() again")
        self._entered = True
        if self._progress is not None:
            self._progress.started(len(self._items) if isinstance(self._items, Sized) else None)
        self._feeder = self._start(self._feed())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        await cancelled(*self._tasks)
        # The traceback of an error refers to this object.
        self._error = self._feeder = None

    async def next_result(self) -> T | None:
        """Return the next result, or None after the last. A cancellation loses none."""
        while True:
            if self._closed:
                raise RuntimeError("iterate the stream inside its `async with` block")
            if self._results:
                return self._results.popleft()
            if self._tasks:
                self._wakeup = asyncio.get_running_loop().create_future()
                await self._wakeup
            elif self._error is not None:
                raise self._error
            else:
                return None

    def _start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None and self._error is None and not self._closed:
            # Running work finishes first, so that no result is lost. The feeder must stop now: it
            # may be waiting for a permit or an item that never comes.
            self._error = error
            if self._feeder is not None:
                self._feeder.cancel()
        self._wake_up()

    def _wake_up(self) -> None:
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    async def _feed(self) -> None:
        items = aiter(self._items if isinstance(self._items, AsyncIterable) else _each(self._items))
        number = 0
        try:
            while True:
                await self._permits.acquire()
                try:
                    item = await anext(items)
                except StopAsyncIteration:
                    return
                if self._closed or self._error is not None:
                    return  # the iterator suppressed the cancellation
                self._start(self.work(number, item))
                number += 1
        finally:
            if isinstance(items, AsyncGenerator | Stream):
                await items.aclose()


async def _each(items: Iterable[T]) -> AsyncGenerator[T, None]:
    for item in items:
        yield item
