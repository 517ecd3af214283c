"""Lists: page through a collection, one request per page, only while it is iterated."""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Iterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypedDict, TypeVar
from urllib.parse import parse_qs, urlencode

import attrs
from msgspec import UNSET, UnsetType
from yarl import URL

from ..errors import IncompleteListError, MarketplaceError, ResponseError
from .arguments import check_flag, plain_int, plain_text
from .codec import unusable
from .messages import Request, Response
from .operation import Call, Parse
from .streams import Reading, Running, Stream
from .tasks import value_of

T = TypeVar("T")
X = TypeVar("X")

MAX_PAGE_SIZE = 1000
# Of the service, for requests that do not name one.
_DEFAULT_PAGE_SIZE = 50

# Limits far beyond what the service sends. They stop endless paging.
_MAX_LINK_LENGTH = 8192
_MAX_EMPTY_PAGES = 10


@attrs.frozen(eq=False, repr=False)
class Meta:
    """The paging metadata of a page."""

    key: str | None = None
    next_page_url: str | UnsetType | None = UNSET
    url: str | None = None
    page_size: int | None = None


@attrs.frozen
class Page(Generic[T]):
    """One page of a list.

    Attributes:
        items: The records, in the order of the service.
        next_url: Where to resume after this page, with `list(start=...)`; None after the last page.
            If `limit` cut the page short, the link points to this same page.
    """

    items: tuple[T, ...]
    next_url: str | None


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
        self._call = call
        self._path = path
        self._parse = parse
        self._key = key
        self._filters = f"{urlencode(filters)}&" if filters else ""
        self._prefetch = check_flag(prefetch, "prefetch")
        self._limit = limit
        self._page_size = page_size
        self._start = None if start is None else _query_of_start(start, path)

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
        while page := await cursor.read_page():
            if page.items:
                return page.items[0]
        return None

    def _cursor(self, limit: int | None, *, prefetch: bool = False) -> "Cursor[T]":
        query = self._start
        if query is None:
            page_size = self._page_size or min(limit or MAX_PAGE_SIZE, MAX_PAGE_SIZE)
            query = f"{self._filters}PageSize={page_size}"
        request = Request("GET", self._path, query, operation=self._operation)
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


def cursor_of(paginator: Paginator[T]) -> "Cursor[T]":
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
    cursor = cursor_of(paginator)
    pages = 0
    while page := await cursor.read_page():
        for item in page.items:
            yield item
        pages += 1
        if pages == max_pages:
            raise cursor.incomplete(f"the list does not end after {max_pages} pages")
    cursor.check_end()


