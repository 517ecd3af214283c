"""Apply: perform the planned steps, with a journal entry before and after each write."""

import asyncio
import inspect
import os
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import attrs

from .. import bulk
from .._core.masking import redacted
from .._core.pagination import complete
from ..client import MarketplaceClient
from ..errors import (
    AmbiguousOutcomeError,
    MarketplaceError,
    NotEnsuredError,
    NotFoundError,
    UnreadableFieldError,
    UnusableResponseError,
)
from ..resources.available_add_ons import AvailableAddOn
from ..retry import Verdict, verdict_on
from ._engine.checkpoint import beside
from ._engine.driver import Driver
from ._engine.journal import Entry, Failure, Failures, JobError, Journal, Write, WriteOutcome
from ._engine.shards import AccountResult, Shard, Task
from .desired import Desired, Wanted
from .executors import EmbeddedExecutor, Executor
from .plan_report import PlanReport, Summary
from .planning import observe, read_catalogue, read_plans
from .sources import Source, Target
from .steps import AccountPlan, Observed, Step, steps_for

Approve: TypeAlias = Callable[[PlanReport], bool | Awaitable[bool]]


@attrs.frozen(kw_only=True)
class ApplyReport:
    """The result of applying a desired state.

    Attributes:
        plan: The plan.
        approved: Whether the plan was approved. If not, nothing was changed. A plan without steps
            needs no approval.
        changed: Number of accounts that were changed.
        writes: Number of steps by outcome: "done", "unchanged" (already done), "failed", "unknown"
            (may have taken effect; the next run checks) and "skipped".
        interrupted: Number of writes that an earlier run started and did not finish. This run read
            their effects from the accounts.
        failures: Accounts that failed, in the plan or in a write.
        complete: Whether apply finished. If not, run it again.
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
    """Bring every account to the desired state.

    Apply plans first, asks for approval, and performs only the approved steps. It reads each
    account again before it writes. The journal records each write before and after, as an audit
    log.

    After any interruption, `kill -9` included, run it again: it reads the accounts and does the
    remaining steps. Nothing is installed twice.

    Args:
        source: Where the accounts come from.
        desired: The desired state, from `load`.
        journal: The journal's SQLite file. Created if it does not exist.
        approve: Receives the plan and returns whether to apply it. May be async.
        executor: Runs the shards.
        progress: Receives progress updates.
        stop: Set this event to stop early. Requests in flight finish and are recorded.

    Returns:
        The plan and the results of its steps.

    Raises:
        ValueError, TypeError: An argument is invalid.
        DesiredStateError: An Add-on or an extension does not exist in the catalogue.
        JobError: The journal is in use, belongs to another job, or is not a journal.
        MarketplaceError: The accounts cannot be listed, or the catalogue cannot be read.
        OSError: The journal cannot be written.
    """
    file = Path(journal)
    async with Driver(source, executor, progress, stop) as driver:
        catalogue = await read_catalogue(driver, desired)
        opened = await driver.disk.open(Journal, file)
        job = (await driver.disk(opened.settings)).get("job", "apply")
        if job != "apply":
            raise JobError(f"{file} is the journal of another job: {job}")
        return await _Run(driver, desired, opened, file).run(catalogue, approve)


@attrs.define
class _Run:
    driver: Driver
    desired: Desired
    journal: Journal
    file: Path
    name: str = attrs.field(factory=lambda: uuid.uuid4().hex)
    writes: Counter[WriteOutcome] = attrs.field(factory=Counter)
    changed: int = 0

    async def run(self, catalogue: dict[str, AvailableAddOn], approve: Approve) -> ApplyReport:
        interrupted = await self.driver.disk(self.journal.close_open_writes)
        await self.driver.disk(self.journal.begin, {"job": "apply", "run": self.name})
        plan = await self._plan(catalogue)
        approved = not plan.steps
        if plan.steps and plan.complete:
            approval = approve(plan)
            approved = bool(await approval if inspect.isawaitable(approval) else approval)
            if approved:
                async with self.driver.phase("apply", plan.to_change):
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

    async def _plan(self, catalogue: dict[str, AvailableAddOn]) -> PlanReport:
        driver, journal = self.driver, self.journal
        summary = Summary(self.desired)

        async def unfinished(targets: list[Target]) -> list[Target]:
            finished = await driver.disk(journal.finished, _sids(targets))
            return [target for target in targets if target.account_sid not in finished]

        def commit(entries: Sequence[Entry], plans: Sequence[AccountPlan]) -> None:
            changes = [plan for plan in plans if plan.steps]
            journal.save_plans(
                {plan.account_sid: [step.key for step in plan.steps] for plan in changes}
            )
            journal.commit(entries)

        async def save(entries: Sequence[Entry], plans: Sequence[AccountPlan]) -> None:
            await driver.disk(commit, entries, plans)

        async with driver.phase("plan"):
            unmatched = await read_plans(driver, self.desired, catalogue, summary, unfinished, save)
        accounts, _, _ = await driver.disk(journal.totals)
        failures = await self._failures()
        return summary.report(accounts, failures, unmatched, complete=not driver.stopped)

    async def _apply(self) -> None:
        def begin(targets: list[Target]) -> dict[str, tuple[str, ...]]:
            # Record the writes before the shard starts, and so before any write is sent.
            planned = self.journal.planned(self.name, _sids(targets))
            self.journal.begin_writes(self.name, planned)
            return planned

        async def shard_of(targets: list[Target]) -> Shard | None:
            planned = await self.driver.disk(begin, targets)
            remaining = tuple(target for target in targets if target.account_sid in planned)
            return Shard(remaining, TakeSteps(self.desired, planned)) if remaining else None

        async def save(results: Sequence[AccountResult]) -> int:
            return await self.driver.disk(self._save, results)

        await self.driver.run(shard_of, save, count_skipped=False)
        if not self.driver.stopped:
            await self.driver.disk(self._save_unlisted)

    def _save(self, results: Sequence[AccountResult]) -> int:
        """Record the results of some accounts and return the number of steps done."""
        writes = {result.target.account_sid: self._writes(result) for result in results}
        self.journal.end_writes(self.name, writes)
        failures = [failure for result in results if (failure := _failure_of(result)) is not None]
        self.journal.commit([_failed(failure) for failure in failures])
        done = 0
        for account_writes in writes.values():
            outcomes: Counter[WriteOutcome] = Counter(write.outcome for write in account_writes)
            self.writes += outcomes
            self.changed += outcomes["done"] > 0
            done += outcomes["done"]
        return done

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

    def _save_unlisted(self) -> None:
        self.journal.commit(
            [
                _failed(Failure(sid, None, "NotFoundError", "the account is no longer listed"))
                for sid in self.journal.not_started(self.name)
            ]
        )

    async def _failures(self) -> Failures:
        file = beside(self.file, "failures.jsonl")
        return await self.driver.disk(self.journal.write_failures, file)


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


def _sids(targets: Sequence[Target]) -> list[str]:
    return [target.account_sid for target in targets]


@attrs.frozen
class TakeSteps(Task):
    """Performs the planned steps of an account, as far as they are still needed.

    Args:
        desired: The desired state.
        planned: The approved steps by account: the `key` of each.
    """

    desired: Desired
    planned: dict[str, tuple[str, ...]] = attrs.field(hash=False)

    async def run(self, client: MarketplaceClient, target: Target) -> tuple[Write, ...]:
        """Return the results of the steps, and of steps that have become necessary since."""
        desired, planned = self.desired, self.planned[target.account_sid]
        wanted = desired.wanted(target.account_sid, target.friendly_name)
        try:
            target.check_name()
            # The account may have changed since it was planned.
            observed = await observe(client, target, wanted)
            steps, _ = steps_for(wanted, observed, desired.secret)
        except MarketplaceError as error:
            return _nothing_written(planned, error)
        secrets = desired.secret_values() | observed.secret_values(desired.secret)
        needed = {step.key: step for step in steps}
        by_name = {one.unique_name: one for one in wanted}
        writes: list[Write] = []
        broken: set[str] = set()
        sids: dict[str, str] = {}
        for key in planned:
            step = needed.get(key)
            if step is None:
                writes.append(Write(key, "unchanged"))
            elif step.unique_name in broken:
                writes.append(_skipped(key, f"an earlier step of {step.unique_name} failed"))
            else:
                write = await _take(client, step, by_name[step.unique_name], observed, sids)
                if write.outcome in ("failed", "unknown"):
                    broken.add(step.unique_name)
                    write = attrs.evolve(write, message=redacted(write.message or "", secrets))
                writes.append(write)
        writes += [
            _skipped(key, "the account changed after the plan; run apply again")
            for key in needed
            if key not in planned
        ]
        return tuple(writes)

    def without_client(self, target: Target, error: Exception) -> tuple[Write, ...]:
        """Return the steps as failed: nothing was written."""
        return _nothing_written(self.planned[target.account_sid], error)


def _nothing_written(planned: tuple[str, ...], error: Exception) -> tuple[Write, ...]:
    first, *others = planned
    return (
        Write(first, "failed", message=str(error), error=type(error).__name__),
        *(Write(key, "skipped") for key in others),
    )


def _skipped(key: str, message: str) -> Write:
    return Write(key, "skipped", message=message, error="JobError")


async def _take(
    client: MarketplaceClient,
    step: Step,
    wanted: Wanted,
    observed: Observed,
    sids: dict[str, str],
) -> Write:
    """Perform one step. `sids` collects the SIDs of new installations by unique name."""
    try:
        match step.action:
            case "install" | "update":
                ensured = await client.installed_add_ons.ensure(
                    unique_name=wanted.unique_name,
                    available_add_on_sid=wanted.available_add_on_sid or "",
                    accept_terms_of_service=True,
                    configuration=wanted.configuration,
                    inventory=observed.installed,
                )
                sid = sids[step.unique_name] = ensured.record.sid
                return Write(
                    step.key, "unchanged" if ensured.action == "unchanged" else "done", sid
                )
            case "enable" | "disable":
                sid = step.sid or sids[step.unique_name]
                return await _switch(client, step, sid, observed)
            case "remove":
                assert step.sid is not None
                try:
                    await client.installed_add_ons.delete(step.sid)
                except NotFoundError:
                    return Write(step.key, "unchanged", step.sid)
                return Write(step.key, "done", step.sid)
    except (MarketplaceError, ValueError) as error:
        return Write(step.key, _outcome_of(error), step.sid, str(error), type(error).__name__)


async def _switch(
    client: MarketplaceClient, step: Step, installed_sid: str, observed: Observed
) -> Write:
    extensions = client.installed_add_ons.extensions(installed_sid)
    existing = observed.extensions.get(installed_sid)
    if existing is None:  # the Add-on was installed by an earlier step
        existing = tuple([one async for one in complete(extensions.list())])
    sid = next((one.sid for one in existing if one.unique_name == step.extension), None)
    if sid is None:
        for one in existing:
            if "unique_name" in one.unreadable:
                raise UnreadableFieldError(one.sid, ["unique_name"])
        message = f"{installed_sid} has no extension {step.extension}"
        return Write(step.key, "failed", installed_sid, message, "NotFoundError")
    await extensions.update(sid, enabled=step.action == "enable")
    return Write(step.key, "done", installed_sid)


def _outcome_of(error: Exception) -> WriteOutcome:
    """Return "unknown" if the write may have taken effect, else "failed"."""
    if isinstance(error, UnusableResponseError):
        return "unknown" if error.is_write else "failed"
    if isinstance(error, NotEnsuredError):
        return "unknown" if error.action is not None else "failed"
    if isinstance(error, AmbiguousOutcomeError) or getattr(error, "after_unknown", False):
        return "unknown"
    if isinstance(error, MarketplaceError) and verdict_on(error) is Verdict.UNKNOWN:
        return "unknown"
    return "failed"
