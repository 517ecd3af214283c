"""What stands between this machine and the service: proxies, and the CAs that are trusted."""

import re
import ssl
from base64 import b64encode
from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final

import attrs
from yarl import URL

from .arguments import check_proxy, is_local

# In order of precedence. As in curl, lowercase takes precedence.
_PROXY_VARIABLES: Final = {
    "https": ("MARKETPLACE_PROXY", "https_proxy", "HTTPS_PROXY"),
    "http": ("MARKETPLACE_PROXY", "http_proxy", "HTTP_PROXY"),
}
_CA_VARIABLES: Final = ("MARKETPLACE_CA_FILE", "SSL_CERT_FILE")
_TRUE: Final = ("1", "true", "yes")
_FALSE: Final = ("", "0", "false", "no")
# An entry of NO_PROXY: a host or an address in brackets, and a port. Other entries have no port.
_ENTRY = re.compile(r"(?:\[([^\]]+)\]|([^:\[\]]+))(?::([0-9]+))?")


@attrs.frozen
class Proxy:
    """A proxy, and where its URL was read: "proxy", or the name of a variable."""

    url: URL = attrs.field(repr=False)
    source: str

    @property
    def address(self) -> str:
        """Its host and port, without the password."""
        return f"{self.url.host_subcomponent}:{self.url.port}"

    def is_at(self, host: str, port: int | None) -> bool:
        return (self.url.raw_host, self.url.port) == (host, port)

    @property
    def authorization(self) -> str | None:
        """The value of `Proxy-Authorization`, if the URL has a user name."""
        if self.url.user is None and self.url.password is None:
            return None
        user = f"{self.url.user or ''}:{self.url.password or ''}"
        return "Basic " + b64encode(user.encode()).decode()


@attrs.frozen(repr=False)
class Network:
    """The proxies of a client.

    A proxy that was passed in carries every request. One from the environment never carries a
    request to this machine, or to a host that `NO_PROXY` lists.
    """

    passed: Proxy | None = None
    # By the scheme of the target. None stands for a malformed URL, which may not be shown.
    _by_scheme: Mapping[str, tuple[str, URL | None]] = attrs.field(factory=dict, hash=False)
    _no_proxy: str = ""

    def with_environment(self, environ: Mapping[str, str]) -> "Network":
        """Return a copy that also uses the proxies of these environment variables."""
        by_scheme = {}
        for scheme, names in _PROXY_VARIABLES.items():
            # In a CGI program, HTTP_PROXY is a header that the client of the program sent.
            trusted = [n for n in names if n != "HTTP_PROXY" or "REQUEST_METHOD" not in environ]
            found = _first(trusted, environ)
            if found is not None:
                by_scheme[scheme] = found[0], _url_of(found[1])
        no_proxy = _first(("no_proxy", "NO_PROXY"), environ)
        return attrs.evolve(
            self, by_scheme=by_scheme, no_proxy="" if no_proxy is None else no_proxy[1]
        )

    def proxy_for(self, target: URL) -> Proxy | None:
        """Return the proxy that carries requests to this URL.

        Raises:
            ValueError: It is malformed.
        """
        host = target.raw_host or ""
        if self.passed is not None:
            return self.passed
        if is_local(host) or target.scheme not in self._by_scheme:
            return None
        if _is_listed(host, target.port, self._no_proxy):
            return None
        name, url = self._by_scheme[target.scheme]
        if url is None:
            raise ValueError(f"{name}: expected a URL such as http://proxy.example:3128")
        return Proxy(url, name)


def _url_of(value: str) -> URL | None:
    # As in curl, the scheme may be left out.
    try:
        return check_proxy(value if "://" in value else f"http://{value}")
    except ValueError:
        return None


def _is_listed(host: str, port: int | None, no_proxy: str) -> bool:
    """Return whether `NO_PROXY` lists a host: by name, parent domain, address or network."""
    host = host.lower().rstrip(".")
    for entry in re.split(r"[,\s]+", no_proxy.lower()):
        if entry == "*":
            return True
        parts = _ENTRY.fullmatch(entry)
        name, only = (parts[1] or parts[2], parts[3]) if parts else (entry, None)
        name = name.removeprefix("*").strip(".")
        if not name or (only is not None and int(only) != port):
            continue
        if host == name or host.endswith(f".{name}") or _is_within(host, name):
            return True
    return False


def _is_within(host: str, network: str) -> bool:
    try:
        return ip_address(host) in ip_network(network, strict=False)
    except ValueError:
        return False


def allows_http(environ: Mapping[str, str]) -> bool:
    """Return the value of `MARKETPLACE_ALLOW_HTTP`.

    Raises:
        ValueError: It is neither true nor false.
    """
    value = environ.get("MARKETPLACE_ALLOW_HTTP", "").strip().lower()
    if value not in (*_TRUE, *_FALSE):
        raise ValueError(f"MARKETPLACE_ALLOW_HTTP: expected true or false, got {value!r}")
    return value in _TRUE


def ca_file(environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the variable that names a file of CAs, and the path of the file."""
    return _first(_CA_VARIABLES, environ)


def _first(names: Iterable[str], environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the first of these variables that is set and not empty, and its value."""
    return next(((name, value) for name in names if (value := environ.get(name, "").strip())), None)


def trusting(file: str | Path, name: str) -> ssl.SSLContext:
    """Return TLS settings that trust the CAs in a PEM file, and no others. It is read now.

    Raises:
        ValueError: It cannot be read. `name` is the source of its path, for the message.
    """
    try:
        context = ssl.create_default_context(cafile=file)
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"{name}: cannot read certificates from {str(file)!r}: {reason}") from None
    context.set_alpn_protocols(["http/1.1"])  # as aiohttp does
    return context
