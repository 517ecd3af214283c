"""Reads what the strict decoder rejects, field by field: an odd field costs only itself."""

import functools
import json
import math
import re
import types
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple, Union, get_args, get_origin

import attrs
import msgspec

from .records import Record, absent, marked

# An amount whose plain notation is longer than this is not an amount. Doubles need 325 digits.
_MAX_DIGITS = 400
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,4})?")
_SID = re.compile("[A-Z]{2}[0-9a-fA-F]{32}")
_NOT_UNICODE = re.compile("[\ud800-\udfff]")


class Unreadable(NamedTuple):
    """The unknown fields of one record: those that are missing, and the others."""

    record: str
    missing: tuple[str, ...]
    odd: tuple[str, ...]

    def __str__(self) -> str:
        parts = []
        if self.odd:
            parts.append(f"could not read {', '.join(self.odd)}")
        if self.missing:
            parts.append(f"{', '.join(self.missing)} missing")
        return f"{self.record}: {'; '.join(parts)}"


class ShapeError(ValueError):
    """A document has another shape than the API promises. The message contains no value."""


def parse(body: bytes) -> Any:
    """Parse JSON, also with NaN, control characters, a byte order mark or text that is not Unicode.

    Numbers with a fraction become Decimals. What is not Unicode becomes a lone surrogate.

    Raises:
        ValueError: The body is not JSON. The message contains no value.
    """
    text = body.decode("utf-8-sig", "surrogateescape")
    try:
        return json.loads(text, strict=False, parse_float=_number, parse_int=_integer)
    except RecursionError:
        reason = "nested too deeply"
    except json.JSONDecodeError as error:
        reason = f"not JSON: {error}"
    # Raised outside the `except` block: the cause holds the whole text.
    raise ValueError(reason)


def build(cls: type[Any], document: Any) -> tuple[Any, list[Unreadable]]:
    """Build a record, or an envelope with its records, from a document that was parsed.

    Returns:
        The value, and the unknown fields of each record that has some.

    Raises:
        ShapeError: The document is not an object, or a required field is missing or not readable.
    """
    unreadable: list[Unreadable] = []
    return _build(cls, document, "$", unreadable), unreadable


def plain_or_none(value: Any) -> Any:
    """Return a copy of a parsed value as plain JSON; None if JSON cannot hold it."""
    try:
        return _Plain().copy(value)
    except (ValueError, RecursionError):
        return None


def _build(cls: type[Any], document: Any, path: str, unreadable: list[Unreadable]) -> Any:
    if not isinstance(document, dict):
        raise ShapeError(f"{path}: expected an object, got {_kind(document)}")
    values: dict[str, Any] = {}
    odd: dict[str, Any] = {}
    for field in _fields_of(cls):
        raw = document.get(field.name, attrs.NOTHING)
        try:
            values[field.name], exact = field.read(raw, f"{path}.{field.name}", unreadable)
        except ShapeError:
            raise
        except (ValueError, RecursionError):
            if field.required:
                raise ShapeError(
                    f"{path}.{field.name}: expected {field.expected}, got {_kind(raw)}"
                ) from None
            values[field.name], exact = field.default, False
        if not exact and field.required:
            raise ShapeError(f"{path}.{field.name}: expected text, got text that is not Unicode")
        if not exact:
            odd[field.name] = _raw(raw)
    value = cls(**values)
    if odd:
        missing = tuple(name for name, raw in odd.items() if raw is attrs.NOTHING)
        others = tuple(name for name in odd if name not in missing)
        if isinstance(value, Record):
            marked(value, odd)
        if others or missing:
            sid = document.get("sid")
            label = sid if isinstance(sid, str) and _SID.fullmatch(sid) else path
            unreadable.append(Unreadable(label, missing, others))
    return value


