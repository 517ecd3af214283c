"""What observers and the log are told, and when: the running call and its attempts."""

import asyncio
import logging
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Final, Self

from ..errors import (
    AmbiguousOutcomeError,
    APIError,
    MarketplaceError,
    ResponseError,
    TransportError,
)
from ..observe import (
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    CallInfo,
    Observer,
    RequestInfo,
    Waiting,
    WaitReason,
)
from ..retry import Attempts, elapsed
from .clocks import monotonic
from .listeners import check_listeners, guarded_function
from .logs import Log, log
from .messages import Request, Response
from .outcomes import has_given_up, innermost, reason_of, request_id_of

METHODS: Final = ("call_started", "attempt_started", "attempt_ended", "waiting", "call_ended")
_SID: Final = re.compile(r"/[A-Z]{2}[0-9a-fA-F]{32}(?=/|\Z)")

_current: ContextVar["Scope | None"] = ContextVar("call", default=None)
# Of the current context, if it is observed.
running_call = _current.get


class Audience:
    """The log and the observers of a client: for each event, the functions to call.

    None of the functions raises.

    Raises:
        TypeError: One is not an observer.
    """

    def __init__(self, observers: Iterable[Observer]) -> None:
        # The log is innermost: its lines belong to the span that an observer makes current.
        listeners = (*check_listeners(observers, "observers", Observer, METHODS), Log())
        self.has_observers = len(listeners) > 1

        def told(event: str) -> tuple[Callable[[Any], None], ...]:
            inherited = getattr(Observer, event)
            return tuple(
                guarded_function(getattr(each, event), f"{type(each).__qualname__}.{event}")
                for each in listeners
                if getattr(type(each), event, None) is not inherited
            )

        self.call_started = told("call_started")
        self.attempt_started = told("attempt_started")
        self.waiting = told("waiting")
        # Observers nest: what the last one made current at a start, it restores first.
        self.attempt_ended = told("attempt_ended")[::-1]
        self.call_ended = told("call_ended")[::-1]


class Watch:
    """The observers of a client, and the log, for one account at one base URL."""

    __slots__ = ("account", "account_sid", "audience", "base_url", "has_observers")

    def __init__(
        self,
        audience: "Audience | None" = None,
        account: str | None = None,
        account_sid: str | None = None,
        base_url: str = "",
    ) -> None:
        self.audience = audience or Audience(())
        self.has_observers = self.audience.has_observers
        self.account = account
        self.account_sid = account_sid
        self.base_url = base_url

    @property
    def is_on(self) -> bool:
        """Whether each call is observed. Otherwise only retries and give-ups are logged."""
        return self.has_observers or log.isEnabledFor(logging.DEBUG)

    def call(self, request: Request) -> "Scope":
        """Return the scope of a call of one request."""
        return Scope(self, request.operation or "send")

    def wait(
        self,
        scope: "Scope | None",
        request: Request,
        attempts: Attempts,
        reason: WaitReason,
        seconds: float,
        error: MarketplaceError,
    ) -> None:
        """Tell that a call waits, to retry after an error or for the end of a pause.

        Without a scope, only the log is told.
        """
        scope = scope or self.call(request)
        scope.prepare(request, attempts.failed + 1).wait(
            reason, seconds, error, was_sent=reason != "pause"
        )

    def log_end(self, request: Request, error: MarketplaceError) -> None:
        """Log how a call ended that nobody observes."""
        if has_given_up(error):
            self.call(request).prepare(request, 1).end(error, error.total_elapsed)


def _seen(request: Request) -> RequestInfo:
    """Return what observers see of a request."""
    template = _SID.sub("/{sid}", request.path) if request.operation else None
    return RequestInfo(method=request.method, path=request.path, url_template=template)


