"""Many lists read as one stream: the results of `merge` and `merge_settled`."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Generic, TypeVar

import attrs

from .._core.cursor import Page
from .._core.pagination import Paginator, cursor_of
from .._core.streams import Running, Stream
from ..errors import ResponseError
from ._outcomes import Failure, Outcome, Success
from ._workers import AnyIterable, Progress, Workers

Item = TypeVar("Item")
T = TypeVar("T")


@attrs.frozen(eq=False, repr=False)
class _PendingPage(Generic[Item, T]):
    """A page that is not decoded yet, or the error that ended its list.

    The worker emits it and waits. The consumer calls `take`, which decodes the page and reports
    any ResponseError to the worker. Only then does the worker request the next page.
    """

    item: Item
    content: Callable[[], Page[T]] | Exception
    decoded: "asyncio.Future[ResponseError | None]" = attrs.Factory(
        lambda: asyncio.get_running_loop().create_future()
    )

    def take(self) -> Page[T] | Exception | None:
        """Return the page or the error, or None if the page cannot be decoded."""
        result: Page[T] | Exception | None = None
        failure: ResponseError | None = None
        if isinstance(self.content, Exception):
            result = self.content
        else:
            try:
                result = self.content()
            except ResponseError as error:
                failure = error
        if not self.decoded.done():
            self.decoded.set_result(failure)
        return result


class Lists(Workers[Item, _PendingPage[Item, T]]):
    """Reads the list of each item, page by page.

    A page is decoded only when the consumer reads it: decoding all waiting pages at once doubles
    the run time.
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
        self._page_permits = asyncio.Semaphore(limit)
        self._in_use = False
        self._records: Iterator[T] = iter(())
        self._outcomes: Iterator[Outcome[Item, T]] = iter(())
        self._failure: Exception | None = None

    async def work(self, number: int, item: Item) -> None:
        failure: Exception | None = None
        await self._page_permits.acquire()
        try:
            cursor = cursor_of(self._list_of(item))
            while response := await cursor.next_response():
                # One page ahead per list is enough: all lists share the permits.
                unusable = await self._decoded(
                    _PendingPage(item, partial(cursor.page_of, response))
                )
                if unusable is not None:
                    page = await cursor.retry_page(unusable)
                    await self._decoded(_PendingPage(item, partial(_identity, page)))
                await self._page_permits.acquire()
        except Exception as error:  # noqa: BLE001 - the consumer raises or yields it
            failure = error
            self.emit(_PendingPage(item, error))
        else:
            self._page_permits.release()
        self.report_done(item, failure)
        self.release()
        del failure  # its traceback refers to this frame

    async def _decoded(self, page: _PendingPage[Item, T]) -> ResponseError | None:
        self.emit(page)
        return await page.decoded

    async def records(self, running: Running) -> AsyncGenerator[T, None]:
        """Yield the records of all lists until one fails; for `Stream`."""
        with running:
            while True:
                for record in self._records:
                    yield record
                if not await self._next_records():
                    return

    async def outcomes(self, running: Running) -> AsyncGenerator[Outcome[Item, T], None]:
        """Yield the records of all lists, and the errors of those that fail; for `Stream`."""
        with running:
            while True:
                for outcome in self._outcomes:
                    yield outcome
                result = await self._next_page()
                if result is None:
                    return
                item, page = result
                if isinstance(page, Exception):
                    self._outcomes = iter([Failure(item, page)])
                else:
                    self._outcomes = map(partial(Success[Item, T], item), page.items)

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__()
        self._failure = None

    async def _next_records(self) -> bool:
        """Read a page of records. Raise the error of the first list that failed, each time."""
        if self._failure is None:
            result = await self._next_page()
            if result is None:
                return False
            if not isinstance(result[1], Exception):
                self._records = iter(result[1].items)
                return True
            self._failure = result[1]
            del result  # the traceback of the error refers to this frame
        raise self._failure

    async def _next_page(self) -> tuple[Item, Page[T] | Exception] | None:
        """Return a page or an error, with its item. A page counts until the next one is read."""
        while True:
            if self._in_use:
                self._in_use = False
                self._page_permits.release()
            pending = await self.next_result()
            if pending is None:
                return None
            page = pending.take()
            if page is not None:
                self._in_use = True
                return pending.item, page


@asynccontextmanager
async def merged(lists: Lists[Paginator[T], T]) -> AsyncGenerator[AsyncIterator[T], None]:
    async with lists:
        yield Stream(lists.records)


@asynccontextmanager
async def merged_outcomes(
    lists: Lists[Item, T],
) -> AsyncGenerator[AsyncIterator[Outcome[Item, T]], None]:
    async with lists:
        yield Stream(lists.outcomes)


def _identity(value: T) -> T:
    return value
