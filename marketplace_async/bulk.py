"""Many calls and many lists at once, with no more in memory than what is in flight.

    outcomes = await bulk.settle(client.available_add_ons.fetch, sids)

    async with bulk.merge(one.installed_add_ons.list() for one in siblings) as stream:
        async for installed in stream:
            ...

Items and lists come from an iterable or an async iterable of any length, which is read no faster
than there is room. Whatever happens, nothing goes on after the call, or after the block.
"""

import asyncio
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Sized,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Generic, Protocol, Self, TypeAlias, TypeVar

import attrs

from ._core.arguments import check_positive_int
from ._core.pagination import Page, Paginator, cursor_of
from ._core.tasks import cancelled
from .errors import ResponseError

Item = TypeVar("Item")
T = TypeVar("T")

AnyIterable: TypeAlias = Iterable[T] | AsyncIterable[T]


@attrs.frozen
class Outcome(Generic[Item, T]):
    """What came of one item.

    Attributes:
        item: What it was done for.
        value: What came of it; None if it failed.
        error: Why it failed; None if it did not.
    """

    item: Item
    value: T | None
    error: Exception | None

    @property
    def ok(self) -> bool:
        """Whether it did not fail."""
        return self.error is None


class Progress(Protocol):
    """Whoever wants to be told how far a bulk call has come. Its methods return at once."""

    def started(self, total: int | None) -> None:
        """The work begins: on so many items, if that is known."""

    def advanced(self, count: int = 1) -> None:
        """So many more items are done, whether they failed or not."""

    def failed(self, item: object, error: Exception) -> None:
        """An item failed; it counts as done, too."""


async def gather(
    call: Callable[[Item], Awaitable[T]],
    items: AnyIterable[Item],
    *,
    limit: int = 64,
    progress: Progress | None = None,
) -> list[T]:
    """Call for each item, many at once; the first failure ends it.

    Args:
        call: An async function of one item, such as `client.installed_add_ons.fetch`.
        items: Any number of items.
        limit: How many calls are under way at once, 1 or more.
        progress: Whoever wants to be told how far it is.

    Returns:
        What the calls returned, in the order of the items.

    Raises:
        ValueError: `limit` cannot be right.
        Exception: What the first call that failed raised, after all others have been cancelled and
            have ended.
    """
    values: dict[int, T] = {}
    async with _Calls(call, items, check_positive_int(limit, "limit"), progress) as calls:
        async for number, outcome in calls:
            calls.make_room()
            if outcome.error is not None:
                raise outcome.error
            values[number] = outcome.value  # type: ignore[assignment]  # it did not fail
    return [values[number] for number in range(len(values))]


def settle(
    call: Callable[[Item], Awaitable[T]],
    items: AnyIterable[Item],
    *,
    limit: int = 64,
    progress: Progress | None = None,
) -> "Settling[Item, T]":
    """Call for each item, many at once, and tell what came of each.

    `await settle(...)` gives a list of all outcomes. Where that is too long, iterate instead:

        async with bulk.settle(call, items) as outcomes:
            async for outcome in outcomes:
                ...

    Args:
        call: An async function of one item, such as `client.installed_add_ons.fetch`.
        items: Any number of items.
        limit: How many calls are under way at once, 1 or more; and, for who iterates, how many are
            under way or wait for one before them.
        progress: Whoever wants to be told how far it is.

    Returns:
        An `Outcome(item, value, error)` for each item, in the order of the items.

    Raises:
        ValueError: `limit` cannot be right.
        Exception: What `items` raises while it is read; no failure of a call.
    """
    return Settling(_Calls(call, items, check_positive_int(limit, "limit"), progress))


def as_completed(
    call: Callable[[Item], Awaitable[T]],
    items: AnyIterable[Item],
    *,
    limit: int = 64,
    progress: Progress | None = None,
) -> AbstractAsyncContextManager[AsyncIterator[Outcome[Item, T]]]:
    """Call for each item, many at once, and tell what came of each as soon as it is there.

    Use it as `async with as_completed(...) as stream`, and iterate the stream.

    Args:
        call: An async function of one item.
        items: Any number of items.
        limit: How many calls are under way, or have outcomes that nobody has taken, 1 or more.
        progress: Whoever wants to be told how far it is.

    Returns:
        An `Outcome(item, value, error)` for each item, in the order in which they come.

    Raises:
        ValueError: `limit` cannot be right.
        Exception: From the stream: what `items` raises while it is read; no failure of a call.
    """
    return _completed(_Calls(call, items, check_positive_int(limit, "limit"), progress))


