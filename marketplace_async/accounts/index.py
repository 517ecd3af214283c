"""The index of a file: where each account is, and which rows contradict each other."""

import os
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from struct import Struct
from typing import Final, NamedTuple

import attrs

from ..credentials import ApiKey
from .reading import Reader
from .rows import AnyRow, BadRow

BATCH_SIZE: Final = 256

_MAX_LINES_SHOWN: Final = 5
_ENTRY: Final = Struct(">16sIQ8s")
_BAD: Final = bytes(8)


class _Entry(NamedTuple):
    key: bytes
    line: int
    offset: int
    digest: bytes


class _Table:
    """Rows by a SID. 100,000 take 4 MB, and a dict of objects five times that."""

    def __init__(self) -> None:
        self._buckets = [bytearray() for _ in range(256)]

    def add(self, sid: str, line: int, offset: int, digest: bytes) -> None:
        key = bytes.fromhex(sid[2:])
        self._buckets[key[-1]] += _ENTRY.pack(key, line, offset, digest)

    def sort(self) -> None:
        """Sort the entries by key and line. One bucket after another takes little memory."""
        for index, bucket in enumerate(self._buckets):
            entries = (bucket[at : at + _ENTRY.size] for at in range(0, len(bucket), _ENTRY.size))
            self._buckets[index] = bytearray().join(sorted(entries))

    def get(self, sid: str) -> list[_Entry]:
        """Return the entries of a SID in the order of lines. The table must be sorted."""
        key = bytes.fromhex(sid[2:])
        bucket = self._buckets[key[-1]]

        def key_at(index: int) -> bytes:
            return bytes(bucket[index * _ENTRY.size : index * _ENTRY.size + 16])

        count = len(bucket) // _ENTRY.size
        index = bisect_left(range(count), key, key=key_at)
        found = []
        while index < count and key_at(index) == key:
            found.append(_Entry(*_ENTRY.unpack_from(bucket, index * _ENTRY.size)))
            index += 1
        return found

    def repeated(self) -> Iterator[list[_Entry]]:
        """Yield the entries of each SID that has several."""
        for bucket in self._buckets:
            group: list[_Entry] = []
            for entry in map(_Entry._make, _ENTRY.iter_unpack(bucket)):
                if group and group[0].key != entry.key:
                    if len(group) > 1:
                        yield group
                    group = []
                group.append(entry)
            if len(group) > 1:
                yield group


@attrs.define
class BadRows:
    """Counts the bad rows of a file and describes the first."""

    count: int = 0
    _first: list[str] = attrs.field(factory=list)

    def add(self, row: BadRow) -> None:
        """Add a bad row."""
        self.count += 1
        if len(self._first) < 20:
            self._first.append(str(row))

    def text(self, name: str, failure: str | None = None) -> str | None:
        """Return one message for all bad rows and the failure of the file; None without any."""
        if not self.count:
            return failure
        if self.count == 1:
            described = f"{name}, {self._first[0]}"
        else:
            more = self.count - len(self._first)
            shown = [*self._first, *([f"... and {more:,} more"] if more else [])]
            described = f"{name}: {self.count:,} rows are malformed: {'; '.join(shown)}"
        return described if failure is None else f"{failure}; before that: {described}"


@attrs.define
class Index:
    """Where each account of a file is, and what is wrong with it. Holds no secrets.

    Attributes:
        reader: A reader of the content that was indexed.
    """

    reader: Reader
    bad_rows: BadRows = attrs.field(factory=BadRows)
    _accounts: _Table = attrs.field(factory=_Table)
    # Why a well-formed row cannot be used, by its line.
    _reasons: dict[int, str] = attrs.field(factory=dict)
    # The lines of rows for whose account another row stands.
    _secondary: set[int] = attrs.field(factory=set)

    @classmethod
    def of(cls, reader: Reader) -> "Index | str":
        """Index all rows, or return why that failed. Blocks."""
        index = cls(reader)
        keys = _Table()
        secret = os.urandom(32)
        while not reader.done:
            for row in reader.read(BATCH_SIZE):
                index._add(row, keys, secret)
        if reader.failure is not None:
            return reader.failure
        index._accounts.sort()
        keys.sort()
        for entries in index._accounts.repeated():
            index._compare(entries)
        for entries in keys.repeated():
            index._compare_users(entries)
        return index

    def is_stale(self) -> bool:
        """Whether the file has changed since."""
        return self.reader.is_stale()

    def checked(self, row: AnyRow) -> AnyRow:
        """Return a row, or why it cannot be used beside the other rows."""
        sid: str | None
        if isinstance(row, BadRow):
            sid, name, reason = row.account_sid, None, row.reason
        elif row.line in self._reasons:
            sid, name = row.account.sid, row.account.friendly_name
            reason = self._reasons[row.line]
        else:
            return row
        if sid is not None and row.line in self._secondary:
            # Results are kept by account, and this row must not replace the other's.
            reason = reason if sid in reason else f"{sid}: {reason}"
            sid = None
        return BadRow(row.line, row.offset, reason, sid, name)

    def find(self, sid: str) -> AnyRow | str:
        """Return the row of an account, or why there is none. Blocks."""
        entries = self._accounts.get(sid)
        if not entries:
            others = self.bad_rows.text("the file")
            return f"account {sid} not found" + (f"; {others}" if others else "")
        (entry,) = [one for one in entries if one.line not in self._secondary]
        row = self.reader.row_at(entry.offset, entry.line)
        return row if isinstance(row, str) else self.checked(row)

    def _add(self, row: AnyRow, keys: _Table, secret: bytes) -> None:
        if isinstance(row, BadRow):
            self.bad_rows.add(row)
            if row.account_sid is not None:
                self._accounts.add(row.account_sid, row.line, row.offset, _BAD)
            return
        account = row.account
        self._accounts.add(account.sid, row.line, row.offset, row.digest(secret))
        if isinstance(account.credentials, ApiKey):
            user = blake2b(account.sid.lower().encode(), key=secret, digest_size=8).digest()
            keys.add(account.credentials.key_sid, row.line, row.offset, user)

    def _compare(self, entries: Sequence[_Entry]) -> None:
        """Decide which of several rows of an account is used, if any."""
        good = [entry for entry in entries if entry.digest != _BAD]
        primary = (good or entries)[0]
        self._secondary.update(entry.line for entry in entries if entry is not primary)
        sid = f"AC{primary.key.hex()}"
        if len({entry.digest for entry in good}) > 1:
            # Neither can be trusted.
            reason = f"{_lines(good)} describe {sid} differently; keep one of them"
            self._reasons.update((entry.line, reason) for entry in good)
        else:
            for entry in good[1:]:
                self._reasons[entry.line] = f"{sid} is already on line {primary.line}"

    def _compare_users(self, entries: Sequence[_Entry]) -> None:
        """Reject the rows of several accounts with one API key: it belongs to one of them."""
        if len({entry.digest for entry in entries}) > 1:
            reason = f"{_lines(entries)} have the same API key, which belongs to only one account"
            for entry in entries:
                self._reasons.setdefault(entry.line, reason)


def _lines(entries: Sequence[_Entry]) -> str:
    shown = [str(entry.line) for entry in entries[:_MAX_LINES_SHOWN]]
    more = len(entries) - len(shown)
    last = f"{more:,} more" if more else shown.pop()
    return f"lines {', '.join(shown)} and {last}"
