"""Many at once: in the order that is promised, never more than there is room for, to the end."""

import asyncio
import contextlib
import gc
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from marketplace_async import (
    InstalledAddOn,
    MarketplaceClient,
    NotFoundError,
    ResponseError,
    Retry,
    bulk,
)
from marketplace_async.emulator import Emulator
from marketplace_async.testing import account, emulated

SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"


class Busy:
    """A call that takes a while, and keeps count of how often it is under way."""

    def __init__(self, *failing: int, seconds: float = 0.001) -> None:
        self.failing = failing
        self.seconds = seconds
        self.begun: list[int] = []
        self.now = self.most = self.cancelled = 0

    async def __call__(self, number: int) -> str:
        self.begun.append(number)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.seconds * (1 + number % 3))
        except asyncio.CancelledError:
            self.cancelled += 1
            await asyncio.sleep(0)  # ends a little later than it is told to
            raise
        finally:
            self.now -= 1
        if number in self.failing:
            raise LookupError(number)
        return str(number)


async def one_by_one(count: int) -> AsyncIterator[int]:
    for number in range(count):
        await asyncio.sleep(0)
        yield number


class Told:
    """A progress that keeps what it is told."""

    def __init__(self) -> None:
        self.total: list[int | None] = []
        self.done = 0
        self.failures: list[tuple[object, str]] = []

    def started(self, total: int | None) -> None:
        self.total.append(total)

    def advanced(self, count: int = 1) -> None:
        self.done += count

    def failed(self, item: object, error: Exception) -> None:
        self.failures.append((item, repr(error)))


@pytest.fixture(autouse=True)
async def no_task_is_left() -> AsyncIterator[None]:
    def ours() -> set[str]:
        running = (task.get_coro() for task in asyncio.all_tasks())
        return {repr(coroutine) for coroutine in running if "bulk" in repr(coroutine)}

    yield
    assert not ours()


# -- gather and settle


@pytest.mark.parametrize("items", [range(30), list(range(30)), iter(range(30)), one_by_one])
async def test_gather_returns_values_in_the_order_of_the_items(items: Any) -> None:
    busy = Busy()
    values = await bulk.gather(busy, items(30) if callable(items) else items, limit=7)
    assert values == [str(number) for number in range(30)]
    assert busy.most == 7


async def test_gather_raises_the_first_failure_and_cancels_and_awaits_the_rest() -> None:
    busy = Busy(4, seconds=0.02)
    with pytest.raises(LookupError):
        await bulk.gather(busy, range(1000), limit=10)
    assert busy.now == 0
    assert busy.cancelled > 0
    assert len(busy.begun) < 20


async def test_settle_tells_what_came_of_each_in_order() -> None:
    outcomes = await bulk.settle(Busy(2, 5), range(7), limit=3)
    assert [outcome.item for outcome in outcomes] == list(range(7))
    assert [outcome.item for outcome in outcomes if outcome.ok] == [0, 1, 3, 4, 6]
    assert [outcome.value for outcome in outcomes][:3] == ["0", "1", None]
    assert isinstance(outcomes[5].error, LookupError)


async def test_settle_as_a_stream_is_in_order_and_begins_no_more_than_there_is_room_for() -> None:
    busy = Busy(3)
    async with bulk.settle(busy, one_by_one(50), limit=4) as outcomes:
        seen = []
        async for outcome in outcomes:
            seen.append(outcome.item)
            await asyncio.sleep(0.002)
            assert len(busy.begun) <= len(seen) + 4
    assert seen == list(range(50))
    assert busy.most <= 4


async def test_as_completed_gives_outcomes_as_they_come_and_begins_no_more_than_there_is_room() -> (
    None
):
    busy = Busy(3, seconds=0.01)
    seen = []
    async with bulk.as_completed(busy, one_by_one(12), limit=3) as outcomes:
        async for outcome in outcomes:
            seen.append(outcome.item)
            assert len(busy.begun) <= len(seen) + 2
            assert outcome.ok == (outcome.item != 3)
    assert sorted(seen) == list(range(12))
    assert seen != sorted(seen)


async def test_nothing_is_called_for_no_items() -> None:
    assert await bulk.gather(Busy(), []) == []
    assert await bulk.settle(Busy(), iter(())) == []
    assert await merged([]) == []


async def test_leaving_a_stream_early_leaves_nothing_behind() -> None:
    busy = Busy(seconds=0.05)
    async with bulk.settle(busy, one_by_one(10**9), limit=8) as outcomes:
        async for _ in outcomes:
            break
    assert busy.now == 0


async def test_who_is_cancelled_leaves_nothing_behind() -> None:
    busy = Busy(seconds=5)
    for work in (bulk.gather(busy, range(10**9)), bulk.settle(busy, range(10**9))._list()):
        task = asyncio.ensure_future(work)
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert busy.now == 0


async def test_an_error_of_the_items_is_raised_and_is_no_outcome() -> None:
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise OSError("the list of accounts is gone")

    with pytest.raises(OSError, match="the list of accounts is gone"):
        await bulk.settle(Busy(), broken())
    with pytest.raises(OSError, match="is gone"):
        await bulk.gather(Busy(), broken())


