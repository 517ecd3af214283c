"""Why an exchange failed: who failed, and what to change."""

import ssl
from typing import NamedTuple

import aiohttp

from .connection import CLOSED_EARLY, ExchangeError
from .network import Proxy

# OpenSSL's codes for a certificate of another host or address, and for one that is out of date.
_OTHER_NAME = (62, 64)
_OUT_OF_DATE = (9, 10)
_TRUST = "to trust its CA, set SSL_CERT_FILE or pass ssl="
# A 4xx of a proxy that may be gone at the next attempt.
_TRANSIENT = (408, 425, 429)


class Failure(NamedTuple):
    """What failed. It is permanent if no other attempt can succeed. It contains no secret."""

    reason: str
    permanent: bool = False


def explain(error: Exception, proxy: Proxy | None, *, written: bool) -> Failure:
    """Explain an error of aiohttp or of an exchange.

    Args:
        error: The error.
        proxy: The proxy that the request was to go through.
        written: Whether the request may have been sent.
    """
    # The texts of aiohttp's errors may hold a URL, which may be a proxy's with its password.
    match error:
        case ExchangeError():
            return Failure(str(error))
        case aiohttp.ClientConnectorCertificateError():
            where = _where(error.host, error.port, proxy)
            return _untrusted(where, error.certificate_error)
        case aiohttp.ClientConnectorSSLError():
            return _no_tls(_where(error.host, error.port, proxy), error.os_error)
        case aiohttp.ServerFingerprintMismatch():
            where = _where(error.host, error.port, proxy)
            return Failure(
                f"the certificate of {where} has another fingerprint than ssl= says", True
            )
        case aiohttp.ClientHttpProxyError():
            return _rejected(error.status, error.message, proxy)
        case aiohttp.ClientConnectorError():
            where = _where(error.host, error.port, proxy)
            # asyncio raises some errors without a text.
            reason = str(error.os_error) or type(error.os_error).__name__
            return Failure(f"cannot connect to {where}: {reason}")
        case aiohttp.ServerDisconnectedError() if proxy is not None and not written:
            return Failure(f"the proxy {proxy.address} closed the connection before it responded")
        case aiohttp.ServerDisconnectedError():
            return Failure(CLOSED_EARLY)
        case aiohttp.ClientPayloadError():
            return Failure("the response was cut off")
        case aiohttp.ClientResponseError():
            sender = f" of the proxy {proxy.address}" if proxy and not written else ""
            return Failure(f"malformed response{sender}: {error.status} {error.message}")
        case _:
            return Failure(f"{type(error).__name__}: {error}")


def proxy_rejection(status: int, proxy: Proxy) -> Failure:
    """Explain a 407 that a proxy returned for a request that it should have forwarded."""
    return _rejected(status, "Proxy Authentication Required", proxy)


def _where(host: str, port: int | None, proxy: Proxy | None) -> str:
    if proxy is not None and proxy.is_at(host, port):
        return f"the proxy {proxy.address} (from {proxy.source})"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _untrusted(where: str, error: Exception) -> Failure:
    code = getattr(error, "verify_code", 0)
    if code in _OTHER_NAME:
        change = "it is for another host: check base_url"
    elif code in _OUT_OF_DATE:
        change = "the server must renew it, or the clock of this machine is wrong"
    else:
        change = _TRUST
    text = getattr(error, "verify_message", "") or str(error)
    return Failure(
        f"the certificate of {where} cannot be verified: {text} (CERTIFICATE_VERIFY_FAILED); "
        f"{change}",
        True,
    )


def _no_tls(where: str, error: OSError) -> Failure:
    # The server closed the connection. It may be starting or overloaded.
    passing = isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError)
    reason = getattr(error, "reason", None) or str(error)
    # Alert 80: the server failed, and may have recovered by the next attempt.
    passing = passing or "INTERNAL_ERROR" in reason
    change = "" if passing else "; does this port speak TLS? check the scheme and port of the URL"
    return Failure(f"no TLS connection to {where}: {reason}{change}", not passing)


def _rejected(status: int, message: str, proxy: Proxy | None) -> Failure:
    if proxy is None:  # a borrowed session has it
        who, source = "the proxy", "the session's proxy URL"
    else:
        who, source = f"the proxy {proxy.address} (from {proxy.source})", "its URL"
    if status == 407:
        change = f"; set the user name and password in {source}"
    elif status in (401, 403):
        change = "; allow the host there, or list it in NO_PROXY"
    else:
        change = ""
    permanent = 400 <= status < 500 and status not in _TRANSIENT
    return Failure(f"{who} refused to connect: {status} {message}{change}", permanent)
