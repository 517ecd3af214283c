"""Standard output and standard error, for any encoding, and whatever becomes of them."""

import io
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO, cast

from .options import Format

if TYPE_CHECKING:
    from rich.console import Console


def prepare() -> None:
    """Escape characters that the encoding of a stream lacks, such as on an ASCII terminal."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def prepare_for(format: Format) -> None:
    """Prepare standard output for records. Programs read UTF-8 and LF, whatever the platform."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        if format == "table":
            sys.stdout.reconfigure(errors="backslashreplace")
        else:
            sys.stdout.reconfigure(encoding="utf-8", newline="")


def write(text: str) -> None:
    """Write text to standard output at once. Raises OSError if it takes nothing more. Blocks."""
    if text:
        sys.stdout.write(text)
        sys.stdout.flush()


def output_console(*, soft_wrap: bool = True) -> "Console":
    """Return a console for standard output. It raises OSError if that takes nothing more.

    Args:
        soft_wrap: Leave it to the terminal to break long lines.
    """
    return _console(sys.stdout, soft_wrap=soft_wrap)


def error_console(*, soft_wrap: bool = True) -> "Console":
    """Return a console for standard error. What that does not take is dropped.

    The exit status still tells how the command ended.

    Args:
        soft_wrap: Leave it to the terminal to break long lines.
    """
    if sys.stderr is None:  # as in `marketplace-async plan 2>&-`
        return _console(io.StringIO(), quiet=True)
    return _console(cast("TextIO", _Lossy(sys.stderr)), soft_wrap=soft_wrap)


def _console(file: TextIO, *, soft_wrap: bool = True, quiet: bool = False) -> "Console":
    from rich.console import Console

    class PipeConsole(Console):
        def on_broken_pipe(self) -> None:
            """Raise the error. By default, rich ends the program with status 1."""
            raise BrokenPipeError

    return PipeConsole(file=file, highlight=False, soft_wrap=soft_wrap, quiet=quiet)


class _Lossy:
    """A stream that drops what it cannot write."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()
