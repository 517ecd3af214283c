"""The request log: the latest requests and their responses, bounded in entries and in bytes."""

import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Final, NamedTuple

import attrs

from .faults import Fault
from .patterns import matcher

_MAX_BODY: Final = 256 * 1024
_MAX_BYTES: Final = 16 * 1024 * 1024

_MASK: Final = "***"
_SECRET_JSON: Final = re.compile(
    rb'("(?:auth_token|access_token|client_secret)"\s*:\s*")(?:[^"\\]|\\.)*'
)
_SECRET_FORM: Final = re.compile(rb"((?:^|&)(?:auth_token|access_token|client_secret)=)[^&]*")
_SECRET_HEADERS: Final = frozenset(
    {"authorization", "cookie", "proxy-authorization", "x-twilio-signature"}
)


@attrs.frozen(kw_only=True)
class LogEntry:
    """One request in the log, without credentials.

    Attributes:
        method: The HTTP method.
        path: The path.
        query: The raw query string.
        headers: The headers of the request. Values that contain credentials are masked.
        body: The raw body, its first 256 KiB; empty for token requests, which contain a secret.
            Auth tokens are masked. The log holds 16 MiB: older entries lose headers and bodies.
        account_sid: The authenticated account. None if authentication failed.
        status: The status of the response. None if a fault dropped the connection.
        response_body: The body of the response, as `body`.
        request_id: The `Twilio-Request-Id` of the response.
        time: When the request arrived.
        duration: The time until the response was ready, in seconds.
        fault: The fault that was injected, if any.
        truncated: Whether headers or a body are incomplete.
    """

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    body: bytes = attrs.field(repr=False)
    account_sid: str | None
    status: int | None
    response_body: bytes = attrs.field(default=b"", repr=False)
    request_id: str
    time: datetime
    duration: float
    fault: Fault | None = None
    truncated: bool = False


class Exchange(NamedTuple):
    """What the log keeps of a request. Cheap to make: a `LogEntry` is only made to be read."""

    method: str
    path: str
    query: str
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    account_sid: str | None
    status: int | None
    response_body: bytes
    request_id: str
    timestamp: float
    duration: float
    fault: Fault | None
    truncated: bool = False

    def size(self) -> int:
        return (
            len(self.body)
            + len(self.response_body)
            + len(self.path)
            + len(self.query)
            + sum([len(value) for _, value in self.headers])
        )

    def entry(self) -> LogEntry:
        """Return the entry to read, without credentials."""
        return LogEntry(
            method=self.method,
            path=self.path,
            query=self.query,
            headers=_masked_headers(self.headers),
            body=_masked_body(self.body),
            account_sid=self.account_sid,
            status=self.status,
            response_body=_masked_body(self.response_body),
            request_id=self.request_id,
            time=datetime.fromtimestamp(self.timestamp, UTC),
            duration=self.duration,
            fault=self.fault,
            truncated=self.truncated,
        )


class RequestLog:
    """The latest requests in the order of their responses, oldest first. Safe from any thread.

    Every entry has a number. Numbers count from 1 and continue after `clear`.
    """

    def __init__(self, size: int = 10_000) -> None:
        self._lock = threading.Lock()
        self._exchanges: deque[Exchange] = deque(maxlen=size)
        self._appended = 0
        self._clearances = 0
        self._sizes: deque[int] = deque(maxlen=size)
        self._bytes = 0
        self._stripped = 0  # this many of the oldest entries have lost their bodies
        self._watchers: list[Callable[[], None]] = []

    def __iter__(self) -> Iterator[LogEntry]:
        with self._lock:
            exchanges = list(self._exchanges)
        return (exchange.entry() for exchange in exchanges)

    def __len__(self) -> int:
        return len(self._exchanges)

    def __getitem__(self, index: int) -> LogEntry:
        with self._lock:
            exchange = self._exchanges[index]
        return exchange.entry()

    @property
    def last_number(self) -> int:
        """The number of the latest entry, 0 before the first one."""
        return self._appended

    @property
    def clearances(self) -> int:
        """How often the log was cleared."""
        return self._clearances

    def matching(self, method: str = "*", path: str = "*") -> list[LogEntry]:
        """Return the entries with this method and path, where * matches any characters."""
        matches = matcher(path)
        return [entry for entry in self if method in ("*", entry.method) and matches(entry.path)]

    def after(self, number: int, limit: int | None = None) -> list[tuple[int, LogEntry]]:
        """Return the entries with a higher number, each with its number, oldest first.

        A number beyond the latest entry comes from another emulator: all entries are returned.

        Args:
            number: The number of the last entry that is already known. 0 returns all entries.
            limit: Maximum number of entries. By default, all are returned.
        """
        with self._lock:
            length = len(self._exchanges)
            first = self._appended - length + 1
            start = 0 if number > self._appended else max(number + 1 - first, 0)
            stop = length if limit is None else min(start + limit, length)
            found = list(islice(self._exchanges, start, stop))
        return [(first + start + index, each.entry()) for index, each in enumerate(found)]

    def append(self, exchange: Exchange) -> None:
        """Add a request. A full log drops its oldest entry."""
        if len(exchange.body) > _MAX_BODY or len(exchange.response_body) > _MAX_BODY:
            exchange = exchange._replace(
                body=exchange.body[:_MAX_BODY],
                response_body=exchange.response_body[:_MAX_BODY],
                truncated=True,
            )
        size = exchange.size()
        with self._lock:
            exchanges = self._exchanges
            if len(exchanges) == exchanges.maxlen:
                self._bytes -= self._sizes[0]
                self._stripped = max(self._stripped - 1, 0)
            exchanges.append(exchange)
            self._appended += 1
            self._sizes.append(size)
            self._bytes += size
            while self._bytes > _MAX_BYTES and self._stripped < len(exchanges):
                self._strip()
        for notify in self._watchers:
            notify()

    def clear(self) -> None:
        """Remove all entries."""
        with self._lock:
            self._exchanges.clear()
            self._sizes.clear()
            self._clearances += 1
            self._bytes = self._stripped = 0
        for notify in self._watchers:
            notify()

    def watch(self, notify: Callable[[], None]) -> Callable[[], None]:
        """Call `notify` after every change, in the thread of the change. It must return at once.

        Returns:
            A function that ends the calls.
        """
        self._watchers = [*self._watchers, notify]

        def end() -> None:
            self._watchers = [each for each in self._watchers if each is not notify]

        return end

    def _strip(self) -> None:
        """Drop the bodies and headers of the oldest entry that has them."""
        exchange = self._exchanges[self._stripped]
        stripped = exchange._replace(body=b"", response_body=b"", headers=(), truncated=True)
        self._exchanges[self._stripped] = stripped
        size = stripped.size()
        self._bytes -= self._sizes[self._stripped] - size
        self._sizes[self._stripped] = size
        self._stripped += 1


def _masked_body(body: bytes) -> bytes:
    if b"_token" in body or b"_secret" in body:
        body = _SECRET_JSON.sub(rb"\1***", body)
        body = _SECRET_FORM.sub(rb"\1***", body)
    return body


def _masked_headers(headers: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
    texts = [
        (name.decode(errors="replace"), value.decode(errors="replace")) for name, value in headers
    ]
    return tuple(
        (name, _masked(value)) if name.lower() in _SECRET_HEADERS else (name, value)
        for name, value in texts
    )


def _masked(value: str) -> str:
    scheme = value.partition(" ")[0]
    return f"{scheme} {_MASK}" if scheme.lower() in ("basic", "bearer") else _MASK