async def test_a_call_that_cancels_itself_is_not_lost_in_silence() -> None:
    async def cancels(_: int) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await bulk.settle(cancels, one_by_one(10**9))


async def test_items_that_are_not_used_up_are_closed() -> None:
    closed = False

    async def items() -> AsyncIterator[int]:
        nonlocal closed
        try:
            for number in range(100):
                yield number
        finally:
            closed = True

    with pytest.raises(LookupError):
        await bulk.gather(Busy(0), items(), limit=2)
    assert closed


async def test_it_ends_even_if_the_items_do_not_mind_a_cancellation() -> None:
    async def stubborn() -> AsyncIterator[int]:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)
            yield 1

    async with asyncio.timeout(5), bulk.settle(Busy(), stubborn(), limit=4) as outcomes:
        async for _ in outcomes:
            break


async def test_who_is_cancelled_while_leaving_still_waits_until_all_have_ended() -> None:
    class Slow(Busy):
        async def __call__(self, number: int) -> str:
            try:
                return await super().__call__(number)
            except asyncio.CancelledError:
                self.now += 1
                await asyncio.sleep(0.1)
                self.now -= 1
                raise

    slow = Slow(0, seconds=0.01)
    task = asyncio.ensure_future(bulk.gather(slow, range(9), limit=9))
    while not slow.cancelled:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert slow.now == 0


@pytest.mark.parametrize("limit", [1, 9])
async def test_what_breaks_a_call_is_raised_even_if_neither_room_nor_an_item_comes(
    limit: int,
) -> None:
    class Broken(Told):
        def advanced(self, count: int = 1) -> None:
            raise OSError("the progress is broken")

    async def two_and_then_nothing() -> AsyncIterator[int]:
        yield 0
        yield 1
        await asyncio.sleep(60)

    async with asyncio.timeout(5):
        with pytest.raises(OSError, match="progress"):
            await bulk.settle(Busy(), range(3), limit=limit, progress=Broken())
        with pytest.raises(OSError, match="progress"):
            await bulk.gather(Busy(), two_and_then_nothing(), limit=limit, progress=Broken())


@pytest.mark.parametrize("limit", [1, 2])
async def test_what_settle_returns_is_used_once(limit: int) -> None:
    outcomes = bulk.settle(Busy(), range(3), limit=limit)
    assert len(await outcomes) == 3
    with pytest.raises(RuntimeError, match="before"):
        await outcomes
    with pytest.raises(RuntimeError, match="before"):
        async with outcomes:
            pass


async def test_a_stream_after_its_block_is_an_error_and_not_the_end_of_it() -> None:
    async with bulk.settle(Busy(), range(9)) as outcomes:
        await anext(outcomes)
        await asyncio.sleep(0.02)
    with pytest.raises(RuntimeError, match="iterate it inside"):
        async for _ in outcomes:
            pass
    async with emulated() as (client, emulator):
        await fill(emulator, 3, 2)
        async with bulk.merge(lists(client, 3)) as stream:
            await asyncio.sleep(0.1)
        with pytest.raises(RuntimeError, match="iterate it inside"):
            await anext(stream)


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, None])
def test_a_limit_that_cannot_be_right_is_refused_at_once(limit: Any) -> None:
    with pytest.raises(ValueError, match="limit: must be a positive integer"):
        bulk.settle(Busy(), [1], limit=limit)
    with pytest.raises(ValueError, match="limit"):
        bulk.merge([], limit=limit)
    with pytest.raises(ValueError, match="limit"):
        bulk.merge_settled(lambda _: _, [], limit=limit)


async def test_progress_is_told_what_is_done_and_what_failed() -> None:
    told = Told()
    await bulk.settle(Busy(2), range(5), progress=told)
    assert (told.total, told.done, told.failures) == ([5], 5, [(2, "LookupError(2)")])
    told = Told()
    await bulk.gather(Busy(), one_by_one(5), progress=told)
    assert (told.total, told.done, told.failures) == ([None], 5, [])


async def test_100000_items_cost_the_memory_of_what_is_in_flight() -> None:
    async def nothing(number: int) -> int:
        await asyncio.sleep(0)
        return number

    async def peak(count: int) -> int:
        gc.collect()
        tracemalloc.start()
        seen = 0
        async with bulk.settle(nothing, iter(range(count)), limit=16) as outcomes:
            async for outcome in outcomes:
                assert outcome.item == seen
                seen += 1
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert seen == count
        return peak

    few = await peak(1000)
    assert await peak(100_000) < few + 100_000


# -- merge


async def fill(emulator: Emulator, accounts: int, each: int) -> None:
    for number in range(1, accounts + 1):
        emulator.install(account(number).account_sid, SPAM_SCORE, times=each)


async def merged(lists: Any) -> list[Any]:
    async with bulk.merge(lists) as stream:
        return [one async for one in stream]


