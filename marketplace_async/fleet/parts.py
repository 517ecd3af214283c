"""Limits a plan or an apply to a part of a fleet: to some accounts, Add-ons or actions."""

import heapq
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final, get_args

import attrs

from .._core.arguments import check_positive_int, check_sid, check_text
from ._engine.entries import Failure
from .connections import Connection, Target, iterating
from .desired import Desired
from .selection import Pattern, nfc
from .steps import AccountPlan, Action, Step

_BATCH: Final = 1000
ACTIONS: Final[tuple[Action, ...]] = get_args(Action)


def _texts(values: Iterable[str]) -> tuple[str, ...]:
    if isinstance(values, str):
        raise TypeError(f"part: expected a list of strings, got the string {values!r}")
    return tuple(values)


def _actions(values: Iterable[str]) -> tuple[Action, ...]:
    known: dict[str, Action] = {action: action for action in ACTIONS}
    texts = _texts(values)
    for text in texts:
        if text not in known:
            raise ValueError(f"actions: expected some of {', '.join(ACTIONS)}, got {text!r}")
    return tuple(known[text] for text in texts)


@attrs.frozen(kw_only=True)
class Part:
    """Limits a plan or an apply to a part of the fleet. The default is the whole fleet.

    Attributes:
        accounts: The SIDs of accounts, `AC...`.
        friendly_names: Patterns of friendly names: `*` matches any text, `?` any character. An
            account is selected if its SID or its name matches. If neither SIDs nor names are given,
            all accounts are selected.
        add_ons: The unique names of Add-ons in the desired state. Empty selects all of them.
        limit: Maximum number of accounts (1 or more): the first ones in the order of their SIDs.
            Only accounts to which an entry applies count. In a saved plan, only accounts with steps
            count.
        actions: Perform only these actions, such as "install" and "update". A replacement, which
            removes one Add-on and installs another, needs both "install" and "remove".
            The extensions of a new installation need "install" as well.
    """

    accounts: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    friendly_names: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    add_ons: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    limit: int | None = None
    actions: tuple[Action, ...] = attrs.field(default=(), converter=_actions)

    def __attrs_post_init__(self) -> None:
        for sid in self.accounts:
            check_sid("AC", sid, "accounts")
        for pattern in self.friendly_names:
            check_text(pattern, "friendly_names")
        if self.limit is not None:
            check_positive_int(self.limit, "limit")

    @property
    def selects_accounts(self) -> bool:
        """Whether it limits the accounts."""
        return bool(self.accounts or self.friendly_names or self.limit)

    def has(self, unique_name: str) -> bool:
        """Return whether the Add-on is in the part."""
        return not self.add_ons or unique_name in self.add_ons

    def check(self, desired: Desired) -> None:
        """Raise ValueError if the desired state lacks one of the unique names."""
        known = list(dict.fromkeys(desired.unique_names()))
        for name in self.add_ons:
            if name not in known:
                names = ", ".join(known) or "none"
                raise ValueError(
                    f"add_ons: no entry of the desired state has the unique name {name!r}; "
                    f"it has: {names}"
                )

    def identity(self) -> dict[str, Any]:
        """Return what distinguishes it from other parts, as plain JSON. The whole fleet is {}."""
        values = {
            "accounts": sorted({sid.lower() for sid in self.accounts}),
            "friendly_names": sorted(set(self.friendly_names)),
            "add_ons": sorted(set(self.add_ons)),
            "limit": self.limit,
            "actions": sorted(set(self.actions)),
        }
        given = [
            f"{name} {', '.join(map(str, value)) if isinstance(value, list) else value}"
            for name, value in values.items()
            if value
        ]
        return {"part": given} if given else {}

    def leaves_out(self, step: Step, steps: Collection[Step]) -> bool:
        """Return whether a step is not in the part.

        Args:
            step: The step.
            steps: All steps of the account.
        """
        if not self.has(step.unique_name):
            return True
        if not self.actions:
            return False
        needed = {step.action}
        if is_replaced(step, steps):
            needed = {"install", "remove"}
        if step.sid is None:
            needed.add("install")
            if any(
                is_replaced(one, steps) for one in steps if one.key == f"remove/{step.unique_name}"
            ):
                needed.add("remove")
        return not needed <= set(self.actions)

    def of(self, plan: AccountPlan) -> AccountPlan:
        """Return the plan with only those steps that are in the part."""
        left_out = [step for step in plan.steps if self.leaves_out(step, plan.steps)]
        if not left_out:
            return plan
        # The journal relies on this: an Add-on in `compared` is as desired, or has a step.
        names = {step.unique_name for step in left_out}
        return attrs.evolve(
            plan,
            steps=tuple(step for step in plan.steps if step not in left_out),
            compared=tuple(name for name in plan.compared if name not in names),
            left_out=(*plan.left_out, *_kinds(left_out, plan.steps)),
        )


