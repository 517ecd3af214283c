"""The concurrency limiter: bounds requests in flight, in total and per account, and their rate."""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Final

import attrs

from .adaptive import AdaptiveLimit
from .clocks import monotonic
from .loops import check_closed
from .messages import Response

# Seconds for which an idle account is remembered and permits are reserved for it.
_MEMORY: Final = 60.0
# Seconds of delay that the rate limit makes up for: timers of event loops fire late.
_CATCH_UP: Final = 0.05
# Jitter lengthens a pause by up to this share, so that accounts do not resume in step.
_PAUSE_JITTER: Final = 0.1
# Maximum length of a pause in seconds. A longer Retry-After is shortened to it.
_MAX_PAUSE: Final = 600.0


@attrs.frozen(kw_only=True)
class AccountStats:
    """Request counters of one account, and what the client has learned about its limit.

    The counters start when the client first sends a request of the account, or after the client
    has forgotten it.

    Attributes:
        sent: Requests that were sent.
        throttled: Those that Twilio throttled (429).
        waiting: Requests that wait for a permit now.
        in_flight: Requests in flight now.
        limit: The number of requests that may be in flight now.
        learned_limit: The number of requests in flight that Twilio throttled. None if unknown.
        paused_for: Seconds that are left of a pause that Twilio asked for. 0 without a pause.
    """

    sent: int
    throttled: int
    waiting: int
    in_flight: int
    limit: int
    learned_limit: int | None
    paused_for: float


@attrs.frozen(kw_only=True)
class Stats:
    """Request counters of a client and its derived clients. Each attempt counts.

    Attributes:
        sent: Requests that were sent, without those for access tokens.
        throttled: Those that Twilio throttled (429): too many concurrent requests of the account.
        retried: Those that were sent again after a failed attempt.
        withheld: Retries that were not made because a retry quota was used up.
        waiting: Requests that wait for a permit now.
        in_flight: Requests in flight now.
    """

    sent: int = 0
    throttled: int = 0
    retried: int = 0
    withheld: int = 0
    waiting: int = 0
    in_flight: int = 0
    _of_account: Callable[[str], AccountStats | None] | None = attrs.field(
        default=None, repr=False, eq=False, alias="of_account"
    )

    def account(self, sid: str) -> AccountStats | None:
        """Return the current counters of one account.

        Args:
            sid: The account SID, `AC...`. If the credentials do not contain it, the SID of the API
                key or of the OAuth app.

        Returns:
            None unless the account has requests in flight or waiting, is paused, or has a learned
            limit. The client forgets a limit that was not used for a minute. A copy of the
            counters, such as an unpickled one, knows no accounts.
        """
        return None if self._of_account is None else self._of_account(sid)

    def __getstate__(self) -> dict[str, int]:
        return attrs.asdict(self, filter=lambda field, _: not field.name.startswith("_"))

    def __setstate__(self, state: dict[str, int]) -> None:
        self.__init__(**state)  # type: ignore[misc]


class Paused(Exception):
    """The service asked for a pause of this account: nothing was sent.

    Attributes:
        until: When the pause ends, in monotonic seconds.
        response: The response that asked for it.
    """

    def __init__(self, until: float, response: Response) -> None:
        super().__init__(until)
        self.until = until
        self.response = response


class _AccountQueue:
    """The requests of one account."""

    __slots__ = (
        *("abandoned", "adaptive", "idle_since", "in_flight", "in_turn", "pause", "pause_end"),
        *("pause_seconds", "sent", "throttled", "waiting"),
    )

    def __init__(self, adaptive: AdaptiveLimit | None = None) -> None:
        self.adaptive = AdaptiveLimit() if adaptive is None else adaptive
        self.abandoned = False
        self.in_flight = 0
        self.sent = 0
        self.throttled = 0
        self.pause: Paused | None = None
        # Its length, and the last request that was sent before it.
        self.pause_seconds = 0.0
        self.pause_end = 0
        self.waiting: deque[asyncio.Future[Permit]] = deque()
        self.in_turn = False
        self.idle_since = 0.0


@attrs.define(eq=False, repr=False)
class Permit:
    queue: _AccountQueue
    serial: int
    """Number of permits that the account has acquired, including this one."""
    number: int
    """Requests of the account in flight, including this one, when the permit was acquired."""


