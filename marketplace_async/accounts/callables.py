"""Calls functions and iterates iterables of the user: in threads of their own, with a timeout.

The default executor of asyncio looks up host names: calls that hang in it would stop all requests.
"""

import asyncio
import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from contextvars import copy_context
from typing import Final, TypeVar

from .._core.clocks import monotonic
from .._core.threads import WorkerThread, to_daemon_thread
from ..errors import CredentialsError

T = TypeVar("T")

_MAX_THREADS: Final = 64
_BATCH_SIZE: Final = 256
_BATCH_SECONDS: Final = 0.05


class Threads:
    """Calls functions, each in a daemon thread of its own. A limited number runs at a time."""

    def __init__(self) -> None:
        self._permits: tuple[asyncio.AbstractEventLoop, asyncio.Semaphore] | None = None

    async def call(
        self, function: Callable[[str], T | Awaitable[T]], argument: str, *, seconds: float
    ) -> T:
        """Call a function and return its result. An async function is awaited on the loop.

        Raises:
            CredentialsError: It took more than `seconds`. Its thread is left behind.
            Exception: The function raised it.
        """
        what = f"looking up {argument}"
        if _is_async(function):
            found = function(argument)
            return await _within(seconds, _result_of(found), what)
        # A thread that is left behind holds no permit: it must not stop the calls that follow.
        async with self._semaphore():
            return await _within(seconds, _called_in_a_thread(function, argument), what)

    async def run(self, function: Callable[[str], T], argument: str) -> T:
        """Call a function that ends, and return its result."""
        async with self._semaphore():
            return await to_daemon_thread(function, argument)

    def _semaphore(self) -> asyncio.Semaphore:
        loop = asyncio.get_running_loop()
        if self._permits is None or self._permits[0] is not loop:
            self._permits = loop, asyncio.Semaphore(_MAX_THREADS)
        return self._permits[1]


async def items_of(
    items: Iterable[T] | AsyncIterable[T], name: str, seconds: float
) -> AsyncGenerator[T, None]:
    """Yield the items of an iterable. Unless it is a collection or async, it runs in a thread.

    Args:
        items: The iterable.
        name: Its name in messages.
        seconds: How long the next items may take.

    Raises:
        CredentialsError: It did not yield the next items in time.
        Exception: The iterable raised it.
    """
    if isinstance(items, list | tuple | set | frozenset | dict):
        for item in items:
            yield item
    elif isinstance(items, AsyncIterable):
        async for item in _timed(aiter(items), name, seconds):
            yield item
    else:
        # Its owner closes it, if anyone.
        async for item in items_from(lambda: items, name, seconds, closes=False):
            yield item


async def items_from(
    function: Callable[[], Iterable[T] | AsyncIterable[T]],
    name: str,
    seconds: float,
    *,
    closes: bool = True,
) -> AsyncGenerator[T, None]:
    """Yield the items that a function returns. It is called in a thread; see `items_of`.

    If it returned a generator, that is closed in the end, unless `closes` is False.
    """
    worker = WorkerThread()
    worker.start()
    iterator: Iterator[T] | None = None
    try:
        items = await _within(seconds, worker(copy_context().run, function), name)
        if isinstance(items, AsyncIterable):
            async for item in _timed(aiter(items), name, seconds, closes=True):
                yield item
            return
        # One thread for all: a database cursor, for example, belongs to the thread that made it.
        iterator = await _within(seconds, worker(iter, items), name)
        ended, error = False, None
        while not ended:
            batch, ended, error = await _within(seconds, worker(_take, iterator), name)
            for item in batch:
                yield item
        if error is not None:
            raise error
    finally:
        worker.abandon(iterator.close if closes and isinstance(iterator, Generator) else None)


async def _timed(
    iterator: AsyncIterator[T], name: str, seconds: float, *, closes: bool = False
) -> AsyncGenerator[T, None]:
    try:
        while True:
            try:
                item = await _within(seconds, anext(iterator), name)
            except StopAsyncIteration:
                return
            yield item
    finally:
        if closes and isinstance(iterator, AsyncGenerator):
            await iterator.aclose()


def _take(iterator: Iterator[T]) -> tuple[list[T], bool, Exception | None]:
    """Return the next items, whether they are the last, and the error that ended them."""
    items: list[T] = []
    until = monotonic() + _BATCH_SECONDS
    try:
        for item in iterator:
            items.append(item)
            if len(items) == _BATCH_SIZE or monotonic() > until:
                return items, False, None
    except Exception as error:  # noqa: BLE001 - raised after the items
        return items, True, error
    return items, True, None


def _is_async(function: Callable[..., object]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object with an async __call__
    )


async def _called_in_a_thread(function: Callable[[str], T | Awaitable[T]], argument: str) -> T:
    return await _result_of(await to_daemon_thread(copy_context().run, function, argument))


async def _result_of(found: T | Awaitable[T]) -> T:
    if inspect.isawaitable(found):
        result: T = await found
        return result
    return found


async def _within(seconds: float, call: Awaitable[T], what: str) -> T:
    deadline = asyncio.timeout(seconds)
    try:
        async with deadline:
            return await call
    except TimeoutError:
        if not deadline.expired():
            raise
    raise CredentialsError(f"{what} took more than {seconds:g} s")
