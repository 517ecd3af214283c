"""Requests and responses: plain values, and the function type that turns one into the other."""

import re
import time
from collections.abc import Awaitable, Callable, ItemsView, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlencode

import attrs
from multidict import CIMultiDict, CIMultiDictProxy

FORM: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"

_METHOD = re.compile(r"[A-Z]+")
# No dot segments, no encoded dot or slash, and nothing that starts a query or a fragment: a request
# cannot leave the resource that it names.
_PATH = r"(?:/(?!\.{1,2}(?:/|\Z))(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%(?!2[eEfF])[0-9a-fA-F]{2})*)+"
# Nearly all paths match this one, which is faster.
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9/_-]*")
_QUERY = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9a-fA-F]{2})*")
_MEDIA_TYPE = re.compile(r"[!-~]+/[ -~]+")


def form(**fields: str | bool | None) -> bytes:
    """Encode a form body; fields that are None are left out."""
    return urlencode(
        {
            name: str(value).lower() if isinstance(value, bool) else value
            for name, value in fields.items()
            if value is not None
        }
    ).encode()


Repeat: TypeAlias = Literal["always", "if_rejected"]


def _to_query(query: Mapping[str, str | int] | str) -> str:
    if isinstance(query, str):
        return query
    for name, value in query.items():
        if not isinstance(value, str | int):
            raise TypeError(f"query: expected text or an integer for {name}, got {value!r}")
    return urlencode(query)


@attrs.frozen
class Request:
    """One request. The client adds credentials, host and options.

    Args:
        method: The HTTP method, in capitals.
        path: The path, starting with `/v1`, without dot segments, percent-encoded where needed.
        query: A mapping, or a query string that is already encoded.
        body: The bytes to send, if any.
        content_type: The media type of `body`.
        repeat: Whether the request may be sent again when the outcome of an attempt is unknown:
            "always", the default for GET, or "if_rejected", only if Twilio did not process it.
    """

    method: str
    path: str
    query: str = attrs.field(default="", converter=_to_query)
    body: bytes | None = attrs.field(default=None, repr=False)
    content_type: str | None = None
    repeat: Repeat = attrs.field(
        default=attrs.Factory(
            lambda self: "always" if self.method == "GET" else "if_rejected", takes_self=True
        )
    )

    def __attrs_post_init__(self) -> None:
        if not _METHOD.fullmatch(self.method):
            raise ValueError(
                f"method: expected a word in capitals such as GET, got {self.method!r}"
            )
        if not (_PLAIN_PATH.fullmatch(self.path) or re.fullmatch(_PATH, self.path)):
            raise ValueError(
                f"path: expected a path such as /v1/InstalledAddOns, got {self.path!r}"
            )
        if not _QUERY.fullmatch(self.query):
            raise ValueError(
                f"query: expected a mapping or an encoded query string, got {self.query!r}"
            )
        if self.body is not None and not isinstance(self.body, bytes):
            raise TypeError(f"body: expected bytes, got {type(self.body).__name__}")
        if self.content_type is not None and not _MEDIA_TYPE.fullmatch(self.content_type):
            raise ValueError(f"content_type: expected a media type, got {self.content_type!r}")

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class Headers(Mapping[str, str]):
    """The headers of a response; names are case-insensitive. They are parsed when first read."""

    __slots__ = ("_head", "_parsed")

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._head = b""
        self._parsed: Mapping[str, str] | None = (
            headers
            if isinstance(headers, CIMultiDictProxy)
            else CIMultiDictProxy(CIMultiDict(headers))
        )

    @classmethod
    def from_head(cls, head: bytes) -> "Headers":
        """Take over the head of a plain response: a status line, then `Name: value` lines."""
        headers = cls.__new__(cls)
        headers._head, headers._parsed = head, None
        return headers

    def _read(self) -> Mapping[str, str]:
        parsed = self._parsed
        if parsed is None:
            fields: CIMultiDict[str] = CIMultiDict()
            for line in self._head.decode("ascii").split("\r\n")[1:-2]:
                name, _, value = line.partition(":")
                fields.add(name, value.strip(" \t"))
            parsed = self._parsed = CIMultiDictProxy(fields)
        return parsed

    def __getitem__(self, name: str) -> str:
        return self._read()[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self._read().get(name, default)

    def __contains__(self, name: object) -> bool:
        return name in self._read()

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def items(self) -> ItemsView[str, str]:
        return self._read().items()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Headers):
            other = other._read()
        return self._read() == other

    __hash__ = None  # type: ignore[assignment]  # as any mapping

    def __repr__(self) -> str:
        return f"<Headers {list(self.items())}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # multidict's read-only proxy cannot be pickled.
        return Headers, (CIMultiDict(self._read()),)


def _to_headers(headers: Mapping[str, str]) -> Headers:
    return headers if isinstance(headers, Headers) else Headers(headers)


@attrs.frozen
class Response:
    """One complete response.

    Args:
        status: The HTTP status.
        headers: The headers; names are case-insensitive.
        body: The body, decompressed.
        elapsed: Seconds from sending the request to the last byte of the response.
        resent: Whether aiohttp sent the request twice because the connection closed under it: the
            first may have taken effect. Known for DELETE only.
        confidential: Whether the body holds secrets. If so, errors, `capture()` and pickles omit
            it.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False, hash=False, converter=_to_headers)
    body: bytes = attrs.field(repr=False)
    elapsed: float = attrs.field(default=0.0, eq=False)
    resent: bool = False
    confidential: bool = attrs.field(default=False, repr=False)

    def without_secrets(self) -> "Response":
        """Return the response, without its body if that is confidential."""
        return attrs.evolve(self, body=b"") if self.confidential else self

    @property
    def request_id(self) -> str | None:
        """The `Twilio-Request-Id` header, which Twilio's support asks for."""
        return self.headers.get("Twilio-Request-Id")

    @property
    def concurrent_requests(self) -> int | None:
        """The number of concurrent requests that Twilio counted for the account."""
        value = self.headers.get("Twilio-Concurrent-Requests", "")
        return int(value) if re.fullmatch(r"[0-9]{1,9}", value) else None

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait before the next attempt, from either form of `Retry-After`."""
        value = self.headers.get("Retry-After", "").strip()
        if re.fullmatch(r"[0-9]{1,9}", value):
            return float(value)
        try:
            at = parsedate_to_datetime(value).timestamp()
        except (ValueError, OverflowError):
            return None
        return max(0.0, at - time.time())

    def __reduce__(self) -> tuple[Any, ...]:
        return Response, (
            self.status,
            self.headers,
            self.without_secrets().body,
            self.elapsed,
            self.resent,
            self.confidential,
        )


@attrs.frozen
class Exchange:
    """One attempt: the request, and the response or the error that it ended in."""

    request: Request
    response: Response | None
    error: BaseException | None = None


Send: TypeAlias = Callable[[Request], Awaitable[Response]]


def was_sent(cancellation: BaseException | None) -> bool:
    """Return True if a cancelled request may have been sent, at least in part."""
    return getattr(cancellation, "_request_was_sent", False)


def mark_sent(cancellation: BaseException, sent: bool) -> None:
    """Note on a cancellation whether the cancelled request may have been sent."""
    cancellation._request_was_sent = sent  # type: ignore[attr-defined]
