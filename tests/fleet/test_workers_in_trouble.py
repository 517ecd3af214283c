"""What workers do when a job stops, messages overtake each other, or nobody responds."""

import asyncio
import functools
import json
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from support.fleet import DESIRED, INSTALL, Fleet
from support.fleet_workers import connect
from support.local_engine import LocalEngine, LocalLink

from marketplace_async import __version__, fleet
from marketplace_async.fleet import JobEndedError, JobError
from marketplace_async.fleet._executors import portable, tasks
from marketplace_async.fleet._executors.fence import Fence
from marketplace_async.fleet._executors.messages import PROTOCOL, decode, encode
from marketplace_async.fleet._executors.permits import Permits
from marketplace_async.fleet._executors.pieces import Piece
from marketplace_async.fleet._executors.worker import Worker
from marketplace_async.fleet.inventories import ReadAddOns


class Progress:
    """Calls a function whenever an account of `apply` is done."""

    def __init__(self, advanced: Any) -> None:
        self._name = ""
        self._advanced = advanced

    def phase(self, name: str) -> None:
        self._name = name

    def started(self, total: int | None) -> None: ...

    def advanced(self, count: int = 1) -> None:
        if self._name == "apply":
            self._advanced()

    def failed(self, item: object, error: object) -> None: ...

    def counted(self, records: int, stats: object) -> None: ...


@pytest.mark.parametrize("executor", [LocalEngine, lambda: fleet.ProcessExecutor(1)])
async def test_a_stop_starts_no_more_accounts_of_a_shard(
    shops: Fleet, tmp_path: Path, executor: Any
) -> None:
    stop = asyncio.Event()
    shops.emulator.faults.add("POST", "/v1/InstalledAddOns", delay=0.2, times=None)
    source = fleet.Subaccounts(functools.partial(connect, shops.emulator.url, 10.0, 4))
    journal = tmp_path / "journal"
    report = await fleet.apply(
        *(source, fleet.parse(INSTALL)),
        journal=journal,
        approve=lambda _: True,
        executor=executor(),
        stop=stop,
        progress=Progress(stop.set),
    )
    # Two permits for accounts in each of two workers, or eight in one, and as many that follow.
    assert not report.complete
    assert 1 <= report.counts.done <= 20, report.counts
    assert report.counts.not_begun == 41 - report.counts.done
    writes = await asyncio.to_thread(fleet.read_journal, journal)
    assert {one.outcome for one in writes} == {"done"}
    assert len(writes) == report.counts.done == len(shops.writes())
    shops.emulator.faults.clear()
    again = await fleet.apply(
        *(shops.source, fleet.parse(INSTALL)), journal=journal, approve=lambda _: True
    )
    assert (again.plan.steps, again.counts.done) == (41 - report.counts.done, 41)


async def test_an_inventory_that_was_stopped_is_resumed(shops: Fleet, tmp_path: Path) -> None:
    stop = asyncio.Event()
    file = tmp_path / "x.jsonl"

    class Stopping(Progress):
        def phase(self, name: str) -> None:
            self._name = "apply"

    source = fleet.Subaccounts(functools.partial(connect, shops.emulator.url, 10.0, 4))
    shops.emulator.faults.add("GET", "/v1/InstalledAddOns", delay=0.1, times=None)
    report = await fleet.inventory(
        source, file, executor=LocalEngine(), stop=stop, progress=Stopping(stop.set)
    )
    assert 0 < report.counts.done < 41
    assert report.counts.not_begun > 0
    shops.emulator.faults.clear()
    report = await fleet.inventory(shops.source, file, executor=LocalEngine(), resume=True)
    assert (report.accounts, report.records, report.complete) == (41, 40, True)


class Silent(LocalLink):
    """A worker that does not respond when it opens a job."""

    async def tell(self, message: bytes) -> bytes:
        if json.loads(message)["op"] == "open":
            await asyncio.Event().wait()
        return await super().tell(message)


async def test_a_worker_that_never_opens_the_job_is_given_up(shops: Fleet, tmp_path: Path) -> None:
    class Engine(LocalEngine):
        link: ClassVar[type[LocalLink]] = Silent

    engine = Engine(1)
    engine.patience = 1.0
    async with asyncio.timeout(15):
        with pytest.raises(JobError, match=r"no worker has been available for 1 seconds"):
            await fleet.inventory(shops.source, tmp_path / "x.jsonl", executor=engine)


class Malformed(LocalLink):
    """A worker whose messages about shards are replaced."""

    reply: ClassVar[bytes] = b""

    async def work(self, message: bytes) -> AsyncGenerator[bytes, None]:
        async for _ in super().work(message):
            yield self.reply


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        '{"results":[1]}',
        '{"results":[{"sid":1}]}',
        '{"clock":1}',
        '{"late":[}',
    ],
)
async def test_a_worker_that_sends_nonsense_is_unfit(
    shops: Fleet, tmp_path: Path, text: str
) -> None:
    class Link(Malformed):
        reply: ClassVar[bytes] = text.encode()

    class Engine(LocalEngine):
        link: ClassVar[type[LocalLink]] = Link

    with pytest.raises(JobEndedError, match="it sent a malformed message") as caught:
        await fleet.inventory(shops.source, tmp_path / "x.jsonl", executor=Engine())
    report = caught.value.report
    assert report.counts.done == 0
    assert all("malformed" in (one.unfit or "") for one in report.workers)


