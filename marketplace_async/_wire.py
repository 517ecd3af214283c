"""Values that travel: requests, responses, and the function type that turns one into the other."""

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlencode

import attrs
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

FORM: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"

_SID_KINDS: Final = {
    "AC": "an account",
    "SK": "an API key",
    "OQ": "an OAuth app",
    "XB": "an available add-on or listing",
    "XE": "an installed add-on",
    "XF": "an extension",
    "BI": "a billing item",
}

_SID = re.compile(r"([A-Z]{2})[0-9a-fA-F]{32}")
_METHOD = re.compile(r"[A-Z]+")
# No dot segments, no dot or slash in disguise, and nothing that starts a query or a fragment: what
# is sent cannot leave the resource that it names.
_PATH = r"(?:/(?!\.{1,2}(?:/|\Z))(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%(?!2[eEfF])[0-9a-fA-F]{2})*)+"
# What nearly all paths are, and quicker to see.
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9/_-]*")
_QUERY = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9a-fA-F]{2})*")
_MEDIA_TYPE = re.compile(r"[!-~]+/[ -~]+")
_HOST_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def check_sid(prefix: str, value: str, name: str, *, beside_a_secret: bool = False) -> str:
    """Return `value` if it is a SID that starts with `prefix`.

    `name` is the argument to blame. A value `beside_a_secret` may be the secret itself, in
    the wrong place: it is not shown.
    """
    expected = f"{name}: expected the SID of {_SID_KINDS[prefix]} ({prefix} and 32 hex digits)"
    if not isinstance(value, str):
        raise TypeError(f"{expected}, got {type(value).__name__}")
    match = _SID.fullmatch(value)
    if match is None:
        shown = f"{len(value)} characters that are no SID" if beside_a_secret else repr(value)
        raise ValueError(f"{expected}, got {shown}")
    if match[1] != prefix:
        kind = _SID_KINDS.get(match[1])
        raise ValueError(f"{expected}, got {value!r}" + (f", the SID of {kind}" if kind else ""))
    return value


def check_text(value: str, name: str) -> str:
    """Return `value` if it is text with more in it than white space."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected text, got {type(value).__name__}")
    if not value.strip():
        raise ValueError(f"{name}: expected text that is not empty, got {value!r}")
    return check_unicode(value, name)


def check_unicode(value: str, name: str) -> str:
    """Return `value` if it can be encoded: it holds no half of a surrogate pair."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name}: {value!r} is not valid Unicode") from None
    return value


def check_flag(value: bool, name: str) -> bool:
    """Return `value` if it is a bool: 0, "false" and None would be guesses."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}: expected True or False, got {value!r}")
    return value


def check_count(value: int, name: str) -> int:
    """Return `value` if it is a whole number from 1 on."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}: expected a whole number from 1 on, got {value!r}")
    return value


