"""The report of a plan: the plans of all accounts, summarized in bounded memory."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

from .._core.codec import from_json
from .._core.serializable import Serializable
from ._engine.entries import Failure, Failures, JobError
from ._engine.tally import Counts
from ._executors.reports import WorkerReport
from .comparison import Change
from .connections import Target
from .desired import Desired
from .offers import Offer
from .pages import records_in
from .problems import path_text
from .steps import AccountPlan, Action, Step, UnmanagedAddOn

_MAX_EXAMPLES = 3
_MAX_CHANGES = 20
_MAX_KINDS = 200
_MAX_REMOVALS = 20
_ACTIONS: Final[tuple[Action, ...]] = (
    *("remove", "rename", "install", "update", "enable", "disable"),
)


@attrs.define(kw_only=True)
class Group:
    """The same step on several accounts.

    Attributes:
        action: "install", "rename", "update", "enable", "disable" or "remove".
        unique_name: The unique name of the Add-on.
        available_add_on_sid: The Add-on, `XB...`.
        extension: The unique name of the extension to enable or disable.
        accounts: Number of accounts.
        examples: The first 3 accounts by friendly name.
        changes: Configuration changes, each with its number of accounts: the first 20 different
            ones, then only the first one for each further key, at most 200.
        differences: The same changes as values.
        other_changes: Number of changes that are not in `changes`.
        previous_name: The current unique name of Add-ons that are renamed, or removed under a
            previous name.
        also_installed: Unique names under which accounts already have the Add-on to install, or
            the one that it replaces, each with its number of accounts. At most 20 different ones.
        offer: The price and the terms that an installation accepts. None for other steps.
    """

    action: Action
    unique_name: str
    available_add_on_sid: str | None
    extension: str | None
    accounts: int = 0
    examples: tuple[Target, ...] = ()
    changes: Counter[str] = attrs.field(factory=Counter)
    other_changes: int = 0
    differences: tuple[Change, ...] = ()
    previous_name: str | None = None
    also_installed: Counter[str] = attrs.field(factory=Counter)
    offer: Offer | None = None

    def add(self, target: Target, step: Step) -> None:
        """Add the step of one more account."""
        self.accounts += 1
        # Accounts are planned in any order. The examples must not depend on it.
        examples = sorted((*self.examples, target), key=_by_name)
        self.examples = tuple(examples[:_MAX_EXAMPLES])
        for name in step.also_installed:
            if name in self.also_installed or len(self.also_installed) < _MAX_CHANGES:
                self.also_installed[name] += 1
        for change in step.changes:
            text = str(change)
            if text in self.changes:
                self.changes[text] += 1
            elif len(self.changes) < _MAX_CHANGES or self._is_new_key(text):
                self.changes[text] = 1
                self.differences += (change,)
            else:
                self.other_changes += 1

    def _is_new_key(self, text: str) -> bool:
        """Return whether no change of this key is in `changes`, and there is room for one."""
        kind = _kind(text)
        return len(self.changes) < _MAX_KINDS and all(_kind(one) != kind for one in self.changes)


@attrs.define(kw_only=True)
class UnmanagedGroup:
    """Installed Add-ons with the same unique name that no entry of the desired state covers.

    Attributes:
        unique_name: The unique name.
        available_add_on_sid: The Add-on, `XB...`.
        friendly_name: The display name of the Add-on.
        accounts: Number of installed Add-ons.
        examples: The first 3 accounts by friendly name.
    """

    unique_name: str | None
    available_add_on_sid: str | None
    friendly_name: str | None
    accounts: int = 0
    examples: tuple[Target, ...] = ()

    def add(self, target: Target) -> None:
        """Add the Add-on of one more account."""
        self.accounts += 1
        self.examples = tuple(sorted((*self.examples, target), key=_by_name)[:_MAX_EXAMPLES])


@attrs.frozen(kw_only=True)
class Removal:
    """An installed Add-on that a plan removes.

    Attributes:
        account_sid: The account, `AC...`.
        friendly_name: The account's friendly name.
        unique_name: Its unique name.
        sid: The installed Add-on, `XE...`.
    """

    account_sid: str
    friendly_name: str | None
    unique_name: str
    sid: str | None


@attrs.define(kw_only=True)
class Acceptance:
    """The price and the terms that the installations of an Add-on accept.

    Attributes:
        available_add_on_sid: The Add-on, `XB...`.
        unique_names: The unique names under which it is to be installed.
        offer: The price and the terms. None if the plan does not know them.
        accounts: Number of accounts that accept them.
    """

    available_add_on_sid: str | None
    unique_names: tuple[str, ...] = ()
    offer: Offer | None
    accounts: int = 0


def _kind(change: str) -> str:
    """Return the mark and the path of a change."""
    return change.partition(" = ")[0]


def _by_add_on(one: Acceptance) -> tuple[tuple[str, ...], str, str]:
    digest = "" if one.offer is None else one.offer.digest
    return one.unique_names, one.available_add_on_sid or "", digest


def _by_number(group: UnmanagedGroup) -> tuple[int, str, str]:
    return -group.accounts, group.unique_name or "", group.available_add_on_sid or ""


def _by_name(target: Target) -> tuple[str, str]:
    return target.friendly_name or "", target.account_sid


@attrs.frozen(kw_only=True)
class PlanReport(Serializable):
    """The result of a plan, including the runs it resumed.

    Attributes:
        counts: The number of accounts, by outcome. "done" counts those that could be planned.
        to_change: Number of accounts with steps.
        steps: Total number of steps.
        groups: The steps, grouped across accounts.
        failures: Accounts that failed or cannot reach the desired state.
        unmatched: A message for each selection of the file that matches no account.
        complete: Whether the plan finished. If not, continue with `resume=True`.
        unmanaged: The installed Add-ons that no entry covers, if the plan was to list them. At most
            200 groups.
        other_unmanaged: Number of such Add-ons that are in none of these groups.
        removals: The installed Add-ons to remove, sorted by account: at most the first 20.
        left_out: Number of steps that the selected part leaves out, by action. "replace" counts
            replacements, whose two steps are only performed together.
        acceptances: The prices and terms that the installations accept, by Add-on.
        workers: A report of each worker. Empty if all accounts were planned in this process.
    """

    counts: Counts
    to_change: int
    steps: int
    groups: tuple[Group, ...]
    failures: Failures
    unmatched: tuple[str, ...]
    complete: bool
    unmanaged: tuple[UnmanagedGroup, ...] = ()
    other_unmanaged: int = 0
    removals: tuple[Removal, ...] = ()
    left_out: dict[str, int] = attrs.field(factory=dict, hash=False)
    acceptances: tuple[Acceptance, ...] = ()
    workers: tuple[WorkerReport, ...] = ()

    @property
    def accounts(self) -> int:
        """The number of accounts that were planned or failed."""
        return self.counts.accounts - self.counts.not_begun

    @property
    def totals(self) -> dict[Action, int]:
        """The number of steps by action. Actions without steps are 0."""
        totals: Counter[Action] = Counter()
        for group in self.groups:
            totals[group.action] += group.accounts
        return {action: totals[action] for action in _ACTIONS}

    def add_ons_to_install(self) -> tuple[str, ...]:
        """Return the SIDs of the Add-ons to install, each once."""
        sids = {one.available_add_on_sid for one in self.acceptances}
        return tuple(sorted(sid for sid in sids if sid is not None))

    def check_removals(self, most: int) -> None:
        """Raise JobError if the plan removes more than `most` Add-ons. The message names them."""
        removed = self.totals["remove"]
        if removed <= most:
            return
        names = ", ".join(
            f"{group.unique_name} on {group.accounts:,}"
            for group in self.groups
            if group.action == "remove"
        )
        raise JobError(
            f"the plan removes {removed:,} installed Add-ons, and at most {most:,} are allowed "
            f"(--max-removals, or max_removals=): {names}. Nothing was changed"
        )


def _by_account(removal: Removal) -> tuple[str, str, str]:
    return removal.account_sid, removal.unique_name, removal.sid or ""


class Summary:
    """Summarizes the plans of accounts."""

    def __init__(self, desired: Desired) -> None:
        self._names = desired.unique_names()
        self.to_change: int = 0
        self._steps = 0
        self._groups: dict[tuple[str | Offer | None, ...], Group] = {}
        self._unmanaged: dict[tuple[str | None, ...], UnmanagedGroup] = {}
        self._other_unmanaged = 0
        self._removals: list[Removal] = []
        self._left_out: Counter[str] = Counter()
        self._acceptances: dict[tuple[str | None, Offer | None], Acceptance] = {}

    def add(self, plan: AccountPlan) -> None:
        """Add the plan of one account."""
        target = Target(plan.account_sid, plan.friendly_name)
        self.to_change += bool(plan.steps)
        self._steps += len(plan.steps)
        for step in plan.steps:
            key = (
                *(step.action, step.unique_name, step.available_add_on_sid, step.extension),
                *(step.previous_name, step.offer),
            )
            if key not in self._groups:
                self._groups[key] = Group(
                    action=step.action,
                    unique_name=step.unique_name,
                    available_add_on_sid=step.available_add_on_sid,
                    extension=step.extension,
                    previous_name=step.previous_name,
                    offer=step.offer,
                )
            self._groups[key].add(target, step)
        self._add_acceptances(plan)
        for one in plan.unmanaged:
            self._add_unmanaged(target, one)
        self._left_out.update(plan.left_out)
        self._add_removals(plan)

    def _add_removals(self, plan: AccountPlan) -> None:
        removals = [
            Removal(
                account_sid=plan.account_sid,
                friendly_name=plan.friendly_name,
                unique_name=step.previous_name or step.unique_name,
                sid=step.sid,
            )
            for step in plan.steps
            if step.action == "remove"
        ]
        if removals:
            found = sorted((*self._removals, *removals), key=_by_account)
            self._removals = found[:_MAX_REMOVALS]

    def _add_acceptances(self, plan: AccountPlan) -> None:
        accepted = set()
        for step in plan.steps:
            if step.action == "install":
                key = (step.available_add_on_sid, step.offer)
                if key not in self._acceptances:
                    self._acceptances[key] = Acceptance(available_add_on_sid=key[0], offer=key[1])
                one = self._acceptances[key]
                if step.unique_name not in one.unique_names:
                    one.unique_names = tuple(sorted((*one.unique_names, step.unique_name)))
                accepted.add(key)
        for key in accepted:
            self._acceptances[key].accounts += 1

    def _add_unmanaged(self, target: Target, one: UnmanagedAddOn) -> None:
        key = (one.unique_name, one.available_add_on_sid)
        if key not in self._unmanaged:
            if len(self._unmanaged) == _MAX_KINDS:
                self._other_unmanaged += 1
                return
            self._unmanaged[key] = UnmanagedGroup(
                unique_name=one.unique_name,
                available_add_on_sid=one.available_add_on_sid,
                friendly_name=one.friendly_name,
            )
        self._unmanaged[key].add(target)

    def read(self, file: Path) -> None:
        """Add the plans that are already in a file."""
        for record in records_in(file):
            self.add(from_json(record, AccountPlan, "the plan of an account"))

    def report(
        self, counts: Counts, failures: Failures, unmatched: tuple[str, ...], *, complete: bool
    ) -> PlanReport:
        """Return the report."""
        return PlanReport(
            counts=counts,
            to_change=self.to_change,
            steps=self._steps,
            groups=tuple(sorted(self._groups.values(), key=self._order)),
            failures=failures,
            unmatched=unmatched,
            complete=complete,
            unmanaged=tuple(sorted(self._unmanaged.values(), key=_by_number)),
            other_unmanaged=self._other_unmanaged,
            removals=tuple(self._removals),
            left_out=dict(sorted(self._left_out.items())),
            acceptances=tuple(sorted(self._acceptances.values(), key=_by_add_on)),
        )

    def _order(self, group: Group) -> tuple[int, int, str, str]:
        name = self._names.index(group.unique_name)
        previous = group.previous_name or ""
        return name, _ACTIONS.index(group.action), group.extension or "", previous


class Unmatched:
    """Finds the selections of a desired state that match no account."""

    def __init__(self, desired: Desired) -> None:
        self._index = desired.index
        self._entries = set(range(len(self._index.entries)))
        self._terms = set(range(len(self._index.terms)))

    def add(self, target: Target) -> None:
        """Compare an account with the selections."""
        match = self._index.match(target.account_sid, target.friendly_name)
        self._entries.difference_update(match.entries)
        self._terms.difference_update(match.terms)

    def failures(self) -> list[Failure]:
        """Return a failure for each account that the file names, but the source does not list."""
        places: dict[str, tuple[str, str]] = {}
        for number in sorted(self._terms):
            term = self._index.terms[number]
            if term.is_sid and not term.is_exception:
                path = path_text(self._index.entries[term.entry].path)
                places.setdefault(term.text.lower(), (term.text, path))
        return [
            Failure(
                sid,
                None,
                "NotFoundError",
                f"{path}.accounts: the account is not in the list of accounts",
            )
            for sid, path in places.values()
        ]

    def messages(self) -> tuple[str, ...]:
        """Return a message for each entry, pattern or exception that matched no account."""
        return tuple(self._messages())

    def _messages(self) -> Iterator[str]:
        add_ons = set()
        for number in sorted(self._entries):
            entry = self._index.entries[number]
            if entry.override is None:
                add_ons.add(entry.add_on)
                yield f'{path_text(entry.path)} ("{entry.unique_name}") matches no account'
            elif entry.add_on not in add_ons:
                yield (
                    f'{path_text(entry.path)} ("{entry.unique_name}") matches no account '
                    f"of add_ons[{entry.add_on}]"
                )
        for number in sorted(self._terms):
            term = self._index.terms[number]
            # A missing account is a failure. A missing exception is not.
            if term.entry not in self._entries and (term.is_exception or not term.is_sid):
                entry = self._index.entries[term.entry]
                path = path_text((*entry.path, "accounts", term.key, term.index))
                yield f'{path} ("{entry.unique_name}"): {term.text!r} matches no account'
