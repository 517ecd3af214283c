"""Observers: objects that are told about every call and attempt of a client.

    class Slow(Observer):
        def attempt_ended(self, attempt: AttemptEnded) -> None:
            if attempt.elapsed > 1.0:
                print(attempt.call.operation, attempt.call.account, attempt.elapsed)

    client = MarketplaceClient(credentials, observers=[Slow()])

The events of a call come in this order, in the task and the context of the call:

    call_started
        waiting            only if it waits: for a permit, a pause of the account, or to retry
        attempt_started    the request has a permit and is about to be sent
        attempt_ended
    call_ended

A call that needs others has them inside: the fetch of an OAuth token, the search for an Add-on
whose creation got no response, or the steps of `ensure`. Their `CallInfo.parent` is that call.

Events hold plain values, and no credentials, query strings or bodies.
"""

from typing import Literal, Optional, Protocol, TypeAlias, runtime_checkable

import attrs

__all__ = [
    "AttemptEnded",
    "AttemptStarted",
    "CallEnded",
    "CallInfo",
    "Observer",
    "RequestInfo",
    "WaitReason",
    "Waiting",
]

WaitReason: TypeAlias = Literal["backoff", "retry_after", "look_up", "pause", "permit"]


@attrs.frozen(kw_only=True, eq=False)
class CallInfo:
    """One call of an operation. Each call has its own: it can be a key of a dict.

    Attributes:
        operation: The method that was called, such as "installed_add_ons.create"; "send" for a
            request of your own without a name.
        account: The account SID, `AC...`. If the credentials do not contain it, the SID of the API
            key or of the OAuth app.
        base_url: The URL of the service, without `/v1`.
        parent: The call that needs this one, if there is one.
    """

    operation: str
    account: str | None
    base_url: str
    parent: Optional["CallInfo"] = None


@attrs.frozen(kw_only=True)
class RequestInfo:
    """What an observer sees of a request.

    Attributes:
        method: The HTTP method.
        path: The path, without the query.
        url_template: The path with `{sid}` in place of each SID: a name of few values. None for a
            request of your own.
    """

    method: str
    path: str
    url_template: str | None = None


@attrs.frozen(kw_only=True, eq=False)
class AttemptStarted:
    """A request has a permit, and is about to be sent.

    Attributes:
        call: The call that it belongs to.
        request: The request.
        number: The number of the attempt, as in errors; the first is 1. A request that is sent
            again only because its access token was rejected keeps its number.
        permit_wait: Seconds that it waited for a permit.
    """

    call: CallInfo
    request: RequestInfo
    number: int
    permit_wait: float


@attrs.frozen(kw_only=True, eq=False)
class AttemptEnded:
    """An attempt has ended.

    Attributes:
        call: The call that it belongs to.
        request: The request.
        number: As in `AttemptStarted`.
        permit_wait: As in `AttemptStarted`.
        elapsed: Seconds from sending the request to the end of the response, or to the failure.
        status: The HTTP status of a complete response.
        request_id: The `Twilio-Request-Id` of a complete response.
        error_type: None if the attempt succeeded. Otherwise one of few values: the status as text,
            such as "429"; "timeout" if a timeout or deadline of the client ended the attempt;
            "cancelled" if its caller did; otherwise the name of the exception.
        reason: What went wrong, in one line without secrets. None if the attempt succeeded.
    """

    call: CallInfo
    request: RequestInfo
    number: int
    permit_wait: float
    elapsed: float
    status: int | None = None
    request_id: str | None = None
    error_type: str | None = None
    reason: str | None = None


@attrs.frozen(kw_only=True, eq=False)
class Waiting:
    """A call waits before its next attempt, or before it looks up what became of the last one.

    Attributes:
        call: The call.
        request: The request that is sent afterwards.
        number: The number of the attempt that follows.
        reason: "backoff" or "retry_after" before a retry, "look_up" before the look-up after the
            last attempt, "pause" while the service asked for a pause of the account, "permit" for a
            permit of the limiter.
        seconds: For how long. None for a permit, whose wait is not known beforehand.
        status: The HTTP status of the response that is the cause, if there is one.
        request_id: The `Twilio-Request-Id` of that response.
        elapsed: Seconds that the failed attempt took. None if none was made.
        error_type: Why the attempt failed, as in `AttemptEnded`. None if none was made.
        cause: What went wrong, in one line without secrets.
    """

    call: CallInfo
    request: RequestInfo
    number: int
    reason: WaitReason
    seconds: float | None
    status: int | None = None
    request_id: str | None = None
    elapsed: float | None = None
    error_type: str | None = None
    cause: str | None = None


@attrs.frozen(kw_only=True, eq=False)
class CallEnded:
    """A call has ended.

    Attributes:
        call: The call.
        request: The last request. None if the call failed before it had one.
        attempts: The number of requests that were sent for it, without those of nested calls.
        elapsed: Seconds that the call took, waits included.
        status: The HTTP status of the last complete response.
        request_id: The `Twilio-Request-Id` of that response.
        error_type: None if the call succeeded, otherwise as in `AttemptEnded`.
        reason: What went wrong, in one line without secrets. None if the call succeeded.
        gave_up: Whether the client gave up: it got no response that says what became of the
            request. False for a success, a cancellation, and an error that the service returned.
    """

    call: CallInfo
    attempts: int
    elapsed: float
    request: RequestInfo | None = None
    status: int | None = None
    request_id: str | None = None
    error_type: str | None = None
    reason: str | None = None
    gave_up: bool = False


@runtime_checkable
class Observer(Protocol):
    """Is told about the calls of a client and of all clients derived from it.

    Subclass it, and define the methods that you need. They are plain functions and must return
    immediately. If one raises, the call goes on: the exception is reported once, to the exception
    handler of the event loop.
    """

    # Each returns, so that a subclass need not define it: a type checker takes an empty method of a
    # protocol for abstract.

    def call_started(self, call: CallInfo) -> None:
        """A call starts."""
        return

    def attempt_started(self, attempt: AttemptStarted) -> None:
        """A request has a permit, and is about to be sent."""
        return

    def attempt_ended(self, attempt: AttemptEnded) -> None:
        """An attempt has ended, whether or not it succeeded."""
        return

    def waiting(self, wait: Waiting) -> None:
        """A call waits before its next attempt."""
        return

    def call_ended(self, end: CallEnded) -> None:
        """A call has ended, whether or not it succeeded."""
        return
