"""The position in a list while it is iterated: its pages, and the links between them."""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Iterator
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qs

import attrs
from msgspec import UNSET, UnsetType
from yarl import URL

from ..errors import IncompleteListError, MarketplaceError, ResponseError
from .arguments import plain_text
from .codec import unusable
from .messages import Request, Response
from .operation import Call, Parse
from .serializable import Serializable
from .streams import Reading, Running
from .tasks import value_of

T = TypeVar("T")
X = TypeVar("X")

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
class Page(Serializable, Generic[T]):
    """One page of a list.

    Attributes:
        items: The records, in the order of the service.
        next_url: Where to resume after this page, with `list(start=...)`; None after the last page.
            If `limit` cut the page short, the link points to this same page.
    """

    items: tuple[T, ...]
    next_url: str | None


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
        if not self._go_on():
            return None
        return self._trim(await self._resumable(self._call(self._request, self._parse)))

    async def next_page(self) -> Page[T] | None:
        """Return the next page, or None after the last.

        A call that fails leaves the position unchanged. Cancelling it does not cancel the request,
        whose response is for the next call. `reading` ends it.
        """
        if self._page is None:
            if not self.reading.started:
                if not self._go_on():
                    return None
                self.reading.start(self._call.start(self._request, self._parse))
            try:
                page = value_of(await self.reading.ended())
            except MarketplaceError as error:
                error.resume_at = self.link
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
        if not self._go_on():
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
        error = IncompleteListError(self._request, response, reason, self._latest_items)
        error.account_sid = self._call.account_sid
        return error

    @property
    def link(self) -> str:
        """The link to the latest page."""
        return f"{self._request.path}?{self._request.query}"

    async def _resumable(self, reading: Awaitable[X]) -> X:
        try:
            return await reading
        except MarketplaceError as error:
            error.resume_at = self.link
            raise

    def _trim(self, page: Page[T]) -> Page[T]:
        self._unread = False
        self._empty_pages = 0 if page.items else self._empty_pages + 1
        if self._remaining is not None:
            if len(page.items) > self._remaining:
                page = Page(page.items[: self._remaining], self.link)
            self._remaining -= len(page.items)
        return page

    def _go_on(self) -> bool:
        """Advance. An invalid link is the end of a call that sends nothing."""
        try:
            return self._advance()
        except ResponseError as error:
            failure = error.with_traceback(None)
        try:
            self._call.fail(self._request, failure)
        finally:
            # Its traceback refers to this frame.
            del failure

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
            first = self._request
            request = Request("GET", path, query, operation=first.operation, host=first.host)
        except ValueError as error:
            reason = f"the link to the next page: {error}"
            failure = ResponseError(self._request, response, reason)
            failure.account_sid = self._call.account_sid
            raise failure from None
        self._visited.add(query)
        return request


def query_of_start(start: str, path: str) -> str:
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
