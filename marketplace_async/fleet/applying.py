"""Apply: perform the planned steps, with a journal entry before and after each write."""

import asyncio
import getpass
import inspect
import os
import platform
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import attrs

from .. import bulk
from .._core.arguments import check_positive_int
from .._core.serializable import Serializable
from .._core.threads import to_daemon_thread
from ._engine.checkpoint import beside, open_for_apply
from ._engine.driver import ACCOUNT_TIMEOUT, Driver
from ._engine.ending import Ending
from ._engine.entries import Entry, Failure, Failures, Kept, Write, WriteOutcome
from ._engine.journal import Journal
from ._engine.shards import AccountResult, Shard
from ._engine.tally import Counts, State
from .catalogue import Catalogue, read_catalogue
from .desired import Desired
from .digests import Digests, PlanKey
from .executors import EmbeddedExecutor, Executor
from .plan_report import PlanReport, Summary
from .planning import Planner, PlanSteps
from .saved_plans import End, SavedPlan
from .sources import Source, Target
from .steps import AccountPlan
from .taking import TakeSteps

Approve: TypeAlias = Callable[[PlanReport], bool | Awaitable[bool]]

# Seconds: a person may have to come back from a weekend's end, but not from a holiday.
APPROVE_TIMEOUT: Final = 86_400.0
_MAX_NOTES: Final = 100


@attrs.frozen(kw_only=True)
class ApplyReport(Serializable):
    """The result of applying a desired state.

    Attributes:
        plan: The plan.
        approved: Whether the plan was approved. If not, nothing was changed. A plan without steps
            needs no approval.
        counts: What became of the accounts. Without approval, those to change are not begun.
        changed: Number of accounts that were changed.
        writes: Number of steps by outcome: "done", "unchanged" (already done), "failed", "unknown"
            (may have taken effect; the next run checks) and "skipped".
        interrupted: Number of writes that an earlier run started and did not finish. This run read
            their effects from the accounts, and the journal has them.
        notes: What the service keeps instead of a configuration that was sent: one message for each
            such configuration, at most 100.
        failures: Accounts that failed, in the plan or in a write, or that changed since the plan.
        complete: Whether apply finished. If not, run it again.
    """

    plan: PlanReport
    approved: bool
    counts: Counts
    changed: int
    writes: Counter[WriteOutcome]
    interrupted: int
    notes: tuple[str, ...]
    failures: Failures
    complete: bool


