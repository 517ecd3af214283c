"""What a job has done so far, on disk: what a job that was killed goes on from.

A journal is an SQLite file. What a method has returned from is on the disk, and survives a
`kill -9` and a power cut. One job at a time has a journal open.
"""

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

import attrs

from ..._core.codec import encode
from ...errors import MarketplaceError

# Those that a report holds; the file has all of them.
_MOST_FAILURES = 100

_SCHEMA = """
CREATE TABLE IF NOT EXISTS job (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS accounts (
    sid TEXT PRIMARY KEY,
    friendly_name TEXT,
    records INTEGER NOT NULL,
    -- Why it failed, if it did: the class of the error, and its message.
    error TEXT,
    message TEXT
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS plans (
    account_sid TEXT PRIMARY KEY,
    steps TEXT NOT NULL
) STRICT, WITHOUT ROWID;
-- The writes of all runs, which stay for those who ask what was done, and when.
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
    """A job cannot begin, or cannot go on where it was; the message says why, and what to do."""


@attrs.frozen
class Failure:
    """What went wrong with one account.

    Attributes:
        account_sid: `AC...`.
        friendly_name: The account's name for people.
        error: The class of the error, such as "PermissionDeniedError".
        message: What it says.
    """

    account_sid: str
    friendly_name: str | None
    error: str
    message: str


@attrs.frozen
class Failures:
    """The failures of a job.

    Attributes:
        count: Accounts that failed.
        first: The first 100 of them.
        file: Where all of them are, as JSON lines; None if there are none, or there is no file.
    """

    count: int
    first: tuple[Failure, ...]
    file: Path | None


@attrs.frozen
class Done:
    """An account that was worked through: how many records came of it, or why it failed."""

    account_sid: str
    friendly_name: str | None
    records: int = 0
    failure: Failure | None = None


WriteOutcome: TypeAlias = Literal["done", "unchanged", "failed", "unknown", "skipped"]


@attrs.frozen
class Write:
    """What came of one step of `apply`.

    Attributes:
        step: Which it was: the `key` of a `Step`.
        outcome: "done"; "unchanged", as somebody else had done it; "failed", which changed nothing;
            "unknown": it may have happened, and the next run finds out; or "skipped", after one
            that it needs.
        installed_add_on_sid: The installed add-on, `XE...`, if it is known.
        message: What went wrong, if something did.
        error: The class of the error that it went wrong with.
    """

    step: str
    outcome: WriteOutcome
    installed_add_on_sid: str | None = None
    message: str | None = None
    error: str | None = None


class Journal:
    """The journal of one job.

    Args:
        file: Where it is kept; for a job that cannot be resumed, in a file that goes with it.

    Raises:
        JobError: It is in use, or no journal.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        if file is not None:
            # What an account fails with may say more than everybody should read.
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
            raise JobError(f"{file}: this is no journal: {error}") from None

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- which job it is, and how far its output goes

    def facts(self) -> dict[str, Any]:
        """Return what the job was begun with; empty for a new journal."""
        return {
            name: json.loads(value)
            for name, value in self._db.execute("SELECT name, value FROM job")
            if name != "position"
        }

    def begin(self, facts: Mapping[str, Any]) -> None:
        """Forget the job before, and begin one."""
        with self._transaction():
            for table in ("job", "accounts", "plans"):
                self._db.execute(f"DELETE FROM {table}")
            self._db.executemany(
                "INSERT INTO job VALUES (?, ?)",
                [(name, json.dumps(value)) for name, value in facts.items()],
            )

    def position(self) -> int:
        """Return how many bytes of the output are certain."""
        row = self._db.execute("SELECT value FROM job WHERE name = 'position'").fetchone()
        return 0 if row is None else int(row[0])

    def commit(self, done: Iterable[Done], position: int = 0) -> None:
        """Note accounts that were worked through, and how far the output goes with them."""
        with self._transaction():
            self._db.executemany(
                # What an account failed with before stays beside what it fails with now.
                "INSERT INTO accounts VALUES (?, ?, ?, ?, ?) ON CONFLICT (sid) DO UPDATE SET "
                "records = records + excluded.records, error = ifnull(error, excluded.error), "
                "message = ifnull(message || '; ' || excluded.message, "
                "ifnull(message, excluded.message))",
                [
                    (
                        one.account_sid,
                        one.friendly_name,
                        one.records,
                        one.failure and one.failure.error,
                        one.failure and one.failure.message,
                    )
                    for one in done
                ],
            )
            self._db.execute("INSERT OR REPLACE INTO job VALUES ('position', ?)", (str(position),))

    # -- accounts

    def forget_failures(self) -> None:
        """Let the accounts that failed be tried again."""
        with self._transaction():
            self._db.execute("DELETE FROM accounts WHERE error IS NOT NULL")

    def known(self, sids: Sequence[str]) -> set[str]:
        """Return those of some accounts that were worked through."""
        marks = ",".join("?" * len(sids))
        rows = self._db.execute(f"SELECT sid FROM accounts WHERE sid IN ({marks})", tuple(sids))
        return {sid for (sid,) in rows}

    def totals(self) -> tuple[int, int, int]:
        """Return how many accounts were worked through, their records, and how many failed."""
        row = self._db.execute(
            "SELECT count(*), ifnull(sum(records), 0), count(error) FROM accounts"
        ).fetchone()
        return row[0], row[1], row[2]

    def failures(self) -> Iterator[Failure]:
        """Give the failures, by account."""
        for row in self._db.execute(
            "SELECT sid, friendly_name, error, message FROM accounts "
            "WHERE error IS NOT NULL ORDER BY sid"
        ):
            yield Failure(*row)

    def write_failures(self, file: Path | None) -> Failures:
        """Write the failures to a file, if there are any; that of an earlier run is replaced."""
        count = 0
        first: list[Failure] = []
        temporary = None if file is None else file.with_name(f"{file.name}.new")
        with nullcontext() if temporary is None else temporary.open("wb") as lines:
            for failure in self.failures():
                count += 1
                if len(first) < _MOST_FAILURES:
                    first.append(failure)
                if lines is not None:
                    lines.write(encode(failure) + b"\n")
        if file is not None and temporary is not None:
            if count:
                temporary.replace(file)
            else:
                temporary.unlink()
                file.unlink(missing_ok=True)
        return Failures(count, tuple(first), file if count else None)

    # -- apply: what is planned, and what is written

    def plan(self, steps: Mapping[str, Sequence[str]]) -> None:
        """Note the steps that are to be done, by account."""
        with self._transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO plans VALUES (?, ?)",
                [(sid, json.dumps(keys)) for sid, keys in steps.items()],
            )

    def planned(self, run: str, sids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return the steps of those of some accounts that have any, and were not begun."""
        marks = ",".join("?" * len(sids))
        rows = self._db.execute(
            f"SELECT account_sid, steps FROM plans WHERE account_sid IN ({marks}) "
            "AND account_sid NOT IN (SELECT account_sid FROM writes WHERE run = ?)",
            (*sids, run),
        )
        return {sid: tuple(json.loads(steps)) for sid, steps in rows}

    def never_begun(self, run: str) -> Iterator[str]:
        """Give the accounts that have a plan of which nothing was begun."""
        for (sid,) in self._db.execute(
            "SELECT account_sid FROM plans "
            "WHERE account_sid NOT IN (SELECT account_sid FROM writes WHERE run = ?)",
            (run,),
        ):
            yield sid

    def begin_writes(self, run: str, steps: Mapping[str, Sequence[str]]) -> None:
        """Note steps, by account, before they are done."""
        now = _now()
        with self._transaction():
            self._db.executemany(
                "INSERT OR IGNORE INTO writes (run, account_sid, step, begun) VALUES (?, ?, ?, ?)",
                [(run, sid, key, now) for sid, keys in steps.items() for key in keys],
            )

    def begun(self, run: str, account_sid: str) -> list[str]:
        """Return the steps of an account that were begun and not ended."""
        rows = self._db.execute(
            "SELECT step FROM writes WHERE run = ? AND account_sid = ? AND outcome = 'begun'",
            (run, account_sid),
        )
        return [step for (step,) in rows]

    def end_writes(self, run: str, writes: Mapping[str, Sequence[Write]]) -> None:
        """Note what came of steps, by account."""
        now = _now()
        with self._transaction():
            self._db.executemany(
                "UPDATE writes SET ended = ?, outcome = ?, installed_add_on_sid = ?, message = ? "
                "WHERE run = ? AND account_sid = ? AND step = ? AND outcome = 'begun'",
                [
                    (
                        *(now, one.outcome, one.installed_add_on_sid, one.message),
                        *(run, sid, one.step),
                    )
                    for sid, results in writes.items()
                    for one in results
                ],
            )

    def give_up_open_writes(self) -> int:
        """Mark as unknown what a run before had begun and not ended; return how many there were."""
        cursor = self._db.execute("UPDATE writes SET outcome = 'unknown' WHERE outcome = 'begun'")
        return cursor.rowcount

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit what is done in the block as one, or nothing of it."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
