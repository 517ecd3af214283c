"""Requests and responses: plain values, and the function type that turns one into the other."""

import re
import time
from collections.abc import Awaitable, Callable, ItemsView, Iterator, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal, TypeAlias, TypeVar
from urllib.parse import urlencode

import attrs
from multidict import CIMultiDict, CIMultiDictProxy

from .arguments import plain_text, wire_text
from .masking import Revealing, redacted, redacted_bytes, redacted_json, secrets_of

T = TypeVar("T")

FORM: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"

# Bytes of the body of an error response that are read, and of any body that an error keeps.
MAX_ERROR_BODY: Final = 64 * 1024

_METHOD = re.compile(r"[A-Z]+")
# No dot segments, no encoded dot or slash, and nothing that starts a query or a fragment: a request
# cannot leave the resource that it names.
_PATH = re.compile(
    r"(?:/(?!\.{1,2}(?:/|\Z))(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%(?!2[eEfF])[0-9a-fA-F]{2})*)+"
)
# Nearly all paths match this one, which is faster.
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9/_-]*")
_QUERY = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9a-fA-F]{2})*")
_MEDIA_TYPE = re.compile(r"[!-~]+/[ -~]+")


def form(**fields: str | bool | None) -> bytes:
    """Encode a form body; fields that are None are left out."""
    return urlencode(
        {name: wire_text(value) for name, value in fields.items() if value is not None}
    ).encode()


Repeat: TypeAlias = Literal["always", "if_rejected"]
Host: TypeAlias = Literal["marketplace", "api"]


@attrs.frozen(init=False)
class Request:
    """One request. The client adds credentials, host and options.

    Args:
        method: The HTTP method, in capitals.
        path: The path, starting with `/v1`, or with `/2010-04-01` for the host "api". Without dot
            segments, percent-encoded where needed.
        query: A mapping, or a query string that is already encoded. A bool is sent as `true` or
            `false`.
        body: The bytes to send, if any.
        content_type: The media type of `body`.
        repeat: Whether the request may be sent again when the outcome of an attempt is unknown:
            "always", the default for GET, or "if_rejected", only if Twilio did not process it.
        operation: A name for logs and errors, such as "installed_add_ons.create". It is not sent.
        host: "marketplace", the default, or "api" for Twilio's core API. With `base_url`, both are
            that URL. A response from "api" is confidential: it may hold auth tokens.
    """

    method: str
    path: str
    query: str
    body: bytes | None = attrs.field(repr=False)
    content_type: str | None
    repeat: Repeat
    operation: str | None = attrs.field(eq=False)
    host: Host

    def __init__(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int] | str = "",
        body: bytes | None = None,
        content_type: str | None = None,
        repeat: Repeat | None = None,
        operation: str | None = None,
        host: Host = "marketplace",
    ) -> None:
        method = _plain(method, "method")
        if not _METHOD.fullmatch(method):
            raise ValueError(f"method: expected a word in capitals such as GET, got {method!r}")
        path = _plain(path, "path")
        if not (_PLAIN_PATH.fullmatch(path) or _PATH.fullmatch(path)):
            raise ValueError(f"path: expected a path such as /v1/InstalledAddOns, got {path!r}")
        query = _query_of(query)
        if not _QUERY.fullmatch(query):
            raise ValueError(f"query: expected a mapping or an encoded query string, got {query!r}")
        if body is not None:
            if not isinstance(body, bytes):
                raise TypeError(f"body: expected bytes, got {type(body).__name__}")
            body = body if type(body) is bytes else bytes(memoryview(body))
        if content_type is not None:
            content_type = _plain(content_type, "content_type")
            if not _MEDIA_TYPE.fullmatch(content_type):
                raise ValueError(f"content_type: expected a media type, got {content_type!r}")
        if repeat not in (None, "always", "if_rejected"):
            raise ValueError(f'repeat: expected "always" or "if_rejected", got {repeat!r}')
        if repeat is not None:
            repeat = "always" if repeat == "always" else "if_rejected"
        if operation is not None:
            operation = _plain(operation, "operation")
        host = _checked_host(host)
        _set(self, method, path, query, body, content_type, repeat, operation, host)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def trusted_request(
    method: str,
    path: str,
    query: str = "",
    body: bytes | None = None,
    content_type: str | None = None,
    repeat: Repeat | None = None,
    operation: str | None = None,
    host: Host = "marketplace",
) -> Request:
    """Return a request of parts that were checked or encoded here: `Request` checks them again."""
    request = Request.__new__(Request)
    _set(request, method, path, query, body, content_type, repeat, operation, host)
    return request


def _set(
    request: Request,
    method: str,
    path: str,
    query: str,
    body: bytes | None,
    content_type: str | None,
    repeat: Repeat | None,
    operation: str | None,
    host: Host,
) -> None:
    # Bound once, as attrs does.
    put = object.__setattr__.__get__(request)
    put("method", method)
    put("path", path)
    put("query", query)
    put("body", body)
    put("content_type", content_type)
    put("repeat", repeat or ("always" if method == "GET" else "if_rejected"))
    put("operation", operation)
    put("host", host)


def _checked_host(host: Host) -> Host:
    if host == "marketplace":
        return "marketplace"
    if host == "api":
        return "api"
    raise ValueError(f'host: expected "marketplace" or "api", got {host!r}')


