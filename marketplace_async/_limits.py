"""Slots: how many requests are in flight, in all and for each account, and how fast they go out."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import attrs

from ._wire import Response
from .errors import ClientClosedError

# What an account begins with; nobody knows what the service allows.
_START: Final = 8
# Seconds until it is asked again whether the service allows more: first, and at most.
_FIRST_PROBE: Final = 10.0
_LAST_PROBE: Final = 300.0
# Seconds for which an account that is idle is remembered, and is left room for.
_MEMORY: Final = 60.0
# Seconds of lateness that a pace makes up for: timers of event loops come late.
_CATCH_UP: Final = 0.05


@attrs.frozen
class Traffic:
    """What a family of clients has sent so far; each attempt counts.

    Attributes:
        sent: Requests that went out.
        refused: Those of them that were answered 429: too many at once for their account.
        in_flight: Those that are on their way now.
    """

    sent: int
    refused: int
    in_flight: int


class Allowance:
    """How many requests one account may have in flight, as the answers tell.

    It doubles from round to round until the first refusal. From then on it stays just below where
    it was refused, and only probes now and then, ever more rarely, whether that still holds.

    Attributes:
        limit: How many it may have in flight now; its whole part counts.
        ceiling: How many were too many, if that is known.
    """

    __slots__ = ("_careful", "_interval", "_most", "_probe_at", "ceiling", "limit")

    def __init__(self) -> None:
        self.limit = float(_START)
        self.ceiling: int | None = None
        self._most = 0
        self._careful = False
        self._interval = _FIRST_PROBE
        self._probe_at = 0.0

    def answered(self, in_flight: int, clock: Callable[[], float]) -> None:
        """Take note that a request was let in while as many were in flight as may be.

        Args:
            in_flight: How many there were with it, as the service counts if it says so, else as
                counted here, where an answer is in flight until it is read.
            clock: Gives the time.
        """
        self._most = max(self._most, in_flight)
        if self.ceiling is None:
            self.limit += 1 / self.limit if self._careful else 1
        elif in_flight >= self.ceiling:
            self.ceiling = None
        elif clock() >= self._probe_at:
            self.limit = float(self.ceiling)

    def refused(self, in_flight: int, clock: Callable[[], float]) -> None:
        """Take note that a request was one too many; `in_flight` as counted here, with it."""
        asked_for_more = self._careful and (self.ceiling is None or self.limit >= self.ceiling)
        # What was let in before is no more than a hint: others may share the account.
        allowed = max(1, min(in_flight - 1, self._most or in_flight))
        # Others that were sent before this was known are refused, too; the lowest counts.
        if allowed < self.limit:
            self.limit = float(allowed)
            self.ceiling = allowed + 1
        self._most = min(self._most, allowed)
        if asked_for_more:
            self._interval = min(_LAST_PROBE, self._interval * 2)
        self._careful = True
        self._probe_at = clock() + self._interval


class _Lane:
    """The requests of one account."""

    __slots__ = ("allowance", "idle_since", "in_flight", "in_turn", "waiting")

    def __init__(self) -> None:
        self.allowance = Allowance()
        self.in_flight = 0
        self.waiting: deque[asyncio.Future[_Slot]] = deque()
        self.in_turn = False
        self.idle_since = 0.0


@attrs.define(eq=False, repr=False)
class _Slot:
    lane: _Lane
    number: int
    """How many of its account were in flight when it was taken, itself included."""


class Slots:
    """Slots for requests in flight, handed out to accounts in turn.

    Args:
        total: How many there are.
        pace: Requests a second that may go out at most, over all accounts.
        clock: Gives seconds that never go back.
    """

    def __init__(
        self,
        total: int,
        pace: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total = total
        # While others are about, no account takes the last slots: a newcomer would have to wait
        # until one of a thousand requests in flight ends.
        self._share = total - total // 8
        self._free = total
        self._clock = clock
        self._lanes: dict[str, _Lane] = {}
        self._sweep_at = 2 * total
        self._turns: deque[_Lane] = deque()
        self._latest = ""
        self._shared_until = 0.0
        self._sent = 0
        self._refused = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._interval = 0.0 if pace is None else 1 / pace
        self._due_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def traffic(self) -> Traffic:
        """What went through."""
        return Traffic(self._sent, self._refused, self._total - self._free)

    def take(self, account: str) -> _Slot | None:
        """Return a slot for this account, if it is its turn."""
        lane = self._lane_of(account)
        if self._free and not self._turns and self._has_room(lane) and self._is_due():
            return self._slot(lane)
        return None

    async def wait(self, account: str) -> _Slot:
        """Return a slot for this account when it is its turn."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise ClientClosedError("this client belongs to another event loop: make one for each")
        lane = self._lane_of(account)
        turn: asyncio.Future[_Slot] = loop.create_future()
        lane.waiting.append(turn)
        self._line_up(lane)
        self._hand_out()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._sent -= 1
                self.give_back(turn.result())
            raise

    def give_back(self, slot: _Slot, response: Response | None = None) -> None:
        """Take back a slot, with what was answered, if anything was."""
        lane = slot.lane
        if response is not None:
            if response.status == 429:
                self._refused += 1
                lane.allowance.refused(slot.number, self._clock)
            elif response.status < 500 and lane.in_flight >= int(lane.allowance.limit):
                in_flight = response.concurrent_requests or slot.number
                lane.allowance.answered(in_flight, self._clock)
        lane.in_flight -= 1
        self._free += 1
        if lane.waiting:
            self._line_up(lane)
        elif not lane.in_flight:
            lane.idle_since = self._clock()
        if self._turns:
            self._hand_out()

    def _slot(self, lane: _Lane) -> _Slot:
        self._free -= 1
        self._sent += 1
        lane.in_flight += 1
        if self._interval:
            self._due_at = max(self._due_at, self._clock() - _CATCH_UP) + self._interval
        return _Slot(lane, lane.in_flight)

    def _lane_of(self, account: str) -> _Lane:
        if account is not self._latest:
            self._latest, latest = account, self._latest
            if latest and account != latest:
                self._shared_until = self._clock() + _MEMORY
        lane = self._lanes.get(account)
        if lane is None:
            if len(self._lanes) >= self._sweep_at:
                self._forget_the_idle()
            lane = self._lanes[account] = _Lane()
        return lane

    def _forget_the_idle(self) -> None:
        before = self._clock() - _MEMORY
        for account, lane in tuple(self._lanes.items()):
            idle = not lane.in_flight and not lane.waiting
            if idle and (lane.allowance.ceiling is None or lane.idle_since < before):
                del self._lanes[account]
        self._sweep_at = 2 * max(self._total, len(self._lanes))

    def _has_room(self, lane: _Lane) -> bool:
        if lane.in_flight >= int(lane.allowance.limit):
            return False
        return lane.in_flight < self._share or self._clock() >= self._shared_until

    def _line_up(self, lane: _Lane) -> None:
        if not lane.in_turn:
            lane.in_turn = True
            self._turns.append(lane)

    def _hand_out(self) -> None:
        """Give free slots to the accounts that wait, one each in turn."""
        while self._free and self._turns:
            lane = self._turns[0]
            while lane.waiting and lane.waiting[0].done():
                lane.waiting.popleft()  # its caller was cancelled
            if lane.waiting and self._has_room(lane):
                if not self._is_due():
                    self._hand_out_when_due()
                    return
                lane.waiting.popleft().set_result(self._slot(lane))
                if lane.waiting:
                    self._turns.rotate(-1)
                    continue
            # One without room lines up again when it gives a slot back.
            self._turns.popleft()
            lane.in_turn = False

    def _is_due(self) -> bool:
        return not self._interval or self._clock() >= self._due_at

    def _hand_out_when_due(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._due_at - self._clock(), self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._hand_out()
