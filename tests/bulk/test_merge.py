"""`merge` and `merge_settled`: order, limits, failures, and pages that cannot be decoded."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from support.bulk import RecordedProgress

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


async def fill(emulator: Emulator, accounts: int, each: int) -> None:
    for number in range(1, accounts + 1):
        emulator.install(account(number).account_sid, SPAM_SCORE, times=each)


async def merged(lists: Any) -> list[Any]:
    async with bulk.merge(lists) as stream:
        return [record async for record in stream]


def lists(client: MarketplaceClient, accounts: int, **options: Any) -> Iterator[Any]:
    for number in range(1, accounts + 1):
        yield client.with_credentials(account(number)).installed_add_ons.list(**options)


async def test_merge_yields_all_records_of_all_lists_each_list_in_order() -> None:
    async with emulated() as (client, emulator):
        await fill(emulator, 7, 5)
        found: dict[str, list[InstalledAddOn]] = {}
        async with bulk.merge(lists(client, 7, page_size=2), limit=3) as stream:
            async for installed in stream:
                found.setdefault(installed.account_sid, []).append(installed)
        assert len(found) == 7
        for number in range(1, 8):
            derived = client.with_credentials(account(number))
            alone = await derived.installed_add_ons.list().collect()
            assert found[account(number).account_sid] == alone


async def test_merge_of_no_lists_yields_nothing() -> None:
    assert await merged([]) == []


async def test_merge_holds_pages_within_the_limit_and_one_page_ahead_of_each_list() -> None:
    async with emulated() as (client, emulator):
        await fill(emulator, 6, 10)
        read = 0
        async with bulk.merge(lists(client, 6, page_size=1), limit=4) as stream:
            async for _ in stream:
                read += 1
                await asyncio.sleep(0.005)
                # No page follows the last one of a list: there are 60 pages.
                assert len(emulator.log) <= read + 3
        assert read == 60
        emulator.log.clear()
        async with bulk.merge(lists(client, 1, page_size=1), limit=4) as stream:
            async for _ in stream:
                await asyncio.sleep(0.05)
                break
            assert len(emulator.log) == 2


async def test_merge_raises_the_error_of_the_first_list_that_fails() -> None:
    async with emulated() as (client, emulator):
        await fill(emulator, 3, 2)
        emulator.faults.add("GET", "*", status=404, times=1)
        with pytest.raises(NotFoundError):
            await merged(lists(client, 3))


async def test_merge_settled_yields_a_failure_for_a_list_that_fails() -> None:
    progress = RecordedProgress()
    async with emulated(retry=Retry(attempts=1)) as (client, emulator):
        await fill(emulator, 4, 4)
        emulator.faults.add("GET", "*", status=500, times=1)

        def list_of(number: int) -> Any:
            if number == 4:
                raise ValueError("an account without credentials")
            return client.with_credentials(account(number)).installed_add_ons.list(page_size=2)

        seen: dict[int, list[bulk.Outcome[int, Any]]] = {1: [], 2: [], 3: [], 4: []}
        async with bulk.merge_settled(list_of, [1, 2, 3, 4], limit=1, progress=progress) as stream:
            async for outcome in stream:
                seen[outcome.item].append(outcome)
        assert [type(one.error).__name__ for one in seen[1]] == ["ServerError"]
        assert [len([one.value for one in seen[number] if one.ok]) for number in (2, 3)] == [4, 4]
        assert [len(seen[number]) for number in (2, 3)] == [4, 4]
        assert [type(one.error).__name__ for one in seen[4]] == ["ValueError"]
        assert (progress.totals, progress.done) == ([4], 4)
        assert [item for item, _ in progress.failures] == [1, 4]


async def test_leaving_a_merge_early_or_with_an_error_leaves_no_request_in_flight() -> None:
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


async def test_a_merged_stream_raises_after_its_block_instead_of_ending() -> None:
    async with emulated() as (client, emulator):
        await fill(emulator, 3, 2)
        async with bulk.merge(lists(client, 3)) as stream:
            await asyncio.sleep(0.1)
        with pytest.raises(RuntimeError, match="iterate the stream inside its `async with` block"):
            await anext(stream)


@pytest.mark.parametrize("attempts", [1, 3])
async def test_a_page_that_cannot_be_decoded_is_requested_as_often_as_retry_allows(
    attempts: int,
) -> None:
    retry = Retry(attempts=attempts, initial_backoff=0.001)
    async with emulated(retry=retry) as (client, emulator):
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


async def test_merge_rejects_what_is_not_a_list_of_the_client() -> None:
    with pytest.raises(TypeError, match=r"expected a list such as installed_add_ons\.list"):
        await merged([[1, 2]])


async def test_100000_lists_are_read_only_as_fast_as_they_complete() -> None:
    yielded = 0

    async with emulated(concurrency=8) as (client, _):

        async def many_lists() -> AsyncIterator[Any]:
            nonlocal yielded
            for number in range(1, 100_001):
                yielded = number
                derived = client.with_credentials(account(number))
                yield derived.available_add_ons.list(page_size=1, limit=1)

        seen = 0
        async with bulk.merge(many_lists(), limit=8) as stream:
            async for _ in stream:
                seen += 1
                assert yielded <= seen + 8 + 1
                if seen == 500:
                    break
        assert client.stats.in_flight == 0
        assert len(client._limiter._queues) <= 16 + 8
