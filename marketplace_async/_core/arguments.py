"""Checks of arguments. Each returns the value to send, or raises before any request."""

import re
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
_HOST_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def check_sid(prefix: str, value: str, name: str, *, may_be_secret: bool = False) -> str:
    """Return `value` if it is a SID that starts with `prefix`.

    `name` is the argument to name in the error. A value that `may_be_secret`, because a secret is
    expected beside it, is not shown.
    """
    expected = f"the SID of {_SID_KINDS[prefix]} ({prefix} and 32 hex digits)"
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected {expected}, got {type(value).__name__}")
    match = _SID.fullmatch(value)
    if match is None:
        if may_be_secret:
            raise ValueError(f"{name}: expected {expected}, got {len(value)} characters")
        raise ValueError(f"{name}: {value!r} is not {expected}")
    if match[1] != prefix:
        kind = _SID_KINDS.get(match[1])
        hint = f"; it is the SID of {kind}" if kind else ""
        raise ValueError(f"{name}: {value!r} is not {expected}{hint}")
    return value


def check_text(value: str, name: str) -> str:
    """Return `value` if it is text that is not blank."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected text, got {type(value).__name__}")
    if not value.strip():
        raise ValueError(f"{name}: must not be blank, got {value!r}")
    return check_unicode(value, name)


def check_unicode(value: str, name: str) -> str:
    """Return `value` if it can be encoded: it must not contain half of a surrogate pair."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name}: {value!r} is not valid Unicode") from None
    return value


def check_flag(value: bool, name: str) -> bool:
    """Return `value` if it is a bool. 0, "false" and None are not accepted."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}: expected True or False, got {value!r}")
    return value


def check_positive_int(value: int, name: str) -> int:
    """Return `value` if it is a positive integer."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}: must be a positive integer, got {value!r}")
    return value


def check_positive(value: float, name: str, unit: str) -> float:
    """Return `value` if it is a finite positive number; `unit` names what it counts."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name}: expected a number of {unit}, got {value!r}")
    if not 0 < value < float("inf"):
        raise ValueError(f"{name}: must be more than 0 {unit}, got {value!r}")
    return value


def check_base_url(value: str | URL, name: str = "base_url", *, allow_http: bool = True) -> str:
    """Return `value` without a trailing slash if requests can be sent below it."""
    url = _url(value, name)
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
    if url.scheme == "http" and not allow_http and not _is_loopback(url.host or ""):
        raise ValueError(
            f"{name}: plain http would send the credentials to {url.host} unencrypted: "
            "use https, or pass allow_http"
        )
    return str(url.origin()) + path


def check_proxy(value: str | URL) -> URL:
    """Return `value` if it is the URL of a proxy. It is never shown: it may hold a password."""
    url = _url(value, "proxy")
    if url is None:
        raise ValueError("proxy: expected a URL such as http://proxy.example:3128")
    return url


def check_location(value: str | None, name: str) -> str | None:
    """Return `value` if it is the name of a region or an edge location."""
    if value is not None and not (isinstance(value, str) and _HOST_LABEL.fullmatch(value)):
        raise ValueError(f"{name}: expected a name such as au1 or sydney, got {value!r}")
    return value


def twilio_url(service: str, *, region: str | None = None, edge: str | None = None) -> str:
    """Return Twilio's URL of a service, such as marketplace, for this region and edge."""
    check_location(region, "region")
    check_location(edge, "edge")
    if edge and not region:
        region = "us1"
    labels = (service, edge, region, "twilio", "com")
    return "https://" + ".".join(label for label in labels if label)


def _url(value: str | URL, name: str) -> URL | None:
    if not isinstance(value, str | URL):
        raise TypeError(f"{name}: expected a URL, got {type(value).__name__}")
    try:
        url = URL(value)
    except ValueError:
        return None
    return url if url.scheme in ("http", "https") and url.host else None


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
