"""Outputs: the files that jobs write records to.

An output reports how many bytes are on disk, and a resumed job truncates it to that size. So the
records of an account that is processed twice are stored once. Files are private, and never written
through a link.
"""

import io
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, TypeVar, runtime_checkable

import attrs

from .._core.codec import encode
from .._core.databases import Database, FileKind, is_ours, open_database
from .._core.files import create, reopen, sync_directory, write_all
from .._core.rows import cell, csv_lines, field_names, get
from .._core.serializable import Serializable
from ._engine.entries import Failure, JobError
from .pages import Kind, page_head, script_safe

R = TypeVar("R", contravariant=True)

_SQLITE: Final = b"SQLite format 3\0"


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
        """Start with an empty output."""
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


@runtime_checkable
class Removable(Protocol):
    """An output whose file can be deleted, so that a job can start over."""

    def check_removable(self) -> None:
        """Raise JobError if the file must not be deleted."""
        ...

    def remove(self) -> None:
        """Delete the file, if it exists."""
        ...


class _File:
    """Appends to a file, or to a stream such as standard output.

    `begin` creates the file. It raises FileExistsError if the file exists.
    """

    def __init__(self, target: Path | BinaryIO) -> None:
        self._path = target if isinstance(target, Path) else None
        self._stream: BinaryIO | None = None if isinstance(target, Path) else target
        # Unbuffered, so that `close` has nothing left to write after a failed write.
        self._file: io.FileIO | None = None

    def begin(self) -> None:
        if self._path is not None:
            self._file = create(self._path)
            sync_directory(self._path)

    def resume(self, position: int) -> None:
        if self._path is None:
            raise JobError("a stream cannot be resumed: pass a file")
        try:
            self._file = file = reopen(self._path)
        except FileNotFoundError:
            if position:
                raise JobError(f"{self._path} was deleted", "overwrite") from None
            _File.begin(self)
            return
        size = file.seek(0, os.SEEK_END)
        if size < position:
            raise JobError(
                f"{self._path} has {size:,} bytes, but according to its journal {position:,} were "
                "written",
                "overwrite",
            )
        file.truncate(position)
        file.seek(position)

    def sync(self) -> int:
        if self._file is not None:
            os.fsync(self._file.fileno())
            return self._file.tell()
        if self._stream is not None:
            self._stream.flush()
        return 0

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def check_removable(self) -> None:
        if self._path is None:
            return
        with self._path.open("rb") as file:
            if file.read(len(_SQLITE)) == _SQLITE:
                raise JobError(
                    f"{self._path} is a database; it was left unchanged: pass another path"
                )

    def remove(self) -> None:
        self.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _append(self, data: bytes) -> None:
        if self._file is not None:
            write_all(self._file, data)
        else:
            assert self._stream is not None
            self._stream.write(data)


class JsonLines(_File):
    """JSON Lines: one object per line.

    Args:
        target: A new file, or a binary stream. A job raises FileExistsError if the file exists.
    """

    def write(self, account_sid: str, records: Sequence[object]) -> None:
        self._append(b"".join(encode(record) + b"\n" for record in records))


class NullOutput:
    """Discards the records."""

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
    """CSV: one row per installed Add-on, with configuration and extensions as JSON.

    Args:
        target: A new file, or a binary stream. A job raises FileExistsError if the file exists.
    """

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


class Html(_File):
    """HTML: one page that needs no network, with a matrix of accounts by Add-ons.

    Args:
        target: A new file, or a binary stream. A job raises FileExistsError if the file exists.
    """

    _kind: Kind = "inventory"

    def begin(self) -> None:
        super().begin()
        self._append(page_head(self._kind, datetime.now(UTC)))

    def resume(self, position: int) -> None:
        super().resume(position)
        if position == 0:
            self._append(page_head(self._kind, datetime.now(UTC)))

    def write(self, account_sid: str, records: Sequence[object]) -> None:
        # The page also shows accounts without records.
        self._append_lines(*(records or [{"finished": account_sid}]))

    def fail(self, failure: Failure) -> None:
        self._append_lines({"failure": attrs.asdict(failure)})

    def _append_lines(self, *values: object) -> None:
        self._append(script_safe(b"".join(encode(value) + b"\n" for value in values)))


