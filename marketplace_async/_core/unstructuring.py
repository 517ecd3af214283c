"""Rules by which values become plain: the unstructure hooks of the converter."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC
from decimal import Decimal
from typing import Any, Never, TypeVar, get_args, get_origin

import attrs
from cattrs import Converter, override
from cattrs.cols import is_mapping
from cattrs.gen import make_dict_unstructure_fn

from ..credentials import AccountToken, ApiKey, ClientCredentials, Secret
from ..errors import APIError, MarketplaceError, UnusableResponseError
from .arguments import check_unicode, plain_float, plain_int
from .documents import DocumentError, Path, problems_in
from .records import Record, Value, datetime

# JSON libraries in compiled languages read larger integers as floats, or not at all.
_MAX_INT = 2**63

_CREDENTIALS = (AccountToken, ApiKey, ClientCredentials)
_KNOWN = (Value, datetime, BaseException, *_CREDENTIALS)

# The field that is left out wherever it occurs.
HIDDEN = "credentials"


def plain_amount(amount: Decimal) -> int | float | str:
    """Return an amount as a value of every JSON library that reads back as the same amount.

    An int if it is integral; a float if its shortest form is the same decimal; otherwise text.
    """
    _check_amount(amount)
    if abs(amount.adjusted()) < 30 and amount == amount.to_integral_value():
        number = int(amount)
        if -_MAX_INT <= number < _MAX_INT:
            return number
    shortest = float(amount)
    if math.isfinite(shortest) and Decimal(repr(shortest)) == amount:
        return shortest
    return str(amount)


def exact_amount(amount: Decimal) -> Decimal:
    """Return an amount as it is, for an encoder that writes each digit."""
    _check_amount(amount)
    return Decimal(amount)


def _check_amount(amount: Decimal) -> None:
    if not amount.is_finite():
        raise ValueError(f"expected a finite amount, got {amount}")


def date_text(date: datetime) -> str:
    """Return a date as the service writes it: in UTC, and in whole seconds unless it has others."""
    if date.utcoffset() is None:
        raise ValueError(f"expected a date with a time zone, got {date.isoformat()}")
    with suppress(OverflowError):  # in UTC, it would be before the year 1 or after 9999
        date = date.astimezone(UTC)
    return date.isoformat().replace("+00:00", "Z")


def register_unstructure_hooks(
    converter: Converter, amount: Callable[[Decimal], Any], *, properties: bool
) -> None:
    """Register the hooks.

    Args:
        converter: A converter without hooks of its own.
        amount: How amounts are written.
        properties: Whether the properties of a value are written beside its fields.
    """
    converter.register_unstructure_hook(Decimal, amount)
    converter.register_unstructure_hook(datetime, date_text)
    converter.register_unstructure_hook(str, _text)
    converter.register_unstructure_hook(Secret, _refuse_secret)
    for cls in _CREDENTIALS:
        converter.register_unstructure_hook(cls, _sids)
    converter.register_unstructure_hook_func(
        lambda type_: isinstance(type_, type) and issubclass(type_, BaseException), _error
    )

    # The factories run again for a copy of the converter, which may have other hooks.
    @converter.register_unstructure_hook_factory(_is_free_form)
    def free_form_hook(_: Any, converter: Converter) -> Callable[[Any], Any]:
        return _free_form(converter, amount)

    @converter.register_unstructure_hook_factory(is_value_class)
    def value_hook(cls: Any, converter: Converter) -> Callable[[Any], dict[str, Any]]:
        return _value_hook(cls, converter, _free_form(converter, amount), properties=properties)


def is_value_class(type_: Any) -> bool:
    """Return whether a type is one of our values, or such a class with its parameters."""
    origin = get_origin(type_) or type_
    return isinstance(origin, type) and issubclass(origin, Value) and attrs.has(origin)


def constants_of(cls: type[Any]) -> dict[str, bool]:
    """Return what tells outcomes apart: `ok`."""
    ok = getattr(cls, "ok", None)
    return {"ok": ok} if isinstance(ok, bool) else {}


def _value_hook(
    cls: Any, converter: Converter, free: Callable[[Any], Any], *, properties: bool
) -> Callable[[Any], dict[str, Any]]:
    origin = get_origin(cls) or cls
    fields = attrs.fields(origin)
    overrides: dict[str, Any] = {
        field.name: override(unstruct_hook=free) for field in fields if _is_generic(field)
    }
    if any(field.name == HIDDEN for field in fields):
        overrides[HIDDEN] = override(omit=True)
    write: Callable[[Any], dict[str, Any]] = make_dict_unstructure_fn(cls, converter, **overrides)
    constants = constants_of(origin)
    added = tuple(_properties_of(origin)) if properties else ()

    def unstructure(value: Any) -> dict[str, Any]:
        try:
            document = {**constants, **write(value)}
        except (ValueError, TypeError) as error:
            problems = tuple(_problems(value, converter, error))
        else:
            for name in added:
                document[name] = converter.unstructure(getattr(value, name))
            if isinstance(value, Record) and value.unreadable:
                _note_unreadable(document, value.unreadable)
            return document
        raise DocumentError(origin, problems)

    return unstructure


def _is_generic(field: "attrs.Attribute[Any]") -> bool:
    return any(isinstance(each, TypeVar) for each in (field.type, *get_args(field.type)))


def _problems(value: Any, converter: Converter, error: Exception) -> Iterator[tuple[Path, str]]:
    """Yield what is wrong with the fields of a value; cattrs does not tell which field it is."""
    found = False
    for field in attrs.fields(type(value)):
        if field.name != HIDDEN:
            try:
                converter.unstructure(getattr(value, field.name), unstructure_as=field.type)
            except (ValueError, TypeError) as each:
                found = True
                yield from problems_in(each, (field.name,))
    if not found:
        yield from problems_in(error)


def _note_unreadable(document: dict[str, Any], unreadable: Mapping[str, Any]) -> None:
    """Leave out what the response did not have, and add what could not be read as JSON text."""
    odd = {}
    for name, raw in unreadable.items():
        if raw is attrs.NOTHING:
            document.pop(name, None)
        else:
            # JSON encoders reject some of what a response may have: NaN, halves of characters.
            odd[name] = json.dumps(raw)
    if odd:
        document["unreadable"] = odd


def _properties_of(cls: type[Any]) -> Iterator[str]:
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            if not isinstance(value, property) or name.startswith("_") or base is Record:
                continue
            if getattr(value.fget, "__annotations__", {}).get("return") is not Never:
                yield name


def _is_free_form(type_: Any) -> bool:
    if type_ is Any or isinstance(type_, TypeVar):
        return True
    if type_ in (dict, list, tuple):
        return True
    # A Counter has one argument.
    arguments = get_args(type_)
    return is_mapping(type_) and len(arguments) == 2 and arguments[1] is Any


def _free_form(converter: Converter, amount: Callable[[Decimal], Any]) -> Callable[[Any], Any]:
    """Return a function that copies what has no declared type: plain JSON, and our values."""

    def copy(value: Any) -> Any:
        match value:
            case None | bool():
                return value
            case str():
                return _text(value)
            case int():
                return plain_int(value)
            case float():
                if not math.isfinite(plain_float(value)):
                    raise ValueError(f"JSON cannot hold {value!r}")
                return plain_float(value)
            case Decimal():
                return amount(value)
            case Mapping():
                return {_key(key): copied(item, key) for key, item in value.items()}
            case list() | tuple():
                return [copied(item, index) for index, item in enumerate(value)]
            case _ if isinstance(value, _KNOWN):
                return converter.unstructure(value)
        # Nothing else of ours is written: it may hold secrets. A user's class may have a hook.
        if type(value).__module__.split(".")[0] != "marketplace_async":
            plain = converter.unstructure(value)
            if type(plain) is not type(value):
                return copy(plain)
        raise TypeError(f"JSON cannot hold {type(value).__name__}")

    def copied(value: Any, place: str | int) -> Any:
        try:
            return copy(value)
        except (ValueError, TypeError) as error:
            problems = tuple(problems_in(error, (place,)))
        raise DocumentError(None, problems)

    return copy


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"keys must be text, got {key!r}")
    return _text(key)


def _text(value: str) -> str:
    if type(value) is str and value.isascii():
        return value
    try:
        return check_unicode(value, "text")
    except ValueError:
        reason = "text that is not Unicode"
    raise ValueError(f"JSON cannot hold {reason}")


def _sids(credentials: AccountToken | ApiKey | ClientCredentials) -> dict[str, Any]:
    names = ("key_sid", "client_id", "account_sid")
    return {name: getattr(credentials, name) for name in names if hasattr(credentials, name)}


def _refuse_secret(secret: Secret) -> Never:
    raise TypeError("a secret is never written: send the name of a credential, not its value")


def _error(error: BaseException) -> dict[str, Any]:
    """Return what an error says, without what it holds."""
    message = str(error).encode(errors="replace").decode()
    document: dict[str, Any] = {"type": type(error).__name__, "message": message}
    if isinstance(error, APIError | UnusableResponseError):
        document["status"] = error.status
    if isinstance(error, APIError):
        document["code"] = error.code
        document["request_id"] = error.request_id
    if isinstance(error, MarketplaceError):
        document["account_sid"] = error.account_sid
    return document
