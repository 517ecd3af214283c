"""Retries what was rejected, and what is safe to repeat or can be reconciled."""

# These functions are created for each account, and their annotations would be, too.
from __future__ import annotations

import asyncio
import copy
import logging
import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from typing import NoReturn, Protocol, TypeVar

from ..errors import (
    AmbiguousOutcomeError,
    APIError,
    AuthenticationError,
    MarketplaceError,
    RequestTimeoutError,
    ResponseError,
    TransportError,
)
from ..observe import WaitReason
from ..retry import Attempts, Retry, Verdict, elapsed, retry_after, verdict_on
from .clocks import monotonic
from .error_documents import api_error
from .limiter import Paused
from .logs import log
from .messages import Request, was_sent
from .observing import Operation, Scope, Watch, part_of
from .operation import Parse, Reconcile
from .quota import RetryQuota
from .tasks import Tasks

T = TypeVar("T")

# When the operation ends that is running, on the clock of the event loop, and whose deadline it is.
_ends_at: ContextVar[tuple[Watch | None, float]] = ContextVar("ends_at", default=(None, 0.0))


class Attempt(Protocol):
    """Send a request once and return the parsed response."""

    async def __call__(self, request: Request, parse: Parse[T]) -> T: ...


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
        watch: Watch | None = None,
        deadline: float | None = None,
        renewable: bool = False,
        account_sid: str | None = None,
    ) -> None:
        self._attempt = attempt
        self._policy = policy
        self._tasks = tasks
        self._quota = quota
        self._watch = watch or Watch(account=account_sid, account_sid=account_sid)
        self._deadline = deadline
        self._renewable = renewable
        self._account_sid = account_sid
        self._attempts: Attempts | None = None

    @property
    def account_sid(self) -> str | None:
        return self._account_sid

    def within(self, attempts: Attempts) -> Retrying:
        sharing = copy.copy(self)
        sharing._attempts = attempts
        return sharing

    def operation(self, name: str) -> AbstractContextManager[None]:
        operation = Operation(self._watch, name)
        return operation if self._deadline is None else self._in_time(operation)

    def one_deadline(self) -> AbstractContextManager[None]:
        return nullcontext() if self._deadline is None else self._in_time(nullcontext())

    @contextmanager
    def _in_time(self, operation: AbstractContextManager[None]) -> Iterator[None]:
        """Start the deadline, unless it has started already, and enter the operation."""
        assert self._deadline is not None
        token = None
        if self._deadline_of_block() is None:
            ends_at = asyncio.get_running_loop().time() + self._deadline
            token = _ends_at.set((self._watch, ends_at))
        try:
            with operation:
                yield
        finally:
            if token is not None:
                # A coroutine that is collected as garbage ends in another context.
                with suppress(ValueError):
                    _ends_at.reset(token)

    def _deadline_of_block(self) -> float | None:
        watch, ends_at = _ends_at.get()
        # A hook of a borrowed session may use another client.
        return ends_at if watch is self._watch else None

    def fail(self, request: Request, error: ResponseError) -> NoReturn:
        error.account_sid = error.account_sid or self._account_sid
        watch = self._watch
        try:
            if watch.is_on:
                with part_of(watch, request) or watch.call(request) as scope:
                    scope.prepare(request, 1).refer_to(error.response)
                    raise error
            watch.log_end(request, error)
            raise error
        finally:
            # Its traceback refers to this frame.
            del error

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
        run = self._run if self._deadline is None else self._run_in_time
        watch = self._watch
        try:
            if watch.has_observers or log.isEnabledFor(logging.DEBUG):
                with part_of(watch, request) or watch.call(request) as scope:
                    return await run(request, parse, reconcile, failed, scope)
            try:
                return await run(request, parse, reconcile, failed, None)
            except MarketplaceError as error:
                watch.log_end(request, error)
                raise
        finally:
            del failed

    async def _run_in_time(
        self,
        request: Request,
        parse: Parse[T],
        reconcile: Reconcile[T] | None,
        failed: MarketplaceError | None,
        scope: Scope | None,
    ) -> T:
        """Run within the deadline."""
        assert self._deadline is not None
        attempts = self._attempts or Attempts()
        loop = asyncio.get_running_loop()
        if attempts.ends_at is None:
            attempts.ends_at = self._deadline_of_block() or loop.time() + self._deadline
        if attempts.ends_at <= loop.time():
            # An earlier request of this operation took all of the time.
            if scope is not None:
                scope.prepare(request, attempts.failed + 1)
            raise self._late(request, attempts, sent=False)
        sent = False
        timeout = asyncio.timeout_at(attempts.ends_at)
        try:
            async with timeout:
                try:
                    return await self._run(request, parse, reconcile, failed, scope, attempts)
                except asyncio.CancelledError as error:
                    sent = was_sent(error)
                    if scope is not None:
                        scope.deadline_expired = timeout.expired()
                    raise
        except TimeoutError:
            if not timeout.expired():
                raise
        finally:
            del failed
        raise self._late(request, attempts, sent=sent)

    def _late(self, request: Request, attempts: Attempts, *, sent: bool) -> MarketplaceError:
        """Return the error of a call whose deadline ended an attempt, or a wait for the next."""
        late = RequestTimeoutError(request, f"the deadline of {self._deadline} s has passed")
        late.account_sid = self._account_sid
        late.attempts = attempts.failed + sent or None
        late.total_elapsed = self._deadline or 0.0
        late.after_unknown = attempts.unknown and request.method not in ("GET", "HEAD")
        if request.repeat != "if_rejected" or not (attempts.unknown or sent):
            return late
        ambiguous = AmbiguousOutcomeError(request, late)
        ambiguous.__cause__ = late
        return ambiguous

    def _describe(self, error: MarketplaceError, attempts: Attempts | None) -> None:
        """Add to the error of an attempt what only this wrapper knows."""
        error.account_sid = error.account_sid or self._account_sid
        inner = error.error if isinstance(error, AmbiguousOutcomeError) else error
        if error.attempts is None and isinstance(inner, APIError | ResponseError | TransportError):
            attempts = attempts or Attempts()
            for each in {error, inner}:
                each.account_sid = error.account_sid
                each.attempts = attempts.failed + 1
                each.total_elapsed = attempts.spent + elapsed(inner)

    async def _run(
        self,
        request: Request,
        parse: Parse[T],
        reconcile: Reconcile[T] | None,
        failed: MarketplaceError | None,
        scope: Scope | None,
        attempts: Attempts | None = None,
    ) -> T:
        attempts = attempts or self._attempts
        after_unknown = False
        may_renew = self._renewable
        writes = request.method not in ("GET", "HEAD")
        retries = 0
        failure: MarketplaceError | None = None
        while True:
            try:
                if failed is not None:
                    raise failed
                if scope is not None:
                    scope.prepare(request, 1 if attempts is None else attempts.failed + 1)
                value = await self._attempt(request, parse)
                if scope is not None:
                    scope.end_attempt(None)
                if self._quota is not None:
                    self._quota.put_back(retries)
                return value
            except Paused as pause:
                attempts = attempts or Attempts()
                await self._sit_out(pause, request, attempts, scope)
                continue
            except MarketplaceError as error:
                failed = None
                self._describe(error, attempts)
                if scope is not None:
                    scope.end_attempt(error)
                token_rejected = isinstance(error, AuthenticationError) and error.request is request
                if may_renew and token_rejected:
                    may_renew = False
                    continue
                verdict = verdict_on(error)
                if verdict is Verdict.RESPONSE:
                    error.after_unknown |= writes and after_unknown
                    raise
                attempts = attempts or Attempts()
                attempts.failed += 1
                attempts.spent += elapsed(error)
                # The response to a request that was sent twice says nothing about the first send.
                unknown = verdict is Verdict.UNKNOWN or (writes and error.after_unknown)
                after_unknown |= unknown
                # Of the attempts before this one.
                error.after_unknown |= writes and attempts.unknown
                delay = self._delay(request, error, attempts, unknown=unknown, reconcile=reconcile)
                is_last = delay is None or error.retry_withheld is not None
                if is_last and (reconcile is None or not unknown):
                    if unknown and request.repeat == "if_rejected":
                        raise AmbiguousOutcomeError(request, error) from error
                    raise
                if delay is None:
                    # Looking up what happened is not a retry. The service may still be at it.
                    delay = self._policy.initial_backoff * random.random()
                # Kept without its traceback, which refers to this frame.
                failure = error.with_traceback(None)
            except Exception as error:
                # Raised once: a hook of the session, or a header that cannot be sent.
                if scope is not None:
                    scope.end_attempt(error)
                if failure and attempts and attempts.unknown and writes:
                    raise AmbiguousOutcomeError(request, failure) from error
                raise
            retries += 1
            attempts.spent += delay
            attempts.unknown |= unknown
            asked = retry_after(failure)
            reason: WaitReason = "backoff" if asked is None or asked < delay else "retry_after"
            if is_last:
                reason = "look_up"
            self._watch.wait(scope, request, attempts, reason, delay, failure)
            await asyncio.sleep(delay)
            if reconcile is not None and unknown:
                try:
                    found = await reconcile()
                except MarketplaceError as error:
                    raise AmbiguousOutcomeError(request, error) from error
                if found is not None:
                    return found
                if is_last:
                    # The service may process it later.
                    raise AmbiguousOutcomeError(request, failure) from failure
                attempts.unknown = False
            if self._quota is not None:
                self._quota.count_retry()

    def _delay(
        self,
        request: Request,
        error: MarketplaceError,
        attempts: Attempts,
        *,
        unknown: bool,
        reconcile: Reconcile[T] | None,
    ) -> float | None:
        """Return the seconds to wait after a failed attempt, or None if the policy gives up.

        Note on the error if the quota withholds the retry.
        """
        if unknown and request.repeat == "if_rejected" and reconcile is None:
            return None
        if isinstance(error, ResponseError) and error.permanent:
            return None
        delay = self._policy.delay(
            attempts.failed,
            spent=attempts.spent,
            jitter=random.random(),
            retry_after=retry_after(error),
        )
        if delay is not None and self._quota is not None:
            error.retry_withheld = self._quota.take(error)
        return delay

    async def _sit_out(
        self, pause: Paused, request: Request, attempts: Attempts, scope: Scope | None
    ) -> None:
        """Wait until the pause of the account ends, or raise if the call must not wait for it.

        Nothing was sent, so this is no attempt, and takes nothing from the quota. Only time bounds
        it: the service may pause the account again and again.
        """
        wait = max(0.0, pause.until - monotonic())
        left = self._policy.max_elapsed - attempts.spent
        if attempts.ends_at is not None:
            left = min(left, attempts.ends_at - asyncio.get_running_loop().time())
        error = api_error(request, pause.response)
        error.paused_for = wait
        error.after_unknown = attempts.unknown and request.method not in ("GET", "HEAD")
        if wait > left:
            error.account_sid = self._account_sid
            error.attempts, error.total_elapsed = attempts.failed or None, attempts.spent
            try:
                raise error
            finally:
                # Its traceback refers to this frame.
                del error
        attempts.spent += wait
        self._watch.wait(scope, request, attempts, "pause", wait, error)
        await asyncio.sleep(wait)
