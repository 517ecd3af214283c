"""Accounts whose credentials come from a callable, such as one that reads a vault."""

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
)
from typing import TypeAlias

from .._core.arguments import check_positive, check_sid
from .._core.streams import Reading, Running, Stream
from ..credentials import AccountToken, ApiKey, ClientCredentials, Credentials
from ..errors import CredentialsError
from .account import Account, AccountSource
from .callables import Threads, items_of

Find: TypeAlias = Callable[[str], Credentials | Awaitable[Credentials | None] | None]


def from_vault(
    sids: Iterable[str] | AsyncIterable[str], find: Find, *, timeout: float = 60.0
) -> AccountSource:
    """Return accounts whose credentials are looked up while you iterate, one at a time.

    To look up many concurrently, use `bulk.settle(source.fetch, sids)`.

    Args:
        sids: The account SIDs, `AC...`. A generator or another iterator can be read only once, and
            so can the accounts. It runs in a thread and may block, unless it is async or a
            collection.
        find: Takes an account SID and returns its credentials, or None. An async function is
            awaited; any other callable runs in a thread and may block. Its errors are raised
            unchanged.
        timeout: Seconds for one call of `find`, and for `sids` to yield the next SIDs. A thread
            that takes longer is left behind, and does not keep the program from ending.

    Returns:
        The accounts. Their status is None. `fetch(sid)` also accepts a SID that is not in `sids`.

    Raises:
        ValueError, TypeError: An argument is invalid. Iterating and `fetch` raise
            CredentialsError: `find` returned None, or the credentials of another account, or took
            too long.
    """
    return _Vault(sids, find, timeout)


class _Vault:
    def __init__(
        self, sids: Iterable[str] | AsyncIterable[str], find: Find, timeout: float
    ) -> None:
        if isinstance(sids, str) or not isinstance(sids, Iterable | AsyncIterable):
            raise TypeError(f"sids: expected an iterable of SIDs, got {type(sids).__name__}")
        if not callable(find):
            raise TypeError(f"find: expected a callable, got {type(find).__name__}")
        self._sids = sids
        self._find = find
        self._timeout = check_positive(timeout, "timeout", "seconds")
        self._threads = Threads()
        self._exhausted = False

    def __repr__(self) -> str:
        return "<accounts of a vault>"

    def __aiter__(self) -> Stream[Account]:
        if self._exhausted:
            raise RuntimeError("sids: the iterator is exhausted; pass a list to iterate again")
        self._exhausted = isinstance(self._sids, Iterator | AsyncIterator)
        accounts = _Accounts(items_of(self._sids, "sids", self._timeout), self.fetch)
        return Stream(accounts.generate, accounts.reading)

    async def fetch(self, sid: str) -> Account:
        sid = check_sid("AC", sid, "sid")
        credentials = await self._threads.call(self._find, sid, seconds=self._timeout)
        if credentials is None:
            raise CredentialsError(f"the vault has no credentials for {sid}")
        if not isinstance(credentials, AccountToken | ApiKey | ClientCredentials):
            kind = type(credentials).__name__
            # It may hold a secret. Error reporters record local variables.
            del credentials
            raise TypeError(f"find: expected AccountToken, ApiKey or ClientCredentials, got {kind}")
        if credentials.account_sid not in (None, sid):
            raise CredentialsError(
                f"the vault returned credentials of {credentials.account_sid} for {sid}"
            )
        return Account(sid=sid, credentials=credentials)


class _Reading(Reading[Account | None]):
    """The look-up of an iteration, and the SIDs, whose thread ends with it."""

    def __init__(self, sids: AsyncGenerator[str, None]) -> None:
        super().__init__()
        self._sids = sids

    async def aclose(self) -> None:
        await super().aclose()
        await self._sids.aclose()


class _Accounts:
    """The position of one iteration over a vault."""

    def __init__(
        self, sids: AsyncGenerator[str, None], fetch: Callable[[str], Awaitable[Account]]
    ) -> None:
        self.reading = _Reading(sids)
        self._sids = sids
        self._fetch = fetch
        self._sid: str | None = None
        self._failure: Exception | None = None

    async def generate(self, running: Running) -> AsyncGenerator[Account, None]:
        with running:
            while account := await self.reading.result_of(self._next):
                yield account

    async def _next(self) -> Account | None:
        # After an error, the same account is looked up again.
        if self._sid is None:
            self._sid = await self._next_sid()
        if self._sid is None:
            return None
        account = await self._fetch(self._sid)
        self._sid = None
        return account

    async def _next_sid(self) -> str | None:
        try:
            return await anext(self._sids)
        except StopAsyncIteration:
            failure = self._failure
        except Exception as error:
            self._failure = error
            raise
        if failure is not None:
            raise failure  # a generator that failed reports an end
        return None
