"""The plan: what would be done on each account, so that it is as the desired state says."""

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import attrs

from .. import bulk
from .._core.codec import from_json
from ..errors import NotFoundError
from ..resources.available_add_ons import AvailableAddOn
from ._engine.checkpoint import Checkpoint
from ._engine.driver import Driver, done_of
from ._engine.journal import Done, Failure, Failures
from ._engine.shards import AccountResult, PlanSteps, Shard
from .desired import Desired, DesiredStateError
from .executors import EmbeddedExecutor, Executor
from .outputs import JsonLines, Nowhere, Output
from .sources import Source, Target
from .steps import AccountPlan, Action, Step

# What a summary holds is bounded, however many accounts there are and however they differ.
_MOST_EXAMPLES = 3
_MOST_CHANGES = 20


@attrs.define(kw_only=True)
class Group:
    """The same step on several accounts.

    Attributes:
        action: "install", "update", "enable", "disable" or "remove".
        unique_name: The unique name of the add-on.
        available_add_on_sid: The add-on, `XB...`.
        extension: The unique name of the extension, if one is to be enabled or disabled.
        accounts: On how many accounts.
        examples: The first three of them.
        changes: What becomes of the configurations, and on how many accounts; the first 20
            different ones.
        other_changes: How many changes there are beyond those.
    """

    action: Action
    unique_name: str
    available_add_on_sid: str | None
    extension: str | None
    accounts: int = 0
    examples: tuple[Target, ...] = ()
    changes: Counter[str] = attrs.field(factory=Counter)
    other_changes: int = 0

    def add(self, target: Target, step: Step) -> None:
        """Count one more account."""
        self.accounts += 1
        if len(self.examples) < _MOST_EXAMPLES:
            self.examples += (target,)
        for change in map(str, step.changes):
            if change in self.changes or len(self.changes) < _MOST_CHANGES:
                self.changes[change] += 1
            else:
                self.other_changes += 1


@attrs.frozen(kw_only=True)
class PlanReport:
    """What a plan comes to, of all its runs together.

    Attributes:
        accounts: Accounts that were read, or failed.
        to_change: Accounts on which something is to be done.
        steps: Steps to be done, in all.
        groups: The same steps, together.
        failures: The accounts that failed, or where something stands in the way.
        unmatched: Selections of the file that no account meets, in sentences.
        complete: Whether it came to its end; else `resume=True` goes on.
    """

    accounts: int
    to_change: int
    steps: int
    groups: tuple[Group, ...]
    failures: Failures
    unmatched: tuple[str, ...]
    complete: bool


class Summary:
    """Adds up the plans of accounts."""

    def __init__(self, desired: Desired) -> None:
        self._names = desired.unique_names()
        self._to_change = 0
        self._steps = 0
        self._groups: dict[tuple[str | None, ...], Group] = {}

    def add(self, plan: AccountPlan) -> None:
        """Add the plan of one account."""
        target = Target(plan.account_sid, plan.friendly_name)
        self._to_change += bool(plan.steps)
        self._steps += len(plan.steps)
        for step in plan.steps:
            key = (step.action, step.unique_name, step.available_add_on_sid, step.extension)
            if key not in self._groups:
                self._groups[key] = Group(
                    action=step.action,
                    unique_name=step.unique_name,
                    available_add_on_sid=step.available_add_on_sid,
                    extension=step.extension,
                )
            self._groups[key].add(target, step)

    def _order(self, group: Group) -> tuple[int, int, str]:
        """Put groups in the order of the file, and of what is done."""
        name = self._names.index(group.unique_name)
        return name, _ACTIONS.index(group.action), group.extension or ""

    def read(self, file: Path) -> None:
        """Add the plans that a file has already."""
        with file.open("rb") as lines:
            for line in lines:
                self.add(from_json(line, AccountPlan, "the plan of an account"))

    def report(
        self, accounts: int, failures: Failures, unmatched: tuple[str, ...], *, complete: bool
    ) -> PlanReport:
        """Return what it all comes to."""
        return PlanReport(
            accounts=accounts,
            to_change=self._to_change,
            steps=self._steps,
            groups=tuple(sorted(self._groups.values(), key=self._order)),
            failures=failures,
            unmatched=unmatched,
            complete=complete,
        )


_ACTIONS = ("remove", "install", "update", "enable", "disable")


class Unmatched:
    """Finds the selections of a desired state that no account meets."""

    def __init__(self, desired: Desired) -> None:
        self._selections = list(desired.selections())
        self._met = [False] * len(self._selections)
        self._sids = {
            sid.lower(): (selection.path, sid)
            for selection in self._selections
            for sid in selection.sids
        }

    def see(self, target: Target) -> None:
        """Take note of an account."""
        self._sids.pop(target.account_sid.lower(), None)
        for index, selection in enumerate(self._selections):
            if not self._met[index]:
                self._met[index] = selection.meets(target.account_sid, target.friendly_name)

    def failures(self) -> list[Failure]:
        """Return the accounts that the file names and nobody has."""
        return [
            Failure(sid, None, "NotFoundError", f"{path}: it is not among the accounts")
            for path, sid in self._sids.values()
        ]

    def sentences(self) -> tuple[str, ...]:
        """Return what no account meets."""
        return tuple(
            f"{selection.path}: no account meets it"
            for selection, met in zip(self._selections, self._met, strict=True)
            if not met
        )


