"""The files of a job: outputs that can be truncated, and the journal of their progress."""

import itertools
import json
import os
import sqlite3
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
from support.outputs import read

from marketplace_async.fleet import AccountPlan, Failure, InventoryRecord, JobError, Step
from marketplace_async.fleet._engine.checkpoint import Checkpoint
from marketplace_async.fleet._engine.entries import Entry, Write
from marketplace_async.fleet._engine.journal import Journal
from marketplace_async.fleet.outputs import ExtensionRecord, output_of

ACCOUNTS = [f"AC{number:032x}" for number in range(4)]


def record(account: int, number: int = 0, *, extensions: bool = False) -> InventoryRecord:
    date = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    extension = ExtensionRecord(
        sid="XF" + "0" * 32,
        unique_name="voice-incoming",
        friendly_name="Incoming Voice Call",
        product_name="Programmable Voice",
        enabled=True,
    )
    return InventoryRecord(
        account_sid=ACCOUNTS[account],
        account_friendly_name='Shop "1", in\nBerlin',
        sid=f"XE{account:016x}{number:016x}",
        unique_name=None,
        friendly_name="Transkription für alle",
        available_add_on_sid="XB" + "0" * 32,
        configuration={"a": [1, {"b": "ü"}]},
        date_created=date,
        date_updated=None,
        extensions=(extension,) if extensions else None,
    )


def open_checkpoint(file: Path, **options: Any) -> "Checkpoint[InventoryRecord]":
    settings = options.pop("settings", {"job": "inventory"})
    return Checkpoint(
        output_of(file), file, settings, **{"resume": False, "overwrite": False, **options}
    )


def entry(account: int, *records: InventoryRecord) -> tuple[Entry, tuple[InventoryRecord, ...]]:
    return Entry(ACCOUNTS[account], None, len(records)), records


SUFFIXES = pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".db"])


