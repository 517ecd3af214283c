"""Where the records of a job are written, so that a job that was killed can go on.

Each output says how far it is certain, in bytes, and can be cut back to there. What is written
twice for one account is there once.
"""

import csv
import io
import json
import os
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar, runtime_checkable

import attrs

from .._core.codec import encode
from ._engine.journal import JobError

R = TypeVar("R", contravariant=True)


@attrs.frozen(kw_only=True)
class ExtensionRecord:
    """An extension of an installed add-on, as the inventory has it."""

    sid: str
    unique_name: str | None
    friendly_name: str | None
    product_name: str | None
    enabled: bool | None


@attrs.frozen(kw_only=True)
class InventoryRecord:
    """An installed add-on, as the inventory has it.

    Attributes:
        account_sid: The account that it is installed on, `AC...`.
        account_friendly_name: That account's name for people.
        sid: The installed add-on, `XE...`.
        unique_name: Its name for programs.
        friendly_name: The add-on's name for people.
        available_add_on_sid: The add-on, `XB...`.
        configuration: How it is configured.
        date_created: When it was installed, in UTC.
        date_updated: When it was last changed, in UTC.
        extensions: Its extensions, if they were asked for.
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
    """What a job writes its records to. It may block: it is called in a thread."""

    def begin(self) -> None:
        """Make it empty."""
        ...

    def resume(self, position: int) -> None:
        """Go on after so many bytes; what comes after them is cut off."""
        ...

    def write(self, account_sid: str, records: Sequence[R]) -> None:
        """Add the records of one account."""
        ...

    def sync(self) -> int:
        """Make certain what was written, and return how many bytes there are."""
        ...

    def close(self) -> None:
        """Close what was opened here."""
        ...


class _File:
    """A file that grows, or a stream such as standard output."""

    def __init__(self, target: Path | BinaryIO) -> None:
        self._path = target if isinstance(target, Path) else None
        self._stream: BinaryIO | None = None if isinstance(target, Path) else target

    def begin(self) -> None:
        if self._path is not None:
            self._stream = self._path.open("wb")

    def resume(self, position: int) -> None:
        if self._path is None:
            raise JobError("a stream cannot be resumed: name a file")
        # Opened for appending it is made if it is not there, and nothing of it is lost if it is.
        self._stream = stream = self._path.open("ab")
        if stream.tell() < position:
            stream.close()
            raise JobError(
                f"{self._path}: it has fewer bytes than its journal says, {position:,}; "
                "begin anew with overwrite"
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
    """A JSON object on each line."""

    def write(self, account_sid: str, records: Sequence[object]) -> None:
        self._append(b"".join(encode(record) + b"\n" for record in records))


class Nowhere:
    """For records that are only counted."""

    def begin(self) -> None:
        pass

    def resume(self, position: int) -> None:
        raise JobError("there is no file to go on with")

    def write(self, account_sid: str, records: Sequence[object]) -> None:
        pass

    def sync(self) -> int:
        return 0

    def close(self) -> None:
        pass


_COLUMNS = tuple(field.name for field in attrs.fields(InventoryRecord))


class Csv(_File):
    """A row for each installed add-on; configuration and extensions are JSON in their cells."""

    def begin(self) -> None:
        super().begin()
        self._rows([_COLUMNS])

    def resume(self, position: int) -> None:
        super().resume(position)
        if position == 0:
            self._rows([_COLUMNS])

    def write(self, account_sid: str, records: Sequence[InventoryRecord]) -> None:
        self._rows([[_cell(getattr(record, name)) for name in _COLUMNS] for record in records])

    def _rows(self, rows: Sequence[Sequence[str]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        self._append(text.getvalue().encode())


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case datetime():
            return _date(value) or ""
        case _:
            return encode(value).decode()


def _date(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat().replace("+00:00", "Z")


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
    """A table of installed add-ons, and one of their extensions."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._db: sqlite3.Connection | None = None

    def begin(self) -> None:
        self._file.unlink(missing_ok=True)
        Path(f"{self._file}-journal").unlink(missing_ok=True)
        self._open()

    def resume(self, position: int) -> None:
        # Whatever an account has here is replaced when it is written: nothing needs cutting off.
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
                    one.sid,
                    one.account_sid,
                    one.account_friendly_name,
                    one.unique_name,
                    one.friendly_name,
                    one.available_add_on_sid,
                    None if one.configuration is None else json.dumps(one.configuration),
                    _date(one.date_created),
                    _date(one.date_updated),
                )
                for one in records
            ],
        )
        self._db.executemany(
            "INSERT OR REPLACE INTO extensions VALUES (?, ?, ?, ?, ?, ?)",
            [
                (
                    *(one.sid, extension.sid, extension.unique_name),
                    *(extension.friendly_name, extension.product_name, extension.enabled),
                )
                for one in records
                for extension in one.extensions or ()
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
    """Return the output that a file's suffix stands for."""
    try:
        kind = _SUFFIXES[file.suffix.lower()]
    except KeyError:
        raise ValueError(
            f"to: expected a file that ends in {', '.join(_SUFFIXES)}, got {str(file)!r}"
        ) from None
    output: Output[InventoryRecord] = kind(file)
    return output
