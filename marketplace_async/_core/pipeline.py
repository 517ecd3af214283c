"""Wrappers around one function, `Send`. Each adds one behavior; `client.py` composes them."""

# These functions are created for each account, and their annotations would be, too.
from __future__ import annotations

import asyncio
import copy
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, Protocol, TypeVar

from ..credentials import BasicCredentials, Secret
from ..errors import (
    AmbiguousOutcomeError,
    APIError,
    AuthenticationError,
    MarketplaceError,
    RequestTimeoutError,
    ResponseError,
    TransportError,
)
from ..retry import Attempts, Retry, Verdict, elapsed, retry_after, verdict_on
from .codec import api_error
from .limiter import Limiter, Paused
from .messages import Exchange, Request, Response, Send, was_sent
from .oauth import Tokens
from .operation import Parse, Reconcile
from .quota import RetryQuota
from .tasks import Tasks

P = ParamSpec("P")
T = TypeVar("T")


class Attempt(Protocol):
    """Send a request once and return the parsed response."""

    async def __call__(self, request: Request, parse: Parse[T]) -> T: ...


_log = logging.getLogger("marketplace_async")
_log.addHandler(logging.NullHandler())

_captures: ContextVar[tuple[_Capture, ...]] = ContextVar("captures", default=())


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
    _captures.set((*_captures.get(), own))
    try:
        yield own.exchanges
    finally:
        # A task that outlives the block has a copy of its context, and finds the capture closed.
        own.open = False
        _captures.set(tuple(other for other in _captures.get() if other is not own))


def recording(send: Send) -> Send:
    """Report each attempt to `capture()` and to the log."""

    async def send_recorded(request: Request) -> Response:
        try:
            response = await send(request)
        except (TransportError, ResponseError) as error:
            _record(request, None, error)
            _log.debug("%s -> %s in %.3f s", request, error.reason, elapsed(error))
            raise
        except asyncio.CancelledError as error:
            _record(request, None, error)
            _log.debug("%s -> cancelled", request)
            raise
        if _captures.get():
            _record(request, response.without_secrets())
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


def _record(
    request: Request, response: Response | None, error: BaseException | None = None
) -> None:
    for each in _captures.get():
        if each.open:
            each.exchanges.append(Exchange(request, response, error))


def parsing(send: Send) -> Attempt:
    """Parse a response, or raise the APIError that it reports."""

    async def attempt(request: Request, parse: Parse[T]) -> T:
        response = await send(request)
        if 200 <= response.status < 300:
            return parse(request, response)
        raise api_error(request, response)

    return attempt


class Retrying:
    """Retry what was rejected, and what is safe to repeat or can be reconciled.

    If the credentials are `renewable`, a 401 rejects the token: the request is sent once more with
    a new one, which does not count as an attempt.
    """

    def __init__(
        self,
        attempt: Attempt,
        policy: Retry,
        tasks: Tasks,
        quota: RetryQuota | None = None,
        *,
        deadline: float | None = None,
        renewable: bool = False,
    ) -> None:
        self._attempt = attempt
        self._policy = policy
        self._tasks = tasks
        self._quota = quota
        self._deadline = deadline
        self._renewable = renewable
        self._attempts: Attempts | None = None

    def within(self, attempts: Attempts) -> Retrying:
        sharing = copy.copy(self)
        sharing._attempts = attempts
        return sharing

    def start(self, request: Request, parse: Parse[T]) -> asyncio.Task[T]:
        return self._tasks.start(self(request, parse))

    async def __call__(
        self,
        request: Request,
        parse: Parse[T],
        *,
        reconcile: Reconcile[T] | None = None,
        failed: MarketplaceError | None = None,
    ) -> T:
        attempts = self._attempts
        if self._deadline is None:
            return await self._run(request, parse, reconcile, failed, attempts)
        attempts = attempts or Attempts()
        loop = asyncio.get_running_loop()
        if attempts.ends_at is None:
            attempts.ends_at = loop.time() + self._deadline
        cancelled: asyncio.CancelledError | None = None
        timeout = asyncio.timeout_at(attempts.ends_at)
        try:
            async with timeout:
                try:
                    return await self._run(request, parse, reconcile, failed, attempts)
                except asyncio.CancelledError as error:
                    cancelled = error
                    raise
        except TimeoutError:
            if not timeout.expired():
                raise
        # The deadline ended an attempt, or a wait for the next one.
        failure = RequestTimeoutError(request, f"the deadline of {self._deadline} s has passed")
        if request.repeat == "if_rejected" and (attempts.unknown or was_sent(cancelled)):
            raise AmbiguousOutcomeError(request, failure) from failure
        raise failure

    async def _run(
        self,
        request: Request,
        parse: Parse[T],
        reconcile: Reconcile[T] | None,
        failed: MarketplaceError | None,
        attempts: Attempts | None,
    ) -> T:
        after_unknown = False
        may_renew = self._renewable
        retries = 0
        while True:
            try:
                if failed is not None:
                    first, failed = failed, None
                    raise first
                value = await self._attempt(request, parse)
                if self._quota is not None:
                    self._quota.put_back(retries)
                return value
            except Paused as pause:
                attempts = attempts or Attempts()
                await self._sit_out(pause, request, attempts)
                continue
            except MarketplaceError as error:
                token_rejected = isinstance(error, AuthenticationError) and error.request is request
                if may_renew and token_rejected:
                    may_renew = False
                    continue
                verdict = verdict_on(error)
                if verdict is Verdict.RESPONSE:
                    if after_unknown and isinstance(error, APIError):
                        error.after_unknown = True
                    raise
                attempts = attempts or Attempts()
                attempts.failed += 1
                attempts.spent += elapsed(error)
                unknown = verdict is Verdict.UNKNOWN
                after_unknown |= unknown
                delay = None
                if not unknown or request.repeat == "always" or reconcile is not None:
                    delay = self._policy.delay(
                        attempts.failed,
                        spent=attempts.spent,
                        jitter=random.random(),
                        retry_after=retry_after(error),
                    )
                if delay is None:
                    if unknown and request.repeat == "if_rejected":
                        raise AmbiguousOutcomeError(request, error) from error
                    raise
                withheld = None if self._quota is None else self._quota.take(error)
                if withheld is not None:
                    error.retry_withheld = withheld
                    if not unknown or reconcile is None:
                        raise
                failure = error
            retries += 1
            attempts.spent += delay
            attempts.unknown = unknown
            await asyncio.sleep(delay)
            if reconcile is not None and unknown:
                # This looks up what happened. It is no retry, and is never withheld.
                try:
                    found = await reconcile()
                except MarketplaceError as error:
                    raise AmbiguousOutcomeError(request, error) from error
                if found is not None:
                    return found
                attempts.unknown = False
                if withheld is not None:
                    raise failure

    async def _sit_out(self, pause: Paused, request: Request, attempts: Attempts) -> None:
        """Wait until an account's pause ends, or raise if that is later than the call may take."""
        wait = max(0.0, pause.until - time.monotonic())
        left = self._policy.max_elapsed - attempts.spent
        if attempts.ends_at is not None:
            left = min(left, attempts.ends_at - asyncio.get_running_loop().time())
        if wait > left:
            error = api_error(request, pause.response)
            error.paused_for = wait
            raise error
        attempts.spent += wait
        await asyncio.sleep(wait)
