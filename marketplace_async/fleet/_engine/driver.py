"""The driver of a job: creates shards, hands them to the executor and saves their results."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Self

import attrs

from ... import bulk
from ..._core.threads import WorkerThread
from ...errors import MarketplaceError
from ..executors import EmbeddedExecutor, Executor, ShardOutcome
from ..progress import Progress
from ..sources import Connection, Source, Target, iterating
from .journal import Entry, Failure
from .shards import AccountResult, Shard, failure_of, work

# Accounts per shard, processed concurrently. 8 shards are twice the client's default concurrency.
SHARD_SIZE = 16


class AccountError(MarketplaceError):
    """One account of a job failed.

    Attributes:
        failure: The account and the reason.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure

    def _text(self) -> str:
        return self.failure.message


@attrs.define
class Driver:
    """The part that all jobs share: lists accounts, runs shards and reports progress.

    Args:
        source: Where the accounts come from.
        executor: Runs the shards.
        progress: Receives progress updates.
        stop: Once set, no shard is started; running shards finish.
    """

    source: Source
    executor: Executor = attrs.field(factory=EmbeddedExecutor)
    progress: bulk.Progress | None = None
    stop: asyncio.Event | None = None
    connection: Connection = attrs.field(init=False)
    disk: WorkerThread = attrs.field(init=False)
    _stack: AsyncExitStack = attrs.field(init=False, factory=AsyncExitStack)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self.disk = await stack.enter_async_context(WorkerThread())
            self.connection = await stack.enter_async_context(self.source.open())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def stopped(self) -> bool:
        """Whether a stop was requested."""
        return self.stop is not None and self.stop.is_set()

    async def batches(
        self, on_target: Callable[[Target], None] | None = None
    ) -> AsyncIterator[list[Target]]:
        """Yield the accounts in batches of the size of a shard, until the job is stopped."""
        batch: list[Target] = []
        async with iterating(self.connection.accounts()) as targets:
            async for target in targets:
                if self.stopped:
                    return
                if on_target is not None:
                    on_target(target)
                batch.append(target)
                if len(batch) == SHARD_SIZE:
                    yield batch
                    batch = []
        if batch and not self.stopped:
            yield batch

    async def run(
        self,
        shard_of: Callable[[list[Target]], Awaitable[Shard | None]],
        save: Callable[[Sequence[AccountResult]], Awaitable[int]],
        *,
        on_target: Callable[[Target], None] | None = None,
        count_skipped: bool = True,
    ) -> None:
        """Process all accounts.

        Args:
            shard_of: Creates a shard from those accounts of a batch that still need work. Returns
                None if there are none.
            save: Saves the results of a shard durably and returns the number of records. Receives
                each account once, even if its shard runs more than once.
            on_target: Called with each account listed.
            count_skipped: Whether accounts that need no work advance the progress.
        """
        in_flight: set[str] = set()

        async def shards() -> AsyncIterator[Shard]:
            async with iterating(self.batches(on_target)) as batches:
                async for batch in batches:
                    # An account can be listed twice if the list changes while it is read.
                    unique = {target.account_sid: target for target in batch}
                    idle = [target for sid, target in unique.items() if sid not in in_flight]
                    shard = await shard_of(idle) if idle else None
                    if count_skipped:
                        self._advance(len(batch) - len(shard.targets if shard else ()))
                    if shard is not None:
                        in_flight.update(target.account_sid for target in shard.targets)
                        yield shard

        async with self.executor.run(work, self.connection, shards()) as outcomes:
            async for outcome in outcomes:
                # A shard may run twice: keep the first result of each account.
                results = [one for sid, one in _by_account(outcome).items() if sid in in_flight]
                records = await save(results)
                in_flight.difference_update(one.target.account_sid for one in results)
                self._report(results, records)

    @asynccontextmanager
    async def phase(self, name: str, total: int | None = None) -> AsyncIterator[None]:
        """Report a phase to the progress, and its number of accounts as soon as it is known."""
        progress = self.progress
        if progress is None:
            yield
            return
        if isinstance(progress, Progress):
            progress.phase(name)
        progress.started(total)

        async def count() -> None:
            # The job reports this error when it lists the accounts itself.
            with suppress(MarketplaceError):
                progress.started(await self.connection.count())

        task = asyncio.create_task(count()) if total is None else None
        try:
            yield
        finally:
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def _advance(self, count: int) -> None:
        if self.progress is not None and count:
            self.progress.advanced(count)

    def _report(self, results: Iterable[AccountResult], records: int) -> None:
        progress = self.progress
        if progress is None:
            return
        for one in results:
            if one.failure is not None:
                progress.failed(one.target, AccountError(one.failure))
            progress.advanced()
        if isinstance(progress, Progress):
            progress.counted(records, self.connection.stats)


def _by_account(outcome: ShardOutcome) -> dict[str, AccountResult]:
    error = outcome.error
    if error is None:
        results = outcome.value
    else:
        results = tuple(
            AccountResult(target, failure=failure_of(target, error))
            for target in outcome.item.targets
        )
    by_account: dict[str, AccountResult] = {}
    for one in results:
        by_account.setdefault(one.target.account_sid, one)
    return by_account


def entry_of(result: AccountResult, records: int = 0) -> Entry:
    """Return the journal entry for the result of an account."""
    target = result.target
    return Entry(target.account_sid, target.friendly_name, records, result.failure)
