"""Accounts in a CSV or JSON Lines file, or from a pipe."""

import os
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from .._core.arguments import check_sid
from .._core.streams import Reading, Running, Stream
from .._core.threads import to_daemon_thread
from ..errors import CredentialsError
from .account import Account, AccountSource, AccountStatus, check_status
from .callables import Threads
from .dialects import FORMATS, Format
from .index import BATCH_SIZE, BadRows, Index
from .reading import FileReader, Pipe, PipeReader, Reader, is_pipe, is_standard_input
from .rows import AnyRow, BadRow

T = TypeVar("T")

_SUFFIXES: Final[dict[str, Format]] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def from_file(
    path: str | os.PathLike[str],
    *,
    status: AccountStatus | None = None,
    format: Format | None = None,
) -> AccountSource:
    """Return the accounts in a file. Nothing is read until you iterate over them.

    Each row has `account_sid` (or `sid`) and `auth_token`, or `account_sid`, `api_key` and
    `api_secret`. If it has both, the API key is used. `friendly_name` and `status` are optional. A
    row whose status is "suspended" or "closed" needs no credentials.

    CSV is read as spreadsheets write it: separated by commas, semicolons or tabs, with or without a
    byte order mark, empty rows and spaces around cells, and with column names in any case, with
    spaces or underscores.

    A malformed row does not end the iteration: the error is raised after the last account. Rows
    are not compared with each other: memory stays constant, and an account that is listed twice is
    yielded twice. `fetch` compares them, and so does `fleet.AccountsFile`.

    Args:
        path: A CSV file with a header, or a JSON Lines file with one object per line, in UTF-8. On
            POSIX, other users must not have access to it. A pipe, or "-" for standard input, is
            read once, and its accounts stay in memory.
        status: Only accounts with this status. "active" includes accounts without a status.
        format: "csv" or "jsonl". By default, it follows from the suffix (.csv, .jsonl or .ndjson),
            or else from the first character: JSON Lines start with "{".

    Returns:
        The accounts. `fetch(sid)` returns one of them, regardless of its status.

    Raises:
        ValueError, TypeError: An argument is invalid. Iterating and `fetch` raise
            CredentialsError: The file cannot be read, other users can access it, it changed while
            it was being read, or rows are malformed. The message gives the line numbers of the
            first 20, never their content.
    """
    return FileAccounts(Path(path), status, format)


