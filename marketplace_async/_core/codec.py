"""JSON in and out: msgspec decodes responses, and cattrs encodes request bodies."""

import functools
import math
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from msgspec import MsgspecError, ValidationError
from msgspec.json import Decoder, Encoder

from ..errors import ResponseError, UnusableResponseError
from . import lenient
from .arguments import check_unicode, plain_float, plain_int
from .converter import json_converter
from .logs import warn_about_response
from .messages import Request, Response
from .records import Envelope, Record, count_absences

T = TypeVar("T")


# Records that one warning names.
_MAX_NAMED = 10

_encode_plain = Encoder().encode


@functools.cache
def _loads(cls: Any) -> Callable[[bytes], Any]:
    # msgspec supports attrs classes. It decodes them as fast as plain dicts, and rejects null or a
    # number for a text field.
    decode: Callable[[bytes], Any] = Decoder(cls).decode
    return decode


def from_json(text: bytes, cls: type[T], expected: str) -> T:
    """Decode JSON as `cls`, or raise a ValueError whose message contains no value."""
    try:
        value: T = _loads(cls)(text)  # type: ignore[arg-type]  # a type is hashable
        return value
    except RecursionError:
        reason = "nested too deeply"
    except (ValidationError, OverflowError) as error:
        reason = f"not {expected}: {error}"
    except (MsgspecError, ValueError) as error:
        reason = f"not JSON: {error}"
    raise ValueError(reason)


def decode(request: Request, response: Response, *, cls: type[T]) -> T:
    """Decode the body of a response as `cls`, or raise ResponseError."""
    try:
        return from_json(response.body.removeprefix(BOM_UTF8), cls, "what the API promises")
    except ValueError as error:
        reason = f"the body is {error}"
    raise ResponseError(request, response, reason)


def to(cls: type[T]) -> Callable[[Request, Response], T]:
    """Return a function that decodes a response as `cls`.

    Of records, and of documents that hold some, only the SIDs are required: an odd or missing field
    is noted in `record.unreadable`. Whatever cannot be decoded raises ResponseError, or
    UnusableResponseError if it is JSON.
    """
    parse: Callable[[Request, Response], T] = _parse(cls)  # type: ignore[arg-type]  # as above
    return parse


@functools.cache
def _parse(cls: Any) -> Callable[[Request, Response], Any]:
    if not issubclass(cls, Record | Envelope):
        return functools.partial(decode, cls=cls)
    read_leniently = functools.partial(_read_leniently, cls)
    # The strict decoder accepts any amount, 1E+999999999 included.
    return read_leniently if lenient.has_amounts(cls) else _strict_first(cls, read_leniently)


def _strict_first(
    cls: Any, read_leniently: Callable[[Request, Response], Any]
) -> Callable[[Request, Response], Any]:
    strict = _loads(cls)

    def read(request: Request, response: Response) -> Any:
        before = count_absences()
        try:
            value = strict(response.body)
        except (MsgspecError, ValueError, OverflowError, RecursionError):
            value = None
        # Another thread may have counted an absence: the lenient decoder then finds none.
        if value is not None and count_absences() == before + 1:
            return value
        return read_leniently(request, response)

    return read


def _read_leniently(cls: Any, request: Request, response: Response) -> Any:
    # The error is raised here, where no variable holds the body: it may be confidential.
    value = _value_or_error(cls, request, response)
    if isinstance(value, ResponseError):
        raise value
    return value


def _value_or_error(cls: Any, request: Request, response: Response) -> Any:
    try:
        document = lenient.parse(response.body)
    except ValueError as error:
        return ResponseError(request, response, f"the body is {error}")
    try:
        value, unreadable = lenient.build(cls, document)
    except lenient.ShapeError as error:
        reason = f"the body is not what the API promises: {error}"
        return unusable(request, response, reason, document)
    if unreadable:
        named = "; ".join(str(one) for one in unreadable[:_MAX_NAMED])
        more = len(unreadable) - _MAX_NAMED
        suffix = f"; and {more} more records" if more > 0 else ""
        warn_about_response(request, response, f"-> unknown fields: {named}{suffix}")
    return value


def unusable(
    request: Request, response: Response, reason: str, document: Any = None
) -> UnusableResponseError:
    """Return the error for a complete response that is not usable."""
    if response.confidential:
        return UnusableResponseError(request, response, reason)
    if document is None:
        try:
            document = lenient.parse(response.body)
        except ValueError:
            document = None
    sid = document.get("sid") if isinstance(document, dict) else None
    return UnusableResponseError(
        request,
        response,
        reason,
        lenient.plain_or_none(document),
        sid if isinstance(sid, str) else None,
    )


def encode(value: object) -> bytes:
    """Encode attrs values and plain JSON."""
    return json_converter().dumps(value)


def plain_object(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a copy of a mapping of plain JSON. `name` is the argument to name in errors.

    The copy consists of plain dicts, lists, text and numbers. Later changes of the original do not
    affect it.
    """
    plain, _ = _checked(value, name)
    return plain


def json_object(value: Mapping[str, Any], name: str) -> str:
    """Encode a mapping of plain JSON. `name` is the argument to name in errors."""
    _, text = _checked(value, name)
    return text


def _checked(value: Mapping[str, Any], name: str) -> tuple[dict[str, Any], str]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}: expected a mapping, got {type(value).__name__}")
    try:
        plain = _plain_mapping(value, name)
        return plain, _encode_plain(plain).decode()
    except RecursionError:
        raise ValueError(f"{name}: nested too deeply, or contains itself") from None


def same_json(one: object, other: object) -> bool:
    """Return whether two values are equal by the rules of JSON Schema.

    1.0 equals 1 there. To Python, True does, too.
    """
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same_json(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same_json, one, other))
    return one == other


def plain_and_json(
    value: Mapping[str, Any] | None, name: str
) -> tuple[dict[str, Any] | None, str | None]:
    """Return the results of both `plain_object` and `json_object`, for an optional argument."""
    return (None, None) if value is None else _checked(value, name)


def json_object_or_none(value: Mapping[str, Any] | None, name: str) -> str | None:
    """Like `json_object`, for an optional argument."""
    return None if value is None else json_object(value, name)


def _plain(value: object, path: str) -> object:
    """Copy `value` if it is plain JSON. Refuse values that an encoder would convert to JSON."""
    match value:
        case None | bool():
            return value
        case int():
            return plain_int(value)
        case str():
            return check_unicode(value, path)
        case float():
            if not math.isfinite(plain_float(value)):
                raise ValueError(f"{path}: JSON cannot hold {value!r}")
            return plain_float(value)
        case list() | tuple():
            return [_plain(item, f"{path}[{index}]") for index, item in enumerate(value)]
        case Mapping():
            return _plain_mapping(value, path)
        case _:
            raise TypeError(f"{path}: JSON cannot hold {type(value).__name__}")


def _plain_mapping(value: Mapping[Any, Any], path: str) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise TypeError(f"{path}: keys must be text, got {key!r}")
        name = check_unicode(key, path)
        if name in plain:
            raise ValueError(f"{path}: the key {name!r} is given twice")
        plain[name] = _plain(item, f"{path}.{name}")
    return plain
