"""`accounts.from_vault`: credentials from a callable."""

import asyncio
import subprocess
import sys
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
    fleet,
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


# -- threads and timeouts


async def test_a_lookup_that_takes_too_long_fails_alone() -> None:
    release = threading.Event()

    def blocking(sid: str) -> Credentials | None:
        if sid == sid_of(2):
            release.wait(30)
        return VAULT.get(sid)

    async def waiting(sid: str) -> Credentials | None:
        await asyncio.sleep(30 if sid == sid_of(2) else 0)
        return VAULT.get(sid)

    for find in (blocking, waiting, lambda sid: waiting(sid)):
        source = accounts.from_vault([], find, timeout=1.0)
        outcomes = await asyncio.gather(*map(source.fetch, VAULT), return_exceptions=True)
        assert [isinstance(one, CredentialsError) for one in outcomes] == [False, True, False]
        assert str(outcomes[1]) == f"looking up {sid_of(2)} took more than 1 s"
    release.set()


async def test_a_timeout_that_the_vault_raises_itself_is_unchanged() -> None:
    def find(sid: str) -> Credentials:
        raise TimeoutError("the vault is busy")

    with pytest.raises(TimeoutError, match="the vault is busy"):
        await accounts.from_vault([], find).fetch(sid_of(1))


async def test_a_lookup_that_raises_stop_iteration_does_not_hang() -> None:
    def find(sid: str) -> Credentials:
        return next(iter(()))

    async with asyncio.timeout(5):
        with pytest.raises(RuntimeError, match="StopIteration"):
            await accounts.from_vault([], find).fetch(sid_of(1))


async def test_lookups_that_hang_do_not_stop_those_that_follow() -> None:
    release = threading.Event()
    hanging = {sid_of(number) for number in range(100)}
    running = peak = 0

    def find(sid: str) -> Credentials:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        if sid in hanging:
            release.wait(30)
        time.sleep(0.02)
        running -= 1
        return AccountToken(sid, SECRET)

    source = accounts.from_vault([], find, timeout=1.5)
    fetches = [source.fetch(sid_of(number)) for number in range(300)]
    outcomes = await asyncio.gather(*fetches, return_exceptions=True)
    assert [isinstance(one, Account) for one in outcomes] == [False] * 100 + [True] * 200
    # The threads that were left behind, and 64 others at most.
    assert peak <= 100 + 64
    # The executor of asyncio, which looks up host names, is not involved.
    assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 5) == "free"
    release.set()


async def test_lookups_see_the_context_of_the_caller() -> None:
    from contextvars import ContextVar

    tenant: ContextVar[str] = ContextVar("tenant")

    def find(sid: str) -> Credentials:
        assert tenant.get() == "mine"
        return VAULT[sid]

    tenant.set("mine")
    assert await accounts.from_vault([], find).fetch(sid_of(1)) == ACCOUNTS[0]


async def test_sids_that_block_are_read_in_one_thread_and_neither_block_the_loop() -> None:
    threads = set()

    def sids() -> Iterator[str]:
        for sid in VAULT:
            threads.add(threading.current_thread())
            time.sleep(0.1)
            yield sid

    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    task = asyncio.create_task(tick())
    assert await collect(accounts.from_vault(sids(), find_later)) == ACCOUNTS
    task.cancel()
    assert ticks > 10
    assert len(threads) == 1
    assert threading.main_thread() not in threads


async def test_a_generator_of_sids_that_was_passed_in_is_not_closed() -> None:
    def sids() -> Iterator[str]:
        number = 0
        while True:
            yield sid_of(number)
            number += 1

    generator = sids()
    stream: Any = aiter(accounts.from_vault(generator, lambda sid: AccountToken(sid, SECRET)))
    await anext(stream)
    before = threading.active_count()
    await stream.aclose()
    async with asyncio.timeout(5):
        while threading.active_count() >= before:
            await asyncio.sleep(0.01)
    assert next(generator).startswith("AC")


async def test_sids_that_hang_are_told() -> None:
    release = threading.Event()

    def blocking() -> Iterator[str]:
        yield sid_of(1)
        release.wait(30)

    async def waiting() -> AsyncIterator[str]:
        yield sid_of(1)
        await asyncio.sleep(30)

    for sids in (blocking(), waiting()):
        found: list[Account] = []
        with pytest.raises(CredentialsError, match=r"sids took more than 0\.3 s"):
            await collect(accounts.from_vault(sids, find_later, timeout=0.3), found)
    release.set()


async def test_a_generator_of_sids_is_closed_in_its_thread_when_the_iteration_ends() -> None:
    closed = []
    made = []  # keeps garbage collection from closing it

    def sids() -> Iterator[str]:
        made.append(generate())
        return made[-1]

    def generate() -> Iterator[str]:
        thread = threading.current_thread()
        try:
            number = 0
            while True:
                yield sid_of(number)
                number += 1
        finally:
            closed.append(thread is threading.current_thread())

    before = threading.active_count()
    async with fleet.Vault(sids, find_later).open() as connection:
        targets = connection.accounts()
        assert (await anext(targets)).account_sid == sid_of(0)
        await targets.aclose()  # type: ignore[attr-defined]
    for _ in range(100):
        if closed and threading.active_count() <= before:
            break
        await asyncio.sleep(0.02)
    assert closed == [True]
    assert threading.active_count() <= before


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
def test_a_timeout_must_be_positive(timeout: float) -> None:
    for make in (
        lambda: accounts.from_vault([], VAULT.get, timeout=timeout),
        lambda: fleet.Vault(list, VAULT.get, timeout=timeout),
    ):
        with pytest.raises(ValueError, match="timeout: must be more than 0 seconds"):
            make()


def test_a_program_ends_although_a_lookup_hangs() -> None:
    program = """
import asyncio, time
from marketplace_async import AccountToken, CredentialsError, accounts
async def main():
    try:
        await accounts.from_vault([], lambda _: time.sleep(600), timeout=0.1).fetch("AC" + "1" * 32)
    except CredentialsError as error:
        print(error)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=30)
    assert b"took more than 0.1 s" in done.stdout
    assert done.stderr == b""
