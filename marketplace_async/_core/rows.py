"""Records as rows of text: cells, and lines of CSV."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import attrs

from .codec import encode


def field_names(kind: type) -> tuple[str, ...]:
    """Return the field names of an attrs class."""
    return tuple(field.name for field in attrs.fields(kind))


def get(record: Any, name: str) -> Any:
    """Return a field of an attrs value, or an item of a mapping (None if it is missing)."""
    return record.get(name) if isinstance(record, Mapping) else getattr(record, name)


def cell(value: Any) -> str:
    """Return a value as text: dates in UTC, None as "", and objects and arrays as JSON."""
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case Decimal():
            return f"{value:f}"
        case Mapping() | list() | tuple():
            return encode(value).decode()
        case _:
            return str(value)


def csv_lines(rows: Iterable[Sequence[str]]) -> str:
    """Return rows as CSV, quoted as in RFC 4180, but with LF line ends for Unix tools."""
    return "".join(map(_csv_line, rows))


def _csv_line(row: Sequence[str]) -> str:
    text = io.StringIO(newline="")
    # Before Python 3.13, csv quotes a CR in a cell only if the line terminator contains one.
    csv.writer(text, lineterminator="\r\n").writerow(row)
    return text.getvalue().removesuffix("\r\n") + "\n"
