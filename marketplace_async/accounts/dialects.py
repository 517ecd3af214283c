"""How rows are written: CSV as spreadsheets write it, and JSON Lines."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, TypeAlias

import attrs

from .._core.codec import from_json
from .lines import MAX_LENGTH, Line, Lines
from .rows import (
    API_KEY,
    KNOWN,
    SECRETS,
    AnyRow,
    BadRow,
    check_unique,
    column_names,
    row_of,
    sid_or_none,
)

Format: TypeAlias = Literal["csv", "jsonl"]

FORMATS: Final = ("csv", "jsonl")

_DELIMITERS: Final = (",", ";", "\t")
_HINT_OF_EXCEL = re.compile(rb"sep=.\s*", re.IGNORECASE)
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")
_SID = re.compile(r"(?:AC|SK)[0-9a-fA-F]{32}")
_EXPECTED: Final = (
    "expected a header with account_sid and auth_token, or with account_sid, api_key and api_secret"
)
_ONE_LINE: Final = ("account_sid", *SECRETS)
_NOT_CLOSED: Final = "a quote is not closed"


class FileError(ValueError):
    """The whole file cannot be read. `line` is the line that shows it."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


@attrs.define
class Dialect:
    """The format of a file, and what its first lines say.

    Args:
        format: "csv" or "jsonl". By default, "jsonl" if the file starts with an object.
    """

    format: Format | None = None
    _delimiter: str = ","
    # CSV: the header. JSON Lines: the keys of the last object, and their columns.
    _columns: tuple[str, ...] = ()
    _keys: tuple[str, ...] = ()

    def begin(self, lines: Lines) -> None:
        """Read what precedes the rows.

        Raises:
            FileError: The file has no header, or its encoding cannot be read.
        """
        line = _first_line(lines)
        if line is None:
            if self.format != "jsonl":
                raise FileError(1, f"the file is empty; {_EXPECTED}")
            return
        start = (line.data or b"").lstrip()[:1]
        if self.format is None:
            self.format = "jsonl" if start in (b"{", b"[") else "csv"
        if self.format == "csv":
            self._read_header(lines, line)
        elif start == b"[":
            raise FileError(line.number, "a JSON array; write one object per line")
        else:
            lines.put_back([line])

    def rows(self, lines: Lines) -> Iterator[AnyRow]:
        """Yield the rows except empty ones."""
        read = self._csv_row if self.format == "csv" else self._json_row
        while (line := lines.next()) is not None:
            row = read(lines, line)
            if row is not None:
                yield row

    # -- CSV

    def _read_header(self, lines: Lines, line: Line) -> None:
        try:
            text = line.text
            for delimiter in _DELIMITERS:
                record = _Record(lines, line, delimiter)
                columns = () if isinstance(record.cells, str) else column_names(record.cells)
                if _is_header(columns):
                    check_unique(columns)
                    self._delimiter, self._columns = delimiter, columns
                    return
                record.put_back()
            reason = _why_no_header(text)
        except ValueError as error:
            reason = str(error)
        raise FileError(line.number, reason)

    def _csv_row(self, lines: Lines, line: Line) -> AnyRow | None:
        columns = self._columns
        record = _Record(lines, line, self._delimiter)
        cells = record.cells
        if isinstance(cells, str):
            reason, cells = cells, record.split()
        elif any(cells[len(columns) :]):
            reason = f"expected {len(columns)} cells as in the header, got {len(cells)}"
        else:
            if not any(cells):
                return None
            # Spreadsheets leave out empty cells at the end of a row.
            cells = [*cells, *[""] * (len(columns) - len(cells))]
            fields = dict(zip(columns, cells, strict=False))
            if not record.taken or not _takes_in_rows(columns, record.raw):
                return row_of(fields, line.number, line.offset)
            reason = _NOT_CLOSED
        # Only this line is bad. The lines that its quotes would take in may be good.
        record.put_back()
        index = columns.index("account_sid")
        sid = sid_or_none(cells[index]) if index < len(cells) else None
        return BadRow(line.number, line.offset, reason, sid)

    # -- JSON Lines

    def _json_row(self, lines: Lines, line: Line) -> AnyRow | None:
        fields: dict[str, str] = {}
        try:
            if not line.text.strip():
                return None
            document = from_json(line.data or b"", dict[str, object], "an object")
            for name, value in zip(self._columns_of(document), document.values(), strict=True):
                if isinstance(value, str):
                    fields[name] = value.strip()
                elif name in KNOWN and value is not None:
                    raise ValueError(f"{name}: expected text, got {type(value).__name__}")
                elif isinstance(value, bool | int | float):
                    fields[name] = str(value).lower()
        except ValueError as error:
            sid = sid_or_none(fields.get("account_sid", ""))
            return BadRow(line.number, line.offset, str(error), sid)
        return row_of(fields, line.number, line.offset)

    def _columns_of(self, keys: Iterable[str]) -> tuple[str, ...]:
        if (keys := tuple(keys)) != self._keys:
            columns = column_names(keys)
            check_unique(columns)
            self._keys, self._columns = keys, columns
        return self._columns


