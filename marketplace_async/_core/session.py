"""The async session wrapper: sends one request and reads its response."""

import asyncio
import io
import ssl as tls
import sys
import time
from typing import Final

import aiohttp
import attrs
from yarl import URL

from .._version import __version__
from ..credentials import Secret
from ..errors import (
    ClientClosedError,
    ConnectError,
    MarketplaceError,
    RequestTimeoutError,
    ResponseError,
    TransportError,
)
from .arguments import check_positive
from .connection import (
    CLOSED_EARLY,
    Bounds,
    ExchangeError,
    Origin,
    Progress,
    Reply,
    Stage,
    read_body,
)
from .deadlines import Deadlines
from .messages import Headers, Request, Response, mark_sent

# Requests whose responses `connection.py` can read.
_DIRECT_METHODS: Final = frozenset({"GET", "POST", "DELETE"})
_USER_AGENT: Final = (
    f"marketplace_async/{__version__} aiohttp/{aiohttp.__version__} "
    f"Python/{sys.version_info.major}.{sys.version_info.minor}"
)
_FIXED_HEADERS: Final = {"Accept": "application/json", "User-Agent": _USER_AGENT}
# Tests turn it off, to run over `aiohttp.ClientSession.request` alone.
_direct = True


@attrs.frozen(kw_only=True)
class Timeout:
    """Seconds that one attempt may take; None is unlimited. Waiting for a permit does not count.

    Args:
        total: From connecting to the last byte of the response.
        connect: To connect: name look-up, TCP and TLS.
        read: Between two pieces of the response.
    """

    total: float | None = 10.0
    connect: float | None = None
    read: float | None = None

    def __attrs_post_init__(self) -> None:
        for name, value in attrs.asdict(self).items():
            if value is not None:
                check_positive(value, name, "seconds")


def to_timeout(value: float | Timeout) -> Timeout:
    """Turn plain seconds into a Timeout."""
    if isinstance(value, Timeout):
        return value
    check_positive(value, "timeout", "seconds")
    return Timeout(total=value)


class Pool:
    """The connections that a client shares with its derived clients.

    Its own session opens on first use, so a client can be created outside an event loop. A borrowed
    session is never closed.
    """

    def __init__(self, borrowed: aiohttp.ClientSession | None = None, *, trust_env: bool = False):
        if borrowed is not None and not isinstance(borrowed, aiohttp.ClientSession):
            raise TypeError(f"session: expected an aiohttp.ClientSession, got {borrowed!r}")
        if borrowed is not None and trust_env:
            raise ValueError("trust_env: set it on the session that you pass in")
        self.direct = borrowed is None and not trust_env
        self._session = borrowed
        self._owned = borrowed is None
        self._trust_env = trust_env
        self._loop: asyncio.AbstractEventLoop | None = None
        self._origins: dict[object, Origin] = {}
        self._closed = False

    def session(self) -> aiohttp.ClientSession:
        """Return the open session, or raise ClientClosedError."""
        if self._closed:
            raise ClientClosedError("this client is closed")
        loop = asyncio.get_running_loop()
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # The limiter bounds concurrency. A pool limit would make a request wait while it
                # holds a permit.
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=self._trust_env,
            )
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise ClientClosedError(
                "this client is bound to another event loop that is still running; "
                "create one client per event loop"
            )
        if self._session.closed:
            raise ClientClosedError("the session that this client borrowed is closed")
        return self._session

    def origin(self, url: URL, ssl: tls.SSLContext | bool | aiohttp.Fingerprint) -> Origin:
        """Return the connections to the origin of this URL, with these TLS settings."""
        session = self.session()
        key = url, ssl
        origin = self._origins.get(key)
        if origin is None:
            origin = self._origins[key] = Origin(session, url, ssl)
        return origin

    async def close(self) -> None:
        """Close the own session. A borrowed one stays open."""
        self._closed = True
        for origin in self._origins.values():
            origin.close()
        if self._owned and self._session is not None:
            await self._session.close()


