"""How records are shown: as a table, JSON, JSON lines or CSV, chunk by chunk as they come."""

import csv
import io
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from itertools import zip_longest
from typing import Annotated, Any, Final, Literal, Protocol, TextIO, TypeAlias, TypeVar

import attrs
import msgspec
from cyclopts import Group, Parameter

from .. import MarketplaceError, Paginator
from .._core.codec import encode
from .._core.threads import to_daemon_thread
from .printable import UNPRINTABLE, printable
from .status import note

T = TypeVar("T")

Format: TypeAlias = Literal["table", "json", "jsonl", "csv"]
Show: TypeAlias = Callable[[Sequence[Any]], Awaitable[None]]


@Parameter(name="*", group=Group("Output", sort_key=9))
@attrs.frozen(kw_only=True)
class Output:
    """How to show what came.

    Parameters
    ----------
    output
        How to show it. On a terminal it is a table unless you say otherwise, and else JSON lines.
        JSON and CSV have every field, a table has what fits.
    """

    output: Annotated[Format | None, Parameter(name=("--output", "-o"))] = None

    @property
    def format(self) -> Format:
        """What was asked for, or what fits where it goes."""
        return self.output or ("table" if sys.stdout.isatty() else "jsonl")

    async def pages(
        self,
        paginator: Paginator[T],
        fields: Sequence[str],
        columns: Sequence[str],
        *,
        shown: Callable[[T], Any] = lambda record: record,
    ) -> None:
        """Show a list page by page, each as soon as it has come, and hold no more than one.

        Args:
            paginator: The list.
            fields: The fields that CSV has.
            columns: The fields that a table shows, the most important first.
            shown: Turns a record into what is shown of it: an attrs value, or a mapping.
        """
        async with self.listing(fields, columns, if_none="there are none") as show:
            begun = False
            try:
                async with aclosing(paginator.pages()) as pages:
                    async for page in pages:
                        await show([shown(record) for record in page.items])
                        begun = True
            except MarketplaceError as error:
                if not begun:
                    error.resume_at = None  # there is nothing to go on from
                raise

    @asynccontextmanager
    async def listing(
        self, fields: Sequence[str], columns: Sequence[str], *, if_none: str | None = None
    ) -> AsyncIterator[Show]:
        """Give a coroutine function that shows the next few records of a list.

        They are attrs values, or mappings, and reach the reader when it returns. It raises
        BrokenPipeError when the reader has gone.

        Args:
            fields: The fields that CSV has.
            columns: The fields that a table shows, the most important first.
            if_none: What to say beside an empty table.
        """
        renderer = renderer_of(self.format, fields, columns)
        count = 0

        async def show(records: Sequence[Any]) -> None:
            nonlocal count
            if records:
                count += len(records)
                await to_daemon_thread(lambda: _write(renderer.chunk(records)))

        _prepare(sys.stdout, self.format)
        await to_daemon_thread(_write, renderer.begin())
        yield show
        await to_daemon_thread(_write, renderer.end())
        if if_none and not count and self.format == "table":
            note(if_none)

    async def record(self, record: Any) -> None:
        """Show one record: an attrs value, or a mapping."""
        _prepare(sys.stdout, self.format)
        text = _ONE[self.format](record)
        await to_daemon_thread(_write, text)


class StandardOutput:
    """Shows a list on standard output, from a thread that may block.

    Args:
        format: How to show it.
        fields: The fields that CSV has.
        columns: The fields that a table shows, the most important first.
    """

    def __init__(self, format: Format, fields: Sequence[str], columns: Sequence[str]) -> None:
        self._renderer = renderer_of(format, fields, columns)
        _prepare(sys.stdout, format)

    def begin(self) -> None:
        """Show what comes before the records."""
        _write(self._renderer.begin())

    def chunk(self, records: Sequence[Any]) -> None:
        """Show some records."""
        _write(self._renderer.chunk(records))

    def end(self) -> None:
        """Show what comes after the records."""
        _write(self._renderer.end())


class Renderer(Protocol):
    """Turns records into text, chunk by chunk."""

    def begin(self) -> str: ...

    def chunk(self, records: Sequence[Any]) -> str: ...

    def end(self) -> str: ...


def renderer_of(format: Format, fields: Sequence[str], columns: Sequence[str]) -> Renderer:
    """Return what renders a list of records in this format."""
    match format:
        case "table":
            return _Table(columns)
        case "json":
            return _JsonArray()
        case "jsonl":
            return _JsonLines()
        case "csv":
            return _Csv(fields)


def fields_of(kind: type) -> tuple[str, ...]:
    """Return the names of the fields of an attrs class."""
    return tuple(field.name for field in attrs.fields(kind))


def _prepare(stream: TextIO, format: Format) -> None:
    if not isinstance(stream, io.TextIOWrapper):
        return
    if format == "table":
        # What the terminal cannot show is spelled out.
        stream.reconfigure(errors="backslashreplace")
    else:
        # What programs read is UTF-8, with line ends as they are written, whatever the locale.
        stream.reconfigure(encoding="utf-8", newline="")


def _write(text: str) -> None:
    if text:
        sys.stdout.write(text)
        sys.stdout.flush()


# -- JSON


def to_json(value: Any) -> str:
    """Return a record as JSON on one line, digit for digit, harmless to a terminal."""
    # Characters that JSON need not escape, and terminals obey: within strings, this is the same.
    return UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", encode(value).decode())


def _indented(value: Any) -> str:
    return msgspec.json.format(to_json(value), indent=2)


class _JsonLines:
    def begin(self) -> str:
        return ""

    def chunk(self, records: Sequence[Any]) -> str:
        return "".join(f"{to_json(record)}\n" for record in records)

    def end(self) -> str:
        return ""


