"""Shards whose worker was lost, with an engine that loses workers on command."""

import asyncio
import functools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.fleet import INSTALL, Fleet, lines
from support.fleet_workers import connect
from support.local_engine import LocalEngine

from marketplace_async import fleet
from marketplace_async.cli.progress import Bar
from marketplace_async.fleet import Connection, JobEndedError, JobError
from marketplace_async.fleet._engine.shards import Job, Shard
from marketplace_async.fleet._executors.fence import Fence
from marketplace_async.fleet._executors.pieces import Piece, Waiting
from marketplace_async.fleet._executors.sessions import RemoteSession
from marketplace_async.fleet.inventories import ReadAddOns


async def test_what_a_lost_worker_did_not_finish_is_handed_out_again(
    shops: Fleet, tmp_path: Path
) -> None:
    engine = LocalEngine()
    engine.lose_after = 2
    bar = Bar()
    report = await fleet.inventory(
        shops.source, tmp_path / "x.jsonl", executor=engine, progress=bar
    )
    assert "2 workers" in " ".join(text for _, text, _ in bar._parts(41, 41, None))
    assert (report.accounts, report.records, report.complete) == (41, 40, True)
    assert sum(worker.accounts for worker in report.workers) == 41
    assert [worker.name for worker in report.workers if worker.lost] == ["worker 0"] or [
        worker.name for worker in report.workers if worker.lost
    ] == ["worker 1"]
    assert len(lines(tmp_path / "x.jsonl")) == 40


async def test_an_account_that_ends_its_workers_fails_alone(shops: Fleet, tmp_path: Path) -> None:
    engine = LocalEngine()
    engine.poison = shops.shops[7][0]
    report = await fleet.inventory(shops.source, tmp_path / "x.jsonl", executor=engine)
    assert (report.counts.done, report.counts.failed) == (40, 1)
    (failure,) = report.failures.first
    assert (failure.account_sid, failure.error) == (engine.poison, "WorkerLostError")
    assert failure.message.startswith("3 workers were lost while processing this account")
    assert engine.handed_out[engine.poison] == 3


async def test_a_write_of_a_lost_worker_counts_as_done(shops: Fleet, tmp_path: Path) -> None:
    engine = LocalEngine(1)

    def approve(_: object) -> bool:
        engine.lose_results = True
        return True

    # The accounts of a lost worker are not handed out again before its requests have ended.
    source = fleet.Subaccounts(functools.partial(connect, shops.emulator.url, 1.0))
    report = await fleet.apply(
        source,
        fleet.parse(INSTALL),
        journal=tmp_path / "journal",
        approve=approve,
        executor=engine,
    )
    assert report.counts.done == 41
    assert report.writes == {"done": report.plan.steps}
    created = [one for one in shops.writes() if one == "POST /v1/InstalledAddOns"]
    assert len(created) == 41
    writes = await asyncio.to_thread(fleet.read_journal, tmp_path / "journal")
    messages = {one.message for one in writes}
    assert messages == {None, "already done by a lost worker of this run"}
    # The number of handouts depends on the load of the machine: each late lease adds one.
    assert all(one.handouts > 1 for one in writes if one.message is not None)
    assert min(one.handouts for one in writes) == 1


async def test_a_job_without_a_fit_worker_says_why(shops: Fleet, tmp_path: Path) -> None:
    engine = LocalEngine(2)
    engine.version = "0.0.1"
    file = tmp_path / "x.jsonl"
    with pytest.raises(JobError, match=r"no worker can do this job: worker 0: it has version"):
        await fleet.inventory(shops.source, file, executor=engine)
    assert not await asyncio.to_thread(file.exists)
    engine = LocalEngine(0)
    engine.patience = 0.1
    with pytest.raises(JobError, match=r"no worker has been available for 0\.1 seconds"):
        await fleet.inventory(shops.source, file, executor=engine)


