"""The async session wrapper: sends one request and reads its response."""

import asyncio
import ssl as tls
import sys
from collections.abc import Mapping
from functools import partial
from typing import Final

import aiohttp
import attrs
from yarl import URL

from .._version import __version__
from ..credentials import Secret
from ..errors import (
    ConnectError,
    RequestTimeoutError,
    ResponseError,
    TransportError,
)
from .arguments import check_header_value, check_headers, check_positive
from .bodies import read_body
from .clocks import monotonic
from .connection import (
    Bounds,
    ConnectTimeout,
    ExchangeError,
    Progress,
    Reply,
    Stage,
)
from .deadlines import Deadlines
from .failures import explain, proxy_rejection
from .hooks import hook_failure
from .masking import redacted, secrets_of
from .messages import Headers, Request, Response, mark_sent
from .network import Network, Proxy
from .observing import running_call
from .pool import Pool
from .watched import Watched

# Requests whose responses `connection.py` cannot read: they have no body, or begin a tunnel.
_INDIRECT_METHODS: Final = frozenset({"HEAD", "CONNECT"})
# Methods whose requests always have a body, if only an empty one.
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
# A shorter value of a header is no secret, and masking it would spoil messages.
_SHORTEST_SECRET: Final = 8
_USER_AGENT: Final = (
    f"marketplace_async/{__version__} aiohttp/{aiohttp.__version__} "
    f"Python/{sys.version_info.major}.{sys.version_info.minor}"
)
_FIXED_HEADERS: Final[Mapping[str, str]] = {
    "Accept": "application/json",
    "User-Agent": _USER_AGENT,
}
# Tests turn it off, to run over `aiohttp.ClientSession.request` alone.
_direct = True


def headers_with(user_agent: str | None, headers: Mapping[str, str] | None) -> Mapping[str, str]:
    """Return the headers of every request, with those of an application.

    Args:
        user_agent: What the application calls itself. It stands before our own name.
        headers: Headers to add.
    """
    all_headers = dict(_FIXED_HEADERS)
    if user_agent is not None:
        name = check_header_value(user_agent, "user_agent")
        all_headers["User-Agent"] = f"{name} {_USER_AGENT}"
    return all_headers | check_headers({} if headers is None else headers)


@attrs.frozen(kw_only=True)
class Timeout:
    """Seconds that one attempt may take; None is unlimited. Waiting for a permit does not count.

    Args:
        total: From connecting to the last byte of the response.
        connect: To connect: name look-up, TCP, proxy and TLS, and waiting for a connection of a
            borrowed session. It is shorter than `total`, because a request that was not sent is
            always retried.
        read: Between two pieces of the response.
    """

    total: float | None = 10.0
    connect: float | None = 5.0
    read: float | None = None

    def __attrs_post_init__(self) -> None:
        for name, value in attrs.asdict(self).items():
            if value is not None:
                object.__setattr__(self, name, check_positive(value, name, "seconds"))


def to_timeout(value: float | Timeout) -> Timeout:
    """Turn plain seconds into a Timeout."""
    if isinstance(value, Timeout):
        return value
    return Timeout(total=check_positive(value, "timeout", "seconds"))