def merge(
    lists: AnyIterable[Paginator[T]], *, limit: int = 64, progress: Progress | None = None
) -> AbstractAsyncContextManager[AsyncIterator[T]]:
    """Read many lists at once, as one stream; the first failure ends it.

    Use it as `async with merge(...) as stream`, and iterate the stream.

    Args:
        lists: Any number of lists, such as `client.installed_add_ons.list()` of many clients.
        limit: How many lists are read at once, and how many pages are held, 1 or more; of each list
            at most the one in your hands and one ahead, whatever its `prefetch`.
        progress: Whoever wants to be told how far it is; the items are the lists.

    Returns:
        The records, page by page as they come: in order within a list, in none between lists.

    Raises:
        ValueError: `limit` cannot be right.
        MarketplaceError: From the stream: what went wrong with the first list that failed.
    """
    return _merged(_Lists(lambda one: one, lists, check_positive_int(limit, "limit"), progress))


def merge_settled(
    list_of: Callable[[Item], Paginator[T]],
    items: AnyIterable[Item],
    *,
    limit: int = 64,
    progress: Progress | None = None,
) -> AbstractAsyncContextManager[AsyncIterator[Outcome[Item, T]]]:
    """Read the lists of many items at once, as one stream, and tell which failed.

    Use it as `async with merge_settled(...) as stream`, and iterate the stream.

    Args:
        list_of: Gives the list of one item, such as that of an account.
        items: Any number of items.
        limit: How many lists are read at once, and how many pages are held, 1 or more.
        progress: Whoever wants to be told how far it is.

    Returns:
        An `Outcome(item, record, None)` for each record, as in `merge`; and for each list that
        failed one `Outcome(item, None, error)`, after those of its records that came before.

    Raises:
        ValueError: `limit` cannot be right.
        Exception: From the stream: what `items` raises while it is read; no failure of a list.
    """
    return _settled(_Lists(list_of, items, check_positive_int(limit, "limit"), progress))


