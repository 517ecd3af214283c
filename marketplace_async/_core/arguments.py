"""Checks of arguments. Each returns the value to send, or raises before any request.

Subclasses of str, int and float can show themselves as anything: `str(member)` of a `(str, Enum)`
is its name. Checks look at the plain value below, and return that.
"""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final

from yarl import URL

_SID_KINDS: Final = {
    "AC": "an account",
    "SK": "an API key",
    "OQ": "an OAuth app",
    "XB": "an available Add-on or listing",
    "XE": "an installed Add-on",
    "XF": "an extension",
    "BI": "a billing item",
}

_SID = re.compile(r"([A-Z]{2})[0-9a-fA-F]{32}")
# What can be looked up: no empty label, and none that is longer than DNS allows.
_HOST_NAME = re.compile(r"(?=.{1,254}\Z)(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?")
_HOST_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
# Visible ASCII, with spaces and tabs only inside. aiohttp encodes other text as UTF-8, and few
# servers read it as that.
_HEADER_VALUE = re.compile(r"[!-~](?:[ -~\t]*[!-~])?")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# The headers that the client sets, and those that change how the message is read.
_OWN_HEADERS: Final = frozenset(
    {
        *("accept", "accept-encoding", "authorization", "content-length", "content-type", "host"),
        *("user-agent", "connection", "expect", "keep-alive", "proxy-authorization"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
    }
)


def plain_text(value: str) -> str:
    """Return the text of a string, whatever its class."""
    return str.__str__(value)


def plain_int(value: int) -> int:
    """Return the number that an integer is, whatever its class."""
    return int.__int__(value)


def plain_float(value: float) -> float:
    """Return the number that a float is, whatever its class."""
    return float.__float__(value)


def wire_text(value: str | int) -> str:
    """Return a value as it is sent in a form or a query: flags as `true` and `false`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return plain_text(value) if isinstance(value, str) else int.__repr__(value)


def check_sid(prefix: str, value: str, name: str, *, may_be_secret: bool = False) -> str:
    """Return `value` if it is a SID that starts with `prefix`.

    `name` is the argument to name in the error. A value that `may_be_secret`, because a secret is
    expected beside it, is not shown.
    """
    match = _SID.fullmatch(value) if isinstance(value, str) else None
    if match is not None and match[1] == prefix:
        return match[0]
    expected = f"the SID of {_SID_KINDS[prefix]} ({prefix} and 32 hex digits)"
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected {expected}, got {type(value).__name__}")
    text = plain_text(value)
    if may_be_secret and match is None:
        raise ValueError(f"{name}: expected {expected}, got {len(text)} characters")
    kind = None if match is None else _SID_KINDS.get(match[1])
    hint = f"; it is the SID of {kind}" if kind else ""
    raise ValueError(f"{name}: {text!r} is not {expected}{hint}")


def check_text(value: str, name: str) -> str:
    """Return `value` if it is text that is not blank."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected text, got {type(value).__name__}")
    text = check_unicode(value, name)
    if not text.strip():
        raise ValueError(f"{name}: must not be blank, got {text!r}")
    return text


def check_unicode(value: str, name: str) -> str:
    """Return `value` if it can be encoded: it must not contain half of a surrogate pair."""
    text = plain_text(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name}: {text!r} is not valid Unicode") from None
    return text


def check_flag(value: bool, name: str) -> bool:
    """Return `value` if it is a bool. 0, "false" and None are not accepted."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}: expected True or False, got {value!r}")
    return value


def check_positive_int(value: int, name: str) -> int:
    """Return `value` if it is a positive integer."""
    if not isinstance(value, int) or isinstance(value, bool) or plain_int(value) < 1:
        raise ValueError(f"{name}: must be a positive integer, got {value!r}")
    return plain_int(value)


def check_positive(value: float, name: str, unit: str) -> float:
    """Return `value` if it is a finite positive number; `unit` names what it counts."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name}: expected a number of {unit}, got {value!r}")
    number = plain_int(value) if isinstance(value, int) else plain_float(value)
    if not 0 < number < float("inf"):
        raise ValueError(f"{name}: must be more than 0 {unit}, got {value!r}")
    return number


