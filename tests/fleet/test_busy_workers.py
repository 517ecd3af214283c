"""Workers that are busy, slow to open a job, or fail while they hold a shard."""

import asyncio
import functools
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import ClassVar

import pytest
from support.fleet import INSTALL, Fleet
from support.fleet_workers import connect
from support.local_engine import LocalEngine, LocalLink

from marketplace_async import fleet
from marketplace_async.fleet import JobEndedError, WorkerLostError
from marketplace_async.fleet._executors.links import NotBegunError


class Busy(LocalLink):
    """A worker that begins no shard until the engine says so."""

    async def work(self, message: bytes) -> AsyncGenerator[bytes, None]:
        if self.name in self.engine.busy:
            raise NotBegunError(f"{self.name} is busy")
        async for reply in super().work(message):
            yield reply


class BusyEngine(LocalEngine):
    link: ClassVar[type[LocalLink]] = Busy


async def test_shards_that_a_busy_worker_did_not_begin_go_to_others(
    shops: Fleet, tmp_path: Path
) -> None:
    engine = BusyEngine()
    engine.busy = {"worker 0"}
    report = await fleet.apply(
        *(shops.source, fleet.parse(INSTALL)),
        journal=tmp_path / "journal",
        approve=lambda _: True,
        executor=engine,
    )
    assert report.writes == {"done": 41}
    assert {one.name: one.accounts for one in report.workers} == {"worker 0": 0, "worker 1": 82}
    writes = await asyncio.to_thread(fleet.read_journal, tmp_path / "journal")
    assert {one.handouts for one in writes} == {1}


async def test_a_job_whose_workers_stay_busy_ends_after_its_patience(
    shops: Fleet, tmp_path: Path
) -> None:
    engine = BusyEngine()
    engine.busy = {"worker 0", "worker 1"}
    engine.patience = 2.0
    async with asyncio.timeout(15):
        with pytest.raises(JobEndedError, match=r"for 2 seconds; worker [01] is busy"):
            await fleet.inventory(shops.source, tmp_path / "x.jsonl", executor=engine)


class OneAtATime(LocalLink):
    """A worker with one thread: a second shard does not begin while the first one runs."""

    is_active: ClassVar[bool] = False

    async def work(self, message: bytes) -> AsyncGenerator[bytes, None]:
        if OneAtATime.is_active:
            await asyncio.sleep(0.2)
            raise NotBegunError(f"{self.name} is busy")
        OneAtATime.is_active = True
        try:
            yield b'{"begun":true}'
            async for reply in super().work(message):
                yield reply
        finally:
            OneAtATime.is_active = False


async def test_a_worker_that_is_busy_with_this_job_is_waited_for(
    shops: Fleet, tmp_path: Path
) -> None:
    class Engine(LocalEngine):
        link: ClassVar[type[LocalLink]] = OneAtATime

    engine = Engine(1, shard_size=50)
    engine.patience = 1.0
    shops.emulator.faults.add("GET", "/v1/InstalledAddOns", delay=2.0, times=41)
    report = await fleet.inventory(shops.source, tmp_path / "x.jsonl", executor=engine)
    assert report.counts.done == 41


async def test_a_job_can_be_stopped_while_all_workers_are_busy(
    shops: Fleet, tmp_path: Path
) -> None:
    engine = BusyEngine(1)
    engine.busy = {"worker 0"}
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(0.3, stop.set)
    async with asyncio.timeout(5):
        report = await fleet.inventory(
            shops.source, tmp_path / "x.jsonl", executor=engine, stop=stop
        )
    assert (report.complete, report.counts.not_begun) == (False, 41)


