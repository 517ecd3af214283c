"""Jobs in several real processes, against an emulator."""

import asyncio
import contextlib
import functools
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.fleet import DESIRED, Fleet, lines
from support.fleet_workers import connect

from marketplace_async import fleet
from marketplace_async.fleet import JobError, ProcessExecutor

# Secret values must not be in the file: they would be sent to the workers.
WRITTEN = DESIRED.replace('"very-secret"', '{ env = "TEST_API_TOKEN" }')


def worker_processes() -> list[int]:
    """Return the worker processes that this process started."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            command = (folder / "cmdline").read_bytes()
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if b"process_worker" in command and int(parent) == os.getpid():
                found.append(int(folder.name))
    return sorted(found)


class Signals:
    """A progress that sends a signal to a worker once some accounts are done."""

    def __init__(self, number: int, after: int) -> None:
        self.number = number
        self.after = after
        self.done = 0

    def started(self, total: int | None) -> None: ...

    def advanced(self, count: int = 1) -> None:
        self.done += count
        if self.done >= self.after:
            self.after = 10**9
            asyncio.get_running_loop().run_in_executor(None, self._send)

    def _send(self) -> None:
        os.kill(worker_processes()[0], self.number)

    def failed(self, item: object, error: Exception) -> None: ...


@pytest.fixture(autouse=True)
def no_process_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TEST_API_TOKEN", "very-secret")
    yield
    assert worker_processes() == []


async def test_processes_produce_the_same_result(shops: Fleet, tmp_path: Path) -> None:
    desired = fleet.parse(WRITTEN)
    executor = ProcessExecutor(2, shard_size=10)
    file = tmp_path / "inventory.jsonl"
    report = await fleet.inventory(shops.source, file, executor=executor)
    assert (report.accounts, report.records, len(lines(file))) == (41, 40, 40)
    assert [one.name for one in report.workers] == ["process 1", "process 2"]
    assert sum(one.accounts for one in report.workers) == 41
    applied = await fleet.apply(
        *(shops.source, desired),
        journal=tmp_path / "journal",
        approve=lambda _: True,
        executor=executor,
    )
    assert applied.failures.count == 0
    assert (await fleet.plan(shops.source, desired)).steps == 0
    state = await shops.state()
    assert Counter(len(names) for names in state.values()) == {1: 1, 2: 29, 3: 11}


async def test_a_killed_process_loses_and_doubles_nothing(shops: Fleet, tmp_path: Path) -> None:
    desired = fleet.parse(WRITTEN)
    shops.emulator.faults.add("GET", "/v1/InstalledAddOns", delay=0.1, times=10**6)
    progress: Any = Signals(signal.SIGKILL, after=41 + 10)
    applied = await fleet.apply(
        fleet.Subaccounts(functools.partial(connect, shops.emulator.url, 1.0)),
        desired,
        journal=tmp_path / "journal",
        approve=lambda _: True,
        executor=ProcessExecutor(2, shard_size=10, lease=1.0),
        progress=progress,
    )
    assert applied.failures.count == 0
    assert (applied.counts.done, applied.counts.accounts) == (41, 41)
    assert applied.writes == {"done": applied.plan.steps}
    (lost,) = [one for one in applied.workers if one.lost is not None]
    assert lost.lost is not None
    assert lost.lost.endswith("was killed by SIGKILL")
    created = [one for one in shops.writes() if one == "POST /v1/InstalledAddOns"]
    assert len(created) == applied.plan.totals["install"]
    assert (await fleet.plan(shops.source, desired)).steps == 0


async def test_processes_that_end_at_once_end_the_job(
    shops: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marketplace_async.fleet._executors.processes._MODULE", "no_such_module")
    with pytest.raises(JobError, match="exit as soon as they start"):
        await fleet.inventory(shops.source, tmp_path / "x.jsonl", executor=ProcessExecutor(1))


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="processes: must be a positive integer"):
        ProcessExecutor(0)
    with pytest.raises(ValueError, match="shard_size: must be at most 1000, got 1001"):
        ProcessExecutor(1, shard_size=1001)
    with pytest.raises(ValueError, match="lease"):
        ProcessExecutor(1, lease=0)


async def test_processes_import_nothing_from_the_current_directory(
    shops: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `python -m` would begin with it, and many directories have a module of this name.
    (tmp_path / "secrets.py").write_text("raise RuntimeError('imported from here')\n")
    monkeypatch.chdir(tmp_path)
    report = await fleet.inventory(shops.source, tmp_path / "x.jsonl", executor=ProcessExecutor(1))
    assert report.records == 40