async def apply(
    source: Source,
    desired: Desired,
    *,
    journal: str | os.PathLike[str],
    approve: Approve,
    plan: str | os.PathLike[str] | None = None,
    accept_secret_changes: bool = False,
    max_removals: int | None = None,
    approve_timeout: float | None = APPROVE_TIMEOUT,
    key: PlanKey | None = None,
    credentials: str | None = None,
    account_timeout: float | None = ACCOUNT_TIMEOUT,
    executor: Executor = EmbeddedExecutor(),  # noqa: B008 - frozen
    progress: bulk.Progress | None = None,
    stop: asyncio.Event | None = None,
    abort: asyncio.Event | None = None,
) -> ApplyReport:
    """Bring every account to the desired state.

    Apply plans first, asks for approval, and performs only the approved steps. It reads each
    account again before it writes. A step is skipped if what it is about has changed since the
    plan: the installation, the Add-on, its configuration, or the state of the extension. The
    journal records each write before and after, as an audit log.

    Before the first write to an account, a response has shown that the credentials are its own. If
    nothing is installed on it and an API key may not read accounts, the first installation shows
    that, and there is no second write if it does not.

    After any interruption, `kill -9` included, run it again: it reads the accounts and does the
    remaining steps. Nothing is installed twice.

    Args:
        source: Where the accounts come from.
        desired: The desired state, from `load`.
        journal: The journal's SQLite file. Created if it does not exist.
        approve: Receives the plan and returns whether to apply it. May be async. Otherwise it runs
            in a thread of its own, so that it may block.
        plan: A plan that `plan(out=)` saved. Its steps are approved and performed, instead of those
            of a new plan. Accounts that it does not name are left as they are. Secret values are
            those of `desired`; a step is skipped if they have changed since the plan.
        accept_secret_changes: Perform a plan that was saved without a key. It does not tell whether
            secret values have changed.
        max_removals: Reject a plan that removes more installed Add-ons than this (0 or more).
            Then nobody is asked for approval. None sets no limit.
        approve_timeout: How long to wait for the approval, in seconds. None sets no limit.
        key: The key of the digests in the plan. Defaults to a random one. A saved plan needs the
            key that it was made with.
        credentials: What the journal records as the credentials of the run, such as the name of a
            profile. It must not be a secret. The journal also has the user and the host.
        account_timeout: How long one account may take, in seconds. Then it fails, and the others
            continue. None sets no limit.
        executor: Runs the shards.
        progress: Receives progress updates. If it raises, that is logged, and the job continues.
        stop: Set this event to stop early. Requests in flight finish and are recorded.
        abort: Set this event to stop at once. Requests in flight are cancelled, and the outcome of
            their writes is unknown. The next run checks.

    Returns:
        The plan and the results of its steps.

    Raises:
        ValueError, TypeError: An argument is invalid.
        TimeoutError: There was no approval in time. Nothing was changed.
        DesiredStateError: An Add-on or an extension does not exist in the catalogue, or a
            configuration does not match the schema of its Add-on.
        JobError: The journal is in use, belongs to another job or fleet, is damaged, or is not a
            journal. Or the saved plan is for another fleet or desired state, was edited, or needs
            another key. Or the plan has too many removals.
        JobEndedError: An error ended the job early. Its `report` says what was done.
        MarketplaceError: The accounts cannot be listed, or the catalogue cannot be read.
        OSError: The journal cannot be written, or is a file that the job reads.
    """
    file = Path(journal)
    if accept_secret_changes and plan is None:
        raise ValueError("accept_secret_changes: requires a saved plan")
    if max_removals is not None and max_removals != 0:
        max_removals = check_positive_int(max_removals, "max_removals")
    async with Driver(
        source, executor, progress, stop, abort, account_timeout=account_timeout
    ) as driver:
        settings = {
            "job": "apply",
            **await driver.connection.identity(),
            "desired": desired.digest(),
        }
        inputs = [*driver.connection.files, *desired.files]
        saved: SavedPlan | None = None
        if plan is not None:
            saved = await driver.disk(SavedPlan, Path(plan), key)
            saved.check(settings, desired, accept_secret_changes=accept_secret_changes)
            inputs.append(saved.file)
        opened = await driver.disk.open(open_for_apply, file, settings, inputs)
        catalogue = await read_catalogue(driver, desired)
        digests = Digests((key or PlanKey.random()) if saved is None else saved.key, desired.secret)
        run = _Run(
            *(driver, desired, digests, opened, file, settings),
            *(credentials, saved, max_removals),
        )
        report = await run.run(catalogue, partial(_answer, approve, seconds=approve_timeout))
    return run.ending.report(report)


