"""The desired state: which Add-ons belong on which accounts, read from a TOML file."""

import fnmatch
import hashlib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import attrs
import msgspec
from msgspec import UNSET, UnsetType

from .._core.frames import hide_arguments
from ..errors import MarketplaceError
from .desired_file import AddOn, File, Override, Selector
from .masking import masked, secret_values

T = TypeVar("T")
Table = TypeVar("Table", AddOn, Override)


class DesiredStateError(MarketplaceError, ValueError):
    """The desired state is invalid. The message says where in the file, and why."""


@attrs.frozen(kw_only=True)
class Wanted:
    """The desired state of one unique name on one account.

    Attributes:
        path: Where the file defines it, such as "add_ons[0]".
        unique_name: The unique name within the account.
        state: "present" or "absent".
        available_add_on_sid: The Add-on, `XB...`. None if any Add-on of that name is to be removed.
        configuration: The whole configuration. None leaves an existing configuration unchanged.
        extensions: Whether each extension is to be enabled, by unique name.
    """

    path: str
    unique_name: str
    state: Literal["present", "absent"]
    available_add_on_sid: str | None = None
    # The configuration may contain secrets.
    configuration: dict[str, Any] | None = attrs.field(default=None, hash=False, repr=False)
    extensions: dict[str, bool] = attrs.field(factory=dict, hash=False)


@attrs.frozen
class Selection:
    """The accounts that one entry of a desired state selects.

    Attributes:
        path: The path of the entry, such as "add_ons[0]" or "add_ons[0].overrides[1]".
        unique_name: The unique name of the Add-on.
    """

    path: str
    unique_name: str
    _accounts: Selector

    @property
    def sids(self) -> tuple[str, ...]:
        """The accounts selected by SID."""
        return () if self._accounts == "all" else _or_default(self._accounts.sids, ())

    def matches(self, account_sid: str, friendly_name: str | None) -> bool:
        """Return whether the account is selected."""
        return _matches(self._accounts, account_sid, friendly_name)


@attrs.frozen
class Desired:
    """A parsed desired state, for `plan` and `apply`.

    It contains the values of secret keys. A pickle of it contains them as well.

    Attributes:
        secret: The configuration keys whose values are masked in output and files.
    """

    _file: File = attrs.field(repr=False)
    secret: tuple[str, ...]

    @hide_arguments
    def wanted(self, account_sid: str, friendly_name: str | None) -> tuple[Wanted, ...]:
        """Return the desired state of one account, in the order of the file.

        Args:
            account_sid: The account, `AC...`.
            friendly_name: The account's friendly name.

        Raises:
            DesiredStateError: Two entries define the same unique name for this account.
        """
        found: dict[str, Wanted] = {}
        for index, add_on in enumerate(self._file.add_ons):
            if not _matches(add_on.accounts, account_sid, friendly_name):
                continue
            wanted = _resolve(f"add_ons[{index}]", add_on, account_sid, friendly_name)
            other = found.setdefault(wanted.unique_name, wanted)
            if other is not wanted:
                raise DesiredStateError(
                    f"{other.path} and {wanted.path} both define {wanted.unique_name!r} "
                    f"for {account_sid} ({friendly_name})"
                )
        return tuple(found.values())

    def selections(self) -> Iterator[Selection]:
        """Yield the account selection of each Add-on and override."""
        for index, add_on in enumerate(self._file.add_ons):
            path, name = f"add_ons[{index}]", add_on.unique_name
            yield Selection(path, name, add_on.accounts)
            for number, override in enumerate(_or_default(add_on.overrides, ())):
                yield Selection(f"{path}.overrides[{number}]", name, override.accounts)

    def required_add_ons(self) -> dict[str, dict[str, str]]:
        """Return the Add-ons to install, by SID, each with the paths of its extensions by name."""
        add_ons: dict[str, dict[str, str]] = {}
        for index, add_on in enumerate(self._file.add_ons):
            if isinstance(add_on.available_add_on_sid, UnsetType) or add_on.state == "absent":
                continue
            paths = add_ons.setdefault(add_on.available_add_on_sid, {})
            for name in _or_default(add_on.extensions, {}):
                paths.setdefault(name, f"add_ons[{index}].extensions.{name}")
            for number, override in enumerate(_or_default(add_on.overrides, ())):
                for name in _or_default(override.extensions, {}):
                    path = f"add_ons[{index}].overrides[{number}].extensions.{name}"
                    paths.setdefault(name, path)
        return add_ons

    def unique_names(self) -> tuple[str, ...]:
        """Return the unique names in the order of the file."""
        return tuple(add_on.unique_name for add_on in self._file.add_ons)

    def path_of(self, available_add_on_sid: str) -> str:
        """Return the path of the first entry for an Add-on."""
        for index, add_on in enumerate(self._file.add_ons):
            if add_on.available_add_on_sid == available_add_on_sid:
                return f"add_ons[{index}].available_add_on_sid"
        return ""

    def secret_values(self) -> frozenset[str]:
        """Return the values of secret keys as text."""
        return secret_values(msgspec.to_builtins(self._file), self.secret)

    def digest(self) -> str:
        """Return a SHA-256 digest of the file that ignores the values of secret keys."""
        document = masked(msgspec.to_builtins(self._file), self.secret)
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


