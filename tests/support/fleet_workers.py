"""Functions and executors for the tests of jobs. Other processes must be able to import them."""

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar, Self

import attrs

from marketplace_async import AccountToken, Credentials, MarketplaceClient, Retry, Stats
from marketplace_async.fleet import (
    AccountResult,
    Connection,
    EmbeddedExecutor,
    ExecutorSession,
    Job,
    NotBegun,
    Shard,
    ShardFailure,
    WorkerReport,
)
from marketplace_async.testing import account


def connect(url: str, timeout: float = 10.0, concurrency: int = 64) -> MarketplaceClient:
    """Return a client of the parent account. `functools.partial` binds the URL."""
    fast = Retry(attempts=12, max_elapsed=10.0, initial_backoff=0.01, max_backoff=0.1)
    return MarketplaceClient(
        account(), base_url=url, retry=fast, timeout=timeout, concurrency=concurrency
    )


def sids_of_the_vault() -> list[str]:
    return [account(number).account_sid for number in range(1, 31)]


async def find_in_the_vault(sid: str) -> Credentials:
    number = int(sid.removeprefix("AC"), 16)
    if number == 7:
        raise KeyError(f"no secret for {sid}")
    return AccountToken(sid, "made-up")


@attrs.define
class Wrapped:
    """An executor and its session that change what an embedded executor does."""

    accounts: int = 2
    shard_size: ClassVar[int] = 16
    is_remote: ClassVar[bool] = False
    orphan_lease: ClassVar[float | None] = None
    workers: ClassVar[dict[str, WorkerReport]] = {}
    inner: ExecutorSession = attrs.field(init=False)

    @asynccontextmanager
    async def open(self, connection: Connection) -> AsyncIterator[Self]:
        async with EmbeddedExecutor(self.accounts).open(connection) as self.inner:
            yield self

    @property
    def stats(self) -> Stats:
        return self.inner.stats


class TwiceExecutor(Wrapped):
    """Runs each shard twice and yields both results, like an engine that lost a response."""

    @asynccontextmanager
    async def run(
        self, job: Job, shards: AsyncIterable[Shard]
    ) -> AsyncIterator[AsyncIterator[AccountResult | ShardFailure | NotBegun]]:
        async def twice() -> AsyncIterator[Shard]:
            async for shard in shards:
                yield shard
                yield shard

        async def doubled() -> AsyncIterator[AccountResult | ShardFailure | NotBegun]:
            async for result in results:
                yield result
                yield result

        async with self.inner.run(job, twice()) as results:
            yield doubled()


class DyingExecutor(Wrapped):
    """Loses shards before or after they ran, like an engine whose workers die."""

    @asynccontextmanager
    async def run(
        self, job: Job, shards: AsyncIterable[Shard]
    ) -> AsyncIterator[AsyncIterator[AccountResult | ShardFailure | NotBegun]]:
        error = RuntimeError("the worker died")

        async def dying() -> AsyncIterator[AccountResult | ShardFailure | NotBegun]:
            count = 0
            async for shard in shards:
                count += 1
                if count % 3 == 1:
                    yield ShardFailure(shard.targets, error)
                    continue
                async with self.inner.run(job, _one(shard)) as results:
                    found = [result async for result in results]
                if count % 3 == 2:
                    yield ShardFailure(shard.targets, error)
                    continue
                for result in found:
                    yield result

        yield dying()


async def _one(shard: Shard) -> AsyncIterator[Shard]:
    yield shard
