"""Sources: where the accounts of a job and their credentials come from.

Sources pickle and hold no credentials. Each worker opens the source to look up credentials.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import attrs

from .. import accounts
from .._core.arguments import check_base_url, check_positive, twilio_url
from .._core.limiter import Stats
from .._core.pagination import complete
from .._core.streams import Stream
from ..accounts import Account
from ..accounts.callables import items_from
from ..accounts.dialects import Format
from ..accounts.file import FileAccounts
from ..accounts.rows import AnyRow, BadRow, Row
from ..accounts.vault import Find
from ..client import ClientOptions, MarketplaceClient
from ..credentials import Credentials
from ..errors import CredentialsError, UnreadableFieldError

T = TypeVar("T")

# Roughly the number of accounts in flight. Older credentials are fetched again.
_MAX_RECENT = 2048


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
        unreadable: The fields that the list of accounts left unknown.
        columns: The further columns of the accounts file, without secrets. Their names are in
            lower case with underscores.
        problem: Why the account cannot be processed, such as "line 7: expected auth_token"; None if
            it can. If its SID cannot be read, or another row stands for the account, `account_sid`
            is the line, "line 7".
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
    """Lists accounts and looks up their credentials. Must pickle."""

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
        identity: Returns what distinguishes these accounts from others, such as {"source":
            "subaccounts", "parent": "AC..."}. Must not contain secrets. Defaults to the class of
            the source.
        files: The files that list the accounts.

    Attributes:
        source: The source.
        left_out: How many accounts the last (or current) iteration left out, by status.
        files: The files that list the accounts. No job may overwrite them.
    """

    def __init__(
        self,
        source: Source,
        listed: Callable[[], AsyncIterable[Account | AnyRow]],
        fetch: Callable[[str], Awaitable[Account]],
        *,
        client: MarketplaceClient | None = None,
        options: ClientOptions | None = None,
        identity: Callable[[], Awaitable[Mapping[str, str]]] | None = None,
        files: Sequence[Path] = (),
    ) -> None:
        self.source = source
        self.left_out: Counter[str] = Counter()
        self.files: tuple[Path, ...] = tuple(files)
        self._identity = identity
        self._listed = listed
        self._fetch = fetch
        self._client = client
        self._options = options or ClientOptions()
        self._owns_client = client is None
        self._recent: dict[str, Credentials] = {}

    async def accounts(self) -> AsyncIterator[Target]:
        """Yield the accounts. Duplicates in the list are not removed."""
        left_out: Counter[str] = Counter()
        self.left_out = left_out
        async with iterating(self._active(left_out)) as listed:
            async for target, credentials in listed:
                if credentials is not None:
                    # Most credentials are needed soon after listing. Drop the oldest.
                    if len(self._recent) >= _MAX_RECENT:
                        del self._recent[next(iter(self._recent))]
                    self._recent[target.account_sid] = credentials
                yield target

    async def identity(self, *, accounts: bool = False) -> dict[str, str]:
        """Return whose accounts these are, so that a job resumes on the same ones.

        It contains the base URL, and for example the SID of the parent account or the path of the
        accounts file. It contains no secrets: it stays the same if credentials are rotated.

        Args:
            accounts: Add a digest of the account SIDs in the files, if there are any. The digest
                does not depend on their order.

        Raises:
            MarketplaceError: The parent account is not known, or the accounts cannot be read.
        """
        client = self._client
        identity = {"source": _name_of(type(self.source))}
        if self._identity is not None:
            identity.update(await self._identity())
        identity["base_url"] = _base_url(self._options) if client is None else client.base_url
        if accounts and "accounts_file" in identity:
            total = 0
            async for target in self.accounts():
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
        """Return a client for each account, or the error that prevented it."""
        return dict(zip(sids, await asyncio.gather(*map(self._client_of, sids)), strict=True))

    async def some_clients(self) -> AsyncGenerator[tuple[str, MarketplaceClient | Exception]]:
        """Yield clients that may read the catalogue, or the errors that prevented them.

        Each comes with the account that the credentials belong to. A client that was passed in, of
        a parent account, is the only one.
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
        """Request counters of this connection."""
        return Stats() if self._client is None else self._client.stats

    async def aclose(self) -> None:
        """Close the default client. A client that was passed in stays open."""
        if self._owns_client and self._client is not None:
            await self._client.aclose()

    async def _active(
        self, left_out: Counter[str]
    ) -> AsyncGenerator[tuple[Target, Credentials | None], None]:
        async with iterating(self._listed()) as listed:
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
        return self._client.with_credentials(credentials)


def _name_of(function: object) -> str:
    """Return the qualified name of a function or class. Bound arguments may be secrets."""
    while isinstance(function, partial):
        function = function.func
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{getattr(named, '__qualname__', '')}"


async def _parent_of(client: MarketplaceClient) -> dict[str, str]:
    parent = client.account_sid
    if parent is None:
        # An API key does not name its account, but the service does.
        async for account in client.accounts.list(limit=1):
            parent = account.owner_account_sid or account.sid
    if parent is None:
        raise CredentialsError(
            "the account of these credentials is not known: pass its account_sid with them"
        )
    return {"source": "a parent account and its subaccounts", "parent": parent}


def _base_url(options: ClientOptions) -> str:
    base_url = options.get("base_url")
    if base_url is not None:
        return check_base_url(base_url)
    return twilio_url("marketplace", region=options.get("region"), edge=options.get("edge"))


def _target_of_bad(row: BadRow) -> Target:
    if row.account_sid is None:
        return Target(f"line {row.line}", row.friendly_name, problem=row.reason)
    return Target(row.account_sid, row.friendly_name, problem=str(row))


@attrs.frozen
class Subaccounts:
    """A parent account and its subaccounts. Accounts that are not active are left out.

    Args:
        connect: Returns a client of the parent account. Must pickle: use a module-level function
            or a `functools.partial` of one. Defaults to `MarketplaceClient.from_env`.
    """

    connect: Callable[[], MarketplaceClient] = MarketplaceClient.from_env

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Connection]:
        """Open a client of the parent account."""
        async with self.connect() as client:
            accounts = client.accounts
            yield Connection(
                self,
                # No account may be missed. Those that are not active are counted.
                lambda: complete(accounts.list(), max_pages=None),
                accounts.fetch,
                client=client,
                identity=partial(_parent_of, client),
            )


@attrs.frozen
class AccountsFile:
    """The active accounts of a file; see `accounts.from_file`.

    The whole file is read before the first account. A row that is malformed fails alone, and so
    does one that contradicts another: see `Target.problem`. Of equal rows, the first is used. Rows
    that describe one account differently all fail, and so do those of several accounts with one API
    key.

    Args:
        file: The file. Workers in other processes read it from the same path. A pipe, or "-" for
            standard input, is read once. Its accounts stay in the memory of this process, so other
            processes cannot read them.
        options: Options of the client, such as `base_url`.
        format: "csv" or "jsonl"; see `accounts.from_file`.

    Raises:
        ValueError: `format` is neither.
    """

    file: Path = attrs.field(converter=Path)
    options: ClientOptions = attrs.field(factory=ClientOptions, hash=False, repr=False)
    format: Format | None = attrs.field(default=None, kw_only=True)
    _accounts: FileAccounts = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        # It belongs to the source: a second job must not read standard input again.
        object.__setattr__(self, "_accounts", FileAccounts(self.file, format=self.format))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Connection]:
        """Connect to the accounts. The file is read when accounts are listed or looked up."""
        accounts = self._accounts
        is_file = await asyncio.to_thread(accounts.is_regular_file)

        async def identity() -> dict[str, str]:
            path = await asyncio.to_thread(self.file.resolve) if is_file else "a pipe"
            return {"source": "an accounts file", "accounts_file": str(path)}

        connection = Connection(
            self,
            accounts.rows,
            accounts.fetch,
            options=self.options,
            identity=identity,
            files=[self.file] if is_file else (),
        )
        try:
            yield connection
        finally:
            await connection.aclose()


@attrs.frozen
class Vault:
    """Accounts whose credentials your function looks up; see `accounts.from_vault`.

    Both functions must pickle: use module-level functions. Functions that are not async run in
    threads of their own, and may block.

    Args:
        sids: Returns the SIDs of the accounts, `AC...`. Called once per listing.
        find: Returns the credentials of an account. If it raises, only that account fails.
        options: Options of the client, such as `base_url`.
        timeout: Seconds for one call of `find`, which then fails, and for `sids` to yield the next
            SIDs, which then ends the job. A thread that takes longer is left behind.

    Raises:
        ValueError, TypeError: `timeout` is not a positive number.
    """

    sids: Callable[[], Iterable[str] | AsyncIterable[str]]
    find: Find
    options: ClientOptions = attrs.field(factory=ClientOptions, hash=False, repr=False)
    timeout: float = attrs.field(default=60.0, kw_only=True)

    def __attrs_post_init__(self) -> None:
        check_positive(self.timeout, "timeout", "seconds")

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Connection]:
        """Connect to the accounts. Credentials are looked up shard by shard, concurrently."""

        async def listed() -> AsyncIterator[Account]:
            async with iterating(items_from(self.sids, "sids", self.timeout)) as sids:
                async for sid in sids:
                    yield Account(sid=sid)

        source = accounts.from_vault((), self.find, timeout=self.timeout)

        async def identity() -> dict[str, str]:
            functions = f"{_name_of(self.sids)}, {_name_of(self.find)}"
            return {"source": "a vault", "vault": functions}

        connection = Connection(self, listed, source.fetch, options=self.options, identity=identity)
        try:
            yield connection
        finally:
            await connection.aclose()