async def test_a_lost_worker_does_not_hold_up_the_others(shops: Fleet, tmp_path: Path) -> None:
    # After the loss, its accounts wait for its lease and for as long as an attempt may take.
    engine = LocalEngine()
    engine.lease = 4.0  # a busy machine must not end the leases of the others
    done: list[float] = []
    source = fleet.Subaccounts(functools.partial(connect, shops.emulator.url, 2.0))

    def approve(_: object) -> bool:
        engine.lose_results = True
        return True

    start = time.monotonic()
    report = await fleet.apply(
        *(source, fleet.parse(INSTALL)),
        journal=tmp_path / "journal",
        approve=approve,
        executor=engine,
        progress=Progress(lambda: done.append(time.monotonic() - start)),
    )
    assert report.counts.done == 41
    assert sum(one < done[-1] - 1.0 for one in done) >= 20


async def test_small_fleets_use_all_workers(shops: Fleet, tmp_path: Path) -> None:
    engine = LocalEngine(4, shard_size=250)
    report = await fleet.inventory(shops.source, tmp_path / "x.jsonl", executor=engine)
    assert report.records == 40
    assert sum(1 for one in report.workers if one.accounts) >= 3


def test_pieces_have_about_the_same_size() -> None:
    targets = {str(number): fleet.Target(str(number)) for number in range(100)}
    piece = Piece(targets, fleet.Approved(), "page")
    for count, sizes in ((1, [100]), (3, [34, 34, 32]), (7, [15] * 6 + [10]), (50, [10] * 10)):
        parts = list(piece.split(count))
        assert [len(part.targets) for part in parts] == sizes
        assert [sid for part in parts for sid in part.targets] == list(targets)


async def test_permits_follow_their_number() -> None:
    permits = Permits(1)
    held = 0
    most = 0
    release = asyncio.Event()

    async def hold() -> None:
        nonlocal held, most
        async with permits:
            held += 1
            most = max(most, held)
            await release.wait()
            held -= 1

    holding = [asyncio.create_task(hold()) for _ in range(20)]
    await asyncio.sleep(0)
    assert held == 1
    permits.resize(5)
    await asyncio.sleep(0.01)
    assert held == 5
    permits.resize(2)
    permits.resize(3)
    release.set()
    await asyncio.gather(*holding)
    assert most == 5
    permits.resize(9)
    permits.resize(3)  # while nothing holds a permit
    release.clear()
    most = 0
    holding = [asyncio.create_task(hold()) for _ in range(20)]
    await asyncio.sleep(0.01)
    assert held == most == 3
    release.set()
    await asyncio.gather(*holding)


async def opening(shops: Fleet, **changes: Any) -> bytes:
    async with shops.source.open() as connection:
        identity = await connection.identity(accounts=True)
    return encode(
        {
            "op": "open",
            "protocol": PROTOCOL,
            "version": __version__,
            "job": "j",
            "source": portable.describe(shops.source),
            "identity": identity,
            "account": None,
            "task": tasks.describe(ReadAddOns(False)),
            "account_timeout": None,
            "lease": 0.5,
            "number": 1,
            "concurrency": 4,
            "requests_per_second": None,
            **changes,
        }
    )


def renewal(number: int, concurrency: int) -> bytes:
    return encode(
        {
            "op": "renew",
            "job": "j",
            "clock": Fence.clock(),
            "number": number,
            "concurrency": concurrency,
            "requests_per_second": None,
        }
    )


async def test_a_share_that_was_overtaken_is_ignored(shops: Fleet) -> None:
    worker = Worker()
    assert "clock" in decode(await worker.tell(await opening(shops)))
    for number, concurrency, expected in ((3, 2, 2), (2, 9, 2), (4, 5, 5), (3, 7, 5)):
        assert "clock" in decode(await worker.tell(renewal(number, concurrency)))
        assert worker._opened["j"].connection.limits == (expected, None)
    await worker.aclose()


async def test_a_job_that_is_opened_twice_at_once_stays_open(shops: Fleet) -> None:
    worker = Worker()
    message = await opening(shops, lease=0.1)
    shops.emulator.faults.add("GET", "*", delay=0.2, times=1)
    replies = await asyncio.gather(worker.tell(message), worker.tell(message))
    assert all("clock" in decode(reply) for reply in replies)
    # A job that sends nothing is closed after four leases, here 0.4 seconds.
    for number in range(12):
        await asyncio.sleep(0.05)
        assert "clock" in decode(await worker.tell(renewal(number, 4)))
    assert len(worker._opened) == 1
    await worker.aclose()


async def test_a_job_that_ends_while_it_is_opened_does_not_stay_open(shops: Fleet) -> None:
    worker = Worker()
    message = await opening(shops)
    shops.emulator.faults.add("GET", "*", delay=0.3, times=1)
    opened = asyncio.create_task(worker.tell(message))
    await asyncio.sleep(0.1)
    await worker.tell(encode({"op": "end", "job": "j"}))
    assert "gone" in decode(await opened)
    assert not worker._opened


async def test_a_lease_that_ends_while_a_page_is_read_is_no_loss(
    shops: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = 0
    read_page = fleet.Connection.read_page

    async def late(self: Any, link: str, sids: Any) -> None:
        nonlocal ended
        if self._request_check is not None and ended < 3:
            ended += 1
            self._request_check.__self__._until = 0.0
        await read_page(self, link, sids)

    monkeypatch.setattr(fleet.Connection, "read_page", late)
    monkeypatch.setenv("TEST_API_TOKEN", "very-secret")
    desired = fleet.parse(DESIRED.replace('"very-secret"', '{ env = "TEST_API_TOKEN" }'))
    report = await fleet.apply(
        *(fleet.Subaccounts(functools.partial(connect, shops.emulator.url, 1.0)), desired),
        journal=tmp_path / "journal",
        approve=lambda _: True,
        executor=LocalEngine(),
    )
    assert ended == 3
    assert report.writes == {"done": report.plan.steps}
    assert not any(one.lost for one in report.workers)
