"""What runs the shards of a job: the seam where a cluster engine can take over.

A shard is a value that pickles and holds no credentials, and so is the result of it; `work` is a
coroutine function of a module. A shard may run twice: it does no harm.
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
        call = partial(work, connection)
        async with bulk.as_completed(call, shards, limit=self.shards) as outcomes:
            yield outcomes


def _check(value: int) -> None:
    check_positive_int(value, "shards")
