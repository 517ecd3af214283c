"""The connection of one job to workers in other processes."""

import asyncio
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager

import attrs

from ..._core.limiter import Stats
from ..._version import __version__
from .._engine.shards import Job, Shard
from ..connections import Connection, iterating
from . import portable, tasks
from .base import Outcome
from .dispatch import Dispatcher
from .links import Engine
from .messages import PROTOCOL, Message, total
from .reports import WorkerReport
from .shares import Limits

# Seconds to wait for the first worker, and for a new one when all are lost.
_NO_WORKER = 60.0


@attrs.define
class RemoteSession:
    """A session over the workers of an engine.

    Args:
        connection: The job's own connection.
        engine: The workers.
        lease: Seconds for which a worker may write after the job last heard from it.
        patience: Seconds to wait for a worker.
    """

    _connection: Connection
    _engine: Engine
    _lease: float
    _patience: float = _NO_WORKER
    _runs: list[Dispatcher] = attrs.field(init=False, factory=list)

    @property
    def stats(self) -> Stats:
        """The request counters of this process and all workers."""
        members = [member for run in self._runs for member in run.members.values()]
        return total(self._connection.stats, *(member.total_stats for member in members))

    @property
    def workers(self) -> Mapping[str, WorkerReport]:
        """A report of each worker."""
        reports: dict[str, WorkerReport] = {}
        for run in self._runs:
            for key, member in run.members.items():
                report = member.report()
                if (earlier := reports.get(key)) is not None:
                    report = attrs.evolve(
                        report,
                        shards=earlier.shards + report.shards,
                        accounts=earlier.accounts + report.accounts,
                        sent=earlier.sent + report.sent,
                        throttled=earlier.throttled + report.throttled,
                        unfit=report.unfit or earlier.unfit,
                        lost=report.lost or earlier.lost,
                    )
                reports[key] = report
        return reports

    @asynccontextmanager
    async def run(
        self, job: Job, shards: AsyncIterable[Shard]
    ) -> AsyncIterator[AsyncIterator[Outcome]]:
        """Process the accounts of the shards on the workers."""
        connection = self._connection
        limits = Limits(*connection.limits)
        message: Message = {
            "op": "open",
            "protocol": PROTOCOL,
            "version": __version__,
            "job": uuid.uuid4().hex,
            "source": await asyncio.to_thread(portable.describe, connection.source),
            "identity": await connection.identity(accounts=True),
            "account": await connection.working_account(),
            "task": await asyncio.to_thread(tasks.describe, job.task),
            "account_timeout": job.account_timeout,
            "lease": self._lease,
        }
        run = Dispatcher(
            *(self._engine, job, message, limits, self._lease, self._patience),
            connection.attempt_timeout,
        )
        self._runs.append(run)
        connection.limit(limits.of_driver, limits.rate_of(limits.of_driver))
        try:
            async with iterating(shards) as iterator, run.running(iterator):
                yield run
        finally:
            connection.limit(limits.concurrency, limits.requests_per_second)
