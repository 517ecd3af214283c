"""The URLs of an emulator: the one it prints, and the one that its clients see."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from aiohttp import web

_Address: TypeAlias = IPv4Address | IPv6Address

_HOST: Final = re.compile(r"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


class PublicUrl:
    """The base URL of links, as the client of a request sees the emulator.

    Args:
        scheme: The scheme that the emulator serves: "http" or "https".
        public_url: The base URL that clients use, which then is that of every link, or None.
        trust_proxy: Whether `X-Forwarded-Proto` and `X-Forwarded-Host` are believed from every
            peer. By default, they are believed from this machine only.
    """

    def __init__(self, scheme: str, public_url: str | None, trust_proxy: bool) -> None:
        self._scheme = scheme
        self._address = "localhost"
        self._public_url = public_url
        self._trust_proxy = trust_proxy

    def listening_on(self, host: str, port: int) -> None:
        """Set the address for links in responses to requests without a Host header."""
        self._address = listening_url("", host, port).removeprefix("://")

    def of(self, request: web.BaseRequest) -> str:
        """Return the base URL, without a slash at its end."""
        if self._public_url is not None:
            return self._public_url
        headers = request.headers
        scheme, host = self._scheme, headers.get("Host") or self._address
        forwarded = "X-Forwarded-Proto" in headers or "X-Forwarded-Host" in headers
        if forwarded and (self._trust_proxy or _is_loopback_peer(request)):
            proto = _first(headers.get("X-Forwarded-Proto", "")).lower()
            scheme = proto if proto in _DEFAULT_PORTS else scheme
            name = _first(headers.get("X-Forwarded-Host", ""))
            host = name if _HOST.fullmatch(name) else host
        return f"{scheme}://{host.encode(errors='replace').decode()}"


def _first(value: str) -> str:
    """Return the first of several values: the one that the proxy next to the client has set."""
    return value.partition(",")[0].strip()


def _is_loopback_peer(request: web.BaseRequest) -> bool:
    if request.transport is None:
        return False
    peer = request.transport.get_extra_info("peername")
    return bool(peer) and is_loopback(peer[0])


def is_loopback(host: str) -> bool:
    """Return whether a host is an address of this machine that other machines cannot reach."""
    address = _parse(host)
    return address is not None and address.is_loopback


def _parse(host: str) -> _Address | None:
    try:
        address = ip_address(host.partition("%")[0])  # without the zone of an IPv6 address
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def check_public_url(url: str) -> str:
    """Return a public URL without a slash at its end.

    Raises:
        ValueError: It is not the base URL of a server.
    """
    error = f"public_url: must be like https://emulator.example.com, got {url!r}"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError(error) from None
    if (
        parts.scheme not in _DEFAULT_PORTS
        or not _HOST.fullmatch(parts.netloc)
        or parts.query
        or parts.fragment
        or not re.fullmatch(r"[!-~]+", url)
    ):
        raise ValueError(error)
    return url.rstrip("/")


def origin_host(url: str) -> str:
    """Return the host of a URL, and its port unless it is the default, as a browser sends it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return parts.netloc.lower().removesuffix(_DEFAULT_PORTS.get(parts.scheme, ""))


def listening_url(scheme: str, host: str, port: int) -> str:
    """Return a URL that works on this machine, for the address that a server listens on."""
    address = _parse(host)
    if address is not None and address.is_unspecified:  # 0.0.0.0 and :: are no destinations
        host = "127.0.0.1" if address.version == 4 else "::1"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
