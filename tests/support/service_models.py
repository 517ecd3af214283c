"""Services in virtual time, and clients that keep them busy: for the adaptive limit."""

import heapq
import itertools
import random
from collections.abc import Callable
from typing import Any

import attrs

from marketplace_async._core.adaptive import AdaptiveLimit

# Seconds until a throttled request is answered: such responses are fast.
THROTTLED_AFTER = 0.005

Admit = Callable[[float, int], bool]
"""Whether the service accepts a request, from the time and the requests in flight."""


@attrs.define
class Model:
    """A service, and clients of one account with a number of workers each.

    Args:
        admit: Whether a request is accepted.
        latency: Seconds until an accepted request is answered.
        workers: For each client, how many workers always have a next request.
        seed: For the jitter of latencies and back-off.
    """

    admit: Admit
    latency: float = 0.05
    workers: tuple[int, ...] = (64,)
    seed: int = 0
    limit_of: Callable[[], Any] = AdaptiveLimit

    def run(self, seconds: float) -> "Run":
        dice = random.Random(self.seed)
        events: list[tuple[float, int, Callable[[float], None]]] = []
        order = itertools.count()
        run = Run(seconds, [[] for _ in self.workers], [[] for _ in self.workers])
        in_service = 0

        def at(when: float, what: Callable[[float], None]) -> None:
            heapq.heappush(events, (when, next(order), what))

        class Client:
            def __init__(self, number: int, workers: int) -> None:
                self.number = number
                self.waiting = workers
                self.in_flight = self.serial = 0
                self.adaptive = outer.limit_of()

            def send_more(self, now: float) -> None:
                while self.waiting and self.in_flight < int(self.adaptive.limit):
                    self.waiting -= 1
                    self.in_flight += 1
                    self.serial += 1
                    self.send(now, self.serial, self.in_flight)

            def send(self, now: float, serial: int, number: int) -> None:
                nonlocal in_service
                if outer.admit(now, in_service):
                    in_service += 1
                    delay = outer.latency * dice.uniform(0.8, 1.2)
                    at(now + delay, lambda now: self.accepted(now, serial, number))
                else:
                    at(now + THROTTLED_AFTER, lambda now: self.throttled(now, serial))

            def accepted(self, now: float, serial: int, number: int) -> None:
                nonlocal in_service
                in_service -= 1
                run.accepted[self.number].append(now)
                in_use = self.in_flight >= int(self.adaptive.limit)
                self.adaptive.accepted(serial, number, now, in_use=in_use)
                self.in_flight -= 1
                self.waiting += 1
                self.send_more(now)

            def throttled(self, now: float, serial: int) -> None:
                run.throttled[self.number].append(now)
                self.adaptive.throttled(serial, self.serial, self.in_flight, now)
                self.in_flight -= 1
                at(now + dice.uniform(0, 0.5), self.back)
                self.send_more(now)

            def back(self, now: float) -> None:
                self.waiting += 1
                self.send_more(now)

        outer = self
        for number, workers in enumerate(self.workers):
            at(0.0, Client(number, workers).send_more)
        while events and events[0][0] <= seconds:
            now, _, what = heapq.heappop(events)
            what(now)
        return run


@attrs.frozen
class Run:
    """When requests were accepted and throttled, for each client."""

    seconds: float
    accepted: list[list[float]]
    throttled: list[list[float]]

    def rate(self, start: float, end: float, client: int | None = None) -> float:
        """Return accepted requests per second between two times."""
        lists = self.accepted if client is None else [self.accepted[client]]
        return sum(start <= when < end for times in lists for when in times) / (end - start)

    def share_throttled(self, start: float = 0.0) -> float:
        """Return the share of requests that were throttled from some time on."""
        accepted = sum(when >= start for times in self.accepted for when in times)
        throttled = sum(when >= start for times in self.throttled for when in times)
        return throttled / max(1, accepted + throttled)


def fixed(limit: int) -> Admit:
    return lambda now, in_flight: in_flight < limit


def changing(*limits: tuple[float, int]) -> Admit:
    """A limit that changes: pairs of the time from which it holds, and the limit."""
    return lambda now, in_flight: (
        in_flight < next(limit for start, limit in reversed(limits) if now >= start)
    )


def stray(share: float, start: float, end: float, then: Admit, seed: int = 1) -> Admit:
    """A share of requests is throttled at random between two times."""
    dice = random.Random(seed)
    return lambda now, n: then(now, n) and not (start <= now < end and dice.random() < share)


def out(start: float, end: float, then: Admit) -> Admit:
    """Every request is throttled between two times."""
    return lambda now, n: then(now, n) and not start <= now < end


def rated(per_second: float) -> Admit:
    """A limit of requests per second instead, with a bucket of a tenth of a second."""
    state = [per_second / 10, 0.0]

    def admit(now: float, in_flight: int) -> bool:
        state[0] = min(per_second / 10, state[0] + (now - state[1]) * per_second)
        state[1] = now
        if state[0] < 1:
            return False
        state[0] -= 1
        return True

    return admit


def unlimited(now: float, in_flight: int) -> bool:
    return True