class _Workers(Generic[Item, T]):
    """Works on items side by side, and hands over what comes of it as it comes.

    Subclasses say what the work is.
    """

    def __init__(self, items: AnyIterable[Item], limit: int, progress: Progress | None) -> None:
        self._items = items
        self._room = asyncio.Semaphore(limit)
        self._progress = progress
        self._tasks: set[asyncio.Task[None]] = set()
        self._feeding: asyncio.Task[None] | None = None
        self._found: deque[T] = deque()
        self._broken: BaseException | None = None
        self._wake: asyncio.Future[None] | None = None
        self._entered = False
        self._over = False

    async def work(self, number: int, item: Item) -> None:
        """Work on the item of this number: `hand_over` what comes of it."""
        raise NotImplementedError

    def hand_over(self, found: T) -> None:
        self._found.append(found)
        self._wake_up()

    def make_room(self) -> None:
        """Let one more item in."""
        self._room.release()

    def done(self, item: object, error: Exception | None = None) -> None:
        """Tell the progress that an item is done."""
        if self._progress is not None:
            if error is not None:
                self._progress.failed(item, error)
            self._progress.advanced(1)

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError("this has been awaited or entered before: call settle() again")
        self._entered = True
        if self._progress is not None:
            self._progress.started(len(self._items) if isinstance(self._items, Sized) else None)
        self._feeding = self._start(self._feed())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over = True
        await cancelled(*self._tasks)

    async def __aiter__(self) -> AsyncGenerator[T, None]:
        while True:
            if self._over:
                raise RuntimeError("a stream ends with its `async with`: iterate it inside")
            if self._found:
                yield self._found.popleft()
            elif self._tasks:
                self._wake = asyncio.get_running_loop().create_future()
                await self._wake
            elif self._broken is not None:
                raise self._broken
            else:
                return

    def _start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None and self._broken is None and not self._over:
            # What is under way ends first, so that nothing of it is lost. No more is let in: the
            # room may never come, nor the next item.
            self._broken = error
            if self._feeding is not None:
                self._feeding.cancel()
        self._wake_up()

    def _wake_up(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _feed(self) -> None:
        items = aiter(self._items if isinstance(self._items, AsyncIterable) else _each(self._items))
        number = 0
        try:
            while True:
                await self._room.acquire()
                try:
                    item = await anext(items)
                except StopAsyncIteration:
                    return
                if self._over or self._broken is not None:
                    return  # the items do not mind a cancellation
                self._start(self.work(number, item))
                number += 1
        finally:
            if isinstance(items, AsyncGenerator):
                await items.aclose()


def _same(value: T) -> T:
    return value


async def _each(items: Iterable[T]) -> AsyncGenerator[T, None]:
    for item in items:
        yield item


class _Calls(_Workers[Item, tuple[int, Outcome[Item, T]]]):
    """Calls a function for each item."""

    def __init__(
        self,
        call: Callable[[Item], Awaitable[T]],
        items: AnyIterable[Item],
        limit: int,
        progress: Progress | None,
    ) -> None:
        super().__init__(items, limit, progress)
        self._call = call

    async def work(self, number: int, item: Item) -> None:
        outcome: Outcome[Item, T]
        try:
            outcome = Outcome(item, await self._call(item), None)
        except Exception as error:  # noqa: BLE001 - the caller is told
            outcome = Outcome(item, None, error)
        self.done(item, outcome.error)
        self.hand_over((number, outcome))


class Settling(Generic[Item, T]):
    """What `settle` returns: await it for a list, or iterate it in an `async with`."""

    def __init__(self, calls: _Calls[Item, T]) -> None:
        self._calls = calls

    def __await__(self) -> Generator[Any, None, list[Outcome[Item, T]]]:
        return self._list().__await__()

    async def __aenter__(self) -> AsyncIterator[Outcome[Item, T]]:
        await self._calls.__aenter__()
        return self._in_order()

    async def __aexit__(self, *_: object) -> None:
        await self._calls.__aexit__()

    async def _list(self) -> list[Outcome[Item, T]]:
        outcomes: dict[int, Outcome[Item, T]] = {}
        async with self._calls as calls:
            async for number, outcome in calls:
                calls.make_room()
                outcomes[number] = outcome
        return [outcomes[number] for number in range(len(outcomes))]

    async def _in_order(self) -> AsyncGenerator[Outcome[Item, T], None]:
        early: dict[int, Outcome[Item, T]] = {}
        expected = 0
        async for number, outcome in self._calls:
            early[number] = outcome
            while expected in early:
                self._calls.make_room()
                yield early.pop(expected)
                expected += 1


@asynccontextmanager
async def _completed(
    calls: _Calls[Item, T],
) -> AsyncGenerator[AsyncIterator[Outcome[Item, T]], None]:
    async def outcomes() -> AsyncGenerator[Outcome[Item, T], None]:
        async for _, outcome in calls:
            yield outcome
            calls.make_room()

    async with calls:
        yield outcomes()


@attrs.frozen(eq=False, repr=False)
class _Handed(Generic[Item, T]):
    """What gives a page of an item's list, or why there is none.

    The worker hands it over and waits. Whoever iterates takes it, which decodes the page, and tells
    the worker with that how it went: only then the worker turns to the page after.
    """

    item: Item
    content: Callable[[], Page[T]] | Exception
    taken: "asyncio.Future[ResponseError | None]" = attrs.Factory(
        lambda: asyncio.get_running_loop().create_future()
    )

    def take(self) -> Page[T] | Exception | None:
        """Return the page or the error; None if no page can be made of what came."""
        page: Page[T] | Exception | None = None
        unusable: ResponseError | None = None
        if isinstance(self.content, Exception):
            page = self.content
        else:
            try:
                page = self.content()
            except ResponseError as error:
                unusable = error
        if not self.taken.done():
            self.taken.set_result(unusable)
        return page


class _Lists(_Workers[Item, _Handed[Item, T]]):
    """Reads the list of each item, page by page.

    A page is decoded when its turn comes: the records of many that wait, all at once in memory,
    would cost twice the time.
    """

    def __init__(
        self,
        list_of: Callable[[Item], Paginator[T]],
        items: AnyIterable[Item],
        limit: int,
        progress: Progress | None,
    ) -> None:
        super().__init__(items, limit, progress)
        self._list_of = list_of
        self._room_for_pages = asyncio.Semaphore(limit)

    async def work(self, number: int, item: Item) -> None:
        failure: Exception | None = None
        await self._room_for_pages.acquire()
        try:
            cursor = cursor_of(self._list_of(item))
            while answer := await cursor.next_answer():
                # One page ahead is enough: the room is for all lists.
                unusable = await self._taken(_Handed(item, partial(cursor.page_of, answer)))
                if unusable is not None:
                    page = await cursor.same_page(unusable)
                    await self._taken(_Handed(item, partial(_same, page)))
                await self._room_for_pages.acquire()
        except Exception as error:  # noqa: BLE001 - the caller is told
            failure = error
            self.hand_over(_Handed(item, error))
        else:
            self._room_for_pages.release()
        self.done(item, failure)
        self.make_room()

    async def _taken(self, handed: _Handed[Item, T]) -> ResponseError | None:
        self.hand_over(handed)
        return await handed.taken

    async def pages(self) -> AsyncGenerator[tuple[Item, Page[T] | Exception], None]:
        """Give what comes, and take a page to be in use until the next is asked for."""
        async for handed in self:
            page = handed.take()
            if page is not None:
                yield handed.item, page
                self._room_for_pages.release()


@asynccontextmanager
async def _merged(lists: _Lists[Paginator[T], T]) -> AsyncGenerator[AsyncIterator[T], None]:
    async def records() -> AsyncGenerator[T, None]:
        async for _, page in lists.pages():
            if isinstance(page, Exception):
                raise page
            for record in page.items:
                yield record

    async with lists:
        yield records()


@asynccontextmanager
async def _settled(
    lists: _Lists[Item, T],
) -> AsyncGenerator[AsyncIterator[Outcome[Item, T]], None]:
    async def outcomes() -> AsyncGenerator[Outcome[Item, T], None]:
        async for item, page in lists.pages():
            if isinstance(page, Exception):
                yield Outcome(item, None, page)
            else:
                for record in page.items:
                    yield Outcome(item, record, None)

    async with lists:
        yield outcomes()
