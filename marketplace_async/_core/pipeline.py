"""Wrappers around one function, `Send`. Each adds one behavior; `client.py` composes them."""

# These functions are created for each account, and their annotations would be, too.
from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias, TypeVar

import attrs

from ..credentials import BasicCredentials, Secret
from ..errors import (
    AmbiguousOutcomeError,
    MarketplaceError,
    ResponseError,
    TransportError,
)
from .clocks import monotonic
from .error_documents import api_error
from .limiter import Limiter, Permit
from .masking import redacted
from .messages import Exchange, Request, Response, Send
from .oauth import Tokens
from .observing import running_call
from .operation import Parse
from .retrying import Attempt

T = TypeVar("T")

# Sends a request with the credentials of an account.
SendAs: TypeAlias = Callable[[Request, Secret, str], Awaitable[Response]]

# Weak references: the context of an abandoned generator holds nothing of its captures.
_captures: ContextVar[tuple[weakref.ref[_Capture], ...]] = ContextVar("captures", default=())


def limited(send: SendAs, limiter: Limiter) -> SendAs:
    """Hold a permit of the account for exactly one exchange."""

    async def send_with_permit(request: Request, authorization: Secret, account: str) -> Response:
        permit = limiter.try_acquire(account) or await _permit(limiter, account, request)
        response: Response | None = None
        try:
            response = await send(request, authorization, account)
            return response
        finally:
            limiter.release(permit, response)

    return send_with_permit


async def _permit(limiter: Limiter, account: str, request: Request) -> Permit:
    scope = running_call()
    if scope is None or not scope.sends(request):
        return await limiter.acquire(account)
    scope.wait("permit")
    started = monotonic()
    try:
        return await limiter.acquire(account)
    finally:
        scope.permit_wait += monotonic() - started


def authorized(send: SendAs, credentials: BasicCredentials | Tokens, account: str) -> Send:
    """Add the credentials of this account. Outside this wrapper, a request carries none."""
    if not isinstance(credentials, Tokens):
        authorization = credentials.authorization
        return lambda request: send(request, authorization, account)

    async def send_with_token(request: Request) -> Response:
        token = await credentials.authorization()
        response = await send(request, token, account)
        if response.status == 401:
            credentials.reject(token)
        return response

    return send_with_token


def concealing(
    send: Callable[[Request, None, str], Awaitable[Response]], secret: Secret, account: str
) -> Send:
    """Mask a secret that the body of a request holds in errors about the response."""

    async def send_concealed(request: Request) -> Response:
        try:
            response = await send(request, None, account)
        except TransportError as error:
            # A malformed response can quote the request.
            error.reason = redacted(error.reason, (secret.reveal(),))
            error.args = (request, error.reason, error.elapsed)
            raise
        response = attrs.evolve(response, authorization=secret)
        scope = running_call()
        if scope is not None and scope.sends(request):
            # It was told of the response without the secret.
            scope.responded(response)
        return response

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


def recording(send: Send, account: str) -> Send:
    """Report each attempt to `capture()`."""

    async def send_recorded(request: Request) -> Response:
        try:
            response = await send(request)
        except (
            TransportError,
            ResponseError,
            # A hook of the session raised something after the request was sent.
            AmbiguousOutcomeError,
            asyncio.CancelledError,
        ) as error:
            _record(Exchange(request, None, error, account))
            raise
        if _captures.get():
            _record(Exchange(request, response.without_secrets(), None, account))
        return response

    return send_recorded


def _record(exchange: Exchange) -> None:
    for reference in _captures.get():
        each = reference()
        if each is not None and each.open:
            each.exchanges.append(exchange)


def parsing(send: Send) -> Attempt:
    """Parse a response, or raise the APIError that it reports."""

    async def attempt(request: Request, parse: Parse[T]) -> T:
        failure: MarketplaceError
        try:
            response = await send(request)
        except ResponseError as error:
            # The body is too large, and would be at the next attempt.
            error.permanent = True
            raise
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
