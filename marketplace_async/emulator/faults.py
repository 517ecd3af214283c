"""Failures on demand, and a log of what was asked."""

import random
import re
from collections import deque
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Literal, TypedDict, Unpack

import attrs


@attrs.define(kw_only=True)
class Fault:
    """A failure for the requests that match, as often as `times` says.

    Attributes:
        method: The HTTP method, or "*".
        path: A path, in which * stands for anything: "/v1/InstalledAddOns/*".
        status: Answer with this status and the vendor's error document for it.
        code: The error code in that document; the usual one for the status unless given.
        retry_after: The `Retry-After` header of that answer: in seconds, rounded up, or as it shall
            stand.
        drop: Close the connection instead of answering.
        delay: Seconds to wait before the failure, or before the answer if there is no other.
        body: Send the answer with its body "cut" off in the middle, or "garbled".
        next_link: Let the page of a list link to itself ("repeated"), to the first page ("cyclic")
            or to another host ("foreign").
        drip: Send the answer byte by byte, with so many seconds between two.
        when: Fail "before" the request is processed, or "after" it was and its effect is kept. What
            is done to an answer comes after it in any case.
        times: How often; None without end.
        probability: How likely a request that matches meets it, from 0 to 1.
        hits: How often it happened.
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
            raise ValueError(f"method: expected a word in capitals or *, got {self.method!r}")
        if self.path[:1] not in ("/", "*"):
            raise ValueError(f"path: expected a path that begins with / or *, got {self.path!r}")
        for name, allowed in (
            ("body", (None, "cut", "garbled")),
            ("next_link", (None, "repeated", "cyclic", "foreign")),
            ("when", ("before", "after")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}: expected one of {allowed}, got {getattr(self, name)!r}")
        for name, value, most in (
            ("delay", self.delay, float("inf")),
            ("drip", self.drip, float("inf")),
            ("times", self.times or 0, float("inf")),
            ("probability", self.probability, 1.0),
        ):
            if not isinstance(value, int | float) or not 0 <= value <= most:
                raise ValueError(f"{name}: expected 0 to {most}, got {value!r}")
        if isinstance(self.retry_after, str) and not self.retry_after.isprintable():
            raise ValueError(f"retry_after: expected one line of text, got {self.retry_after!r}")
        if self.status is not None and self.status not in range(200, 600):
            raise ValueError(f"status: expected 200 to 599, got {self.status}")
        if self.status is not None and self.drop:
            raise ValueError("a fault cannot answer with a status and drop the connection")
        changes_the_answer = self.body or self.next_link or self.drip
        if self.status is None and not (self.drop or self.delay or changes_the_answer):
            raise ValueError("a fault needs a status, drop, delay, body, next_link or drip")

    def matches(self, method: str, path: str) -> bool:
        return (
            (self.times is None or self.hits < self.times)
            and self.method in ("*", method)
            and fnmatchcase(path, self.path)
        )


class Failure(TypedDict, total=False):
    """What a fault does; see `Fault`."""

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
    """The faults of an emulator. The first that matches a request, and is not used up, happens."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._chance = random.Random()

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._faults)

    def add(self, method: str, path: str, **failure: Unpack[Failure]) -> Fault:
        """Add a fault, and return it; its `hits` tell how often it happened.

        Args:
            method: The HTTP method, or "*".
            path: A path, in which * stands for anything: "/v1/InstalledAddOns/*".
            failure: What happens, how often, and when: the other attributes of
                `marketplace_async.emulator.Fault`, such as `status=429, times=2`.

        Raises:
            ValueError: The fault makes no sense; the message says why.
        """
        return self.append(Fault(method=method, path=path, **failure))

    def append(self, fault: Fault) -> Fault:
        """Add a fault that was made before, and return it."""
        self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Remove all faults."""
        self._faults.clear()

    def seed(self, seed: int) -> None:
        """Make chance repeatable, for faults with a probability."""
        self._chance.seed(seed)

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault that this request meets, and count it."""
        for fault in self._faults:
            if fault.matches(method, path) and self._chance.random() < fault.probability:
                fault.hits += 1
                return fault
        return None


@attrs.frozen(kw_only=True)
class LogEntry:
    """One request, as the emulator saw it. Credentials are not kept.

    Attributes:
        method: The HTTP method.
        path: The path.
        query: The query string, as it was sent.
        body: The body, as it was sent; empty where it holds a secret.
        account_sid: The account that asked, if it was let in.
        status: The status of the answer; None if the connection was dropped instead.
        request_id: The `Twilio-Request-Id` of the answer.
    """

    method: str
    path: str
    query: str
    body: bytes = attrs.field(repr=False)
    account_sid: str | None
    status: int | None
    request_id: str


class RequestLog:
    """The latest requests in the order in which they were answered, oldest first."""

    def __init__(self, size: int = 10_000) -> None:
        self._entries: deque[LogEntry] = deque(maxlen=size)

    def __iter__(self) -> Iterator[LogEntry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> LogEntry:
        return self._entries[index]

    def matching(self, method: str = "*", path: str = "*") -> list[LogEntry]:
        """Return the entries of this method and path; * stands for anything."""
        return [
            entry
            for entry in self._entries
            if method in ("*", entry.method) and fnmatchcase(entry.path, path)
        ]

    def append(self, entry: LogEntry) -> None:
        """Add an entry; the oldest goes when the log is full."""
        self._entries.append(entry)

    def clear(self) -> None:
        """Forget all entries."""
        self._entries.clear()
