"""Accounts that a file lists, read piece by piece."""

import asyncio
import csv
import os
import stat
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

import attrs

from .._core.arguments import check_sid
from .._core.codec import from_json
from ..credentials import AccountToken, ApiKey, Credentials
from ..errors import CredentialsError
from .account import STATUSES, Account, AccountSource, AccountStatus, check_status


def from_file(
    path: str | os.PathLike[str], *, status: AccountStatus | None = None
) -> AccountSource:
    """Return the accounts that a file lists; nothing is read before they are iterated.

    Each row has `account_sid` and `auth_token`, or `account_sid`, `api_key` and `api_secret`; if it
    has both, the API key goes first. `friendly_name` and `status` are optional, and what else there
    is does not matter. It is read piece by piece, in threads, and not held.

    Args:
        path: A file named .csv, with a header, or .jsonl or .ndjson, with an object in each line;
            in UTF-8. On POSIX nobody but its owner may be able to read it.
        status: Only the accounts of this status; where "active", those without a status, too.

    Returns:
        The accounts, with `fetch(sid)` for each, whatever its status.

    Raises:
        ValueError, TypeError: The name or the status cannot be right. Iterating, and `fetch`, raise
            CredentialsError: the file cannot be read, is open to others, changes while it is read,
            or has a malformed line, which the message names without showing it.
    """
    return _File(Path(path), status)


class _File:
    def __init__(self, path: Path, status: AccountStatus | None) -> None:
        if path.suffix.lower() not in _ROWS:
            raise ValueError(f"path: expected a file named {', '.join(_ROWS)}, got {str(path)!r}")
        self._path = path
        self._status = None if status is None else check_status(status)
        self._lock = threading.Lock()
        self._index: _Index | None = None

    def __repr__(self) -> str:
        return f"<accounts of {self._path}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _File, (self._path, self._status)

    async def __aiter__(self) -> AsyncIterator[Account]:
        reader = _Reader(self._path)
        while not reader.done:
            # The file is closed between two batches: a caller that leaves early leaves nothing.
            for _, account in await asyncio.to_thread(reader.read, _BATCH):
                if self._status in (None, account.status or "active"):
                    yield account
        if reader.failure is not None:
            raise CredentialsError(reader.failure)

    async def fetch(self, sid: str) -> Account:
        check_sid("AC", sid, "sid")
        found = await asyncio.to_thread(self._look_up, sid)
        if isinstance(found, str):
            raise CredentialsError(found)
        return found

    def _look_up(self, sid: str) -> Account | str:
        """Return an account, or why there is none."""
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
            return f"{self._path}: there is no account {sid} in it"
        for _, account in reader.read(1):
            return account
        return str(reader.failure)


@attrs.frozen
class _Index:
    """Where each account stands in a file, and no secret."""

    end: "_Reader"
    offsets: dict[str, int]

    def is_stale(self) -> bool:
        return self.end.is_stale()

    def reader_at(self, sid: str) -> "_Reader | None":
        offset = self.offsets.get(sid)
        return None if offset is None else self.end.at(offset)


def _index_of(path: Path) -> _Index | str:
    """Return the index of a file, or what is wrong with it."""
    reader = _Reader(path)
    offsets: dict[str, int] = {}
    while not reader.done:
        for offset, account in reader.read(_BATCH):
            if account.sid in offsets:
                return f"{path}: account {account.sid} stands in it twice"
            offsets[account.sid] = offset
    return _Index(reader, offsets) if reader.failure is None else reader.failure


