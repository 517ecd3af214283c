"""Lists as values: nothing is asked until they are iterated, and then page by page."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from typing import Any, Generic, TypedDict, TypeVar, Unpack
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

# What no honest service comes near.
_LONGEST_LINK = 8192
_MOST_EMPTY_PAGES = 10


@attrs.frozen(eq=False, repr=False)
class Meta:
    """The part of a page that says where it stands in its list."""

    key: str
    next_page_url: str | None
    url: str | None = None


@attrs.frozen
class Page(Generic[T]):
    """One page of a list.

    Attributes:
        items: The records, in the order of the service.
        next_url: Where to resume after this page, with `list(start=...)`; None after the last.
            Where `limit` cut the page short, it leads to this same page, so that nothing is lost.
    """

    items: tuple[T, ...]
    next_url: str | None


class ListOptions(TypedDict, total=False):
    """What every list takes.

    Attributes:
        limit: At most so many records, 0 or more; all unless given.
        page_size: Records a request, 1 to 1000; as many as serve `limit` unless given.
        start: A saved `page.next_url`, to resume there. It carries its own page size.
        prefetch: Whether to ask for the next page while you work on this one; True unless given.
    """

    limit: int | None
    page_size: int | None
    start: str | None
    prefetch: bool


class Paginator(Generic[T]):
    """A list that nobody has asked for yet. Iterating it twice asks twice.

    However it is iterated, it raises the errors of its requests: see `marketplace_async.errors`.
    """

    def __init__(
        self,
        call: Call,
        path: str,
        parse: Parse[Any],
        key: str,
        filters: Mapping[str, str] | None = None,
        **options: Unpack[ListOptions],
    ) -> None:
        if unknown := options.keys() - ListOptions.__annotations__.keys():
            raise TypeError(f"{min(unknown)}: a list takes limit, page_size, start and prefetch")
        limit, page_size, start = (
            options.get("limit"),
            options.get("page_size"),
            options.get("start"),
        )
        _check_count("limit", limit, at_least=0)
        _check_count("page_size", page_size, at_least=1, at_most=MAX_PAGE_SIZE)
        if start is not None and page_size is not None:
            raise ValueError(
                "page_size: not with start=, which is a link with a page size of its own"
            )
        if start is not None and filters:
            raise ValueError(
                f"{', '.join(filters)}: not with start=, which is a link with filters of its own"
            )
        self._call = call
        self._path = path
        self._parse = parse
        self._key = key
        self._filters = f"{urlencode(filters)}&" if filters else ""
        self._prefetch = check_flag(options.get("prefetch", True), "prefetch")
        self._limit = limit
        self._page_size = page_size
        self._start = None if start is None else _query_of_start(start, path)

    def __repr__(self) -> str:
        return f"<Paginator of {self._path}, limit={self._limit}>"

    async def __aiter__(self) -> AsyncIterator[T]:
        cursor = self._cursor(self._limit, prefetch=self._prefetch)
        try:
            while page := await cursor.next_page():
                for item in page.items:
                    yield item
        finally:
            await cursor.aclose()

    async def pages(self) -> AsyncGenerator[Page[T], None]:
        """Iterate page by page, each with the link to resume after it."""
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
        """Return the first item, or None; it asks for one, unless `page_size` was given."""
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


def cursor_of(paginator: Paginator[T]) -> "Cursor[T]":
    """Return a walk through a list that asks for nothing before it is needed."""
    if not isinstance(paginator, Paginator):
        raise TypeError(f"expected a list such as installed_add_ons.list(), got {paginator!r}")
    return paginator._cursor(paginator._limit)


class Cursor(Generic[T]):
    """One walk through a list: what the ways to iterate share."""

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
        self._ahead: asyncio.Task[Page[T]] | None = None
        self._seen = {request.query}
        self._latest: tuple[Response, Meta] | None = None
        self._empty_pages = 0

    async def next_page(self) -> Page[T] | None:
        """Return the next page, or None after the last."""
        if self._ahead is not None:
            reading: Awaitable[Page[T]] = result_of(self._ahead)
        elif self._move_on():
            reading = self._call(self._request, self._parse)
        else:
            return None
        page = self._cut(await self._placed(reading))
        self._ahead = None
        if self._prefetch and self._can_move_on():
            self._ahead = self._call.start(self._request, self._parse)
            # It goes out now, even if the caller never waits for anything else.
            await asyncio.sleep(0)
        return page

    async def next_answer(self) -> Response | None:
        """Return the answer that holds the next page, for `page_of`; None after the last."""
        if not self._move_on():
            return None
        return await self._placed(self._call(self._request, lambda _, response: response))

    def page_of(self, answer: Response) -> Page[T]:
        """Return the page in the answer that came last, or raise ResponseError."""
        return self._cut(self._parse(self._request, answer))

    async def same_page(self, unusable: ResponseError) -> Page[T]:
        """Ask again for the page in the answer that came last, of which `page_of` said this."""
        reading = self._call(self._request, self._parse, failed=unusable)
        return self._cut(await self._placed(reading))

    async def aclose(self) -> None:
        """End what is under way."""
        if self._ahead is not None:
            await cancelled(self._ahead)

    @property
    def _here(self) -> str:
        return f"{self._request.path}?{self._request.query}"

    async def _placed(self, reading: Awaitable[X]) -> X:
        try:
            return await reading
        except MarketplaceError as error:
            error.resume_at = self._here
            raise

    def _cut(self, page: Page[T]) -> Page[T]:
        self._empty_pages = 0 if page.items else self._empty_pages + 1
        if self._remaining is not None:
            if len(page.items) > self._remaining:
                page = Page(page.items[: self._remaining], self._here)
            self._remaining -= len(page.items)
        return page

    def _can_move_on(self) -> bool:
        try:
            return self._move_on()
        except ResponseError:
            # A link is judged again when it is needed: a bad one takes nothing from this page.
            return False

    def _move_on(self) -> bool:
        """Turn to the page after the latest; tell whether there is one, and it is wanted."""
        request = self._following()
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

    def _following(self) -> Request | None:
        """Return the request for the page after the latest, if there is one and it is wanted."""
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
            if len(link) > _LONGEST_LINK:
                raise ValueError(f"it is {len(link)} characters long")
            if self._empty_pages >= _MOST_EMPTY_PAGES:
                raise ValueError(f"it follows {self._empty_pages} empty pages")
            query = _query_of_link(link, path)
            if meta.url is not None:
                # The service may spell a page's link otherwise than it was asked for.
                here, there = URL(meta.url), URL(link)
                self._seen.add(here.raw_query_string)
                # Only the query is used, so that this leads nobody astray: but it cannot be right.
                if (here.scheme, here.host, here.port) != (there.scheme, there.host, there.port):
                    raise ValueError(f"it leads to another host than the page is on, {link!r}")
            if query in self._seen:
                raise ValueError(f"it leads back to a page already read, {link!r}")
            following = Request("GET", path, query)
        except ValueError as error:
            reason = f"the link to the next page: {error}"
            raise ResponseError(self._request, response, reason) from None
        self._seen.add(query)
        return following


def _query_of_start(start: str, path: str) -> str:
    if not isinstance(start, str):
        raise TypeError(f"start: expected a link, got {type(start).__name__}")
    try:
        return _query_of_link(start, path)
    except ValueError as error:
        raise ValueError(f"start: {error}") from None


def _query_of_link(link: str, path: str) -> str:
    """Return the query of a link to a page of `path`.

    Only the query is ever used, on the path and host that are known, so that no link can lead the
    credentials elsewhere.
    """
    url = URL(link)
    if not url.raw_path.endswith(path) or not url.raw_query_string:
        raise ValueError(f"expected a link to a page of {path}, with a query, got {link!r}")
    return url.raw_query_string


def _check_count(name: str, value: int | None, at_least: int, at_most: int | None = None) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}: expected a whole number, got {value!r}")
    if value < at_least or (at_most is not None and value > at_most):
        bounds = f"at least {at_least}" if at_most is None else f"{at_least} to {at_most}"
        raise ValueError(f"{name}: expected {bounds}, got {value}")
