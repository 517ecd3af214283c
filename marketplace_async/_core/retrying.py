"""Retries what was rejected, and what is safe to repeat or can be reconciled."""

# These functions are created for each account, and their annotations would be, too.
from __future__ import annotations

import asyncio
import copy
import logging
import random
import time
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
from .error_documents import api_error
from .limiter import Paused
from .logs import log
from .messages import Request, was_sent
from .observing import Operation, Scope, Watch, part_of
from .operation import Parse, Reconcile
from .quota import RetryQuota
from .tasks import Tasks

T = TypeVar("T")


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

    def operation(self, name: str) -> Operation:
        return Operation(self._watch, name)

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
            attempts.ends_at = loop.time() + self._deadline
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
                attempts.pauses += 1
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
                    if after_unknown and isinstance(error, APIError):
                        error.after_unknown = True
                    raise
                attempts = attempts or Attempts()
                attempts.failed += 1
                attempts.spent += elapsed(error)
                unknown = verdict is Verdict.UNKNOWN
                after_unknown |= unknown
                if attempts.unknown and not unknown and request.method != "GET":
                    # This attempt was not processed. An earlier one may have been.
                    error.after_unknown = True
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
                # Kept without its traceback, which refers to this frame.
                failure = error.with_traceback(None)
            except Exception as error:
                # Raised once: a hook of the session, or a header that cannot be sent.
                if scope is not None:
                    scope.end_attempt(error)
                if failure and attempts and attempts.unknown and request.method != "GET":
                    raise AmbiguousOutcomeError(request, failure) from error
                raise
            retries += 1
            attempts.spent += delay
            attempts.unknown |= unknown
            asked = retry_after(failure)
            reason: WaitReason = "backoff" if asked is None or asked < delay else "retry_after"
            self._watch.wait(scope, request, attempts, reason, delay, failure)
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
                    try:
                        raise failure
                    finally:
                        del failure
            if self._quota is not None:
                self._quota.count_retry()

    async def _sit_out(
        self, pause: Paused, request: Request, attempts: Attempts, scope: Scope | None
    ) -> None:
        """Wait until the pause of the account ends, or raise if the call must not wait for it.

        The first pause is free. Another one is a failed attempt, though nothing was sent.
        """
        wait = max(0.0, pause.until - time.monotonic())
        left = self._policy.max_elapsed - attempts.spent
        if attempts.ends_at is not None:
            left = min(left, attempts.ends_at - asyncio.get_running_loop().time())
        error = api_error(request, pause.response)
        error.paused_for = wait
        error.after_unknown = attempts.unknown and request.method != "GET"
        if attempts.pauses > 1:
            attempts.failed += 1
            if attempts.failed < self._policy.attempts and self._quota is not None:
                error.retry_withheld = self._quota.take(error)
        out_of_attempts = attempts.failed >= self._policy.attempts
        if wait > left or out_of_attempts or error.retry_withheld is not None:
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