@attrs.frozen(eq=False, repr=False)
class Session:
    """Sends requests to one base URL over a pool, with one set of options.

    Args:
        confidential: Whether the responses hold secrets.
        fresh: Whether a request that is not safe to repeat opens a connection for itself.
        headers: The headers of every request, from `headers_with`.

    Attributes:
        secrets: What every request contains that no message may show: the values of headers that
            the application added, and the password of the proxy.
    """

    pool: Pool
    base_url: str
    timeout: Timeout = attrs.field(converter=to_timeout)
    network: Network = attrs.field(factory=Network, repr=False)
    ssl: tls.SSLContext | bool | aiohttp.Fingerprint = True
    max_response_size: int = 64 * 2**20
    confidential: bool = False
    fresh: bool = False
    headers: Mapping[str, str] = attrs.field(default=_FIXED_HEADERS, repr=False)
    _base: URL = attrs.field(init=False, repr=False)
    _origin: URL = attrs.field(init=False, repr=False)
    proxy: Proxy | None = attrs.field(init=False, repr=False)
    _proxy_url: URL | None = attrs.field(init=False, repr=False)
    _path: str = attrs.field(init=False, repr=False)
    _target: str = attrs.field(init=False, repr=False)
    _fixed_lines: str = attrs.field(init=False, repr=False)
    _bounds: Bounds = attrs.field(init=False, repr=False)
    secrets: tuple[Secret, ...] = attrs.field(init=False, repr=False)
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
        fixed = {"Host": host, **self.headers}
        proxy = self.network.proxy_for(base)
        path = base.raw_path.rstrip("/")
        # A proxy forwards plain http. It opens a tunnel for https, which aiohttp does.
        forwarded = proxy is not None and base.scheme == "http"
        if proxy is not None and forwarded and proxy.authorization is not None:
            fixed["Proxy-Authorization"] = proxy.authorization
        lines = "".join(f"{name}: {value}\r\n" for name, value in fixed.items())
        secrets = [
            value
            for name, value in self.headers.items()
            if name not in _FIXED_HEADERS and len(value) >= _SHORTEST_SECRET
        ]
        if proxy is not None and proxy.authorization is not None:
            secrets.append(proxy.authorization)
        object.__setattr__(self, "secrets", tuple(map(Secret, secrets)))
        object.__setattr__(self, "_base", base)
        object.__setattr__(self, "_origin", base.origin())
        object.__setattr__(self, "proxy", proxy)
        object.__setattr__(self, "_proxy_url", None if proxy is None else proxy.url)
        object.__setattr__(self, "_path", path)
        object.__setattr__(self, "_target", f"{base.origin()}{path}" if forwarded else path)
        object.__setattr__(self, "_fixed_lines", f" HTTP/1.1\r\n{lines}")
        object.__setattr__(self, "_bounds", Bounds(timers, self.max_response_size))
        object.__setattr__(self, "_deadlines", None if total is None else Deadlines(total))

    async def send(
        self,
        request: Request,
        authorization: Secret | None = None,
        account: str | None = None,
    ) -> Response:
        """Send a request once and read the whole response.

        Args:
            request: The request.
            authorization: The credentials to send.
            account: The account that they belong to, for the log.

        Raises:
            ResponseError: The body is larger than allowed.
            ConnectError: Nothing was sent, for example because no connection was made.
            RequestTimeoutError: No complete response arrived in time.
            TransportError: No complete response arrived, for any other reason.
            AmbiguousOutcomeError: A hook of the session raised something after the request was
                sent, and the request writes.
            ClientClosedError: The client or its borrowed session is closed.
            Exception: What a hook of the session, or aiohttp, raised before anything was sent.
        """
        scope = running_call()
        if scope is not None:
            if scope.sends(request):
                scope.start_attempt()
            else:
                scope = None
        progress = Progress()
        watched: Watched | None = None
        started = monotonic()
        deadline = None if self._deadlines is None else self._deadlines.begin()
        failure: Exception
        cause: BaseException | None = None
        try:
            if _direct and self.pool.direct and request.method not in _INDIRECT_METHODS:
                reply = await self.pool.origin(self._origin, self.ssl, self._proxy_url).exchange(
                    self._message(request, authorization),
                    self._bounds,
                    progress,
                    fresh=self.fresh and request.repeat == "if_rejected",
                )
            else:
                value = None if authorization is None else partial(_header, authorization)
                session = self.pool.session()
                watched = Watched(session, request, progress, value, self.headers)
                reply = await self._send_by_session(
                    session, request, self._headers(request, authorization), watched
                )
        except asyncio.CancelledError as error:
            written = progress.stage >= Stage.WRITTEN
            if deadline is None or not deadline.take_back():
                mark_sent(error, written)
                # Drop the traceback: the frames it shows hold the Authorization header.
                raise error.with_traceback(None) from None
            elapsed = monotonic() - started
            failure = self._timed_out(request, written, self.timeout.total, elapsed)
        except Exception as error:  # noqa: BLE001 - a hook of the session may raise anything
            hook_error = watched and watched.hook_error
            raised = hook_error or (watched and watched.error) or error
            written = progress.stage >= Stage.WRITTEN
            elapsed = monotonic() - started
            if deadline is not None and deadline.expired:
                # A middleware raised something else in place of the cancellation.
                failure = self._timed_out(request, written, self.timeout.total, elapsed)
            elif hook_error is not None:
                failure, cause = hook_failure(raised, request, written, elapsed)
            else:
                failure, cause = self._failure(raised, request, written, elapsed, authorization)
            watched = hook_error = None
            del raised
        else:
            if reply.status == 407 and self._target is not self._path:
                raise self._proxy_rejection(request, monotonic() - started)
            response = Response(
                reply.status,
                reply.headers,
                reply.body or b"",
                monotonic() - started,
                watched is not None and watched.sent > 1,
                self.confidential,
                authorization,
                account,
                self.secrets,
            )
            if scope is not None:
                scope.responded(response)
            if reply.body is None:
                reason = f"the body is larger than {self.max_response_size} bytes"
                raise ResponseError(request, response, reason)
            return response
        finally:
            if deadline is not None and self._deadlines is not None:
                self._deadlines.end(deadline)
                deadline = None  # it holds the task, which holds the error, which holds this frame
        # Raised out here, so that no aiohttp error is its context: those hold the headers that were
        # sent, or the proxy's password, and print them.
        try:
            raise failure from cause
        finally:
            # Its traceback refers to this frame.
            del failure, cause

    def _timed_out(
        self, request: Request, written: bool, seconds: float | None, elapsed: float
    ) -> TransportError:
        missing = "response" if written else "connection"
        through = "" if self.proxy is None else f" through the proxy {self.proxy.address}"
        reason = f"no {missing}{through} within {seconds} s"
        kind = RequestTimeoutError if written else ConnectError
        failure = kind(request, reason, elapsed)
        failure.timed_out = True
        return failure

    def _failure(
        self,
        error: Exception,
        request: Request,
        written: bool,
        elapsed: float,
        authorization: Secret | None,
    ) -> tuple[Exception, BaseException | None]:
        """Return the error to raise for a failed exchange, and its cause."""
        kind: type[TransportError] = TransportError if written else ConnectError
        if isinstance(error, aiohttp.InvalidURL):
            # Its text is the URL, which may be a proxy's with its password.
            error = ValueError("the URL of the request, or of its proxy, is malformed")
        if isinstance(error, TimeoutError) and error.errno is None:
            if written:
                reason = f"no data within {self.timeout.read} s"
                return RequestTimeoutError(request, reason, elapsed), None
            return self._timed_out(request, written, self.timeout.connect, elapsed), None
        if isinstance(error, ExchangeError | aiohttp.ClientError | OSError):
            cause: OSError | None = getattr(error, "os_error", None)
            if cause is not None:
                # Its frames hold the futures of the event loop, which hold it.
                cause = cause.with_traceback(None)
            reason, permanent = explain(error, self.proxy, written=written)
            # A malformed response, or a proxy, can quote the request.
            sent = self.secrets if authorization is None else (authorization, *self.secrets)
            reason = redacted(reason, secrets_of(sent))
            failure = kind(request, reason, elapsed)
            failure.timed_out = isinstance(error, ConnectTimeout)
            if isinstance(failure, ConnectError):
                failure.permanent = permanent
            return failure, cause
        return hook_failure(error, request, written, elapsed)

    def _proxy_rejection(self, request: Request, elapsed: float) -> ConnectError:
        assert self.proxy is not None
        reason, permanent = proxy_rejection(407, self.proxy)
        failure = ConnectError(request, reason, elapsed)
        failure.permanent = permanent
        return failure

    def _message(self, request: Request, authorization: Secret | None) -> bytes:
        """Return the bytes of a request, head and body."""
        # Only pages are worth compressing. A single record is read faster as it is.
        query = f"?{request.query}" if request.query else ""
        coding = "gzip" if request.query else "identity"
        secret = f"Authorization: {_header(authorization)}\r\n" if authorization else ""
        head = (
            f"{request.method} {self._target}{request.path}{query}{self._fixed_lines}"
            f"Accept-Encoding: {coding}\r\n{secret}"
        )
        if request.content_type is not None:
            head += f"Content-Type: {request.content_type}\r\n"
        body = request.body
        if body is not None or request.method in _WITH_BODY:
            body = body or b""
            return f"{head}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body
        return f"{head}\r\n".encode("latin-1")

    async def _send_by_session(
        self,
        session: aiohttp.ClientSession,
        request: Request,
        headers: Mapping[str, str],
        watched: Watched,
    ) -> Reply:
        """Send a request with all that the session adds: proxy, traces, middlewares."""
        with watched.telling_hooks_apart():
            response = await session.request(
                request.method,
                self._url(request),
                data=watched.body,
                headers=headers,
                timeout=self._bounds.timers,
                allow_redirects=False,
                raise_for_status=False,
                proxy=self._proxy_url,
                ssl=self.ssl,
                middlewares=watched.middlewares,
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
        if watched.is_unasked:
            raise ExchangeError("the server responded before the request was sent")
        return Reply(response.status, Headers(response.headers), body)

    def _headers(self, request: Request, authorization: Secret | None) -> dict[str, str]:
        """Return the headers that a session sees. `watched` adds the credentials afterwards.

        `testing.cassettes` replaces this method, to tell accounts apart.
        """
        headers = dict(self.headers)
        if request.content_type is not None:
            headers["Content-Type"] = request.content_type
        return headers

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


def _header(secret: Secret) -> str:
    value = secret.reveal()
    if value.isascii() and value.isprintable():
        return value
    del value
    raise ValueError("authorization: a header cannot hold these credentials")
