"""The adaptive concurrency limit of one account: pure decisions, without a clock."""

from typing import Final

# The limit of a new account. What the service allows is not known.
_INITIAL: Final = 8
# A burst of throttled requests lowers the limit at least to this share.
_DECREASE: Final = 0.9
# Seconds between probes for a higher limit: at first, and at most.
_FIRST_PROBE: Final = 0.5
_LAST_PROBE: Final = 5.0
# Accepted requests between probes. A probe costs a throttled request or two.
_ACCEPTED_PER_PROBE: Final = 100


class AdaptiveLimit:
    """How many requests of one account may be in flight.

    The limit doubles each round trip until Twilio throttles a request. It then stays just below
    that point and occasionally probes whether the limit has risen.

    A burst is one signal. Throttled requests that were sent before the limit was lowered only
    show by how much it was exceeded.

    Attributes:
        limit: Maximum number of requests in flight now; only the integral part counts.
        ceiling: The number of requests in flight that was throttled, if known.
    """

    __slots__ = (
        *(
            "_accepted",
            "_base",
            "_before",
            "_burst",
            "_burst_end",
            "_confirmed",
            "_informative",
            "_interval",
        ),
        *("_left", "_probe_at", "_round", "_step", "ceiling", "limit"),
    )

    def __init__(self) -> None:
        self.limit = float(_INITIAL)
        self.ceiling: int | None = None
        self._confirmed = False
        # The limit grows by a step per round, and the step doubles from round to round. A round
        # has as many responses as the limit was at its start; these are left.
        self._begin_round(float(_INITIAL))
        # The latest burst: the limit before it, how many of its requests were throttled, and the
        # serial number of the last request that can belong to it.
        self._base = 0.0
        self._burst = 0
        self._burst_end = 0
        # Responses accepted since the latest burst began.
        self._accepted = 1
        # The ceiling before that burst, and whether something had been accepted since the one
        # before it.
        self._before: int | None = None
        self._informative = True
        self._interval = _FIRST_PROBE
        self._probe_at = 0.0

    @property
    def is_searching(self) -> bool:
        """Whether the limit is not known yet."""
        return self.ceiling is None

    def accepted(self, serial: int, in_flight: int, now: float, *, in_use: bool = True) -> None:
        """Record a request that was not throttled.

        Args:
            serial: Its serial number.
            in_flight: Requests in flight when it was sent, this one included.
            now: The time in seconds.
            in_use: Whether as many requests are in flight as the limit allows.
        """
        if serial <= self._burst_end:
            return
        self._accepted += 1
        if not in_use:
            return
        if self.ceiling is not None and in_flight >= self.ceiling:
            # The service allows more than it did.
            self.ceiling = None
            self._interval = _FIRST_PROBE
            self._begin_round(1.0)
        if self.ceiling is None:
            self._grow(float("inf"))
        elif self.limit < self.ceiling - 1:
            self._grow(self.ceiling - 1.0)
        elif self._is_probe_due(now):
            self.limit = float(self.ceiling)

    def throttled(self, serial: int, latest: int, in_flight: int, now: float) -> None:
        """Record a throttled request.

        Args:
            serial: Its serial number.
            latest: The serial number of the latest request that was sent.
            in_flight: Requests in flight, this one included.
            now: The time in seconds.
        """
        if serial <= self._burst_end:
            self._burst += 1
        elif in_flight == 1 and serial == latest:
            # Nothing else was in flight, so concurrency was not the reason.
            return
        else:
            probing = self.ceiling is not None and self.limit >= self.ceiling
            self._interval = min(_LAST_PROBE, self._interval * 2) if probing else self._interval
            self._base = min(self.limit, float(in_flight))
            self._burst, self._burst_end = 1, latest
            self._before, self._informative = self.ceiling, self._accepted > 0
            self._accepted = 0
        self._learn_ceiling()
        self.limit = max(1.0, min(self._base * _DECREASE, self._base - self._burst))
        self._begin_round(1.0)
        self._probe_at = now + self._interval

    def _learn_ceiling(self) -> None:
        if not self._informative or self._burst >= self._base:
            # No request is accepted. The service is down, and concurrency is not the reason.
            self.ceiling = self._before
            return
        self.ceiling = max(2, int(self._base) - self._burst + 1)
        # A single throttled request may be an accident. Several, or the same point twice, are not.
        again = self._before is not None and abs(self._before - self.ceiling) <= 1
        self._confirmed = self._burst > 1 or again

    def _is_probe_due(self, now: float) -> bool:
        if not self._confirmed:
            return self._accepted >= 2 * self.limit
        return now >= self._probe_at and self._accepted >= _ACCEPTED_PER_PROBE

    def restart(self) -> None:
        """Begin again with one request after a pause."""
        self.limit = 1.0
        self._begin_round(1.0)

    def _grow(self, most: float) -> None:
        self.limit = min(most, self.limit + self._step / self._round)
        self._left -= 1
        if self._left <= 0:
            self._begin_round(self._step * 2)

    def _begin_round(self, step: float) -> None:
        self._step = step
        self._round = self._left = max(1.0, self.limit)
