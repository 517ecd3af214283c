"""Rules by which plain values are read: the structure hooks of the converter.

They are strict: `null` is not text, and "yes" is not a flag. Only amounts have several forms.
"""

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from types import NoneType, UnionType
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin

import attrs
from cattrs import Converter, override
from cattrs.cols import is_mapping
from cattrs.gen import make_dict_structure_fn
from msgspec import ValidationError, convert

from . import lenient
from .arguments import check_unicode, plain_int
from .documents import DocumentError, Path, kind, problems_in
from .records import AwareDatetime, Record, datetime, marked
from .unstructuring import HIDDEN, constants_of, is_value_class

Structure: TypeAlias = Callable[[Any, Any], Any]


def register_structure_hooks(converter: Converter) -> None:
    """Register the hooks. The converter must validate in detail."""
    for cls, read in (
        (str, _text),
        (bool, _flag),
        (int, _integer),
        (float, _number),
        (Decimal, _amount),
        (datetime, _date),
    ):
        converter.register_structure_hook(cls, read)
    converter.register_structure_hook_func(lambda type_: type_ in (None, NoneType), _null)
    converter.register_structure_hook_func(
        lambda type_: isinstance(type_, type) and issubclass(type_, BaseException), _refuse_error
    )
    converter.register_structure_hook_factory(is_value_class, _value_hook)
    converter.register_structure_hook_factory(_is_list, _list_hook)
    converter.register_structure_hook_factory(_is_free_form, _free_form_hook)
    converter.register_structure_hook_factory(_is_literal, _literal_hook)
    converter.register_structure_hook_factory(
        lambda type_: _optional(type_) is not None, _optional_hook
    )


def _value_hook(cls: Any, converter: Converter) -> Structure:
    origin = get_origin(cls) or cls
    if cls is origin and (parameters := getattr(cls, "__parameters__", ())):
        example = ", ".join(parameter.__name__ for parameter in parameters)
        raise TypeError(f"cls: say what {cls.__name__} holds: {cls.__name__}[{example}]")
    names = {field.name for field in attrs.fields(origin)}
    hidden: dict[str, Any] = {HIDDEN: override(omit=True)} if HIDDEN in names else {}
    build = make_dict_structure_fn(cls, converter, _cattrs_detailed_validation=True, **hidden)
    constants = constants_of(origin)
    # A field of a record that was left out is unknown.
    expected = tuple(
        field.name
        for field in attrs.fields(origin)
        if field.default is not attrs.NOTHING and field.name not in hidden
    )

    def structure(document: Any, _: Any) -> Any:
        if not isinstance(document, Mapping):
            raise ValueError(f"expected an object, got {kind(document)}")
        for name, constant in constants.items():
            if document.get(name, constant) is not constant:
                raise DocumentError(origin, [((name,), f"expected {_json(constant)}")])
        value = build(document, cls)
        if isinstance(value, Record):
            unknown: dict[str, Any] = {
                name: attrs.NOTHING for name in expected if name not in document
            }
            marked(value, {**unknown, **_unreadable(document.get("unreadable"), names)})
        return value

    return structure


def _unreadable(noted: Any, names: set[str]) -> dict[str, Any]:
    if noted is None:
        return {}
    if not isinstance(noted, Mapping):
        raise DocumentError(None, [(("unreadable",), f"expected an object, got {kind(noted)}")])
    try:
        return {name: json.loads(text) for name, text in noted.items() if name in names}
    except (ValueError, TypeError, RecursionError):
        problem = (("unreadable",), "expected JSON text for each field")
    raise DocumentError(None, [problem])


def _is_list(type_: Any) -> bool:
    origin: Any = get_origin(type_)
    arguments = get_args(type_)
    return origin is list or (origin is tuple and arguments[-1:] == (...,))


def _list_hook(type_: Any, converter: Converter) -> Structure:
    item_type = get_args(type_)[0]
    read = converter.get_structure_hook(item_type)
    collect = get_origin(type_)

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise ValueError(f"expected a list, got {kind(value)}")
        items: list[Any] = []
        problems: list[tuple[Path, str]] = []
        for index, item in enumerate(value):
            try:
                items.append(read(item, item_type))
            except Exception as error:  # noqa: BLE001 - user hooks may raise anything
                problems += problems_in(error, (index,))
        if problems:
            raise DocumentError(type_, problems)
        return collect(items)

    return structure


