"""Workers that go on after the process of their job has died, and the run that comes next."""

import asyncio
import functools
import sqlite3
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from support.fleet import SPAM_SCORE_FOR_ALL, Fleet
from support.fleet_workers import connect
from support.local_engine import LocalEngine, LocalLink

from marketplace_async import fleet
from marketplace_async._core.tasks import cancelled, create_task
from marketplace_async.cli.progress import Bar
from marketplace_async.fleet import Connection, WorkerLostError
from marketplace_async.fleet._engine.entries import Write
from marketplace_async.fleet._engine.journal import Journal
from marketplace_async.fleet._executors.sessions import RemoteSession
from marketplace_async.fleet.steps import AccountPlan, Step

DESIRED = fleet.parse(SPAM_SCORE_FOR_ALL)
PART = fleet.Part(limit=12)
# The lease of the local engine, and the timeout of an attempt.
LEASE, ATTEMPT = 1.5, 1.0


@attrs.define(eq=False)
class OrphanLink(LocalLink):
    """A link to a worker that processes its shards to their end, even if the link is cut."""

    async def work(self, message: bytes) -> AsyncGenerator[bytes, None]:
        replies: asyncio.Queue[bytes | None] = asyncio.Queue()

        async def process() -> None:
            async with aclosing(self.worker.work(message)) as messages:
                async for reply in messages:
                    replies.put_nowait(reply)
            replies.put_nowait(None)

        assert isinstance(self.engine, OrphanEngine)
        self.engine.tasks.append(create_task(process()))
        if b'"install"' in message:
            self.engine.writing.set()
        while (reply := await replies.get()) is not None:
            yield reply