@attrs.frozen
class _Field:
    name: str
    type: Any
    required: bool
    promised: bool
    default: Any
    item: Any

    @property
    def expected(self) -> str:
        return "text" if self.item is None else "a list"

    def read(self, raw: Any, path: str, unreadable: list[Unreadable]) -> tuple[Any, bool]:
        """Return the value, and whether it is exactly what the response says."""
        if raw is attrs.NOTHING:
            if self.required:
                raise ShapeError(f"{path} is missing")
            return self.default, not self.promised
        if attrs.has(self.type):
            # Nested documents are optional, and read as far as possible.
            return _build(self.type, raw if isinstance(raw, dict) else {}, path, unreadable), True
        if self.item is not None and isinstance(raw, list):
            items = (
                _build(self.item, item, f"{path}[{index}]", unreadable)
                for index, item in enumerate(raw)
            )
            return tuple(items), True
        if Decimal in _members(self.type) and raw is not None:
            return amount(raw), True
        copying = _Plain()
        return msgspec.convert(copying.copy(raw), self.type), not copying.repaired


def _factory(field: "attrs.Attribute[Any]") -> Any:
    return getattr(field.default, "factory", None)


def _default(field: "attrs.Attribute[Any]") -> Any:
    factory = _factory(field)
    if factory is None:
        return field.default
    # Calling it would count an absence.
    return None if factory is absent else factory()


def _fields_of(cls: type[Any]) -> "tuple[_Field, ...]":
    return _fields(cls)  # type: ignore[arg-type]  # a type is hashable


@functools.cache
def _fields(cls: type[Any]) -> tuple[_Field, ...]:
    return tuple(
        _Field(
            name=field.name,
            type=field.type,
            required=field.default is attrs.NOTHING,
            promised=_factory(field) is absent,
            default=_default(field),
            item=_record_class(field.type),
        )
        for field in attrs.fields(cls)
    )


def has_amounts(cls: type[Any]) -> bool:
    """Return whether a class holds amounts, which the strict decoder does not bound."""
    return any(
        Decimal in _members(field.type) or (field.item is not None and has_amounts(field.item))
        for field in _fields_of(cls)
    )


def _record_class(type_: Any) -> Any:
    """Return the class of the items of a tuple of records; otherwise None."""
    for member in _members(type_):
        if get_origin(member) is tuple and attrs.has(get_args(member)[0]):
            return get_args(member)[0]
    return None


def _members(type_: Any) -> Iterator[Any]:
    if get_origin(type_) in (Union, types.UnionType):
        yield from get_args(type_)
    else:
        yield type_


class _Plain:
    """Copies a parsed value, and replaces what is not Unicode."""

    repaired = False

    def copy(self, value: Any) -> Any:
        match value:
            case str():
                if value.isascii():
                    return value
                text = _NOT_UNICODE.sub("\ufffd", value)
                self.repaired |= text != value
                return text
            case dict():
                return {self.copy(key): self.copy(item) for key, item in value.items()}
            case list():
                return [self.copy(item) for item in value]
            case Decimal() | float():
                number = float(value)
                if not math.isfinite(number):
                    raise ValueError("not a finite number")
                return number
            case _:
                return value


def _raw(value: Any) -> Any:
    """Return a parsed value with its numbers as floats, or as text if it is a number alone.

    None if it is nested too deeply to be copied, and so for everyone who is given it.
    """
    try:
        return _raw_copy(value)
    except RecursionError:
        return None


def _raw_copy(value: Any) -> Any:
    match value:
        case Decimal():
            return str(value)
        case dict():
            return {key: _raw_item(item) for key, item in value.items()}
        case list():
            return [_raw_item(item) for item in value]
        case _:
            return value


def _raw_item(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else _raw_copy(value)


def amount(raw: Any) -> Decimal:
    """Return an amount in a document that was parsed, or raise ValueError."""
    if isinstance(raw, str) and _NUMBER.fullmatch(raw):
        raw = Decimal(raw)
    if isinstance(raw, int) and not isinstance(raw, bool):
        raw = Decimal(raw)
    if not isinstance(raw, Decimal):
        raise ValueError("not an amount")
    _, digits, exponent = raw.as_tuple()
    if not isinstance(exponent, int) or len(digits) + abs(exponent) > _MAX_DIGITS:
        raise ValueError("not an amount")
    return raw


def _number(text: str) -> Decimal | float:
    try:
        return Decimal(text)
    except InvalidOperation:  # the exponent has too many digits
        return float(text)


def _integer(text: str) -> int | float:
    # Python refuses to convert thousands of digits, and no field holds that many.
    return int(text) if len(text) <= _MAX_DIGITS else math.copysign(math.inf, -(text[0] == "-"))


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "text"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return "a number"