@attrs.define
class _Run:
    driver: Driver
    desired: Desired
    digests: Digests
    journal: Journal
    file: Path
    settings: dict[str, str]
    credentials: str | None
    saved: SavedPlan | None = None
    max_removals: int | None = None
    name: str = attrs.field(factory=lambda: uuid.uuid4().hex)
    ending: Ending = attrs.field(factory=Ending)
    writes: Counter[WriteOutcome] = attrs.field(factory=Counter)
    changed: int = 0
    # Accounts that wait for the approval.
    to_take: int = 0
    # The plans of accounts that are being changed.
    plans: dict[str, AccountPlan] = attrs.field(factory=dict)
    kept: dict[str, Kept] = attrs.field(factory=dict)

    async def run(
        self,
        catalogue: Catalogue,
        approved_by: Callable[[PlanReport], Awaitable[bool]],
    ) -> ApplyReport:
        disk = self.driver.disk
        interrupted = await disk(self.journal.close_open_writes)
        await disk(self.journal.begin, {**self.settings, "run": self.name})
        digest = self.desired.digest()
        await disk(lambda: self.journal.begin_run(self.name, self.credentials, _user(), digest))
        saved = self.saved
        plan = await (self._plan(catalogue) if saved is None else self._saved_plan(saved))
        approved = not plan.steps
        if plan.steps and plan.complete:
            if self.max_removals is not None:
                plan.check_removals(self.max_removals)
            approved = await approved_by(plan)
            if approved:
                with self.ending.caught():
                    async with self.driver.phase("apply", plan.to_change):
                        await self._apply()
        if self.driver.in_flight and approved:
            # Their writes were cancelled. The next run looks what has become of them.
            for sid in self.driver.in_flight:
                self._end(sid, "unknown")
            with self.ending.caught():
                self.writes["unknown"] += await disk(self.journal.close_open_writes)
        return ApplyReport(
            plan=plan,
            approved=approved,
            counts=self.driver.counts(),
            changed=self.changed,
            writes=self.writes,
            interrupted=interrupted,
            notes=tuple(one.message for one in self.kept.values()),
            failures=await self._failures(),
            complete=not self.driver.stopped and self.ending.error is None,
        )

    async def _plan(self, catalogue: Catalogue) -> PlanReport:
        driver, journal = self.driver, self.journal
        summary = Summary(self.desired)

        def commit(entries: Sequence[Entry], plans: Sequence[AccountPlan]) -> None:
            journal.settle_writes(plans)
            journal.save_plans(plans)
            journal.commit(entries)

        async def save(entries: Sequence[Entry], plans: Sequence[AccountPlan]) -> None:
            await driver.disk(commit, entries, plans)
            # They end when their steps are taken.
            to_take = sum(1 for plan in plans if plan.steps and not plan.problems)
            self.to_take += to_take
            driver.tally.add("done", -to_take)

        task = PlanSteps(self.desired, self.digests, catalogue)
        planner = Planner(driver, task, summary, journal.finished, save)
        with self.ending.caught():
            async with driver.phase("plan"):
                await planner.run()
        driver.in_flight.clear()
        counts = driver.counts()
        planned = attrs.evolve(
            counts, done=counts.done + self.to_take, not_begun=counts.not_begun - self.to_take
        )
        return summary.report(
            planned,
            await self._failures(),
            planner.unmatched,
            complete=not driver.stopped and self.ending.error is None,
        )

    async def _saved_plan(self, saved: SavedPlan) -> PlanReport:
        """Take the plan from a file instead of making it.

        Unknown writes of earlier runs stay unknown: the plan may be older than they are.
        """
        driver, journal = self.driver, self.journal
        summary = Summary(self.desired)

        def read() -> End:
            end: End | None = None
            for batch in saved.batches():
                plans = [one for one in batch if isinstance(one, AccountPlan)]
                journal.save_plans(plans)
                journal.commit(
                    Entry(one.account_sid, one.friendly_name, len(one.steps)) for one in plans
                )
                journal.commit(_failed(one) for one in batch if isinstance(one, Failure))
                for one in plans:
                    summary.add(one)
                self.to_take += sum(1 for one in plans if one.steps and not one.problems)
                end = next((one for one in batch if isinstance(one, End)), end)
            assert end is not None  # the seal is that of a whole file
            return end

        end = await driver.disk(read)
        failures = await self._failures()
        driver.tally.listed = end.accounts
        driver.tally.add("failed", failures.count)
        driver.tally.add("done", end.accounts - failures.count - self.to_take)
        planned = Counts(done=end.accounts - failures.count, failed=failures.count)
        return summary.report(planned, failures, end.unmatched, complete=True)

    async def _apply(self) -> None:
        await self.driver.run(self._shard_of, self._save)
        if not self.driver.stopped:
            await self._save_unlisted()

    async def _shard_of(self, targets: list[Target]) -> Shard | None:
        def begin() -> dict[str, AccountPlan]:
            # Record the writes before the shard starts, and so before any write is sent.
            plans = self.journal.planned(self.name, _sids(targets))
            self.journal.begin_writes(self.name, plans.values())
            return plans

        plans = await self.driver.disk(begin)
        remaining = tuple(target for target in targets if target.account_sid in plans)
        if not remaining:
            return None
        self.plans |= plans
        task = TakeSteps(
            self.desired,
            self.digests,
            {sid: plan.steps for sid, plan in plans.items()},
            frozenset(sid for sid, plan in plans.items() if plan.problems),
            {one.sent: one.kept for one in self.kept.values()},
        )
        return Shard(remaining, task)

    async def _save(self, results: Sequence[AccountResult]) -> int:
        """Record the results of some accounts and return the number of steps done."""
        writes = await self.driver.disk(self._commit, results)
        done = 0
        for result in results:
            sid = result.target.account_sid
            outcomes: Counter[WriteOutcome] = Counter(write.outcome for write in writes[sid])
            self.writes += outcomes
            self.changed += outcomes["done"] > 0
            done += outcomes["done"]
            self._end(sid, _state_of(result))
            for write in writes[sid]:
                if write.kept is not None and len(self.kept) < _MAX_NOTES:
                    self.kept.setdefault(write.kept.sent, write.kept)
        return done

    def _end(self, sid: str, state: State) -> None:
        """Count an account whose steps were taken."""
        tally = self.driver.tally
        if not self.plans.pop(sid).problems:
            tally.add(state)
        elif state == "unknown":  # it counts as failed since it was planned
            tally.add("failed", -1)
            tally.add("unknown")

    def _commit(self, results: Sequence[AccountResult]) -> dict[str, Sequence[Write]]:
        writes = {result.target.account_sid: self._writes(result) for result in results}
        self.journal.end_writes(self.name, writes)
        failures = [failure for result in results if (failure := _failure_of(result)) is not None]
        self.journal.commit([_failed(failure) for failure in failures])
        return writes

    def _writes(self, result: AccountResult) -> Sequence[Write]:
        if result.failure is None:
            writes: tuple[Write, ...] = result.value
            return writes
        # The worker died or failed unexpectedly, possibly after it had written.
        sid, error = result.target.account_sid, result.failure
        return [
            Write(key, "unknown", message=error.message, error=error.error)
            for key in self.journal.open_writes(self.name, sid)
        ]

    async def _save_unlisted(self) -> None:
        message = "the account is no longer listed"

        def commit() -> int:
            """Return how many did not count as failed before."""
            failed = {failure.account_sid for failure in self.journal.failures()}
            unlisted = list(self.journal.not_started(self.name))
            self.journal.commit(
                [_failed(Failure(sid, None, "NotFoundError", message)) for sid in unlisted]
            )
            return sum(sid not in failed for sid in unlisted)

        self.driver.tally.add("failed", await self.driver.disk(commit))

    async def _failures(self) -> Failures:
        write = self.journal.write_failures
        file = beside(self.file, "failures.jsonl")
        return await self.driver.failures(partial(write, file), partial(write, None), self.ending)