class Cursor(Generic[T]):
    """The position of one iteration over a list.

    Attributes:
        reading: The request for a page, or the prefetch of one.
    """

    def __init__(
        self,
        call: Call,
        request: Request,
        parse: Parse[Any],
        key: str,
        limit: int | None,
        prefetch: bool,
    ) -> None:
        self._call = call
        self._request = request
        self._parse_envelope = parse
        self._key = key
        self._remaining = limit
        self._prefetch = prefetch
        self.reading: Reading[Page[T]] = Reading()
        self._unread = False
        self._page: Page[T] | None = None
        self._items: Iterator[T] = iter(())
        self._visited = {request.query}
        self._latest: tuple[Response, Meta] | None = None
        self._latest_items: tuple[T, ...] = ()
        self._empty_pages = 0

    async def items(self, running: Running) -> AsyncGenerator[T, None]:
        """Yield the items from this position on; for `Stream`."""
        with running:
            while True:
                for item in self._items:
                    yield item
                page = await self.next_page()
                if page is None:
                    return
                self._items = iter(page.items)

    async def pages(self, running: Running) -> AsyncGenerator[Page[T], None]:
        """Yield the pages from this position on; for `Stream`."""
        with running:
            while page := await self.next_page():
                yield page

    async def read_page(self) -> Page[T] | None:
        """Return the next page, or None after the last. Cancelling it cancels the request."""
        if not self._advance():
            return None
        return self._trim(await self._resumable(self._call(self._request, self._parse)))

    async def next_page(self) -> Page[T] | None:
        """Return the next page, or None after the last.

        A call that fails leaves the position unchanged. Cancelling it does not cancel the request,
        whose response is for the next call. `reading` ends it.
        """
        if self._page is None:
            if not self.reading.started:
                if not self._advance():
                    return None
                self.reading.start(self._call.start(self._request, self._parse))
            try:
                page = value_of(await self.reading.ended())
            except MarketplaceError as error:
                error.resume_at = self._link
                raise
            self._page = self._trim(page)
            if self._prefetch and self._can_advance():
                self.reading.start(self._call.start(self._request, self._parse))
                # Yield once so that the prefetch starts even if the caller never awaits.
                await asyncio.sleep(0)
        page, self._page = self._page, None
        return page

    async def next_response(self) -> Response | None:
        """Return the response that holds the next page, for `page_of`; None after the last page."""
        if not self._advance():
            return None
        return await self._resumable(self._call(self._request, lambda _, response: response))

    def page_of(self, response: Response) -> Page[T]:
        """Return the page in the latest response, or raise ResponseError."""
        return self._trim(self._parse(self._request, response))

    async def retry_page(self, error: ResponseError) -> Page[T]:
        """Request the current page again after `page_of` raised `error`."""
        reading = self._call(self._request, self._parse, failed=error)
        return self._trim(await self._resumable(reading))

    def check_end(self) -> None:
        """Raise IncompleteListError unless the latest page says that it is the last."""
        if self._latest is not None and self._latest[1].next_page_url is UNSET:
            raise self.incomplete("the last page does not say that it is the last")

    def incomplete(self, reason: str) -> IncompleteListError:
        """Return the error for a list that may go on after the latest page."""
        response = self._latest[0] if self._latest is not None else Response(200, {}, b"")
        return IncompleteListError(self._request, response, reason, self._latest_items)

    @property
    def _link(self) -> str:
        return f"{self._request.path}?{self._request.query}"

    async def _resumable(self, reading: Awaitable[X]) -> X:
        try:
            return await reading
        except MarketplaceError as error:
            error.resume_at = self._link
            raise

    def _trim(self, page: Page[T]) -> Page[T]:
        self._unread = False
        self._empty_pages = 0 if page.items else self._empty_pages + 1
        if self._remaining is not None:
            if len(page.items) > self._remaining:
                page = Page(page.items[: self._remaining], self._link)
            self._remaining -= len(page.items)
        return page

    def _can_advance(self) -> bool:
        try:
            return self._advance()
        except ResponseError:
            # The current page is valid. The invalid link raises when the next page is needed.
            return False

    def _advance(self) -> bool:
        """Move to the next page, or stay at one that was not read.

        Return False if there is none, or the limit is reached.
        """
        if not self._unread:
            request = self._next_request()
            if request is None:
                return False
            self._request = request
            self._unread = True
        return True

    def _parse(self, request: Request, response: Response) -> Page[T]:
        envelope = self._parse_envelope(request, response)
        meta: Meta = envelope.meta
        if meta.key not in (None, self._key):
            raise unusable(
                request, response, f"expected a page of {self._key}, got a page of {meta.key}"
            )
        page: Page[T] = Page(getattr(envelope, self._key), meta.next_page_url or None)
        self._latest = response, meta
        # For the error of a list that does not say whether it goes on.
        self._latest_items = page.items if meta.next_page_url is UNSET else ()
        return page

    def _next_request(self) -> Request | None:
        if self._remaining == 0:
            return None
        if self._latest is None:
            return self._request
        response, meta = self._latest
        link = meta.next_page_url
        if link is UNSET and len(self._latest_items) >= _page_size(self._request, meta):
            raise self.incomplete("the page is full, and does not say whether there is another one")
        if not link:
            return None
        path = self._request.path
        try:
            if len(link) > _MAX_LINK_LENGTH:
                raise ValueError(f"is {len(link)} characters long")
            if self._empty_pages >= _MAX_EMPTY_PAGES:
                raise ValueError(f"follows {self._empty_pages} empty pages")
            query = _query_of_link(link, path)
            current = _page_url(meta.url, path)
            if current is not None:
                # The service may encode the link of a page differently from the request.
                self._visited.add(current.raw_query_string)
                # No request is sent to that host, but the link cannot be right. Its scheme and
                # port can be: they are those of a server behind a proxy.
                if URL(link).host not in (None, current.host):
                    raise ValueError(f"points to a different host than the page, {link!r}")
            if query in self._visited:
                raise ValueError(f"points back to a page already read, {link!r}")
            request = Request("GET", path, query, operation=self._request.operation)
        except ValueError as error:
            reason = f"the link to the next page: {error}"
            raise ResponseError(self._request, response, reason) from None
        self._visited.add(query)
        return request


def _query_of_start(start: str, path: str) -> str:
    if not isinstance(start, str):
        raise TypeError(f"start: expected a link, got {type(start).__name__}")
    try:
        return _query_of_link(plain_text(start), path)
    except ValueError as error:
        raise ValueError(f"start: {error}") from None


def _query_of_link(link: str, path: str) -> str:
    """Return the query of a link to a page of `path`.

    Only the query is used, with the known host and path, so that no link can send the credentials
    elsewhere.
    """
    url = URL(link)
    if not url.absolute:
        url = URL("https://x" + path).join(url)
    if not url.raw_path.endswith(path) or not url.raw_query_string:
        raise ValueError(f"expected a link to a page of {path}, with a query, got {link!r}")
    return url.raw_query_string


def _page_url(url: str | None, path: str) -> URL | None:
    """Return the URL of a page of `path`; None if it is missing, or not one."""
    try:
        parsed = URL(url or "")
    except ValueError:
        return None
    return parsed if parsed.raw_path.endswith(path) else None


def _page_size(request: Request, meta: Meta) -> int:
    """Return how many items a full page has."""
    if meta.page_size is not None and meta.page_size > 0:
        return meta.page_size
    sizes = parse_qs(request.query).get("PageSize", [])
    return int(sizes[0]) if sizes and re.fullmatch("[0-9]{1,9}", sizes[0]) else _DEFAULT_PAGE_SIZE


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
