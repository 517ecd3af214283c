"""The concurrency limiter: bounds requests in flight, in total and per account, and their rate."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import attrs

from ..errors import ClientClosedError
from .messages import Response

# The limit of a new account. What the service allows is not known.
_INITIAL_LIMIT: Final = 8
# Seconds between probes for a higher limit: at first, and at most.
_FIRST_PROBE: Final = 10.0
_LAST_PROBE: Final = 300.0
# Seconds for which an idle account is remembered and permits are reserved for it.
_MEMORY: Final = 60.0
# Seconds of delay that the rate limit makes up for: timers of event loops fire late.
_CATCH_UP: Final = 0.05


@attrs.frozen
class Stats:
    """Request counters of a client and its derived clients. Each attempt counts.

    Attributes:
        sent: Requests that were sent.
        throttled: Those that were answered 429: too many concurrent requests of the account.
        in_flight: Requests in flight now.
    """

    sent: int
    throttled: int
    in_flight: int


class AdaptiveLimit:
    """The adaptive concurrency limit of one account.

    The limit doubles each round trip until Twilio throttles a request. It then stays just below
    that point and occasionally probes whether the limit has risen.

    Attributes:
        limit: Maximum number of requests in flight now; only the integral part counts.
        ceiling: The number of requests in flight that was throttled, if known.
    """

    __slots__ = ("_careful", "_interval", "_most", "_probe_at", "ceiling", "limit")

    def __init__(self) -> None:
        self.limit = float(_INITIAL_LIMIT)
        self.ceiling: int | None = None
        self._most = 0
        self._careful = False
        self._interval = _FIRST_PROBE
        self._probe_at = 0.0

    def accepted(self, in_flight: int, clock: Callable[[], float]) -> None:
        """Record a response to a request that was sent while the limit was in use.

        Args:
            in_flight: Requests in flight, this one included: as the service counts them if it says
                so, else as counted here, where a request is in flight until its response is read.
            clock: Returns the time in seconds.
        """
        self._most = max(self._most, in_flight)
        if self.ceiling is None:
            self.limit += 1 / self.limit if self._careful else 1
        elif in_flight >= self.ceiling:
            self.ceiling = None
        elif clock() >= self._probe_at:
            self.limit = float(self.ceiling)

    def throttled(self, in_flight: int, clock: Callable[[], float]) -> None:
        """Record a 429; `in_flight` is counted here and includes the throttled request."""
        probing = self._careful and (self.ceiling is None or self.limit >= self.ceiling)
        # Earlier successes are only a hint: other programs may share the account.
        allowed = max(1, min(in_flight - 1, self._most or in_flight))
        # Requests that were sent before this one was throttled are throttled, too: the lowest
        # number counts.
        if allowed < self.limit:
            self.limit = float(allowed)
            self.ceiling = allowed + 1
        self._most = min(self._most, allowed)
        if probing:
            self._interval = min(_LAST_PROBE, self._interval * 2)
        self._careful = True
        self._probe_at = clock() + self._interval


class _AccountQueue:
    """The requests of one account."""

    __slots__ = ("adaptive", "idle_since", "in_flight", "in_turn", "waiting")

    def __init__(self) -> None:
        self.adaptive = AdaptiveLimit()
        self.in_flight = 0
        self.waiting: deque[asyncio.Future[_Permit]] = deque()
        self.in_turn = False
        self.idle_since = 0.0


@attrs.define(eq=False, repr=False)
class _Permit:
    queue: _AccountQueue
    number: int
    """Requests of the account in flight when the permit was acquired, this one included."""


class Limiter:
    """Hands out permits for requests in flight. Accounts take turns.

    Args:
        total: Number of permits.
        requests_per_second: Maximum rate, over all accounts; unlimited if None.
        clock: Returns monotonic time in seconds.
    """

    def __init__(
        self,
        total: int,
        requests_per_second: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total = total
        # While several accounts are active, none takes the last permits. Otherwise a newcomer
        # would have to wait for a busy account.
        self._share = total - total // 8
        self._free = total
        self._clock = clock
        self._queues: dict[str, _AccountQueue] = {}
        self._sweep_at = 2 * total
        self._turns: deque[_AccountQueue] = deque()
        self._latest = ""
        self._shared_until = 0.0
        self._sent = 0
        self._throttled = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._interval = 0.0 if requests_per_second is None else 1 / requests_per_second
        self._due_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def stats(self) -> Stats:
        """The request counters."""
        return Stats(self._sent, self._throttled, self._total - self._free)

    def try_acquire(self, account: str) -> _Permit | None:
        """Return a permit for this account if one is available now."""
        queue = self._queue_of(account)
        if self._free and not self._turns and self._has_room(queue) and self._is_due():
            return self._permit(queue)
        return None

    async def acquire(self, account: str) -> _Permit:
        """Wait for a permit for this account. Accounts take turns."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise ClientClosedError(
                "this client is bound to another event loop; create one client per event loop"
            )
        queue = self._queue_of(account)
        turn: asyncio.Future[_Permit] = loop.create_future()
        queue.waiting.append(turn)
        self._line_up(queue)
        self._hand_out()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._sent -= 1
                self.release(turn.result())
            raise

    def release(self, permit: _Permit, response: Response | None = None) -> None:
        """Return a permit, with the response to its request if there was one."""
        queue = permit.queue
        if response is not None:
            if response.status == 429:
                self._throttled += 1
                queue.adaptive.throttled(permit.number, self._clock)
            elif response.status < 500 and queue.in_flight >= int(queue.adaptive.limit):
                in_flight = response.concurrent_requests or permit.number
                queue.adaptive.accepted(in_flight, self._clock)
        queue.in_flight -= 1
        self._free += 1
        if queue.waiting:
            self._line_up(queue)
        elif not queue.in_flight:
            queue.idle_since = self._clock()
        if self._turns:
            self._hand_out()

    def _permit(self, queue: _AccountQueue) -> _Permit:
        self._free -= 1
        self._sent += 1
        queue.in_flight += 1
        if self._interval:
            self._due_at = max(self._due_at, self._clock() - _CATCH_UP) + self._interval
        return _Permit(queue, queue.in_flight)

    def _queue_of(self, account: str) -> _AccountQueue:
        if account is not self._latest:
            self._latest, latest = account, self._latest
            if latest and account != latest:
                self._shared_until = self._clock() + _MEMORY
        queue = self._queues.get(account)
        if queue is None:
            if len(self._queues) >= self._sweep_at:
                self._forget_idle_queues()
            queue = self._queues[account] = _AccountQueue()
        return queue

    def _forget_idle_queues(self) -> None:
        before = self._clock() - _MEMORY
        for account, queue in tuple(self._queues.items()):
            idle = not queue.in_flight and not queue.waiting
            if idle and (queue.adaptive.ceiling is None or queue.idle_since < before):
                del self._queues[account]
        self._sweep_at = 2 * max(self._total, len(self._queues))

    def _has_room(self, queue: _AccountQueue) -> bool:
        if queue.in_flight >= int(queue.adaptive.limit):
            return False
        return queue.in_flight < self._share or self._clock() >= self._shared_until

    def _line_up(self, queue: _AccountQueue) -> None:
        if not queue.in_turn:
            queue.in_turn = True
            self._turns.append(queue)

    def _hand_out(self) -> None:
        """Hand out free permits, one per waiting account in turn."""
        while self._free and self._turns:
            queue = self._turns[0]
            while queue.waiting and queue.waiting[0].done():
                queue.waiting.popleft()  # its caller was cancelled
            if queue.waiting and self._has_room(queue):
                if not self._is_due():
                    self._hand_out_when_due()
                    return
                queue.waiting.popleft().set_result(self._permit(queue))
                if queue.waiting:
                    self._turns.rotate(-1)
                    continue
            # A queue without room lines up again when one of its permits is released.
            self._turns.popleft()
            queue.in_turn = False

    def _is_due(self) -> bool:
        return not self._interval or self._clock() >= self._due_at

    def _hand_out_when_due(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._due_at - self._clock(), self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._hand_out()
