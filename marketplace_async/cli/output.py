"""Standard output: records in the format of `--output`."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar

import attrs
from cyclopts import Parameter

from .help_format import shared_options
from .options import Format
from .status import note
from .streams import prepare_for, write

if TYPE_CHECKING:
    from .. import Paginator
    from .renderers import Renderer

T = TypeVar("T")

Show: TypeAlias = Callable[[Sequence[Any]], Awaitable[None]]


GROUP = shared_options("Output", more="help output", sort_key=9)


@Parameter(name="*", group=GROUP)
@attrs.frozen(kw_only=True)
class Output:
    """The output options of a command.

    Parameters
    ----------
    output
        Output format. Default: table on a terminal, otherwise jsonl.
        A table names the columns that do not fit; other formats include every field.
    """

    output: Annotated[Format | None, Parameter(name=("--output", "-o"))] = None

    @property
    def format(self) -> Format:
        """The format to use."""
        return self.output or ("table" if sys.stdout.isatty() else "jsonl")

    async def pages(
        self,
        paginator: "Paginator[T]",
        fields: type | Sequence[str],
        columns: Sequence[str],
        *,
        convert: Callable[[T], Any] = lambda record: record,
    ) -> None:
        """Print a list page by page, with at most one page in memory.

        Args:
            paginator: The list.
            fields: The fields of CSV: their names, or an attrs class that has them.
            columns: The fields of a table, most important first.
            convert: Converts a record to the attrs value or mapping to print.
        """
        from .. import MarketplaceError

        async with self.listing(fields, columns, if_empty="no results") as show:
            begun = False
            try:
                async with aclosing(paginator.pages()) as pages:
                    async for page in pages:
                        await show([convert(record) for record in page.items])
                        begun = True
            except MarketplaceError as error:
                if not begun:
                    error.resume_at = None  # resuming would only start over
                raise

    @asynccontextmanager
    async def listing(
        self, fields: type | Sequence[str], columns: Sequence[str], *, if_empty: str | None = None
    ) -> AsyncIterator[Show]:
        """Yield a coroutine function that prints the next records of a list.

        Records are attrs values or mappings, and are flushed before it returns. It raises
        BrokenPipeError if the output pipe is closed.

        Args:
            fields: The fields of CSV: their names, or an attrs class that has them.
            columns: The fields of a table, most important first.
            if_empty: A note for an empty table.
        """
        from .._core.threads import to_daemon_thread
        from .renderers import renderer_for

        renderer = renderer_for(self.format, fields, columns)
        count = 0

        async def show(records: Sequence[Any]) -> None:
            nonlocal count
            if records:
                count += len(records)
                await to_daemon_thread(lambda: write(renderer.chunk(records)))

        prepare_for(self.format)
        await to_daemon_thread(write, renderer.begin())
        yield show
        await to_daemon_thread(write, renderer.end())
        if if_empty and not count and self.format == "table":
            note(if_empty)
        await to_daemon_thread(_name_hidden, renderer)

    async def record(self, record: Any) -> None:
        """Print one record: an attrs value or a mapping."""
        from .._core.threads import to_daemon_thread
        from .renderers import render_record

        prepare_for(self.format)
        await to_daemon_thread(write, render_record(self.format, record))


class StandardOutput:
    """Prints a list from a thread that may block.

    Args:
        format: The output format.
        fields: The fields of CSV: their names, or an attrs class that has them.
        columns: The fields of a table, most important first.
    """

    def __init__(
        self, format: Format, fields: type | Sequence[str], columns: Sequence[str]
    ) -> None:
        from .renderers import renderer_for

        self._renderer = renderer_for(format, fields, columns)
        prepare_for(format)

    def begin(self) -> None:
        """Print what precedes the records."""
        write(self._renderer.begin())

    def chunk(self, records: Sequence[Any]) -> None:
        """Print records."""
        write(self._renderer.chunk(records))

    def end(self) -> None:
        """Print what follows the records."""
        write(self._renderer.end())
        _name_hidden(self._renderer)


def _name_hidden(renderer: "Renderer") -> None:
    if names := getattr(renderer, "hidden", ()):
        note(f"too narrow for {', '.join(names)}: widen the terminal, or use -o json")
