"""The desired state: a TOML file that says which add-ons belong on which accounts.

The classes that read the file are the ones that its published JSON Schema is made of.
"""

import fnmatch
import hashlib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import attrs
import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from .._core.codec import json_object
from ..errors import MarketplaceError
from .masking import masked, secret_values

T = TypeVar("T")


class DesiredStateError(MarketplaceError, ValueError):
    """The desired state cannot be right; the message says where in the file, and why."""


# A pattern's `$` lets a line feed pass in Python, and not in JSON Schema: the length tells.
_AccountSid = Annotated[str, Meta(pattern="^AC[0-9a-fA-F]{32}$", max_length=34)]
_AddOnSid = Annotated[
    str,
    Meta(
        pattern="^XB[0-9a-fA-F]{32}$",
        max_length=34,
        description="The add-on, as `available list` shows it.",
    ),
]
_Text = Annotated[str, Meta(pattern="[^ \t\n\r\f\v]")]
_Glob = Annotated[str, Meta(min_length=1)]
_Configuration = Annotated[
    dict[str, Any],
    Meta(
        description="Plain JSON that meets the add-on's schema. Under a key that is secret, "
        '{ env = "NAME" } reads the value from the environment.'
    ),
]
_Extensions = Annotated[
    dict[_Text, bool],
    Meta(
        description="Extensions by unique name, and whether each is to be enabled. "
        "Those that are not named are left alone."
    ),
]


