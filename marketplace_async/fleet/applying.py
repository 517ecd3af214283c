"""Apply: what is planned is done, with a journal before and after each write."""

import asyncio
import inspect
import os
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeAlias, cast

import attrs

from .. import bulk
from ..resources.available_add_ons import AvailableAddOn
from ._engine.checkpoint import beside
from ._engine.driver import Driver
from ._engine.journal import Done, Failure, Failures, JobError, Journal, Write, WriteOutcome
from ._engine.shards import AccountResult, Shard, TakeSteps
from .desired import Desired
from .executors import EmbeddedExecutor, Executor
from .planning import PlanReport, Summary, read_catalogue, read_plans
from .sources import Source, Target
from .steps import AccountPlan

Approve: TypeAlias = Callable[[PlanReport], bool | Awaitable[bool]]


@attrs.frozen(kw_only=True)
class ApplyReport:
    """What came of applying a desired state.

    Attributes:
        plan: What was to be done.
        approved: Whether it was approved; else nothing was done. Nothing to do needs no approval.
        changed: Accounts on which something was done.
        writes: What came of the steps: how many are "done", "unchanged" (they were done already),
            "failed", "unknown" (they may have happened: the next run finds out) and "skipped".
        interrupted: Writes that a run before had begun and not ended. What came of them was read
            from the accounts, as everything is.
        failures: The accounts that failed, in the plan or in a write.
        complete: Whether it came to its end. Run it again otherwise.
    """

    plan: PlanReport
    approved: bool
    changed: int
    writes: Counter[WriteOutcome]
    interrupted: int
    failures: Failures
    complete: bool


async def apply(
    source: Source,
    desired: Desired,
    *,
    journal: str | os.PathLike[str],
    approve: Approve,
    executor: Executor = EmbeddedExecutor(),  # noqa: B008 - frozen
    progress: bulk.Progress | None = None,
    stop: asyncio.Event | None = None,
) -> ApplyReport:
    """Make the accounts as is desired.

    It plans first, has the plan approved, and does what was approved and no more. Each account is
    read again right before it is written. What is written is noted in the journal before and after,
    so that it can be told later what was done, and when.

    However it ends, a `kill -9` included, run it again: it reads what is there, and does what is
    left. Nothing is installed twice.

    Args:
        source: Where the accounts come from.
        desired: What is desired: see `load`.
        journal: The file of the journal, of SQLite; it is made if it is not there.
        approve: Is given the plan, and returns whether it is to be done; it can be async.
        executor: What runs the shards.
        progress: What is told how it goes.
        stop: Set it to end early: what is in flight is finished and noted.

    Returns:
        What was planned, and what came of it.

    Raises:
        ValueError, TypeError: An argument cannot be right.
        DesiredStateError: There is no such add-on, or it has no such extension.
        JobError: The journal is in use, is that of another job, or is none.
        MarketplaceError: The accounts cannot be listed, or the catalogue cannot be read.
        OSError: The journal cannot be written.
    """
    file = Path(journal)
    async with Driver(source, executor, progress, stop) as driver:
        offered = await read_catalogue(driver, desired)
        opened = await driver.disk.open(Journal, file)
        job = (await driver.disk(opened.facts)).get("job", "apply")
        if job != "apply":
            raise JobError(f"{file} is the journal of another job: {job}")
        return await _Run(driver, desired, opened, file).run(offered, approve)


