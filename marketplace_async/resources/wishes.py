"""Compares installed Add-ons with the arguments of `ensure` or of a named `create`."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal
from unicodedata import normalize

import attrs

from .._core.codec import same_json
from .._core.expectations import mismatches
from ..errors import NotEnsuredError, UnreadableFieldError
from .installed_add_on import Ensured, InstalledAddOn


class Search:
    """The search for a unique name among the installed Add-ons of an account.

    Attributes:
        found: The Add-on that has the name.
        similar: One whose name differs in case, in spaces around it, or in its Unicode form.
    """

    def __init__(self, unique_name: str) -> None:
        self.found: InstalledAddOn | None = None
        self.similar: InstalledAddOn | None = None
        self._name = unique_name
        self._unknown: str | None = None

    def see(self, record: InstalledAddOn) -> bool:
        """Look at a record. Return whether it has the name."""
        name = record.unique_name
        if "unique_name" in record.unreadable:
            self._unknown = record.sid
        elif name == self._name:
            self.found = record
        elif name is not None and _folded(name) == _folded(self._name):
            self.similar = record
        return self.found is not None

    def all_of(self, records: Iterable[InstalledAddOn]) -> None:
        """Look at all records of an account."""
        if not any(self.see(record) for record in records):
            self.end()

    def end(self) -> None:
        """Raise UnreadableFieldError if a record whose name is unknown may have the name."""
        if self._unknown is not None:
            raise UnreadableFieldError(self._unknown, ["unique_name"])


def _folded(name: str) -> str:
    return normalize("NFKC", name).casefold().strip()


@attrs.frozen
class Wish:
    """The installation that is wanted. A configuration of None matches any."""

    unique_name: str
    available_add_on_sid: str
    configuration: Mapping[str, Any] | None
    account_sid: str | None

    def is_installed_as(self, record: InstalledAddOn) -> bool:
        """Return whether a record with this name is this Add-on.

        Raises:
            UnreadableFieldError: The Add-on or the account of the record is unknown.
            ValueError: It belongs to another account.
        """
        if self.account_sid is not None and record.account_sid is None:
            raise UnreadableFieldError(record.sid, ["account_sid"])
        # The list was compared with the account. The caller's inventory was not.
        if text := mismatches(record, {"account_sid": self.account_sid}):
            raise ValueError(f"inventory: {record.sid} belongs to another account: {text}")
        if record.available_add_on_sid is None:
            raise UnreadableFieldError(record.sid, ["links"])
        return not mismatches(record, {"available_add_on_sid": self.available_add_on_sid})

    def is_met_by(self, record: InstalledAddOn) -> bool:
        """Return whether a record has all that is wanted.

        Raises:
            UnreadableFieldError: A field that decides is unknown.
        """
        named = record.unique_name == self.unique_name
        return named and self.is_installed_as(record) and self.is_configured(record)

    def may_have_become(self, record: InstalledAddOn) -> bool:
        """Return whether a service that adds defaults, or folds names, may have installed this.

        Raises:
            UnreadableFieldError: A field that decides is unknown.
        """
        if not self.is_installed_as(record):
            return False
        self._check_configuration_is_known(record)
        return _covers(record.configuration or {}, self.configuration or {})

    def is_configured(self, record: InstalledAddOn) -> bool:
        """Return whether a record has this configuration.

        Raises:
            UnreadableFieldError: Its configuration is unknown.
        """
        self._check_configuration_is_known(record)
        return has_configuration(record, self.configuration)

    def _check_configuration_is_known(self, record: InstalledAddOn) -> None:
        if self.configuration is not None and "configuration" in record.unreadable:
            raise UnreadableFieldError(record.sid, ["configuration"])

    def confirmed(self, record: InstalledAddOn, action: Literal["installed", "updated"]) -> Ensured:
        """Return the result of a write, or raise NotEnsuredError if it is not what was asked."""
        differences = self.differences(record)
        if differences:
            raise NotEnsuredError(record, differences, action)
        return Ensured(record, action)

    def differences(self, record: InstalledAddOn) -> list[str]:
        """Return what differs from a record, or is unknown in it; without configuration values."""
        expected = {
            "unique_name": self.unique_name,
            "account_sid": self.account_sid,
            "available_add_on_sid": self.available_add_on_sid,
        }
        found = [
            f"{name} is unknown"
            for name, value in expected.items()
            if value is not None and (getattr(record, name) is None or name in record.unreadable)
        ]
        if text := mismatches(record, expected):
            found.append(text)
        if self.configuration is not None:
            if "configuration" in record.unreadable:
                found.append("configuration is unknown")
            else:
                found += _differences(record.configuration or {}, self.configuration)
        return found


def has_configuration(record: InstalledAddOn, wanted: Mapping[str, Any] | None) -> bool:
    return wanted is None or same_json(record.configuration or {}, wanted)


def _covers(actual: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Return whether a configuration has all that is wanted, and perhaps more."""
    return all(
        key in actual
        and (
            _covers(actual[key], value)
            if isinstance(actual[key], dict) and isinstance(value, dict)
            else same_json(actual[key], value)
        )
        for key, value in wanted.items()
    )


def _differences(
    actual: Mapping[str, Any], wanted: Mapping[str, Any], path: str = "configuration"
) -> Iterator[str]:
    """Yield the paths at which configurations differ. The values may be secrets."""
    for key in (*wanted, *(key for key in actual if key not in wanted)):
        name = f"{path}.{key}"
        if key not in wanted:
            yield f"{name} was not asked for"
        elif key not in actual:
            yield f"{name} is missing"
        elif isinstance(actual[key], dict) and isinstance(wanted[key], dict):
            yield from _differences(actual[key], wanted[key], name)
        elif not same_json(actual[key], wanted[key]):
            yield f"{name} has another value"
