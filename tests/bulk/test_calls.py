"""`gather`, `settle` and `as_completed`: order, limits, failures and cancellation."""

import asyncio
import contextlib
import gc
import tracemalloc
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
from support.bulk import RecordedProgress, SlowCall

from marketplace_async import bulk


async def one_by_one(count: int) -> AsyncIterator[int]:
    for number in range(count):
        await asyncio.sleep(0)
        yield number


@pytest.mark.parametrize("items", [range(30), list(range(30)), iter(range(30)), one_by_one])
async def test_gather_returns_values_in_the_order_of_the_items(items: Any) -> None:
    call = SlowCall()
    values = await bulk.gather(call, items(30) if callable(items) else items, limit=7)
    assert values == [str(number) for number in range(30)]
    assert call.peak == 7


async def test_gather_raises_the_first_failure_and_cancels_and_awaits_the_rest() -> None:
    call = SlowCall(4, seconds=0.02)
    with pytest.raises(LookupError):
        await bulk.gather(call, range(1000), limit=10)
    assert call.running == 0
    assert call.cancelled > 0
    assert len(call.started) < 20


async def test_settle_returns_every_outcome_in_order() -> None:
    outcomes = await bulk.settle(SlowCall(2, 5), range(7), limit=3)
    assert [outcome.item for outcome in outcomes] == list(range(7))
    assert [outcome.item for outcome in outcomes if outcome.ok] == [0, 1, 3, 4, 6]
    assert outcomes[:2] == [bulk.Success(0, "0"), bulk.Success(1, "1")]
    with pytest.raises(LookupError, match="2"):
        outcomes[2].value  # noqa: B018 - a property that raises
    assert isinstance(outcomes[5].error, LookupError)


async def test_a_settle_stream_is_in_order_and_starts_calls_only_within_the_limit() -> None:
    call = SlowCall(3)
    async with bulk.settle(call, one_by_one(50), limit=4) as outcomes:
        seen = []
        async for outcome in outcomes:
            seen.append(outcome.item)
            await asyncio.sleep(0.002)
            assert len(call.started) <= len(seen) + 4
    assert seen == list(range(50))
    assert call.peak <= 4


async def test_as_completed_yields_outcomes_as_they_arrive_and_starts_calls_within_the_limit() -> (
    None
):
    call = SlowCall(3, seconds=0.01)
    seen = []
    async with bulk.as_completed(call, one_by_one(12), limit=3) as outcomes:
        async for outcome in outcomes:
            seen.append(outcome.item)
            assert len(call.started) <= len(seen) + 2
            assert outcome.ok == (outcome.item != 3)
    assert sorted(seen) == list(range(12))
    assert seen != sorted(seen)


async def test_without_items_nothing_is_called() -> None:
    call = SlowCall()
    assert await bulk.gather(call, []) == []
    assert await bulk.settle(call, iter(())) == []
    assert call.started == []


async def test_leaving_a_stream_early_leaves_no_call_running() -> None:
    call = SlowCall(seconds=0.05)
    async with bulk.settle(call, one_by_one(10**9), limit=8) as outcomes:
        async for _ in outcomes:
            break
    assert call.running == 0


async def test_cancelling_the_caller_leaves_no_call_running() -> None:
    call = SlowCall(seconds=5)
    work: Awaitable[object]
    for work in (bulk.gather(call, range(10**9)), bulk.settle(call, range(10**9))):
        task = asyncio.ensure_future(work)
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert call.running == 0


async def test_an_error_of_the_items_is_raised_and_is_not_an_outcome() -> None:
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise OSError("cannot read the list of accounts")

    with pytest.raises(OSError, match="cannot read the list of accounts"):
        await bulk.settle(SlowCall(), broken())
    with pytest.raises(OSError, match="cannot read the list of accounts"):
        await bulk.gather(SlowCall(), broken())


async def test_a_call_that_raises_a_cancellation_cancels_the_caller() -> None:
    async def cancels(_: int) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await bulk.settle(cancels, one_by_one(10**9))


