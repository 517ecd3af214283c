"""The retry policy: pure decisions, without a clock, an event loop or random numbers."""

from enum import Enum, auto

import attrs

from ._core.arguments import check_positive_int
from .errors import (
    APIError,
    ConnectError,
    MarketplaceError,
    RateLimitedError,
    ResponseError,
    ServerError,
    TransportError,
    UnusableResponseError,
)

_SERVICE_UNAVAILABLE = 20503


class Verdict(Enum):
    """How an attempt ended: in a response, a rejection (not processed), or an unknown outcome."""

    RESPONSE = auto()
    REJECTED = auto()
    UNKNOWN = auto()


def verdict_on(error: MarketplaceError) -> Verdict:
    """Return the verdict on an attempt that raised `error`."""
    match error:
        case ConnectError(permanent=True):
            return Verdict.RESPONSE  # as final as one
        case RateLimitedError() | ConnectError():
            return Verdict.REJECTED
        case UnusableResponseError():
            return Verdict.RESPONSE
        case ResponseError(permanent=True, request=request) if request.method in ("GET", "HEAD"):
            return Verdict.RESPONSE
        case ServerError(status=503, code=code) if code == _SERVICE_UNAVAILABLE:
            return Verdict.REJECTED
        case TransportError() | ResponseError():
            return Verdict.UNKNOWN
        case APIError(status=status) if not 200 <= status < 500:
            return Verdict.UNKNOWN
        case _:
            return Verdict.RESPONSE


def retry_after(error: MarketplaceError) -> float | None:
    """Return the Retry-After time of the response, in seconds."""
    return error.response.retry_after if isinstance(error, APIError) else None


def elapsed(error: MarketplaceError) -> float:
    """Return the seconds that a failed attempt took."""
    match error:
        case APIError() | ResponseError():
            return error.response.elapsed
        case TransportError():
            return error.elapsed
        case _:
            return 0.0


def _check_not_negative(_: object, field: "attrs.Attribute[float]", value: float) -> None:
    if not isinstance(value, int | float) or not value >= 0:
        raise ValueError(f"{field.name}: must be 0 seconds or more, got {value!r}")


def _check_positive_int(_: object, field: "attrs.Attribute[int]", value: int) -> None:
    check_positive_int(value, field.name)


@attrs.frozen(kw_only=True)
class Retry:
    """How often a request is attempted, and for how long.

    A rejected request is always retried. A request whose outcome is unknown is retried only if
    repeating it is safe; `docs/explanation/retries.md` has the table. Waiting while an account is
    paused is neither an attempt nor a retry: only `max_elapsed` bounds it. Looking up what became
    of a write is not a retry either: it also happens after the last attempt, at most
    `initial_backoff` seconds later.

    Args:
        attempts: Maximum number of attempts, at least 1. `Retry(attempts=1)` disables retries.
        max_elapsed: Seconds for all attempts and the waits between them. Time spent waiting for a
            permit does not count. A wait that would exceed it is not started. An attempt is only
            bounded by its own timeout.
        initial_backoff: Upper bound of the wait after the first attempt, in seconds. It doubles
            with each attempt.
        max_backoff: Upper bound of any wait, in seconds, unless the service asks for more.
    """

    attempts: int = attrs.field(default=4, validator=_check_positive_int)
    max_elapsed: float = attrs.field(default=30.0, validator=_check_not_negative)
    initial_backoff: float = attrs.field(default=0.5, validator=_check_not_negative)
    max_backoff: float = attrs.field(default=8.0, validator=_check_not_negative)

    def delay(
        self, attempt: int, *, spent: float, jitter: float, retry_after: float | None = None
    ) -> float | None:
        """Return the seconds to wait after a failed attempt, or None to give up.

        Args:
            attempt: The number of the failed attempt; the first is 1.
            spent: Seconds that all attempts and waits have taken so far.
            jitter: A random number from 0 up to 1.
            retry_after: The Retry-After time of the response, in seconds.
        """
        if attempt >= self.attempts:
            return None
        # The exponent is bounded: a float overflows at 2 ** 1024.
        ceiling = min(self.max_backoff, self.initial_backoff * 2.0 ** min(attempt - 1, 64))
        wait = max(retry_after or 0.0, ceiling * jitter)
        return wait if spent + wait <= self.max_elapsed else None


@attrs.define(eq=False, repr=False)
class Attempts:
    """The failed attempts of an operation. Nested calls share it, so that limits do not multiply.

    Attributes:
        failed: Number of failed attempts.
        spent: Seconds spent on them and on the waits after them.
        ends_at: The deadline of the operation on the event loop's clock, if it has one.
        unknown: Whether the outcome of an attempt is unknown, and has not been looked up.
    """

    failed: int = 0
    spent: float = 0.0
    ends_at: float | None = None
    unknown: bool = False
