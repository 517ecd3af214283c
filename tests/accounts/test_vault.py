"""`accounts.from_vault`: credentials from a callable."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import given, strategies as st
from support.accounts import PARENT, SECRET, collect, sid_of
from support.interruptions import read_interrupted, read_with_heartbeat

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


@given(
    turns=st.lists(st.integers(0, 3), max_size=8),
    failures=st.lists(st.integers(0, 2), min_size=8, max_size=8),
    patience=st.lists(st.integers(0, 6), max_size=30),
    in_generator=st.booleans(),
)
def test_an_interrupted_vault_yields_every_account_once(
    turns: list[int], failures: list[int], patience: list[int], in_generator: bool
) -> None:
    requested: list[str] = []
    numbers = {sid_of(number): number for number in range(len(turns))}
    left = list(failures)

    async def find(sid: str) -> Credentials:
        requested.append(sid)
        number = numbers[sid]
        for _ in range(turns[number]):
            await asyncio.sleep(0)
        if left[number]:
            left[number] -= 1
            raise OSError("the vault is sealed")
        return AccountToken(sid, SECRET)

    async def sids() -> AsyncIterator[str]:
        for sid in numbers:
            await asyncio.sleep(0)
            yield sid

    async def read() -> list[str]:
        source = accounts.from_vault(sids() if in_generator else list(numbers), find)
        return [one.sid for one in await read_interrupted(aiter(source), patience, OSError)]

    assert asyncio.run(read()) == list(numbers)
    assert requested == [sid for sid in numbers for _ in range(1 + failures[numbers[sid]])]


async def test_a_blocking_lookup_under_a_heartbeat_runs_once() -> None:
    running = peak = calls = 0

    def find(sid: str) -> Credentials:
        nonlocal running, peak, calls
        calls += 1
        running += 1
        peak = max(peak, running)
        time.sleep(0.05)
        running -= 1
        return AccountToken(sid, SECRET)

    stream = aiter(accounts.from_vault([sid_of(number) for number in range(4)], find))
    found, timeouts = await read_with_heartbeat(stream, 0.01)
    assert [one.sid for one in found] == [sid_of(number) for number in range(4)]
    assert (peak, calls) == (1, 4)
    assert timeouts >= 4


async def test_an_error_of_the_sids_is_raised_at_each_step() -> None:
    async def later() -> AsyncIterator[str]:
        yield sid_of(1)
        raise OSError("cannot read the SIDs")

    def now() -> Iterator[str]:
        yield sid_of(1)
        raise OSError("cannot read the SIDs")

    for sids in (later(), now()):
        stream = aiter(accounts.from_vault(sids, VAULT.get))
        assert await anext(stream) == ACCOUNTS[0]
        for _ in range(3):
            with pytest.raises(OSError, match="cannot read the SIDs"):
                await anext(stream)


@pytest.mark.parametrize("by", ["aclose", "garbage collection"])
async def test_the_lookup_of_an_interrupted_iterator_ends_with_it(by: str) -> None:
    cancelled = asyncio.Event()

    async def find(sid: str) -> Credentials:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()
        return AccountToken(sid, SECRET)

    stream: Any = aiter(accounts.from_vault([sid_of(1)], find))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(stream), 0.01)
    assert not cancelled.is_set()
    if by == "aclose":
        await stream.aclose()
        assert cancelled.is_set()
    del stream
    async with asyncio.timeout(1):
        await cancelled.wait()
