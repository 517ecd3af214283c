"""Executors run the shards of a job: in this process, or on a cluster.

Shards and their results pickle and hold no credentials. `work` is a module-level coroutine
function. Running a shard more than once is safe.
"""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Protocol, TypeAlias

import attrs

from .. import bulk
from .._core.arguments import check_positive_int
from ..bulk import Outcome
from ._engine.shards import AccountResult, Shard
from .sources import Connection, iterating

ShardOutcome: TypeAlias = Outcome[Shard, tuple[AccountResult, ...]]
Work: TypeAlias = Callable[[Connection, Shard], Awaitable[tuple[AccountResult, ...]]]


class Executor(Protocol):
    """Runs the shards of a job."""

    def run(
        self, work: Work, connection: Connection, shards: AsyncIterable[Shard]
    ) -> AbstractAsyncContextManager[AsyncIterator[ShardOutcome]]:
        """Call `work(connection, shard)` for each shard.

        Args:
            work: A module-level coroutine function that processes a shard.
            connection: The driver's connection. To run shards in another process, send
                `connection.source`, which pickles, and open it there.
            shards: The shards. Take one only when it can run: they are created on demand.

        Returns:
            A context manager for a stream of outcomes in order of completion: at least one per
            shard, with the exception if `work` raised. Leaving the block stops all shards.
        """
        ...


@attrs.frozen
class EmbeddedExecutor:
    """Processes accounts as asyncio tasks in this process, over the driver's connection.

    Args:
        accounts: Maximum number of concurrent accounts (at least 1).
    """

    accounts: int = attrs.field(default=128, validator=lambda _, __, value: _check(value))

    @asynccontextmanager
    async def run(
        self, work: Work, connection: Connection, shards: AsyncIterable[Shard]
    ) -> AsyncIterator[AsyncIterator[ShardOutcome]]:
        """Call `work(connection, shard)` with one account at a time; see `Executor`."""
        call = partial(work, connection)
        async with bulk.as_completed(call, _single(shards), limit=self.accounts) as outcomes:
            yield outcomes


async def _single(shards: AsyncIterable[Shard]) -> AsyncGenerator[Shard, None]:
    """Split shards into accounts, so that a slow account holds back no other."""
    async with iterating(shards) as iterator:
        async for shard in iterator:
            for target in shard.targets:
                yield attrs.evolve(shard, targets=(target,))


def _check(value: int) -> None:
    check_positive_int(value, "accounts")
