"""Lists: page through a collection, one request per page, only while it is iterated."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypedDict, TypeVar
from urllib.parse import urlencode

from ..errors import IncompleteListError
from .arguments import check_flag, plain_int
from .cursor import Cursor, Page, query_of_start
from .messages import Host, Request
from .operation import Call, Parse
from .streams import Stream

T = TypeVar("T")

MAX_PAGE_SIZE = 1000


class ListOptions(TypedDict, total=False):
    """The options of every `list()`, for callers that pass them on: `list(**options)`."""

    limit: int | None
    page_size: int | None
    start: str | None
    prefetch: bool


class Paginator(Generic[T]):
    """A list that sends requests while you iterate it. Each iteration starts over.

    Iterating it raises the errors of its requests: see `marketplace_async.errors`. An iterator
    goes on after an interruption: after an error, its next step requests the same page again;
    after a cancellation or a timeout, it waits for the page that was requested before.
    """

    def __init__(
        self,
        call: Call,
        path: str,
        parse: Parse[Any],
        key: str,
        filters: Mapping[str, str] | None = None,
        *,
        limit: int | None,
        page_size: int | None,
        start: str | None,
        prefetch: bool,
        operation: str | None = None,
        host: Host = "marketplace",
    ) -> None:
        limit = _check_count("limit", limit, at_least=0)
        page_size = _check_count("page_size", page_size, at_least=1, at_most=MAX_PAGE_SIZE)
        if start is not None and page_size is not None:
            raise ValueError("page_size: cannot be combined with start, which has its own")
        if start is not None and filters:
            raise ValueError(
                f"{', '.join(filters)}: cannot be combined with start, which has its own filters"
            )
        self._operation = operation
        self._host: Host = host
        self._call = call
        self._path = path
        self._parse = parse
        self._key = key
        self._filters = f"{urlencode(filters)}&" if filters else ""
        self._prefetch = check_flag(prefetch, "prefetch")
        self._limit = limit
        self._page_size = page_size
        self._start = None if start is None else query_of_start(start, path)

    def __repr__(self) -> str:
        return f"<Paginator of {self._path}, limit={self._limit}>"

    def __aiter__(self) -> Stream[T]:
        cursor = self._cursor(self._limit, prefetch=self._prefetch)
        return Stream(cursor.items, cursor.reading)

    if not TYPE_CHECKING:  # type checkers report `await ...list()` only without this method

        def __await__(self) -> NoReturn:
            raise TypeError(
                "a list cannot be awaited: iterate it with `async for`, "
                "or `await ....list().collect()`"
            )

    def pages(self) -> Stream[Page[T]]:
        """Iterate page by page. Each page has the link to resume after it."""
        cursor = self._cursor(self._limit, prefetch=self._prefetch)
        return Stream(cursor.pages, cursor.reading)

    async def collect(self) -> list[T]:
        """Return all items."""
        items: list[T] = []
        with self._call.one_deadline():
            async with aclosing(self.pages()) as pages:
                try:
                    async for page in pages:
                        items += page.items
                except IncompleteListError as error:
                    raise error.with_items(items) from None
        return items

    async def first(self) -> T | None:
        """Return the first item, or None. Requests one item unless `page_size` says otherwise."""
        cursor = self._cursor(1 if self._limit is None else min(1, self._limit))
        with self._call.one_deadline():
            while page := await cursor.read_page():
                if page.items:
                    return page.items[0]
        return None

    def _cursor(self, limit: int | None, *, prefetch: bool = False) -> Cursor[T]:
        query = self._start
        if query is None:
            page_size = self._page_size or min(limit or MAX_PAGE_SIZE, MAX_PAGE_SIZE)
            query = f"{self._filters}PageSize={page_size}"
        request = Request("GET", self._path, query, operation=self._operation, host=self._host)
        return Cursor(self._call, request, self._parse, self._key, limit, prefetch)


class Listable(Generic[T]):
    """A collection that can be listed."""

    def __init__(self, call: Call, path: str, parse: Parse[Any], key: str, operation: str) -> None:
        self._operation = operation
        self._call = call
        self._path = path
        self._parse_page = parse
        self._key = key

    def list(
        self,
        *,
        limit: int | None = None,
        page_size: int | None = None,
        start: str | None = None,
        prefetch: bool = True,
    ) -> Paginator[T]:
        """List the collection. Sends nothing by itself.

        Args:
            limit: Maximum number of records, at least 0. Unlimited by default.
            page_size: Records per request, 1 to 1000. By default as many as `limit` needs.
            start: A saved `page.next_url`, to resume there. It has its own page size.
            prefetch: Whether to fetch the next page while you process the current one.

        Returns:
            A list to iterate with `async for`, or to `collect()`. Each iteration starts over.

        Raises:
            ValueError, TypeError: An option is invalid.
        """
        return Paginator(
            self._call,
            self._path,
            self._parse_page,
            self._key,
            limit=limit,
            page_size=page_size,
            start=start,
            prefetch=prefetch,
            operation=self._operation,
        )


def cursor_of(paginator: Paginator[T]) -> Cursor[T]:
    """Return a new cursor over a list, without prefetch."""
    if not isinstance(paginator, Paginator):
        raise TypeError(f"expected a list such as installed_add_ons.list(), got {paginator!r}")
    return paginator._cursor(paginator._limit)


async def complete(
    paginator: Paginator[T], max_pages: int | None = 1000
) -> AsyncGenerator[T, None]:
    """Yield the items of a list on which a write depends, or that must not miss any.

    Raises:
        IncompleteListError: The list does not say that it ends, or has more than `max_pages` pages.
    """
    async with aclosing(complete_pages(paginator, max_pages)) as pages:
        async for _, page in pages:
            for item in page.items:
                yield item


async def complete_pages(
    paginator: Paginator[T], max_pages: int | None = 1000
) -> AsyncGenerator[tuple[str, Page[T]], None]:
    """Yield the pages of such a list, each with the link to itself, for `list(start=...)`.

    Raises:
        IncompleteListError: As for `complete`.
    """
    cursor = cursor_of(paginator)
    pages = 0
    while page := await cursor.read_page():
        yield cursor.link, page
        pages += 1
        if pages == max_pages:
            raise cursor.incomplete(f"the list does not end after {max_pages} pages")
    cursor.check_end()


def _check_count(
    name: str, value: int | None, at_least: int, at_most: int | None = None
) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    count = plain_int(value)
    if count < at_least or (at_most is not None and count > at_most):
        bounds = f"at least {at_least}" if at_most is None else f"{at_least} to {at_most}"
        raise ValueError(f"{name}: expected {bounds}, got {count}")
    return count
