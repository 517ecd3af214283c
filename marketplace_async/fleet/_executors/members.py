"""The dispatcher's view of a worker: its lease, its share and its counters."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import attrs

from ..._core.clocks import monotonic
from ..._core.limiter import Stats
from ...errors import MarketplaceError
from .links import Link, WorkerLostError
from .messages import Message, decode, encode, total
from .pieces import Piece
from .reports import WorkerReport
from .shares import Limits


@attrs.define(eq=False)
class Member:
    """One worker of a run.

    Attributes:
        key: Its name, which is unique among all workers, past and present.
        link: The link to it.
        share: Its share of the permits.
        is_fit: Whether it has opened the job.
        unfit: Why it cannot do the job.
        lost: Why it was lost.
        busy: Why it did not begin the last piece that it got. None if it did.
        running: The pieces that it is processing.
        stats: Its request counters since it last opened the job.
        shards: Number of shards that it finished.
        accounts: Number of accounts with a result.
        lease_until: The latest time at which it may write, on the clock of this process.
    """

    key: str
    link: Link
    share: int = 0
    is_fit: bool = False
    unfit: str | None = None
    lost: WorkerLostError | None = None
    busy: str | None = None
    running: set[Piece] = attrs.field(factory=set)
    stats: Stats = attrs.field(factory=Stats)
    shards: int = 0
    accounts: int = 0
    _number: int = 0
    _rests_until: float = 0.0
    _earlier_stats: Stats = attrs.field(factory=Stats)
    # The latest time that the worker reported, on its own clock, and when the report arrived.
    _worker_time: float = 0.0
    _arrival: float = 0.0
    lease_until: float = 0.0

    @property
    def is_usable(self) -> bool:
        """Whether it can process shards, or may be able to soon."""
        return self.unfit is None and self.lost is None

    @property
    def has_capacity(self) -> bool:
        """Whether it can process another shard now."""
        return (
            self.is_fit
            and self.is_usable
            and len(self.running) < self.link.capacity
            and (self.busy is None or monotonic() >= self._rests_until)
            and not any(piece.is_alone for piece in self.running)
        )

    @property
    def total_stats(self) -> Stats:
        """The request counters of the whole run, also if the worker was restarted."""
        return total(self._earlier_stats, self.stats)

    @property
    def is_available(self) -> bool:
        """Whether it processes shards, or would at once."""
        return self.is_fit and self.is_usable and self.busy is None

    def rest(self, reason: str, seconds: float) -> None:
        """Give it no piece for some time, because it did not begin one."""
        self.busy = reason
        self._rests_until = monotonic() + seconds

    def report(self) -> WorkerReport:
        """Return its report."""
        return WorkerReport(
            name=self.link.name,
            shards=self.shards,
            accounts=self.accounts,
            sent=self.total_stats.sent,
            throttled=self.total_stats.throttled,
            unfit=self.unfit,
            lost=None if self.lost is None else self.lost.reason,
        )

    def lease(self, seconds: float) -> float:
        """Return the start of a new lease, on the worker's clock. Updates `lease_until`."""
        self.lease_until = max(self.lease_until, self._arrival + seconds)
        return self._worker_time

    def update(self, message: Message) -> None:
        """Update the clock, the request counters and the state from a message of the worker."""
        if "clock" in message:
            stats = Stats(**message["stats"])
            self._worker_time, self._arrival = float(message["clock"]), monotonic()
            self.stats = stats
        if "unfit" in message:
            self.unfit = message["unfit"]
        if "gone" in message:
            # The worker was restarted: whatever it was doing has ended.
            self._earlier_stats, self.stats = self.total_stats, Stats()
            self.lost = WorkerLostError("it was restarted", is_certain=True)

    async def open(self, message: Message, limits: Limits, seconds: float) -> None:
        """Open the job. Sets `is_fit`, `unfit` or `lost`."""
        try:
            async with asyncio.timeout(seconds):
                await self._tell({**message, **self._share_of(limits)})
        except TimeoutError:
            self.link.suspect()
            reason = f"it did not open the job within {seconds:g} seconds"
            self.lost = self.link.lost or WorkerLostError(reason)
        self.is_fit = self.is_usable

    async def stop(self, job: str) -> None:
        """Start no more accounts of the shards that it has."""
        await self._tell({"op": "stop", "job": job})

    async def renew(self, job: str, limits: Limits, seconds: float) -> None:
        """Extend the lease, and send the current share."""
        clock = self.lease(seconds)
        await self._tell({"op": "renew", "job": job, "clock": clock, **self._share_of(limits)})

    async def end(self, job: str, seconds: float) -> None:
        """End the job on the worker, if it responds in time."""
        with suppress(WorkerLostError, TimeoutError):
            async with asyncio.timeout(seconds):
                await self.link.tell(encode({"op": "end", "job": job}))

    async def _tell(self, message: Message) -> None:
        try:
            response = await self.link.tell(encode(message))
        except WorkerLostError as error:
            self.lost = error
            return
        with self.reading():
            self.update(decode(response))

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Give the worker up if the block cannot read one of its messages."""
        try:
            yield
        except (ValueError, TypeError, LookupError, MarketplaceError) as error:
            self.unfit = f"it sent a malformed message: {type(error).__name__}: {error}"
            # It is not known what it did.
            self.lost = self.lost or WorkerLostError(self.unfit)

    def _share_of(self, limits: Limits) -> dict[str, Any]:
        # Messages can overtake each other: the number tells which share is the latest.
        self._number += 1
        return {
            "number": self._number,
            "concurrency": self.share,
            "requests_per_second": limits.rate_of(self.share),
        }
