"""Renderers: records as a table, JSON, JSON Lines or CSV, chunk by chunk."""

import io
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from .._core.printable import printable
from .._core.rows import cell, csv_lines, field_names, get
from .json_text import indented_json, to_json
from .options import Format
from .tables import Table, record_table


class Renderer(Protocol):
    """Renders a list of records as text."""

    def begin(self) -> str:
        """Return the text before the records."""
        ...

    def chunk(self, records: Sequence[Any]) -> str:
        """Return the text of some records."""
        ...

    def end(self) -> str:
        """Return the text after the records."""
        ...


def renderer_for(format: Format, fields: type | Sequence[str], columns: Sequence[str]) -> Renderer:
    """Return a renderer of lists.

    Args:
        format: The output format.
        fields: The fields of CSV: their names, or an attrs class that has them.
        columns: The fields of a table, most important first.
    """
    match format:
        case "table":
            return Table(columns)
        case "json":
            return _JsonArray()
        case "jsonl":
            return _JsonLines()
        case "csv":
            return _Csv(field_names(fields) if isinstance(fields, type) else fields)


def render_record(format: Format, record: Any) -> str:
    """Render one record: an attrs value or a mapping."""
    match format:
        case "table":
            return record_table(record)
        case "json":
            return indented_json(record) + "\n"
        case "jsonl":
            return to_json(record) + "\n"
        case "csv":
            fields = tuple(record) if isinstance(record, Mapping) else field_names(type(record))
            renderer = _Csv(fields)
            return renderer.begin() + renderer.chunk([record])


class _JsonLines:
    def begin(self) -> str:
        return ""

    def chunk(self, records: Sequence[Any]) -> str:
        return "".join(f"{to_json(record)}\n" for record in records)

    def end(self) -> str:
        return ""


class _JsonArray:
    """A JSON array. It stays open, and so invalid, if the list is interrupted."""

    def __init__(self) -> None:
        self._separator = "\n"

    def begin(self) -> str:
        return "["

    def chunk(self, records: Sequence[Any]) -> str:
        text = io.StringIO()
        for record in records:
            text.write(self._separator)
            text.write("  " + indented_json(record).replace("\n", "\n  "))
            self._separator = ",\n"
        return text.getvalue()

    def end(self) -> str:
        return "]\n" if self._separator == "\n" else "\n]\n"


class _Csv:
    """CSV. Control characters are escaped on a terminal and kept in a file."""

    def __init__(self, fields: Sequence[str]) -> None:
        self._fields = fields
        self._escape = printable if sys.stdout.isatty() else str

    def begin(self) -> str:
        return csv_lines([self._fields])

    def chunk(self, records: Sequence[Any]) -> str:
        return csv_lines(
            [self._escape(cell(get(record, name))) for name in self._fields] for record in records
        )

    def end(self) -> str:
        return ""
