"""The report of a plan: the plans of all accounts, added up in bounded memory."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import attrs

from .._core.codec import from_json
from .._core.serializable import Serializable
from ._engine.entries import Failure, Failures
from ._engine.tally import Counts
from .desired import Desired
from .pages import records_in
from .problems import path_text
from .sources import Target
from .steps import AccountPlan, Action, Step

_MAX_EXAMPLES = 3
_MAX_CHANGES = 20
_MAX_KINDS = 200
_ACTIONS = ("remove", "install", "update", "enable", "disable")


@attrs.define(kw_only=True)
class Group:
    """The same step on several accounts.

    Attributes:
        action: "install", "update", "enable", "disable" or "remove".
        unique_name: The unique name of the Add-on.
        available_add_on_sid: The Add-on, `XB...`.
        extension: The unique name of the extension to enable or disable.
        accounts: Number of accounts.
        examples: The first 3 accounts by friendly name.
        changes: Configuration changes, each with its number of accounts. At most 20 different ones.
        other_changes: Number of changes that are not in `changes`.
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
        """Add the step of one more account."""
        self.accounts += 1
        # Accounts are planned in any order. The examples do not depend on it.
        examples = sorted((*self.examples, target), key=_by_name)
        self.examples = tuple(examples[:_MAX_EXAMPLES])
        for change in step.changes:
            text = str(change)
            if text in self.changes or len(self.changes) < _MAX_CHANGES or self._is_new_key(text):
                self.changes[text] += 1
            else:
                self.other_changes += 1

    def _is_new_key(self, text: str) -> bool:
        """Return whether no change of this key is shown yet, however many values there are."""
        kind = _kind(text)
        return len(self.changes) < _MAX_KINDS and all(_kind(one) != kind for one in self.changes)


def _kind(change: str) -> str:
    """Return the mark and the path of a change."""
    return change.partition(" = ")[0]


def _by_name(target: Target) -> tuple[str, str]:
    return target.friendly_name or "", target.account_sid


@attrs.frozen(kw_only=True)
class PlanReport(Serializable):
    """The result of a plan, including the runs it resumed.

    Attributes:
        counts: What became of the accounts. "done" are those that could be planned.
        to_change: Number of accounts with steps to do.
        steps: Total number of steps.
        groups: The steps, grouped across accounts.
        failures: Accounts that failed or cannot reach the desired state.
        unmatched: A message for each selection of the file that matches no account.
        complete: Whether the plan finished. If not, continue with `resume=True`.
    """

    counts: Counts
    to_change: int
    steps: int
    groups: tuple[Group, ...]
    failures: Failures
    unmatched: tuple[str, ...]
    complete: bool

    @property
    def accounts(self) -> int:
        """The number of accounts that were planned or failed."""
        return self.counts.accounts - self.counts.not_begun


class Summary:
    """Adds up the plans of accounts."""

    def __init__(self, desired: Desired) -> None:
        self._names = desired.unique_names()
        self.to_change: int = 0
        self._steps = 0
        self._groups: dict[tuple[str | None, ...], Group] = {}

    def add(self, plan: AccountPlan) -> None:
        """Add the plan of one account."""
        target = Target(plan.account_sid, plan.friendly_name)
        self.to_change += bool(plan.steps)
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
        )

    def _order(self, group: Group) -> tuple[int, int, str]:
        name = self._names.index(group.unique_name)
        return name, _ACTIONS.index(group.action), group.extension or ""


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
        """Return a failure for each account that the file names and the source does not list."""
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
            # An account that is missing is a failure, an exception that is missing is not.
            if term.entry not in self._entries and (term.is_exception or not term.is_sid):
                entry = self._index.entries[term.entry]
                path = path_text((*entry.path, "accounts", term.key, term.index))
                yield f'{path} ("{entry.unique_name}"): {term.text!r} matches no account'