class OrphanEngine(LocalEngine):
    """Workers that outlive their job, like those of a cluster."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []
        self.writing = asyncio.Event()
        super().__init__()

    def add_worker(self) -> None:
        link = OrphanLink(f"worker {len(self.all)}", self)
        self.all.append(link)
        self.links[link.name] = link
        self.event.set()

    @asynccontextmanager
    async def open(self, connection: Connection) -> AsyncIterator[RemoteSession]:
        yield RemoteSession(connection, self, lease=LEASE, patience=self.patience)

    def cut(self) -> None:
        """Cut the links: no message reaches the workers any more."""
        for link in self.all:
            link.lost = WorkerLostError("cut", is_certain=False)

    async def aclose(self) -> None:
        await cancelled(*self.tasks)
        for link in self.all:
            await link.worker.aclose()


class Waits(Bar):
    """A progress that records for how long a job waits."""

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        super().__init__(shows=False)
        self.seconds: list[float] = []
        self.then = then

    def waiting(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self.then()


async def apply(shops: Fleet, journal: Path, **options: Any) -> fleet.ApplyReport:
    options = {"approve": lambda _: True, "executor": LocalEngine(), **options}
    source = fleet.Subaccounts(functools.partial(connect, shops.emulator.url, ATTEMPT))
    return await fleet.apply(source, DESIRED, journal=journal, part=PART, **options)


async def killed(shops: Fleet, journal: Path, engine: OrphanEngine) -> None:
    """Apply until the workers write. Then end the job without a word to them."""

    async def approve(_: object) -> bool:
        # The workers read each account, and write to it after the job has ended.
        shops.emulator.faults.add("GET", "/v1/InstalledAddOns", delay=0.8, times=12)
        return True

    job = create_task(apply(shops, journal, approve=approve, executor=engine))
    await engine.writing.wait()
    await asyncio.sleep(0.2)
    engine.cut()
    await cancelled(job)


async def test_a_run_plans_only_when_the_workers_of_a_killed_run_have_ended(
    shops: Fleet, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    engine = OrphanEngine()
    await killed(shops, journal, engine)
    assert shops.writes() == []
    waits = Waits()
    report = await apply(shops, journal, progress=waits)
    assert report.failures.count == 0
    (seconds,) = waits.seconds
    assert 0 < seconds <= LEASE + ATTEMPT
    waits = Waits()
    assert (await apply(shops, journal, progress=waits)).plan.steps == 0
    assert waits.seconds == []
    await engine.aclose()
    created = [one for one in shops.writes() if one == "POST /v1/InstalledAddOns"]
    assert len(created) == 12
    # Exactly one run claims each write.
    writes = await asyncio.to_thread(fleet.read_journal, journal)
    assert {one.outcome for one in writes} <= {"done", "failed"}
    done = Counter((one.account_sid, one.step.key) for one in writes if one.outcome == "done")
    assert (len(done), max(done.values())) == (2 * 12, 1)
    runs = [one.run for one in writes if one.outcome == "done"]
    assert runs[0] == writes[0].run  # the killed run has done some


async def test_a_job_that_waits_for_workers_can_be_stopped(shops: Fleet, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    await apply(shops, journal, approve=lambda _: False)

    def orphan() -> None:
        with Journal(journal) as opened:
            orphaned(opened, "begun")
            opened.keep_alive(RUN, 1000, 1000)

    await asyncio.to_thread(orphan)
    stop = asyncio.Event()
    async with asyncio.timeout(30):
        report = await apply(shops, journal, stop=stop, progress=Waits(stop.set))
    assert not report.complete
    assert shops.writes() == []


async def test_a_run_is_recorded_as_alive_until_it_ends(shops: Fleet, tmp_path: Path) -> None:
    journal = tmp_path / "journal"

    async def approve(_: object) -> bool:
        shops.emulator.faults.add("GET", "/v1/InstalledAddOns", delay=0.9, times=12)
        return True

    before = datetime.now(UTC)
    await apply(shops, journal, approve=approve)

    def recorded() -> list[tuple[float | None, str]]:
        with closing(sqlite3.connect(journal)) as db:
            return db.execute("SELECT workers_write_for, alive_until FROM runs").fetchall()

    ((seconds, until),) = await asyncio.to_thread(recorded)
    assert seconds is None  # its workers have ended as well
    # Two sixths of the lease after the last record, which is at most one sixth old.
    assert datetime.fromisoformat(until) > before + timedelta(seconds=0.9 + LEASE / 6)


RUN, ACCOUNT = "1" * 32, "AC" + "1" * 32
STEP = Step(action="install", unique_name="spam-score")


def orphaned(journal: Journal, outcome: str) -> None:
    journal.begin_run(RUN, None, "me@here", "digest")
    journal.begin_writes(RUN, [AccountPlan(ACCOUNT, None, steps=(STEP,))])
    if outcome == "unknown":
        journal.close_open_writes()
    elif outcome != "begun":
        journal.end_writes(RUN, {ACCOUNT: [Write(STEP.key, "done")]})


@pytest.mark.parametrize("outcome", ["begun", "unknown"])
@pytest.mark.parametrize(
    ("alive_for", "left"),
    [
        (5, 40),  # the process has ended since
        (-10, 30),
        (-39, 1),
        (-41, 0),
        (10**6, 40),  # the clock was set back
    ],
)
def test_the_time_to_wait_follows_from_the_last_sign_of_life(
    tmp_path: Path, outcome: str, alive_for: float, left: float
) -> None:
    with Journal(tmp_path / "journal") as journal:
        journal.begin({"job": "apply"})
        orphaned(journal, outcome)
        assert journal.workers_write_for() == 0
        journal.keep_alive(RUN, 40, alive_for)
        assert journal.workers_write_for() == pytest.approx(left, abs=0.5)
        journal.clear_workers_write_for(RUN)
        assert journal.workers_write_for() == 0


def test_a_run_whose_writes_have_ended_is_not_waited_for(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal") as journal:
        journal.begin({"job": "apply"})
        orphaned(journal, "done")
        journal.keep_alive(RUN, 40, 5)
        assert journal.workers_write_for() == 0
