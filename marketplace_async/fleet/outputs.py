"""Outputs: the files that jobs write records to.

An output reports how many bytes are on disk, and a resumed job truncates it to that size. Records
that are written twice for one account are stored once.
"""

import json
import os
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar, runtime_checkable

import attrs

from .._core.codec import encode
from .._core.rows import cell, csv_lines, field_names, get
from .._core.serializable import Serializable
from ._engine.journal import Failure, JobError

R = TypeVar("R", contravariant=True)


@attrs.frozen(kw_only=True)
class ExtensionRecord(Serializable):
    """An extension of an installed Add-on in an inventory."""

    sid: str
    unique_name: str | None
    friendly_name: str | None
    product_name: str | None
    enabled: bool | None


@attrs.frozen(kw_only=True)
class InventoryRecord(Serializable):
    """An installed Add-on in an inventory.

    Attributes:
        account_sid: The SID of the account, `AC...`.
        account_friendly_name: The display name of the account.
        sid: The SID of the installed Add-on, `XE...`.
        unique_name: Its unique name within the account.
        friendly_name: The display name of the Add-on.
        available_add_on_sid: The SID of the available Add-on, `XB...`.
        configuration: Its configuration.
        date_created: When it was installed, in UTC.
        date_updated: When it was last updated, in UTC.
        extensions: Its extensions, or None unless the inventory includes them.
    """

    account_sid: str
    account_friendly_name: str | None
    sid: str
    unique_name: str | None
    friendly_name: str | None
    available_add_on_sid: str | None
    configuration: dict[str, Any] | None = attrs.field(hash=False)
    date_created: datetime | None
    date_updated: datetime | None
    extensions: tuple[ExtensionRecord, ...] | None = None


@runtime_checkable
class Output(Protocol[R]):
    """Receives the records of a job. Methods may block: they are called in a thread."""

    def begin(self) -> None:
        """Start empty."""
        ...

    def resume(self, position: int) -> None:
        """Continue after `position` bytes and discard what follows them."""
        ...

    def write(self, account_sid: str, records: Sequence[R]) -> None:
        """Write the records of one account."""
        ...

    def sync(self) -> int:
        """Flush to disk and return the size in bytes."""
        ...

    def close(self) -> None:
        """Close the output."""
        ...


@runtime_checkable
class FailureOutput(Protocol):
    """An `Output` that also receives the failures, at the end of the job."""

    def fail(self, failure: Failure) -> None:
        """Write the failure of one account."""
        ...


class _File:
    """A file that is appended to, or a stream such as standard output."""

    def __init__(self, target: Path | BinaryIO) -> None:
        self._path = target if isinstance(target, Path) else None
        self._stream: BinaryIO | None = None if isinstance(target, Path) else target

    def begin(self) -> None:
        if self._path is not None:
            self._stream = self._path.open("wb")

    def resume(self, position: int) -> None:
        if self._path is None:
            raise JobError("a stream cannot be resumed: pass a file")
        # "ab" creates a missing file and keeps the content of an existing one.
        self._stream = stream = self._path.open("ab")
        if stream.tell() < position:
            stream.close()
            raise JobError(
                f"{self._path} has fewer bytes than its journal says ({position:,}); "
                "start over with overwrite"
            )
        stream.truncate(position)
        stream.seek(position)

    def sync(self) -> int:
        if self._stream is None:
            return 0
        self._stream.flush()
        if self._path is None:
            return 0
        os.fsync(self._stream.fileno())
        return self._stream.tell()

    def close(self) -> None:
        if self._path is not None and self._stream is not None:
            self._stream.close()

    def _append(self, data: bytes) -> None:
        assert self._stream is not None
        self._stream.write(data)


class JsonLines(_File):
    """JSON Lines: one object per line."""

    def write(self, account_sid: str, records: Sequence[object]) -> None:
        self._append(b"".join(encode(record) + b"\n" for record in records))


class Nowhere:
    """Discards records that are only counted."""

    def begin(self) -> None:
        pass

    def resume(self, position: int) -> None:
        raise JobError("there is no file to resume")

    def write(self, account_sid: str, records: Sequence[object]) -> None:
        pass

    def sync(self) -> int:
        return 0

    def close(self) -> None:
        pass