@attrs.define
class _Run:
    driver: Driver
    desired: Desired
    journal: Journal
    file: Path
    name: str = attrs.field(factory=lambda: uuid.uuid4().hex)
    writes: Counter[WriteOutcome] = attrs.field(factory=Counter)
    changed: int = 0

    async def run(self, offered: dict[str, AvailableAddOn], approve: Approve) -> ApplyReport:
        interrupted = await self.driver.disk(self.journal.give_up_open_writes)
        await self.driver.disk(self.journal.begin, {"job": "apply", "run": self.name})
        plan = await self._plan(offered)
        approved = not plan.steps
        if plan.steps and plan.complete:
            answer = approve(plan)
            approved = bool(await answer if inspect.isawaitable(answer) else answer)
            if approved:
                async with self.driver.counting("apply", plan.to_change):
                    await self._apply()
        return ApplyReport(
            plan=plan,
            approved=approved,
            changed=self.changed,
            writes=self.writes,
            interrupted=interrupted,
            failures=await self._failures(),
            complete=not self.driver.stopped,
        )

    async def _plan(self, offered: dict[str, AvailableAddOn]) -> PlanReport:
        summary = Summary(self.desired)

        async def left(targets: list[Target]) -> list[Target]:
            known = await self.driver.disk(self.journal.known, _sids(targets))
            return [target for target in targets if target.account_sid not in known]

        def note(done: Sequence[Done], plans: Sequence[AccountPlan]) -> None:
            self.journal.plan(
                {one.account_sid: [step.key for step in one.steps] for one in plans if one.steps}
            )
            self.journal.commit(done)

        async def save(done: Sequence[Done], plans: Sequence[AccountPlan]) -> None:
            await self.driver.disk(note, done, plans)

        async with self.driver.counting("plan"):
            unmatched = await read_plans(
                self.driver,
                self.desired,
                offered,
                summary,
                left,
                save,
            )
        accounts, _, _ = await self.driver.disk(self.journal.totals)
        failures = await self._failures()
        return summary.report(accounts, failures, unmatched, complete=not self.driver.stopped)

    async def _apply(self) -> None:
        def begin(targets: list[Target]) -> dict[str, tuple[str, ...]]:
            # Before anything of it is handed out, and so before each write.
            planned = self.journal.planned(self.name, _sids(targets))
            self.journal.begin_writes(self.name, planned)
            return planned

        async def shard_of(targets: list[Target]) -> Shard | None:
            planned = await self.driver.disk(begin, targets)
            left = tuple(one for one in targets if one.account_sid in planned)
            return Shard(left, TakeSteps(self.desired, planned)) if left else None

        async def save(results: Sequence[AccountResult]) -> int:
            return await self.driver.disk(self._end, results)

        await self.driver.run(shard_of, save, count_others=False)
        if not self.driver.stopped:
            await self.driver.disk(self._note_those_that_are_gone)

    def _end(self, results: Sequence[AccountResult]) -> int:
        """Note what came of some accounts, and return how many steps were done."""
        writes = {one.target.account_sid: self._writes(one) for one in results}
        self.journal.end_writes(self.name, writes)
        failures = [failure for one in results if (failure := _failure_of(one)) is not None]
        self.journal.commit([_failed(failure) for failure in failures])
        done = 0
        for of_account in writes.values():
            outcomes: Counter[WriteOutcome] = Counter(one.outcome for one in of_account)
            self.writes += outcomes
            self.changed += outcomes["done"] > 0
            done += outcomes["done"]
        return done

    def _writes(self, result: AccountResult) -> Sequence[Write]:
        if result.failure is None:
            return cast(tuple[Write, ...], result.value)
        # Whoever worked it is gone, or failed as nobody foresaw: it may have written before.
        sid, error = result.target.account_sid, result.failure
        return [
            Write(key, "unknown", message=error.message, error=error.error)
            for key in self.journal.begun(self.name, sid)
        ]

    def _note_those_that_are_gone(self) -> None:
        self.journal.commit(
            [
                _failed(
                    Failure(sid, None, "NotFoundError", "it is not among the accounts any more")
                )
                for sid in self.journal.never_begun(self.name)
            ]
        )

    async def _failures(self) -> Failures:
        file = beside(self.file, "failures.jsonl")
        return await self.driver.disk(self.journal.write_failures, file)


def _failed(failure: Failure) -> Done:
    return Done(failure.account_sid, failure.friendly_name, 0, failure)


def _failure_of(result: AccountResult) -> Failure | None:
    if result.failure is not None:
        return result.failure
    failed = [one for one in cast(tuple[Write, ...], result.value) if one.error is not None]
    if not failed:
        return None
    target = result.target
    message = "; ".join(f"{one.step}: {one.message}" for one in failed)
    return Failure(target.account_sid, target.friendly_name, failed[0].error or "", message)


def _sids(targets: Sequence[Target]) -> list[str]:
    return [target.account_sid for target in targets]
