"""The plan: the steps that bring each account to the desired state."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import attrs

from .. import bulk
from ..client import MarketplaceClient
from ..errors import UnreadableFieldError
from ._engine.checkpoint import Checkpoint
from ._engine.driver import ACCOUNT_TIMEOUT, Driver, entry_of
from ._engine.ending import Ending
from ._engine.entries import Entry, Failure
from ._engine.shards import AccountResult, Approved, Shard, Task, TimeLimit
from ._executors.base import Executor
from ._executors.embedded import EmbeddedExecutor
from .catalogue import Catalogue, configuration_problem, read_catalogue
from .connections import Source, Target
from .desired import Desired, Wanted
from .digests import Digests, PlanKey
from .inventories import read_extensions, read_installed
from .outputs import Html, JsonLines, NullOutput, Output, PlanHtml
from .parts import Chosen, Part
from .plan_report import PlanReport, Summary, Unmatched
from .saved_plans import End, PlanFile
from .steps import AccountPlan, Observed, relevant_add_ons, steps_for, unmanaged_add_ons


async def plan(
    source: Source,
    desired: Desired,
    *,
    to: str | os.PathLike[str] | Output[AccountPlan] | None = None,
    out: str | os.PathLike[str] | None = None,
    key: PlanKey | None = None,
    unmanaged: bool = False,
    part: Part = Part(),  # noqa: B008 - frozen
    max_failures: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    account_timeout: float | None = ACCOUNT_TIMEOUT,
    executor: Executor = EmbeddedExecutor(),  # noqa: B008 - frozen
    progress: bulk.Progress | None = None,
    stop: asyncio.Event | None = None,
    abort: asyncio.Event | None = None,
) -> PlanReport:
    """Preview the changes needed to bring every account to the desired state. Changes nothing.

    Args:
        source: Where the accounts come from.
        desired: The desired state, from `load`.
        to: A JSON Lines file for the plan of each account that needs changes, or a page (.html) of
            all accounts, with its progress in `FILE.journal`. Or an `Output`, which cannot be
            resumed.
        out: Save the plan to this file, for `apply`. An earlier saved plan is replaced once the new
            one is complete. Cannot be combined with `to`.
        key: The key of the digests in the plan, and of the seal of a saved plan. Without one, the
            digests do not cover secret values.
        unmanaged: Also list the installed Add-ons that no entry of the desired state covers. Every
            account is read, even one that no entry applies to.
        part: Plan only this part of the fleet.
        max_failures: Maximum number of accounts that may fail (0 or more). If more fail, the job
            starts no further accounts and ends with a JobEndedError. None sets no limit.
        resume: Continue the plan in the file. Starts one if the file does not exist.
        overwrite: Start over, even if the file exists.
        account_timeout: Seconds after which an account fails. The others continue. None sets no
            limit.
        executor: Runs the shards.
        progress: Receives progress updates. Its errors are logged, and the job continues.
        stop: Set this event to stop early. Requests in flight finish and their results are written.
        abort: Set this event to stop at once. Requests in flight are cancelled.

    Returns:
        The steps, grouped across accounts, and the failures.

    Raises:
        ValueError, TypeError: An argument is invalid.
        DesiredStateError: An Add-on or an extension does not exist in the catalogue, or a
            configuration does not match the schema of its Add-on.
        JobError: The file exists, is complete, or belongs to another fleet or desired state. Or a
            file is damaged or in use, or `out` exists and is not a saved plan.
        JobEndedError: An error ended the job early. Its `report` says what was done.
        MarketplaceError: The accounts cannot be listed, or the catalogue cannot be read.
        OSError: The file cannot be created, is not a regular file, or is one that the job reads.
    """
    file = Path(to) if isinstance(to, str | os.PathLike) else None
    if resume and (file is None or overwrite):
        raise ValueError("resume: requires a file and cannot be combined with overwrite")
    if out is not None and to is not None:
        raise ValueError("out: cannot be combined with to")
    part.check(desired)
    async with Driver(
        *(source, executor, progress, stop, abort),
        account_timeout=account_timeout,
        max_failures=max_failures,
    ) as driver:
        disk = driver.disk
        output: Output[AccountPlan] = NullOutput()
        if file is not None:
            output = PlanHtml(file) if file.suffix.lower() == ".html" else JsonLines(file)
        if isinstance(to, Output):
            output = to
        settings = {
            "job": "plan",
            **await driver.connection.identity(accounts=file is not None),
            "desired": desired.digest(),
            **({"unmanaged": True} if unmanaged else {}),
            **part.identity(),
        }
        inputs = [*driver.connection.files, *desired.files]
        saved: PlanFile | None = None
        if out is not None:
            output = saved = await disk(PlanFile, Path(out), settings, desired, key, inputs, part)
        checkpoint = await disk.open(
            Checkpoint[AccountPlan],
            *(output, file, settings),
            resume=resume,
            overwrite=overwrite,
            inputs=inputs,
        )
        catalogue = await read_catalogue(driver, desired)

        async def save(entries: Sequence[Entry], plans: Sequence[AccountPlan]) -> None:
            # A page also shows accounts that need no change.
            plans_of = {
                plan.account_sid: [plan]
                for plan in plans
                if plan.steps or plan.unmanaged or plan.left_out or isinstance(output, Html)
            }
            await disk(
                checkpoint.write,
                [(entry, plans_of.get(entry.account_sid, ())) for entry in entries],
            )

        summary = Summary(desired)
        if file is not None and checkpoint.resumed:
            await disk(summary.read, file)
        task = PlanSteps(desired, Digests(key, desired.secret), catalogue, unmanaged, part)
        planner = Planner(driver, task, summary, checkpoint.finished, save)
        ending = Ending()
        with ending.caught():
            async with driver.phase("plan"):
                await planner.run()
        complete = not driver.stopped and ending.error is None
        failures = await driver.failures(
            partial(checkpoint.end, complete=complete), checkpoint.first_failures, ending
        )
        if saved is not None and complete and ending.error is None:
            end = End(accounts=driver.counts().accounts, unmatched=planner.unmatched)
            with ending.caught():
                await disk(saved.finish, end)
    report = summary.report(
        driver.counts(),
        failures,
        planner.unmatched,
        complete=complete and ending.error is None,
    )
    return ending.report(attrs.evolve(report, workers=driver.workers))


@attrs.define
class Planner:
    """Plans all accounts of a job.

    Args:
        driver: Lists the accounts and runs the shards.
        task: Plans one account.
        summary: Summarizes the plans.
        finished: Returns which accounts are already planned. Blocks.
        save: Saves the entries and plans of some accounts durably.

    Attributes:
        unmatched: A message for each selection that matches no account.
    """

    driver: Driver
    task: "PlanSteps"
    summary: Summary
    finished: Callable[[Sequence[str]], set[str]]
    save: Callable[[Sequence[Entry], Sequence[AccountPlan]], Awaitable[None]]
    unmatched: tuple[str, ...] = ()
    _selections: Unmatched | Chosen = attrs.field(init=False)

    async def run(self) -> None:
        desired, part = self.task.desired, self.task.part
        if part.selects_accounts:
            self._selections = self.driver.is_selected = chosen = Chosen(part, desired)
            await chosen.limit(self.driver.connection)
        else:
            self._selections = Unmatched(desired)
        await self.driver.run(self.task, self._shard_of, self._save)
        if self.driver.stopped:
            return
        tally = self.driver.tally
        not_listed = [Entry(one.account_sid, None, 0, one) for one in self._selections.failures()]
        if not_listed:
            tally.listed += len(not_listed)
            tally.add("failed", len(not_listed))
            await self.save(not_listed, ())
        self.unmatched = self._selections.messages()

    async def _shard_of(self, targets: list[Target]) -> Shard | None:
        driver = self.driver
        driver.tally.listed += len(targets)
        for target in targets:
            self._selections.add(target)
        targets = await driver.set_aside(targets, self._save)
        finished = await driver.disk(self.finished, [target.account_sid for target in targets])
        driver.tally.add("done", len(finished))
        driver.notifier.advanced(len(finished))
        remaining = tuple(one for one in targets if one.account_sid not in finished)
        return Shard(remaining) if remaining else None

    async def _save(self, results: Sequence[AccountResult]) -> int:
        plans = [one.value for one in results if isinstance(one.value, AccountPlan)]
        entries = [_entry_of(one) for one in results]
        await self.save(entries, plans)
        for entry in entries:
            self.driver.tally.add("done" if entry.failure is None else "failed")
        for plan in plans:
            self.summary.add(plan)
        return sum(len(plan.steps) for plan in plans)


def _entry_of(result: AccountResult) -> Entry:
    """Return the journal entry of an account. The problems of a plan count as a failure."""
    if not isinstance(result.value, AccountPlan):
        return entry_of(result)
    target, plan = result.target, result.value
    failure = None
    if plan.problems:
        failure = Failure(
            target.account_sid, target.friendly_name, "ConflictError", "; ".join(plan.problems)
        )
    return Entry(target.account_sid, target.friendly_name, len(plan.steps), failure)


@attrs.frozen
class PlanSteps(Task):
    """Plans the steps for an account.

    Args:
        desired: The desired state.
        digests: Computes the digests of the steps.
        catalogue: The Add-ons that the desired state installs, by SID.
        unmanaged: Whether to list the installed Add-ons that no entry covers.
        part: The part of the fleet.
    """

    desired: Desired
    digests: Digests
    catalogue: Catalogue = attrs.field(hash=False, repr=False)
    unmanaged: bool = False
    part: Part = attrs.field(factory=Part)

    async def run(
        self, client: MarketplaceClient, target: Target, limit: TimeLimit, approved: Approved
    ) -> AccountPlan:
        """Compare the account with the desired state."""
        desired = self.desired
        target.check_name()
        wanted = desired.wanted(target.account_sid, target.friendly_name, target.columns)
        if not wanted and not self.unmanaged:
            return AccountPlan(target.account_sid, target.friendly_name, ())
        async with limit.enforced():
            observed = await observe(client, target, wanted)
        secrets = observed.secret_values(desired.secret).union(
            desired.secret_values(), *(one.secret_values(desired.secret) for one in wanted)
        )
        steps, problems = steps_for(
            *(wanted, observed, desired.secret, self.digests, secrets, self.catalogue.offers)
        )
        written = {
            step.unique_name: step.action for step in steps if step.action in ("install", "update")
        }
        invalid: dict[str, str] = {}
        for one in wanted:
            if one.unique_name in written:
                # An Add-on that is replaced keeps nothing of its configuration.
                is_update = written[one.unique_name] == "update"
                current = observed.of(one)[0].configuration or {} if is_update else None
                problem = configuration_problem(one, current, self.catalogue, desired.secret)
                if problem is not None:
                    invalid[one.unique_name] = problem
        unclear = {problem.unique_name for problem in problems} | invalid.keys()
        names = [one.unique_name for one in wanted]
        plan = AccountPlan(
            target.account_sid,
            target.friendly_name,
            tuple(step for step in steps if step.unique_name not in invalid),
            (
                *(one.message for one in problems if self.part.has(one.unique_name)),
                *(message for name, message in invalid.items() if self.part.has(name)),
            ),
            compared=tuple(name for name in names if name not in unclear),
            unclear=tuple(name for name in names if name in unclear),
            unmanaged=unmanaged_add_ons(wanted, observed) if self.unmanaged else (),
        )
        return self.part.of(plan)


async def observe(client: MarketplaceClient, target: Target, wanted: Sequence[Wanted]) -> Observed:
    """Read the parts of an account that a plan depends on."""
    observed = Observed(*await read_installed(client, target))
    for one in observed.installed:
        if one.account_sid is None:
            # It may be on another account: an API key can belong to another one.
            raise UnreadableFieldError(one.sid, ["account_sid"])
    extensions = {
        installed.sid: tuple(await read_extensions(client, installed))
        for installed in relevant_add_ons(wanted, observed)
    }
    return attrs.evolve(observed, extensions=extensions)