def is_replaced(step: Step, steps: Collection[Step]) -> bool:
    """Return whether a step is one half of a replacement."""
    other = {"install": "remove", "remove": "install"}.get(step.action)
    return any(one.action == other and one.unique_name == step.unique_name for one in steps)


def _kinds(left_out: Iterable[Step], steps: Collection[Step]) -> Iterator[str]:
    for step in left_out:
        if not is_replaced(step, steps):
            yield step.action
        elif step.action == "remove":
            yield "replace"


class Chosen:
    """Selects the accounts of a part from the list of accounts.

    Args:
        part: The part.
        desired: The desired state.
    """

    def __init__(self, part: Part, desired: Desired) -> None:
        self._part = part
        self._desired = desired
        self._sids = {sid.lower() for sid in part.accounts}
        self._patterns = {text: Pattern(nfc(text)) for text in part.friendly_names}
        self._missing = dict.fromkeys((*part.accounts, *part.friendly_names))
        self._first: frozenset[str] | None = None

    def __call__(self, target: Target) -> bool:
        """Return whether an account is in the part."""
        if self._first is not None:
            return target.account_sid in self._first
        return self._is_named(target)

    def add(self, target: Target) -> None:
        """Do nothing: the call that selected the account has recorded the match."""

    async def limit(self, connection: Connection) -> None:
        """Find the first accounts if the part has a limit. Lists all accounts."""
        if self._part.limit is None:
            return
        found: list[str] = []
        async with iterating(connection.accounts()) as targets:
            async for target in targets:
                if self._is_named(target) and self._counts(target):
                    found.append(target.account_sid)
                    if len(found) > 2 * self._part.limit + _BATCH:
                        found = self._first_of(found)
        self._first = frozenset(self._first_of(found))

    def limit_to(self, targets: Iterable[Target]) -> None:
        """Find the first of these accounts if the part has a limit."""
        if self._part.limit is not None:
            named = (target.account_sid for target in targets if self._is_named(target))
            self._first = frozenset(self._first_of(named))

    def _first_of(self, sids: Iterable[str]) -> list[str]:
        assert self._part.limit is not None
        return heapq.nsmallest(self._part.limit, set(sids))

    def _is_named(self, target: Target) -> bool:
        if not self._sids and not self._patterns:
            return True
        found = target.account_sid.lower() in self._sids
        for sid in self._part.accounts if found else ():
            if sid.lower() == target.account_sid.lower():
                self._missing.pop(sid, None)
        name = nfc(target.friendly_name or "")
        for text, pattern in self._patterns.items():
            if pattern.matches(name):
                self._missing.pop(text, None)
                found = True
        return found

    def _counts(self, target: Target) -> bool:
        """Return whether an entry of the part applies to an account."""
        index, add_ons = self._desired.index, self._part.add_ons
        names = {
            index.entries[number].unique_name
            for number in index.match(target.account_sid, target.friendly_name).entries
        }
        return bool(names.intersection(add_ons) if add_ons else names)

    def failures(self) -> list[Failure]:
        """Return a failure for each account that is selected by SID, but not listed."""
        message = "the account is selected, but is not in the list of accounts"
        return [
            Failure(sid, None, "NotFoundError", message)
            for sid in self._missing
            if sid in self._part.accounts
        ]

    def messages(self) -> tuple[str, ...]:
        """Return a message for each pattern that matches no account."""
        return tuple(
            f"the selection matches no account: {text!r}"
            for text in self._missing
            if text not in self._part.accounts
        )
