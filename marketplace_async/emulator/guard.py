"""The guard of the control API: no web page drives an emulator of its visitor.

Three ways lead from a web page to a server on the visitor's machine. Each is closed:

- A request to another origin: browsers add `Origin` or `Sec-Fetch-Site`, and a page cannot remove
  them.
- A form: it cannot send `application/json`.
- DNS rebinding: the page's own name resolves to 127.0.0.1. The `Host` header tells.
"""

from collections.abc import Iterable
from typing import Final

from aiohttp import web

from .addresses import PublicUrl, is_loopback, origin_host

_OTHER_SITES: Final = ("cross-site", "same-site")


class Guard:
    """Decides which requests may use the control API.

    Args:
        public_url: The base URL of links.
        hosts: Further names for the Host header.
    """

    def __init__(self, public_url: PublicUrl, hosts: Iterable[str]) -> None:
        self._public_url = public_url
        self._checks_host = True
        self._hosts = {_without_port(host.lower()) for host in hosts}

    def listening_on(self, addresses: Iterable[str]) -> None:
        """Check the Host header only if other machines cannot reach these addresses."""
        self._checks_host = all(map(is_loopback, addresses))

    def objection(self, request: web.BaseRequest) -> str | None:
        """Return why a request may not use the control API, or None if it may."""
        header = request.headers.get("Host", "").lower()
        name = _without_port(header)
        if self._checks_host and name and not self._is_local(name):
            return (
                f"the host name {name!r} is not allowed: start the emulator with "
                f"--allow-host {name} if it is yours"
            )
        origin = request.headers.get("Origin")
        if origin is not None:
            own = {header, origin_host(self._public_url.of(request))}
            if (origin_host(origin) or None) not in own:
                return f"pages of {origin} cannot use the control API"
        if request.headers.get("Sec-Fetch-Site") in _OTHER_SITES and not _is_navigation(request):
            return "pages of other sites cannot use the control API"
        return None

    def _is_local(self, name: str) -> bool:
        return (
            name in self._hosts
            or name == "localhost"
            or name.endswith(".localhost")
            or is_loopback(name.strip("[]"))
        )


def _is_navigation(request: web.BaseRequest) -> bool:
    """Return whether a person follows a link. The page that opens is out of the site's reach."""
    headers = request.headers
    return (
        request.method == "GET"
        and headers.get("Sec-Fetch-Mode") == "navigate"
        and headers.get("Sec-Fetch-Dest") == "document"
    )


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