@SUFFIXES
def test_every_output_format_contains_every_field(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"x{suffix}"
    checkpoint = open_checkpoint(file)
    checkpoint.write([entry(0, record(0), record(0, 1, extensions=True)), entry(1)])
    checkpoint.close()
    plain, with_extensions = read(file)
    assert plain == {
        "account_sid": ACCOUNTS[0],
        "account_friendly_name": 'Shop "1", in\nBerlin',
        "sid": "XE" + "0" * 32,
        "unique_name": None,
        "friendly_name": "Transkription für alle",
        "available_add_on_sid": "XB" + "0" * 32,
        "configuration": {"a": [1, {"b": "ü"}]},
        "date_created": "2026-01-02T03:04:05Z",
        "date_updated": None,
        "extensions": None,
    }
    assert with_extensions["extensions"] == [
        {
            "sid": "XF" + "0" * 32,
            "unique_name": "voice-incoming",
            "friendly_name": "Incoming Voice Call",
            "product_name": "Programmable Voice",
            "enabled": True,
        }
    ]


@SUFFIXES
def test_records_missing_from_the_journal_are_not_duplicated(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"x{suffix}"
    checkpoint = open_checkpoint(file)
    checkpoint.write([entry(0, record(0))])
    # As if killed after writing to the output and before writing to the journal.
    checkpoint._output.write(ACCOUNTS[1], [record(1), record(1, 1)])
    checkpoint._output.sync()
    if suffix != ".db":
        with file.open("ab") as stream:
            stream.write(b'{"torn')
    checkpoint.close()

    again = open_checkpoint(file, resume=True)
    assert again.resumed
    assert again.finished(ACCOUNTS) == {ACCOUNTS[0]}
    again.write([entry(1, record(1), record(1, 1)), entry(2)])
    assert again.totals() == (3, 3, 0)
    again.close()
    assert [one["sid"] for one in read(file)] == [
        one.sid for one in (record(0), record(1), record(1, 1))
    ]


@SUFFIXES
def test_a_job_killed_before_its_first_journal_entry_starts_over(
    tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"x{suffix}"
    checkpoint = open_checkpoint(file)
    checkpoint._output.write(ACCOUNTS[0], [record(0)])
    checkpoint._output.sync()
    checkpoint.close()
    again = open_checkpoint(file, resume=True)
    again.write([entry(0, record(0))])
    again.close()
    assert len(read(file)) == 1


def killed_at(call: int, file: Path, **options: Any) -> bool:
    """Run a job in a process that dies at its n-th call into C. Return whether it died."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    count = 0

    def profile(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event == "c_call"
        if count == call:
            os._exit(9)

    try:
        sys.setprofile(profile)
        job = open_checkpoint(file, **options)
        job.write([entry(0, record(0))])
        job.write([entry(1, record(1), record(1, 1)), entry(2)])
        job.end(complete=True)
        job.close()
    finally:
        os._exit(0)


def reopened(file: Path) -> "Checkpoint[InventoryRecord] | None":
    """Resume a job, or return None if it is complete."""
    try:
        return open_checkpoint(file, resume=True)
    except JobError as error:
        if "was completed at" in str(error):
            return None
        raise


@SUFFIXES
@pytest.mark.parametrize("option", ["resume", "overwrite"])
def test_a_job_killed_at_any_call_resumes_and_has_each_record_once(
    tmp_path: Path, suffix: str, option: str
) -> None:
    new = [one.sid for one in (record(0), record(1), record(1, 1))]
    old = [record(3).sid]
    outcomes = set()
    for call in itertools.count(1, 53):
        folder = tmp_path / str(call)
        folder.mkdir()
        file = folder / f"x{suffix}"
        if option == "overwrite":
            earlier = open_checkpoint(file)
            earlier.write([entry(3, record(3))])
            earlier.end(complete=True)
            earlier.close()
        died = killed_at(call, file, **{option: True})
        again = reopened(file)
        if again is not None:
            finished = again.finished(ACCOUNTS)
            missing = [entry(0, record(0)), entry(1, record(1), record(1, 1)), entry(2)]
            again.write([one for one in missing if one[0].account_sid not in finished])
            again.end(complete=True)
            again.close()
        found = sorted(one["sid"] for one in read(file))
        assert found in ((new, old) if option == "overwrite" else (new,))
        outcomes.add(found == new)
        assert {path.name for path in folder.iterdir()} == {file.name, f"{file.name}.journal"}
        if not died:
            break
    assert outcomes == ({True, False} if option == "overwrite" else {True})


@SUFFIXES
def test_existing_output_is_neither_lost_nor_mixed(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"x{suffix}"
    first = open_checkpoint(file, resume=True)  # no file: starts a new job
    first.write([entry(0, record(0))])
    with pytest.raises(JobError, match="another job is using this file"):
        open_checkpoint(file, resume=True)
    first.close()

    with pytest.raises(JobError, match="already exists"):
        open_checkpoint(file)
    with pytest.raises(JobError, match="the job was inventory and is now plan"):
        open_checkpoint(file, resume=True, settings={"job": "plan"})
    assert len(read(file)) == 1

    (tmp_path / f"x{suffix}.journal").unlink()
    with pytest.raises(JobError, match=r"cannot be resumed: its journal .* does not exist"):
        open_checkpoint(file, resume=True)
    assert len(read(file)) == 1

    new = open_checkpoint(file, overwrite=True)
    assert (new.totals(), new.finished(ACCOUNTS)) == ((0, 0, 0), set())
    assert len(read(file)) == 1  # the file is kept until there is something to replace it with
    new.write([entry(1)])
    assert new.totals() == (1, 0, 0)
    new.close()
    assert read(file) == []


def test_an_output_that_lost_bytes_is_not_resumed(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    checkpoint = open_checkpoint(file)
    checkpoint.write([entry(0, record(0))])
    checkpoint.close()
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(JobError, match="has 374 bytes, but according to its journal 379"):
        open_checkpoint(file, resume=True)


def test_a_journal_is_private_and_other_files_are_rejected(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    Journal(file).close()
    assert list(tmp_path.iterdir()) == []  # no job was begun
    with Journal(file) as journal:
        journal.begin({"job": "apply"})
    assert file.stat().st_mode & 0o077 == 0
    file.write_bytes(b"something else, and long enough to be looked at as a header" * 20)
    with pytest.raises(JobError, match="is not a journal"):
        Journal(file)
    with pytest.raises(OSError, match=r"the directory .*nowhere does not exist"):
        Journal(tmp_path / "nowhere" / "journal")


def test_all_failures_are_written_and_counted_and_cleared_on_resume(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    checkpoint = open_checkpoint(file)
    failed = [
        Failure(f"AC{number:032x}", "Shop", "PermissionDeniedError", "403: no")
        for number in range(150)
    ]
    checkpoint.write([(Entry(one.account_sid, "Shop", 0, one), ()) for one in failed])
    failures = checkpoint.end(complete=True)
    checkpoint.close()
    assert (failures.count, len(failures.first)) == (150, 100)
    assert failures.file == tmp_path / "x.jsonl.failures.jsonl"
    lines = [json.loads(line) for line in failures.file.read_text().splitlines()]
    assert lines[0] == {
        "account_sid": ACCOUNTS[0],
        "friendly_name": "Shop",
        "error": "PermissionDeniedError",
        "message": "403: no",
    }
    assert len(lines) == 150

    again = open_checkpoint(file, resume=True)
    assert again.finished(ACCOUNTS) == set()
    again.write([entry(0, record(0))])
    assert again.end(complete=True).count == 0
    again.close()
    assert not failures.file.exists()


def test_the_journal_of_apply_tracks_open_writes(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    steps = {ACCOUNTS[0]: ["install/a", "install/b"], ACCOUNTS[1]: ["remove/c"]}
    plans = {sid: plan_of(sid, keys) for sid, keys in steps.items()}
    with Journal(file) as journal:
        journal.begin({"job": "apply"})
        journal.save_plans(plans.values())
        assert journal.planned("run 1", ACCOUNTS) == plans
        journal.begin_writes("run 1", [plans[ACCOUNTS[0]]])
        assert list(journal.not_started("run 1")) == [ACCOUNTS[1]]
        assert list(journal.planned("run 1", ACCOUNTS)) == [ACCOUNTS[1]]
        journal.end_writes("run 1", {ACCOUNTS[0]: [Write("install/a", "done", "XE1")]})
        assert journal.open_writes("run 1", ACCOUNTS[0]) == ["install/b"]
    with Journal(file) as journal:
        assert journal.close_open_writes() == 1
        assert journal.close_open_writes() == 0
        journal.begin({"job": "apply"})
        assert journal.planned("run 2", ACCOUNTS) == {}
    with sqlite3.connect(file) as db:
        rows = db.execute("SELECT run, step, outcome, installed_add_on_sid FROM writes").fetchall()
    db.close()
    assert rows == [
        ("run 1", "install/a", "done", "XE1"),
        ("run 1", "install/b", "unknown", None),
    ]


@pytest.mark.parametrize(("needed", "outcome"), [((), "done"), (["install/b"], "failed")])
def test_a_later_run_records_what_has_become_of_an_unknown_write(
    tmp_path: Path, needed: Sequence[str], outcome: str
) -> None:
    with Journal(tmp_path / "journal") as journal:
        journal.begin({"job": "apply"})
        journal.begin_writes("run 1", [plan_of(sid, ["install/b"]) for sid in ACCOUNTS[:2]])
        journal.close_open_writes()
        plan = attrs.evolve(plan_of(ACCOUNTS[0], needed), compared=("b",))
        others = attrs.evolve(plan_of(ACCOUNTS[1], ()), compared=("a",))
        assert journal.settle_writes([plan, others]) == 1
        assert journal.settle_writes([plan, others]) == 0
    with sqlite3.connect(tmp_path / "journal") as db:
        rows = dict(db.execute("SELECT account_sid, outcome FROM writes"))
    db.close()
    assert rows == {ACCOUNTS[0]: outcome, ACCOUNTS[1]: "unknown"}


def plan_of(account_sid: str, keys: Sequence[str]) -> AccountPlan:
    steps = [key.split("/") for key in keys]
    return AccountPlan(
        account_sid,
        None,
        tuple(Step(action=action, unique_name=name) for action, name in steps),  # type: ignore[arg-type]
    )


def test_a_file_with_an_unknown_suffix_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"to: expected a file that ends in \.jsonl.*got 'x\.xlsx'"
    ):
        output_of(Path("x.xlsx"))