async def test_pages_are_read_again_and_accounts_are_not_fetched(
    shops: Fleet, tmp_path: Path
) -> None:
    before = len(shops.emulator.log)
    report = await fleet.inventory(shops.source, tmp_path / "x.jsonl", executor=LocalEngine())
    assert report.records == 40
    paths = Counter(f"{one.method} {one.path}" for one in list(shops.emulator.log)[before:])
    assert paths["GET /v1/InstalledAddOns"] == 41
    # The job reads five pages, and a worker reads each again. Each worker checks its credentials.
    assert paths["GET /2010-04-01/Accounts.json"] <= 5 + 5 + 2
    assert set(paths) == {"GET /v1/InstalledAddOns", "GET /2010-04-01/Accounts.json"}


async def test_the_limits_are_those_of_the_client_again_after_the_job(
    shops: Fleet, tmp_path: Path
) -> None:
    seen: list[tuple[int, float | None]] = []
    limits_of: list[Connection] = []

    class Engine(LocalEngine):
        @asynccontextmanager
        async def open(self, connection: Connection) -> AsyncIterator[RemoteSession]:
            limits_of.append(connection)
            async with super().open(connection) as session:
                yield session
                seen.append(connection.limits)

    await fleet.inventory(shops.source, tmp_path / "x.jsonl", executor=Engine())
    assert seen == [(64, None)]


async def test_a_job_that_ends_early_leaves_nothing_running(shops: Fleet, tmp_path: Path) -> None:
    shops.emulator.faults.add("GET", "/v1/InstalledAddOns", delay=30)
    engine = LocalEngine()
    abort = asyncio.Event()
    asyncio.get_running_loop().call_later(0.5, abort.set)
    report = await fleet.inventory(shops.source, tmp_path / "x.jsonl", executor=engine, abort=abort)
    assert not report.complete
    assert all(not link.worker._opened for link in engine.all)


async def test_a_run_that_is_left_before_it_began_leaves_no_coroutine(shops: Fleet) -> None:
    async def no_shards() -> AsyncIterator[Shard]:
        none: tuple[Shard, ...] = ()
        for shard in none:
            yield shard

    async with shops.source.open() as connection, LocalEngine().open(connection) as session:
        # A coroutine that is never awaited fails the test.
        async with session.run(Job(ReadAddOns(False)), no_shards()):
            pass


async def test_a_lease_ends_unless_the_job_extends_it() -> None:
    ended = asyncio.Event()
    fence = Fence(0.2, ended.set)
    assert not fence.is_open
    with pytest.raises(asyncio.CancelledError):
        fence.check()
    fence.extend(fence.clock() - 1.0)  # a delayed message
    assert not fence.is_open
    fence.extend(fence.clock())
    fence.check()
    await ended.wait()
    assert not fence.is_open


def test_accounts_of_a_shard_are_tried_alone_before_any_fails() -> None:
    targets = {str(number): fleet.Target(str(number)) for number in range(3)}
    piece = Piece(targets, fleet.Approved(), None)
    assert list(piece.after_loss()) == [piece]
    assert not piece.is_alone
    parts = list(piece.after_loss())
    assert [list(part.targets) for part in parts] == [["0"], ["1"], ["2"]]
    assert all(part.is_alone and not part.has_failed for part in parts)
    waiting = Waiting()
    waiting.add(parts)
    assert waiting.next(0.0, alone=False) is None
    first = waiting.next(0.0, alone=True)
    assert first is parts[0]
    (failed,) = first.after_loss()
    assert failed.has_failed


async def test_a_lost_engine_ends_the_job_with_its_report(shops: Fleet, tmp_path: Path) -> None:
    class Engine(LocalEngine):
        async def changed(self) -> None:
            while self.replies < 1:
                await asyncio.sleep(0.01)
            raise JobError("the cluster was lost")

    with pytest.raises(JobEndedError, match="the cluster was lost") as caught:
        await fleet.inventory(shops.source, tmp_path / "x.jsonl", executor=Engine())
    report = caught.value.report
    assert report.counts.accounts == 41
    assert 0 < report.counts.done <= 41
    report = await fleet.inventory(shops.source, tmp_path / "x.jsonl", resume=True)
    assert (report.accounts, report.records) == (41, 40)
