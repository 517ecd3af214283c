"""Wrappers around one function, `Send`. Each adds one behavior; `client.py` composes them."""

# These functions are created for each account, and their annotations would be, too.
from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

import attrs

from ..credentials import BasicCredentials, Secret
from ..errors import (
    AmbiguousOutcomeError,
    MarketplaceError,
    ResponseError,
    TransportError,
)
from ..retry import elapsed
from .error_documents import api_error
from .limiter import Limiter
from .messages import Exchange, Request, Response, Send
from .oauth import Tokens
from .operation import Parse
from .retrying import Attempt

P = ParamSpec("P")
T = TypeVar("T")


_log = logging.getLogger("marketplace_async")
_log.addHandler(logging.NullHandler())

# Weak references: the context of an abandoned generator holds nothing of its captures.
_captures: ContextVar[tuple[weakref.ref[_Capture], ...]] = ContextVar("captures", default=())


def limited(
    send: Callable[P, Awaitable[Response]], limiter: Limiter, account: str
) -> Callable[P, Awaitable[Response]]:
    """Hold a permit of this account for exactly one exchange."""

    async def send_with_permit(*args: P.args, **kwargs: P.kwargs) -> Response:
        permit = limiter.try_acquire(account) or await limiter.acquire(account)
        response: Response | None = None
        try:
            response = await send(*args, **kwargs)
            return response
        finally:
            limiter.release(permit, response)

    return send_with_permit


def authorized(
    send: Callable[[Request, Secret], Awaitable[Response]], credentials: BasicCredentials | Tokens
) -> Send:
    """Add the credentials. Outside this wrapper, a request carries none."""
    if not isinstance(credentials, Tokens):
        authorization = credentials.authorization
        return lambda request: send(request, authorization)

    async def send_with_token(request: Request) -> Response:
        token = await credentials.authorization()
        response = await send(request, token)
        if response.status == 401:
            credentials.reject(token)
        return response

    return send_with_token


def concealing(send: Send, secret: Secret) -> Send:
    """Mask a secret that the body of a request holds in errors about the response."""

    async def send_concealed(request: Request) -> Response:
        return attrs.evolve(await send(request), authorization=secret)

    return send_concealed


class _Capture:
    """The attempts seen by one `capture()`."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.open = True


@contextmanager
def capture() -> Iterator[list[Exchange]]:
    """Collect every attempt that ends inside the block, in this task and the tasks it starts.

    Yields a list that grows until the block ends: one `Exchange` per attempt, with the raw request
    and its response or error. A request carries no credentials, so the list contains none.
    """
    own = _Capture()
    reference = weakref.ref(own)
    _captures.set((*(each for each in _captures.get() if each() is not None), reference))
    try:
        yield own.exchanges
    finally:
        # A task that outlives the block has a copy of its context, and finds the capture closed.
        own.open = False
        _captures.set(tuple(each for each in _captures.get() if each is not reference))


def recording(send: Send) -> Send:
    """Report each attempt to `capture()` and to the log."""

    async def send_recorded(request: Request) -> Response:
        try:
            response = await send(request)
        except (TransportError, ResponseError) as error:
            _record(request, None, error)
            if _log.isEnabledFor(logging.DEBUG):
                _log.debug("%s -> %s in %.3f s", _name(request), error.reason, elapsed(error))
            raise
        except AmbiguousOutcomeError as error:
            # A hook of the session raised something after the request was sent.
            _record(request, None, error)
            _log.debug("%s", error)
            raise
        except asyncio.CancelledError as error:
            _record(request, None, error)
            _log.debug("%s -> cancelled", _name(request))
            raise
        if _captures.get():
            _record(request, response.without_secrets())
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug(
                "%s -> %d in %.3f s, %s",
                _name(request),
                response.status,
                response.elapsed,
                response.without_secrets().request_id or "no request id",
            )
        return response

    return send_recorded


def _name(request: Request) -> str:
    return f"{request.operation}: {request}" if request.operation else str(request)


def _record(
    request: Request, response: Response | None, error: BaseException | None = None
) -> None:
    for reference in _captures.get():
        each = reference()
        if each is not None and each.open:
            each.exchanges.append(Exchange(request, response, error))


def parsing(send: Send) -> Attempt:
    """Parse a response, or raise the APIError that it reports."""

    async def attempt(request: Request, parse: Parse[T]) -> T:
        response = await send(request)
        failure: MarketplaceError
        try:
            if 200 <= response.status < 300:
                return parse(request, response)
            failure = api_error(request, response)
        except ResponseError as error:
            # Its frames hold the whole body.
            failure = error.with_traceback(None)
        del response
        try:
            raise failure
        finally:
            # Its traceback refers to this frame.
            del failure

    return attempt
