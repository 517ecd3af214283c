"""The journal of a job: its progress on disk, from which an interrupted job is resumed.

A journal is an SQLite file that one job at a time can open. When a method returns, its changes are
on disk and survive `kill -9` and a power failure.
"""

import json
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeAlias

import attrs

from ..._core.codec import encode, from_json
from ..._core.files import replacing
from ...errors import MarketplaceError
from ..steps import AccountPlan

# A report holds this many failures; the failures file holds all of them.
_MAX_FAILURES = 100

_SCHEMA = """
CREATE TABLE IF NOT EXISTS job (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS accounts (
    sid TEXT PRIMARY KEY,
    friendly_name TEXT,
    records INTEGER NOT NULL,
    -- Class and message of the error; NULL if the account did not fail.
    error TEXT,
    message TEXT
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS plans (
    account_sid TEXT PRIMARY KEY,
    -- The whole plan, as JSON.
    steps TEXT NOT NULL
) STRICT, WITHOUT ROWID;
-- The writes of all runs, kept as an audit log.
CREATE TABLE IF NOT EXISTS writes (
    run TEXT NOT NULL,
    account_sid TEXT NOT NULL,
    step TEXT NOT NULL,
    begun TEXT NOT NULL,
    ended TEXT,
    outcome TEXT NOT NULL DEFAULT 'begun',
    installed_add_on_sid TEXT,
    message TEXT,
    PRIMARY KEY (run, account_sid, step)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS open_writes ON writes (run) WHERE outcome = 'begun';
"""


class JobError(MarketplaceError):
    """A job cannot start or cannot be resumed. The message says why and what to do."""


@attrs.frozen
class Failure:
    """The failure of one account.

    Attributes:
        account_sid: The account, `AC...`.
        friendly_name: The account's friendly name.
        error: The class of the error, such as "PermissionDeniedError".
        message: The message of the error.
    """

    account_sid: str
    friendly_name: str | None
    error: str
    message: str


@attrs.frozen
class Failures:
    """The failures of a job.

    Attributes:
        count: Number of accounts that failed.
        first: The first 100 failures.
        file: A JSON Lines file of all failures. None if no account failed or no file is written.
    """

    count: int
    first: tuple[Failure, ...]
    file: Path | None


@attrs.frozen
class Entry:
    """The journal's entry for a finished account: its number of records, or its failure."""

    account_sid: str
    friendly_name: str | None
    records: int = 0
    failure: Failure | None = None


WriteOutcome: TypeAlias = Literal["done", "unchanged", "failed", "unknown", "skipped"]


@attrs.frozen
class Kept:
    """What the service made of a configuration that was sent.

    Attributes:
        sent: A digest of the configuration that was sent.
        kept: A digest of the configuration that it returned.
        message: What differs.
    """

    sent: str
    kept: str
    message: str


@attrs.frozen
class Write:
    """The result of one step of `apply`.

    Attributes:
        step: The `key` of the `Step`.
        outcome: "done"; "unchanged": no write was needed; "failed": nothing was changed;
            "unknown": the write may have taken effect, and the next run checks; or "skipped".
        installed_add_on_sid: The installed Add-on, `XE...`, if known.
        message: Why the step was not done.
        error: The class of the error.
        kept: What the service keeps instead of the configuration that was sent.
    """

    step: str
    outcome: WriteOutcome
    installed_add_on_sid: str | None = None
    message: str | None = None
    error: str | None = None
    kept: Kept | None = None


class Journal:
    """The journal of one job.

    Args:
        file: The journal's file. None for a temporary file, which is deleted on close.

    Raises:
        JobError: The file is in use or is not a journal.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        if file is not None:
            # Error messages may contain private data.
            os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
        self._db = sqlite3.connect(
            file or "", isolation_level=None, check_same_thread=False, timeout=0.5
        )
        try:
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("COMMIT")
            self._db.executescript(_SCHEMA)
        except sqlite3.OperationalError as error:
            self._db.close()
            if "locked" in str(error):
                raise JobError(f"{file}: another job is using this journal") from None
            raise JobError(f"{file}: {error}") from None
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise JobError(f"{file} is not a journal: {error}") from None

    def close(self) -> None:
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
            if name != "position"
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

    def position(self) -> int:
        """Return how many bytes of the output are durable."""
        row = self._db.execute("SELECT value FROM job WHERE name = 'position'").fetchone()
        return 0 if row is None else int(row[0])

    def commit(self, entries: Iterable[Entry], position: int = 0) -> None:
        """Record finished accounts and the size of the output in bytes."""
        with self._transaction():
            self._db.executemany(
                # Keep the message of an earlier failure beside the new one.
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
            self._db.execute("INSERT OR REPLACE INTO job VALUES ('position', ?)", (str(position),))

    # -- accounts

    def clear_failures(self) -> None:
        """Remove the entries of failed accounts, so that they are retried."""
        with self._transaction():
            self._db.execute("DELETE FROM accounts WHERE error IS NOT NULL")

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
        """Replace the failures file. It is deleted if there are no failures."""
        count = 0
        first: list[Failure] = []
        with nullcontext() if file is None else replacing(file) as lines:
            for failure in self.failures():
                count += 1
                if len(first) < _MAX_FAILURES:
                    first.append(failure)
                if lines is not None:
                    lines.write(encode(failure) + b"\n")
        if file is not None and not count:
            file.unlink(missing_ok=True)
        return Failures(count, tuple(first), file if count else None)

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

    def begin_writes(self, run: str, steps: Mapping[str, Sequence[str]]) -> None:
        """Record, by account, the steps that are about to be done."""
        now = _now()
        with self._transaction():
            self._db.executemany(
                "INSERT OR IGNORE INTO writes (run, account_sid, step, begun) VALUES (?, ?, ?, ?)",
                [(run, sid, key, now) for sid, keys in steps.items() for key in keys],
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
                "UPDATE writes SET ended = ?, outcome = ?, installed_add_on_sid = ?, message = ? "
                "WHERE run = ? AND account_sid = ? AND step = ? AND outcome = 'begun'",
                [
                    (
                        *(now, write.outcome, write.installed_add_on_sid, write.message),
                        *(run, sid, write.step),
                    )
                    for sid, results in writes.items()
                    for write in results
                ],
            )

    def close_open_writes(self) -> int:
        """Mark the open writes of all runs as unknown and return their number."""
        cursor = self._db.execute("UPDATE writes SET outcome = 'unknown' WHERE outcome = 'begun'")
        return cursor.rowcount

    def settle_writes(self, needed: Mapping[str, Collection[str]]) -> int:
        """Record what has become of unknown writes of earlier runs, and return their number.

        Args:
            needed: The steps that accounts still need, by account.
        """
        if not needed:
            return 0
        marks = ",".join("?" * len(needed))
        rows = self._db.execute(
            "SELECT run, account_sid, step FROM writes WHERE outcome = 'unknown' "
            f"AND account_sid IN ({marks})",
            tuple(needed),
        ).fetchall()
        if rows:
            now = _now()
            with self._transaction():
                self._db.executemany(
                    "UPDATE writes SET ended = ?, outcome = ?, message = ? "
                    "WHERE run = ? AND account_sid = ? AND step = ?",
                    [
                        (now, *_SETTLED[step in needed[sid]], run, sid, step)
                        for run, sid, step in rows
                    ],
                )
        return len(rows)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit the changes of the block, or roll them back if it raises."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


# By whether the step is still needed.
_SETTLED: Final[dict[bool, tuple[WriteOutcome, str]]] = {
    False: ("done", "found done by a later run"),
    True: ("failed", "found not done by a later run"),
}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