class _Record:
    """The cells of a CSV row, which may take in further lines inside quotes.

    Attributes:
        cells: The cells without surrounding space, or why they cannot be read.
        raw: The cells as they are.
        taken: The lines after the first.
    """

    def __init__(self, lines: Lines, line: Line, delimiter: str) -> None:
        self._lines = lines
        self._line = line
        self.taken: list[Line] = []
        self._delimiter = delimiter
        self.raw: Sequence[str] = ()
        self.cells: Sequence[str] | str
        try:
            self.raw = self._read(line.text)
            self.cells = [cell.strip() for cell in self.raw]
        except (ValueError, csv.Error) as error:
            self.cells = str(error)

    def put_back(self) -> None:
        """Return the lines after the first, to be read as rows."""
        self._lines.put_back(self.taken)
        self.taken = []

    def split(self) -> list[str]:
        """Return cells of the first line, as far as they can be told apart."""
        text = (self._line.data or b"").decode(errors="replace")
        return [cell.strip().strip('"').strip() for cell in text.split(self._delimiter)]

    def _read(self, text: str) -> list[str]:
        if '"' not in text:
            content = text.rstrip("\r\n")
            if "\r" in content:
                raise ValueError("a carriage return (CR) inside a line")
            return content.split(self._delimiter)
        texts = [text]
        try:
            return self._parse(self._texts(texts))
        except csv.Error:
            # Is there space between a closing quote and the delimiter?
            blank = r"[ \t]" if self._delimiter != "\t" else " "
            pattern = rf'"{blank}+(?={self._delimiter}|\r?\n|\Z)'
            tidy = re.sub(pattern, '"', "".join(texts))
            if tidy == "".join(texts):
                raise
        return self._parse(iter(tidy.splitlines(keepends=True)))  # ends with the same line

    def _parse(self, texts: Iterator[str]) -> list[str]:
        reader = csv.reader(texts, delimiter=self._delimiter, strict=True, skipinitialspace=True)
        try:
            return next(reader)
        except csv.Error as error:
            reason = str(error)
        is_open = "unexpected end" in reason
        raise csv.Error(_NOT_CLOSED if is_open else f"a quote is misplaced: {reason}")

    def _texts(self, texts: list[str]) -> Iterator[str]:
        yield texts[0]
        size = len(texts[0])
        while (line := self._lines.next()) is not None:
            self.taken.append(line)
            size += len(line.data or b"")
            if size > MAX_LENGTH or line.data is None:
                return
            texts.append(line.text)
            yield texts[-1]


def _first_line(lines: Lines) -> Line | None:
    """Return the first line that is neither empty nor the hint `sep=;` of a spreadsheet."""
    while (line := lines.next()) is not None:
        data = line.data
        if data is None:
            return line
        if data.startswith(_UTF_16) or b"\0" in data:
            reason = 'the file is UTF-16: save it as UTF-8, in Excel as "CSV UTF-8"'
            raise FileError(line.number, reason)
        if data.strip(b' \t\r\n,;"') and not _HINT_OF_EXCEL.fullmatch(data):
            return line
    return None


def _takes_in_rows(columns: Sequence[str], cells: Sequence[str]) -> bool:
    """Whether a cell of several lines contains what belongs into cells of their own."""
    return any(
        "\n" in cell and (column in _ONE_LINE or _SID.search(cell))
        for column, cell in zip(columns, cells, strict=False)
    )


def _is_header(columns: Sequence[str]) -> bool:
    return "account_sid" in columns and (
        "auth_token" in columns or all(name in columns for name in API_KEY)
    )


def _why_no_header(text: str) -> str:
    """Return why a line is no header. Without a header, the cells are secrets."""
    if _SID.search(text):
        return f"the header is missing; {_EXPECTED}"
    if "\r" in text.rstrip("\r\n"):
        return 'lines end with CR only: save the file as UTF-8, in Excel as "CSV UTF-8"'
    return _EXPECTED