class _JsonArray:
    """An array that is closed only when all has come: half of one is no JSON."""

    def __init__(self) -> None:
        self._separator = "\n"

    def begin(self) -> str:
        return "["

    def chunk(self, records: Sequence[Any]) -> str:
        text = io.StringIO()
        for record in records:
            text.write(self._separator)
            text.write("  " + _indented(record).replace("\n", "\n  "))
            self._separator = ",\n"
        return text.getvalue()

    def end(self) -> str:
        return "]\n" if self._separator == "\n" else "\n]\n"


# -- cells


def _get(record: Any, name: str) -> Any:
    return record.get(name) if isinstance(record, Mapping) else getattr(record, name)


def cell(value: Any) -> str:
    """Return a value as text: nothing for None, and JSON for what has parts."""
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        case Decimal():
            return f"{value:f}"
        case Mapping() | list() | tuple():
            return to_json(value)
        case _:
            return str(value)


class _Csv:
    """RFC 4180. Only a terminal gets control characters spelled out: a file gets what came."""

    def __init__(self, fields: Sequence[str]) -> None:
        self._fields = fields
        self._shown = printable if sys.stdout.isatty() else str

    def begin(self) -> str:
        return self._lines([self._fields])

    def chunk(self, records: Sequence[Any]) -> str:
        return self._lines(
            [self._shown(cell(_get(record, name))) for name in self._fields] for record in records
        )

    def end(self) -> str:
        return ""

    def _lines(self, rows: Iterable[Sequence[str]]) -> str:
        text = io.StringIO(newline="")
        csv.writer(text).writerows(rows)
        return text.getvalue()


# -- tables

_GAP = 2
_NARROWEST = 10


class _Table:
    """Columns as wide as the first chunk needs, and from then on the same."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = list(columns)
        self._widths: list[int] = []
        self._folds = False

    def begin(self) -> str:
        return ""

    def chunk(self, records: Sequence[Any]) -> str:
        rows = [
            [printable(_short(_get(record, name))) for name in self._columns] for record in records
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
        # The least important go first; JSON has them all.
        while len(widths) > 2 and sum(widths) + _GAP * (len(widths) - 1) > room:
            widths.pop()
        while sum(widths) + _GAP * (len(widths) - 1) > room:
            # A SID is copied whole: the widest of the others is folded.
            foldable = [
                index
                for index, width in enumerate(widths)
                if not self._columns[index].endswith("sid") and width > _NARROWEST
            ]
            if not foldable:
                break
            widths[max(foldable, key=widths.__getitem__)] -= 1
        self._columns = self._columns[: len(widths)]
        self._widths = widths
        self._folds = room < sys.maxsize

    def _line(self, row: Sequence[str]) -> list[str]:
        """Return a row as one line, or as several where a cell has to be folded."""
        from rich.cells import cell_len

        sized = [
            (text, width, cell_len(text)) for text, width in zip(row, self._widths, strict=False)
        ]
        if not self._folds or all(size <= width for _, width, size in sized):
            cells = (text + " " * (width - size) for text, width, size in sized)
            return [(" " * _GAP).join(cells).rstrip()]
        folded = [_folded(text, width) for text, width, _ in sized]
        return [line for parts in zip_longest(*folded, fillvalue="") for line in self._line(parts)]


def _short(value: Any) -> str:
    """Return a value for people: a date to the minute, text on one line."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
    return " ".join(cell(value).split())


def _room() -> int:
    """Return how wide a table may be: as wide as it wants where it does not go to a terminal."""
    from rich.console import Console

    return Console(file=sys.stdout).width if sys.stdout.isatty() else sys.maxsize


def _folded(text: str, width: int) -> list[str]:
    """Return text in lines of `width` cells, between words where that can be."""
    from rich.cells import chop_cells

    return (textwrap.wrap(text, width) if text.isascii() else chop_cells(text, width)) or [""]


def _bold(text: str) -> str:
    """Return text as it is made bold where it goes, if it is a terminal that can."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False)
    with console.capture() as capture:
        console.print(Text(text, "bold"), soft_wrap=True, end="")
    return capture.get()


def _one_in_a_table(record: Any) -> str:
    items = record.items() if isinstance(record, Mapping) else _items(record)
    indent = max(len(printable(name)) for name, _ in items) + _GAP
    text = io.StringIO()
    for name, value in items:
        text.write(_bold(f"{printable(name):<{indent}}"))
        lines = map(printable, _long(value, _room() - indent))
        text.write(("\n" + " " * indent).join(lines).rstrip() + "\n")
    return text.getvalue()


def _items(record: Any) -> list[tuple[str, Any]]:
    return [(name, _get(record, name)) for name in fields_of(type(record))]


def _long(value: Any, width: int) -> list[str]:
    """Return a value for people on lines of its own: words are wrapped, what is copied is not."""
    if isinstance(value, Mapping | list | tuple) and value:
        return _indented(value).split("\n")
    text = _short(value)
    return textwrap.wrap(text, max(width, _NARROWEST), **_WHOLE_WORDS) or [""]


_WHOLE_WORDS: Final[Any] = {"break_long_words": False, "break_on_hyphens": False}


def _one_in_csv(record: Any) -> str:
    mapping = isinstance(record, Mapping)
    csv = _Csv(tuple(record) if mapping else fields_of(type(record)))
    return csv.begin() + csv.chunk([record])


_ONE: Final[Mapping[Format, Callable[[Any], str]]] = {
    "table": _one_in_a_table,
    "json": lambda record: _indented(record) + "\n",
    "jsonl": lambda record: to_json(record) + "\n",
    "csv": _one_in_csv,
}
