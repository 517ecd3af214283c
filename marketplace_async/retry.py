"""When to try again: pure decisions, without a clock, a loop or chance of their own."""

from enum import Enum, auto

import attrs

from ._wire import check_count
from .errors import (
    APIError,
    ConnectError,
    MarketplaceError,
    RateLimitedError,
    ResponseError,
    ServerError,
    TransportError,
)

_REFUSED_BY_THE_SERVICE = 20503


class Outcome(Enum):
    """What is known of one try."""

    ANSWERED = auto()
    REFUSED = auto()
    UNKNOWN = auto()


def outcome_of(error: MarketplaceError) -> Outcome:
    """Tell whether a try was answered, was refused unprocessed, or may have happened."""
    match error:
        case RateLimitedError() | ConnectError():
            return Outcome.REFUSED
        case ServerError(status=503, code=code) if code == _REFUSED_BY_THE_SERVICE:
            return Outcome.REFUSED
        case ServerError() | TransportError() | ResponseError():
            return Outcome.UNKNOWN
        case _:
            return Outcome.ANSWERED


def retry_after(error: MarketplaceError) -> float | None:
    """Return the seconds that the service asked to wait."""
    return error.response.retry_after if isinstance(error, APIError) else None


def elapsed(error: MarketplaceError) -> float:
    """Return the seconds that a try took, from sending until it failed."""
    match error:
        case APIError() | ResponseError():
            return error.response.elapsed
        case TransportError():
            return error.elapsed
        case _:
            return 0.0


def _at_least_0(_: object, field: "attrs.Attribute[float]", value: float) -> None:
    if not isinstance(value, int | float) or not value >= 0:
        raise ValueError(f"{field.name}: expected 0 seconds or more, got {value!r}")


def _at_least_1(_: object, field: "attrs.Attribute[int]", value: int) -> None:
    check_count(value, field.name)


@attrs.frozen(kw_only=True)
class Retry:
    """How often a request is tried, and for how long.

    A request that the service refused is tried again, whatever it is. One that may have happened is
    tried again if a repeat does no harm: the README has the table.

    Args:
        attempts: All tries, the first included; 1 turns retrying off.
        budget: Seconds for all tries and the waits between them; waiting for a slot does not count.
            A wait longer than what is left of it is not begun; a try that has begun ends by its own
            time-out.
        backoff: Seconds that the wait after the first try lasts at most; it doubles with each try.
        longest: Seconds that one wait may last at most, unless the service asks for more.
    """

    attempts: int = attrs.field(default=4, validator=_at_least_1)
    budget: float = attrs.field(default=30.0, validator=_at_least_0)
    backoff: float = attrs.field(default=0.5, validator=_at_least_0)
    longest: float = attrs.field(default=8.0, validator=_at_least_0)

    def delay(
        self, attempt: int, *, spent: float, chance: float, retry_after: float | None = None
    ) -> float | None:
        """Return the seconds to wait after a try that failed, or None to give up.

        Args:
            attempt: The number of the try that failed; the first is 1.
            spent: Seconds that all tries and waits took so far.
            chance: A random number from 0 up to 1: the jitter.
            retry_after: The wait that the service asked for, in seconds.
        """
        if attempt >= self.attempts:
            return None
        # The exponent is bounded: a float overflows at 2 ** 1024.
        ceiling = min(self.longest, self.backoff * 2.0 ** min(attempt - 1, 64))
        wait = max(retry_after or 0.0, ceiling * chance)
        return wait if spent + wait <= self.budget else None


@attrs.define(eq=False, repr=False)
class Budget:
    """What one call has used up, shared by the calls nested in it, so that neither tries nor time
    multiply.

    Attributes:
        failures: Tries that failed.
        spent: Seconds that they, and the waits after them, took.
    """

    failures: int = 0
    spent: float = 0.0
