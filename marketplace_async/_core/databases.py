"""SQLite files that belong to the package: identified before the first byte is written.

Each kind of file has an `application_id` and a `user_version` in its header. Anything else is
rejected and stays as it is, byte for byte. `sqlite3.Error` never leaves this module.
"""

import errno
import gc
import os
import sqlite3
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import attrs

from .files import check_output, create, locked, sync_directory

_SIDE_FILES: Final = ("-journal", "-wal", "-shm")


class ConstraintError(Exception):
    """A row violates a constraint of its table. The message names the constraint."""


@attrs.frozen(kw_only=True)
class FileKind:
    """A kind of SQLite file.

    Attributes:
        name: Such as "an inventory".
        application_id: Identifies the kind in the header of the file.
        version: The version of the schema. Files of another version are rejected.
        schema: The statements that create the tables.
        pragmas: Settings of each connection.
        error: The class of the exception for a file that cannot be used.
        user: Who else may be using the file, for messages.
        first_tables: The tables of the first version, which had no `application_id`.
        temporary: Where a database without a file is kept: "" for a temporary file, or ":memory:".
    """

    name: str
    application_id: int
    version: int
    schema: tuple[str, ...]
    pragmas: tuple[str, ...] = ()
    error: type[Exception]
    user: str = "another program"
    first_tables: frozenset[str] = frozenset()
    temporary: str = ""


class _Cursor(sqlite3.Cursor):
    """The rows of a statement. Their errors are those of `Database`."""

    def fetchone(self) -> Any:
        try:
            return super().fetchone()
        except sqlite3.Error as error:
            raise self.failed(error) from error

    def fetchall(self) -> list[Any]:
        try:
            return super().fetchall()
        except sqlite3.Error as error:
            raise self.failed(error) from error

    def __iter__(self) -> "_Cursor":
        self._database.iterated.add(self)
        return self

    def __next__(self) -> Any:
        try:
            return super().__next__()
        except sqlite3.Error as error:
            raise self.failed(error) from error

    @property
    def _database(self) -> "Database":
        assert isinstance(self.connection, Database)
        return self.connection

    def failed(self, error: sqlite3.Error) -> Exception:
        translated = self._database.translated(error)
        # The traceback refers to this cursor. While it has a statement, the file stays locked,
        # even if the connection is closed.
        self.close()
        return translated


