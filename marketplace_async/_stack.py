"""Wrappers around one function, `Send`: each adds one behaviour, and `client.py` composes them."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

from ._codec import api_error, was_refused
from ._wire import Exchange, Request, Response, Send
from .credentials import Credentials, Secret
from .errors import MarketplaceError
from .retry import Retry

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger("marketplace_async")
_log.addHandler(logging.NullHandler())

_captures: ContextVar[tuple[list[Exchange], ...]] = ContextVar("captures", default=())


def limited(send: Callable[P, Awaitable[T]], slots: asyncio.Semaphore) -> Callable[P, Awaitable[T]]:
    """Hold a slot for as long as one exchange takes."""

    async def send_in_a_slot(*args: P.args, **kwargs: P.kwargs) -> T:
        async with slots:
            return await send(*args, **kwargs)

    return send_in_a_slot


def authorized(
    send: Callable[[Request, Secret], Awaitable[Response]], credentials: Credentials
) -> Send:
    """Add who asks; further out, a request holds no credentials."""

    async def send_authorized(request: Request) -> Response:
        return await send(request, credentials.authorization)

    return send_authorized


@contextmanager
def capture() -> Iterator[list[Exchange]]:
    """Collect every attempt made inside the block, in this task and those that it starts.

    Gives a list that fills as answers come: an `Exchange` for each attempt, with the raw request
    and response. Credentials are not part of a request, so none are in it.
    """
    exchanges: list[Exchange] = []
    token = _captures.set((*_captures.get(), exchanges))
    try:
        yield exchanges
    finally:
        _captures.reset(token)


def recording(send: Send) -> Send:
    """Show each attempt to `capture()` and to the log."""

    async def send_recorded(request: Request) -> Response:
        started = time.perf_counter()
        try:
            response = await send(request)
        except MarketplaceError as error:
            _record(Exchange(request, None, error))
            _log.debug("%s -> %s in %.3f s", request, error, time.perf_counter() - started)
            raise
        if _captures.get():
            _record(Exchange(request, response))
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug(
                "%s -> %d in %.3f s, %s",
                request,
                response.status,
                response.elapsed,
                response.request_id or "no request id",
            )
        return response

    return send_recorded


def _record(exchange: Exchange) -> None:
    for exchanges in _captures.get():
        exchanges.append(exchange)


def retrying(send: Send, policy: Retry) -> Send:
    """Try again what the service refused, as far as `policy` goes; the last refusal stands."""

    async def send_again(request: Request) -> Response:
        started = time.monotonic()
        attempt = 0
        while True:
            response = await send(request)
            attempt += 1
            if response.status < 400 or not was_refused(response):
                return response
            delay = policy.delay(
                attempt,
                elapsed=time.monotonic() - started,
                chance=random.random(),
                retry_after=response.retry_after,
            )
            if delay is None:
                return response
            await asyncio.sleep(delay)

    return send_again


def checked(send: Send) -> Send:
    """Raise the APIError of an answer that reports one; 304 is an answer that means something."""

    async def send_checked(request: Request) -> Response:
        response = await send(request)
        if 200 <= response.status < 300 or response.status == 304:
            return response
        raise api_error(request, response)

    return send_checked
