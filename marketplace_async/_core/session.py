"""The async session wrapper: one HTTP exchange over aiohttp. No other client module imports it."""

import asyncio
import io
import ssl as tls
import sys
import time

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
from .deadlines import Deadlines
from .messages import Request, Response


@attrs.frozen(kw_only=True)
class Timeout:
    """Seconds that one attempt may take; None is without end. Waiting for a slot does not count.

    Args:
        total: From connecting to the last byte.
        connect: Until the connection stands, name look-up and TLS included.
        read: Between two pieces of the answer.
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
    """The connections that a family of clients shares: a session of its own, or a borrowed one.

    The own session is opened on first use, so that a client can be built outside an event loop.
    """

    def __init__(self, borrowed: aiohttp.ClientSession | None = None, *, trust_env: bool = False):
        if borrowed is not None and not isinstance(borrowed, aiohttp.ClientSession):
            raise TypeError(f"session: expected an aiohttp.ClientSession, got {borrowed!r}")
        if borrowed is not None and trust_env:
            raise ValueError("trust_env: belongs to the session, and this session is borrowed")
        self._session = borrowed
        self._owned = borrowed is None
        self._trust_env = trust_env
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def session(self) -> aiohttp.ClientSession:
        """Return the open session; raises ClientClosedError if there is none to be had."""
        if self._closed:
            raise ClientClosedError("this client is closed")
        loop = asyncio.get_running_loop()
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # The slots bound what is in flight; a second bound here would wait inside a slot.
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=self._trust_env,
            )
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise ClientClosedError("this client belongs to another event loop: make one for each")
        if self._session.closed:
            raise ClientClosedError("the session that this client borrowed is closed")
        return self._session

    async def close(self) -> None:
        """Close the own session; a borrowed one stays open."""
        self._closed = True
        if self._owned and self._session is not None:
            await self._session.close()


@attrs.frozen(eq=False, repr=False)
class Session:
    """Sends requests to one base URL over a pool, with one set of options.

    Args:
        confidential: Whether the answers hold secrets.
    """

    pool: Pool
    base_url: str
    timeout: Timeout = attrs.field(converter=to_timeout)
    proxy: URL | None = attrs.field(default=None, repr=False)
    ssl: tls.SSLContext | bool | aiohttp.Fingerprint = True
    max_response_size: int = 64 * 2**20
    confidential: bool = False
    _base: URL = attrs.field(init=False, repr=False)
    _timers: aiohttp.ClientTimeout = attrs.field(init=False, repr=False)
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
        # What does not change from request to request is made once: it would cost as much as the
        # decoding of an answer.
        object.__setattr__(self, "_base", URL(self.base_url))
        object.__setattr__(self, "_timers", timers)
        object.__setattr__(self, "_deadlines", None if total is None else Deadlines(total))

    async def send(self, request: Request, authorization: Secret | None = None) -> Response:
        """Send a request once and read the answer to its end.

        Raises:
            ResponseError: The body is larger than allowed.
            RequestTimeoutError: No answer in time.
            TransportError: No answer, for any other reason.
            ClientClosedError: There is no session to send it over.
        """
        session = self.pool.session()
        counter = _counter_for(request, session)
        started = time.perf_counter()
        deadline = None if self._deadlines is None else self._deadlines.begin()
        failure: MarketplaceError
        cause: BaseException | None = None
        try:
            answer = await session.request(
                request.method,
                self._url(request),
                data=None if request.body is None else _payload(request.body),
                headers=_headers(request, authorization),
                timeout=self._timers,
                allow_redirects=False,
                raise_for_status=False,
                proxy=self.proxy,
                ssl=self.ssl,
                middlewares=None if counter is None else counter.middlewares,
            )
            try:
                body = await _read(answer, self.max_response_size)
            except BaseException:
                answer.close()
                raise
            response = Response(
                answer.status,
                answer.headers,
                body or b"",
                time.perf_counter() - started,
                counter is not None and counter.sent > 1,
                self.confidential,
            )
            if body is None:
                reason = f"the body is larger than {self.max_response_size} bytes"
                raise ResponseError(request, response, reason)
            return response
        except asyncio.CancelledError as error:
            if deadline is None or not deadline.take_back():
                # Its traceback would lead through aiohttp, whose variables hold the headers.
                raise error.with_traceback(None) from None
            reason = f"no answer within {self.timeout.total} s"
            failure = RequestTimeoutError(request, reason, time.perf_counter() - started)
        except _NOT_CONNECTED as error:
            failure = ConnectError(request, _describe(error), time.perf_counter() - started)
            cause = getattr(error, "os_error", None)
        except TimeoutError as error:
            reason = str(error) or f"no answer within {self.timeout.read} s"
            failure = RequestTimeoutError(request, reason, time.perf_counter() - started)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Some of these come before anything is sent, but none says so: they count as unknown.
            failure = TransportError(request, _describe(error), time.perf_counter() - started)
            cause = getattr(error, "os_error", None)
        finally:
            if deadline is not None and self._deadlines is not None:
                self._deadlines.end(deadline)
        # Raised out here, so that no aiohttp error is its context: those hold the headers that were
        # sent, or the proxy's password, and print them.
        raise failure from cause

    def _url(self, request: Request) -> URL:
        base = self._base
        return URL.build(
            scheme=base.scheme,
            host=base.raw_host or "",
            port=base.explicit_port,
            path=base.raw_path.rstrip("/") + request.path,
            query_string=request.query,
            encoded=True,
        )


_NOT_CONNECTED = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
)


def _describe(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError) and not isinstance(
        error, aiohttp.ClientSSLError
    ):
        return f"cannot connect to {error.host}:{error.port}: {error.os_error}"
    # The texts of these two hold a URL, which may be a proxy's with its password.
    if isinstance(error, aiohttp.ClientResponseError):
        return f"{type(error).__name__}: {error.status} {error.message}"
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


async def _read(answer: aiohttp.ClientResponse, most: int) -> bytes | None:
    """Return the body, decompressed, or None if it is larger than `most` bytes."""
    length = answer.content_length
    if length is not None and length <= most and "Content-Encoding" not in answer.headers:
        return await answer.read()
    # How much comes is not known: it is counted while it is decompressed.
    pieces, size = [], 0
    async for piece in answer.content.iter_any():
        size += len(piece)
        if size > most:
            answer.close()
            return None
        pieces.append(piece)
    return b"".join(pieces)


def _payload(body: bytes) -> bytes | io.BytesIO:
    # aiohttp writes a file piece by piece, and warns of large bytes that it writes in one go.
    return io.BytesIO(body) if len(body) > 2**20 else body


def _headers(request: Request, authorization: Secret | None) -> dict[str, str]:
    headers = {"Accept": "application/json", "User-Agent": _USER_AGENT}
    if authorization is not None:
        headers["Authorization"] = authorization.reveal()
    if request.content_type is not None:
        headers["Content-Type"] = request.content_type
    return headers


_USER_AGENT = (
    f"marketplace_async/{__version__} aiohttp/{aiohttp.__version__} "
    f"Python/{sys.version_info.major}.{sys.version_info.minor}"
)