class Database(sqlite3.Connection):
    """A connection to a file of ours. Transactions are explicit.

    `execute`, `executemany` and the cursors that they return never raise `sqlite3.Error`. They
    raise OSError if the disk is full or fails, `kind.error` if the file is damaged or in use, and
    `ConstraintError`.

    Attributes:
        file: The file; None if the database is temporary.
        created: Whether this connection created the file.
        busy: Whether another process held the lock.
        iterated: The cursors over which somebody iterates.
    """

    def __init__(
        self, name: str, kind: FileKind, file: Path | None, timeout: float, *, uri: bool = False
    ) -> None:
        self.file = file
        self.created = False
        self.busy = False
        self.iterated: weakref.WeakSet[_Cursor] = weakref.WeakSet()
        self._kind = kind
        try:
            super().__init__(
                name, timeout=timeout, isolation_level=None, check_same_thread=False, uri=uri
            )
        except sqlite3.Error as error:
            raise self.translated(error) from error

    def execute(self, sql: str, parameters: Any = (), /) -> _Cursor:
        """Execute one statement."""
        cursor = self.cursor(_Cursor)
        try:
            sqlite3.Cursor.execute(cursor, sql, parameters)
        except sqlite3.Error as error:
            raise cursor.failed(error) from error
        return cursor

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> _Cursor:
        """Execute one statement for each row."""
        cursor = self.cursor(_Cursor)
        try:
            sqlite3.Cursor.executemany(cursor, sql, parameters)
        except sqlite3.Error as error:
            raise cursor.failed(error) from error
        return cursor

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit the changes of the block, or roll them back if it raises."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            self.undo()
            raise

    def undo(self) -> None:
        """Roll back the open transaction, if any."""
        # SQLite may have rolled it back itself, for example because the disk is full.
        if self.in_transaction:
            with suppress(OSError, ConstraintError, self._kind.error):
                self.execute("ROLLBACK")

    def check(self) -> None:
        """Raise `kind.error` if pages of the file are damaged. Reads the whole file."""
        (result,) = self.execute("PRAGMA quick_check(1)").fetchone()
        if result != "ok":
            # The last line names the page. The first is a headline.
            raise self._kind.error(_damaged(self.file, result.splitlines()[-1]))

    def close(self) -> None:
        """Close the connection and release the lock."""
        # An iteration that was abandoned would keep the file open and locked.
        for cursor in list(self.iterated):
            cursor.close()
        super().close()

    def delete(self) -> None:
        """Delete the file, and close the connection."""
        file = self.file
        if file is not None:
            # Nobody else can have opened these files: this connection holds the lock. Once the
            # file is deleted, other files of these names belong to another process.
            with suppress(OSError, ConstraintError, self._kind.error):
                self.execute("PRAGMA journal_mode = MEMORY").fetchall()
            for suffix in _SIDE_FILES:
                file.with_name(file.name + suffix).unlink(missing_ok=True)
            file.unlink(missing_ok=True)
        self.close()
        if file is not None:
            sync_directory(file)

    def translated(self, error: sqlite3.Error) -> Exception:
        """Return the exception that is raised instead of an error of SQLite."""
        file, kind = self.file, self._kind
        name = f"{file or f'the temporary file of {kind.name}'}"
        match getattr(error, "sqlite_errorcode", 0) & 0xFF:
            case sqlite3.SQLITE_FULL:
                return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
            case sqlite3.SQLITE_IOERR:
                return OSError(errno.EIO, os.strerror(errno.EIO), name)
            case sqlite3.SQLITE_READONLY:
                return OSError(errno.EROFS, "the file cannot be written", name)
            case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
                return OSError(errno.EACCES, "the file cannot be opened", name)
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED | sqlite3.SQLITE_PROTOCOL:
                self.busy = True
                return _in_use(file, kind)
            case sqlite3.SQLITE_CONSTRAINT:
                return ConstraintError(str(error))
            case sqlite3.SQLITE_NOTADB:
                return kind.error(
                    f"{name} is not {kind.name}, or is damaged; it was left unchanged: "
                    "pass another path, or move the file away"
                )
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_ERROR:
                return kind.error(_damaged(file, str(error)))
            case 0:  # not an error of the file
                return RuntimeError(str(error))
            case _:
                return kind.error(f"{name}: {error}")


def open_database(
    file: Path | None,
    kind: FileKind,
    *,
    new: bool = False,
    exclusive: bool = False,
    timeout: float = 5.0,
) -> Database:
    """Open a file of ours, or create it with mode 0600.

    A missing or empty file is a new one. Any other file is only read until it is known to be ours;
    no file is created beside it.

    Args:
        file: The file. None for a temporary database, which is deleted on close.
        kind: The kind of file.
        new: Whether the file must not exist.
        exclusive: Whether to lock the file until it is closed.
        timeout: Maximum wait for a lock in seconds.

    Raises:
        FileExistsError: `new` is true and the file exists.
        OSError: The file cannot be opened, created or written.
        Exception: `kind.error`: the file is of another kind or version, damaged, or in use.
    """
    if file is None:
        db = Database(kind.temporary, kind, None, timeout)
        with db.transaction():
            _create_tables(db, kind)
        return db
    if not exclusive:
        return _open(file, kind, new, exclusive, timeout)
    if not new:
        is_ours(file, kind)  # before a lock file is created beside it
    # Connections that try to lock a file at the same time would keep each other from it.
    with locked(file):
        try:
            return _open(file, kind, new, exclusive, timeout)
        except (OSError, kind.error):
            # A connection that this program has dropped, without closing it, keeps its lock until
            # it is collected: now, or by chance while this one waited for it.
            gc.collect()
        return _open(file, kind, new, exclusive, 0.0)


