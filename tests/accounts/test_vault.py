"""`accounts.from_vault`: credentials from a callable."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from support.accounts import PARENT, SECRET, collect, sid_of

from marketplace_async import (
    Account,
    AccountToken,
    ApiKey,
    ClientCredentials,
    Credentials,
    CredentialsError,
    accounts,
)
from marketplace_async.testing import emulated

VAULT: dict[str, Credentials] = {
    sid_of(1): AccountToken(sid_of(1), "one"),
    sid_of(2): ApiKey("SK" + "2" * 32, "two"),
    sid_of(3): ClientCredentials("OQ" + "3" * 32, "three", sid_of(3)),
}
ACCOUNTS = [Account(sid=sid, credentials=found) for sid, found in VAULT.items()]


async def find_later(sid: str) -> Credentials | None:
    await asyncio.sleep(0)
    return VAULT.get(sid)


class Finder:
    async def __call__(self, sid: str) -> Credentials | None:
        return await find_later(sid)


@pytest.mark.parametrize("find", [find_later, Finder(), VAULT.get, lambda sid: find_later(sid)])
async def test_a_vault_yields_accounts_with_their_credentials(find: Any) -> None:
    source = accounts.from_vault(list(VAULT), find)
    assert await collect(source) == ACCOUNTS
    assert await collect(source) == ACCOUNTS
    assert await source.fetch(sid_of(2)) == ACCOUNTS[1]
    with pytest.raises(CredentialsError, match=f"no credentials for {sid_of(9)}"):
        await source.fetch(sid_of(9))


async def test_a_callable_that_is_not_async_runs_in_a_thread() -> None:
    threads = []

    def find(sid: str) -> Credentials:
        threads.append(threading.current_thread())
        return VAULT[sid]

    assert await collect(accounts.from_vault(VAULT, find)) == ACCOUNTS
    assert threading.main_thread() not in threads


async def test_the_sids_can_come_from_the_listing_of_the_parent() -> None:
    requested = []

    async def find(sid: str) -> Credentials:
        requested.append(sid)
        return AccountToken(sid, "from the vault")

    async with emulated() as (client, emulator):
        added = emulator.add_subaccounts(PARENT, 3)
        emulator.add_subaccounts(PARENT, 3, status="closed")

        async def sids() -> AsyncIterator[str]:
            async for one in client.accounts.list(status="active"):
                yield one.sid

        source = accounts.from_vault(sids(), find)
        assert [one.sid async for one in source] == [PARENT, *(sid for sid, _ in added)]
        assert len(requested) == 4
        with pytest.raises(
            RuntimeError, match="sids: the iterator is exhausted; pass a list to iterate again"
        ):
            await collect(source)


async def test_credentials_are_looked_up_one_at_a_time_while_iterating() -> None:
    requested: list[str] = []

    def sids() -> Iterator[str]:
        number = 0
        while True:
            yield sid_of(number)
            number += 1

    async def find(sid: str) -> Credentials:
        requested.append(sid)
        return AccountToken(sid, SECRET)

    stream = aiter(accounts.from_vault(sids(), find))
    for number in range(1, 4):
        assert SECRET not in repr(await anext(stream))
        assert len(requested) == number


async def test_invalid_sids_and_credentials_raise() -> None:
    wrong = accounts.from_vault([sid_of(2)], lambda _: AccountToken(sid_of(1), SECRET))
    with pytest.raises(
        CredentialsError, match=f"returned credentials of {sid_of(1)} for {sid_of(2)}"
    ):
        await collect(wrong)
    text: Any = lambda _: SECRET  # noqa: E731
    with pytest.raises(TypeError, match=r"find: expected AccountToken, .*, got str") as error:
        await collect(accounts.from_vault([sid_of(2)], text))
    assert SECRET not in str(error.value)
    with pytest.raises(ValueError, match=r"sid: .* is not the SID of an account"):
        await collect(accounts.from_vault(["me"], VAULT.get))
    with pytest.raises(KeyError):
        await collect(accounts.from_vault([sid_of(9)], VAULT.__getitem__))
    for sids, find in ((sid_of(1), VAULT.get), (5, VAULT.get), ([], None)):
        with pytest.raises(TypeError, match=r"sids: expected|find: expected"):
            accounts.from_vault(sids, find)  # type: ignore[arg-type]
