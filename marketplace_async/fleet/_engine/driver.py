"""The driver of a job: creates shards, hands them to the executor and saves their results."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Self

import attrs

from ... import bulk
from ..._core.arguments import check_positive_int
from ..._core.threads import WorkerThread
from ...errors import MarketplaceError
from .._executors.base import Executor, ExecutorSession, Outcome
from .._executors.embedded import EmbeddedExecutor
from .._executors.reports import WorkerReport
from ..connections import Connection, Source, Target, iterating
from .arrivals import Arrivals
from .ending import Ending
from .entries import Entry, Failure, Failures, JobError
from .notifier import Notifier
from .shards import AccountResult, Job, NotBegun, Shard, ShardFailure, Task, failure_of
from .tally import Counts, Tally

# Seconds. Nearly all accounts take less than one.
ACCOUNT_TIMEOUT = 300.0
_MAX_WAITING = 1024
_MAX_RECENT = 4096
_MAX_REPEATED = 10_000
_COUNT_TIMEOUT = 10.0  # seconds


def _is_any(_: Target) -> bool:
    return True


@attrs.define
class Driver:
    """Runs a job of any kind: lists accounts, runs shards and reports progress.

    Args:
        source: Where the accounts come from.
        executor: Runs the shards.
        progress: Receives progress updates.
        stop: Once set, no more accounts are started. Running ones finish.
        abort: Once set, running accounts are cancelled.
        account_timeout: How long one account may take, in seconds. None sets no limit.
        max_failures: Maximum number of failed accounts in a run. Once it is exceeded, no more
            accounts are started. None sets no limit.

    Attributes:
        tally: Counts the accounts.
        notifier: Passes updates to `progress`.
        in_flight: The accounts that the executor is working on.
        is_selected: Returns whether an account belongs to the job.
        not_selected: Number of accounts that the last (or current) run listed, but that do not
            belong to the job.
    """

    source: Source
    executor: Executor = attrs.field(factory=EmbeddedExecutor)
    progress: bulk.Progress | None = None
    stop: asyncio.Event | None = None
    abort: asyncio.Event | None = None
    account_timeout: float | None = None
    max_failures: int | None = None
    connection: Connection = attrs.field(init=False)
    session: ExecutorSession = attrs.field(init=False)
    disk: WorkerThread = attrs.field(init=False)
    tally: Tally = attrs.field(init=False, factory=Tally)
    notifier: Notifier = attrs.field(init=False)
    in_flight: set[str] = attrs.field(init=False, factory=set)
    is_selected: Callable[[Target], bool] = attrs.field(init=False, default=_is_any)
    not_selected: int = attrs.field(init=False, default=0)
    # Failures before the current run.
    _failed_before: int = attrs.field(init=False, default=0)
    # Whether a run has listed all accounts.
    _is_counted: bool = attrs.field(init=False, default=False)
    _stack: AsyncExitStack = attrs.field(init=False, factory=AsyncExitStack)

    def __attrs_post_init__(self) -> None:
        check_timeout(self.account_timeout)
        if self.max_failures is not None and self.max_failures != 0:
            check_positive_int(self.max_failures, "max_failures")
        self.notifier = Notifier(self.progress)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self.disk = await stack.enter_async_context(WorkerThread())
            self.connection = await stack.enter_async_context(self.source.open())
            self.session = await stack.enter_async_context(self.executor.open(self.connection))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def stopped(self) -> bool:
        """Whether a stop was requested, or too many accounts failed."""
        return self._failed_too_often or any(
            event is not None and event.is_set() for event in (self.stop, self.abort)
        )

    @property
    def _failed_too_often(self) -> bool:
        most = self.max_failures
        return most is not None and self.tally.failures - self._failed_before > most

    @property
    def workers(self) -> tuple[WorkerReport, ...]:
        """A report of each worker so far."""
        return tuple(self.session.workers.values())

    def counts(self) -> Counts:
        """Return the number of accounts by outcome."""
        others = {"not selected": self.not_selected} if self.not_selected else {}
        return self.tally.counts({**self.connection.left_out, **others})

    async def run(
        self,
        task: Task,
        shard_of: Callable[[list[Target]], Awaitable[Shard | None]],
        save: Callable[[Sequence[AccountResult]], Awaitable[int]],
        withdraw: Callable[[Sequence[Target]], Awaitable[None]] | None = None,
    ) -> None:
        """Process all accounts. Results are saved as they arrive.

        Args:
            task: The task to run for each account.
            shard_of: Creates a shard from those accounts of a batch that still need work. Returns
                None if there are none.
            save: Saves the results of some accounts durably and returns the number of records.
                Receives each account once, even if its shard runs more than once.
            withdraw: Receives accounts that were handed to the executor but not started, because
                the job was stopped.

        Afterwards, `in_flight` holds the accounts that have no result because the job was aborted
        or failed.

        Raises:
            JobError: More than `max_failures` accounts failed.
        """
        in_flight = self.in_flight
        self._failed_before = self.tally.failures

        async def shards() -> AsyncIterator[Shard]:
            async with iterating(self._batches()) as batches:
                async for page, batch in batches:
                    shard = await shard_of(
                        [one for one in batch if one.account_sid not in in_flight]
                    )
                    if shard is not None:
                        in_flight.update(target.account_sid for target in shard.targets)
                        yield attrs.evolve(shard, page=page)

        try:
            job = Job(task, self.account_timeout, lambda: self.stopped)
            await self._process(job, shards(), save, withdraw)
        except (MarketplaceError, OSError):
            await self._count_all()
            raise
        self._is_counted = True
        if self._failed_too_often:
            failed = self.tally.failures - self._failed_before
            raise JobError(
                f"{failed:,} {'account' if failed == 1 else 'accounts'} failed, and at most "
                f"{self.max_failures:,} may fail (--max-failures, or max_failures=). "
                "The remaining accounts were not started"
            )

    async def _process(
        self,
        job: Job,
        shards: AsyncIterator[Shard],
        save: Callable[[Sequence[AccountResult]], Awaitable[int]],
        withdraw: Callable[[Sequence[Target]], Awaitable[None]] | None,
    ) -> None:
        in_flight = self.in_flight
        async with (
            self.session.run(job, shards) as outcomes,
            Arrivals(outcomes, _MAX_WAITING, self.abort) as arrivals,
        ):
            async for batch in arrivals:
                # A shard may run twice: keep the first result of each account.
                first = {one.target.account_sid: one for one in reversed(_results(batch))}
                results = [one for sid, one in first.items() if sid in in_flight]
                records = await save(results)
                in_flight.difference_update(first)
                self._report(results, records)
                not_begun = [one for one in _not_begun(batch) if one.account_sid in in_flight]
                if not_begun and withdraw is not None:
                    await withdraw(not_begun)
                in_flight.difference_update(one.account_sid for one in not_begun)

    async def set_aside(
        self, targets: list[Target], save: Callable[[Sequence[AccountResult]], Awaitable[int]]
    ) -> list[Target]:
        """Record the accounts that have a problem as failed. Return the others."""
        problems = [
            failed(target, "CredentialsError", target.problem)
            for target in targets
            if target.problem is not None
        ]
        if problems:
            self._report(problems, await save(problems))
        return [target for target in targets if target.problem is None]

    async def failures(
        self,
        write: Callable[[], Failures],
        read: Callable[[], Failures],
        ending: Ending,
    ) -> Failures:
        """Return the failures of the job.

        Args:
            write: Writes the failures file and returns the failures. Blocks.
            read: Returns the failures if the file cannot be written. Blocks.
            ending: Catches errors.
        """
        with ending.caught():
            return await self.disk(write)
        with ending.caught():
            return await self.disk(read)
        return Failures(0, (), None)

    @asynccontextmanager
    async def phase(self, name: str, total: int | None = None) -> AsyncIterator[None]:
        """Report the start of a phase, and its number of accounts once that is known."""
        self.notifier.phase(name)
        self.notifier.started(total)

        async def count() -> None:
            # The job reports this error when it lists the accounts itself.
            with suppress(MarketplaceError):
                self.notifier.started(await self._count())

        counts = total is None and self.notifier.is_needed
        task = asyncio.create_task(count()) if counts else None
        try:
            yield
        finally:
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _batches(self) -> AsyncIterator[tuple[str | None, list[Target]]]:
        """Yield accounts in batches of at most the shard size, until the job is stopped.

        For a remote executor, each batch comes with the link to its page of the account list.
        """
        size = self.executor.shard_size
        batch: list[Target] = []
        page: str | None = None
        recent: dict[str, None] = {}
        repeated = 0
        self.not_selected = 0
        by_page = size if self.executor.is_remote else None
        async with iterating(self.connection.accounts(by_page)) as targets:
            async for target in targets:
                if self.stopped:
                    await self._count_rest(target, targets)
                    return
                if batch and self.connection.page != page:
                    yield page, batch
                    batch = []
                page = self.connection.page
                # An account can be listed twice if the list changes while it is read.
                if target.account_sid in recent:
                    repeated += 1
                    if repeated > _MAX_REPEATED:
                        raise JobError(
                            f"the list of accounts keeps repeating its last {len(recent):,}"
                        )
                    continue
                repeated = 0
                recent[target.account_sid] = None
                if len(recent) > _MAX_RECENT:
                    del recent[next(iter(recent))]
                if not self.is_selected(target):
                    self.not_selected += 1
                    continue
                batch.append(target)
                if len(batch) == size:
                    yield page, batch
                    batch = []
        if batch and not self.stopped:
            yield page, batch

    async def _count(self) -> int:
        if self.is_selected is _is_any:
            return await self.connection.count()
        async with iterating(self.connection.accounts()) as targets:
            return sum([1 async for target in targets if self.is_selected(target)])

    async def _count_all(self) -> None:
        """List the accounts again, to count those that a failed job did not reach."""
        if self._is_counted:
            return
        with suppress(TimeoutError, MarketplaceError, OSError):
            async with asyncio.timeout(_COUNT_TIMEOUT):
                self.tally.listed = max(self.tally.listed, await self._count())

    async def _count_rest(self, first: Target, others: AsyncIterator[Target]) -> None:
        """Count the accounts that a stopped job will not start, unless that takes too long."""
        if self._is_counted or (self.abort is not None and self.abort.is_set()):
            return
        self._count_one(first)
        with suppress(TimeoutError, MarketplaceError):
            async with asyncio.timeout(_COUNT_TIMEOUT):
                async for target in others:
                    self._count_one(target)

    def _count_one(self, target: Target) -> None:
        if self.is_selected(target):
            self.tally.listed += 1
        else:
            self.not_selected += 1

    def _report(self, results: Iterable[AccountResult], records: int) -> None:
        for one in results:
            if one.failure is not None:
                self.notifier.failed(one.target, one.failure)
            self.notifier.advanced()
        self.notifier.counted(records, self.session.stats)
        if self.executor.is_remote:
            self.notifier.workers(self.workers)


def check_timeout(seconds: float | None) -> None:
    """Raise unless this is a positive number of seconds, or None."""
    if seconds is None:
        return
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"account_timeout: must be a number of seconds, got {seconds!r}")
    if not seconds > 0:
        raise ValueError(f"account_timeout: must be more than 0 seconds, got {seconds!r}")


def _results(outcomes: Iterable[Outcome]) -> list[AccountResult]:
    results: list[AccountResult] = []
    for outcome in outcomes:
        if isinstance(outcome, ShardFailure):
            results += (
                AccountResult(target, failure=failure_of(target, outcome.error))
                for target in outcome.targets
            )
        elif isinstance(outcome, AccountResult):
            results.append(outcome)
    return results


def _not_begun(outcomes: Iterable[Outcome]) -> list[Target]:
    return [target for one in outcomes if isinstance(one, NotBegun) for target in one.targets]


def failed(target: Target, error: str, message: str) -> AccountResult:
    """Return the result of an account that failed before anything was done."""
    failure = Failure(target.account_sid, target.friendly_name, error, message)
    return AccountResult(target, failure=failure)


def entry_of(result: AccountResult, records: int = 0) -> Entry:
    """Return the journal entry for the result of an account."""
    target = result.target
    return Entry(target.account_sid, target.friendly_name, records, result.failure)
