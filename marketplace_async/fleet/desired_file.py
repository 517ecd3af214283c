"""The file format of the desired state: the classes that parse it and its JSON Schema.

The schema is generated from the classes, so that the two cannot diverge.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from .._core.codec import json_object

# In Python, `$` also matches before a final line feed; the maximum length rules that out.
_AccountSid = Annotated[str, Meta(pattern="^AC[0-9a-fA-F]{32}$", max_length=34)]
_AddOnSid = Annotated[
    str,
    Meta(
        pattern="^XB[0-9a-fA-F]{32}$",
        max_length=34,
        description="The SID of the Add-on, as listed by `available list`.",
    ),
]
_Text = Annotated[str, Meta(pattern="[^ \t\n\r\f\v]")]
_Glob = Annotated[str, Meta(min_length=1)]
_Configuration = Annotated[
    dict[str, Any],
    Meta(
        description="Plain JSON that is valid under the Add-on's schema. Under a secret key, "
        '{ env = "NAME" } reads the value from an environment variable.'
    ),
]
_Extensions = Annotated[
    dict[_Text, bool],
    Meta(
        description="Extensions by unique name: true enables, false disables. "
        "Extensions that are not listed are left unchanged."
    ),
]


class AccountSelection(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Selects accounts by friendly name and SID. Exceptions alone select all other accounts."""

    friendly_names: Annotated[tuple[_Glob, ...], Meta(min_length=1)] | UnsetType = UNSET
    sids: Annotated[tuple[_AccountSid, ...], Meta(min_length=1)] | UnsetType = UNSET
    except_friendly_names: Annotated[tuple[_Glob, ...], Meta(min_length=1)] | UnsetType = UNSET
    except_sids: Annotated[tuple[_AccountSid, ...], Meta(min_length=1)] | UnsetType = UNSET

    def __post_init__(self) -> None:
        if all(getattr(self, name) is UNSET for name in self.__struct_fields__):
            raise ValueError(f"expected at least one of {', '.join(self.__struct_fields__)}")


Selector = Literal["all"] | AccountSelection
_Accounts = Annotated[
    Selector,
    Meta(description='"all", or a selection by friendly names (patterns with * and ?) and SIDs.'),
]


class Override(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Settings that differ on some of the accounts. Later overrides take precedence."""

    accounts: _Accounts
    configuration: _Configuration | UnsetType = UNSET
    extensions: _Extensions | UnsetType = UNSET
    state: (
        Annotated[Literal["absent"], Meta(description="Remove the Add-on from these accounts.")]
        | UnsetType
    ) = UNSET

    def __post_init__(self) -> None:
        _check_plain(self.configuration)
        _check_absent(self, _NOT_IF_ABSENT)


class AddOn(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """An Add-on under a unique name, and the accounts that should have it."""

    unique_name: Annotated[
        _Text, Meta(description="The unique name that identifies the installed Add-on.")
    ]
    accounts: _Accounts
    state: Annotated[
        Literal["present", "absent"],
        Meta(description='"absent" removes the Add-on. Without it, nothing is removed.'),
    ] = "present"
    available_add_on_sid: _AddOnSid | UnsetType = UNSET
    accept_terms_of_service: (
        Annotated[bool, Meta(description="Must be true to install the Add-on.")] | UnsetType
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
            raise ValueError('available_add_on_sid is required unless state = "absent"')
        if self.accept_terms_of_service is not True:
            raise ValueError(
                "accept_terms_of_service = true is required: an Add-on is installed only if its "
                "terms are accepted"
            )


_NOT_IF_ABSENT = ("configuration", "extensions")
_ONLY_PRESENT = ("accept_terms_of_service", "configuration", "extensions", "overrides")


def _check_plain(configuration: dict[str, Any] | UnsetType) -> None:
    if configuration is not UNSET:
        json_object(configuration, "configuration")


def _check_absent(table: AddOn | Override, names: tuple[str, ...]) -> None:
    for name in names:
        if table.state == "absent" and getattr(table, name) is not UNSET:
            raise ValueError(f'{name} is not allowed with state = "absent"')


class File(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Which Add-ons belong on which accounts. Anything not listed is left unchanged."""

    add_ons: Annotated[tuple[AddOn, ...], Meta(min_length=1)]
    secret: Annotated[
        tuple[_Text, ...],
        Meta(
            description="Configuration keys, at any depth, whose values are never shown or "
            "written to a file."
        ),
    ] = ()


def _forbidden(names: tuple[str, ...]) -> dict[str, Any]:
    return {"properties": dict.fromkeys(names, False)}


# The JSON Schema of the checks in `__post_init__`.
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


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the desired state, for editors and other tools."""
    document = msgspec.json.schema(File)
    for name, definition in document["$defs"].items():
        definition.pop("title")
        definition.update(_RULES.get(name, {}))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The desired state of marketplace_async",
        **document,
    }
