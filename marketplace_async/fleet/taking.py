"""Performs the approved steps of one account, unless the account has changed since the plan."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

import attrs

from ..client import MarketplaceClient
from ._engine.entries import Write
from ._engine.shards import Approved, Task, TimeLimit
from .account_writes import AccountWriter, changed
from .connections import Target
from .desired import Desired, Wanted
from .digests import Digests
from .offers import Offers, offer_changes
from .parts import Part
from .planning import observe
from .steps import Action, Observed, Problem, Step, steps_for

_SAME_SUBJECT: Final[Mapping[Action, frozenset[Action]]] = {
    "install": frozenset({"install", "rename", "update", "remove"}),
    "rename": frozenset({"install", "rename", "remove"}),
    "update": frozenset({"install", "update", "remove"}),
    # In a replacement, the old Add-on is already removed if only the installation is left to do.
    "remove": frozenset({"update", "remove"}),
    "enable": frozenset({"install", "remove", "enable", "disable"}),
    "disable": frozenset({"install", "remove", "enable", "disable"}),
}


@attrs.frozen
class TakeSteps(Task):
    """Performs the approved steps of an account that are still needed.

    Args:
        desired: The desired state.
        digests: Computes the digests of the steps, as for the plan.
        parts: The parts of the fleet that the apply and its saved plan are limited to.
        offers: The prices and terms of the Add-ons to install, by SID, read after the approval.
    """

    desired: Desired
    digests: Digests
    parts: tuple[Part, ...] = ()
    offers: Offers = attrs.field(factory=dict, hash=False)
    writes: ClassVar[bool] = True

    async def run(
        self, client: MarketplaceClient, target: Target, limit: TimeLimit, approved: Approved
    ) -> tuple[Write, ...]:
        """Return the results of the approved steps, and skip steps that became necessary since."""
        approved_steps = approved.steps[target.account_sid]
        try:
            target.check_name()
            wanted = self.desired.wanted(target.account_sid, target.friendly_name, target.columns)
            async with limit.enforced():
                # The account may have changed since it was planned.
                observed = await observe(client, target, wanted)
            steps, problems = steps_for(
                *(wanted, observed, self.desired.secret, self.digests), offers=self.offers
            )
        except Exception as error:  # noqa: BLE001 - after any error, nothing was written
            return _nothing_written(approved_steps, error)
        writer = AccountWriter(
            *(client, target.account_sid, limit, wanted, observed),
            *(self.desired, self.digests, approved.kept),
        )
        approval = _Approval(self.parts, writer, wanted, observed, steps, problems)
        writes = [await approval.take(step) for step in approved_steps]
        if target.account_sid in approved.with_problems:
            return tuple(writes)  # the plan left out steps that are still needed
        return (*writes, *approval.unapproved(approved_steps))

    def without_client(
        self, target: Target, error: Exception, approved: Approved
    ) -> tuple[Write, ...]:
        """Return the steps as failed: nothing was written."""
        return _nothing_written(approved.steps[target.account_sid], error)


class _Approval:
    """Compares the approved steps of an account with the needed ones, and performs them.

    Args:
        parts: The parts of the fleet that the apply and its saved plan are limited to.
        writer: Performs the steps.
        wanted: The desired state of the account.
        observed: The observed state.
        steps: The steps that are needed now.
        problems: The parts of the desired state that cannot be reached.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        writer: AccountWriter,
        wanted: Sequence[Wanted],
        observed: Observed,
        steps: Sequence[Step],
        problems: Sequence[Problem],
    ) -> None:
        self._parts = parts
        self._writer = writer
        self._wanted = {one.unique_name: one for one in wanted}
        self._observed = observed
        self._needed = {step.key: step for step in steps}
        self._problems = {problem.unique_name for problem in problems}
        self._broken: set[str] = set()
        self._stopped: str | None = None

    async def take(self, approved: Step) -> Write:
        """Perform a step unless it is no longer needed, or no longer what was approved."""
        key, name = approved.key, approved.unique_name
        stopped = self._stopped or self._writer.timed_out
        if stopped is not None:
            return _skipped(key, stopped)
        if name in self._broken:
            return _skipped(key, f"an earlier step of {name} was not done")
        step = self._needed.get(key)
        if step is None:
            if not self._differs(approved):
                return Write(key, "unchanged")
            return self._broke(name, changed(key))
        if not self._covers(approved, step):
            return self._broke(name, changed(key, _offer_changes(approved, step)))
        if self._writer.has_written and not self._writer.is_proven:
            self._stopped = (
                "no response has shown that the credentials belong to this account; see the first "
                "step"
            )
            return _skipped(key, self._stopped)
        write = await self._writer.write(step)
        return write if write.outcome in ("done", "unchanged") else self._broke(name, write)

    def unapproved(self, approved: tuple[Step, ...]) -> list[Write]:
        """Return the steps that have become necessary since the plan, as skipped."""
        names = {step.unique_name for step in approved}
        needed = self._needed.values()
        return [
            changed(step.key)
            for step in needed
            if step.unique_name not in names
            and not any(part.leaves_out(step, needed) for part in self._parts)
        ]

    def _broke(self, name: str, write: Write) -> Write:
        self._broken.add(name)
        return write

    def _differs(self, approved: Step) -> bool:
        """Return whether the subject of a step is not in its desired state."""
        name, actions = approved.unique_name, _SAME_SUBJECT[approved.action]
        return name in self._problems or any(
            step.unique_name == name
            and step.action in actions
            and (step.extension is None or step.extension == approved.extension)
            for step in self._needed.values()
        )

    def _covers(self, approved: Step, step: Step) -> bool:
        """Return whether the approval covers the step that is needed now."""
        if step.has_content_of(approved):
            return True
        if approved.action != "enable" or approved.sid is not None or step.sid is None:
            return False
        # The approved installation now exists. Does it have exactly the approved content?
        (installed,) = self._observed.of(self._wanted[step.unique_name])
        after = self._writer.digest_of(step, installed)
        expected = attrs.evolve(approved, sid=step.sid, after=None)
        return after == approved.after and step.has_content_of(expected)


def _nothing_written(approved: tuple[Step, ...], error: Exception) -> tuple[Write, ...]:
    first, *others = approved
    return (
        Write(first.key, "failed", message=str(error), error=type(error).__name__),
        *(Write(step.key, "skipped") for step in others),
    )


def _skipped(key: str, message: str) -> Write:
    return Write(key, "skipped", message=message)


def _offer_changes(approved: Step, step: Step) -> str:
    if approved.offer == step.offer:
        return ""
    return offer_changes(approved.offer, step.offer)