class Scope:
    """One running call. Its attempts follow one another.

    Attributes:
        info: The call, as observers see it.
        number: The number of the next attempt.
        permit_wait: Seconds that the next attempt has waited for a permit.
        deadline_expired: Whether the deadline of the client ended the call.
        is_composite: Whether the call consists of other calls. The call of the same operation among
            them is a part of this one.
    """

    __slots__ = (
        *(
            "_attempt",
            "_attempt_started",
            "_attempts",
            "_last",
            "_audience",
            "_request",
            "_response",
        ),
        *("_sending", "_started", "_token", "deadline_expired", "info"),
        *("is_composite", "number", "permit_wait"),
    )

    def __init__(self, watch: Watch, operation: str, *, is_composite: bool = False) -> None:
        outer = _current.get()
        self.info: CallInfo = CallInfo(
            operation=operation,
            account=watch.account,
            base_url=watch.base_url,
            parent=None if outer is None else outer.info,
        )
        self._sending: Request | None = None
        self._request: RequestInfo | None = None
        self.number = 1
        self.permit_wait = 0.0
        self.deadline_expired = False
        self.is_composite = is_composite
        self._audience = watch.audience
        self._attempt: AttemptStarted | None = None
        self._attempts = 0
        self._attempt_started = 0.0
        self._response: Response | None = None
        self._last: tuple[int | None, str | None] = (None, None)
        self._started = monotonic()
        self._token: Token[Scope | None] | None = None

    def __enter__(self) -> Self:
        self._token = _current.set(self)
        for tell in self._audience.call_started:
            tell(self.info)
        return self

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        self.end_attempt(error)
        self.end(error, monotonic() - self._started)
        # A task that was started meanwhile, and lives on, has a copy of the context.
        self.is_composite = False
        assert self._token is not None
        # A coroutine that is collected as garbage ends in another context.
        with suppress(ValueError):
            _current.reset(self._token)

    def prepare(self, request: Request, number: int) -> "Scope":
        """Take note of the request that is sent next, and of the number of the attempt."""
        if self._sending is not request:
            self._sending, self._request = request, _seen(request)
        self.number = number
        return self

    def sends(self, request: Request) -> bool:
        """Return True if this call sends the request.

        Otherwise it is of another client, which is used by a hook during this call.
        """
        return self._sending is request

    def start_attempt(self) -> None:
        """Tell that the request is about to be sent."""
        assert self._request is not None
        self._attempts += 1
        attempt = self._attempt = AttemptStarted(
            call=self.info,
            request=self._request,
            number=self.number,
            permit_wait=self.permit_wait,
        )
        self.permit_wait = 0.0
        self._attempt_started = monotonic()
        for tell in self._audience.attempt_started:
            tell(attempt)

    def responded(self, response: Response) -> None:
        """Take note of the response to the current attempt."""
        self._response = response

    def refer_to(self, response: Response) -> None:
        """Take note of the response of an earlier call that ends this one."""
        self._last = response.status, request_id_of(response)

    def end_attempt(self, error: BaseException | None) -> None:
        """Tell how the current attempt ended, if there is one."""
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            return
        response, self._response = self._response, None
        if isinstance(error, AmbiguousOutcomeError):
            error = error.error
        seconds = monotonic() - self._attempt_started
        request_id = None
        if response is not None:
            self._last = response.status, request_id_of(response)
            seconds, request_id = response.elapsed, self._last[1]
        elif isinstance(error, TransportError):
            seconds = error.elapsed or seconds
        event = AttemptEnded(
            call=self.info,
            request=attempt.request,
            number=attempt.number,
            permit_wait=attempt.permit_wait,
            elapsed=seconds,
            status=None if response is None else response.status,
            request_id=request_id,
            error_type=self._type_of(error),
            reason=reason_of(error),
        )
        for tell in self._audience.attempt_ended:
            tell(event)

    def wait(
        self,
        reason: WaitReason,
        seconds: float | None = None,
        error: MarketplaceError | None = None,
        *,
        was_sent: bool = True,
    ) -> None:
        """Tell that the call waits.

        Args:
            reason: Why it waits.
            seconds: For how long.
            error: The error of an attempt that is the cause.
            was_sent: Whether that attempt was one of this call.
        """
        inner = error.error if isinstance(error, AmbiguousOutcomeError) else error
        response = getattr(inner, "response", None)
        assert self._request is not None
        event = Waiting(
            call=self.info,
            request=self._request,
            number=self.number,
            reason=reason,
            seconds=seconds,
            status=None if response is None else response.status,
            request_id=None if response is None else request_id_of(response),
            elapsed=elapsed(inner) if inner is not None and was_sent else None,
            error_type=self._type_of(inner),
            cause=reason_of(inner),
        )
        for tell in self._audience.waiting:
            tell(event)

    def end(self, error: BaseException | None, seconds: float) -> None:
        """Tell how the call ended."""
        status, request_id = self._last
        attempts = self._attempts
        if self._token is None and isinstance(error, MarketplaceError):
            # The call was not observed: the error says it all.
            attempts = error.attempts or 0
            inner = innermost(error)
            if isinstance(inner, APIError | ResponseError):
                status, request_id = inner.response.status, request_id_of(inner.response)
        event = CallEnded(
            call=self.info,
            request=self._request,
            attempts=attempts,
            elapsed=seconds,
            status=status,
            request_id=request_id,
            error_type=self._type_of(error),
            reason=reason_of(error),
            gave_up=has_given_up(error),
        )
        for tell in self._audience.call_ended:
            tell(event)

    def _type_of(self, error: BaseException | None) -> str | None:
        match error:
            case None:
                return None
            case asyncio.CancelledError() | GeneratorExit():
                # The deadline of the call that this one is for ended both.
                expired = self.deadline_expired and self.info.parent is not None
                return "timeout" if expired else "cancelled"
            case TransportError(timed_out=True):
                return "timeout"
            case APIError():
                return str(error.status)
            case _:
                return type(error).__name__


class Operation:
    """The scope of an operation that consists of several calls.

    If nobody observes it, it only adds the account to the errors that it raises.
    """

    __slots__ = ("_name", "_scope", "_watch")

    def __init__(self, watch: Watch, name: str) -> None:
        self._watch = watch
        self._name = name
        self._scope: Scope | None = None

    def __enter__(self) -> None:
        watch = self._watch
        if watch.is_on:
            self._scope = Scope(watch, self._name, is_composite=True)
            self._scope.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, MarketplaceError):
            error.account_sid = error.account_sid or self._watch.account_sid
        if self._scope is not None:
            self._scope.__exit__(kind, error, traceback)


class Part:
    """A call that is the operation itself, among the calls that the operation consists of."""

    __slots__ = ("_scope",)

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def __enter__(self) -> Scope:
        return self._scope

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._scope.end_attempt(error)


def part_of(watch: Watch, request: Request) -> Part | None:
    """Return the running operation that a call of this request is a part of, if there is one."""
    scope = _current.get()
    if scope is None or not scope.is_composite or scope.info.operation != request.operation:
        return None
    return Part(scope) if scope.info.account == watch.account else None