def _plain(value: str, name: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected text, got {type(value).__name__}")
    return plain_text(value)


def _query_of(query: Mapping[str, str | int] | str) -> str:
    if not isinstance(query, Mapping):
        return _plain(query, "query")
    fields = []
    for name, value in query.items():
        if not isinstance(value, str | int):
            raise TypeError(f"query: expected text or an integer for {name}, got {value!r}")
        fields.append((_plain(name, "query"), wire_text(value)))
    return urlencode(fields)


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
        if self._parsed is not None or not (name.isascii() and name.replace("-", "").isalnum()):
            return self._read().get(name, default)
        # One header is found faster than all are parsed.
        before, found, value = self._head.lower().partition(f"\r\n{name.lower()}:".encode())
        if not found:
            return default
        start = len(before) + len(found)
        end = start + value.index(b"\r\n")
        return self._head[start:end].decode("ascii").strip(" \t")

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
        resent: Whether the request was sent more than once, so that the first may have taken
            effect. A middleware of a borrowed session may repeat any request. Where a connection
            closes under a request, aiohttp repeats one whose `repeat` is "always", and no other.
        confidential: Whether the body holds secrets. If so, errors, `capture()` and pickles omit
            it, and pickles omit the query of a `Location` header, which may be a signature.
        authorization: The credentials that the request was sent with. If the response echoes
            them, errors, `capture()` and pickles mask them.
        account: The account that they belong to, for the log: as in `observe.CallInfo`.
        others: Other secrets of the request, masked as well: the values of the headers that were
            given to the client, and the password of a proxy.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False, hash=False, converter=_to_headers)
    body: bytes = attrs.field(repr=False)
    elapsed: float = attrs.field(default=0.0, eq=False)
    resent: bool = False
    confidential: bool = attrs.field(default=False, repr=False)
    _authorization: Revealing | None = attrs.field(default=None, repr=False, eq=False)
    account: str | None = attrs.field(default=None, repr=False, eq=False)
    _others: tuple[Revealing, ...] = attrs.field(default=(), repr=False, eq=False)

    def without_secrets(self) -> "Response":
        """Return the response without the secrets of its request, which it may echo.

        The body is left out if it is confidential.
        """
        secrets = self._secrets()
        headers, body = self.headers, b"" if self.confidential else self.body
        if secrets:
            body = redacted_bytes(body, secrets, is_cut=len(body) >= MAX_ERROR_BODY)
            lines = [(name, redacted(value, secrets)) for name, value in headers.items()]
            if lines != list(headers.items()):
                headers = Headers(CIMultiDict(lines))
        return Response(
            *(self.status, headers, body, self.elapsed, self.resent, self.confidential, None),
            self.account,
        )

    def mask(self, value: T) -> T:
        """Return a copy of text or plain JSON without the secrets of the request."""
        secrets = self._secrets()
        if not secrets:
            return value
        masked: T = redacted_json(value, secrets)
        return masked

    def quotes_secret(self, text: str) -> bool:
        """Return True if a plain text, without any encoding, contains a secret of the request."""
        return any(secret in text for secret in self._secrets())

    def _secrets(self) -> tuple[str, ...]:
        own = () if self._authorization is None else (self._authorization,)
        return secrets_of((*own, *self._others))

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
        """Seconds to wait before the next attempt, from either form of `Retry-After`.

        A date is measured against the `Date` of the response: the clock of this machine may differ.
        """
        value = self.headers.get("Retry-After", "").strip()
        if re.fullmatch(r"[0-9]{1,9}", value):
            return float(value)
        at = _timestamp(value)
        if at is None:
            return None
        now = _timestamp(self.headers.get("Date", ""))
        return max(0.0, at - (time.time() if now is None else now))

    def __reduce__(self) -> tuple[Any, ...]:
        bare = self.without_secrets()
        headers = bare.headers
        if self.confidential and "?" in headers.get("Location", ""):
            # The query of a signed URL is a credential.
            fields = CIMultiDict(headers.items())
            fields["Location"] = headers["Location"].partition("?")[0]
            headers = Headers(fields)
        return Response, (
            self.status,
            headers,
            bare.body,
            self.elapsed,
            self.resent,
            self.confidential,
            None,
            self.account,
        )


def _timestamp(date: str) -> float | None:
    """Return the time of an HTTP date in any of its three forms, or None. It is always in UTC."""
    try:
        at = parsedate_to_datetime(date)
        return (at.replace(tzinfo=UTC) if at.tzinfo is None else at).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


@attrs.frozen
class Exchange:
    """One attempt: the request, and the response or the error that it ended in.

    Attributes:
        request: The request, without credentials.
        response: The response, if it is complete.
        error: What the attempt raised.
        account: The account SID, `AC...`. If the credentials do not contain it, the SID of the API
            key or of the OAuth app.
    """

    request: Request
    response: Response | None
    error: BaseException | None = None
    account: str | None = None


Send: TypeAlias = Callable[[Request], Awaitable[Response]]


def was_sent(cancellation: BaseException | None) -> bool:
    """Return True if a cancelled request may have been sent, at least in part."""
    return getattr(cancellation, "_request_was_sent", False)


def mark_sent(cancellation: BaseException, sent: bool) -> None:
    """Note on a cancellation whether the cancelled request may have been sent."""
    cancellation._request_was_sent = sent  # type: ignore[attr-defined]
