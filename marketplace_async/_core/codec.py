"""The one door for JSON: cattrs, over msgspec. Bytes become records here, and values bodies."""

import functools
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, TypeAlias, TypeVar

from cattrs.preconf.msgspec import MsgspecJsonConverter, configure_converter
from msgspec import Meta, MsgspecError, ValidationError
from msgspec.json import Decoder, Encoder

from ..errors import APIError, ResponseError, api_error_class
from .arguments import check_unicode
from .messages import Request, Response

T = TypeVar("T")


AwareDatetime: TypeAlias = Annotated[datetime, Meta(tz=True)]
"""A date with its zone: UTC, as the service writes it. One without a zone is refused."""

_canonical = Encoder(order="deterministic").encode


class _Converter(MsgspecJsonConverter):
    # Amounts are money: they travel as JSON numbers, digit for digit.
    encoder = Encoder(decimal_format="number")

    def get_loads_hook(self, cl: type[T]) -> Callable[[bytes], T]:
        # msgspec knows attrs classes: handed over whole, a document costs no more than bare dicts,
        # and a null or a number where text belongs is refused instead of turned into text.
        return Decoder(cl).decode


@functools.cache
def _converter() -> _Converter:
    converter = _Converter()
    configure_converter(converter)
    # Without a hook of our own, a Decimal would become text before the encoder sees it.
    converter.register_unstructure_hook(Decimal, lambda amount: amount)
    return converter


@functools.cache
def _loads(cls: Any) -> Callable[[bytes], Any]:
    return _converter().get_loads_hook(cls)


def from_json(text: bytes, cls: type[T], expected: str) -> T:
    """Turn JSON into a `cls`, or raise the ValueError that says why not, but shows no value."""
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
    """Turn the body of a response into a `cls`, or raise the ResponseError that says why not."""
    try:
        return from_json(response.body, cls, "what the API promises")
    except ValueError as error:
        reason = f"the body is {error}"
    raise ResponseError(request, response, reason)


def to(cls: type[T]) -> Callable[[Request, Response], T]:
    """Return what makes a `cls` of an answer."""
    parse: Callable[[Request, Response], T] = _parse(cls)  # type: ignore[arg-type]  # as above
    return parse


@functools.cache
def _parse(cls: Any) -> Callable[[Request, Response], Any]:
    return functools.partial(decode, cls=cls)


def encode(value: object) -> bytes:
    """Turn attrs values and plain JSON into JSON."""
    return _converter().dumps(value)


def json_object(value: Mapping[str, Any], name: str) -> str:
    """Turn a mapping of plain JSON into JSON text; `name` is the argument to blame."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}: expected a mapping, got {type(value).__name__}")
    try:
        return encode(_plain(value, name)).decode()
    except RecursionError:
        raise ValueError(f"{name}: nested too deeply, or within itself") from None


def same_json(one: object, other: object) -> bool:
    """Tell whether two values are the same JSON; to Python, True is 1 is 1.0."""
    return _canonical(one) == _canonical(other)


def json_object_or_none(value: Mapping[str, Any] | None, name: str) -> str | None:
    """Like `json_object`, for an argument that can be left out."""
    return None if value is None else json_object(value, name)


def _plain(value: object, path: str) -> object:
    """Copy `value` if it is plain JSON; whatever an encoder would bend into JSON is refused."""
    match value:
        case None | bool():
            return value
        case int():
            return int(value)
        case str():
            return check_unicode(str(value), path)
        case float():
            if not math.isfinite(value):
                raise ValueError(f"{path}: JSON cannot hold {value!r}")
            return float(value)
        case list() | tuple():
            return [_plain(item, f"{path}[{index}]") for index, item in enumerate(value)]
        case Mapping():
            for key in value:
                if not isinstance(key, str):
                    raise TypeError(f"{path}: expected text as keys, got {key!r}")
            return {_plain(key, path): _plain(item, f"{path}.{key}") for key, item in value.items()}
        case _:
            raise TypeError(f"{path}: JSON cannot hold {type(value).__name__}")


def _error_document(response: Response) -> dict[str, Any]:
    try:
        document: dict[str, Any] = _loads(dict[str, Any])(response.body)
    except (MsgspecError, ValueError, RecursionError):
        return {}
    return document


def api_error(request: Request, response: Response) -> APIError:
    """Read an error answer: the vendor's own form, RFC 9457, or whatever it is."""
    document = _error_document(response)

    def first(kind: type[T], *names: str) -> T | None:
        for name in names:
            value = document.get(name)
            if isinstance(value, kind) and not isinstance(value, bool | None):
                return value
        return None

    error = api_error_class(response.status)(
        request,
        response,
        code=first(int, "code"),
        message=first(str, "message", "detail", "title") or _excerpt(response),
        more_info=first(str, "more_info", "type"),
        details=first(object, "details", "params", "errors"),
    )
    error.after_unknown = response.resent
    return error


def _excerpt(response: Response, length: int = 80) -> str:
    if not response.body:
        return "an answer without a body"
    if response.confidential:
        return "no error document"
    text = response.body[:length].decode(errors="replace")
    return f"no error document: {text!r}" + ("..." if len(response.body) > length else "")
