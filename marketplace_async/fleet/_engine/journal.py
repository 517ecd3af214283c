"""The journal of a job: its progress on disk, used to resume an interrupted job.

A journal is an SQLite file that only one job can open at a time. When a method returns, its changes
are on disk and survive `kill -9` and a power failure. All methods raise OSError if the disk is full
or fails, and JobError if the journal is damaged.
"""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

from ..._core.codec import encode, from_json
from ..._core.databases import FileKind, open_database
from ..._core.files import remove, replacing
from ..steps import AccountPlan
from .entries import Entry, Failure, Failures, JobError, Write, WriteOutcome
from .journal_tables import TABLES

# A report holds this many failures; the failures file holds all of them.
_MAX_FAILURES = 100

# Rows of the table `job` that are not settings.
_PROGRESS = ("position", "completed")

JOURNAL: Final = FileKind(
    name="a journal",
    application_id=0x4D416A6F,  # "MAjo"
    version=4,
    schema=TABLES,
    # Each account is a commit. With the default, the write-ahead log would grow to 4 MB.
    pragmas=("journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 100"),
    error=JobError,
    user="another job",
    first_tables=frozenset({"job", "accounts", "plans", "writes"}),
)


class Journal:
    """The journal of one job.

    Args:
        file: The journal's file. None for a temporary file, which is deleted on close.

    Raises:
        JobError: The file is in use, damaged, of another version or not a journal.
        OSError: The file cannot be opened or created.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._db = open_database(file, JOURNAL, exclusive=True, timeout=0.5)
        self._unused = self._db.created

    def check(self) -> None:
        """Raise JobError if the file is damaged."""
        self._db.check()

    def delete(self) -> None:
        """Delete the file, and close the journal."""
        self._db.delete()

    def close(self) -> None:
        """Close the journal. A new file in which no job was begun is deleted."""
        if self._unused:
            self._db.delete()
        else:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the job and its output

    def settings(self) -> dict[str, Any]:
        """Return the settings of the job; empty for a new journal."""
        return {
            name: json.loads(value)
            for name, value in self._db.execute("SELECT name, value FROM job")
            if name not in _PROGRESS
        }

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Discard the previous job and start a new one. The audit log of writes is kept."""
        with self._transaction():
            for table in ("job", "accounts", "plans"):
                self._db.execute(f"DELETE FROM {table}")
            self._db.executemany(
                "INSERT INTO job VALUES (?, ?)",
                [(name, json.dumps(value)) for name, value in settings.items()],
            )
        self._unused = False

    def position(self) -> int:
        """Return how many bytes of the output are durable."""
        return int(self._progress("position") or 0)

    def completed(self) -> str | None:
        """Return when the job was completed, in UTC; None if it was not."""
        return self._progress("completed")

    def complete(self) -> None:
        """Record that the job has processed all accounts."""
        with self._transaction():
            self._set_progress("completed", _now())

    def reopen(self) -> None:
        """Continue the job: remove the entries of failed accounts, so that they are retried."""
        with self._transaction():
            self._db.execute("DELETE FROM accounts WHERE error IS NOT NULL")
            self._db.execute("DELETE FROM job WHERE name = 'completed'")

    def _progress(self, name: str) -> str | None:
        row = self._db.execute("SELECT value FROM job WHERE name = ?", (name,)).fetchone()
        return None if row is None else row[0]

    def _set_progress(self, name: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO job VALUES (?, ?)", (name, value))

    def commit(self, entries: Iterable[Entry], position: int = 0) -> None:
        """Record finished accounts and the size of the output in bytes."""
        with self._transaction():
            self._db.executemany(
                # Append the message of a new failure to that of an earlier one.
                "INSERT INTO accounts VALUES (?, ?, ?, ?, ?) ON CONFLICT (sid) DO UPDATE SET "
                "records = records + excluded.records, error = ifnull(error, excluded.error), "
                "message = ifnull(message || '; ' || excluded.message, "
                "ifnull(message, excluded.message))",
                [
                    (
                        entry.account_sid,
                        entry.friendly_name,
                        entry.records,
                        entry.failure and entry.failure.error,
                        entry.failure and entry.failure.message,
                    )
                    for entry in entries
                ],
            )
            self._set_progress("position", str(position))

    # -- accounts

    def finished(self, sids: Sequence[str]) -> set[str]:
        """Return which of these accounts are finished."""
        marks = ",".join("?" * len(sids))
        rows = self._db.execute(f"SELECT sid FROM accounts WHERE sid IN ({marks})", tuple(sids))
        return {sid for (sid,) in rows}

    def totals(self) -> tuple[int, int, int]:
        """Return the number of accounts finished, of their records, and of failed accounts."""
        row = self._db.execute(
            "SELECT count(*), ifnull(sum(records), 0), count(error) FROM accounts"
        ).fetchone()
        return row[0], row[1], row[2]

    def failures(self) -> Iterator[Failure]:
        """Yield the failures in the order of account SIDs."""
        for row in self._db.execute(
            "SELECT sid, friendly_name, error, message FROM accounts "
            "WHERE error IS NOT NULL ORDER BY sid"
        ):
            yield Failure(*row)

    def write_failures(self, file: Path | None) -> Failures:
        """Replace the failures file, or delete it if there are no failures."""
        count = self.totals()[2]
        if file is not None and count:
            with replacing(file) as lines:
                for failure in self.failures():
                    lines.write(encode(failure) + b"\n")
        elif file is not None:
            remove(file)
        first = tuple(itertools.islice(self.failures(), _MAX_FAILURES))
        return Failures(count, first, file if count else None)

    # -- apply: plans and writes

    def save_plans(self, plans: Iterable[AccountPlan]) -> None:
        """Record the planned steps of accounts that have any."""
        with self._transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO plans VALUES (?, ?)",
                [(plan.account_sid, encode(plan).decode()) for plan in plans if plan.steps],
            )

    def planned(self, run: str, sids: Sequence[str]) -> dict[str, AccountPlan]:
        """Return the plans of those accounts that the run has not started."""
        marks = ",".join("?" * len(sids))
        rows = self._db.execute(
            f"SELECT account_sid, steps FROM plans WHERE account_sid IN ({marks}) "
            "AND account_sid NOT IN (SELECT account_sid FROM writes WHERE run = ?)",
            (*sids, run),
        )
        return {sid: from_json(text.encode(), AccountPlan, "a plan") for sid, text in rows}

    def not_started(self, run: str) -> Iterator[str]:
        """Yield the accounts that have a plan and that the run has not started."""
        for (sid,) in self._db.execute(
            "SELECT account_sid FROM plans "
            "WHERE account_sid NOT IN (SELECT account_sid FROM writes WHERE run = ?)",
            (run,),
        ):
            yield sid

    def begin_run(self, run: str, credentials: str | None, user: str, desired: str) -> None:
        """Record the start of a run: who started it, and the digest of the desired state."""
        with self._transaction():
            self._db.execute(
                "INSERT INTO runs (run, begun, credentials, user, desired) VALUES (?, ?, ?, ?, ?)",
                (run, _now(), credentials, user, desired),
            )

    def keep_alive(self, run: str, workers_write_for: float, seconds: float) -> None:
        """Record that the process of a run is alive.

        Args:
            run: The run.
            workers_write_for: Seconds for which its workers may still write if the process dies.
            seconds: Seconds within which this is recorded again.
        """
        until = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
        with self._transaction():
            self._db.execute(
                "UPDATE runs SET workers_write_for = ?, alive_until = ? WHERE run = ?",
                (workers_write_for, until, run),
            )

    def clear_workers_write_for(self, run: str) -> None:
        """Record that no worker of a run can still write."""
        with self._transaction():
            self._db.execute("UPDATE runs SET workers_write_for = NULL WHERE run = ?", (run,))

    def workers_write_for(self) -> float:
        """Return for how many seconds workers of earlier runs may still write. 0 if none can.

        The processes of these runs have ended: only one can open the journal. So the wait is
        bounded, even if the clock was set back.
        """
        rows = self._db.execute(
            "SELECT workers_write_for, alive_until FROM runs WHERE workers_write_for IS NOT NULL "
            "AND EXISTS (SELECT 1 FROM writes WHERE writes.run = runs.run "
            "AND outcome IN ('begun', 'unknown'))"
        )
        now = datetime.now(UTC)
        left = 0.0
        for seconds, until in rows.fetchall():
            after = (datetime.fromisoformat(until) - now).total_seconds() + seconds
            left = max(left, min(seconds, after))
        return left

    def begin_writes(self, run: str, plans: Iterable[AccountPlan]) -> None:
        """Record the steps that are about to be performed."""
        now = _now()
        with self._transaction():
            self._db.executemany(
                "INSERT OR IGNORE INTO writes "
                "(run, account_sid, step, begun, friendly_name, planned) VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (
                        *(run, plan.account_sid, step.key, now),
                        *(plan.friendly_name, encode(step).decode()),
                    )
                    for plan in plans
                    for step in plan.steps
                ],
            )

    def withdraw_writes(self, run: str, sids: Iterable[str]) -> None:
        """Delete the steps of accounts that were not started after all."""
        with self._transaction():
            self._db.executemany(
                "DELETE FROM writes WHERE run = ? AND account_sid = ? AND outcome = 'begun'",
                [(run, sid) for sid in sids],
            )

    def open_writes(self, run: str, account_sid: str) -> list[str]:
        """Return the steps of an account that were started and have no result."""
        rows = self._db.execute(
            "SELECT step FROM writes WHERE run = ? AND account_sid = ? AND outcome = 'begun'",
            (run, account_sid),
        )
        return [step for (step,) in rows]

    def end_writes(self, run: str, writes: Mapping[str, Sequence[Write]]) -> None:
        """Record the results of steps by account."""
        now = _now()
        with self._transaction():
            self._db.executemany(
                "UPDATE writes SET ended = ?, outcome = ?, installed_add_on_sid = ?, message = ?, "
                "before = ?, after = ?, handouts = ? "
                "WHERE run = ? AND account_sid = ? AND step = ? AND outcome = 'begun'",
                [
                    (
                        *(now, write.outcome, write.installed_add_on_sid, write.message),
                        *(_json(write.before), _json(write.after), write.handouts),
                        *(run, sid, write.step),
                    )
                    for sid, results in writes.items()
                    for write in results
                ],
            )

    @property
    def is_new(self) -> bool:
        """Whether this object created the file."""
        return self._db.created

    def has_writes(self) -> bool:
        """Return whether the audit log has any writes."""
        return self._db.execute("SELECT 1 FROM writes LIMIT 1").fetchone() is not None

    def audit_log(
        self, run: str | None = None, account_sid: str | None = None
    ) -> list[dict[str, Any]]:
        """Return the writes of one run or of all, by run and account, in the order of the steps."""
        rows = self._db.execute(
            "SELECT run, writes.begun, ended, credentials, user, desired, account_sid, "
            "friendly_name, planned, outcome, installed_add_on_sid, before, after, handouts, "
            "message "
            "FROM writes JOIN runs USING (run) "
            "WHERE run = ifnull(?, run) AND account_sid = ifnull(?, account_sid) "
            "ORDER BY runs.rowid, account_sid, writes.rowid",
            (run, account_sid),
        )
        names = [column[0] for column in rows.description]
        return [dict(zip(names, row, strict=True)) for row in rows.fetchall()]

    def runs(self) -> list[str]:
        """Return the runs that have writes, the latest first."""
        rows = self._db.execute(
            "SELECT run FROM runs WHERE run IN (SELECT run FROM writes) ORDER BY rowid DESC"
        )
        return [run for (run,) in rows.fetchall()]

    def close_open_writes(self) -> int:
        """Mark the open writes of all runs as unknown and return their number."""
        cursor = self._db.execute("UPDATE writes SET outcome = 'unknown' WHERE outcome = 'begun'")
        return cursor.rowcount

    def settle_writes(self, plans: Iterable[AccountPlan]) -> int:
        """Record the outcomes of unknown writes of earlier runs, and return their number.

        The outcomes follow from the new plans. Writes to Add-ons that a plan did not compare stay
        unknown.
        """
        by_account = {plan.account_sid: plan for plan in plans if plan.compared or plan.unclear}
        if not by_account:
            return 0
        marks = ",".join("?" * len(by_account))
        rows = self._db.execute(
            "SELECT run, account_sid, step FROM writes WHERE outcome = 'unknown' "
            f"AND account_sid IN ({marks})",
            tuple(by_account),
        ).fetchall()
        found = ((_found(step, by_account[sid]), run, sid, step) for run, sid, step in rows)
        settled = [(outcome, *row) for outcome, *row in found if outcome is not None]
        if settled:
            now = _now()
            with self._transaction():
                self._db.executemany(
                    "UPDATE writes SET ended = ?, outcome = ?, message = ? "
                    "WHERE run = ? AND account_sid = ? AND step = ?",
                    [(now, *outcome, *row) for outcome, *row in settled],
                )
        return len(settled)

    def _transaction(self) -> AbstractContextManager[None]:
        return self._db.transaction()


def _json(document: Mapping[str, Any] | None) -> str | None:
    return None if document is None else encode(document).decode()


def _name_of(step: str) -> str:
    """Return the unique name in the key of a step; it may contain slashes itself."""
    action, _, rest = step.partition("/")
    return rest.rpartition("/")[0] if action in ("enable", "disable") else rest


def _found(step: str, plan: AccountPlan) -> tuple[WriteOutcome, str] | None:
    """Return the outcome of an earlier write and a message. None if the plan does not show it."""
    name = _name_of(step)
    if name in plan.unclear:
        return "skipped", "a later run found something else under this name"
    if name not in plan.compared:
        return None
    if any(step == one.key for one in plan.steps):
        return "failed", "a later run found that the step was not done"
    return "done", "a later run found that the step was done"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