class PlanHtml(Html):
    """HTML of a plan: one page that needs no network, with the steps of each account.

    Args:
        target: A new file, or a binary stream. A job raises FileExistsError if the file exists.
    """

    _kind = "plan"


INVENTORY: Final = FileKind(
    name="an inventory",
    application_id=0x4D41696E,  # "MAin"
    version=1,
    schema=(
        """CREATE TABLE installed_add_ons (
            sid TEXT PRIMARY KEY,
            account_sid TEXT NOT NULL,
            account_friendly_name TEXT,
            unique_name TEXT,
            friendly_name TEXT,
            available_add_on_sid TEXT,
            configuration TEXT,
            date_created TEXT,
            date_updated TEXT
        ) STRICT""",
        "CREATE INDEX by_account ON installed_add_ons (account_sid)",
        """CREATE TABLE extensions (
            installed_add_on_sid TEXT NOT NULL REFERENCES installed_add_ons (sid),
            sid TEXT NOT NULL,
            unique_name TEXT,
            friendly_name TEXT,
            product_name TEXT,
            enabled INTEGER,
            PRIMARY KEY (installed_add_on_sid, sid)
        ) STRICT, WITHOUT ROWID""",
    ),
    error=JobError,
    first_tables=frozenset({"installed_add_ons", "extensions"}),
)

# Another program may read the file while the job writes it, and lock it briefly.
_LOCK_TIMEOUT: Final = 30.0


class Sqlite:
    """SQLite: a table of installed Add-ons, and a table of their extensions.

    Args:
        file: A new file. A job raises FileExistsError if it exists.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._db: Database | None = None

    def begin(self) -> None:
        self._db = open_database(self._file, INVENTORY, new=True, timeout=_LOCK_TIMEOUT)

    def resume(self, position: int) -> None:
        # No truncation is needed: `write` replaces the records of an account.
        if position and not self._file.exists():
            raise JobError(f"{self._file} was deleted", "overwrite")
        self._db = db = open_database(self._file, INVENTORY, timeout=_LOCK_TIMEOUT)
        if self._size() < position:
            raise JobError(
                f"{self._file} has {self._size():,} bytes, but according to its journal "
                f"{position:,} were written",
                "overwrite",
            )
        if position == 0:
            with db.transaction():
                db.execute("DELETE FROM extensions")
                db.execute("DELETE FROM installed_add_ons")

    def write(self, account_sid: str, records: Sequence[InventoryRecord]) -> None:
        db = self._opened()
        if not db.in_transaction:
            db.execute("BEGIN IMMEDIATE")
        db.execute(
            "DELETE FROM extensions WHERE installed_add_on_sid IN "
            "(SELECT sid FROM installed_add_ons WHERE account_sid = ?)",
            (account_sid,),
        )
        db.execute("DELETE FROM installed_add_ons WHERE account_sid = ?", (account_sid,))
        db.executemany(
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
        db.executemany(
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
        db = self._opened()
        if db.in_transaction:
            db.execute("COMMIT")
        return self._size()

    def close(self) -> None:
        if self._db is not None:
            self._db.close()

    def check_removable(self) -> None:
        is_ours(self._file, INVENTORY)

    def remove(self) -> None:
        self.check_removable()
        self.close()
        self._file.unlink(missing_ok=True)
        # A killed job leaves its rollback journal behind. It must not be applied to a new file.
        self._file.with_name(f"{self._file.name}-journal").unlink(missing_ok=True)

    def _opened(self) -> Database:
        assert self._db is not None
        return self._db

    def _size(self) -> int:
        """Return the size in bytes. It never shrinks, unless somebody runs VACUUM."""
        db = self._opened()
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
        return int(pages * size)


_SUFFIXES: dict[str, type[JsonLines] | type[Csv] | type[Sqlite] | type[Html]] = {
    ".jsonl": JsonLines,
    ".ndjson": JsonLines,
    ".csv": Csv,
    ".db": Sqlite,
    ".sqlite": Sqlite,
    ".sqlite3": Sqlite,
    ".html": Html,
}


def output_of(file: Path) -> Output[InventoryRecord]:
    """Return the output for a file, chosen by its suffix."""
    try:
        kind = _SUFFIXES[file.suffix.lower()]
    except KeyError:
        raise ValueError(
            f"to: expected a file that ends in {', '.join(_SUFFIXES)}, got {str(file)!r}"
        ) from None
    output: Output[InventoryRecord] = kind(file)
    return output
