"""Streams: iterators that go on after an interruption, where an async generator would end."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from types import AsyncGeneratorType
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, cast
from weakref import ref

from .tasks import cancelled, create_task, settled

T = TypeVar("T")

Generate: TypeAlias = Callable[["Running"], AsyncGenerator[T, None]]


class Reading(Generic[T]):
    """At most one task that reads for a stream. Cancelling its waiter does not cancel it."""

    def __init__(self) -> None:
        self._task: asyncio.Task[T] | None = None

    @property
    def started(self) -> bool:
        """Whether a task was started that `ended` has not returned."""
        task = self._task
        # A task of a loop that was closed never ends, or was cancelled with the loop.
        return task is not None and task.get_loop() is asyncio.get_running_loop()

    def start(self, task: "asyncio.Task[T]") -> None:
        """Own a task until `ended` returns it."""
        self._task = task

    async def result_of(self, read: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of the task. If there is none, start one that runs `read`."""
        if not self.started:
            self.start(create_task(read()))
        return (await self.ended()).result()

    async def ended(self) -> "asyncio.Task[T]":
        """Wait until the task ends, and return it. If the waiter is cancelled, the next one waits.

        The caller must use the task before it waits for anything else: no other reference to its
        result is left.
        """
        task = self._task
        if task is None:
            raise RuntimeError("no task was started")
        await settled(task)
        self._task = None
        return task

    async def aclose(self) -> None:
        """Cancel the task and wait until it has ended."""
        if self._task is not None:
            await cancelled(self._task)

    def abandon(self) -> None:
        """Cancel the task soon. Garbage collection calls it, in any thread."""
        task = self._task
        if task is not None and not task.done():
            with suppress(RuntimeError):  # the loop is closed
                task.get_loop().call_soon_threadsafe(task.cancel)


class Stream(AsyncIterator[T]):
    """Iterates a source through an async generator, and through another after an interruption.

    An exception, a cancellation included, finishes a generator: its next step would report a
    normal end. The position is therefore kept in the source, and a new generator continues there.
    The source must report its end, and an error that it cannot recover from, again each time.

    Args:
        generate: Returns a generator that starts at the position of the source, and that enters
            the argument around all its work.
        reading: The task that reads for the generator. It ends with the stream.
    """

    if TYPE_CHECKING:

        def __anext__(self) -> Awaitable[T]: ...

    else:
        # `__anext__` holds the method of the running generator: a method in Python would make the
        # iteration of a list a tenth slower.
        __slots__ = ("__anext__", "__weakref__", "_closed", "_generate", "_generator", "_reading")

    def __init__(self, generate: Generate[T], reading: Reading[Any] | None = None) -> None:
        self._generate = generate
        self._reading = reading
        self._closed = False
        self._generator = generate(Running(self, reading))
        self._set_next(partial(_begin, ref(self)))

    async def aclose(self) -> None:
        """End the iteration and cancel what is being read for it."""
        self._closed = True
        try:
            await self._generator.aclose()
        finally:
            if self._reading is not None:
                await self._reading.aclose()

    def __del__(self) -> None:
        if self._reading is not None:
            self._reading.abandon()

    def _set_next(self, step: Callable[[], Awaitable[T]]) -> None:
        self.__anext__ = step  # type: ignore[method-assign]


class Running:
    """The generator of a stream enters it when it starts, and leaves it when it ends.

    Its reference to the stream is weak: a cycle would delay the collection of the stream.
    """

    __slots__ = ("_reading", "_stream")

    def __init__(self, stream: Stream[Any], reading: Reading[Any] | None) -> None:
        self._stream = ref(stream)
        self._reading = reading

    def __enter__(self) -> None:
        stream = self._stream()
        if stream is not None:
            stream._set_next(stream._generator.__anext__)

    def __exit__(self, *_: object) -> None:
        stream = self._stream()
        if stream is not None:
            stream._set_next(partial(_begin, self._stream))
        elif self._reading is not None:
            self._reading.abandon()  # as in `await anext(aiter(source))`


def _begin(reference: "ref[Stream[T]]") -> Awaitable[T]:
    """Return the first step of a generator."""
    stream = reference()
    assert stream is not None  # its caller holds it
    # A cancellation before the first step finishes a generator that never ran.
    generator = cast("AsyncGeneratorType[T, None]", stream._generator)
    if generator.ag_frame is None and not stream._closed:
        stream._generator = stream._generate(Running(stream, stream._reading))
    return stream._generator.__anext__()