_COLUMNS = field_names(InventoryRecord)
_HEADER = csv_lines([_COLUMNS]).encode()


class Csv(_File):
    """CSV: one row per installed Add-on, with configuration and extensions as JSON."""

    def begin(self) -> None:
        super().begin()
        self._append(_HEADER)

    def resume(self, position: int) -> None:
        super().resume(position)
        if position == 0:
            self._append(_HEADER)

    def write(self, account_sid: str, records: Sequence[InventoryRecord]) -> None:
        rows = ([cell(get(record, name)) for name in _COLUMNS] for record in records)
        self._append(csv_lines(rows).encode())


_TABLES = """
CREATE TABLE IF NOT EXISTS installed_add_ons (
    sid TEXT PRIMARY KEY,
    account_sid TEXT NOT NULL,
    account_friendly_name TEXT,
    unique_name TEXT,
    friendly_name TEXT,
    available_add_on_sid TEXT,
    configuration TEXT,
    date_created TEXT,
    date_updated TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS by_account ON installed_add_ons (account_sid);
CREATE TABLE IF NOT EXISTS extensions (
    installed_add_on_sid TEXT NOT NULL REFERENCES installed_add_ons (sid),
    sid TEXT NOT NULL,
    unique_name TEXT,
    friendly_name TEXT,
    product_name TEXT,
    enabled INTEGER,
    PRIMARY KEY (installed_add_on_sid, sid)
) STRICT, WITHOUT ROWID;
"""


class Sqlite:
    """SQLite: a table of installed Add-ons and one of their extensions."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._db: sqlite3.Connection | None = None

    def begin(self) -> None:
        self._file.unlink(missing_ok=True)
        Path(f"{self._file}-journal").unlink(missing_ok=True)
        self._open()

    def resume(self, position: int) -> None:
        # No truncation is needed: `write` replaces the records of an account.
        self._open()

    def write(self, account_sid: str, records: Sequence[InventoryRecord]) -> None:
        assert self._db is not None
        self._db.execute(
            "DELETE FROM extensions WHERE installed_add_on_sid IN "
            "(SELECT sid FROM installed_add_ons WHERE account_sid = ?)",
            (account_sid,),
        )
        self._db.execute("DELETE FROM installed_add_ons WHERE account_sid = ?", (account_sid,))
        self._db.executemany(
            "INSERT OR REPLACE INTO installed_add_ons VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    record.sid,
                    record.account_sid,
                    record.account_friendly_name,
                    record.unique_name,
                    record.friendly_name,
                    record.available_add_on_sid,
                    None if record.configuration is None else json.dumps(record.configuration),
                    cell(record.date_created) or None,
                    cell(record.date_updated) or None,
                )
                for record in records
            ],
        )
        self._db.executemany(
            "INSERT OR REPLACE INTO extensions VALUES (?, ?, ?, ?, ?, ?)",
            [
                (
                    *(record.sid, extension.sid, extension.unique_name),
                    *(extension.friendly_name, extension.product_name, extension.enabled),
                )
                for record in records
                for extension in record.extensions or ()
            ],
        )

    def sync(self) -> int:
        assert self._db is not None
        self._db.commit()
        return 0

    def close(self) -> None:
        if self._db is not None:
            self._db.close()

    def _open(self) -> None:
        self._db = sqlite3.connect(self._file, check_same_thread=False)
        try:
            self._db.executescript(_TABLES)
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise JobError(f"{self._file}: {error}") from None


_SUFFIXES: dict[str, type[JsonLines] | type[Csv] | type[Sqlite]] = {
    ".jsonl": JsonLines,
    ".ndjson": JsonLines,
    ".csv": Csv,
    ".db": Sqlite,
    ".sqlite": Sqlite,
    ".sqlite3": Sqlite,
}


def output_of(file: Path) -> Output[InventoryRecord]:
    """Return the output for a file, by its suffix."""
    try:
        kind = _SUFFIXES[file.suffix.lower()]
    except KeyError:
        raise ValueError(
            f"to: expected a file that ends in {', '.join(_SUFFIXES)}, got {str(file)!r}"
        ) from None
    output: Output[InventoryRecord] = kind(file)
    return output
