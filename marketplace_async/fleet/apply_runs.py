"""One run of apply: the plan, its approval, and the steps of each account."""

import getpass
import platform
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import attrs

from ._engine.checkpoint import beside
from ._engine.driver import Driver
from ._engine.ending import Ending
from ._engine.entries import Entry, Failure, Failures, Kept, Write, WriteOutcome
from ._engine.journal import Journal
from ._engine.orphans import record_no_orphans, recorded_alive, wait_for_orphans
from ._engine.shards import AccountResult, Approved, Shard
from ._engine.tally import State
from .apply_report import ApplyReport
from .catalogue import Catalogue, read_offers
from .connections import Target
from .desired import Desired
from .digests import Digests
from .offers import Offers
from .parts import Chosen, Part
from .plan_report import PlanReport, Summary
from .planning import Planner, PlanSteps
from .saved_plans import End, SavedPlan
from .steps import AccountPlan
from .taking import TakeSteps

_MAX_NOTES: Final = 100


@attrs.define
class Run:
    """One run of apply.

    Args:
        driver: Lists the accounts and runs the shards.
        desired: The desired state.
        digests: Computes the digests of the steps.
        journal: The journal.
        file: The journal's file.
        settings: The identity of the job.
        credentials: What the journal records as the credentials.
        saved: The saved plan to apply.
        max_removals: How many installed Add-ons a plan may remove.
        part: The part of the fleet.

    Attributes:
        name: The name of the run in the journal.
        ending: Keeps the error that ended the run.
    """

    driver: Driver
    desired: Desired
    digests: Digests
    journal: Journal
    file: Path
    settings: dict[str, str]
    credentials: str | None
    saved: SavedPlan | None = None
    max_removals: int | None = None
    part: Part = attrs.field(factory=Part)
    name: str = attrs.field(factory=lambda: uuid.uuid4().hex)
    ending: Ending = attrs.field(factory=Ending)
    writes: Counter[WriteOutcome] = attrs.field(factory=Counter)
    changed: int = 0
    # Number of accounts with steps and without problems.
    to_take: int = 0
    # The plans of accounts that are being changed.
    plans: dict[str, AccountPlan] = attrs.field(factory=dict)
    kept: dict[str, Kept] = attrs.field(factory=dict)
    offers: Offers = attrs.field(factory=dict)

    async def run(
        self,
        catalogue: Catalogue,
        approved_by: Callable[[PlanReport], Awaitable[bool]],
    ) -> ApplyReport:
        """Plan, ask for approval and perform the steps.

        Args:
            catalogue: The Add-ons that the desired state installs.
            approved_by: Returns whether the plan is approved.
        """
        disk = self.driver.disk
        await wait_for_orphans(self.driver, self.journal)
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
                    # The approval may have taken hours: read the prices and terms again.
                    self.offers = await read_offers(self.driver, plan.add_ons_to_install())
                    async with self.driver.phase("apply", plan.to_change):
                        await self._apply()
        if self.driver.in_flight and approved:
            # Their writes were cancelled. The next run checks the outcomes.
            for sid in self.driver.in_flight:
                self._end(sid, "unknown")
            with self.ending.caught():
                self.writes["unknown"] += await disk(self.journal.close_open_writes)
        elif approved:
            with self.ending.caught():
                await record_no_orphans(self.driver, self.journal, self.name)
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
            workers=self.driver.workers,
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
            # These accounts are not done until their steps are performed.
            to_take = sum(1 for plan in plans if plan.steps and not plan.problems)
            self.to_take += to_take
            driver.tally.add("done", -to_take)

        task = PlanSteps(self.desired, self.digests, catalogue, part=self.part)
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
        """Read the plan from a file instead of making one.

        Unknown writes of earlier runs stay unknown, because the plan may be older.
        """
        driver, journal = self.driver, self.journal
        summary = Summary(self.desired)
        chosen = Chosen(self.part, self.desired)

        def read() -> tuple[End, int]:
            """Return the end, and the number of accounts that are not selected.

            The file does not contain accounts without steps, so they count as not selected.
            """
            if self.part.limit is not None:
                chosen.limit_to(
                    _target(one) for one in map(self.part.of, saved.plans()) if one.steps
                )
            end, count = None, 0
            for batch in saved.batches():
                selected = [one for one in batch if isinstance(one, End) or chosen(_target(one))]
                count += sum(not isinstance(one, End) for one in selected)
                plans = [self.part.of(one) for one in selected if isinstance(one, AccountPlan)]
                journal.save_plans(plans)
                journal.commit(
                    Entry(one.account_sid, one.friendly_name, len(one.steps)) for one in plans
                )
                journal.commit(_failed(one) for one in selected if isinstance(one, Failure))
                for one in plans:
                    summary.add(one)
                self.to_take += sum(1 for one in plans if one.steps and not one.problems)
                end = next((one for one in batch if isinstance(one, End)), end)
            assert end is not None  # the seal proves that the file is whole
            return end, end.accounts - count if self.part.selects_accounts else 0

        end, driver.not_selected = await driver.disk(read)
        driver.is_selected = chosen
        failures = await self._failures()
        driver.tally.listed = end.accounts - driver.not_selected
        driver.tally.add("failed", failures.count)
        driver.tally.add("done", driver.tally.listed - failures.count - self.to_take)
        planned = attrs.evolve(
            driver.counts(), done=driver.tally.listed - failures.count, not_begun=0
        )
        unmatched = (*end.unmatched, *chosen.messages())
        return summary.report(planned, failures, unmatched, complete=True)

    async def _apply(self) -> None:
        parts = (self.part,) if self.saved is None else (self.part, self.saved.header.part)
        task = TakeSteps(self.desired, self.digests, parts, self.offers)
        async with recorded_alive(self.driver, self.journal, self.name):
            await self.driver.run(task, self._shard_of, self._save, self._withdraw)
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
        approved = Approved(
            {sid: plan.steps for sid, plan in plans.items()},
            frozenset(sid for sid, plan in plans.items() if plan.problems),
            {one.sent: one.kept for one in self.kept.values()},
        )
        return Shard(remaining, approved)

    async def _withdraw(self, targets: Sequence[Target]) -> None:
        sids = _sids(targets)
        await self.driver.disk(self.journal.withdraw_writes, self.name, sids)
        for sid in sids:
            del self.plans[sid]

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
        """Count an account whose steps have ended."""
        tally = self.driver.tally
        if not self.plans.pop(sid).problems:
            tally.add(state)
        elif state == "unknown":  # it has counted as failed since the plan
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
            return writes if result.handouts == 1 else _after_lost_worker(writes, result.handouts)
        # The worker died or failed unexpectedly, possibly after it had written.
        sid, error = result.target.account_sid, result.failure
        return [
            Write(
                *(key, "unknown"),
                message=error.message,
                error=error.error,
                handouts=result.handouts,
            )
            for key in self.journal.open_writes(self.name, sid)
        ]

    async def _save_unlisted(self) -> None:
        message = "the account is no longer listed"

        def commit() -> int:
            """Return the number of accounts that did not count as failed before."""
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


def _after_lost_worker(writes: Sequence[Write], handouts: int) -> Sequence[Write]:
    """Return the writes, with those that a lost worker of this run performed marked as done."""
    message = "already done by a lost worker of this run"
    return [
        attrs.evolve(write, handouts=handouts, outcome="done", message=message)
        if write.outcome == "unchanged"
        else attrs.evolve(write, handouts=handouts)
        for write in writes
    ]


def _state_of(result: AccountResult) -> State:
    writes: Sequence[Write] = () if result.failure is not None else result.value
    outcomes = {write.outcome for write in writes}
    if result.failure is not None or "unknown" in outcomes:
        return "unknown"
    if "failed" in outcomes:
        return "failed"
    return "skipped" if "skipped" in outcomes else "done"


def _user() -> str:
    """Return who runs this process, and where: user@host."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError, ImportError):  # such as a container without user names
        name = "unknown"
    return f"{name}@{platform.node() or 'unknown'}"


def _target(one: AccountPlan | Failure) -> Target:
    return Target(one.account_sid, one.friendly_name)


def _sids(targets: Sequence[Target]) -> list[str]:
    return [target.account_sid for target in targets]
