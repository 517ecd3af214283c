"""Readers of accounts: in batches from a file on disk, or at once from a pipe.

Readers block, and must not be called concurrently. They keep errors as text: the frames of an
exception would hold secrets.
"""

import os
import stat
import sys
from pathlib import Path
from typing import BinaryIO, Protocol

import attrs

from .dialects import Dialect, FileError, Format
from .lines import Lines
from .rows import AnyRow


class Reader(Protocol):
    """Reads the rows of a source once.

    Attributes:
        done: Whether the end was reached, or reading failed.
        failure: Why reading failed, None if it did not.
    """

    done: bool
    failure: str | None

    def read(self, count: int) -> list[AnyRow]:
        """Return up to `count` rows; fewer only at the end."""
        ...

    def again(self) -> "Reader":
        """Return a reader of the same content from the start."""
        ...

    def row_at(self, offset: int, line: int) -> AnyRow | str:
        """Return the row at an offset, or why it cannot be read."""
        ...

    def is_stale(self) -> bool:
        """Whether the source has other content by now."""
        ...


class FileReader:
    """Reads a regular file. Between two batches, the file is closed."""

    def __init__(self, path: Path, format: Format | None) -> None:
        self.done: bool = False
        self.failure: str | None = None
        self._path = path
        self._format: Format | None = format
        self._dialect: Dialect | None = None
        self._position = (0, 0)
        self._fingerprint: tuple[int, ...] | None = None

    def read(self, count: int) -> list[AnyRow]:
        """Return up to `count` rows; fewer only at the end."""
        found: list[AnyRow] = []
        try:
            with self._open() as file:
                offset, number = self._position
                file.seek(offset)
                lines = Lines(file, offset, number)
                if self._dialect is None:
                    dialect = Dialect(self._format)
                    dialect.begin(lines)
                    self._dialect = dialect
                for row in self._dialect.rows(lines):
                    found.append(row)
                    if len(found) == count:
                        self._position = lines.position
                        return found
        except FileError as error:
            self.failure = f"{self._path}, line {error.line}: {error}"
        except OSError as error:
            self.failure = f"{self._path}: {error.strerror or error}"
        self.done = True
        return found

    def again(self) -> "FileReader":
        """Return a reader that fails if the file has changed since this one read it."""
        reader = FileReader(self._path, self._format)
        reader._fingerprint = self._fingerprint
        return reader

    def row_at(self, offset: int, line: int) -> AnyRow | str:
        """Return the row at an offset, or why it cannot be read."""
        reader = self.again()
        reader._dialect, reader._position = self._dialect, (offset, line - 1)
        for row in reader.read(1):
            return row
        return str(reader.failure)

    def is_stale(self) -> bool:
        """Whether the file has changed."""
        try:
            return _fingerprint(self._path.stat()) != self._fingerprint
        except OSError:
            return True

    def _open(self) -> BinaryIO:
        file = self._path.open("rb")
        try:
            status = os.fstat(file.fileno())
            if self._fingerprint not in (None, _fingerprint(status)):
                raise OSError("the file changed while it was being read")
            _check_private(self._path, status)
            self._fingerprint = _fingerprint(status)
        except BaseException:
            file.close()
            raise
        return file


def _fingerprint(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _check_private(path: Path, status: os.stat_result) -> None:
    """Raise OSError if other users have access to a file or a named pipe."""
    is_device = os.name != "posix" or stat.S_ISCHR(status.st_mode)
    if not is_device and stat.S_IMODE(status.st_mode) & 0o077:
        raise OSError(f"it contains secrets, but other users have access: run chmod 600 {path}")


@attrs.frozen
class Pipe:
    """The rows of a pipe or of standard input, which can be read only once.

    Attributes:
        rows: The rows, with secrets as `Secret`.
        failure: Why reading failed, None if it did not.
    """

    rows: tuple[AnyRow, ...]
    failure: str | None

    @classmethod
    def read(cls, path: Path, format: Format | None) -> "Pipe":
        """Read all rows. Waits until the other end is closed."""
        name = "standard input" if is_standard_input(path) else str(path)
        rows: list[AnyRow] = []
        failure = None
        try:
            with _open_pipe(path) as file:
                lines, dialect = Lines(file), Dialect(format)
                dialect.begin(lines)
                rows += dialect.rows(lines)
        except FileError as error:
            failure = f"{name}, line {error.line}: {error}"
        except OSError as error:
            failure = f"{name}: {error.strerror or error}"
        indexed = (attrs.evolve(row, offset=index) for index, row in enumerate(rows))
        return cls(tuple(indexed), failure)


class PipeReader:
    """Reads the rows of a pipe, which are in memory."""

    def __init__(self, pipe: Pipe) -> None:
        self.done: bool = False
        self.failure: str | None = None
        self._pipe = pipe
        self._position = 0

    def read(self, count: int) -> list[AnyRow]:
        """Return up to `count` rows; fewer only at the end."""
        found = self._pipe.rows[self._position : self._position + count]
        self._position += len(found)
        if len(found) < count:
            self.done = True
            self.failure = self._pipe.failure
        return list(found)

    def again(self) -> "PipeReader":
        """Return a reader from the start."""
        return PipeReader(self._pipe)

    def row_at(self, offset: int, line: int) -> AnyRow | str:
        """Return the row with an index."""
        return self._pipe.rows[offset]

    def is_stale(self) -> bool:
        """Never: what was read stays."""
        return False


def is_standard_input(path: Path) -> bool:
    """Whether a path stands for standard input."""
    return str(path) == "-"


def is_pipe(path: Path) -> bool:
    """Whether a path can be read only once. Raises OSError for a folder or a block device."""
    if is_standard_input(path):
        return True
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        return True
    if not stat.S_ISREG(mode):
        raise OSError("expected a file or a pipe")
    return False


def _open_pipe(path: Path) -> BinaryIO:
    if is_standard_input(path):
        try:
            # A stream of its own: a thread that waits for `sys.stdin` blocks the interpreter's end.
            return open(sys.stdin.fileno(), "rb", closefd=False)
        except (AttributeError, ValueError):
            raise OSError("it is closed") from None
    # `<(...)` has no name in a folder, and on some systems it seems open to others.
    if path.parent not in (Path("/dev/fd"), Path("/proc/self/fd")):
        _check_private(path, path.stat())
    return path.open("rb")