def stall(seconds: float) -> None:
    """Keep the event loop from running, as a busy machine does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@pytest.mark.parametrize("stalled", [0.0, 0.6])
async def test_accounts_that_certainly_did_not_begin_are_not_unknown(
    shops: Fleet, tmp_path: Path, stalled: float
) -> None:
    # After the stall, the worker has rested, and the patience of the job has ended.
    engine = BusyEngine(1)
    engine.patience = 0.5
    journal = tmp_path / "journal"

    loop = asyncio.get_running_loop()

    def approve(_: object) -> bool:
        engine.busy = {"worker 0"}
        loop.call_soon_threadsafe(loop.call_later, 0.2, stall, stalled)
        return True

    with pytest.raises(JobEndedError, match="is busy") as caught:
        await fleet.apply(
            *(shops.source, fleet.parse(INSTALL)),
            journal=journal,
            approve=approve,
            executor=engine,
        )
    assert caught.value.report.counts.unknown == 0
    assert await asyncio.to_thread(fleet.read_journal, journal) == ()
    assert shops.writes() == []


class Slow(LocalLink):
    """A worker that takes a second to open a job."""

    async def tell(self, message: bytes) -> bytes:
        if json.loads(message)["op"] == "open":
            await asyncio.sleep(1.0)
        return await super().tell(message)


async def test_a_worker_may_take_its_time_to_open_a_job(shops: Fleet, tmp_path: Path) -> None:
    class Engine(LocalEngine):
        link: ClassVar[type[LocalLink]] = Slow

    engine = Engine(1)
    engine.patience = 0.5  # less than the lease, which it may take to open the job
    report = await fleet.inventory(shops.source, tmp_path / "x.jsonl", executor=engine)
    assert report.counts.done == 41


class Stuck(LocalLink):
    """The first worker begins a shard, sends nothing about it, and then malformed messages."""

    suspected: ClassVar[asyncio.Event]

    async def tell(self, message: bytes) -> bytes:
        is_renewal = json.loads(message)["op"] == "renew"
        if self.name == "worker 0" and is_renewal and self.engine.handed_out:
            return b"[]"
        return await super().tell(message)

    async def work(self, message: bytes) -> AsyncGenerator[bytes, None]:
        if self.name == "worker 0":
            self.engine.handed_out["worker 0"] += 1
            await self.suspected.wait()
            raise WorkerLostError("it does not respond")
        async for reply in super().work(message):
            yield reply

    def suspect(self) -> None:
        self.suspected.set()


async def test_a_worker_that_becomes_unfit_releases_its_shards(
    shops: Fleet, tmp_path: Path
) -> None:
    class Link(Stuck):
        suspected: ClassVar[asyncio.Event] = asyncio.Event()

    class Engine(LocalEngine):
        link: ClassVar[type[LocalLink]] = Link

    async with asyncio.timeout(20):
        report = await fleet.inventory(shops.source, tmp_path / "x.jsonl", executor=Engine())
    assert report.counts.done == 41
    unfit = {one.name: one.unfit for one in report.workers if one.unfit}
    assert list(unfit) == ["worker 0"]
    assert "malformed" in str(unfit)


class Forgetful(LocalLink):
    """A worker that cannot be reached once."""

    failures: ClassVar[Counter[str]]

    async def tell(self, message: bytes) -> bytes:
        if json.loads(message)["op"] == "renew" and self.failures["wanted"] > 0:
            self.failures["wanted"] -= 1
            raise WorkerLostError("it cannot be reached")
        return await super().tell(message)


async def test_requests_before_a_loss_are_counted(shops: Fleet, tmp_path: Path) -> None:
    class Link(Forgetful):
        failures: ClassVar[Counter[str]] = Counter()

    class Engine(LocalEngine):
        link: ClassVar[type[LocalLink]] = Link

    def approve(_: object) -> bool:
        Link.failures["wanted"] = 1
        return True

    shops.emulator.faults.add("GET", "/v1/InstalledAddOns", delay=0.3, times=None)
    source = fleet.Subaccounts(functools.partial(connect, shops.emulator.url, 1.0))
    shops.emulator.log.clear()
    report = await fleet.apply(
        *(source, fleet.parse(INSTALL)),
        journal=tmp_path / "journal",
        approve=approve,
        executor=Engine(1),
    )
    assert report.counts.done == 41
    (worker,) = report.workers
    # The others are those of the driver: five pages, the offer, and the like.
    assert len(shops.emulator.log) - 30 <= worker.sent <= len(shops.emulator.log)