class Limiter:
    """Hands out permits for requests in flight. Accounts take turns.

    Args:
        total: Number of permits.
        requests_per_second: Maximum rate, over all accounts; unlimited if None.
        clock: Returns monotonic time in seconds.

    Attributes:
        check: Is called when a permit is acquired. If it raises, there is no permit.
    """

    def __init__(
        self,
        total: int,
        requests_per_second: float | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._total = total
        self._share = _share_of(total)
        self._free = total
        self._clock = clock
        self._queues: dict[str, _AccountQueue] = {}
        self._sweep_at = 2 * total
        self._turns: deque[_AccountQueue] = deque()
        self._latest = ""
        self._shared_until = 0.0
        self._sent = 0
        self._throttled = 0
        self._retried = 0
        self._withheld = 0
        self._waiting = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rate = None if requests_per_second is None else _Rate(requests_per_second, clock)
        self._timer: asyncio.TimerHandle | None = None
        self.check: Callable[[], None] | None = None

    @property
    def limits(self) -> tuple[int, float | None]:
        """The number of permits, and the maximum rate."""
        return self._total, None if self._rate is None else self._rate.per_second

    def set_limits(self, total: int, requests_per_second: float | None) -> None:
        """Set other limits for the requests from now on. Requests in flight keep their permits."""
        self._free += total - self._total  # below 0 until enough requests have ended
        self._total, self._share = total, _share_of(total)
        self._sweep_at = max(self._sweep_at, 2 * total)
        if requests_per_second is None:
            self._rate = None
        elif self._rate is None:
            self._rate = _Rate(requests_per_second, self._clock)
        else:
            self._rate.change(requests_per_second)
        if self._turns and self._loop is asyncio._get_running_loop():
            self._hand_out()

    @property
    def stats(self) -> Stats:
        """The request counters."""
        return Stats(
            sent=self._sent,
            throttled=self._throttled,
            retried=self._retried,
            withheld=self._withheld,
            waiting=self._waiting,
            in_flight=self._total - self._free,
            of_account=self.stats_of,
        )

    def stats_of(self, account: str) -> AccountStats | None:
        """Return the counters of an account, or None if there is nothing to tell."""
        queue = self._queues.get(account)
        if queue is None:
            return None
        now = self._clock()
        waiting = sum(not turn.done() for turn in queue.waiting)
        paused_for = 0.0 if queue.pause is None else max(0.0, queue.pause.until - now)
        learned = queue.adaptive.ceiling
        remembered = learned is not None and queue.idle_since >= now - _MEMORY
        if not (queue.in_flight or waiting or paused_for or remembered):
            return None
        return AccountStats(
            sent=queue.sent,
            throttled=queue.throttled,
            waiting=waiting,
            in_flight=queue.in_flight,
            limit=int(queue.adaptive.limit),
            learned_limit=learned,
            paused_for=paused_for,
        )

    def try_acquire(self, account: str) -> Permit | None:
        """Return a permit for this account if one is available now."""
        if self.check is not None:
            self.check()
        loop = asyncio._get_running_loop()
        if self._loop is not loop and loop is not None:
            self._bind(loop)
        queue = self._queue_of(account)
        if queue.pause is not None:
            self._check_pause(queue, queue.pause)
        if self._free > 0 and not self._turns and self._has_room(queue) and self._is_due():
            return self._permit(queue)
        return None

    async def acquire(self, account: str) -> Permit:
        """Wait for a permit for this account. Accounts take turns.

        Raises:
            Paused: The account is paused, or was paused meanwhile.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._bind(loop)
        queue = self._queue_of(account)
        if queue.pause is not None:
            self._check_pause(queue, queue.pause)
        turn: asyncio.Future[Permit] = loop.create_future()
        queue.waiting.append(turn)
        self._line_up(queue)
        self._hand_out()
        self._waiting += 1
        try:
            permit = await turn
            if self.check is not None:
                self.check()
            return permit
        except BaseException:
            # The waiting task was cancelled, or its coroutine was closed.
            if not turn.done():
                turn.cancel()
            elif not turn.cancelled() and turn.exception() is None:
                self._sent -= 1
                self.release(turn.result())
            raise
        finally:
            if self._loop is loop:
                self._waiting -= 1

    def release(self, permit: Permit, response: Response | None = None) -> None:
        """Return a permit, with the response to its request if there was one."""
        queue = permit.queue
        if queue.abandoned:
            return
        if response is not None:
            self._learn(queue, permit, response)
        queue.in_flight -= 1
        self._free += 1
        if queue.waiting:
            self._line_up(queue)
        elif not queue.in_flight:
            queue.idle_since = self._clock()
        if self._turns:
            self._hand_out()

    def is_searching(self, account: str) -> bool:
        """Return True if the limit of the account is not known yet."""
        queue = self._queues.get(account)
        return queue is None or queue.adaptive.is_searching

    def count_retry(self) -> None:
        self._retried += 1

    def count_withheld_retry(self) -> None:
        self._withheld += 1

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not None:
            check_closed(self._loop)
            self._abandon()
        self._loop = loop

    def _abandon(self) -> None:
        """Forget the requests of a closed event loop. What was learned about accounts stays.

        A task that did not end before its loop was closed may still release its permit.
        """
        self._timer = None
        self._turns.clear()
        self._free = self._total
        self._waiting = 0
        for account, queue in self._queues.items():
            queue.abandoned = True
            following = self._queues[account] = _AccountQueue(queue.adaptive)
            following.pause, following.sent = queue.pause, queue.sent
            following.throttled = queue.throttled
            following.idle_since = self._clock()

    def _learn(self, queue: _AccountQueue, permit: Permit, response: Response) -> None:
        if response.status in (429, 503):
            self._throttled += response.status == 429
            queue.throttled += response.status == 429
            queue.adaptive.throttled(permit.serial, queue.sent, queue.in_flight, self._clock())
            seconds = min(response.retry_after or 0.0, _MAX_PAUSE)
            # The requests of one burst ask for one pause.
            if seconds and (permit.serial > queue.pause_end or seconds > queue.pause_seconds):
                self._pause(queue, seconds, response)
        elif response.status < 500:
            in_use = queue.in_flight >= int(queue.adaptive.limit)
            # A request counts here until its response is read. The service may count fewer.
            number = permit.number
            if in_use:
                number = min(response.concurrent_requests or number, number)
            queue.adaptive.accepted(permit.serial, number, self._clock(), in_use=in_use)

    def _pause(self, queue: _AccountQueue, seconds: float, response: Response) -> None:
        until = self._clock() + seconds * (1 + _PAUSE_JITTER * random.random())
        queue.pause = Paused(until, response.without_secrets())
        queue.pause_seconds, queue.pause_end = seconds, queue.sent
        # One request probes whether the pause is over. The others follow.
        queue.adaptive.restart()
        while queue.waiting:
            turn = queue.waiting.popleft()
            if not turn.done():
                turn.set_exception(Paused(queue.pause.until, queue.pause.response))

    def _check_pause(self, queue: _AccountQueue, pause: Paused) -> None:
        if self._clock() < pause.until:
            raise Paused(pause.until, pause.response)
        queue.pause = None

    def _permit(self, queue: _AccountQueue) -> Permit:
        self._free -= 1
        self._sent += 1
        queue.in_flight += 1
        queue.sent += 1
        if self._rate is not None:
            self._rate.count()
        return Permit(queue, queue.sent, queue.in_flight)

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
            forgettable = queue.adaptive.ceiling is None and queue.pause is None
            if idle and (forgettable or queue.idle_since < before):
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
        while self._free > 0 and self._turns:
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
        return self._rate is None or self._rate.wait() <= 0

    def _hand_out_when_due(self) -> None:
        if self._timer is None and self._rate is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._rate.wait(), self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._hand_out()


def _share_of(total: int) -> int:
    """Return how many permits one account may have while several are active.

    If it took the last ones, a newcomer would have to wait for a busy account.
    """
    return total - total // 8


class _Rate:
    """Spaces requests evenly, and never lets more through in any second than the rate."""

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due_at = 0.0
        self._latest: deque[float] = deque()
        self.change(per_second)

    def change(self, per_second: float) -> None:
        """Set another rate. The requests of the last second count."""
        self.per_second = per_second
        self._interval = 1 / per_second
        self._window = max(1.0, self._interval)
        self._latest = deque(self._latest, maxlen=max(1, int(per_second)))

    def wait(self) -> float:
        """Return the seconds until the next request may be sent."""
        at = self._due_at
        if len(self._latest) == self._latest.maxlen:
            at = max(at, self._latest[0] + self._window)
        return at - self._clock()

    def count(self) -> None:
        """Record that a request is sent now."""
        now = self._clock()
        self._due_at = max(self._due_at, now - _CATCH_UP) + self._interval
        self._latest.append(now)
