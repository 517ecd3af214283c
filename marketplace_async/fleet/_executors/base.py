"""What a job needs of an executor."""

from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias

import attrs

from ..._core.limiter import Stats
from ..._core.serializable import Serializable
from .._engine.shards import AccountResult, Job, Shard, ShardFailure
from ..connections import Connection

Outcome: TypeAlias = AccountResult | ShardFailure


@attrs.frozen(kw_only=True)
class WorkerReport(Serializable):
    """What one worker did for a job.

    Attributes:
        name: The worker, such as "process 1" or its address.
        shards: Number of shards that it finished.
        accounts: Number of accounts with a result.
        sent: Requests that it sent.
        throttled: Those that Twilio throttled (429).
        unfit: Why it could not work for the job. None if it could.
        lost: How it was lost, such as "killed by signal 9". None if it was not.
    """

    name: str
    shards: int = 0
    accounts: int = 0
    sent: int = 0
    throttled: int = 0
    unfit: str | None = None
    lost: str | None = None


class ExecutorSession(Protocol):
    """A connection of one job to the workers of an executor."""

    @property
    def stats(self) -> Stats:
        """The request counters of the job, over all workers."""
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
            shards: The shards. Take one only when it can run: they are created on demand.

        Returns:
            A context manager for a stream of results, each as soon as it is there. An account may
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
        """Whether shards run in other processes. Each is then a page of the account list."""
        ...

    def open(self, connection: Connection) -> AbstractAsyncContextManager[ExecutorSession]:
        """Connect to the workers, before the job begins.

        Args:
            connection: The job's own connection to the accounts.

        Raises:
            JobError: The workers cannot be reached.
        """
        ...