def _open(file: Path, kind: FileKind, new: bool, exclusive: bool, timeout: float) -> Database:
    created = (new or not is_ours(file, kind)) and _create(file, new)
    before = file.stat()
    try:
        db = Database(str(file.absolute()), kind, file, timeout)
    except BaseException:
        if created:
            file.unlink(missing_ok=True)
        raise
    db.created = created
    try:
        if exclusive:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
        _identify(db, kind)
        for pragma in kind.pragmas:
            db.execute(f"PRAGMA {pragma}").fetchall()
        with db.transaction():
            pass  # takes the lock, in the journal mode that the pragmas select
        if not _is_at(file, before):
            raise _in_use(file, kind)
    except BaseException as error:
        moved = not _is_at(file, before)
        # A file in use belongs to the process that uses it, even if this one created it.
        if created and not db.busy and not moved:
            db.delete()
        db.close()
        if moved and isinstance(error, OSError):
            # SQLite reports a deleted file as a failing disk.
            raise _in_use(file, kind) from None
        raise
    return db


def is_ours(file: Path, kind: FileKind) -> bool:
    """Return whether the file is one of ours that can be opened; False if it is missing or empty.

    The file is opened for reading only. Neither it nor its modification time changes.

    Raises:
        OSError: `file` is not a regular file, or cannot be read.
        Exception: `kind.error`: the file is of another kind or version, or damaged.
    """
    if not check_output(file) or not file.stat().st_size:
        return False
    # An immutable file is neither locked nor recovered, and gets no files beside it. Reading the
    # header without SQLite would release the locks of a connection in this process.
    db = Database(f"{file.absolute().as_uri()}?mode=ro&immutable=1", kind, file, 0.0, uri=True)
    try:
        # A file may end early if the disk was full: the rest of it is in the log beside it. SQLite
        # reads the first page of such a file only in this mode.
        db.execute("PRAGMA writable_schema = ON")
        identity = _identity(db)
        tables = _tables(db) if identity[0] == 0 else set[str]()
    finally:
        db.close()
    if identity == (kind.application_id, kind.version):
        return True
    raise kind.error(_other(file, kind, identity, tables))


def _create(file: Path, new: bool) -> bool:
    """Create an empty file and return True. Return False if there is one, unless it must be new."""
    try:
        create(file).close()
    except FileExistsError:
        if new:
            raise
        if not file.stat().st_size:  # such as the file of `mktemp`; nobody's content
            os.chmod(file, 0o600)
        return False
    sync_directory(file)
    return True


def _identify(db: Database, kind: FileKind) -> None:
    """Create the tables of a new file. Reject a file that was exchanged since it was checked."""
    with db.transaction():
        identity = _identity(db)
        if identity == (0, 0) and not _tables(db):
            _create_tables(db, kind)
            db.execute(f"PRAGMA application_id = {kind.application_id}")
            db.execute(f"PRAGMA user_version = {kind.version}")
        elif identity != (kind.application_id, kind.version):
            assert db.file is not None
            raise kind.error(_other(db.file, kind, identity, _tables(db)))


def _create_tables(db: Database, kind: FileKind) -> None:
    for statement in kind.schema:
        db.execute(statement)


def _identity(db: Database) -> tuple[int, int]:
    (application_id,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return application_id, version


def _tables(db: Database) -> set[str]:
    return {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _is_at(file: Path, status: os.stat_result) -> bool:
    """Return whether the file is still at its path. Another process may have deleted it."""
    try:
        now = file.stat()
    except FileNotFoundError:
        return False
    return (now.st_dev, now.st_ino) == (status.st_dev, status.st_ino)


def _other(file: Path, kind: FileKind, identity: tuple[int, int], tables: set[str]) -> str:
    application_id, version = identity
    if application_id == kind.application_id or (tables and tables == kind.first_tables):
        age = "a later" if version > kind.version else "an earlier"
        do = "upgrade the package" if version > kind.version else "move the file away"
        return (
            f"{file} was written by {age} version of marketplace_async (format {version}, expected "
            f"{kind.version}); it was left unchanged: {do}, or pass another path"
        )
    return f"{file} is not {kind.name}; it was left unchanged: pass another path"


def _damaged(file: Path | None, reason: str) -> str:
    return f"{file or 'the temporary file'} is damaged ({reason}): move it away and start again"


def _in_use(file: Path | None, kind: FileKind) -> Exception:
    return kind.error(f"{file}: {kind.user} is using this file; retry when it is done")
