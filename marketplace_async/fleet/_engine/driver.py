"""The driver of a job: it alone hands out shards, and writes journal and output."""

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
from .journal import Done, Failure
from .shards import AccountResult, Shard, failure_of, work

# Accounts of a shard, which are worked through at once; with 8 shards, twice the client's slots.
SHARD_SIZE = 16


class AccountError(MarketplaceError):
    """One account of a job failed.

    Attributes:
        failure: Which, and why.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure

    def __str__(self) -> str:
        return self.failure.message


@attrs.define
class Driver:
    """What the jobs share: the accounts, who works them, and who is told.

    Args:
        source: Where the accounts come from.
        executor: What runs the shards.
        progress: What is told how it goes.
        stop: No shard is begun once it is set; those that are, end.
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
        """Whether the job was stopped before its end."""
        return self.stop is not None and self.stop.is_set()

    async def targets(
        self, see: Callable[[Target], None] | None = None
    ) -> AsyncIterator[list[Target]]:
        """Give the accounts, so many at a time, until the job is stopped."""
        batch: list[Target] = []
        async with iterating(self.connection.accounts()) as targets:
            async for target in targets:
                if self.stopped:
                    return
                if see is not None:
                    see(target)
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
        see: Callable[[Target], None] | None = None,
        count_others: bool = True,
    ) -> None:
        """Work through all accounts.

        Args:
            shard_of: Makes a shard of those that are still to be worked through, if there are any.
            save: Makes certain what came of a shard, and returns how many records that is. It gets
                each account once, however often a shard runs.
            see: Is told each account.
            count_others: Whether those without a shard count as done.
        """
        in_flight: set[str] = set()

        async def shards() -> AsyncIterator[Shard]:
            async with iterating(self.targets(see)) as batches:
                async for batch in batches:
                    # An account that moved while it was listed comes twice.
                    unique = {one.account_sid: one for one in batch}
                    left = [one for sid, one in unique.items() if sid not in in_flight]
                    shard = await shard_of(left) if left else None
                    if count_others:
                        self._advanced(len(batch) - len(shard.targets if shard else ()))
                    if shard is not None:
                        in_flight.update(one.account_sid for one in shard.targets)
                        yield shard

        async with self.executor.run(work, self.connection, shards()) as outcomes:
            async for outcome in outcomes:
                # A shard may run twice: the first result of an account counts.
                results = [one for sid, one in _by_account(outcome).items() if sid in in_flight]
                records = await save(results)
                in_flight.difference_update(one.target.account_sid for one in results)
                self._told(results, records)

    @asynccontextmanager
    async def counting(self, phase: str, total: int | None = None) -> AsyncIterator[None]:
        """Tell that a phase begins, and how many accounts there are as soon as that is known."""
        progress = self.progress
        if progress is None:
            yield
            return
        if isinstance(progress, Progress):
            progress.phase(phase)
        progress.started(total)

        async def count() -> None:
            # The job itself will say what is wrong with the list.
            with suppress(MarketplaceError):
                progress.started(await self.connection.count())

        task = asyncio.create_task(count()) if total is None else None
        try:
            yield
        finally:
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def _advanced(self, count: int) -> None:
        if self.progress is not None and count:
            self.progress.advanced(count)

    def _told(self, results: Iterable[AccountResult], records: int) -> None:
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
    results = outcome.value
    if results is None:
        error = outcome.error
        assert error is not None
        results = tuple(
            AccountResult(target, failure=failure_of(target, error))
            for target in outcome.item.targets
        )
    by_account: dict[str, AccountResult] = {}
    for one in results:
        by_account.setdefault(one.target.account_sid, one)
    return by_account


def done_of(result: AccountResult, records: int = 0) -> Done:
    """Return what a journal notes of an account."""
    target = result.target
    return Done(target.account_sid, target.friendly_name, records, result.failure)
