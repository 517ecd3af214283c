"""Lists: page through a collection, one request per page, only while it is iterated."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Mapping
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypedDict, TypeVar
from urllib.parse import urlencode

import attrs
from yarl import URL

from ..errors import MarketplaceError, ResponseError
from .arguments import check_flag
from .messages import Request, Response
from .operation import Call, Parse
from .tasks import cancelled, result_of

T = TypeVar("T")
X = TypeVar("X")

MAX_PAGE_SIZE = 1000

# Limits far beyond what the service sends. They stop endless paging.
_MAX_LINK_LENGTH = 8192
_MAX_EMPTY_PAGES = 10


@attrs.frozen(eq=False, repr=False)
class Meta:
    """The paging metadata of a page."""

    key: str
    next_page_url: str | None
    url: str | None = None


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

    Iterating it raises the errors of its requests: see `marketplace_async.errors`.
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
    ) -> None:
        _check_count("limit", limit, at_least=0)
        _check_count("page_size", page_size, at_least=1, at_most=MAX_PAGE_SIZE)
        if start is not None and page_size is not None:
            raise ValueError("page_size: cannot be combined with start, which has its own")
        if start is not None and filters:
            raise ValueError(
                f"{', '.join(filters)}: cannot be combined with start, which has its own filters"
            )
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

    async def __aiter__(self) -> AsyncGenerator[T, None]:
        cursor = self._cursor(self._limit, prefetch=self._prefetch)
        try:
            while page := await cursor.next_page():
                for item in page.items:
                    yield item
        finally:
            await cursor.aclose()

    if not TYPE_CHECKING:  # type checkers report `await ...list()` only without this method

        def __await__(self) -> NoReturn:
            raise TypeError(
                "a list cannot be awaited: iterate it with `async for`, "
                "or `await ....list().collect()`"
            )

    async def pages(self) -> AsyncGenerator[Page[T], None]:
        """Iterate page by page. Each page has the link to resume after it."""
        cursor = self._cursor(self._limit, prefetch=self._prefetch)
        try:
            while page := await cursor.next_page():
                yield page
        finally:
            await cursor.aclose()

    async def collect(self) -> list[T]:
        """Return all items."""
        items: list[T] = []
        async for page in self.pages():
            items += page.items
        return items

    async def first(self) -> T | None:
        """Return the first item, or None. Requests one item unless `page_size` says otherwise."""
        cursor = self._cursor(1 if self._limit is None else min(1, self._limit))
        while page := await cursor.next_page():
            if page.items:
                return page.items[0]
        return None

    def _cursor(self, limit: int | None, *, prefetch: bool = False) -> "Cursor[T]":
        query = self._start
        if query is None:
            page_size = self._page_size or min(limit or MAX_PAGE_SIZE, MAX_PAGE_SIZE)
            query = f"{self._filters}PageSize={page_size}"
        request = Request("GET", self._path, query)
        return Cursor(self._call, request, self._parse, self._key, limit, prefetch)


class Listable(Generic[T]):
    """A collection that can be listed."""

    def __init__(self, call: Call, path: str, parse: Parse[Any], key: str) -> None:
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
        )


def cursor_of(paginator: Paginator[T]) -> "Cursor[T]":
    """Return a new cursor over a list, without prefetch."""
    if not isinstance(paginator, Paginator):
        raise TypeError(f"expected a list such as installed_add_ons.list(), got {paginator!r}")
    return paginator._cursor(paginator._limit)


class Cursor(Generic[T]):
    """The position of one iteration over a list."""

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
        self._prefetched: asyncio.Task[Page[T]] | None = None
        self._visited = {request.query}
        self._latest: tuple[Response, Meta] | None = None
        self._empty_pages = 0

    async def next_page(self) -> Page[T] | None:
        """Return the next page, or None after the last."""
        if self._prefetched is not None:
            reading: Awaitable[Page[T]] = result_of(self._prefetched)
        elif self._advance():
            reading = self._call(self._request, self._parse)
        else:
            return None
        page = self._trim(await self._resumable(reading))
        self._prefetched = None
        if self._prefetch and self._can_advance():
            self._prefetched = self._call.start(self._request, self._parse)
            # Yield once so that the prefetch starts even if the caller never awaits.
            await asyncio.sleep(0)
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

    async def aclose(self) -> None:
        """Cancel the prefetch."""
        if self._prefetched is not None:
            await cancelled(self._prefetched)

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
        """Move to the next page. Return False if there is none, or the limit is reached."""
        request = self._next_request()
        if request is None:
            return False
        self._request = request
        return True

    def _parse(self, request: Request, response: Response) -> Page[T]:
        envelope = self._parse_envelope(request, response)
        meta: Meta = envelope.meta
        if meta.key != self._key:
            raise ResponseError(
                request, response, f"expected a page of {self._key}, got {meta.key}"
            )
        self._latest = response, meta
        return Page(getattr(envelope, self._key), meta.next_page_url)

    def _next_request(self) -> Request | None:
        if self._remaining == 0:
            return None
        if self._latest is None:
            return self._request
        response, meta = self._latest
        link = meta.next_page_url
        if link is None:
            return None
        path = self._request.path
        try:
            if len(link) > _MAX_LINK_LENGTH:
                raise ValueError(f"is {len(link)} characters long")
            if self._empty_pages >= _MAX_EMPTY_PAGES:
                raise ValueError(f"follows {self._empty_pages} empty pages")
            query = _query_of_link(link, path)
            if meta.url is not None:
                # The service may encode the link of a page differently from the request.
                current, following = URL(meta.url), URL(link)
                self._visited.add(current.raw_query_string)
                # No request is sent to that host, but the link cannot be right.
                if (current.scheme, current.host, current.port) != (
                    following.scheme,
                    following.host,
                    following.port,
                ):
                    raise ValueError(f"points to a different host than the page, {link!r}")
            if query in self._visited:
                raise ValueError(f"points back to a page already read, {link!r}")
            request = Request("GET", path, query)
        except ValueError as error:
            reason = f"the link to the next page: {error}"
            raise ResponseError(self._request, response, reason) from None
        self._visited.add(query)
        return request


def _query_of_start(start: str, path: str) -> str:
    if not isinstance(start, str):
        raise TypeError(f"start: expected a link, got {type(start).__name__}")
    try:
        return _query_of_link(start, path)
    except ValueError as error:
        raise ValueError(f"start: {error}") from None


def _query_of_link(link: str, path: str) -> str:
    """Return the query of a link to a page of `path`.

    Only the query is used, with the known host and path, so that no link can send the credentials
    elsewhere.
    """
    url = URL(link)
    if not url.raw_path.endswith(path) or not url.raw_query_string:
        raise ValueError(f"expected a link to a page of {path}, with a query, got {link!r}")
    return url.raw_query_string


def _check_count(name: str, value: int | None, at_least: int, at_most: int | None = None) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    if value < at_least or (at_most is not None and value > at_most):
        bounds = f"at least {at_least}" if at_most is None else f"{at_least} to {at_most}"
        raise ValueError(f"{name}: expected {bounds}, got {value}")
