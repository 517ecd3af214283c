"""Catalogue files: Add-ons in JSON, checked against a published schema."""

import json
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any, Final

import attrs
import jsonschema_rs
import msgspec

from .add_ons import AddOn

_MAX_ERRORS: Final = 5
_ATTRIBUTES: Final = [*(field.name for field in attrs.fields(AddOn)), "replace"]
_TYPES: Final[dict[str, str]] = {
    "array": "a list",
    "boolean": "true or false",
    "null": "null",
    "object": "an object",
    "string": "text",
}


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a catalogue file."""
    text = (
        files("marketplace_async.emulator")
        .joinpath("catalogue.schema.json")
        .read_text(encoding="utf-8")
    )
    document: dict[str, Any] = json.loads(text)
    return document


def parse(content: bytes) -> Iterator[tuple[str, AddOn, bool]]:
    """Yield the place of each Add-on, the Add-on, and whether it replaces another one.

    Raises:
        ValueError: The content is invalid. The message says where, and what is wrong.
    """
    document = _decode(content)
    prefix = "add_ons" if isinstance(document, dict) else ""
    errors = [
        f"{_place(error.instance_path)}{_in_words(error)}"
        for error in _validator().iter_errors(document)
    ]
    if errors:
        more = [f"and {len(errors) - _MAX_ERRORS} more"] if len(errors) > _MAX_ERRORS else []
        raise ValueError("; ".join([*errors[:_MAX_ERRORS], *more]))
    for index, attributes in enumerate(document["add_ons"] if prefix else document):
        place = f"{prefix}[{index}]"
        replace = attributes.pop("replace", False)
        try:
            add_on = msgspec.convert(attributes, AddOn)
        except ValueError as error:
            # msgspec repeats the message of the error that an Add-on raises.
            cause = error.__cause__ or error
            raise ValueError(f"{place}.{cause}") from None
        yield place, add_on, replace


def _decode(content: bytes) -> Any:
    try:
        return json.loads(content, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has {twice!r} twice")
    return document


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


@cache
def _validator() -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(schema(), offline=True)


def _place(path: list[str | int]) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return f"{text.removeprefix('.')}: " if text else ""


def _in_words(error: jsonschema_rs.ValidationError) -> str:
    name, value, given = error.kind.name, error.kind.value, _shortened(error.instance)
    match name:
        case "type":
            return f"must be {' or '.join(_TYPES[each] for each in value)}, got {given}"
        case "required":
            return f"needs {value!r}"
        case "additionalProperties":
            close = get_close_matches(value[0], _ATTRIBUTES, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            return f"has no attribute {', '.join(map(repr, value))}{hint}"
        case "enum":
            return f"must be one of {', '.join(value)}, got {given}"
        case "pattern":  # of a SID
            return f"must be {value[1:3]} and 32 hex digits, got {given}"
        case "minLength":
            return "must not be empty"
        case _:
            return error.message


def _shortened(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
