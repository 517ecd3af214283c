"""Faults to inject."""

import random
import re
from collections.abc import Iterable, Iterator
from threading import RLock
from typing import Literal, TypedDict, Unpack

import attrs

from .patterns import check_served, matcher


@attrs.define(kw_only=True)
class Fault:
    """A fault to inject into matching requests.

    Attributes:
        method: The HTTP method, or "*".
        path: A path, where * matches any characters: "/v1/InstalledAddOns/*".
        status: Respond with this status (200 to 599) and an error document in Twilio's format.
        code: The error code in that document. Defaults to the usual code for the status.
        retry_after: The `Retry-After` header: seconds, rounded up, or literal text.
        drop: Close the connection without a response.
        delay: Seconds to wait before the fault, or before the response if only a delay is set.
        body: Send the response with its body "cut" off in the middle, or "garbled".
        next_link: Replace the next link of a page: "repeated" links to the page itself, "cyclic" to
            the first page, "foreign" to another host.
        drip: Send the response byte by byte, this many seconds apart.
        when: Inject the fault "before" the request is processed, or "after" it took effect.
            `body`, `next_link` and `drip` always apply to the response.
        times: How often to inject the fault. None means always.
        probability: The probability that a matching request is affected, 0 to 1.
        hits: How often the fault was injected.
    """

    method: str = "*"
    path: str = "*"
    status: int | None = None
    code: int | None = None
    retry_after: float | str | None = None
    drop: bool = False
    delay: float = 0.0
    body: Literal["cut", "garbled"] | None = None
    next_link: Literal["repeated", "cyclic", "foreign"] | None = None
    drip: float = 0.0
    when: Literal["before", "after"] = "before"
    times: int | None = 1
    probability: float = 1.0
    hits: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        if not re.fullmatch(r"[A-Z]+|\*", self.method):
            raise ValueError(f"method: must be an uppercase word or *, got {self.method!r}")
        if self.path[:1] not in ("/", "*"):
            raise ValueError(f"path: must start with / or *, got {self.path!r}")
        for name, allowed in (
            ("body", (None, "cut", "garbled")),
            ("next_link", (None, "repeated", "cyclic", "foreign")),
            ("when", ("before", "after")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}: must be one of {allowed}, got {getattr(self, name)!r}")
        for name, value, maximum in (
            ("delay", self.delay, float("inf")),
            ("drip", self.drip, float("inf")),
            ("times", self.times or 0, float("inf")),
            ("probability", self.probability, 1.0),
        ):
            if not isinstance(value, int | float) or not 0 <= value <= maximum:
                bounds = "at least 0" if maximum == float("inf") else f"from 0 to {maximum:g}"
                raise ValueError(f"{name}: must be {bounds}, got {value!r}")
        if isinstance(self.retry_after, str) and not self.retry_after.isprintable():
            raise ValueError(
                f"retry_after: must be a single line of text, got {self.retry_after!r}"
            )
        if self.status is not None and self.status not in range(200, 600):
            raise ValueError(f"status: must be from 200 to 599, got {self.status}")
        if self.status is not None and self.drop:
            raise ValueError("a fault cannot both set a status and drop the connection")
        changes_response = self.body or self.next_link or self.drip
        if self.status is None and not (self.drop or self.delay or changes_response):
            raise ValueError("a fault needs a status, drop, delay, body, next_link or drip")

    def __str__(self) -> str:
        values = attrs.asdict(self)
        changed = [
            f"{field.name}={values[field.name]!r}"
            for field in attrs.fields(type(self))
            if field.name not in ("method", "path") and values[field.name] != field.default
        ]
        return f"{self.method} {self.path} ({', '.join(changed)})"

    def matches(self, method: str, path: str) -> bool:
        return (
            (self.times is None or self.hits < self.times)
            and self.method in ("*", method)
            and matcher(self.path)(path) is not None
        )


class FaultOptions(TypedDict, total=False):
    """The keyword arguments of `Faults.add`. See `Fault`."""

    status: int | None
    code: int | None
    retry_after: float | str | None
    drop: bool
    delay: float
    body: Literal["cut", "garbled"] | None
    next_link: Literal["repeated", "cyclic", "foreign"] | None
    drip: float
    when: Literal["before", "after"]
    times: int | None
    probability: float


class Faults:
    """The faults of an emulator. The first one that matches a request is injected.

    Its methods can be called from any thread.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._faults: list[Fault] = []
        self._matched: set[int] = set()
        self._routes: tuple[tuple[str, str], ...] = ()
        self._random = random.Random()

    def __iter__(self) -> Iterator[Fault]:
        with self._lock:
            return iter(tuple(self._faults))

    def __len__(self) -> int:
        return len(self._faults)

    def add(self, method: str, path: str, **options: Unpack[FaultOptions]) -> Fault:
        """Add a fault and return it. Its `hits` attribute counts how often it was injected.

        Args:
            method: The HTTP method, or "*".
            path: A path, where * matches any characters: "/v1/InstalledAddOns/*".
            options: The other attributes of `marketplace_async.emulator.Fault`, such as
                `status=429, times=2`.

        Raises:
            ValueError: The fault is invalid, or no request can match it. The message says why.
        """
        return self.append(Fault(method=method, path=path, **options))

    def append(self, fault: Fault) -> Fault:
        """Add an existing fault and return it. Raises as `add` does."""
        with self._lock:
            self._check(fault)
            self._faults.append(fault)
        return fault

    def unmatched(self) -> list[Fault]:
        """Return the faults that no request has matched, without those that never apply.

        A fault is not matched as long as one before it is injected instead. A fault with a
        `probability` is matched even if chance did not inject it.
        """
        with self._lock:
            return [
                fault
                for fault in self._faults
                if id(fault) not in self._matched and fault.times != 0
            ]

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._faults.clear()
            self._matched.clear()

    def seed(self, seed: int) -> None:
        """Seed the random numbers for faults with a probability."""
        self._random.seed(seed)

    def check_against(self, routes: Iterable[tuple[str, str]]) -> None:
        """Check all faults against these routes, and each fault that is added from now on.

        Args:
            routes: The method and path of each route.

        Raises:
            ValueError: No request can match a fault.
        """
        with self._lock:
            self._routes = tuple(routes)
            for fault in self._faults:
                self._check(fault)

    def _check(self, fault: Fault) -> None:
        if self._routes:
            check_served(fault.method, fault.path, self._routes)

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault to inject into this request, if any, and count the hit."""
        if not self._faults:
            return None
        with self._lock:
            for fault in self._faults:
                if fault.matches(method, path):
                    self._matched.add(id(fault))
                    if self._random.random() < fault.probability:
                        fault.hits += 1
                        return fault
        return None
