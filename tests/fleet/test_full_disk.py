"""A full disk, a damaged file, or two jobs at once: a clear error, and nothing lost or doubled."""

import asyncio
import errno
import random
import re
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.fleet import PARENT, SPAM_SCORE, Fleet, StopAtOnce
from support.outputs import read

from marketplace_async import MarketplaceError, fleet
from marketplace_async._core import databases
from marketplace_async.emulator import Emulator
from marketplace_async.fleet import EmbeddedExecutor, JobError, outputs

SUFFIXES = pytest.mark.parametrize("suffix", ["jsonl", "csv", "db"])
EVERY_OPTION: list[dict[str, Any]] = [{}, {"resume": True}, {"overwrite": True}]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a file system needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(folder: Path, free: int) -> Path:
    """Fill a disk except for `free` bytes. Delete the returned file to free the space."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(b"x" * 4096)
        except OSError:
            stream.truncate(max(stream.tell() - free, 0))
    return ballast


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


async def outcome(shops: Fleet, file: Path, **options: Any) -> fleet.InventoryReport | Exception:
    try:
        return await fleet.inventory(shops.source, file, executor=EmbeddedExecutor(1), **options)
    except (MarketplaceError, OSError) as error:
        return error


@SUFFIXES
@pytest.mark.parametrize("free", [0, 4096, 16384, 40960, 65536, 98304, 131072])
async def test_an_inventory_goes_on_after_a_full_disk_with_each_record_once(
    shops: Fleet, small_disk: Path, suffix: str, free: int
) -> None:
    file = small_disk / f"inventory.{suffix}"
    ballast = fill(small_disk, free)
    first = await outcome(shops, file)
    saved = re.search(r"; (\d+) accounts with \d+ records are saved", str(first))
    if saved:
        assert isinstance(first, JobError)
        assert f"{file}" in str(first)
        assert "No space left on device; " in str(first)
        assert str(first).endswith(
            "free some disk space or repair the disk; then pass resume=True to continue"
        )
    elif isinstance(first, Exception):  # a file could not be created
        assert str(first).startswith("[Errno 28] No space left on device: ")
        assert names(small_disk) == {"ballast"}
    second = await outcome(shops, file, resume=True)
    ballast.unlink()
    if isinstance(first, fleet.InventoryReport):
        assert free > 60000
        assert "complete since" in str(second)
    else:
        if not isinstance(second, fleet.InventoryReport):  # closing the files freed some space
            assert "No space left on device" in str(second)
            second = await fleet.inventory(shops.source, file, resume=True)
        assert (second.accounts, second.records, second.complete) == (41, 40, True)
    expected = {sid for sid, _ in shops.shops}
    assert Counter(one["account_sid"] for one in read(file)) == Counter(expected)


@SUFFIXES
async def test_a_job_that_cannot_begin_leaves_no_file(
    shops: Fleet, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    create_tables = databases._create_tables

    def full_for_outputs(db: databases.Database, kind: databases.FileKind) -> None:
        if kind is outputs.INVENTORY:
            full()
        create_tables(db, kind)

    monkeypatch.setattr(outputs, "write_all", full)
    monkeypatch.setattr(databases, "_create_tables", full_for_outputs)
    with pytest.raises((OSError, JobError), match="No space left on device"):
        await fleet.inventory(shops.source, tmp_path / f"x.{suffix}")
    assert names(tmp_path) == set()


@pytest.mark.parametrize("room", [72, 80, 88, 96])
async def test_apply_goes_on_after_a_full_disk_and_installs_nothing_twice(
    shops: Fleet, small_disk: Path, room: int
) -> None:
    journal = small_disk / "fleet.journal"
    ballast = fill(small_disk, room * 1024)
    with pytest.raises(fleet.JobEndedError, match=r"No space left on device: .*fleet.journal"):
        await fleet.apply(shops.source, shops.desired, journal=journal, approve=lambda _: True)
    ballast.unlink()
    report = await fleet.apply(shops.source, shops.desired, journal=journal, approve=lambda _: True)
    assert (report.complete, report.failures.count) == (True, 0)
    installed = [line for line in shops.writes() if line == "POST /v1/InstalledAddOns"]
    assert len(installed) == 81  # spam-score on 41 accounts and transcription on 40, each once
    again = await fleet.plan(shops.source, shops.desired)
    assert again.steps == 0


async def test_the_emulator_reports_a_full_disk_and_loses_nothing(small_disk: Path) -> None:
    db = small_disk / "state.db"
    async with Emulator(db=db) as emulator:
        emulator.install(PARENT, SPAM_SCORE, times=10)
        ballast = fill(small_disk, 0)
        with pytest.raises(OSError, match="No space left on device: "):
            emulator.install(PARENT, SPAM_SCORE, times=2000)
        ballast.unlink()
        emulator.install(PARENT, SPAM_SCORE, times=5)
    async with Emulator(db=db) as emulator:
        sids = emulator.install(PARENT, SPAM_SCORE, times=1)
        assert len(sids) == 1
        assert len(emulator.state().installations) == 16


@SUFFIXES
@pytest.mark.parametrize("seed", range(3))
async def test_a_damaged_journal_ends_in_one_sentence_and_the_output_is_kept(
    shops: Fleet, tmp_path: Path, suffix: str, seed: int
) -> None:
    file = tmp_path / f"inventory.{suffix}"
    journal = tmp_path / f"inventory.{suffix}.journal"
    stop = asyncio.Event()
    progress = StopAtOnce(stop)
    await fleet.inventory(
        shops.source, file, stop=stop, progress=progress, executor=EmbeddedExecutor(1)
    )
    content = bytearray(journal.read_bytes())
    generator = random.Random(seed)
    for page in range(1, len(content) // 4096):
        content[page * 4096 : page * 4096 + 512] = generator.randbytes(512)
    journal.write_bytes(content)
    before = file.read_bytes()
    with pytest.raises(JobError, match=f"^{journal} is damaged .*: move it away and start again"):
        await fleet.inventory(shops.source, file, resume=True)
    assert file.read_bytes() == before
    with pytest.raises(JobError, match=f"^{journal} is damaged"):
        await fleet.inventory(shops.source, file, overwrite=True)
    assert file.read_bytes() == before


@SUFFIXES
async def test_two_jobs_on_one_file_do_not_mix(shops: Fleet, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"inventory.{suffix}"
    shops.emulator.faults.add("GET", "/v1/InstalledAddOns", delay=1.0)
    results = await asyncio.gather(
        *(fleet.inventory(shops.source, file, resume=True) for _ in range(4)),
        return_exceptions=True,
    )
    reports = [one for one in results if isinstance(one, fleet.InventoryReport)]
    errors = [one for one in results if isinstance(one, MarketplaceError)]
    assert len(reports) == 1
    assert len(errors) == 3
    for error in errors:
        assert re.search("another job is using this file; retry|was completed at", str(error))
    assert Counter(one["account_sid"] for one in read(file)) == Counter(
        sid for sid, _ in shops.shops
    )
    assert names(tmp_path) == {file.name, f"{file.name}.journal"}


@SUFFIXES
async def test_an_output_that_was_deleted_is_not_resumed(
    shops: Fleet, tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"inventory.{suffix}"
    stop = asyncio.Event()
    progress = StopAtOnce(stop)
    await fleet.inventory(
        shops.source, file, stop=stop, progress=progress, executor=EmbeddedExecutor(1)
    )
    file.unlink()
    with pytest.raises(JobError, match=f"{file} was deleted; pass overwrite=True to start over"):
        await fleet.inventory(shops.source, file, resume=True)
    assert not file.exists()
    report = await fleet.inventory(shops.source, file)
    assert (report.records, len(read(file))) == (40, 40)


async def test_a_database_of_another_program_is_not_overwritten(
    shops: Fleet, tmp_path: Path
) -> None:
    file = tmp_path / "crm.db"
    with sqlite3.connect(file) as db:
        db.execute("CREATE TABLE installed_add_ons (sid TEXT)")
    db.close()
    before = file.read_bytes()
    for options in EVERY_OPTION:
        with pytest.raises(
            JobError, match=r"already exists|journal .* does not exist|is not an inv"
        ):
            await fleet.inventory(shops.source, file, **options)
        assert file.read_bytes() == before
        assert names(tmp_path) == {"crm.db"}
