"""Wrappers around one function, `Send`: each adds one behaviour, and `client.py` composes them."""

# The functions in here are made anew for each account: their annotations would be, too.
from __future__ import annotations

import asyncio
import copy
import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, Protocol, TypeVar

from ._codec import api_error
from ._limits import Slots
from ._oauth import Tokens
from ._read import Parse, Resolve
from ._tasks import Tasks
from ._wire import Exchange, Request, Response, Send
from .credentials import BasicCredentials, Secret
from .errors import (
    AmbiguousOutcomeError,
    APIError,
    AuthenticationError,
    MarketplaceError,
    ResponseError,
    TransportError,
)
from .retry import Budget, Outcome, Retry, elapsed, outcome_of, retry_after

P = ParamSpec("P")
T = TypeVar("T")


class Parsed(Protocol):
    """One try: a request goes out, and a value comes back."""

    async def __call__(self, request: Request, parse: Parse[T]) -> T: ...


_log = logging.getLogger("marketplace_async")
_log.addHandler(logging.NullHandler())

_captures: ContextVar[tuple[_Sink, ...]] = ContextVar("captures", default=())


def limited(
    send: Callable[P, Awaitable[Response]], slots: Slots, account: str
) -> Callable[P, Awaitable[Response]]:
    """Hold a slot of this account for as long as one exchange takes."""

    async def send_in_a_slot(*args: P.args, **kwargs: P.kwargs) -> Response:
        slot = slots.take(account) or await slots.wait(account)
        response: Response | None = None
        try:
            response = await send(*args, **kwargs)
            return response
        finally:
            slots.give_back(slot, response)

    return send_in_a_slot


def authorized(
    send: Callable[[Request, Secret], Awaitable[Response]], credentials: BasicCredentials | Tokens
) -> Send:
    """Add who asks; further out, a request holds no credentials."""
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


class _Sink:
    """Where attempts go while a `capture()` lasts."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.open = True


@contextmanager
def capture() -> Iterator[list[Exchange]]:
    """Collect every attempt that ends inside the block, in this task and those that it starts.

    Gives a list that fills as attempts end, until the block does: an `Exchange` for each, with the
    raw request, and the response or the error. Credentials are not part of a request, so none are
    in it.
    """
    sink = _Sink()
    _captures.set((*_captures.get(), sink))
    try:
        yield sink.exchanges
    finally:
        # A task that outlives the block has a copy of its context: it finds the sink closed.
        sink.open = False
        _captures.set(tuple(other for other in _captures.get() if other is not sink))


def recording(send: Send) -> Send:
    """Show each attempt to `capture()` and to the log."""

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
    for sink in _captures.get():
        if sink.open:
            sink.exchanges.append(Exchange(request, response, error))


def reading(send: Send) -> Parsed:
    """Make a value of an answer, or raise the APIError that it reports."""

    async def read(request: Request, parse: Parse[T]) -> T:
        response = await send(request)
        if 200 <= response.status < 300:
            return parse(request, response)
        raise api_error(request, response)

    return read


class Retrying:
    """Try again what was refused, and what can be repeated or resolved, as far as `policy` goes.

    Where the credentials are `renewable`, a 401 is a refusal of the token: once it goes again with
    a newer one, at no cost to the policy.
    """

    def __init__(
        self, read: Parsed, policy: Retry, tasks: Tasks, *, renewable: bool = False
    ) -> None:
        self._read = read
        self._policy = policy
        self._tasks = tasks
        self._renewable = renewable
        self._budget: Budget | None = None

    def within(self, budget: Budget) -> Retrying:
        sharing = copy.copy(self)
        sharing._budget = budget
        return sharing

    def start(self, request: Request, parse: Parse[T]) -> asyncio.Task[T]:
        return self._tasks.start(self(request, parse))

    async def __call__(
        self,
        request: Request,
        parse: Parse[T],
        *,
        resolve: Resolve[T] | None = None,
        failed: MarketplaceError | None = None,
    ) -> T:
        budget = self._budget
        after_unknown = False
        may_renew = self._renewable
        while True:
            try:
                if failed is not None:
                    first, failed = failed, None
                    raise first
                return await self._read(request, parse)
            except MarketplaceError as error:
                refused_token = isinstance(error, AuthenticationError) and error.request is request
                if may_renew and refused_token:
                    may_renew = False
                    continue
                outcome = outcome_of(error)
                if outcome is Outcome.ANSWERED:
                    if after_unknown and isinstance(error, APIError):
                        error.after_unknown = True
                    raise
                if budget is None:
                    budget = Budget()
                budget.failures += 1
                budget.spent += elapsed(error)
                after_unknown |= outcome is Outcome.UNKNOWN
                delay = None
                if outcome is Outcome.REFUSED or request.repeat == "always" or resolve is not None:
                    delay = self._policy.delay(
                        budget.failures,
                        spent=budget.spent,
                        chance=random.random(),
                        retry_after=retry_after(error),
                    )
                if delay is None:
                    if outcome is Outcome.UNKNOWN and request.repeat == "if_refused":
                        raise AmbiguousOutcomeError(request, error) from error
                    raise
            budget.spent += delay
            await asyncio.sleep(delay)
            if resolve is not None and outcome is Outcome.UNKNOWN:
                try:
                    value = await resolve()
                except MarketplaceError as error:
                    raise AmbiguousOutcomeError(request, error) from error
                if value is not None:
                    return value
