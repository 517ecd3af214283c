"""What runs the shards of a job: the seam where a cluster engine can take over.

A shard is a value that pickles and holds no credentials, and so is the result of it; `work` is a
coroutine function of a module. A shard may run twice: it does no harm.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol, TypeAlias

import attrs

from .._tasks import cancelled
from .._wire import check_count
from ..bulk import Outcome
from ._shards import AccountResult, Shard
from ._sources import Connection, iterating

ShardOutcome: TypeAlias = Outcome[Shard, tuple[AccountResult, ...]]
Work: TypeAlias = Callable[[Connection, Shard], Awaitable[tuple[AccountResult, ...]]]


class Executor(Protocol):
    """Runs the shards of a job, wherever that is."""

    def run(
        self, work: Work, connection: Connection, shards: AsyncIterable[Shard]
    ) -> AbstractAsyncContextManager[AsyncIterator[ShardOutcome]]:
        """Run `work` with a connection and each of the shards.

        Args:
            work: What works a shard; a function of a module.
            connection: The driver's own. An executor whose shards run elsewhere hands
                `connection.source` there, which pickles, and opens it there.
            shards: Taken as there is room for them, so that no more are held than are in flight.

        Returns:
            A stream of outcomes as they come, for as long as the block lasts: at least one for each
            shard, and what `work` raised where it did. When the block is left early, nothing of it
            runs any more.
        """
        ...


@attrs.frozen
class EmbeddedExecutor:
    """Runs shards as asyncio tasks, in this process and over the driver's own connections.

    Args:
        shards: How many at once, 1 or more.
    """

    shards: int = attrs.field(default=8, validator=lambda _, __, value: _check(value))

    @asynccontextmanager
    async def run(
        self, work: Work, connection: Connection, shards: AsyncIterable[Shard]
    ) -> AsyncIterator[AsyncIterator[ShardOutcome]]:
        """Run `work` with a connection and each of the shards; see `Executor`."""
        feeding = asyncio.Lock()
        finished: asyncio.Queue[ShardOutcome | None] = asyncio.Queue(self.shards)
        broken: list[Exception] = []

        async def take() -> Shard | None:
            async with feeding:
                if broken:
                    return None
                try:
                    return await anext(source, None)
                except Exception as error:  # noqa: BLE001 - raised below, after what is in flight
                    broken.append(error)
                    return None

        async def worker() -> None:
            while (shard := await take()) is not None:
                try:
                    outcome = ShardOutcome(shard, await work(connection, shard), None)
                except Exception as error:  # noqa: BLE001 - it is the outcome of this shard
                    outcome = ShardOutcome(shard, None, error)
                await finished.put(outcome)
            await finished.put(None)

        async def outcomes() -> AsyncIterator[ShardOutcome]:
            running = self.shards
            while running:
                outcome = await finished.get()
                if outcome is None:
                    running -= 1
                else:
                    yield outcome
            if broken:
                raise broken[0]

        async with iterating(shards) as source:
            tasks = [asyncio.create_task(worker()) for _ in range(self.shards)]
            try:
                yield outcomes()
            finally:
                await cancelled(*tasks)


def _check(value: int) -> None:
    check_count(value, "shards")
