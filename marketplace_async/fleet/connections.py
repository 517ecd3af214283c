"""Connections of jobs to their accounts: targets without credentials, and clients for them."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import attrs

from .._core.arguments import check_base_url, twilio_url
from .._core.limiter import Stats
from .._core.session import to_timeout
from .._core.streams import Stream
from ..accounts import Account
from ..accounts.rows import AnyRow, BadRow, Row
from ..client import ClientOptions, MarketplaceClient
from ..credentials import Credentials
from ..errors import CredentialsError, MarketplaceError, UnreadableFieldError
from .ownership import prove_owner

T = TypeVar("T")

# Roughly the number of accounts in flight. Older credentials are fetched again.
_MAX_RECENT = 2048
# Seconds. Assumed if attempts have no timeout.
_LONGEST_ATTEMPT = 60.0
# How many accounts are tried, and for how many seconds, to find one whose credentials work.
_MAX_TRIED = 3
_TRY_TIMEOUT = 30.0


@asynccontextmanager
async def iterating(items: AsyncIterable[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Return an iterator that is closed when the block ends."""
    iterator = aiter(items)
    try:
        yield iterator
    finally:
        if isinstance(iterator, AsyncGenerator | Stream):
            await iterator.aclose()


@attrs.frozen
class Target:
    """An account of a job, without credentials.

    Attributes:
        account_sid: The account, `AC...`.
        friendly_name: The account's friendly name.
        unreadable: The fields that could not be read from the list of accounts.
        columns: The other columns of the accounts file, without secrets. Their names are in
            lower case with underscores.
        problem: Why the account cannot be processed, such as "line 7: expected auth_token". None if
            it can. If its SID cannot be read, or another row is used for the account,
            `account_sid` is the line, such as "line 7".
    """

    account_sid: str
    friendly_name: str | None = None
    unreadable: tuple[str, ...] = ()
    columns: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    problem: str | None = None

    def check_name(self) -> None:
        """Raise UnreadableFieldError if the friendly name, which selects accounts, is unknown."""
        if "friendly_name" in self.unreadable:
            raise UnreadableFieldError(self.account_sid, ["friendly_name"])


class Source(Protocol):
    """Lists accounts and looks up their credentials. Must be picklable."""

    def open(self) -> "AbstractAsyncContextManager[Connection]":
        """Return a context manager for a connection to the accounts."""
        ...


