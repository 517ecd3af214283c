"""Tables that fit the terminal."""

import io
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any, Final

from .._core.printable import printable
from .._core.rows import cell, field_names, get
from .json_text import indented_json
from .styles import painted, style_of

_GAP: Final = 2
_INDENT: Final = 2
_MIN_WIDTH: Final = 10
# A column that is narrower than this, and than its values, continues on the next line instead.
_READABLE: Final = 20
# Fields that are always shown, as are SIDs and the first two.
_ESSENTIAL: Final = frozenset({"problem", "unique_name"})
_WHOLE_WORDS: Final[Any] = {"break_long_words": False, "break_on_hyphens": False}


class Table:
    """Renders a list as a table. The first chunk determines the column widths.

    SIDs, names and problems are always shown, on a second line if necessary. Other columns that do
    not fit are hidden.

    Args:
        columns: The fields to show, most important first.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = list(columns)
        # The columns of each line of a record, as indexes with their widths.
        self._lines: list[dict[int, int]] = []
        self._folds = False

    @property
    def hidden(self) -> tuple[str, ...]:
        """The fields that did not fit."""
        shown = {index for line in self._lines for index in line}
        if not shown:
            return ()
        return tuple(name for index, name in enumerate(self._columns) if index not in shown)

    def begin(self) -> str:
        return ""

    def chunk(self, records: Sequence[Any]) -> str:
        rows = [
            [printable(_short(get(record, name))) for name in self._columns] for record in records
        ]
        lines: list[str] = []
        if not self._lines:
            self._fit(rows)
            lines += (painted(line, "bold") for line in self._render(self._columns, styles=None))
        for row in rows:
            styles = [style_of(name, text) for name, text in zip(self._columns, row, strict=True)]
            lines += self._render(row, styles=styles)
        return "".join(f"{line}\n" for line in lines)

    def end(self) -> str:
        return ""

    def _fit(self, rows: Sequence[Sequence[str]]) -> None:
        from rich.cells import cell_len

        widths = [max(map(cell_len, texts)) for texts in zip(self._columns, *rows, strict=True)]
        room = _room()
        self._folds = room < sys.maxsize
        self._lines = [{}]
        indent = 0
        for index, width in enumerate(widths):
            least = width if self._is_sid(index) else min(width, _READABLE)
            line = {**self._lines[-1], index: width}
            if self._is_essential(index):
                if self._lines[-1] and _total(self._least(line)) > room - indent:
                    self._lines.append({index: max(least, min(width, room - _INDENT))})
                    indent = _INDENT
                else:
                    self._lines[-1] = self._narrowed(line, room - indent)
            elif _total(line) <= room - indent:
                self._lines[-1] = line

    def _is_sid(self, index: int) -> bool:
        return self._columns[index].endswith("sid")

    def _is_essential(self, index: int) -> bool:
        return index < 2 or self._is_sid(index) or self._columns[index] in _ESSENTIAL

    def _least(self, line: Mapping[int, int]) -> dict[int, int]:
        """Return the widths of a line whose columns are folded as far as they can be read."""
        return {
            index: width if self._is_sid(index) else min(width, _READABLE)
            for index, width in line.items()
        }

    def _narrowed(self, line: Mapping[int, int], room: int) -> dict[int, int]:
        """Fold the widest columns of a line until it fits. A SID can be copied in one piece."""
        widths = dict(line)
        while _total(widths) > room:
            foldable = [
                index
                for index, width in widths.items()
                if not self._is_sid(index) and width > _MIN_WIDTH
            ]
            if not foldable:
                break
            widths[max(foldable, key=widths.__getitem__)] -= 1
        return widths

    def _render(self, row: Sequence[str], *, styles: Sequence[str] | None) -> Iterator[str]:
        """Yield the lines of a row."""
        for number, line in enumerate(self._lines):
            cells = [
                (row[index], width, "" if styles is None else styles[index])
                for index, width in line.items()
            ]
            for text in self._folded(cells):
                yield " " * (_INDENT if number else 0) + text

    def _folded(self, cells: Sequence[tuple[str, int, str]]) -> Iterator[str]:
        """Yield cells as one line, or as several if a cell is folded."""
        from rich.cells import cell_len

        if not self._folds or all(cell_len(text) <= width for text, width, _ in cells):
            yield _joined(cells)
            return
        folded = [_fold(text, width) for text, width, _ in cells]
        for parts in zip_longest(*folded, fillvalue=""):
            yield _joined(
                [(text, width, style) for text, (_, width, style) in zip(parts, cells, strict=True)]
            )


def record_table(record: Any) -> str:
    """Render one record, with one field per line."""
    names = tuple(record) if isinstance(record, Mapping) else field_names(type(record))
    indent = max(len(printable(name)) for name in names) + _GAP
    text = io.StringIO()
    for name in names:
        value = get(record, name)
        text.write(painted(f"{printable(name):<{indent}}", "bold"))
        lines = [printable(line) for line in _long(value, _room() - indent)]
        style = style_of(name, lines[0]) if len(lines) == 1 else ""
        shown = (painted(line, style) for line in lines)
        text.write(("\n" + " " * indent).join(shown).rstrip() + "\n")
    return text.getvalue()


def _total(widths: Mapping[int, int]) -> int:
    return sum(widths.values()) + _GAP * (len(widths) - 1)


def _joined(cells: Sequence[tuple[str, int, str]]) -> str:
    from rich.cells import cell_len

    last = max((number for number, (text, _, _) in enumerate(cells) if text), default=-1)
    line = ""
    for number, (text, width, style) in enumerate(cells[: last + 1]):
        line += painted(text, style)
        if number < last:
            line += " " * (width - cell_len(text) + _GAP)
    return line.rstrip()


def _short(value: Any, timespec: str = "%H:%M") -> str:
    """Return a value on one line, with dates to the minute."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime(f"%Y-%m-%d {timespec} UTC")
    return " ".join(cell(value).split())


def _long(value: Any, width: int) -> list[str]:
    """Return a value on several lines: JSON indented, text wrapped, links unbroken."""
    if isinstance(value, Mapping | list | tuple) and value:
        return indented_json(value).split("\n")
    text = _short(value, "%H:%M:%S")
    return textwrap.wrap(text, max(width, _MIN_WIDTH), **_WHOLE_WORDS) or [""]


def _room() -> int:
    """Return the width of the terminal; unlimited for other outputs."""
    from rich.console import Console

    return Console(file=sys.stdout).width if sys.stdout.isatty() else sys.maxsize


def _fold(text: str, width: int) -> list[str]:
    """Return text in lines of `width` cells, broken between words if possible."""
    from rich.cells import chop_cells

    return (textwrap.wrap(text, width) if text.isascii() else chop_cells(text, width)) or [""]
