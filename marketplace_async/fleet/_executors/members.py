"""The dispatcher's view of a worker: its lease, its share and its counters."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import attrs
import msgspec

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
        busy: Why it did not begin the last piece that it received. None if it did.
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
        """The request counters of the whole run, including those before a restart."""
        return total(self._earlier_stats, self.stats)

    @property
    def is_available(self) -> bool:
        """Whether it is processing a piece, or could start one now."""
        is_free = self.busy is None or any(piece.has_begun for piece in self.running)
        return self.is_fit and self.is_usable and is_free

    def rest(self, reason: str, seconds: float) -> None:
        """Give it no pieces for a while, because it did not begin the last one."""
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
            counts = msgspec.convert(message["stats"], dict[str, int])
            stats = Stats(**counts)  # type: ignore[arg-type]  # counters only, no `of_account`
            self._worker_time, self._arrival = float(message["clock"]), monotonic()
            self.stats = stats
        if "unfit" in message:
            self._refuse(str(message["unfit"]))
        if "gone" in message:
            # The worker was restarted: whatever it was doing has ended.
            self.lost = WorkerLostError("it was restarted", is_certain=True)

    async def open(self, message: Message, limits: Limits, seconds: float) -> None:
        """Open the job. Sets `is_fit`, `unfit` or `lost`."""
        self._earlier_stats, self.stats = self.total_stats, Stats()
        try:
            async with asyncio.timeout(seconds):
                await self._tell({**message, **self._share_of(limits)})
        except TimeoutError:
            self.link.suspect()
            self.lost = WorkerLostError(f"it did not open the job within {seconds:g} seconds")
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
        """Give up on the worker if the block cannot read one of its messages."""
        try:
            yield
        except (ValueError, TypeError, LookupError, ArithmeticError, MarketplaceError) as error:
            self._refuse(f"it sent a malformed message: {type(error).__name__}: {error}")

    def _refuse(self, reason: str) -> None:
        self.unfit = reason
        if self.is_fit:
            # What it has done since it opened the job is unknown.
            self.lost = self.lost or WorkerLostError(reason)

    def _share_of(self, limits: Limits) -> dict[str, Any]:
        # Messages can overtake each other: the number tells which share is the latest.
        self._number += 1
        return {
            "number": self._number,
            "concurrency": self.share,
            "requests_per_second": limits.rate_of(self.share),
        }