class Connection:
    """The accounts of a source and clients for them. Created by `source.open()`.

    Accounts whose status is known and not "active" are left out.

    Args:
        source: The source, which another process can open.
        listed: Lists the accounts, with their credentials if the list contains them, or the rows of
            a file. Called once per iteration.
        fetch: Fetches one account with its credentials.
        client: The client from which the clients of the accounts are derived. Defaults to a client
            of the first account.
        options: Options of the default client.
        pages: Lists the accounts by page, given the number of accounts in a page: each page with a
            link to it. None if the list has no pages.
        page: Reads the accounts of one page again, given its link.
        check: Raises if the credentials do not work. Sends one request. None if each account has
            its own credentials.
        identity: Returns what distinguishes these accounts from others, such as {"source":
            "subaccounts", "parent": "AC..."}. Must not contain secrets. Defaults to the class of
            the source.
        files: The files that list the accounts.

    Attributes:
        source: The source.
        left_out: How many accounts the last (or current) iteration left out, by status.
        files: The files that list the accounts. No job may overwrite them.
        page: The link to the page of the last account that the iteration by page yielded.
    """

    def __init__(
        self,
        source: Source,
        listed: Callable[[], AsyncIterable[Account | AnyRow]],
        fetch: Callable[[str], Awaitable[Account]],
        *,
        client: MarketplaceClient | None = None,
        options: ClientOptions | None = None,
        pages: Callable[[int], AsyncIterable[tuple[str, Sequence[Account]]]] | None = None,
        page: Callable[[str], Awaitable[Sequence[Account]]] | None = None,
        check: Callable[[], Awaitable[object]] | None = None,
        identity: Callable[[], Awaitable[Mapping[str, str]]] | None = None,
        files: Sequence[Path] = (),
    ) -> None:
        self.source = source
        self.left_out: Counter[str] = Counter()
        self.files: tuple[Path, ...] = tuple(files)
        self.page: str | None = None
        self._pages = pages
        self._page = page
        self._check = check
        self._limits: tuple[int, float | None] | None = None
        self._request_check: Callable[[], None] | None = None
        self._identity = identity
        self._listed = listed
        self._fetch = fetch
        self._client = client
        self._options = options or ClientOptions()
        self._owns_client = client is None
        self._recent: dict[str, Credentials] = {}

    async def accounts(self, page_size: int | None = None) -> AsyncIterator[Target]:
        """Yield the accounts. Duplicates in the list are not removed.

        Args:
            page_size: Iterate by page, with this many accounts in each (1 to 1,000). `page` is then
                the link to the page of the account. If this is None, or the list has no pages,
                `page` is None.
        """
        left_out: Counter[str] = Counter()
        self.left_out = left_out
        self.page = None
        by_page = page_size is not None and self._pages is not None
        rows = self._by_page(page_size) if by_page and page_size is not None else self._listed()
        async with iterating(self._active(left_out, rows)) as listed:
            async for target, credentials in listed:
                if credentials is not None:
                    # Most credentials are needed soon after listing. Drop the oldest.
                    if len(self._recent) >= _MAX_RECENT:
                        del self._recent[next(iter(self._recent))]
                    self._recent[target.account_sid] = credentials
                yield target

    async def identity(self, *, accounts: bool = False) -> dict[str, str]:
        """Return what identifies these accounts, so that a job only resumes on the same ones.

        It contains the base URL and, for example, the SID of the parent account or the path of the
        accounts file. It contains no secrets, and stays the same when credentials are rotated.

        Args:
            accounts: Add a digest of the account SIDs in the files, if there are any. The digest
                does not depend on their order.

        Raises:
            MarketplaceError: The parent account is not known, or the accounts cannot be read.
        """
        client = self._client
        identity = {"source": name_of(type(self.source))}
        if self._identity is not None:
            identity.update(await self._identity())
        identity["base_url"] = _base_url(self._options) if client is None else client.base_url
        if accounts and "accounts_file" in identity:
            total = 0
            rows = self._active(Counter())
            async with iterating(rows) as listed:
                async for target, _ in listed:
                    digest = hashlib.sha256(target.account_sid.encode()).digest()
                    # A sum needs constant memory, however many accounts there are.
                    total = (total + int.from_bytes(digest)) % 2**256
            identity["accounts"] = f"{total:064x}"
        return identity

    async def count(self) -> int:
        """List the accounts and return their number."""
        count = 0
        async with iterating(self._active(Counter())) as listed:
            async for _ in listed:
                count += 1
        return count

    async def clients(self, sids: Sequence[str]) -> dict[str, MarketplaceClient | Exception]:
        """Return a client for each account, or the error that prevented its creation."""
        return dict(zip(sids, await asyncio.gather(*map(self._client_of, sids)), strict=True))

    async def read_page(self, link: str, sids: Collection[str]) -> None:
        """Read the credentials of some accounts from their page, instead of one by one.

        Accounts that are no longer on the page are looked up one by one. Others are ignored.
        """
        if self._page is None:
            return
        with suppress(MarketplaceError):  # they are looked up one by one
            for account in await self._page(link):
                if account.credentials is not None and account.sid in sids:
                    self._recent[account.sid] = account.credentials

    async def check(self, account_sid: str | None = None) -> None:
        """Raise if the credentials do not work.

        Args:
            account_sid: The account to check if each account has its own credentials. Its
                credentials must exist, work and belong to it. None checks no account.
        """
        if self._check is not None:
            await self._check()
        elif account_sid is not None:
            await self._check_account(account_sid)

    async def working_account(self) -> str | None:
        """Return an account that `check` accepts, for other processes to check theirs.

        None if the first few accounts do not work, or all accounts have the same credentials.
        """
        if self._check is not None:
            return None
        tried = 0
        with suppress(Exception):  # the job itself reports it
            async with asyncio.timeout(_TRY_TIMEOUT), iterating(self._active(Counter())) as listed:
                async for target, credentials in listed:
                    if target.problem is not None:
                        continue
                    if credentials is not None:
                        self._recent[target.account_sid] = credentials
                    tried += 1
                    with suppress(Exception):  # a vault may raise anything
                        await self._check_account(target.account_sid)
                        return target.account_sid
                    if tried == _MAX_TRIED:
                        return None
        return None

    async def _check_account(self, sid: str) -> None:
        client = await self._client_of(sid)
        if isinstance(client, Exception):
            raise client
        installed = await client.installed_add_ons.list(limit=1).first()
        if installed is None:
            await prove_owner(client, sid)
        elif installed.account_sid not in (None, sid):
            raise CredentialsError(f"the credentials of {sid} belong to {installed.account_sid}")

    @property
    def limits(self) -> tuple[int, float | None]:
        """Maximum number of requests in flight, and maximum rate per second, over all accounts."""
        if self._client is not None:
            return self._client._limiter.limits
        return self._options.get("concurrency", 64), self._options.get("requests_per_second")

    @property
    def attempt_timeout(self) -> float:
        """Seconds after which no attempt can still be in flight."""
        timeout = to_timeout(self._options.get("timeout", 10.0))
        if self._client is not None:
            timeout = self._client._session.timeout
        return _LONGEST_ATTEMPT if timeout.total is None else timeout.total

    def limit(self, concurrency: int, requests_per_second: float | None) -> None:
        """Change the limits of all following requests."""
        self._limits = concurrency, requests_per_second
        if self._client is not None:
            self._client._limiter.set_limits(*self._limits)

    def check_before_requests(self, check: Callable[[], None]) -> None:
        """Call a function before each request. If it raises, the request is not sent."""
        self._request_check = check
        if self._client is not None:
            self._client._limiter.check = check

    async def some_clients(self) -> AsyncGenerator[tuple[str, MarketplaceClient | Exception]]:
        """Yield clients that may be able to read the catalogue, each with its account.

        If a client cannot be created, its error is yielded instead. If a client of a parent account
        was passed in, it is the only one.
        """
        if self._client is not None and not self._owns_client:
            yield "the parent account", self._client
            return
        async with iterating(self._active(Counter())) as listed:
            async for target, credentials in listed:
                if target.problem is not None:
                    continue
                if credentials is not None:
                    self._recent[target.account_sid] = credentials
                yield target.account_sid, await self._client_of(target.account_sid)

    @property
    def stats(self) -> Stats:
        """The request counters of this connection."""
        return Stats() if self._client is None else self._client.stats

    async def aclose(self) -> None:
        """Close the default client. A client that was passed in stays open."""
        if self._owns_client and self._client is not None:
            await self._client.aclose()

    async def _by_page(self, size: int) -> AsyncGenerator[Account, None]:
        assert self._pages is not None
        async with iterating(self._pages(size)) as pages:
            async for self.page, accounts in pages:
                for account in accounts:
                    yield account

    async def _active(
        self, left_out: Counter[str], rows: AsyncIterable[Account | AnyRow] | None = None
    ) -> AsyncGenerator[tuple[Target, Credentials | None], None]:
        async with iterating(self._listed() if rows is None else rows) as listed:
            async for one in listed:
                if isinstance(one, BadRow):
                    yield _target_of_bad(one), None
                    continue
                account, columns = (one.account, one.columns) if isinstance(one, Row) else (one, {})
                if account.status not in (None, "active"):
                    left_out[account.status] += 1
                    continue
                target = Target(
                    account.sid, account.friendly_name, tuple(account.unreadable), columns
                )
                yield target, account.credentials

    async def _client_of(self, sid: str) -> MarketplaceClient | Exception:
        credentials = self._recent.pop(sid, None)
        if credentials is None:
            try:
                credentials = (await self._fetch(sid)).credentials
            except Exception as error:  # noqa: BLE001 - a vault may raise anything
                return error
        if credentials is None:
            return CredentialsError(f"Twilio did not return an auth token for {sid}")
        if self._client is None:
            self._client = MarketplaceClient(credentials, **self._options)
            limiter = self._client._limiter
            limiter.check = self._request_check
            if self._limits is not None:
                limiter.set_limits(*self._limits)
        return self._client.with_credentials(credentials)


def name_of(function: object) -> str:
    """Return the qualified name of a function or class. Bound arguments may be secrets."""
    while isinstance(function, partial):
        function = function.func
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{getattr(named, '__qualname__', '')}"


def _base_url(options: ClientOptions) -> str:
    base_url = options.get("base_url")
    if base_url is not None:
        return check_base_url(base_url)
    return twilio_url("marketplace", region=options.get("region"), edge=options.get("edge"))


def _target_of_bad(row: BadRow) -> Target:
    if row.account_sid is None:
        return Target(f"line {row.line}", row.friendly_name, problem=row.reason)
    return Target(row.account_sid, row.friendly_name, problem=str(row))
