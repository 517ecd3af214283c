"""Streams that are interrupted by timeouts, cancellations and errors, and go on."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from support.bulk import SlowCall
from support.interruptions import errors_alive, read_interrupted, read_with_heartbeat

from marketplace_async import MarketplaceClient, NotFoundError, bulk
from marketplace_async.emulator import Emulator
from marketplace_async.testing import account, emulated

SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"

Open = Callable[..., AbstractAsyncContextManager[AsyncIterator[Any]]]


@pytest.mark.parametrize("open_stream", [bulk.settle, bulk.as_completed])
@pytest.mark.parametrize("limit", [1, 4])
async def test_outcomes_under_a_heartbeat_are_complete_and_each_is_called_once(
    open_stream: Open, limit: int
) -> None:
    call = SlowCall(3, seconds=0.02)
    async with open_stream(call, range(12), limit=limit) as stream:
        found, timeouts = await read_with_heartbeat(stream, 0.005)
    assert sorted(outcome.item for outcome in found) == sorted(call.started) == list(range(12))
    assert [outcome.item for outcome in found if not outcome.ok] == [3]
    assert timeouts >= 5


@pytest.mark.parametrize("settled", [False, True])
async def test_merged_lists_under_a_heartbeat_are_complete_with_one_request_per_page(
    settled: bool,
) -> None:
    async with emulated() as (client, emulator):
        installed = install(emulator, 3, 20)
        emulator.faults.add("GET", "*", delay=0.1, times=None)
        async with merge(client, 3, settled=settled, page_size=5) as stream:
            found, timeouts = await read_with_heartbeat(stream, 0.01)
        assert sorted(one.value.sid if settled else one.sid for one in found) == installed
        assert timeouts >= 5
        assert len(emulator.log) == 12


@given(data=st.data(), limit=st.integers(1, 4), in_order=st.booleans())
def test_interrupted_outcomes_are_complete_and_unique(
    data: st.DataObject, limit: int, in_order: bool
) -> None:
    turns = data.draw(st.lists(st.integers(0, 4), max_size=10))
    patience = data.draw(st.lists(st.integers(0, 6), max_size=30))

    async def call(number: int) -> int:
        for _ in range(turns[number]):
            await asyncio.sleep(0)
        if turns[number] == 4:
            raise LookupError
        return number

    async def read() -> list[bulk.Outcome[int, int]]:
        open_stream: Open = bulk.settle if in_order else bulk.as_completed
        async with open_stream(call, range(len(turns)), limit=limit) as stream:
            return await read_interrupted(stream, patience)

    items = [outcome.item for outcome in asyncio.run(read())]
    assert (items if in_order else sorted(items)) == list(range(len(turns)))


@settings(max_examples=30)
@given(
    patience=st.lists(st.integers(0, 12), max_size=60),
    sizes=st.lists(st.integers(0, 4), max_size=4),
    limit=st.integers(1, 3),
    settled=st.booleans(),
)
def test_interrupted_merged_lists_are_complete_and_unique(
    patience: list[int], sizes: list[int], limit: int, settled: bool
) -> None:
    async def check() -> None:
        async with emulated() as (client, emulator):
            installed = sorted(
                sid
                for number, size in enumerate(sizes, 1)
                for sid in emulator.install(account(number).account_sid, SPAM_SCORE, times=size)
            )
            async with merge(
                client, len(sizes), settled=settled, limit=limit, page_size=2
            ) as stream:
                found = await read_interrupted(stream, patience)
            assert sorted(one.value.sid if settled else one.sid for one in found) == installed

    asyncio.run(check())


async def test_a_merge_that_failed_raises_its_error_at_each_step() -> None:
    async with emulated() as (client, emulator):
        install(emulator, 3, 3)
        emulator.faults.add("GET", "*", status=404, times=1)
        async with merge(client, 3, settled=False, page_size=1, limit=1) as stream:
            for _ in range(3):
                with pytest.raises(NotFoundError):
                    await anext(stream)


@pytest.mark.parametrize("open_stream", [bulk.settle, bulk.as_completed])
async def test_an_error_of_the_items_is_raised_at_each_step_after_the_outcomes(
    open_stream: Open,
) -> None:
    def items() -> Iterator[int]:
        yield 0
        raise OSError("cannot read the list of accounts")

    async with open_stream(SlowCall(), items()) as stream:
        assert (await anext(stream)).item == 0
        for _ in range(3):
            with pytest.raises(OSError, match="cannot read the list of accounts"):
                await anext(stream)


async def test_the_error_of_a_stream_forms_no_reference_cycle() -> None:
    def items() -> Iterator[int]:
        raise OSError("cannot read the list of accounts")
        yield

    async with emulated() as (client, emulator):
        install(emulator, 1, 1)
        emulator.faults.add("GET", "*", status=404, times=None)
        gc.collect()
        gc.disable()
        try:
            for kind, stream in (
                (NotFoundError, merge(client, 1, settled=False, page_size=1)),
                (OSError, bulk.as_completed(SlowCall(), items())),
            ):
                before = errors_alive(kind)
                with contextlib.suppress(kind):
                    async with stream as opened:
                        await anext(opened)
                await asyncio.sleep(0.01)
                assert errors_alive(kind) <= before
        finally:
            gc.enable()


async def test_a_list_as_items_is_closed_when_the_stream_is_left() -> None:
    async with emulated() as (client, emulator):
        install(emulator, 1, 20)
        emulator.faults.add("GET", "*", delay=1e-6, times=1)
        emulator.faults.add("GET", "*", delay=5, times=None)
        items = client.with_credentials(account(1)).installed_add_ons.list(page_size=5)
        async with bulk.as_completed(nothing, items, limit=1) as stream:
            await anext(stream)
            assert client.stats.in_flight == 1
        assert client.stats.in_flight == 0


async def nothing(_: object) -> None:
    pass


def install(emulator: Emulator, accounts: int, each: int) -> list[str]:
    return sorted(
        sid
        for number in range(1, accounts + 1)
        for sid in emulator.install(account(number).account_sid, SPAM_SCORE, times=each)
    )


def merge(
    client: MarketplaceClient, accounts: int, *, settled: bool, page_size: int, limit: int = 64
) -> AbstractAsyncContextManager[AsyncIterator[Any]]:
    def list_of(number: int) -> Any:
        derived = client.with_credentials(account(number))
        return derived.installed_add_ons.list(page_size=page_size)

    numbers = range(1, accounts + 1)
    if settled:
        return bulk.merge_settled(list_of, numbers, limit=limit)
    return bulk.merge(map(list_of, numbers), limit=limit)
