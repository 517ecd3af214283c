"""Watches how far aiohttp gets with a request of a session.

aiohttp does not report it. A body can: aiohttp holds the head back until the body is written, so
the first byte is sent no earlier. A request without a body counts as written once aiohttp has it.
"""

import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from weakref import WeakSet

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from .connection import ExchangeError, Progress, Stage, input_check
from .messages import Request

NOT_CONNECTED: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ServerFingerprintMismatch,
)
# aiohttp drains its writer after this many bytes.
_PIECE: Final = 2**16
# Connections that have carried a request. On a new one over TLS, input may be a session ticket.
_used: "WeakSet[Any]" = WeakSet()


class Watched:
    """One request of a session, as its innermost middleware sees it.

    Attributes:
        body: The body to send, if there is one.
        sent: How often the request was sent: aiohttp, or another middleware, may send it again.
        hook_error: What a hook of the session raised, if the exchange itself did not fail.
        middlewares: The middlewares of the request: those of its session, and this one.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        request: Request,
        progress: Progress,
        authorization: Callable[[], str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.body = None if request.body is None else _Body(request.body, progress)
        self.sent = 0
        self.hook_error: Exception | None = None
        self._may_repeat = request.repeat == "always"
        self._raised: list[Exception] = []
        self._lost: Exception | None = None
        # A request's own middlewares replace those of its session: they are chained by hand.
        self.middlewares = (*getattr(session, "_middlewares", ()), self)
        self._progress = progress
        self._authorization = authorization
        own = [value for name, value in (headers or {}).items() if name.lower() == "cookie"]
        self._cookie = own[0] if own else session.headers.get("Cookie")

    @property
    def error(self) -> Exception | None:
        """What was raised while the body was written. aiohttp wraps it."""
        return None if self.body is None else self.body.error

    @property
    def is_unasked(self) -> bool:
        """Whether nothing of the request was sent, so that a response cannot be about it."""
        return self.body is not None and self.sent > 0 and self._progress.stage < Stage.WRITTEN

    @contextmanager
    def telling_hooks_apart(self) -> Iterator[None]:
        """Note whether what the block raises comes from a hook of the session."""
        try:
            yield
        except Exception as error:
            # aiohttp wraps some errors: an OSError, and what the body raised.
            wrapped = error.__cause__
            for each in (self.error, wrapped, error):
                if isinstance(each, Exception) and _is_of_trace(each):
                    self.hook_error = each
                    raise
            seen = any(each is error or each is wrapped for each in self._raised)
            if not (seen or self.error or isinstance(error, aiohttp.InvalidURL)):
                is_wrapped = isinstance(error, aiohttp.ClientOSError)
                self.hook_error = wrapped if is_wrapped and isinstance(wrapped, OSError) else error
            raise
        finally:
            # Their tracebacks refer to frames that hold the headers.
            self._raised.clear()
            self._lost = None

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if self._lost is not None:
            # aiohttp would send some requests again, whether or not that is safe.
            raise self._lost
        self._replace_credentials(request)
        self.sent += 1
        before = self._progress.stage
        if self.body is None or request.body is not self.body or "Expect" in request.headers:
            # Without our body, or if the head is sent first, the stage is not known.
            self._progress.stage = Stage.WRITTEN
        try:
            return await handler(request)
        except Exception as error:
            self._raised.append(error)
            if isinstance(error, NOT_CONNECTED):
                self._progress.stage = before
            elif not self._may_repeat and self._progress.stage >= Stage.WRITTEN:
                self._lost = error
            raise
        finally:
            # What the session's own middlewares see afterwards, also in the response.
            request.headers.popall("Authorization", None)

    def _replace_credentials(self, request: aiohttp.ClientRequest) -> None:
        """Replace what the session adds: cookies of other accounts, or a password of `.netrc`.

        Here, no hook of the session sees the credentials, and they collide with nothing.
        """
        request.headers.popall("Cookie", None)
        if self._cookie is not None:
            request.headers["Cookie"] = self._cookie
        if self._authorization is not None:
            request.headers["Authorization"] = self._authorization()


class _Body(aiohttp.Payload):
    """A body that notes when it is written, and that nothing was if it fails before."""

    _autoclose = True  # it holds no file

    def __init__(self, body: bytes, progress: Progress) -> None:
        super().__init__(body)
        self._size = len(body)
        self._progress = progress
        self.error: Exception | None = None

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        body: bytes = self._value
        return body.decode(encoding, errors)

    async def as_bytes(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        body: bytes = self._value
        return body

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        before, self._progress.stage = self._progress.stage, Stage.WRITTEN
        try:
            if _is_closed(writer):
                raise ExchangeError("the connection was closed before the request was sent")
            body: bytes = self._value[:content_length]
            for start in range(0, len(body) or 1, _PIECE):
                await writer.write(body[start : start + _PIECE])
        except Exception as error:
            self.error = error
            if not writer.output_size:
                self._progress.stage = before
            raise


def _is_of_trace(error: BaseException) -> bool:
    """Return True if a callback of the session's trace configurations raised this."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(frame.f_globals.get("__name__") == "aiohttp.tracing" for frame in frames)


def _is_closed(writer: AbstractStreamWriter) -> bool:
    """Return True if the server has closed the connection, though the loop may not know it yet."""
    transport = getattr(writer, "transport", None)
    if transport is None or transport.is_closing():
        return True
    protocol = getattr(writer, "protocol", None)
    is_new = protocol not in _used
    _used.add(protocol)
    if is_new and transport.get_extra_info("sslcontext") is not None:
        return False
    return input_check(transport)()