class _Reader:
    """Reads a file of accounts, each time from where it stopped; in threads, one at a time.

    What is wrong is kept as text: the frames of an error would show secrets among their variables.

    Attributes:
        done: Whether there is nothing more to read.
        failure: Why, if not because the file is at its end.
    """

    def __init__(self, path: Path) -> None:
        self.done = False
        self.failure: str | None = None
        self._path = path
        self._rows = _ROWS[path.suffix.lower()]
        self._place = _Place()
        self._stamp: tuple[int, ...] | None = None

    def at(self, offset: int) -> "_Reader":
        """Return a reader of the same file that begins at a row."""
        reader = _Reader(self._path)
        reader._stamp = self._stamp
        reader._place = _Place(offset, columns=self._place.columns)
        return reader

    def is_stale(self) -> bool:
        try:
            return _stamp(self._path.stat()) != self._stamp
        except OSError:
            return True

    def read(self, most: int) -> list[tuple[int, Account]]:
        """Return accounts from the next `most` rows on, each with the place of its row."""
        found: list[tuple[int, Account]] = []
        place = self._place
        try:
            with self._open() as file:
                file.seek(place.offset)
                for number, (offset, row) in enumerate(self._rows(file, place), 1):
                    if row is not None:
                        found.append((offset, row.account()))
                    if number == most:
                        return found
        except OSError as error:
            self.failure = f"{self._path}: {error.strerror or error}"
        except (ValueError, csv.Error) as error:
            at = f", line {place.line}" if place.line else ""
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
                    f"it holds secrets, and others than its owner have access: chmod 600 {path}"
                )
            if self._stamp not in (None, _stamp(status)):
                raise OSError("it changed while it was read")
            self._stamp = _stamp(status)
        except BaseException:
            file.close()
            raise
        return file


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@attrs.define
class _Place:
    """Where reading has come to: bytes and lines read, and what the header of a CSV file said."""

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
        # Not shown, as a row with a cell too many or too few has a secret in the wrong place.
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
            raise ValueError("expected an auth_token, or an api_key and its api_secret")
        return Account(
            sid=sid,
            friendly_name=self.friendly_name or None,
            status=self.status or None,
            credentials=credentials,
        )


_COLUMNS: Final = frozenset(field.name for field in attrs.fields(_Row))
_LONGEST_LINE: Final = 65_536
_BATCH: Final = 256


def _lines(file: IO[bytes], place: _Place) -> Iterator[bytes]:
    while line := file.readline(_LONGEST_LINE + 1):
        place.line += 1
        if len(line) > _LONGEST_LINE:
            raise ValueError(f"longer than {_LONGEST_LINE} bytes")
        first = place.offset == 0
        place.offset += len(line)
        yield line.removeprefix(b"\xef\xbb\xbf") if first else line


def _json_rows(file: IO[bytes], place: _Place) -> Iterator[tuple[int, _Row | None]]:
    """Give each row with its place; None for an empty one."""
    start = place.offset
    for line in _lines(file, place):
        yield start, from_json(line, _Row, "an object of text") if line.strip() else None
        start = place.offset


def _csv_rows(file: IO[bytes], place: _Place) -> Iterator[tuple[int, _Row | None]]:
    """Give each row with its place; None for an empty one."""
    rows = csv.reader((line.decode() for line in _lines(file, place)), strict=True)
    if place.columns is None:
        place.columns = _check_header(next(rows, []))
    columns = place.columns
    start = place.offset
    for cells in rows:
        if cells and len(cells) != len(columns):
            raise ValueError(f"expected {len(columns)} cells as in the header, got {len(cells)}")
        fields = {
            name: cell.strip() or None
            for name, cell in zip(columns, cells, strict=False)
            if name in _COLUMNS
        }
        yield start, _Row(**fields) if cells else None
        start = place.offset


def _check_header(cells: Sequence[str]) -> tuple[str, ...]:
    columns = tuple(cell.strip() for cell in cells)
    known = [name for name in columns if name in _COLUMNS]
    if "account_sid" not in known or not ({"auth_token"} <= {*known} or {*_API_KEY} <= {*known}):
        # What stands there instead is not shown: it can be a secret, in a file without a header.
        raise ValueError(
            "expected a header with account_sid and auth_token, "
            "or with account_sid, api_key and api_secret"
        )
    if len(known) != len(set(known)):
        raise ValueError("expected each column once in the header")
    return columns


_API_KEY: Final = ("api_key", "api_secret")
_ROWS: Final = {".csv": _csv_rows, ".jsonl": _json_rows, ".ndjson": _json_rows}
