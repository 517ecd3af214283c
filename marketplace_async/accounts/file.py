"""Accounts in a CSV or JSON Lines file, read in batches."""

import asyncio
import csv
import os
import stat
import threading
from collections.abc import AsyncGenerator, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

import attrs

from .._core.arguments import check_sid
from .._core.codec import from_json
from .._core.streams import Reading, Running, Stream
from ..credentials import AccountToken, ApiKey, Credentials
from ..errors import CredentialsError
from .account import STATUSES, Account, AccountSource, AccountStatus, check_status


def from_file(
    path: str | os.PathLike[str], *, status: AccountStatus | None = None
) -> AccountSource:
    """Return the accounts in a file. Nothing is read until you iterate over them.

    Each row has `account_sid` and `auth_token`, or `account_sid`, `api_key` and `api_secret`. If it
    has both, the API key is used. `friendly_name` and `status` are optional; other columns are
    ignored. The file is read in batches, in threads, so memory stays constant.

    Args:
        path: A .csv file with a header, or a .jsonl or .ndjson file with one object per line, in
            UTF-8. On POSIX, other users must not have access to it.
        status: Only accounts with this status. "active" includes accounts without a status.

    Returns:
        The accounts. `fetch(sid)` returns one of them, regardless of its status.

    Raises:
        ValueError, TypeError: `path` or `status` is invalid. Iterating and `fetch` raise
            CredentialsError: The file cannot be read, other users can access it, it changed while
            it was being read, or a line is malformed. The message gives the line number, never the
            content.
    """
    return _File(Path(path), status)


class _File:
    def __init__(self, path: Path, status: AccountStatus | None) -> None:
        if path.suffix.lower() not in _ROWS:
            raise ValueError(f"path: expected a {' or '.join(_ROWS)} file, got {str(path)!r}")
        self._path = path
        self._status = None if status is None else check_status(status)
        self._lock = threading.Lock()
        self._index: _Index | None = None

    def __repr__(self) -> str:
        return f"<accounts of {self._path}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _File, (self._path, self._status)

    def __aiter__(self) -> Stream[Account]:
        accounts = _Accounts(_Reader(self._path), self._status)
        return Stream(accounts.generate, accounts.reading)

    async def fetch(self, sid: str) -> Account:
        sid = check_sid("AC", sid, "sid")
        found = await asyncio.to_thread(self._look_up, sid)
        if isinstance(found, str):
            raise CredentialsError(found)
        return found

    def _look_up(self, sid: str) -> Account | str:
        """Return the account, or the reason for a CredentialsError."""
        with self._lock:
            if self._index is None or self._index.is_stale():
                self._index = None
                index = _index_of(self._path)
                if isinstance(index, str):
                    return index
                self._index = index
            index = self._index
        reader = index.reader_at(sid)
        if reader is None:
            return f"{self._path}: account {sid} not found"
        for _, account in reader.read(1):
            return account
        return str(reader.failure)


class _Accounts:
    """The position of one iteration over a file."""

    def __init__(self, reader: "_Reader", status: str | None) -> None:
        self.reading: Reading[list[tuple[int, Account]]] = Reading()
        self._reader = reader
        self._status = status
        self._batch: Iterator[tuple[int, Account]] = iter(())

    async def generate(self, running: Running) -> AsyncGenerator[Account, None]:
        reader = self._reader
        with running:
            while True:
                for _, account in self._batch:
                    if self._status in (None, account.status or "active"):
                        yield account
                if reader.done and not self.reading.started:
                    break
                # Each batch opens and closes the file: the caller may stop between two batches.
                self._batch = iter(await self.reading.result_of(self._read))
            if reader.failure is not None:
                raise CredentialsError(reader.failure)

    async def _read(self) -> list[tuple[int, Account]]:
        return await asyncio.to_thread(self._reader.read, _BATCH_SIZE)


@attrs.frozen
class _Index:
    """The offsets of the accounts in a file. Holds no secrets."""

    end: "_Reader"
    offsets: dict[str, int]

    def is_stale(self) -> bool:
        return self.end.is_stale()

    def reader_at(self, sid: str) -> "_Reader | None":
        offset = self.offsets.get(sid)
        return None if offset is None else self.end.at(offset)


def _index_of(path: Path) -> _Index | str:
    """Return the index of a file, or the reason for a CredentialsError."""
    reader = _Reader(path)
    offsets: dict[str, int] = {}
    while not reader.done:
        for offset, account in reader.read(_BATCH_SIZE):
            if account.sid in offsets:
                return f"{path}: account {account.sid} is listed twice"
            offsets[account.sid] = offset
    return _Index(reader, offsets) if reader.failure is None else reader.failure


