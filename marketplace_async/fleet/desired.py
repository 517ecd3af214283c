"""The desired state: which Add-ons belong on which accounts."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path as FilePath
from types import MappingProxyType
from typing import Any, Final, Literal, TypeVar

import attrs
from msgspec import UnsetType

from .._core.frames import hide_arguments
from . import comparison
from .configurations import MissingValueError, filled, merged
from .desired_file import AddOn, File, Override
from .masking import secret_values, written_secrets
from .problems import DesiredStateError, Problems
from .selection import Index, Match, nfc
from .toml_text import Lines, Path

T = TypeVar("T")

_NO_COLUMNS: Final[Mapping[str, str]] = MappingProxyType({})


@attrs.frozen(kw_only=True)
class Wanted:
    """The desired state of one unique name on one account.

    Attributes:
        path: Where the file defines it, such as "add_ons[0]".
        unique_name: The unique name within the account.
        state: "present" or "absent".
        available_add_on_sid: The Add-on, `XB...`. None if any Add-on of that name is to be removed.
        configuration: The whole configuration. None leaves an existing configuration unchanged.
        ignore: The paths of configuration keys that are left as they are, such as
            "limits.minutes", with everything below them.
        extensions: Whether each extension is to be enabled, by unique name.
        previous_names: The unique names that it had before.
        replaces: The Add-on to replace, `XB...`, if it is installed under one of the names.
    """

    path: str
    unique_name: str
    state: Literal["present", "absent"]
    available_add_on_sid: str | None = None
    # The configuration may contain secrets.
    configuration: dict[str, Any] | None = attrs.field(default=None, hash=False, repr=False)
    ignore: tuple[str, ...] = ()
    extensions: dict[str, bool] = attrs.field(factory=dict, hash=False)
    previous_names: tuple[str, ...] = ()
    replaces: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The unique name and the previous ones."""
        return (self.unique_name, *self.previous_names)

    def is_configured(self, current: Mapping[str, Any] | None) -> bool:
        """Return whether an installed Add-on has the configuration, apart from the ignored keys.

        Args:
            current: The configuration of the installed Add-on.
        """
        return self.configuration is None or comparison.is_configured(
            self.configuration, current or {}, self.ignore
        )

    def configuration_to_write(
        self, current: Mapping[str, Any] | None, secret: Collection[str]
    ) -> dict[str, Any] | None:
        """Return the configuration for an installation or an update.

        Args:
            current: The configuration of the installed Add-on: an update keeps its ignored keys.
                None to install it.
            secret: The secret keys: even if they are ignored, an update writes their configured
                values, because Twilio may mask those that it returns.

        Returns:
            The whole configuration. None if the desired state has none.
        """
        if self.configuration is None:
            return None
        return comparison.configuration_to_write(self.configuration, current, self.ignore, secret)

    def compared(self, configuration: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the part of a configuration that is compared: all but the ignored keys."""
        return comparison.without_ignored(configuration or {}, self.ignore)

    def secret_values(self, secret: Collection[str]) -> frozenset[str]:
        """Return the values of secret keys on this account as text."""
        return secret_values(self.configuration, secret)


@attrs.frozen(slots=False)
class Desired:
    """A parsed desired state, for `plan` and `apply`.

    It contains the values of secret keys, and so does a pickle of it.

    Attributes:
        secret: The configuration keys whose values are masked in output and files.
        warnings: Parts of the file that are valid, but probably mistakes.
        files: The file that it was read from. No job may overwrite it.
    """

    _file: File = attrs.field(repr=False)
    secret: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    _digest: str = attrs.field(default="", repr=False)
    _lines: Lines = attrs.field(factory=Lines, eq=False, repr=False)
    files: tuple[FilePath, ...] = attrs.field(default=(), eq=False)
    _document: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)

    @hide_arguments
    def as_written(self) -> Mapping[str, Any]:
        """Return the document with the names of environment variables instead of secret values.

        Raises:
            DesiredStateError: The document itself contains secret values.
        """
        problems = self.problems()
        for path in written_secrets(self._document, self.secret):
            problems.add(
                path,
                "the value of a secret key is in the file, and would be sent to workers: write "
                '{ env = "NAME" }, and set NAME where the workers run',
            )
        problems.check()
        return self._document

    def __getstate__(self) -> dict[str, Any]:
        # Leave out the index and other cached values. They are computed again when needed.
        return {field.name: self.__dict__[field.name] for field in attrs.fields(Desired)}

    @cached_property
    def index(self) -> Index:
        """Finds the entries of the file that apply to an account."""
        return Index(self._file)

    def prepare(self) -> None:
        """Compute the values that jobs need on the event loop in advance."""
        _ = self.index, self._secret_values

    @property
    def add_ons(self) -> tuple[AddOn, ...]:
        """The Add-ons in the order of the file."""
        return self._file.add_ons

    @hide_arguments
    def wanted(
        self,
        account_sid: str,
        friendly_name: str | None,
        columns: Mapping[str, str] = _NO_COLUMNS,
    ) -> tuple[Wanted, ...]:
        """Return the desired state of one account, in the order of the file.

        Args:
            account_sid: The account, `AC...`.
            friendly_name: The account's friendly name.
            columns: Further values of the account for its configurations, by name.

        Raises:
            DesiredStateError: Two entries define the same unique name for this account, or a
                configuration contains the name of a value that the account does not have.
        """
        values = {
            **{nfc(name): value for name, value in columns.items()},
            "account_sid": account_sid,
            "friendly_name": friendly_name,
        }
        found: list[Wanted] = []
        by_name: dict[str, Wanted] = {}
        problems: list[str] = []
        for index, overrides in self._applying(self.index.match(account_sid, friendly_name)):
            try:
                wanted = _resolve(index, self.add_ons[index], overrides, values)
            except MissingValueError as error:
                problems.append(str(error))
                continue
            found.append(wanted)
            for name in wanted.names:
                other = by_name.setdefault(name, wanted)
                if other is not wanted:
                    problems.append(
                        f"{other.path} and {wanted.path} both define {name!r} "
                        f"for {account_sid} ({friendly_name}){_of_previous(name, other, wanted)}"
                    )
        if problems:
            raise DesiredStateError(problems)
        return tuple(found)

    def _applying(self, match: Match) -> Iterator[tuple[int, Sequence[Override]]]:
        """Yield the positions of Add-ons, each with the overrides that apply."""
        applying: dict[int, list[Override]] = {}
        for number in match.entries:
            entry = self.index.entries[number]
            overrides = applying.setdefault(entry.add_on, [])
            if entry.override is not None:
                overrides.append(overrides_of(self.add_ons[entry.add_on])[entry.override])
        yield from applying.items()

    def required_add_ons(self) -> dict[str, dict[str, Path]]:
        """Return the Add-ons to install, by SID, each with the paths of its extensions by name."""
        add_ons: dict[str, dict[str, Path]] = {}
        for index, add_on in enumerate(self.add_ons):
            if isinstance(add_on.available_add_on_sid, UnsetType) or add_on.state == "absent":
                continue
            paths = add_ons.setdefault(add_on.available_add_on_sid, {})
            entries: list[tuple[Path, AddOn | Override]] = [(("add_ons", index), add_on)]
            for number, override in enumerate(overrides_of(add_on)):
                entries.append((("add_ons", index, "overrides", number), override))
            for path, entry in entries:
                for name in or_default(entry.extensions, {}):
                    paths.setdefault(name, (*path, "extensions", name))
        return add_ons

    def unique_names(self) -> tuple[str, ...]:
        """Return the unique names in the order of the file."""
        return tuple(add_on.unique_name for add_on in self.add_ons)

    def paths_of(self, available_add_on_sid: str) -> list[Path]:
        """Return the paths where the file names an Add-on."""
        return [
            ("add_ons", index, "available_add_on_sid")
            for index, add_on in enumerate(self.add_ons)
            if add_on.available_add_on_sid == available_add_on_sid
        ]

    def problems(self) -> Problems:
        """Return an empty collection for problems of this file."""
        return Problems(self.unique_names(), self._lines)

    def secret_values(self) -> frozenset[str]:
        """Return the values of secret keys as text."""
        return self._secret_values

    @cached_property
    def _secret_values(self) -> frozenset[str]:
        configurations: list[dict[str, Any]] = []
        for add_on in self.add_ons:
            configurations.append(or_default(add_on.configuration, {}))
            configurations += [or_default(one.configuration, {}) for one in overrides_of(add_on)]
        return secret_values(configurations, self.secret)

    def digest(self) -> str:
        """Return a SHA-256 digest of the file that ignores the values of secret keys."""
        return self._digest


def _of_previous(name: str, *wanted: Wanted) -> str:
    """Return advice if the name is a previous one."""
    if any(name in one.previous_names for one in wanted):
        return "; remove it from previous_names once it is renamed everywhere"
    return ""


def or_default(value: T | UnsetType, default: T) -> T:
    """Return a value of the file, or a default if it is not set."""
    return default if isinstance(value, UnsetType) else value


def overrides_of(add_on: AddOn) -> tuple[Override, ...]:
    """Return the overrides of an Add-on."""
    return or_default(add_on.overrides, ())


def _resolve(
    index: int, add_on: AddOn, overrides: Sequence[Override], values: Mapping[str, str | None]
) -> Wanted:
    state = add_on.state
    configuration = or_default(add_on.configuration, None)
    extensions = dict(or_default(add_on.extensions, {}))
    for override in overrides:
        if override.state == "absent":
            state = "absent"
        if not isinstance(override.configuration, UnsetType):
            configuration = merged(configuration or {}, override.configuration)
        extensions |= or_default(override.extensions, {})
    present = state == "present"
    return Wanted(
        path=f"add_ons[{index}]",
        unique_name=add_on.unique_name,
        state=state,
        available_add_on_sid=or_default(add_on.available_add_on_sid, None),
        configuration=None
        if configuration is None or not present
        else filled(configuration, values),
        ignore=add_on.ignore if present else (),
        extensions=extensions if present else {},
        # The Add-on to remove can have a previous name, or be the one to replace.
        previous_names=tuple(dict.fromkeys(add_on.previous_names)),
        replaces=or_default(add_on.replaces, None),
    )