async def plan(
    source: Source,
    desired: Desired,
    *,
    to: str | os.PathLike[str] | Output[AccountPlan] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    executor: Executor = EmbeddedExecutor(),  # noqa: B008 - frozen
    progress: bulk.Progress | None = None,
    stop: asyncio.Event | None = None,
) -> PlanReport:
    """Tell what is to be done so that the accounts are as is desired. It changes nothing.

    Args:
        source: Where the accounts come from.
        desired: What is desired: see `load`.
        to: A file for the plan of each account where something is to be done, as JSON lines; with
            `FILE.journal` beside it, by which a plan that was killed goes on. Or an output, which
            cannot be resumed.
        resume: Whether to go on with what is in the file; it begins where there is nothing.
        overwrite: Whether to begin anew where there is something.
        executor: What runs the shards.
        progress: What is told how it goes.
        stop: Set it to end early: what is in flight is finished and written.

    Returns:
        What is to be done, with the same steps of different accounts together, and the failures.

    Raises:
        ValueError, TypeError: An argument cannot be right.
        DesiredStateError: There is no such add-on, or it has no such extension.
        JobError: The file is there already, is not what this job would go on with, or is in use.
        MarketplaceError: The accounts cannot be listed, or the catalogue cannot be read.
        OSError: The file cannot be written.
    """
    file = Path(to) if isinstance(to, str | os.PathLike) else None
    if resume and (file is None or overwrite):
        raise ValueError("resume: expected a file, and not overwrite with it")
    async with Driver(source, executor, progress, stop) as driver:
        offered = await read_catalogue(driver, desired)
        disk = driver.disk
        output: Output[AccountPlan] = Nowhere() if file is None else JsonLines(file)
        if isinstance(to, Output):
            output = to
        facts = {"job": "plan", "desired": desired.digest()}
        checkpoint = await disk.open(
            Checkpoint[AccountPlan], output, file, facts, resume=resume, overwrite=overwrite
        )

        async def left(targets: list[Target]) -> list[Target]:
            known = await disk(checkpoint.known, [target.account_sid for target in targets])
            return [target for target in targets if target.account_sid not in known]

        async def save(done: Sequence[Done], plans: Sequence[AccountPlan]) -> None:
            of = {one.account_sid: [one] for one in plans if one.steps}
            await disk(checkpoint.write, [(one, of.get(one.account_sid, ())) for one in done])

        summary = Summary(desired)
        if file is not None and checkpoint.resumed:
            await disk(summary.read, file)
        async with driver.counting("plan"):
            unmatched = await read_plans(driver, desired, offered, summary, left, save)
        accounts, _, _ = await disk(checkpoint.totals)
        failures = await disk(checkpoint.failures)
    return summary.report(accounts, failures, unmatched, complete=not driver.stopped)


async def read_catalogue(driver: Driver, desired: Desired) -> dict[str, AvailableAddOn]:
    """Return the add-ons that are wanted, by SID.

    Raises:
        DesiredStateError: There is no such add-on, or it has no such extension.
    """
    client = await driver.connection.some_client()
    offered: dict[str, AvailableAddOn] = {}
    for sid, extensions in desired.offers().items():
        try:
            offered[sid] = await client.available_add_ons.fetch(sid)
        except NotFoundError:
            raise DesiredStateError(f"{desired.path_of(sid)}: there is no add-on {sid}") from None
        if extensions:
            there = client.available_add_ons.extensions(sid).list()
            names = {one.unique_name or "" async for one in there}
            for name in extensions.keys() - names:
                raise DesiredStateError(
                    f"{extensions[name]}: {offered[sid].friendly_name} has no such extension; "
                    f"it has {', '.join(sorted(names)) or 'none'}"
                )
    return offered


async def read_plans(
    driver: Driver,
    desired: Desired,
    offered: dict[str, AvailableAddOn],
    summary: Summary,
    left: Callable[[list[Target]], Awaitable[list[Target]]],
    save: Callable[[Sequence[Done], Sequence[AccountPlan]], Awaitable[None]],
) -> tuple[str, ...]:
    """Plan all accounts, and return the selections that none of them meets.

    Args:
        driver: What hands out the shards.
        desired: What is wanted.
        offered: The add-ons that are wanted.
        summary: Where the plans are added up.
        left: Returns those of some accounts that are still to be planned.
        save: Makes certain what came of some accounts.
    """
    task = PlanSteps(desired, offered)
    unmatched = Unmatched(desired)

    async def shard_of(targets: list[Target]) -> Shard | None:
        todo = await left(targets)
        return Shard(tuple(todo), task) if todo else None

    async def save_results(results: Sequence[AccountResult]) -> int:
        plans = [one.value for one in results if isinstance(one.value, AccountPlan)]
        await save([_done_of(one) for one in results], plans)
        for one in plans:
            summary.add(one)
        return sum(len(one.steps) for one in plans)

    await driver.run(shard_of, save_results, see=unmatched.see)
    if driver.stopped:
        return ()
    named = [Done(one.account_sid, None, 0, one) for one in unmatched.failures()]
    if named:
        await save(named, ())
    return unmatched.sentences()


def _done_of(result: AccountResult) -> Done:
    """Return what a journal notes of an account; what stands in the way is its failure."""
    if not isinstance(result.value, AccountPlan):
        return done_of(result)
    target, plan = result.target, result.value
    failure = None
    if plan.problems:
        failure = Failure(
            target.account_sid, target.friendly_name, "ConflictError", "; ".join(plan.problems)
        )
    return Done(target.account_sid, target.friendly_name, len(plan.steps), failure)