def _failed(failure: Failure) -> Entry:
    return Entry(failure.account_sid, failure.friendly_name, 0, failure)


def _failure_of(result: AccountResult) -> Failure | None:
    if result.failure is not None:
        return result.failure
    failed = [write for write in result.value if write.error is not None]
    if not failed:
        return None
    target = result.target
    message = "; ".join(f"{write.step}: {write.message}" for write in failed)
    return Failure(target.account_sid, target.friendly_name, failed[0].error or "", message)


def _state_of(result: AccountResult) -> State:
    writes: Sequence[Write] = () if result.failure is not None else result.value
    outcomes = {write.outcome for write in writes}
    if result.failure is not None or "unknown" in outcomes:
        return "unknown"
    if "failed" in outcomes:
        return "failed"
    return "skipped" if "skipped" in outcomes else "done"


async def _answer(approve: Approve, plan: PlanReport, seconds: float | None) -> bool:
    """Ask for approval. A function that is not async may block: it runs in a thread of its own."""
    async with asyncio.timeout(seconds):
        if inspect.iscoroutinefunction(approve):
            return bool(await approve(plan))
        approval = await to_daemon_thread(approve, plan)
        return bool(await approval if inspect.isawaitable(approval) else approval)


def _user() -> str:
    """Return who runs this process, and where: user@host."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError, ImportError):  # such as a container without user names
        name = "unknown"
    return f"{name}@{platform.node() or 'unknown'}"


def _sids(targets: Sequence[Target]) -> list[str]:
    return [target.account_sid for target in targets]
