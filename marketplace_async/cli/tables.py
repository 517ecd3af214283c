"""Tables that fit the terminal."""

import io
import sys
import textwrap
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any, Final

from .._core.printable import printable
from .._core.rows import cell, field_names, get
from .json_text import indented_json

_GAP: Final = 2
_MIN_WIDTH: Final = 10
_WHOLE_WORDS: Final[Any] = {"break_long_words": False, "break_on_hyphens": False}


class Table:
    """Renders a list as a table. The first chunk determines the column widths.

    Args:
        columns: The fields to show, most important first.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = list(columns)
        self._widths: list[int] = []
        self._folds = False

    def begin(self) -> str:
        return ""

    def chunk(self, records: Sequence[Any]) -> str:
        rows = [
            [printable(_short(get(record, name))) for name in self._columns] for record in records
        ]
        lines: list[str] = []
        if not self._widths:
            self._fit(rows)
            lines.append(_bold(self._line(self._columns)[0]))
        for row in rows:
            lines += self._line(row)
        return "".join(f"{line}\n" for line in lines)

    def end(self) -> str:
        return ""

    def _fit(self, rows: Sequence[Sequence[str]]) -> None:
        from rich.cells import cell_len

        widths = [max(map(cell_len, texts)) for texts in zip(self._columns, *rows, strict=True)]
        room = _room()
        # Drop the least important columns.
        while len(widths) > 2 and sum(widths) + _GAP * (len(widths) - 1) > room:
            widths.pop()
        while sum(widths) + _GAP * (len(widths) - 1) > room:
            # Fold the widest other column, so that a SID can be copied in one piece.
            foldable = [
                index
                for index, width in enumerate(widths)
                if not self._columns[index].endswith("sid") and width > _MIN_WIDTH
            ]
            if not foldable:
                break
            widths[max(foldable, key=widths.__getitem__)] -= 1
        self._columns = self._columns[: len(widths)]
        self._widths = widths
        self._folds = room < sys.maxsize

    def _line(self, row: Sequence[str]) -> list[str]:
        """Return a row as one line, or as several if a cell is folded."""
        from rich.cells import cell_len

        sized = [
            (text, width, cell_len(text)) for text, width in zip(row, self._widths, strict=False)
        ]
        if not self._folds or all(size <= width for _, width, size in sized):
            cells = (text + " " * (width - size) for text, width, size in sized)
            return [(" " * _GAP).join(cells).rstrip()]
        folded = [_fold(text, width) for text, width, _ in sized]
        return [line for parts in zip_longest(*folded, fillvalue="") for line in self._line(parts)]


def record_table(record: Any) -> str:
    """Render one record, with one field per line."""
    names = tuple(record) if isinstance(record, Mapping) else field_names(type(record))
    indent = max(len(printable(name)) for name in names) + _GAP
    text = io.StringIO()
    for name in names:
        text.write(_bold(f"{printable(name):<{indent}}"))
        lines = map(printable, _long(get(record, name), _room() - indent))
        text.write(("\n" + " " * indent).join(lines).rstrip() + "\n")
    return text.getvalue()


def _short(value: Any) -> str:
    """Return a value on one line, with dates to the minute."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
    return " ".join(cell(value).split())


def _long(value: Any, width: int) -> list[str]:
    """Return a value on several lines: JSON indented, text wrapped, links unbroken."""
    if isinstance(value, Mapping | list | tuple) and value:
        return indented_json(value).split("\n")
    return textwrap.wrap(_short(value), max(width, _MIN_WIDTH), **_WHOLE_WORDS) or [""]


def _room() -> int:
    """Return the width of the terminal; unlimited for other outputs."""
    from rich.console import Console

    return Console(file=sys.stdout).width if sys.stdout.isatty() else sys.maxsize


def _fold(text: str, width: int) -> list[str]:
    """Return text in lines of `width` cells, broken between words if possible."""
    from rich.cells import chop_cells

    return (textwrap.wrap(text, width) if text.isascii() else chop_cells(text, width)) or [""]


def _bold(text: str) -> str:
    """Return text in bold, if the output is a terminal that supports it."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False)
    with console.capture() as capture:
        console.print(Text(text, "bold"), soft_wrap=True, end="")
    return capture.get()
