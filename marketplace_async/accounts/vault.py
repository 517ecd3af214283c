"""Accounts whose credentials come from a callable, such as one that reads a vault."""

import asyncio
import inspect
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

from .._core.arguments import check_sid
from .._core.streams import Reading, Running, Stream
from ..credentials import AccountToken, ApiKey, ClientCredentials, Credentials
from ..errors import CredentialsError
from .account import Account, AccountSource

Find: TypeAlias = Callable[[str], Credentials | Awaitable[Credentials | None] | None]


def from_vault(sids: Iterable[str] | AsyncIterable[str], find: Find) -> AccountSource:
    """Return accounts whose credentials are looked up while you iterate, one at a time.

    To look up many concurrently, use `bulk.settle(source.fetch, sids)`.

    Args:
        sids: The account SIDs, `AC...`. A generator or another iterator can be read only once, and
            so can the accounts.
        find: Takes an account SID and returns its credentials, or None. An async function is
            awaited; any other callable runs in a thread and may block. Its errors are raised
            unchanged.

    Returns:
        The accounts. Their status is None. `fetch(sid)` also accepts a SID that is not in `sids`.

    Raises:
        TypeError: An argument has the wrong type. Iterating and `fetch` raise
            CredentialsError: `find` returned None, or the credentials of another account.
    """
    return _Vault(sids, find)


class _Vault:
    def __init__(self, sids: Iterable[str] | AsyncIterable[str], find: Find) -> None:
        if isinstance(sids, str) or not isinstance(sids, Iterable | AsyncIterable):
            raise TypeError(f"sids: expected an iterable of SIDs, got {type(sids).__name__}")
        if not callable(find):
            raise TypeError(f"find: expected a callable, got {type(find).__name__}")
        self._sids = sids
        self._find = find
        self._exhausted = False

    def __repr__(self) -> str:
        return "<accounts of a vault>"

    def __aiter__(self) -> Stream[Account]:
        if self._exhausted:
            raise RuntimeError("sids: the iterator is exhausted; pass a list to iterate again")
        self._exhausted = isinstance(self._sids, Iterator | AsyncIterator)
        accounts = _Accounts(self._sids, self.fetch)
        return Stream(accounts.generate, accounts.reading)

    async def fetch(self, sid: str) -> Account:
        sid = check_sid("AC", sid, "sid")
        credentials = await self._credentials_of(sid)
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

    async def _credentials_of(self, sid: str) -> Credentials | None:
        find = self._find
        if inspect.iscoroutinefunction(find) or inspect.iscoroutinefunction(
            getattr(find, "__call__", None)  # noqa: B004 - an object with an async __call__
        ):
            found = find(sid)
        else:
            found = await asyncio.to_thread(find, sid)
        return await found if inspect.isawaitable(found) else found


class _Accounts:
    """The position of one iteration over a vault."""

    def __init__(
        self,
        sids: Iterable[str] | AsyncIterable[str],
        fetch: Callable[[str], Awaitable[Account]],
    ) -> None:
        self.reading: Reading[Account | None] = Reading()
        self._sids = aiter(sids) if isinstance(sids, AsyncIterable) else iter(sids)
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
            if isinstance(self._sids, AsyncIterator):
                return await anext(self._sids)
            return next(self._sids)
        except (StopIteration, StopAsyncIteration):
            failure = self._failure
        except Exception as error:
            self._failure = error
            raise
        if failure is not None:
            raise failure  # a generator that failed reports an end
        return None
