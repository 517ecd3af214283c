"""Where the accounts of a job come from, and where a shard finds their credentials again.

A source is a name for accounts: it can be pickled, and holds no credentials.
"""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import attrs

from .. import accounts
from .._core.limiter import Stats
from ..accounts import Account
from ..accounts.vault import Find
from ..client import ClientOptions, MarketplaceClient
from ..credentials import Credentials
from ..errors import CredentialsError

T = TypeVar("T")

# As many accounts as are likely to be in flight: a shard that comes later asks again.
_REMEMBERED = 2048


@asynccontextmanager
async def iterating(items: AsyncIterable[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Iterate, and leave nothing behind where that ends early."""
    iterator = aiter(items)
    try:
        yield iterator
    finally:
        if isinstance(iterator, AsyncGenerator):
            await iterator.aclose()


@attrs.frozen
class Target:
    """An account of a job: who it is, and not how to get in.

    Attributes:
        account_sid: `AC...`.
        friendly_name: Its name for people.
    """

    account_sid: str
    friendly_name: str | None = None


class Source(Protocol):
    """Where accounts come from. It must pickle, and resolve credentials where it is opened."""

    def open(self) -> "AbstractAsyncContextManager[Connection]":
        """Return what connects to the accounts, for as long as the block lasts."""
        ...


class Connection:
    """The accounts of a source, and clients for them. Made by `source.open()`.

    Args:
        source: What it was made by, for whoever has to open it elsewhere.
        listed: Gives the accounts, each time that it is called; with credentials if it has them.
        fetch: Gives one account with its credentials.
        client: What the clients of the accounts are siblings of; the client of the first account
            unless given.
        options: For that client, if it is not given.

    Attributes:
        source: As it was given.
    """

    def __init__(
        self,
        source: Source,
        listed: Callable[[], AsyncIterable[Account]],
        fetch: Callable[[str], Awaitable[Account]],
        *,
        client: MarketplaceClient | None = None,
        options: ClientOptions | None = None,
    ) -> None:
        self.source = source
        self._listed = listed
        self._fetch = fetch
        self._client = client
        self._options = options or ClientOptions()
        self._owns_client = client is None
        self._recent: dict[str, Credentials] = {}

    async def accounts(self) -> AsyncIterator[Target]:
        """Iterate over the accounts; one that is listed twice comes twice."""
        async with iterating(self._listed()) as listed:
            async for account in listed:
                if account.credentials is not None:
                    # Most are wanted right after they were listed. The others make room.
                    if len(self._recent) >= _REMEMBERED:
                        del self._recent[next(iter(self._recent))]
                    self._recent[account.sid] = account.credentials
                yield Target(account.sid, account.friendly_name)

    async def count(self) -> int:
        """Return how many accounts there are."""
        count = 0
        async with iterating(self._listed()) as listed:
            async for _ in listed:
                count += 1
        return count

    async def clients(self, sids: Sequence[str]) -> dict[str, MarketplaceClient | Exception]:
        """Return a client for each of some accounts, or why there is none."""
        return dict(zip(sids, await asyncio.gather(*map(self._client_of, sids)), strict=True))

    async def some_client(self) -> MarketplaceClient:
        """Return a client for what is the same for all accounts, such as the catalogue.

        Raises:
            CredentialsError: There is no account that has credentials.
        """
        if self._client is None:
            async with iterating(self._listed()) as listed:
                async for account in listed:
                    if isinstance(client := await self._client_of(account.sid), MarketplaceClient):
                        return client
        if self._client is None:
            raise CredentialsError(f"{self.source}: there is no account with credentials")
        return self._client

    @property
    def stats(self) -> Stats:
        """What was sent and refused over this connection so far."""
        return Stats(0, 0, 0) if self._client is None else self._client.stats

    async def aclose(self) -> None:
        """Close the client, unless it was given."""
        if self._owns_client and self._client is not None:
            await self._client.aclose()

    async def _client_of(self, sid: str) -> MarketplaceClient | Exception:
        credentials = self._recent.pop(sid, None)
        if credentials is None:
            try:
                credentials = (await self._fetch(sid)).credentials
            except Exception as error:  # noqa: BLE001 - whatever a vault raises is this account's
                return error
        if credentials is None:
            return CredentialsError(f"the service kept the auth token of {sid} to itself")
        if self._client is None:
            self._client = MarketplaceClient(credentials, **self._options)
        return self._client.with_credentials(credentials)


@attrs.frozen
class Subaccounts:
    """All active accounts that a parent account lists: its subaccounts and itself.

    Args:
        connect: Returns a client of the parent account: `MarketplaceClient.from_env`, or a function
            of yours. It must pickle: a function of a module, or `functools.partial` of one.
    """

    connect: Callable[[], MarketplaceClient] = MarketplaceClient.from_env

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Connection]:
        """Open a client of the parent account."""
        async with self.connect() as client:
            accounts = client.accounts
            yield Connection(
                self, lambda: accounts.list(status="active"), accounts.fetch, client=client
            )


@attrs.frozen
class AccountsFile:
    """The accounts of a file, as `accounts.from_file` reads it; those that are not active aside.

    Args:
        file: The file; a worker elsewhere reads it under the same name.
        options: For the client, such as `base_url`.
    """

    file: Path = attrs.field(converter=Path)
    options: ClientOptions = attrs.field(factory=ClientOptions, hash=False, repr=False)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Connection]:
        """Open nothing yet: the file is read as accounts are listed or looked up."""
        source = accounts.from_file(self.file, status="active")
        connection = Connection(self, lambda: source, source.fetch, options=self.options)
        try:
            yield connection
        finally:
            await connection.aclose()


@attrs.frozen
class Vault:
    """Accounts whose credentials a function of yours finds, as in `accounts.from_vault`.

    Both functions must pickle: they are functions of a module.

    Args:
        sids: Returns the SIDs of the accounts, `AC...`, each time that they are listed.
        find: Returns the credentials of an account. What it raises is that account's failure.
        options: For the client, such as `base_url`.
    """

    sids: Callable[[], Iterable[str] | AsyncIterable[str]]
    find: Find
    options: ClientOptions = attrs.field(factory=ClientOptions, hash=False, repr=False)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Connection]:
        """Open nothing yet: the vault is asked shard by shard, for many at once."""

        async def listed() -> AsyncIterator[Account]:
            sids = self.sids()
            if isinstance(sids, AsyncIterable):
                async with iterating(sids) as many:
                    async for sid in many:
                        yield Account(sid=sid)
            else:
                for sid in sids:
                    yield Account(sid=sid)

        source = accounts.from_vault((), self.find)
        connection = Connection(self, listed, source.fetch, options=self.options)
        try:
            yield connection
        finally:
            await connection.aclose()
