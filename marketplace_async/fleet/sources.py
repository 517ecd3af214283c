"""Sources: where the accounts of a job and their credentials come from.

Sources hold no credentials. Each worker opens the source to look up credentials.
"""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Sequence,
)
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs

from .. import accounts
from .._core.arguments import check_positive
from .._core.pagination import complete, complete_pages, cursor_of
from ..accounts import Account
from ..accounts.callables import items_from
from ..accounts.dialects import Format
from ..accounts.file import FileAccounts
from ..accounts.vault import Find
from ..client import ClientOptions, MarketplaceClient
from ..errors import CredentialsError
from .connections import Connection, iterating, name_of


async def _parent_of(client: MarketplaceClient) -> dict[str, str]:
    parent = client.account_sid
    if parent is None:
        # An API key does not name its account, but the service does.
        async for account in client.accounts.list(limit=1):
            parent = account.owner_account_sid or account.sid
    if parent is None:
        raise CredentialsError(
            "the account of these credentials is not known: pass account_sid with them"
        )
    return {"source": "a parent account and its subaccounts", "parent": parent}


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

            async def pages(size: int) -> AsyncGenerator[tuple[str, Sequence[Account]], None]:
                found = complete_pages(accounts.list(page_size=size), max_pages=None)
                async with iterating(found) as pages:
                    async for link, page in pages:
                        yield link, page.items

            async def page(link: str) -> Sequence[Account]:
                found = await cursor_of(accounts.list(start=link)).read_page()
                return () if found is None else found.items

            yield Connection(
                self,
                # Do not miss any account. Accounts that are not active are counted.
                lambda: complete(accounts.list(), max_pages=None),
                accounts.fetch,
                client=client,
                pages=pages,
                page=page,
                check=lambda: accounts.list(limit=1).first(),
                identity=partial(_parent_of, client),
            )


@attrs.frozen
class AccountsFile:
    """The active accounts of a file; see `accounts.from_file`.

    The whole file is read before the first account is processed. A malformed row fails alone: see
    `Target.problem`. If rows are equal, the first one is used. Rows that describe one account
    differently all fail, and so do rows of different accounts with the same API key.

    Args:
        file: The file. Workers in other processes read it from the same path. A pipe, or "-" for
            standard input, is read once. Its accounts stay in the memory of this process, so other
            processes cannot read them.
        options: Options of the client, such as `base_url`.
        format: "csv" or "jsonl"; see `accounts.from_file`.

    Raises:
        ValueError: `format` is invalid.
    """

    file: Path = attrs.field(converter=Path)
    options: ClientOptions = attrs.field(factory=ClientOptions, hash=False, repr=False)
    format: Format | None = attrs.field(default=None, kw_only=True)
    _accounts: FileAccounts = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        # Kept with the source: a second job cannot read standard input again.
        object.__setattr__(self, "_accounts", FileAccounts(self.file, format=self.format))

    @property
    def name(self) -> str:
        """The name of the file in messages."""
        return self._accounts.name

    def is_regular_file(self) -> bool:
        """Return whether the accounts are in a file that can be read again. Blocks."""
        return self._accounts.is_regular_file()

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
        timeout: Maximum seconds for one call of `find`, after which the account fails, and for
            `sids` to yield the next SIDs, after which the job ends. A thread that takes longer is
            abandoned.

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
            functions = f"{name_of(self.sids)}, {name_of(self.find)}"
            return {"source": "a vault", "vault": functions}

        connection = Connection(self, listed, source.fetch, options=self.options, identity=identity)
        try:
            yield connection
        finally:
            await connection.aclose()
