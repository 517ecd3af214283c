"""The steps from the observed state of an account to its desired state. No I/O."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import attrs

from .._core.masking import redacted
from ..errors import UnreadableFieldError
from ..resources.installed_add_on import InstalledAddOn
from ..resources.installed_add_on_extensions import InstalledAddOnExtension
from .comparison import Change, differences
from .desired import Wanted
from .digests import Digests
from .masking import secret_values
from .offers import Offer, Offers

Action: TypeAlias = Literal["install", "rename", "update", "enable", "disable", "remove"]


@attrs.frozen(kw_only=True)
class Step:
    """One change to an account. It contains no secrets.

    Attributes:
        action: "install", "rename", "update", "enable" or "disable" (an extension), or "remove".
        unique_name: The unique name of the Add-on.
        available_add_on_sid: The Add-on, `XB...`, if known.
        sid: The installed Add-on, `XE...`. None if it is to be installed.
        extension: The unique name of the extension to enable or disable.
        changes: The changes to the configuration.
        before: A digest of what the plan saw: the configuration, or the state of the extension.
        after: A digest of the configuration that the step writes. None if it writes none.
            A rename has digests of both unique names.
        previous_name: The current unique name, if the step renames the Add-on, or removes it under
            a previous name.
        also_installed: The unique names under which the account already has the Add-on to install,
            or the one that it replaces, and which no entry of the desired state covers.
        offer: The price and the terms that an installation accepts. None for other steps.
    """

    action: Action
    unique_name: str
    available_add_on_sid: str | None = None
    sid: str | None = None
    extension: str | None = None
    changes: tuple[Change, ...] = ()
    before: str | None = None
    after: str | None = None
    previous_name: str | None = None
    also_installed: tuple[str, ...] = ()
    offer: Offer | None = None

    @property
    def key(self) -> str:
        """Identifies the step within its account, in journals and messages."""
        return "/".join(filter(None, (self.action, self.unique_name, self.extension)))

    def has_content_of(self, other: "Step") -> bool:
        """Return whether both steps do the same, so that approving one approves the other.

        `changes` is not compared: it leaves out secret values, which the digests may cover.
        """
        return attrs.evolve(self, changes=()) == attrs.evolve(other, changes=())

    def __str__(self) -> str:
        if self.extension is not None:
            return f"{self.action} {self.extension} of {self.unique_name}"
        if self.action == "rename":
            return f"rename {self.previous_name} to {self.unique_name}"
        if self.previous_name is not None:
            return f"{self.action} {self.previous_name}"
        return f"{self.action} {self.unique_name}"


@attrs.frozen(kw_only=True)
class UnmanagedAddOn:
    """An installed Add-on that no entry of the desired state covers on its account.

    Attributes:
        unique_name: Its unique name.
        sid: The installed Add-on, `XE...`.
        available_add_on_sid: The Add-on, `XB...`.
        friendly_name: The display name of the Add-on.
    """

    unique_name: str | None
    sid: str
    available_add_on_sid: str | None
    friendly_name: str | None


@attrs.frozen
class AccountPlan:
    """The plan of one account.

    Attributes:
        account_sid: The account, `AC...`.
        friendly_name: The account's friendly name.
        steps: The steps in the order in which to perform them. Empty if nothing has to change.
        problems: A message for each part of the desired state that cannot be reached.
        compared: The unique names that were compared with the account and have no problem.
        unclear: The unique names that were compared with the account and have a problem.
        unmanaged: The installed Add-ons that no entry covers, if the plan was to list them.
        left_out: The actions of the steps that the selected part leaves out: "replace" for both
            steps of a replacement.
    """

    account_sid: str
    friendly_name: str | None
    steps: tuple[Step, ...]
    problems: tuple[str, ...] = ()
    compared: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()
    unmanaged: tuple[UnmanagedAddOn, ...] = ()
    left_out: tuple[str, ...] = ()


@attrs.frozen
class Problem:
    """A part of the desired state that cannot be reached, and why."""

    unique_name: str
    message: str


@attrs.frozen
class Observed:
    """The observed state of an account.

    Attributes:
        installed: The installed Add-ons.
        is_proven: Whether the credentials are proven to belong to the account.
        extensions: The extensions of relevant installed Add-ons, by SID (`XE...`).
    """

    installed: tuple[InstalledAddOn, ...]
    is_proven: bool = True
    extensions: Mapping[str, tuple[InstalledAddOnExtension, ...]] = attrs.field(
        factory=dict, hash=False
    )

    def named(self, unique_name: str) -> InstalledAddOn | None:
        """Return the installed Add-on with this unique name."""
        return next((one for one in self.installed if one.unique_name == unique_name), None)

    def of(self, wanted: Wanted) -> tuple[InstalledAddOn, ...]:
        """Return the Add-on installed under the unique name, or else those under previous names."""
        found = self.named(wanted.unique_name)
        if found is not None:
            return (found,)
        previous = [self.named(name) for name in wanted.previous_names]
        return tuple(
            one
            for one in previous
            if one is not None and (is_same(one, wanted) or _is_unknown(one))
        )

    def secret_values(self, secret: Collection[str]) -> frozenset[str]:
        """Return the values of secret keys as text."""
        return secret_values([one.configuration for one in self.installed], secret)


def relevant_add_ons(wanted: Iterable[Wanted], observed: Observed) -> Iterator[InstalledAddOn]:
    """Yield the installed Add-ons whose extensions a plan depends on."""
    for one in wanted:
        for installed in observed.of(one) if one.extensions else ():
            if is_same(installed, one, replaced=False):
                yield installed


def unmanaged_add_ons(wanted: Iterable[Wanted], observed: Observed) -> tuple[UnmanagedAddOn, ...]:
    """Return the installed Add-ons that no entry covers."""
    covered = {name for one in wanted for name in one.names}
    return tuple(
        UnmanagedAddOn(
            unique_name=one.unique_name,
            sid=one.sid,
            available_add_on_sid=one.available_add_on_sid,
            friendly_name=one.friendly_name,
        )
        for one in observed.installed
        if one.unique_name not in covered
    )


def steps_for(
    wanted: Sequence[Wanted],
    observed: Observed,
    secret: Collection[str],
    digests: Digests,
    secrets: Collection[str] = (),
    offers: Offers | None = None,
) -> tuple[tuple[Step, ...], tuple[Problem, ...]]:
    """Return the steps from the observed to the wanted state, and the problems.

    Removals come first.

    Args:
        wanted: The desired state of the account.
        observed: The observed state.
        secret: The secret keys. Their values are masked.
        digests: Computes the digests of the steps.
        secrets: Values to mask under other keys as well.
        offers: The prices and terms of the Add-ons to install, by SID.

    Raises:
        UnreadableFieldError: The steps depend on a field that is unknown.
    """
    _check_known(wanted, observed)
    covered = frozenset(name for one in wanted for name in one.names)
    planner = _Planner(observed, secret, digests, secrets, covered, offers or {})
    for one in wanted:
        planner.add(one)
    planner.steps.sort(key=lambda step: step.action != "remove")
    return tuple(planner.steps), tuple(planner.problems)


def _check_known(wanted: Iterable[Wanted], observed: Observed) -> None:
    """Raise UnreadableFieldError if the steps depend on a field that is unknown."""
    for installed in observed.installed:
        # It may be any of the wanted Add-ons.
        if "unique_name" in installed.unreadable:
            raise UnreadableFieldError(installed.sid, ["unique_name"])
    for one in wanted:
        for found in observed.of(one):
            _check_one(one, found, observed)


def _check_one(one: Wanted, found: InstalledAddOn, observed: Observed) -> None:
    if one.available_add_on_sid is not None and _is_unknown(found):
        raise UnreadableFieldError(found.sid, ["links"])
    if one.configuration is not None and "configuration" in found.unreadable:
        raise UnreadableFieldError(found.sid, ["configuration"])
    for extension in observed.extensions.get(found.sid, ()) if one.extensions else ():
        if "unique_name" in extension.unreadable:
            raise UnreadableFieldError(extension.sid, ["unique_name"])
        if extension.unique_name in one.extensions and extension.enabled is None:
            raise UnreadableFieldError(extension.sid, ["enabled"])


@attrs.define
class _Planner:
    """Collects the steps and problems of one account."""

    observed: Observed
    secret: Collection[str]
    digests: Digests
    secrets: Collection[str]
    covered: Collection[str]
    offers: Offers
    steps: list[Step] = attrs.field(factory=list)
    problems: list[Problem] = attrs.field(factory=list)

    def add(self, wanted: Wanted) -> None:
        found = self.observed.of(wanted)
        installed = found[0] if found else None
        if installed is None:
            if wanted.state == "present":
                self._install(wanted)
        elif len(found) > 1:
            names = ", ".join(f"{one.unique_name} ({one.sid})" for one in found)
            self._problem(
                wanted,
                f"{wanted.path}.previous_names: several are installed: {names}; "
                "keep the name of one of them in previous_names",
            )
        elif not is_same(installed, wanted):
            # Do not remove or replace a different Add-on just because its name is equal.
            self._problem(
                wanted,
                f"{wanted.path}: a different Add-on uses the unique name {wanted.unique_name}: "
                f"{installed.available_add_on_sid} ({installed.sid})",
            )
        elif wanted.state == "absent":
            self._remove(wanted, installed)
        elif not is_same(installed, wanted, replaced=False):
            self._remove(wanted, installed)
            self._install(wanted)
        else:
            self._rename(wanted, installed)
            self._update(wanted, installed)
            self._switch(wanted, installed)

    def _remove(self, wanted: Wanted, installed: InstalledAddOn) -> None:
        before = self._digest(wanted, installed.configuration)
        previous = _previous_name(wanted, installed)
        self._step("remove", wanted, installed, before=before, previous_name=previous)

    def _rename(self, wanted: Wanted, installed: InstalledAddOn) -> None:
        previous = _previous_name(wanted, installed)
        if previous is not None:
            before, after = self.digests.of(previous), self.digests.of(wanted.unique_name)
            self._step(
                "rename", wanted, installed, before=before, after=after, previous_name=previous
            )

    def _also_installed(self, wanted: Wanted) -> tuple[str, ...]:
        names = {
            one.unique_name
            for one in self.observed.installed
            if one.unique_name is not None and is_same(one, wanted)
        }
        return tuple(sorted(names.difference(self.covered)))

    def _install(self, wanted: Wanted) -> None:
        configuration = wanted.configuration or {}
        changes = self._changes({}, configuration)
        after = self._digest(wanted, configuration)
        also = self._also_installed(wanted)
        offer = self.offers.get(wanted.available_add_on_sid or "")
        details = {"changes": changes, "after": after, "also_installed": also, "offer": offer}
        self._step("install", wanted, None, **details)
        # The extensions of a new installation are disabled.
        for name, enabled in wanted.extensions.items():
            if enabled:
                before = self.digests.of(False)
                self._step("enable", wanted, None, extension=name, before=before, after=after)

    def _update(self, wanted: Wanted, installed: InstalledAddOn) -> None:
        if wanted.is_configured(installed.configuration):
            return
        before = installed.configuration or {}
        after = wanted.configuration_to_write(before, self.secret) or {}
        self._step(
            "update",
            wanted,
            installed,
            changes=self._changes(before, after),
            before=self._digest(wanted, before),
            after=self._digest(wanted, after),
        )

    def _switch(self, wanted: Wanted, installed: InstalledAddOn) -> None:
        extensions = self.observed.extensions.get(installed.sid, ())
        current = {one.unique_name: one.enabled for one in extensions}
        for name, enabled in wanted.extensions.items():
            if name not in current:
                path = f"{wanted.path}.extensions.{name}"
                self._problem(wanted, f"{path}: {installed.sid} has no such extension")
            elif current[name] is not enabled:
                action: Action = "enable" if enabled else "disable"
                before = self.digests.of(current[name])
                self._step(action, wanted, installed, extension=name, before=before)

    def _changes(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
        def masked(text: str | None) -> str | None:
            return None if text is None else redacted(text, self.secrets)

        return tuple(
            attrs.evolve(change, before=masked(change.before), after=masked(change.after))
            for change in differences(before, after, self.secret)
        )

    def _digest(self, wanted: Wanted, configuration: Mapping[str, Any] | None) -> str:
        return self.digests.of(wanted.compared(configuration))

    def _problem(self, wanted: Wanted, message: str) -> None:
        self.problems.append(Problem(wanted.unique_name, message))

    def _step(
        self, action: Action, wanted: Wanted, installed: InstalledAddOn | None, **details: Any
    ) -> None:
        sid = wanted.available_add_on_sid if installed is None else installed.available_add_on_sid
        self.steps.append(
            Step(
                action=action,
                unique_name=wanted.unique_name,
                available_add_on_sid=sid,
                sid=None if installed is None else installed.sid,
                **details,
            )
        )


def is_same(installed: InstalledAddOn, wanted: Wanted, *, replaced: bool = True) -> bool:
    """Return whether an installed Add-on is the wanted one.

    Args:
        installed: The installed Add-on.
        wanted: The desired state.
        replaced: Whether the Add-on that the wanted one replaces counts as well.
    """
    sid = installed.available_add_on_sid
    if wanted.available_add_on_sid in (None, sid):
        return True
    return replaced and sid is not None and sid == wanted.replaces


def _is_unknown(installed: InstalledAddOn) -> bool:
    return installed.available_add_on_sid is None


def _previous_name(wanted: Wanted, installed: InstalledAddOn) -> str | None:
    return None if installed.unique_name == wanted.unique_name else installed.unique_name