class _Reader:
    """Reads accounts from a file in batches. Blocks, and must not be called concurrently.

    Errors are kept as text: the frames of an exception would hold secrets.

    Attributes:
        done: Whether the end was reached, or reading failed.
        failure: Why reading failed.
    """

    def __init__(self, path: Path) -> None:
        self.done = False
        self.failure: str | None = None
        self._path = path
        self._rows = _ROWS[path.suffix.lower()]
        self._position = _Position()
        self._fingerprint: tuple[int, ...] | None = None

    def at(self, offset: int) -> "_Reader":
        """Return a reader of the same file that starts at a row."""
        reader = _Reader(self._path)
        reader._fingerprint = self._fingerprint
        reader._position = _Position(offset, columns=self._position.columns)
        return reader

    def is_stale(self) -> bool:
        try:
            return _fingerprint(self._path.stat()) != self._fingerprint
        except OSError:
            return True

    def read(self, count: int) -> list[tuple[int, Account]]:
        """Return the accounts in the next `count` rows, each with the offset of its row."""
        found: list[tuple[int, Account]] = []
        position = self._position
        try:
            with self._open() as file:
                file.seek(position.offset)
                for number, (offset, row) in enumerate(self._rows(file, position), 1):
                    if row is not None:
                        found.append((offset, row.account()))
                    if number == count:
                        return found
        except OSError as error:
            self.failure = f"{self._path}: {error.strerror or error}"
        except (ValueError, csv.Error) as error:
            at = f", line {position.line}" if position.line else ""
            self.failure = f"{self._path}{at}: {error}"
        self.done = True
        return found

    def _open(self) -> IO[bytes]:
        path = self._path
        if path.exists() and not path.is_file():
            raise OSError("expected a regular file")
        file = path.open("rb")
        try:
            status = os.fstat(file.fileno())
            if os.name == "posix" and stat.S_IMODE(status.st_mode) & 0o077:
                raise OSError(
                    f"it contains secrets, but other users have access: run chmod 600 {path}"
                )
            if self._fingerprint not in (None, _fingerprint(status)):
                raise OSError("the file changed while it was being read")
            self._fingerprint = _fingerprint(status)
        except BaseException:
            file.close()
            raise
        return file


def _fingerprint(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@attrs.define
class _Position:
    """The position of a reader, and the header of a CSV file."""

    offset: int = 0
    line: int = 0
    columns: tuple[str, ...] | None = None


@attrs.frozen(repr=False)
class _Row:
    account_sid: str | None = None
    auth_token: str | None = None
    api_key: str | None = None
    api_secret: str | None = None
    friendly_name: str | None = None
    status: str | None = None

    def account(self) -> Account:
        sid = check_sid("AC", self.account_sid or "", "account_sid", may_be_secret=True)
        # Do not show the value: if cells are shifted, it is a secret.
        if self.status and self.status not in STATUSES:
            raise ValueError(f"status: expected one of {', '.join(STATUSES)}")
        credentials: Credentials
        if self.api_key or self.api_secret:
            if not (self.api_key and self.api_secret):
                raise ValueError("expected api_key and api_secret together")
            check_sid("SK", self.api_key, "api_key", may_be_secret=True)
            credentials = ApiKey(self.api_key, self.api_secret, sid)
        elif self.auth_token:
            credentials = AccountToken(sid, self.auth_token)
        else:
            raise ValueError("expected auth_token, or api_key and api_secret")
        return Account(
            sid=sid,
            friendly_name=self.friendly_name or None,
            status=self.status or None,
            credentials=credentials,
        )


_COLUMNS: Final = frozenset(field.name for field in attrs.fields(_Row))
_MAX_LINE_LENGTH: Final = 65_536
_BATCH_SIZE: Final = 256


def _lines(file: IO[bytes], position: _Position) -> Iterator[bytes]:
    while line := file.readline(_MAX_LINE_LENGTH + 1):
        position.line += 1
        if len(line) > _MAX_LINE_LENGTH:
            raise ValueError(f"longer than {_MAX_LINE_LENGTH} bytes")
        first = position.offset == 0
        position.offset += len(line)
        yield line.removeprefix(b"\xef\xbb\xbf") if first else line


def _json_rows(file: IO[bytes], position: _Position) -> Iterator[tuple[int, _Row | None]]:
    """Yield each row with its offset, or None for an empty row."""
    start = position.offset
    for line in _lines(file, position):
        yield start, from_json(line, _Row, "an object with text values") if line.strip() else None
        start = position.offset


def _csv_rows(file: IO[bytes], position: _Position) -> Iterator[tuple[int, _Row | None]]:
    """Yield each row with its offset, or None for an empty row."""
    rows = csv.reader((line.decode() for line in _lines(file, position)), strict=True)
    if position.columns is None:
        position.columns = _check_header(next(rows, []))
    columns = position.columns
    start = position.offset
    for cells in rows:
        if cells and len(cells) != len(columns):
            raise ValueError(f"expected {len(columns)} cells as in the header, got {len(cells)}")
        fields = {
            name: cell.strip() or None
            for name, cell in zip(columns, cells, strict=False)
            if name in _COLUMNS
        }
        yield start, _Row(**fields) if cells else None
        start = position.offset


def _check_header(cells: Sequence[str]) -> tuple[str, ...]:
    columns = tuple(cell.strip() for cell in cells)
    known = [name for name in columns if name in _COLUMNS]
    if "account_sid" not in known or not ({"auth_token"} <= {*known} or {*_API_KEY} <= {*known}):
        # Do not show the cells: in a file without a header, they are secrets.
        raise ValueError(
            "expected a header with account_sid and auth_token, "
            "or with account_sid, api_key and api_secret"
        )
    if len(known) != len(set(known)):
        raise ValueError("expected each column only once in the header")
    return columns


_API_KEY: Final = ("api_key", "api_secret")
_ROWS: Final = {".csv": _csv_rows, ".jsonl": _json_rows, ".ndjson": _json_rows}