@hide_arguments
def load(file: str | os.PathLike[str], environ: Mapping[str, str] | None = None) -> Desired:
    """Read a desired state from a TOML file.

    Args:
        file: The file. `schema()` describes its content.
        environ: Environment variables for values such as `{ env = "NAME" }`. Defaults to
            `os.environ`.

    Raises:
        DesiredStateError: The file is invalid. The message contains the path in the file, or the
            line if the file is not TOML.
        OSError: The file cannot be read.
    """
    try:
        text = Path(file).read_bytes().decode()
    except UnicodeDecodeError as error:
        raise DesiredStateError(f"{file}: not UTF-8: {error}") from None
    try:
        return parse(text, environ)
    except DesiredStateError as error:
        raise DesiredStateError(f"{file}: {error}") from None


@hide_arguments
def parse(text: str, environ: Mapping[str, str] | None = None) -> Desired:
    """Read a desired state from TOML text. Otherwise like `load`."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise DesiredStateError(f"not TOML: {error}") from None
    return from_document(document, environ)


@hide_arguments
def from_document(document: Any, environ: Mapping[str, str] | None = None) -> Desired:
    """Create a desired state from plain values, such as parsed TOML. Otherwise like `load`."""
    try:
        file = msgspec.convert(document, File)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        where = f"{path.rstrip('`')}: " if path else ""
        raise DesiredStateError(where + message[:1].lower() + message[1:]) from None
    on_all_accounts: dict[str, int] = {}
    for index, add_on in enumerate(file.add_ons):
        if add_on.accounts == "all":
            first = on_all_accounts.setdefault(add_on.unique_name, index)
            if first != index:
                raise DesiredStateError(
                    f"add_ons[{first}] and add_ons[{index}] both define {add_on.unique_name!r} "
                    "for all accounts"
                )
    return Desired(_from_environment(file, os.environ if environ is None else environ), file.secret)


def _from_environment(file: File, environ: Mapping[str, str]) -> File:
    """Replace each `{ env = "NAME" }` under a secret key with the environment variable."""

    def replaced(value: Any, key: str, path: str) -> Any:
        match value:
            case {"env": str(name)} if len(value) == 1 and key in file.secret:
                if not environ.get(name):
                    raise DesiredStateError(f"{path}: environment variable {name} is not set")
                return environ[name]
            case dict():
                return {
                    name: replaced(item, name, f"{path}.{name}") for name, item in value.items()
                }
            case list():
                return [replaced(item, key, f"{path}[{i}]") for i, item in enumerate(value)]
            case _:
                return value

    def configured(table: Table, path: str) -> Table:
        if table.configuration is UNSET:
            return table
        configuration = replaced(table.configuration, "", f"{path}.configuration")
        return msgspec.structs.replace(table, configuration=configuration)

    add_ons = []
    for index, add_on in enumerate(file.add_ons):
        path = f"add_ons[{index}]"
        overrides = tuple(
            configured(override, f"{path}.overrides[{number}]")
            for number, override in enumerate(_or_default(add_on.overrides, ()))
        )
        add_on = configured(add_on, path)
        add_ons.append(
            msgspec.structs.replace(add_on, overrides=overrides) if overrides else add_on
        )
    return msgspec.structs.replace(file, add_ons=tuple(add_ons))


def _or_default(value: T | UnsetType, default: T) -> T:
    return default if isinstance(value, UnsetType) else value


def _matches(accounts: Selector, account_sid: str, friendly_name: str | None) -> bool:
    if accounts == "all":
        return True
    name, sid = friendly_name or "", account_sid.lower()

    def listed(patterns: tuple[str, ...] | UnsetType, sids: tuple[str, ...] | UnsetType) -> bool:
        return any(
            fnmatch.fnmatchcase(name, pattern) for pattern in _or_default(patterns, ())
        ) or any(sid == other.lower() for other in _or_default(sids, ()))

    if listed(accounts.except_friendly_names, accounts.except_sids):
        return False
    only_exceptions = accounts.friendly_names is UNSET and accounts.sids is UNSET
    return only_exceptions or listed(accounts.friendly_names, accounts.sids)


def _resolve(path: str, add_on: AddOn, account_sid: str, friendly_name: str | None) -> Wanted:
    state = add_on.state
    configuration = _or_default(add_on.configuration, None)
    extensions = dict(_or_default(add_on.extensions, {}))
    for override in _or_default(add_on.overrides, ()):
        if not _matches(override.accounts, account_sid, friendly_name):
            continue
        if override.state == "absent":
            state = "absent"
        if not isinstance(override.configuration, UnsetType):
            configuration = _merged(configuration or {}, override.configuration)
        extensions |= _or_default(override.extensions, {})
    present = state == "present"
    return Wanted(
        path=path,
        unique_name=add_on.unique_name,
        state=state,
        available_add_on_sid=_or_default(add_on.available_add_on_sid, None),
        configuration=configuration if present else None,
        extensions=extensions if present else {},
    )


def _merged(base: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in override.items():
        existing = merged.get(key)
        if isinstance(existing, dict) and isinstance(value, dict):
            merged[key] = _merged(existing, value)
        else:
            merged[key] = value
    return merged