@attrs.frozen(eq=False, repr=False)
class Session:
    """Sends requests to one base URL over a pool, with one set of options.

    Args:
        confidential: Whether the responses hold secrets.
    """

    pool: Pool
    base_url: str
    timeout: Timeout = attrs.field(converter=to_timeout)
    proxy: URL | None = attrs.field(default=None, repr=False)
    ssl: tls.SSLContext | bool | aiohttp.Fingerprint = True
    max_response_size: int = 64 * 2**20
    confidential: bool = False
    _base: URL = attrs.field(init=False, repr=False)
    _origin: URL = attrs.field(init=False, repr=False)
    _path: str = attrs.field(init=False, repr=False)
    _fixed_lines: str = attrs.field(init=False, repr=False)
    _bounds: Bounds = attrs.field(init=False, repr=False)
    _deadlines: Deadlines | None = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.ssl, tls.SSLContext | bool | aiohttp.Fingerprint):
            raise TypeError(
                f"ssl: expected an SSLContext, a bool or a Fingerprint, got {self.ssl!r}"
            )
        total = self.timeout.total
        timers = aiohttp.ClientTimeout(
            total=None, connect=self.timeout.connect, sock_read=self.timeout.read
        )
        # Computed once: per request it would cost as much as decoding the response.
        base = URL(self.base_url)
        host = base.host_port_subcomponent
        fixed = {"Host": host, **_FIXED_HEADERS, "Accept-Encoding": "gzip, deflate"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fixed.items())
        object.__setattr__(self, "_base", base)
        object.__setattr__(self, "_origin", base.origin())
        object.__setattr__(self, "_path", base.raw_path.rstrip("/"))
        object.__setattr__(self, "_fixed_lines", f" HTTP/1.1\r\n{lines}")
        object.__setattr__(self, "_bounds", Bounds(timers, self.max_response_size))
        object.__setattr__(self, "_deadlines", None if total is None else Deadlines(total))

    async def send(self, request: Request, authorization: Secret | None = None) -> Response:
        """Send a request once and read the whole response.

        Raises:
            ResponseError: The body is larger than allowed.
            ConnectError: No connection was made, so nothing was sent.
            RequestTimeoutError: No complete response arrived in time.
            TransportError: No complete response arrived, for any other reason.
            ClientClosedError: The client or its borrowed session is closed.
        """
        session = self.pool.session()
        progress = Progress()
        started = time.perf_counter()
        deadline = None if self._deadlines is None else self._deadlines.begin()
        failure: MarketplaceError
        cause: BaseException | None = None
        resent = False
        try:
            if (
                _direct
                and self.pool.direct
                and self.proxy is None
                and (request.method in _DIRECT_METHODS)
            ):
                reply = await self.pool.origin(self._origin, self.ssl).exchange(
                    self._message(request, authorization), self._bounds, progress
                )
            else:
                # aiohttp does not tell how far the request got.
                progress.stage = Stage.WRITTEN
                reply, resent = await self._send_by_session(session, request, authorization)
            response = Response(
                reply.status,
                reply.headers,
                reply.body or b"",
                time.perf_counter() - started,
                resent,
                self.confidential,
            )
            if reply.body is None:
                reason = f"the body is larger than {self.max_response_size} bytes"
                raise ResponseError(request, response, reason)
            return response
        except asyncio.CancelledError as error:
            if deadline is None or not deadline.take_back():
                mark_sent(error, progress.stage >= Stage.WRITTEN)
                # Drop the traceback: the frames it shows hold the Authorization header.
                raise error.with_traceback(None) from None
            reason = f"no response within {self.timeout.total} s"
            timed_out = RequestTimeoutError if progress.stage >= Stage.WRITTEN else ConnectError
            failure = timed_out(request, reason, time.perf_counter() - started)
        except _NOT_CONNECTED as error:
            failure = ConnectError(request, _describe(error), time.perf_counter() - started)
            cause = getattr(error, "os_error", None)
        except TimeoutError as error:
            reason = f"no data within {self.timeout.read} s"
            failure = RequestTimeoutError(request, reason, time.perf_counter() - started)
        except (ExchangeError, aiohttp.ClientError, OSError, ValueError) as error:
            kind = TransportError if progress.stage >= Stage.WRITTEN else ConnectError
            failure = kind(request, _describe(error), time.perf_counter() - started)
            cause = getattr(error, "os_error", None)
        finally:
            if deadline is not None and self._deadlines is not None:
                self._deadlines.end(deadline)
        # Raised out here, so that no aiohttp error is its context: those hold the headers that were
        # sent, or the proxy's password, and print them.
        raise failure from cause

    def _message(self, request: Request, authorization: Secret | None) -> bytes:
        """Return the bytes of a request, head and body."""
        query = f"?{request.query}" if request.query else ""
        secret = f"Authorization: {authorization.reveal()}\r\n" if authorization is not None else ""
        head = f"{request.method} {self._path}{request.path}{query}{self._fixed_lines}{secret}"
        if request.content_type is not None:
            head += f"Content-Type: {request.content_type}\r\n"
        body = request.body
        if body is not None or request.method == "POST":
            body = body or b""
            return f"{head}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body
        return f"{head}\r\n".encode("latin-1")

    async def _send_by_session(
        self, session: aiohttp.ClientSession, request: Request, authorization: Secret | None
    ) -> tuple[Reply, bool]:
        """Send a request with all that the session adds: proxy, cookies, traces, middlewares."""
        counter = _counter_for(request, session)
        response = await session.request(
            request.method,
            self._url(request),
            data=None if request.body is None else _payload(request.body),
            headers=_headers(request, authorization),
            timeout=self._bounds.timers,
            allow_redirects=False,
            raise_for_status=False,
            proxy=self.proxy,
            ssl=self.ssl,
            middlewares=None if counter is None else counter.middlewares,
        )
        try:
            body = await read_body(response, response.content, self.max_response_size)
        except BaseException:
            response.close()
            raise
        if body is None:
            response.close()
        else:
            response.release()
        reply = Reply(response.status, Headers(response.headers), body)
        return reply, counter is not None and counter.sent > 1

    def _url(self, request: Request) -> URL:
        base = self._base
        return URL.build(
            scheme=base.scheme,
            host=base.host_subcomponent or "",
            port=base.explicit_port,
            path=self._path + request.path,
            query_string=request.query,
            encoded=True,
        )


