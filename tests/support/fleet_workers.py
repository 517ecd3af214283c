"""Functions and executors for the tests of jobs. Other processes must be able to import them."""

import asyncio
import multiprocessing
import pickle
from collections.abc import AsyncIterable, AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager

from marketplace_async import AccountToken, Credentials, MarketplaceClient, Retry
from marketplace_async.bulk import settle
from marketplace_async.fleet import (
    AccountResult,
    Connection,
    EmbeddedExecutor,
    Shard,
    ShardOutcome,
    Source,
    Work,
)
from marketplace_async.testing import account


def connect(url: str) -> MarketplaceClient:
    """Return a client of the parent account. `functools.partial` binds the URL."""
    fast = Retry(attempts=8, max_elapsed=10.0, initial_backoff=0.01, max_backoff=0.1)
    return MarketplaceClient(account(), base_url=url, retry=fast)


def sids_of_the_vault() -> list[str]:
    return [account(number).account_sid for number in range(1, 31)]


async def find_in_the_vault(sid: str) -> Credentials:
    number = int(sid.removeprefix("AC"), 16)
    if number == 7:
        raise KeyError(f"no secret for {sid}")
    return AccountToken(sid, "made-up")


def work_elsewhere(pickled: bytes) -> bytes:
    """Process a shard in a worker process. Arguments and results cross as bytes."""

    async def run() -> tuple[AccountResult, ...]:
        source: Source
        work: Work
        source, work, shard = pickle.loads(pickled)
        async with source.open() as connection:
            return await work(connection, shard)

    return pickle.dumps(asyncio.run(run()))


class ProcessesExecutor:
    """Runs shards in other processes, as a cluster engine would."""

    @asynccontextmanager
    async def run(
        self, work: Work, connection: Connection, shards: AsyncIterable[Shard]
    ) -> AsyncIterator[AsyncIterator[ShardOutcome]]:
        spawn = multiprocessing.get_context("spawn")
        pool = await asyncio.to_thread(ProcessPoolExecutor, 2, spawn)

        async def elsewhere(shard: Shard) -> tuple[AccountResult, ...]:
            pickled = pickle.dumps((connection.source, work, shard))
            # submit() starts processes, which blocks.
            future = await asyncio.to_thread(pool.submit, work_elsewhere, pickled)
            result: bytes = await asyncio.wrap_future(future)
            results: tuple[AccountResult, ...] = pickle.loads(result)
            return results

        try:
            async with settle(elsewhere, shards, limit=4) as outcomes:
                yield outcomes
        finally:
            await asyncio.to_thread(pool.shutdown)


class TwiceExecutor:
    """Runs each shard twice and yields both outcomes, like an engine that lost a response."""

    @asynccontextmanager
    async def run(
        self, work: Work, connection: Connection, shards: AsyncIterable[Shard]
    ) -> AsyncIterator[AsyncIterator[ShardOutcome]]:
        async def twice(connection: Connection, shard: Shard) -> tuple[AccountResult, ...]:
            first, second = await asyncio.gather(work(connection, shard), work(connection, shard))
            return first + second

        async with EmbeddedExecutor(2).run(twice, connection, shards) as outcomes:

            async def doubled() -> AsyncIterator[ShardOutcome]:
                async for outcome in outcomes:
                    yield outcome
                    yield outcome

            yield doubled()


class DyingExecutor:
    """Loses shards before or after they ran, like an engine whose workers die."""

    @asynccontextmanager
    async def run(
        self, work: Work, connection: Connection, shards: AsyncIterable[Shard]
    ) -> AsyncIterator[AsyncIterator[ShardOutcome]]:
        count = 0

        async def dying(connection: Connection, shard: Shard) -> tuple[AccountResult, ...]:
            nonlocal count
            count += 1
            if count % 3 == 1:
                raise RuntimeError("the worker died")
            results = await work(connection, shard)
            if count % 3 == 2:
                raise RuntimeError("the worker died")
            return results

        async with EmbeddedExecutor(1).run(dying, connection, shards) as outcomes:
            yield outcomes
