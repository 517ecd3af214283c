"""Accounts with the credentials that a callable of the user's finds."""

import asyncio
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import TypeAlias

from .._core.arguments import check_sid
from ..credentials import AccountToken, ApiKey, ClientCredentials, Credentials
from ..errors import CredentialsError
from .account import Account, AccountSource

Find: TypeAlias = Callable[[str], Credentials | Awaitable[Credentials | None] | None]


def from_vault(sids: Iterable[str] | AsyncIterable[str], find: Find) -> AccountSource:
    """Return accounts, the credentials of which `find` gets one by one, as they are iterated.

    To find many at once, `bulk.settle(source.fetch, sids)`.

    Args:
        sids: The SIDs of the accounts, `AC...`, of any number. What can be iterated only once, such
            as a generator, makes a list that can be iterated only once.
        find: Gives the credentials of an account by its SID, or None. It is awaited if it is async;
            a plain callable runs in a thread, so that it may wait. What it raises comes out.

    Returns:
        The accounts, with `fetch(sid)` for each, whether or not it is among `sids`. Their status is
        None, as a vault knows none.

    Raises:
        TypeError: An argument cannot be right. Iterating, and `fetch`, raise
            CredentialsError: the vault has no credentials for an account, or another account's.
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
        self._used_up = False

    def __repr__(self) -> str:
        return "<accounts of a vault>"

    async def __aiter__(self) -> AsyncIterator[Account]:
        if self._used_up:
            raise RuntimeError("sids: an iterator that is used up; give a list to iterate again")
        self._used_up = isinstance(self._sids, Iterator | AsyncIterator)
        if isinstance(self._sids, AsyncIterable):
            async for sid in self._sids:
                yield await self.fetch(sid)
        else:
            for sid in self._sids:
                yield await self.fetch(sid)

    async def fetch(self, sid: str) -> Account:
        check_sid("AC", sid, "sid")
        credentials = await self._credentials_of(sid)
        if credentials is None:
            raise CredentialsError(f"the vault has no credentials for {sid}")
        if not isinstance(credentials, AccountToken | ApiKey | ClientCredentials):
            raise TypeError(
                "find: expected AccountToken, ApiKey or ClientCredentials, "
                f"got {type(credentials).__name__}"
            )
        if credentials.account_sid not in (None, sid):
            raise CredentialsError(
                f"the vault has credentials of {credentials.account_sid} for {sid}"
            )
        return Account(sid=sid, credentials=credentials)

    async def _credentials_of(self, sid: str) -> Credentials | None:
        find = self._find
        if inspect.iscoroutinefunction(find) or inspect.iscoroutinefunction(
            getattr(find, "__call__", None)  # noqa: B004 - an object with an async call
        ):
            found = find(sid)
        else:
            found = await asyncio.to_thread(find, sid)
        return await found if inspect.isawaitable(found) else found
