"""Executors run the shards of a job: in this process, or on a cluster.

Shards and their results pickle and hold no credentials. `work` is a module-level coroutine
function. Running a shard more than once is safe.
"""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Protocol, TypeAlias

import attrs

from .. import bulk
from .._core.arguments import check_positive_int
from ..bulk import Outcome
from ._engine.shards import AccountResult, Shard
from .sources import Connection

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
    """Runs shards as asyncio tasks in this process, over the driver's connection.

    Args:
        shards: Maximum number of concurrent shards (at least 1).
    """

    shards: int = attrs.field(default=8, validator=lambda _, __, value: _check(value))

    @asynccontextmanager
    async def run(
        self, work: Work, connection: Connection, shards: AsyncIterable[Shard]
    ) -> AsyncIterator[AsyncIterator[ShardOutcome]]:
        """Call `work(connection, shard)` for each shard; see `Executor`."""
        call = partial(work, connection)
        async with bulk.as_completed(call, shards, limit=self.shards) as outcomes:
            yield outcomes


def _check(value: int) -> None:
    check_positive_int(value, "shards")
