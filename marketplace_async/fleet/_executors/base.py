"""The interface between a job and its executor."""

from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias

from ..._core.limiter import Stats
from .._engine.shards import AccountResult, Job, NotBegun, Shard, ShardFailure
from ..connections import Connection
from .reports import WorkerReport

Outcome: TypeAlias = AccountResult | ShardFailure | NotBegun


class ExecutorSession(Protocol):
    """The connection of one job to the workers of an executor."""

    @property
    def stats(self) -> Stats:
        """The request counters of the job, summed over all workers."""
        ...

    @property
    def workers(self) -> Mapping[str, WorkerReport]:
        """A report of each worker by name. Empty if the job runs in this process alone."""
        ...

    def run(
        self, job: Job, shards: AsyncIterable[Shard]
    ) -> AbstractAsyncContextManager[AsyncIterator[Outcome]]:
        """Process the accounts of the shards.

        Args:
            job: What to do for each account.
            shards: The shards. They are created on demand: request one only when it can run.

        Returns:
            A context manager for a stream of results, as they become available. An account may
            have several results, for example if its shard ran twice; the first one counts. Leaving
            the block stops all shards.

        Raises:
            JobError: No worker can do the job.
        """
        ...


class Executor(Protocol):
    """Runs the shards of a job."""

    @property
    def shard_size(self) -> int:
        """The number of accounts in a shard, 1 to 1,000."""
        ...

    @property
    def is_remote(self) -> bool:
        """Whether shards run in other processes. If so, a shard never spans two list pages."""
        ...

    @property
    def orphan_lease(self) -> float | None:
        """Seconds for which workers may go on writing after the job's process has died.

        None if they end with that process.
        """
        ...

    def open(self, connection: Connection) -> AbstractAsyncContextManager[ExecutorSession]:
        """Connect to the workers, before the job begins.

        Args:
            connection: The job's own connection to the accounts.

        Raises:
            JobError: The workers cannot be reached.
        """
        ...
