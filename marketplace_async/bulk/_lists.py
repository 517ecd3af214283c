"""Many lists read as one stream: the results of `merge` and `merge_settled`."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Generic, TypeVar

import attrs

from .._core.pagination import Page, Paginator, cursor_of
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

    async def _decoded(self, page: _PendingPage[Item, T]) -> ResponseError | None:
        self.emit(page)
        return await page.decoded

    async def pages(self) -> AsyncGenerator[tuple[Item, Page[T] | Exception], None]:
        """Yield pages and errors with their items. A page counts until the next one is read."""
        async for pending in self:
            page = pending.take()
            if page is not None:
                yield pending.item, page
                self._page_permits.release()


@asynccontextmanager
async def merged(lists: Lists[Paginator[T], T]) -> AsyncGenerator[AsyncIterator[T], None]:
    async def records() -> AsyncGenerator[T, None]:
        async for _, page in lists.pages():
            if isinstance(page, Exception):
                raise page
            for record in page.items:
                yield record

    async with lists:
        yield records()


@asynccontextmanager
async def merged_outcomes(
    lists: Lists[Item, T],
) -> AsyncGenerator[AsyncIterator[Outcome[Item, T]], None]:
    async def outcomes() -> AsyncGenerator[Outcome[Item, T], None]:
        async for item, page in lists.pages():
            if isinstance(page, Exception):
                yield Failure(item, page)
            else:
                for record in page.items:
                    yield Success(item, record)

    async with lists:
        yield outcomes()


def _identity(value: T) -> T:
    return value