def _is_literal(type_: Any) -> bool:
    origin: Any = get_origin(type_)
    return origin is Literal


def _optional(type_: Any) -> Any:
    """Return X of `X | None`; None for other types."""
    if get_origin(type_) not in (Union, UnionType):
        return None
    members = get_args(type_)
    others = [member for member in members if member is not NoneType]
    return others[0] if len(others) == 1 and len(members) == 2 else None


def _optional_hook(type_: Any, converter: Converter) -> Structure:
    inner = _optional(type_)
    read = converter.get_structure_hook(inner)
    return lambda value, _: None if value is None else read(value, inner)


def _literal_hook(type_: Any) -> Structure:
    allowed = get_args(type_)
    expected = " or ".join(map(_json, allowed))

    def structure(value: Any, _: Any) -> Any:
        for each in allowed:
            if each == value and type(each) is type(value):
                return each
        raise ValueError(f"expected {expected}")

    return structure


def _null(value: Any, _: Any) -> None:
    if value is not None:
        raise ValueError(f"expected null, got {kind(value)}")


def _text(value: Any, _: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected text, got {kind(value)}")
    try:
        return check_unicode(value, "")
    except ValueError:
        reason = "expected text, got text that is not Unicode"
    raise ValueError(reason)


def _flag(value: Any, _: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, got {kind(value)}")
    return value


def _integer(value: Any, _: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"expected an integer, got {kind(value)}")
    return plain_int(value)


def _number(value: Any, _: Any) -> float:
    if not isinstance(value, int | float | Decimal) or isinstance(value, bool):
        raise ValueError(f"expected a number, got {kind(value)}")
    return float(value)


def _amount(value: Any, _: Any) -> Decimal:
    try:
        # The shortest text of a float is the amount that it stands for.
        return lenient.amount(Decimal(repr(value)) if isinstance(value, float) else value)
    except ValueError:
        reason = f"expected an amount, got {kind(value)}"
    raise ValueError(reason)


def _date(value: Any, _: Any) -> datetime:
    if isinstance(value, datetime) and value.utcoffset() is not None:
        return value
    if isinstance(value, str):
        with suppress(ValidationError):
            return convert(value, AwareDatetime)
    raise ValueError(
        f"expected a date with a time zone such as 2016-04-07T23:52:28Z, got {kind(value)}"
    )


def _is_free_form(type_: Any) -> bool:
    arguments = get_args(type_)
    return (
        type_ is Any
        or type_ is object
        or type_ is dict
        or (is_mapping(type_) and len(arguments) == 2 and arguments[1] is Any)
    )


def _free_form_hook(type_: Any) -> Structure:
    if type_ is Any or type_ is object:
        return lambda value, _: _plain(value, ())

    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError(f"expected an object, got {kind(value)}")
        return _plain(value, ())

    return structure


def _plain(value: Any, path: Path) -> Any:
    """Copy plain JSON, in which numbers may be Decimals."""
    match value:
        case None | bool():
            return value
        case str():
            return _text_at(value, path)
        case int():
            return plain_int(value)
        case float() | Decimal():
            # Some stores return every number as a Decimal. JSON parsers make none of an integer.
            if isinstance(value, Decimal) and value.as_tuple().exponent == 0:
                return int(value)
            number = float(value)
            if not math.isfinite(number):
                raise DocumentError(None, [(path, "expected a finite number")])
            return number
        case Mapping():
            return {
                _text_at(key, path): _plain(item, (*path, f"{key}")) for key, item in value.items()
            }
        case list() | tuple():
            return [_plain(item, (*path, index)) for index, item in enumerate(value)]
        case _:
            raise DocumentError(None, [(path, f"JSON cannot hold {type(value).__name__}")])


def _text_at(value: Any, path: Path) -> str:
    try:
        return _text(value, str)
    except ValueError as error:
        reason = str(error)
    raise DocumentError(None, [(path, reason)])


def _refuse_error(_: Any, cls: Any) -> Any:
    raise ValueError("an error cannot be read back: pickle the outcome instead")


def _json(value: object) -> str:
    return json.dumps(value)