class FileAccounts:
    """The accounts of a file; see `from_file`."""

    def __init__(
        self, path: Path, status: AccountStatus | None = None, format: Format | None = None
    ) -> None:
        if format is not None and format not in FORMATS:
            raise ValueError(f"format: expected one of {', '.join(FORMATS)}, got {format!r}")
        self.path = path
        self._status = None if status is None else check_status(status)
        self._format: Format | None = format
        self._threads = Threads()
        self._lock = threading.Lock()
        self._index: Index | None = None
        self._pipe: Pipe | None = None

    def is_regular_file(self) -> bool:
        """Return whether the accounts are in a file that can be read again. Blocks."""
        try:
            return not is_pipe(self.path)
        except OSError:  # reading it says why
            return True

    @property
    def name(self) -> str:
        """The name of the file in messages."""
        return "standard input" if is_standard_input(self.path) else str(self.path)

    def __repr__(self) -> str:
        return f"<accounts of {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._pipe is not None or is_standard_input(self.path):
            raise TypeError(
                f"the accounts of {self.name} are in the memory of this process; "
                "write them to a file, to read them in others"
            )
        return FileAccounts, (self.path, self._status, self._format)

    def __aiter__(self) -> Stream[Account]:
        bad_rows = BadRows()

        def accept(row: AnyRow) -> Account | None:
            if isinstance(row, BadRow):
                bad_rows.add(row)
                return None
            account = row.account
            return account if self._status in (None, account.status or "active") else None

        def failure(of_file: str | None) -> str | None:
            return bad_rows.text(self.name, of_file)

        iteration = _Iteration(self._new_reader, accept, failure)
        return Stream(iteration.generate, iteration.reading)

    def rows(self) -> Stream[AnyRow]:
        """Iterate over all rows, whatever their status. Bad rows are yielded, not raised.

        Rows are compared with each other first: of equal rows, the second is bad; of different rows
        of one account, all are; and so are those of several accounts with one API key.

        Raises:
            CredentialsError: The file cannot be read.
        """

        def open_checked() -> Reader | str:
            index = self._indexed()
            if isinstance(index, str):
                return index
            checks.append(index.checked)
            return index.reader.again()

        def accept(row: AnyRow) -> AnyRow:
            return checks[0](row)

        checks: list[Callable[[AnyRow], AnyRow]] = []
        iteration: _Iteration[AnyRow] = _Iteration(open_checked, accept, lambda failure: failure)
        return Stream(iteration.generate, iteration.reading)

    async def fetch(self, sid: str) -> Account:
        """Return an account; see `AccountSource.fetch`."""
        sid = check_sid("AC", sid, "sid")
        found = await self._threads.run(self._look_up, sid)
        if isinstance(found, str):
            raise CredentialsError(found)
        return found

    def _look_up(self, sid: str) -> Account | str:
        """Return the account, or the reason for a CredentialsError."""
        index = self._indexed()
        if isinstance(index, str):
            return index
        row = index.find(sid)
        if isinstance(row, BadRow):
            return f"{self.name}, {row}"
        return f"{self.name}: {row}" if isinstance(row, str) else row.account

    def _indexed(self) -> Index | str:
        """Return the index of the file as it is now, or why it cannot be read."""
        with self._lock:
            if self._index is None or self._index.is_stale():
                self._index = None
                reader = self._reader()
                index = reader if isinstance(reader, str) else Index.of(reader)
                if isinstance(index, str):
                    return index
                self._index = index
            return self._index

    def _new_reader(self) -> Reader | str:
        with self._lock:
            return self._reader()

    def _reader(self) -> Reader | str:
        path = self.path
        format = self._format or _SUFFIXES.get(path.suffix.lower())
        try:
            if self._pipe is None and not is_pipe(path):
                return FileReader(path, format)
        except OSError as error:
            return f"{self.name}: {error.strerror or error}"
        except ValueError as error:  # a null character in the path
            return f"{self.name}: {error}"
        if self._pipe is None:
            self._pipe = Pipe.read(path, format)
        return PipeReader(self._pipe)


class _Iteration(Generic[T]):
    """The position of one iteration over a file.

    Args:
        open: Returns a reader, or why the file cannot be read. Blocks.
        accept: Returns what to yield for a row, or None.
        failure: Takes the reader's failure and returns what to raise at the end, or None.
    """

    def __init__(
        self,
        open: Callable[[], Reader | str],
        accept: Callable[[AnyRow], T | None],
        failure: Callable[[str | None], str | None],
    ) -> None:
        self.reading: Reading[list[AnyRow]] = Reading()
        self._open = open
        self._accept = accept
        self._failure = failure
        self._reader: Reader | str | None = None
        self._batch: Iterator[AnyRow] = iter(())

    async def generate(self, running: Running) -> AsyncGenerator[T, None]:
        with running:
            while True:
                for row in self._batch:
                    if (accepted := self._accept(row)) is not None:
                        yield accepted
                if self._is_done() and not self.reading.started:
                    break
                # Each batch opens and closes the file: the caller may stop between two batches.
                self._batch = iter(await self.reading.result_of(self._read))
            reader = self._reader
            failed = reader if reader is None or isinstance(reader, str) else reader.failure
            if (failure := self._failure(failed)) is not None:
                raise CredentialsError(failure)

    def _is_done(self) -> bool:
        reader = self._reader
        return reader is not None and (isinstance(reader, str) or reader.done)

    async def _read(self) -> list[AnyRow]:
        return await to_daemon_thread(self._read_batch)

    def _read_batch(self) -> list[AnyRow]:
        if self._reader is None:
            self._reader = self._open()
        return [] if isinstance(self._reader, str) else self._reader.read(BATCH_SIZE)