def check_above_0(value: float, name: str, unit: str) -> float:
    """Return `value` if it is a finite number of these units above 0."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name}: expected {unit}, got {value!r}")
    if not 0 < value < float("inf"):
        raise ValueError(f"{name}: expected more than 0 {unit}, got {value!r}")
    return value


def form(**fields: str | bool | None) -> bytes:
    """Encode a form body; fields that are None are left out."""
    return urlencode(
        {
            name: str(value).lower() if isinstance(value, bool) else value
            for name, value in fields.items()
            if value is not None
        }
    ).encode()


Repeat: TypeAlias = Literal["always", "if_refused"]


def _to_query(query: Mapping[str, str | int] | str) -> str:
    if isinstance(query, str):
        return query
    for name, value in query.items():
        if not isinstance(value, str | int):
            raise TypeError(f"query: expected text or a number as {name}, got {value!r}")
    return urlencode(query)


@attrs.frozen
class Request:
    """One request, without credentials, host or options: those are the client's.

    Args:
        method: The HTTP method, in capitals.
        path: From the slash before `v1` on, without dot segments; percent-encoded where need be.
        query: A mapping, or a query string that is already encoded.
        body: The bytes to send, if any.
        content_type: The media type of `body`.
        repeat: Whether it may be sent again after a try of which nobody knows what came: "always",
            the default for GET, or "if_refused", if the service said that it processed nothing.
    """

    method: str
    path: str
    query: str = attrs.field(default="", converter=_to_query)
    body: bytes | None = attrs.field(default=None, repr=False)
    content_type: str | None = None
    repeat: Repeat = attrs.field(
        default=attrs.Factory(
            lambda self: "always" if self.method == "GET" else "if_refused", takes_self=True
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
                f"query: expected a mapping, or a query string that is encoded, got {self.query!r}"
            )
        if self.body is not None and not isinstance(self.body, bytes):
            raise TypeError(f"body: expected bytes, got {type(self.body).__name__}")
        if self.content_type is not None and not _MEDIA_TYPE.fullmatch(self.content_type):
            raise ValueError(f"content_type: expected a media type, got {self.content_type!r}")

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def _to_headers(headers: Mapping[str, str]) -> CIMultiDictProxy[str]:
    if isinstance(headers, CIMultiDictProxy):
        return headers
    return CIMultiDictProxy(CIMultiDict(headers))


@attrs.frozen
class Response:
    """One answer, read to its end.

    Args:
        status: The HTTP status.
        headers: The headers; their names do not mind case.
        body: The body, decompressed.
        elapsed: Seconds from sending to the last byte.
        resent: Whether aiohttp sent the request twice of its own accord, because the connection
            closed under it: the first may have taken effect. Only known of DELETE.
        confidential: Whether the body holds secrets: errors, `capture()` and pickles go without it.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False, hash=False, converter=_to_headers)
    body: bytes = attrs.field(repr=False)
    elapsed: float = attrs.field(default=0.0, eq=False)
    resent: bool = False
    confidential: bool = attrs.field(default=False, repr=False)

    def without_secrets(self) -> "Response":
        """Return what may be kept and shown of this answer: all, or all but its body."""
        return attrs.evolve(self, body=b"") if self.confidential else self

    @property
    def request_id(self) -> str | None:
        """The `Twilio-Request-Id` header: what the vendor's support asks for."""
        return self.headers.get("Twilio-Request-Id")

    @property
    def concurrent_requests(self) -> int | None:
        """How many requests of the account the service was working on, this one included."""
        value = self.headers.get("Twilio-Concurrent-Requests", "")
        return int(value) if re.fullmatch(r"[0-9]{1,9}", value) else None

    @property
    def retry_after(self) -> float | None:
        """Seconds until the service wants to be asked again, from either form of `Retry-After`."""
        value = self.headers.get("Retry-After", "").strip()
        if re.fullmatch(r"[0-9]{1,9}", value):
            return float(value)
        try:
            at = parsedate_to_datetime(value).timestamp()
        except (ValueError, OverflowError):
            return None
        return max(0.0, at - time.time())

    def __reduce__(self) -> tuple[Any, ...]:
        # The read-only view that multidict gives of headers refuses to be pickled.
        headers, body = CIMultiDict(self.headers), self.without_secrets().body
        return Response, (
            self.status,
            headers,
            body,
            self.elapsed,
            self.resent,
            self.confidential,
        )


@attrs.frozen
class Exchange:
    """One attempt: the request, and the response or the error that came of it."""

    request: Request
    response: Response | None
    error: BaseException | None = None


Send: TypeAlias = Callable[[Request], Awaitable[Response]]


def check_base_url(value: str | URL, name: str = "base_url", *, allow_http: bool = True) -> str:
    """Return `value` without a trailing slash if requests can be sent below it."""
    url = _url(value, name)
    if "@" in str(value):
        raise ValueError(f"{name}: expected a URL without a user name and password in it")
    if url is None:
        raise ValueError(
            f"{name}: expected a URL such as http://127.0.0.1:8080, got {str(value)!r}"
        )
    if url.raw_query_string or url.raw_fragment:
        raise ValueError(f"{name}: expected a URL without query and fragment, got {str(value)!r}")
    path = url.raw_path.rstrip("/")
    if path.endswith("/v1"):
        raise ValueError(f"{name}: expected a URL without /v1, with which each path begins")
    if url.scheme == "http" and not allow_http and not _is_on_this_machine(url.host or ""):
        raise ValueError(
            f"{name}: plain http would show the credentials on the way to {url.host}: "
            "use https, or allow_http"
        )
    return str(url.origin()) + path


def _is_on_this_machine(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_proxy(value: str | URL) -> URL:
    """Return `value` if it can be the URL of a proxy; not shown, as it may hold a password."""
    url = _url(value, "proxy")
    if url is None:
        raise ValueError("proxy: expected a URL such as http://proxy.example:3128")
    return url


def _url(value: str | URL, name: str) -> URL | None:
    if not isinstance(value, str | URL):
        raise TypeError(f"{name}: expected a URL, got {type(value).__name__}")
    try:
        url = URL(value)
    except ValueError:
        return None
    return url if url.scheme in ("http", "https") and url.host else None


def check_place(value: str | None, name: str) -> str | None:
    """Return `value` if it can be the name of a region or an edge location."""
    if value is not None and not (isinstance(value, str) and _HOST_LABEL.fullmatch(value)):
        raise ValueError(f"{name}: expected a name such as au1 or sydney, got {value!r}")
    return value


def vendor_url(service: str, *, region: str | None = None, edge: str | None = None) -> str:
    """Return where the vendor serves `service`, such as marketplace, from this region and edge."""
    check_place(region, "region")
    check_place(edge, "edge")
    if edge and not region:
        region = "us1"
    labels = (service, edge, region, "twilio", "com")
    return "https://" + ".".join(label for label in labels if label)