def check_base_url(value: str | URL, name: str = "base_url", *, allow_http: bool = True) -> str:
    """Return `value` without a trailing slash if requests can be sent below it."""
    value = _plain_url(value, name)
    url = _url(value)
    if "@" in str(value):
        raise ValueError(f"{name}: must not contain a user name or password")
    if url is None:
        raise ValueError(
            f"{name}: expected a URL such as http://127.0.0.1:8080, got {str(value)!r}"
        )
    if url.raw_query_string or url.raw_fragment:
        raise ValueError(f"{name}: must not have a query or a fragment, got {str(value)!r}")
    path = url.raw_path.rstrip("/")
    if path.endswith("/v1"):
        raise ValueError(f"{name}: leave out /v1, the client adds it")
    if url.scheme == "http" and not allow_http and not is_local(url.host or ""):
        raise ValueError(
            f"{name}: plain http would send the credentials to {url.host} unencrypted: "
            "use https, or pass allow_http"
        )
    return str(url.origin()) + path


def check_proxy(value: str | URL, name: str = "proxy") -> URL:
    """Return `value` if it is the URL of a proxy. It is never shown: it may hold a password."""
    url = _url(_plain_url(value, name))
    if url is None:
        raise ValueError(f"{name}: expected a URL such as http://proxy.example:3128")
    return url


def check_location(value: str | None, name: str) -> str | None:
    """Return `value` if it is the name of a region or an edge location."""
    if value is None:
        return None
    if not (isinstance(value, str) and _HOST_LABEL.fullmatch(value)):
        raise ValueError(f"{name}: expected a name such as au1 or sydney, got {value!r}")
    return plain_text(value)


def twilio_url(service: str, *, region: str | None = None, edge: str | None = None) -> str:
    """Return Twilio's URL of a service, such as marketplace, for this region and edge."""
    region = check_location(region, "region")
    edge = check_location(edge, "edge")
    if edge and not region:
        region = "us1"
    labels = (service, edge, region, "twilio", "com")
    return "https://" + ".".join(label for label in labels if label)


def check_headers(value: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of headers that can be added to every request. Their values are not shown."""
    if not isinstance(value, Mapping):
        raise TypeError(f"headers: expected a mapping, got {type(value).__name__}")
    headers: dict[str, str] = {}
    taken: set[str] = set()
    for name, text in value.items():
        if not isinstance(name, str):
            raise TypeError(f"headers: expected text as a name, got {type(name).__name__}")
        name = plain_text(name)
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"headers: {name!r} is not the name of a header")
        if name.lower() in _OWN_HEADERS:
            raise ValueError(f"headers: the client sets {name} itself")
        if name.lower() in taken:
            raise ValueError(f"headers: {name} is given twice")
        taken.add(name.lower())
        headers[name] = check_header_value(text, f"headers: {name}")
    return headers


def check_header_value(value: str, name: str) -> str:
    """Return `value` if a header can hold it. It is not shown: it may be a secret."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected text, got {type(value).__name__}")
    if not is_header_value(value):
        raise ValueError(f"{name}: expected printable ASCII without spaces at either end")
    return plain_text(value)


def is_header_value(value: str) -> bool:
    """Return whether a header can hold this text as it is."""
    return _HEADER_VALUE.fullmatch(value) is not None


def _plain_url(value: str | URL, name: str) -> str | URL:
    if not isinstance(value, str | URL):
        raise TypeError(f"{name}: expected a URL, got {type(value).__name__}")
    return plain_text(value) if isinstance(value, str) else value


def _url(value: str | URL) -> URL | None:
    # yarl removes tabs and line breaks from text.
    if isinstance(value, str) and not value.isprintable():
        return None
    try:
        url = URL(value)
    except ValueError:
        return None
    known = url.scheme in ("http", "https") and url.port
    return url if known and _is_host(url.raw_host or "") else None


def _is_host(host: str) -> bool:
    return _HOST_NAME.fullmatch(host) is not None or _is_address(host)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_local(host: str) -> bool:
    """Return whether a host is this machine. 0.0.0.0 and :: are, as addresses to connect to."""
    name = host.rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    if not _is_address(host):
        return False
    address = ip_address(host)
    # An IPv4 address may be written as an IPv6 address.
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified
