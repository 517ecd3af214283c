"""A worker as the dispatcher sees it: its lease, its share and what it did."""

import asyncio
from contextlib import suppress
from typing import Any

import attrs

from ..._core.clocks import monotonic
from ..._core.limiter import Stats
from .links import Link, WorkerLostError
from .messages import Message, decode, encode
from .pieces import Piece
from .reports import WorkerReport
from .shares import Limits


@attrs.define(eq=False)
class Member:
    """One worker of a run.

    Attributes:
        key: Its name among all workers, present and past.
        link: The link to it.
        share: Its part of the permits.
        is_fit: Whether it has opened the job.
        unfit: Why it cannot do the job.
        lost: How it was lost.
        running: The pieces that it processes.
        stats: Its request counters.
        shards: Number of shards that it finished.
        accounts: Number of accounts with a result.
    """

    key: str
    link: Link
    share: int = 0
    is_fit: bool = False
    unfit: str | None = None
    lost: WorkerLostError | None = None
    running: set[Piece] = attrs.field(factory=set)
    stats: Stats = attrs.field(factory=Stats)
    shards: int = 0
    accounts: int = 0
    # The latest time that the worker told, on its own clock, and when it was heard here.
    _told: float = 0.0
    _heard: float = 0.0
    # Until when it may write, on the clock of this process, at the latest.
    lease_until: float = 0.0

    @property
    def is_usable(self) -> bool:
        """Whether it can take shards, or may soon."""
        return self.unfit is None and self.lost is None

    @property
    def has_capacity(self) -> bool:
        """Whether it can take another shard now."""
        return (
            self.is_fit
            and self.is_usable
            and len(self.running) < self.link.capacity
            and not any(piece.is_alone for piece in self.running)
        )

    def report(self) -> WorkerReport:
        """Return what it did."""
        return WorkerReport(
            name=self.link.name,
            shards=self.shards,
            accounts=self.accounts,
            sent=self.stats.sent,
            throttled=self.stats.throttled,
            unfit=self.unfit,
            lost=None if self.lost is None else self.lost.reason,
        )

    def lease(self, seconds: float) -> float:
        """Return the time to extend the lease from. Notes how long it may last then."""
        self.lease_until = max(self.lease_until, self._heard + seconds)
        return self._told

    def heard(self, message: Message) -> None:
        """Take the clock and the request counters from a message of the worker."""
        if "clock" in message:
            self._told, self._heard = message["clock"], monotonic()
            self.stats = Stats(**message["stats"])
        if "unfit" in message:
            self.unfit = message["unfit"]
        if "gone" in message:
            # It was started again: whatever it was doing has ended.
            self.lost = WorkerLostError("it was restarted", is_certain=True)

    async def open(self, message: Message, limits: Limits) -> None:
        """Open the job. Sets `is_fit`, `unfit` or `lost`."""
        await self._tell({**message, **self._share_of(limits)})
        self.is_fit = self.is_usable

    async def renew(self, job: str, limits: Limits, seconds: float) -> None:
        """Extend the lease, and tell the share."""
        clock = self.lease(seconds)
        await self._tell({"op": "renew", "job": job, "clock": clock, **self._share_of(limits)})

    async def end(self, job: str, seconds: float) -> None:
        """End the job on the worker, if it responds in time."""
        with suppress(WorkerLostError, TimeoutError):
            async with asyncio.timeout(seconds):
                await self.link.tell(encode({"op": "end", "job": job}))

    async def _tell(self, message: Message) -> None:
        try:
            self.heard(decode(await self.link.tell(encode(message))))
        except WorkerLostError as error:
            self.lost = error

    def _share_of(self, limits: Limits) -> dict[str, Any]:
        return {
            "concurrency": self.share,
            "requests_per_second": limits.rate_of(self.share),
        }