_NOT_CONNECTED = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
)


def _describe(error: Exception) -> str:
    if isinstance(error, ExchangeError):
        return str(error)
    if isinstance(error, aiohttp.ClientConnectorError) and not isinstance(
        error, aiohttp.ClientSSLError
    ):
        return f"cannot connect to {error.host}:{error.port}: {error.os_error}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return CLOSED_EARLY
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the response was cut off"
    # The texts of these hold a URL, which may be a proxy's with its password.
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy refused to connect: {error.status} {error.message}"
    if isinstance(error, aiohttp.ClientResponseError):
        return f"malformed response: {error.status} {error.message}"
    if isinstance(error, aiohttp.InvalidURL):
        return type(error).__name__
    return f"{type(error).__name__}: {error}"


class _Counter:
    """A middleware that counts how often aiohttp sends a request."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.sent = 0
        # A request's own middlewares replace those of its session: they are chained by hand.
        self.middlewares = (self, *getattr(session, "_middlewares", ()))

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        self.sent += 1
        return await handler(request)


def _counter_for(request: Request, session: aiohttp.ClientSession) -> _Counter | None:
    # When a connection closes under it, aiohttp sends a DELETE once more of its own accord. If the
    # first was carried out the second is answered 404, which has to be told from a plain 404.
    return _Counter(session) if request.method == "DELETE" else None


def _payload(body: bytes) -> bytes | io.BytesIO:
    # aiohttp writes a file piece by piece, and warns of large bytes that it writes in one go.
    return io.BytesIO(body) if len(body) > 2**20 else body


def _headers(request: Request, authorization: Secret | None) -> dict[str, str]:
    headers = dict(_FIXED_HEADERS)
    if authorization is not None:
        headers["Authorization"] = authorization.reveal()
    if request.content_type is not None:
        headers["Content-Type"] = request.content_type
    return headers
