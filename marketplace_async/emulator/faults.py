"""Failures on demand, and a log of what was asked."""

from collections import deque
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Literal

import attrs


@attrs.define(kw_only=True)
class Fault:
    """A failure for the requests that match, as often as `times` says.

    Attributes:
        method: The HTTP method, or "*".
        path: A path, in which * stands for anything: "/v1/InstalledAddOns/*".
        status: Answer with this status and the vendor's error document for it.
        code: The error code in that document; the usual one for the status unless given.
        retry_after: The `Retry-After` header of that answer, in seconds or as it shall stand.
        delay: Seconds to wait before the failure, or before the answer if there is no other.
        drop: Close the connection instead of answering.
        when: Fail "before" the request is processed, or "after" it was and its effect is kept.
        times: How often; None without end.
        hits: How often it happened.
    """

    method: str = "*"
    path: str = "*"
    status: int | None = None
    code: int | None = None
    retry_after: float | str | None = None
    delay: float = 0.0
    drop: bool = False
    when: Literal["before", "after"] = "before"
    times: int | None = 1
    hits: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        if self.when not in ("before", "after"):
            raise ValueError(f"when: expected before or after, got {self.when!r}")
        if self.delay < 0 or (self.times is not None and self.times < 0):
            raise ValueError("delay and times: expected 0 or more")
        if self.status is not None and not 200 <= self.status <= 599:
            raise ValueError(f"status: expected 200 to 599, got {self.status}")
        if self.status is None and not self.drop and not self.delay:
            raise ValueError("a fault needs a status, a delay or drop=True")
        if self.status is not None and self.drop:
            raise ValueError("a fault cannot answer with a status and drop the connection")

    def matches(self, method: str, path: str) -> bool:
        return (
            (self.times is None or self.hits < self.times)
            and self.method in ("*", method)
            and fnmatchcase(path, self.path)
        )


class Faults:
    """The faults of an emulator. The first that matches a request, and is not used up, happens."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(
        self,
        method: str,
        path: str,
        *,
        status: int | None = None,
        code: int | None = None,
        retry_after: float | str | None = None,
        delay: float = 0.0,
        drop: bool = False,
        when: Literal["before", "after"] = "before",
        times: int | None = 1,
    ) -> Fault:
        """Add a fault and return it; its `hits` tell how often it happened. See `Fault`."""
        fault = Fault(
            method=method,
            path=path,
            status=status,
            code=code,
            retry_after=retry_after,
            delay=delay,
            drop=drop,
            when=when,
            times=times,
        )
        self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Remove all faults."""
        self._faults.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault that this request meets, and count it."""
        for fault in self._faults:
            if fault.matches(method, path):
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
        body: The body, as it was sent.
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