class AccountSelection(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Some of the accounts: those that are named, without those that are excepted.

    Where only exceptions are given, it is all the others.
    """

    friendly_names: Annotated[tuple[_Glob, ...], Meta(min_length=1)] | UnsetType = UNSET
    sids: Annotated[tuple[_AccountSid, ...], Meta(min_length=1)] | UnsetType = UNSET
    except_friendly_names: Annotated[tuple[_Glob, ...], Meta(min_length=1)] | UnsetType = UNSET
    except_sids: Annotated[tuple[_AccountSid, ...], Meta(min_length=1)] | UnsetType = UNSET

    def __post_init__(self) -> None:
        if all(getattr(self, name) is UNSET for name in self.__struct_fields__):
            raise ValueError(f"expected {', '.join(self.__struct_fields__)} or several of them")


_Accounts = Annotated[
    Literal["all"] | AccountSelection,
    Meta(description='"all", or which: friendly names as patterns with * and ?, and SIDs.'),
]


class Override(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What is otherwise on some of the accounts; later overrides go before earlier ones."""

    accounts: _Accounts
    configuration: _Configuration | UnsetType = UNSET
    extensions: _Extensions | UnsetType = UNSET
    state: (
        Annotated[Literal["absent"], Meta(description="Remove it from these accounts.")] | UnsetType
    ) = UNSET

    def __post_init__(self) -> None:
        _check_plain(self.configuration)
        _check_absent(self, _NOT_IF_ABSENT)


class AddOn(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """An add-on under a unique name, and the accounts that it belongs on."""

    unique_name: Annotated[
        _Text, Meta(description="Its name for programs, by which it is found on an account.")
    ]
    accounts: _Accounts
    state: Annotated[
        Literal["present", "absent"],
        Meta(description='"absent" removes what has the unique name; nothing else does.'),
    ] = "present"
    available_add_on_sid: _AddOnSid | UnsetType = UNSET
    accept_terms_of_service: (
        Annotated[bool, Meta(description="Must be true for what is to be installed.")] | UnsetType
    ) = UNSET
    configuration: _Configuration | UnsetType = UNSET
    extensions: _Extensions | UnsetType = UNSET
    overrides: tuple[Override, ...] | UnsetType = UNSET

    def __post_init__(self) -> None:
        _check_plain(self.configuration)
        if self.state == "absent":
            _check_absent(self, _ONLY_PRESENT)
            return
        if self.available_add_on_sid is UNSET:
            raise ValueError("available_add_on_sid is missing: which add-on is to be installed?")
        if self.accept_terms_of_service is not True:
            raise ValueError(
                "accept_terms_of_service = true is missing: an add-on is only installed if its "
                "terms are accepted"
            )


Table = TypeVar("Table", AddOn, Override)

_NOT_IF_ABSENT = ("configuration", "extensions")
_ONLY_PRESENT = ("accept_terms_of_service", "configuration", "extensions", "overrides")


def _check_plain(configuration: dict[str, Any] | UnsetType) -> None:
    if configuration is not UNSET:
        json_object(configuration, "configuration")


def _check_absent(table: "AddOn | Override", names: tuple[str, ...]) -> None:
    for name in names:
        if table.state == "absent" and getattr(table, name) is not UNSET:
            raise ValueError(f'{name} makes no sense with state = "absent"')


def _forbidden(names: tuple[str, ...]) -> dict[str, Any]:
    return {"properties": dict.fromkeys(names, False)}


_IF_ABSENT = {"properties": {"state": {"const": "absent"}}, "required": ["state"]}
_RULES: dict[str, dict[str, Any]] = {
    "AccountSelection": {"minProperties": 1},
    "Override": {"if": _IF_ABSENT, "then": _forbidden(_NOT_IF_ABSENT)},
    "AddOn": {
        "if": _IF_ABSENT,
        "then": _forbidden(_ONLY_PRESENT),
        "else": {
            "required": ["available_add_on_sid", "accept_terms_of_service"],
            "properties": {"accept_terms_of_service": {"const": True}},
        },
    },
}


class File(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Which add-ons belong on which accounts. What it does not name is left alone."""

    add_ons: Annotated[tuple[AddOn, ...], Meta(min_length=1)]
    secret: Annotated[
        tuple[_Text, ...],
        Meta(
            description="Keys of configurations, at any depth, whose values are shown and "
            "written nowhere."
        ),
    ] = ()


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the desired state, for editors and other programs."""
    document = msgspec.json.schema(File)
    for name, definition in document["$defs"].items():
        definition.pop("title")
        # What the classes check when they are made.
        definition.update(_RULES.get(name, {}))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The desired state of marketplace_async",
        **document,
    }


@attrs.frozen(kw_only=True)
class Wanted:
    """What one account is to have under a unique name.

    Attributes:
        path: Where the file says so, such as "add_ons[0]".
        unique_name: Its name for programs.
        state: "present" or "absent".
        available_add_on_sid: The add-on, `XB...`; None where it is to be absent, whatever it is.
        configuration: All of it; None leaves that of what is installed alone.
        extensions: By unique name, and whether each is to be enabled.
    """

    path: str
    unique_name: str
    state: Literal["present", "absent"]
    available_add_on_sid: str | None = None
    # It may hold secrets.
    configuration: dict[str, Any] | None = attrs.field(default=None, hash=False, repr=False)
    extensions: dict[str, bool] = attrs.field(factory=dict, hash=False)


@attrs.frozen
class Desired:
    """A desired state that was read. Give it to `plan` and `apply`.

    It holds the values of secret keys, and can be pickled to a worker with them.

    Attributes:
        secret: The keys whose values are masked wherever they would be shown or written.
    """

    _file: File = attrs.field(repr=False)
    secret: tuple[str, ...]

    def wanted(self, account_sid: str, friendly_name: str | None) -> tuple[Wanted, ...]:
        """Return what this account is to have, in the order of the file.

        Args:
            account_sid: `AC...`.
            friendly_name: The account's name for people.

        Raises:
            DesiredStateError: The file says two things about one unique name.
        """
        found: dict[str, Wanted] = {}
        for index, add_on in enumerate(self._file.add_ons):
            if not _selects(add_on.accounts, account_sid, friendly_name):
                continue
            wanted = _resolve(f"add_ons[{index}]", add_on, account_sid, friendly_name)
            other = found.setdefault(wanted.unique_name, wanted)
            if other is not wanted:
                raise DesiredStateError(
                    f"{other.path} and {wanted.path} both say what {wanted.unique_name!r} is to be "
                    f"on {account_sid} ({friendly_name})"
                )
        return tuple(found.values())

    def selections(self) -> "Iterator[Selection]":
        """Return each of the file's selections of accounts, so that those without a match show."""
        for index, add_on in enumerate(self._file.add_ons):
            yield Selection(f"add_ons[{index}].accounts", add_on.accounts)
            for number, override in enumerate(_given(add_on.overrides, ())):
                yield Selection(f"add_ons[{index}].overrides[{number}].accounts", override.accounts)

    def offers(self) -> dict[str, dict[str, str]]:
        """Return the add-ons to be present, and the extensions named of each, with their paths."""
        offers: dict[str, dict[str, str]] = {}
        for index, add_on in enumerate(self._file.add_ons):
            if isinstance(add_on.available_add_on_sid, UnsetType) or add_on.state == "absent":
                continue
            named = offers.setdefault(add_on.available_add_on_sid, {})
            for name in _given(add_on.extensions, {}):
                named.setdefault(name, f"add_ons[{index}].extensions.{name}")
            for number, override in enumerate(_given(add_on.overrides, ())):
                for name in _given(override.extensions, {}):
                    path = f"add_ons[{index}].overrides[{number}].extensions.{name}"
                    named.setdefault(name, path)
        return offers

    def unique_names(self) -> tuple[str, ...]:
        """Return the unique names of the file, in its order."""
        return tuple(add_on.unique_name for add_on in self._file.add_ons)

    def path_of(self, available_add_on_sid: str) -> str:
        """Return where the file names an add-on first."""
        for index, add_on in enumerate(self._file.add_ons):
            if add_on.available_add_on_sid == available_add_on_sid:
                return f"add_ons[{index}].available_add_on_sid"
        return ""

    def secret_values(self) -> frozenset[str]:
        """Return the values under secret keys, as text: what no message may hold."""
        return secret_values(msgspec.to_builtins(self._file), self.secret)

    def digest(self) -> str:
        """Return what tells this file from another, the values of secret keys aside."""
        document = masked(msgspec.to_builtins(self._file), self.secret)
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


@attrs.frozen
class Selection:
    """A selection of accounts in a file, and where it stands.

    Attributes:
        path: Such as "add_ons[0].accounts".
    """

    path: str
    _accounts: Literal["all"] | AccountSelection

    @property
    def sids(self) -> tuple[str, ...]:
        """The accounts that it names by SID."""
        return () if self._accounts == "all" else _given(self._accounts.sids, ())

    def meets(self, account_sid: str, friendly_name: str | None) -> bool:
        """Tell whether an account is among those selected."""
        return _selects(self._accounts, account_sid, friendly_name)


def load(file: str | os.PathLike[str], environ: Mapping[str, str] | None = None) -> Desired:
    """Read a desired state.

    Args:
        file: The TOML file; `schema()` and the README say what may be in it.
        environ: Where values given as `{ env = "NAME" }` are read; the process's environment
            unless given.

    Raises:
        DesiredStateError: It cannot be right; the message gives the path in the file, and for what
            is no TOML the line.
        OSError: It cannot be read.
    """
    try:
        text = Path(file).read_bytes().decode()
    except UnicodeDecodeError as error:
        raise DesiredStateError(f"{file}: not UTF-8: {error}") from None
    try:
        return parse(text, environ)
    except DesiredStateError as error:
        raise DesiredStateError(f"{file}: {error}") from None


def parse(text: str, environ: Mapping[str, str] | None = None) -> Desired:
    """Read a desired state from text; otherwise like `load`."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise DesiredStateError(f"not TOML: {error}") from None
    return from_document(document, environ)


def from_document(document: Any, environ: Mapping[str, str] | None = None) -> Desired:
    """Make a desired state of plain values, such as those of a TOML file; otherwise like `load`."""
    try:
        file = msgspec.convert(document, File)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        where = f"{path.rstrip('`')}: " if path else ""
        raise DesiredStateError(where + message[:1].lower() + message[1:]) from None
    everywhere: dict[str, int] = {}
    for index, add_on in enumerate(file.add_ons):
        if add_on.accounts == "all":
            first = everywhere.setdefault(add_on.unique_name, index)
            if first != index:
                raise DesiredStateError(
                    f"add_ons[{first}] and add_ons[{index}] both say what {add_on.unique_name!r} "
                    "is to be on all accounts"
                )
    return Desired(_from_environment(file, os.environ if environ is None else environ), file.secret)


def _from_environment(file: File, environ: Mapping[str, str]) -> File:
    """Put values from the environment where `{ env = "NAME" }` asks for them."""

    def read(value: Any, key: str, path: str) -> Any:
        match value:
            case {"env": str(name)} if len(value) == 1 and key in file.secret:
                if not environ.get(name):
                    raise DesiredStateError(f"{path}: {name} is not set in the environment")
                return environ[name]
            case dict():
                return {name: read(item, name, f"{path}.{name}") for name, item in value.items()}
            case list():
                return [read(item, key, f"{path}[{i}]") for i, item in enumerate(value)]
            case _:
                return value

    def configured(table: Table, path: str) -> Table:
        if table.configuration is UNSET:
            return table
        configuration = read(table.configuration, "", f"{path}.configuration")
        return msgspec.structs.replace(table, configuration=configuration)

    add_ons = []
    for index, add_on in enumerate(file.add_ons):
        path = f"add_ons[{index}]"
        overrides = tuple(
            configured(override, f"{path}.overrides[{number}]")
            for number, override in enumerate(_given(add_on.overrides, ()))
        )
        add_on = configured(add_on, path)
        add_ons.append(
            msgspec.structs.replace(add_on, overrides=overrides) if overrides else add_on
        )
    return msgspec.structs.replace(file, add_ons=tuple(add_ons))


def _given(value: T | UnsetType, default: T) -> T:
    return default if isinstance(value, UnsetType) else value


def _selects(
    accounts: Literal["all"] | AccountSelection, account_sid: str, friendly_name: str | None
) -> bool:
    if accounts == "all":
        return True
    name, sid = friendly_name or "", account_sid.lower()

    def among(patterns: tuple[str, ...] | UnsetType, sids: tuple[str, ...] | UnsetType) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in _given(patterns, ())) or any(
            sid == other.lower() for other in _given(sids, ())
        )

    if among(accounts.except_friendly_names, accounts.except_sids):
        return False
    everybody_else = accounts.friendly_names is UNSET and accounts.sids is UNSET
    return everybody_else or among(accounts.friendly_names, accounts.sids)


def _resolve(path: str, add_on: AddOn, account_sid: str, friendly_name: str | None) -> Wanted:
    state = add_on.state
    configuration = _given(add_on.configuration, None)
    extensions = dict(_given(add_on.extensions, {}))
    for override in _given(add_on.overrides, ()):
        if not _selects(override.accounts, account_sid, friendly_name):
            continue
        if override.state == "absent":
            state = "absent"
        if not isinstance(override.configuration, UnsetType):
            configuration = _merged(configuration or {}, override.configuration)
        extensions |= _given(override.extensions, {})
    sid = _given(add_on.available_add_on_sid, None)
    if state == "absent":
        return Wanted(
            path=path,
            unique_name=add_on.unique_name,
            state="absent",
            available_add_on_sid=sid,
        )
    return Wanted(
        path=path,
        unique_name=add_on.unique_name,
        state="present",
        available_add_on_sid=sid,
        configuration=configuration,
        extensions=extensions,
    )


def _merged(base: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    """Lay one table over another: key by key, and within tables again."""
    merged = dict(base)
    for key, value in override.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            merged[key] = _merged(below, value)
        else:
            merged[key] = value
    return merged