async def test_an_iterator_that_is_not_exhausted_is_closed() -> None:
    closed = False

    async def items() -> AsyncIterator[int]:
        nonlocal closed
        try:
            for number in range(100):
                yield number
        finally:
            closed = True

    with pytest.raises(LookupError):
        await bulk.gather(SlowCall(0), items(), limit=2)
    assert closed


async def test_a_stream_ends_even_if_the_iterator_suppresses_its_cancellation() -> None:
    async def stubborn() -> AsyncIterator[int]:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)
            yield 1

    async with asyncio.timeout(5), bulk.settle(SlowCall(), stubborn(), limit=4) as outcomes:
        async for _ in outcomes:
            break


async def test_a_caller_that_is_cancelled_while_leaving_still_waits_for_all_calls() -> None:
    class SlowToCancel(SlowCall):
        async def __call__(self, number: int) -> str:
            try:
                return await super().__call__(number)
            except asyncio.CancelledError:
                self.running += 1
                await asyncio.sleep(0.1)
                self.running -= 1
                raise

    call = SlowToCancel(0, seconds=0.01)
    task = asyncio.ensure_future(bulk.gather(call, range(9), limit=9))
    while not call.cancelled:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert call.running == 0


@pytest.mark.parametrize("error", [OSError("broken"), asyncio.CancelledError()])
async def test_a_progress_that_raises_is_reported_once_and_changes_nothing(
    error: BaseException,
) -> None:
    class Broken:
        def started(self, total: int | None) -> None:
            raise error

        def advanced(self, count: int = 1) -> None:
            raise error

        def failed(self, item: object, _: Exception) -> None:
            raise error

    reports: list[str] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: reports.append(context["message"])
    )
    outcomes = await bulk.settle(SlowCall(2), range(5), progress=Broken())
    assert [outcome.ok for outcome in outcomes] == [True, True, False, True, True]
    assert [report.split(" raised ")[0].rpartition(".")[2] for report in reports] == [
        "started",
        "advanced",
        "failed",
    ]


@pytest.mark.parametrize("limit", [1, 2])
async def test_the_result_of_settle_is_used_once(limit: int) -> None:
    outcomes = bulk.settle(SlowCall(), range(3), limit=limit)
    assert len(await outcomes) == 3
    with pytest.raises(RuntimeError, match=r"already awaited or entered: call settle\(\) again"):
        await outcomes
    with pytest.raises(RuntimeError, match=r"already awaited or entered: call settle\(\) again"):
        async with outcomes:
            pass


async def test_a_stream_raises_after_its_block_instead_of_ending() -> None:
    async with bulk.settle(SlowCall(), range(9)) as outcomes:
        await anext(outcomes)
        await asyncio.sleep(0.02)
    with pytest.raises(RuntimeError, match="iterate the stream inside its `async with` block"):
        async for _ in outcomes:
            pass


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, None])
def test_an_invalid_limit_raises_at_once(limit: Any) -> None:
    with pytest.raises(ValueError, match="limit: must be a positive integer"):
        bulk.settle(SlowCall(), [1], limit=limit)
    with pytest.raises(ValueError, match="limit"):
        bulk.merge([], limit=limit)
    with pytest.raises(ValueError, match="limit"):
        bulk.merge_settled(lambda _: _, [], limit=limit)


async def test_progress_receives_totals_counts_and_failures() -> None:
    progress = RecordedProgress()
    await bulk.settle(SlowCall(2), range(5), progress=progress)
    assert (progress.totals, progress.done) == ([5], 5)
    assert progress.failures == [(2, "LookupError(2)")]
    progress = RecordedProgress()
    await bulk.gather(SlowCall(), one_by_one(5), progress=progress)
    assert (progress.totals, progress.done, progress.failures) == ([None], 5, [])


async def test_100000_items_need_only_the_memory_of_what_is_in_flight() -> None:
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
