"""The executor that runs a job in this process."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Self

import attrs

from ... import bulk
from ..._core.arguments import check_positive_int
from ..._core.limiter import Stats
from .._engine.shards import AccountResult, Approved, Job, Shard, failure_of, process
from ..connections import Connection, Target, iterating
from .base import Outcome
from .reports import WorkerReport


@attrs.frozen
class EmbeddedExecutor:
    """Processes accounts as asyncio tasks in this process, over the job's own connection.

    Args:
        accounts: Maximum number of concurrent accounts (at least 1).
    """

    accounts: int = attrs.field(default=128, validator=lambda _, __, value: _check(value))

    @property
    def shard_size(self) -> int:
        """16. `apply` records the start of all accounts of a shard in one transaction."""
        return 16

    @property
    def is_remote(self) -> bool:
        """False."""
        return False

    @property
    def orphan_lease(self) -> None:
        """None: accounts are processed in this process."""

    @asynccontextmanager
    async def open(self, connection: Connection) -> AsyncIterator["EmbeddedSession"]:
        """Return a session over the connection."""
        yield EmbeddedSession(connection, self.accounts)


@attrs.frozen
class EmbeddedSession:
    """Processes accounts over one connection.

    Args:
        connection: The connection.
        limit: Maximum number of concurrent accounts.
    """

    _connection: Connection
    _limit: int

    @property
    def stats(self) -> Stats:
        """The request counters."""
        return self._connection.stats

    @property
    def workers(self) -> Mapping[str, WorkerReport]:
        """Empty: all accounts are processed in this process."""
        return {}

    @asynccontextmanager
    async def run(
        self, job: Job, shards: AsyncIterable[Shard]
    ) -> AsyncIterator[AsyncIterator[Outcome]]:
        """Process each account in its own task, so that a slow account delays no other."""
        connection = self._connection

        async def call(one: tuple[Target, Approved]) -> AccountResult:
            return await process(connection, job, *one)

        async with bulk.as_completed(call, _single(shards), limit=self._limit) as outcomes:
            yield _Results(outcomes)


class _Results:
    """Converts a stream of bulk outcomes to results."""

    def __init__(
        self, outcomes: AsyncIterator[bulk.Outcome[tuple[Target, Approved], AccountResult]]
    ) -> None:
        self._outcomes = outcomes

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AccountResult:
        outcome = await anext(self._outcomes)
        if outcome.error is None:
            return outcome.value
        target, _ = outcome.item
        return AccountResult(target, failure=failure_of(target, outcome.error))


async def _single(shards: AsyncIterable[Shard]) -> AsyncGenerator[tuple[Target, Approved], None]:
    async with iterating(shards) as iterator:
        async for shard in iterator:
            for target in shard.targets:
                yield target, shard.approved


def _check(value: int) -> None:
    check_positive_int(value, "accounts")
