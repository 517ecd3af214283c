"""JSON in and out: cattrs over msgspec decodes records and encodes request bodies."""

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
"""A datetime with a time zone. The service sends UTC; a value without a zone is rejected."""

_canonical = Encoder(order="deterministic").encode


class _Converter(MsgspecJsonConverter):
    # Amounts are money: encode them as exact JSON numbers.
    encoder = Encoder(decimal_format="number")

    def get_loads_hook(self, cl: type[T]) -> Callable[[bytes], T]:
        # msgspec supports attrs classes. It decodes them as fast as plain dicts, and rejects null
        # or a number for a text field. cattrs would turn them into text.
        return Decoder(cl).decode


@functools.cache
def _converter() -> _Converter:
    converter = _Converter()
    configure_converter(converter)
    # Without this hook, a Decimal would become text before the encoder sees it.
    converter.register_unstructure_hook(Decimal, lambda amount: amount)
    return converter


@functools.cache
def _loads(cls: Any) -> Callable[[bytes], Any]:
    return _converter().get_loads_hook(cls)


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
        return from_json(response.body, cls, "what the API promises")
    except ValueError as error:
        reason = f"the body is {error}"
    raise ResponseError(request, response, reason)


def to(cls: type[T]) -> Callable[[Request, Response], T]:
    """Return a function that decodes a response as `cls`."""
    parse: Callable[[Request, Response], T] = _parse(cls)  # type: ignore[arg-type]  # as above
    return parse


@functools.cache
def _parse(cls: Any) -> Callable[[Request, Response], Any]:
    return functools.partial(decode, cls=cls)


def encode(value: object) -> bytes:
    """Encode attrs values and plain JSON."""
    return _converter().dumps(value)


def json_object(value: Mapping[str, Any], name: str) -> str:
    """Encode a mapping of plain JSON. `name` is the argument to name in errors."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}: expected a mapping, got {type(value).__name__}")
    try:
        return encode(_plain(value, name)).decode()
    except RecursionError:
        raise ValueError(f"{name}: nested too deeply, or contains itself") from None


def same_json(one: object, other: object) -> bool:
    """Return whether two values are the same JSON. To Python, True equals 1."""
    return _canonical(one) == _canonical(other)


def json_object_or_none(value: Mapping[str, Any] | None, name: str) -> str | None:
    """Like `json_object`, for an optional argument."""
    return None if value is None else json_object(value, name)


def _plain(value: object, path: str) -> object:
    """Copy `value` if it is plain JSON. Refuse values that an encoder would convert to JSON."""
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
                    raise TypeError(f"{path}: keys must be text, got {key!r}")
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
    """Parse an error response: Twilio's own format, RFC 9457, or anything else."""
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
        return "empty body"
    if response.confidential:
        return "unexpected body"
    text = response.body[:length].decode(errors="replace")
    return f"unexpected body: {text!r}" + ("..." if len(response.body) > length else "")
