"""The file format of the desired state: its classes, its rules and its JSON Schema.

The schema is generated from the classes, and `format_check` reads them, so that they cannot
diverge.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from .comparison import KEY_PATH

# Keys of `Meta.extra` for `format_check`: the kind of SID, or a description of what is expected.
SID: Final = "sid"
EXPECTED: Final = "expected"

# In Python, `$` also matches before a final line feed; the maximum length rules that out.
_AccountSid = Annotated[str, Meta(pattern="^AC[0-9a-fA-F]{32}$", max_length=34, extra={SID: "AC"})]
_AddOnSid = Annotated[
    str,
    Meta(
        pattern="^XB[0-9a-fA-F]{32}$",
        max_length=34,
        description="The SID of the Add-on, as listed by `available list`.",
        extra={SID: "XB"},
    ),
]
_Text = Annotated[str, Meta(pattern="[^ \t\n\r\f\v]")]
_Pattern = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=256,
        extra={EXPECTED: "a pattern of 1 to 256 characters"},
    ),
]
_KeyPath = Annotated[
    str,
    Meta(
        pattern=f"^(?:{KEY_PATH})$",
        max_length=1024,
        extra={EXPECTED: "a path of keys such as limits.minutes"},
    ),
]
_Configuration = Annotated[
    dict[str, Any],
    Meta(
        description="Plain JSON that is valid under the Add-on's schema. In text, {account_sid}, "
        "{friendly_name} and the columns of the accounts file, such as {region}, stand for values "
        "of the account; {{region}} stands for the text in braces. Under a secret key, "
        '{ env = "NAME" } reads the value from an environment variable. { null = true } is JSON '
        "null. In an override, { remove = true } removes the key. { literal = ... } is the value "
        "as it is."
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

    friendly_names: Annotated[tuple[_Pattern, ...], Meta(min_length=1)] | UnsetType = UNSET
    sids: Annotated[tuple[_AccountSid, ...], Meta(min_length=1)] | UnsetType = UNSET
    except_friendly_names: Annotated[tuple[_Pattern, ...], Meta(min_length=1)] | UnsetType = UNSET
    except_sids: Annotated[tuple[_AccountSid, ...], Meta(min_length=1)] | UnsetType = UNSET


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

    def __repr__(self) -> str:
        # The configuration may contain secrets.
        return f"<Override of {self.accounts!r}>"


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
    ignore: Annotated[
        tuple[_KeyPath, ...],
        Meta(
            description="Configuration keys to leave as they are, with everything below them. "
            "A key of a table follows a dot: limits.minutes. Their configured values are only used "
            "to install the Add-on."
        ),
    ] = ()
    extensions: _Extensions | UnsetType = UNSET
    previous_names: Annotated[
        tuple[_Text, ...],
        Meta(
            description="Unique names that the Add-on had before. An installation under one of "
            "them is renamed; no second one is installed."
        ),
    ] = ()
    replaces: (
        Annotated[
            str,
            Meta(
                pattern="^XB[0-9a-fA-F]{32}$",
                max_length=34,
                description="The SID of another Add-on. Where it is installed under this unique "
                "name or a previous one, it is removed, and this Add-on is installed instead.",
                extra={SID: "XB"},
            ),
        ]
        | UnsetType
    ) = UNSET
    overrides: tuple[Override, ...] | UnsetType = UNSET

    def __repr__(self) -> str:
        return f"<AddOn {self.unique_name!r}>"


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


_NOT_IF_ABSENT = ("configuration", "extensions")
_ONLY_PRESENT = (
    *("accept_terms_of_service", *_NOT_IF_ABSENT, "ignore"),
    *("previous_names", "replaces", "overrides"),
)


def _selection_rules(table: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    if not table:
        keys = ", ".join(AccountSelection.__struct_fields__)
        yield "", f"must have at least one of {keys}"


def _override_rules(table: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    if table.get("state") == "absent":
        yield from _not_allowed(table, _NOT_IF_ABSENT)


def _add_on_rules(table: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    if table.get("state") == "absent":
        yield from _not_allowed(table, _ONLY_PRESENT)
    if table.get("state", "present") != "present":
        return
    if "available_add_on_sid" not in table:
        yield "available_add_on_sid", 'available_add_on_sid is required unless state = "absent"'
    accepted = table.get("accept_terms_of_service")
    # Another check reports a value that is neither true nor false.
    if accepted is None or accepted is False:
        missing = "accept_terms_of_service" not in table
        yield (
            "accept_terms_of_service",
            f"{'accept_terms_of_service = true is required' if missing else 'must be true'}: an "
            "Add-on is installed only if its terms are accepted",
        )
    names = table.get("previous_names")
    if isinstance(names, list | tuple) and table.get("unique_name") in names:
        yield "previous_names", "must not contain the unique name itself"
    if "replaces" in table and table["replaces"] == table.get("available_add_on_sid"):
        yield "replaces", "must differ from available_add_on_sid"


def _not_allowed(table: Mapping[Any, Any], names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name in names:
        if name in table:
            yield name, 'is not allowed with state = "absent"'


RULES: Final[Mapping[type[Struct], Callable[[Mapping[Any, Any]], Iterator[tuple[str, str]]]]] = {
    AccountSelection: _selection_rules,
    Override: _override_rules,
    AddOn: _add_on_rules,
    File: lambda _: iter(()),
}
"""The rules that the field types cannot express. Each yields keys and problems."""


def _forbidden(names: tuple[str, ...]) -> dict[str, Any]:
    return {"properties": dict.fromkeys(names, False)}


# The rules above as JSON Schema.
_IF_ABSENT = {"properties": {"state": {"const": "absent"}}, "required": ["state"]}
_SCHEMAS: dict[str, dict[str, Any]] = {
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
        definition.update(_SCHEMAS.get(name, {}))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The desired state of marketplace_async",
        **document,
    }