def lists(client: MarketplaceClient, accounts: int, **options: Any) -> Iterator[Any]:
    for number in range(1, accounts + 1):
        yield client.with_credentials(account(number)).installed_add_ons.list(**options)


async def test_merge_gives_all_records_of_all_lists_in_the_order_of_each() -> None:
    async with emulated() as (client, emulator):
        await fill(emulator, 7, 5)
        found: dict[str, list[InstalledAddOn]] = {}
        async with bulk.merge(lists(client, 7, page_size=2), limit=3) as stream:
            async for installed in stream:
                found.setdefault(installed.account_sid, []).append(installed)
        assert len(found) == 7
        for number in range(1, 8):
            alone = (
                await client.with_credentials(account(number)).installed_add_ons.list().collect()
            )
            assert found[account(number).account_sid] == alone


async def test_merge_holds_no_more_pages_than_it_may_and_one_ahead_of_each_list() -> None:
    async with emulated() as (client, emulator):
        await fill(emulator, 6, 10)
        taken = 0
        async with bulk.merge(lists(client, 6, page_size=1), limit=4) as stream:
            async for _ in stream:
                taken += 1
                await asyncio.sleep(0.005)
                # The last page of a list is followed by none: 60 pages in all.
                assert len(emulator.log) <= taken + 3
        assert taken == 60
        emulator.log.clear()
        async with bulk.merge(lists(client, 1, page_size=1), limit=4) as stream:
            async for _ in stream:
                await asyncio.sleep(0.05)
                break
            assert len(emulator.log) == 2


async def test_a_list_that_fails_ends_a_merge_with_its_error() -> None:
    async with emulated() as (client, emulator):
        await fill(emulator, 3, 2)
        emulator.faults.add("GET", "*", status=404, times=1)
        with pytest.raises(NotFoundError):
            await merged(lists(client, 3))


async def test_a_list_that_fails_is_an_outcome_where_that_is_asked_for() -> None:
    told = Told()
    async with emulated(retry=Retry(attempts=1)) as (client, emulator):
        await fill(emulator, 4, 4)
        emulator.faults.add("GET", "*", status=500, times=1)

        def list_of(number: int) -> Any:
            if number == 4:
                raise ValueError("an account without credentials")
            return client.with_credentials(account(number)).installed_add_ons.list(page_size=2)

        seen: dict[int, list[Any]] = {}
        async with bulk.merge_settled(list_of, [1, 2, 3, 4], limit=1, progress=told) as stream:
            async for outcome in stream:
                seen.setdefault(outcome.item, []).append(outcome.value or repr(outcome.error)[:10])
        assert seen[1] == ["ServerErro"]
        assert [len(seen[number]) for number in (2, 3)] == [4, 4]
        assert seen[4] == ["ValueError"]
        assert (told.total, told.done, [item for item, _ in told.failures]) == ([4], 4, [1, 4])


async def test_leaving_a_merge_early_or_by_an_error_leaves_nothing_behind() -> None:
    async with emulated() as (client, emulator):
        await fill(emulator, 5, 20)
        async with bulk.merge(lists(client, 5, page_size=1), limit=3) as stream:
            async for _ in stream:
                break
        assert client.stats.in_flight == 0
        with contextlib.suppress(LookupError):
            async with bulk.merge(lists(client, 5, page_size=1), limit=3) as stream:
                async for _ in stream:
                    raise LookupError
        assert client.stats.in_flight == 0


@pytest.mark.parametrize("attempts", [1, 3])
async def test_a_page_that_cannot_be_read_is_asked_for_as_often_as_retry_says(
    attempts: int,
) -> None:
    async with emulated(retry=Retry(attempts=attempts, initial_backoff=0.001)) as (
        client,
        emulator,
    ):
        await fill(emulator, 1, 5)
        for _ in range(attempts - 1):
            emulator.faults.add("GET", "*", body="garbled", times=1)
        assert len(await merged(lists(client, 1))) == 5
        assert len(emulator.log) == attempts
        emulator.log.clear()
        emulator.faults.add("GET", "*", body="garbled", times=None)
        with pytest.raises(ResponseError) as failed:
            await merged(lists(client, 1))
        assert failed.value.resume_at is not None
        assert len(emulator.log) == attempts


async def test_what_is_no_list_is_refused() -> None:
    with pytest.raises(TypeError, match=r"expected a list such as installed_add_ons\.list"):
        await merged([[1, 2]])


async def test_100000_accounts_given_lazily_are_asked_for_as_there_is_room() -> None:
    """The accounts are endless; after some, it is left."""
    given = 0

    async with emulated(concurrency=8) as (client, _):

        async def endless() -> AsyncIterator[Any]:
            nonlocal given
            for number in range(1, 100_001):
                given = number
                sibling = client.with_credentials(account(number))
                yield sibling.available_add_ons.list(page_size=1, limit=1)

        seen = 0
        async with bulk.merge(endless(), limit=8) as stream:
            async for _ in stream:
                seen += 1
                assert given <= seen + 8 + 1
                if seen == 500:
                    break
        assert client.stats.in_flight == 0
        assert len(client._limiter._queues) <= 16 + 8
