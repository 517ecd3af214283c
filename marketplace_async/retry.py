"""When to try again: pure decisions, without a clock, a loop or chance of their own."""

import attrs


def _at_least_0(_: object, field: "attrs.Attribute[float]", value: float) -> None:
    if value < 0:
        raise ValueError(f"{field.name}: expected 0 seconds or more, got {value!r}")


def _at_least_1(_: object, field: "attrs.Attribute[int]", value: int) -> None:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{field.name}: expected a whole number from 1 on, got {value!r}")


@attrs.frozen(kw_only=True)
class Retry:
    """How often a request that the service refused is tried, and for how long.

    Refused means that the service says it processed nothing: 429, and 503 with its own code 20503.
    Everything else is an answer, or an error, at the first try.

    Args:
        attempts: All tries, the first included; 1 turns retrying off.
        budget: Seconds for all tries and the waits between them. A wait longer than what is left
            of it is not begun.
        backoff: Seconds that the wait after the first try lasts at most; it doubles with each try.
        longest: Seconds that one wait may last at most, unless the service asks for more.
    """

    attempts: int = attrs.field(default=4, validator=_at_least_1)
    budget: float = attrs.field(default=30.0, validator=_at_least_0)
    backoff: float = attrs.field(default=0.5, validator=_at_least_0)
    longest: float = attrs.field(default=8.0, validator=_at_least_0)

    def delay(
        self, attempt: int, *, elapsed: float, chance: float, retry_after: float | None = None
    ) -> float | None:
        """Return the seconds to wait after a refusal, or None to give up.

        Args:
            attempt: The number of the try that was refused; the first is 1.
            elapsed: Seconds since the first try began.
            chance: A random number from 0 up to 1: the jitter.
            retry_after: The wait that the service asked for, in seconds.
        """
        if attempt >= self.attempts:
            return None
        # The exponent is bounded: a float overflows at 2 ** 1024.
        ceiling = min(self.longest, self.backoff * 2.0 ** min(attempt - 1, 64))
        wait = max(retry_after or 0.0, ceiling * chance)
        return wait if elapsed + wait <= self.budget else None
