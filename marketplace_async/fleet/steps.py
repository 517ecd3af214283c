"""What is to be done on an account: from what is wanted and what is there, without any I/O."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Literal, TypeAlias

import attrs

from .._core.codec import same_json
from ..resources.installed_add_ons import InstalledAddOn, InstalledAddOnExtension
from .desired import Wanted
from .masking import masked, secret_values

Action: TypeAlias = Literal["install", "update", "enable", "disable", "remove"]


@attrs.frozen
class Change:
    """One difference between a configuration that is there and the one that is wanted.

    Attributes:
        path: The keys down to it, with dots between them.
        before: What is there, as JSON text, masked if it is secret; None if nothing is.
        after: What is wanted, likewise.
    """

    path: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        if self.before is None:
            return f"+ {self.path} = {self.after}"
        if self.after is None:
            return f"- {self.path} = {self.before}"
        return f"~ {self.path} = {self.before} -> {self.after}"


@attrs.frozen(kw_only=True)
class Step:
    """One thing that is to be done on an account. It holds no secret.

    Attributes:
        action: "install", "update", "enable" or "disable" (an extension), or "remove".
        unique_name: The unique name of the add-on.
        available_add_on_sid: The add-on, `XB...`, as far as it is known.
        sid: The installed add-on, `XE...`; None for one that is to be installed.
        extension: The unique name of the extension that is to be enabled or disabled.
        changes: What becomes of the configuration.
    """

    action: Action
    unique_name: str
    available_add_on_sid: str | None = None
    sid: str | None = None
    extension: str | None = None
    changes: tuple[Change, ...] = ()

    @property
    def key(self) -> str:
        """Which step of its account it is: the same for the same step of another plan."""
        return "/".join(filter(None, (self.action, self.unique_name, self.extension)))

    def __str__(self) -> str:
        if self.extension is not None:
            return f"{self.action} {self.extension} of {self.unique_name}"
        return f"{self.action} {self.unique_name}"


@attrs.frozen
class AccountPlan:
    """What is to be done on one account.

    Attributes:
        account_sid: `AC...`.
        friendly_name: The account's name for people.
        steps: In the order in which they are to be done; none if the account is as it should be.
        problems: What stands in the way of what is wanted, in sentences.
    """

    account_sid: str
    friendly_name: str | None
    steps: tuple[Step, ...]
    problems: tuple[str, ...] = ()


@attrs.frozen
class Observed:
    """What is on an account.

    Attributes:
        installed: The add-ons that are installed.
        extensions: The extensions of those whose extensions matter, by the SID `XE...`.
    """

    installed: tuple[InstalledAddOn, ...]
    extensions: Mapping[str, tuple[InstalledAddOnExtension, ...]] = attrs.field(
        factory=dict, hash=False
    )

    def named(self, unique_name: str) -> InstalledAddOn | None:
        """Return what is installed under a unique name."""
        return next((one for one in self.installed if one.unique_name == unique_name), None)

    def secret_values(self, secret: Collection[str]) -> frozenset[str]:
        """Return the values under secret keys, as text."""
        return secret_values([one.configuration for one in self.installed], secret)


def with_extensions_that_matter(
    wanted: Iterable[Wanted], installed: Observed
) -> Iterator[InstalledAddOn]:
    """Give the installed add-ons whose extensions have to be read to tell what is to be done."""
    for one in wanted:
        found = installed.named(one.unique_name)
        if found is not None and one.extensions and _is(found, one):
            yield found


def steps_for(
    wanted: Iterable[Wanted], observed: Observed, secret: Collection[str]
) -> tuple[tuple[Step, ...], tuple[str, ...]]:
    """Return the steps from what is observed to what is wanted, and what stands in the way.

    What is to be removed comes first, so that it makes room.
    """
    steps: list[Step] = []
    problems: list[str] = []
    for one in wanted:
        found = observed.named(one.unique_name)
        if found is not None and not _is(found, one):
            # It is somebody's: it is neither removed nor replaced on the strength of its name.
            problems.append(
                f"{one.path}: {one.unique_name} is another add-on there, "
                f"{found.available_add_on_sid} ({found.sid})"
            )
        elif one.state == "present":
            steps += _steps_to_have(one, found, observed, secret, problems)
        elif found is not None:
            steps.append(_step("remove", one, found))
    steps.sort(key=lambda step: step.action != "remove")
    return tuple(steps), tuple(problems)


def _steps_to_have(
    wanted: Wanted,
    found: InstalledAddOn | None,
    observed: Observed,
    secret: Collection[str],
    problems: list[str],
) -> Iterator[Step]:
    if found is None:
        configuration = wanted.configuration or {}
        changes = tuple(differences({}, configuration, secret))
        yield _step("install", wanted, None, changes=changes)
        # The extensions of a new installation are disabled.
        for name, enabled in wanted.extensions.items():
            if enabled:
                yield _step("enable", wanted, None, extension=name)
        return
    before = found.configuration or {}
    if wanted.configuration is not None and not same_json(before, wanted.configuration):
        changes = tuple(differences(before, wanted.configuration, secret))
        yield _step("update", wanted, found, changes=changes)
    there = {one.unique_name: one.enabled for one in observed.extensions.get(found.sid, ())}
    for name, enabled in wanted.extensions.items():
        if name not in there:
            problems.append(f"{wanted.path}.extensions.{name}: {found.sid} has no such extension")
        elif bool(there[name]) is not enabled:
            yield _step("enable" if enabled else "disable", wanted, found, extension=name)


def _step(
    action: Action,
    wanted: Wanted,
    found: InstalledAddOn | None,
    *,
    extension: str | None = None,
    changes: tuple[Change, ...] = (),
) -> Step:
    sid = wanted.available_add_on_sid
    return Step(
        action=action,
        unique_name=wanted.unique_name,
        available_add_on_sid=sid if found is None else found.available_add_on_sid,
        sid=None if found is None else found.sid,
        extension=extension,
        changes=changes,
    )


def _is(found: InstalledAddOn, wanted: Wanted) -> bool:
    return wanted.available_add_on_sid in (None, found.available_add_on_sid)


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any], secret: Collection[str], path: str = ""
) -> Iterator[Change]:
    """Give what differs between two configurations, with the values of secret keys masked."""
    for key in (*before, *(key for key in after if key not in before)):
        here = f"{path}{key}"
        one, other = before.get(key), after.get(key)
        if key in before and key in after and same_json(one, other):
            continue
        hidden = key in secret
        tables = isinstance(one, dict | None) and isinstance(other, dict | None)
        if tables and (one or other) and not hidden:
            yield from differences(one or {}, other or {}, secret, f"{here}.")
            continue
        yield Change(
            here,
            _text({key: one}, key, secret) if key in before else None,
            _text({key: other}, key, secret) if key in after else None,
        )


def _text(table: dict[str, Any], key: str, secret: Collection[str]) -> str:
    value = masked(table, secret)[key]
    return value if key in secret else json.dumps(value, ensure_ascii=False)
