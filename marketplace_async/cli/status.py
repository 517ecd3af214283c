"""Exit statuses, and messages on standard error."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum

import attrs

from .._core.printable import printable
from .streams import error_console


class Status(IntEnum):
    """The exit statuses of all commands. A signal adds its number to 128."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    PARTLY_FAILED = 3
    UNKNOWN = 4
    CHANGES = 5
    HUNG_UP = 129
    INTERRUPTED = 130
    CLOSED_PIPE = 141
    TERMINATED = 143


@attrs.frozen
class CommandError(Exception):
    """Ends a command with a message.

    Attributes:
        message: What is wrong.
        hint: How to fix it.
        status: The exit status.
        details: One line for each of several problems.
    """

    message: str
    hint: str | None = None
    status: int = Status.FAILED
    details: Sequence[str] = ()

    def __str__(self) -> str:
        return self.message


def usage_error(message: str, hint: str | None = None) -> CommandError:
    """Return the error of a command that is invalid or incomplete. Nothing was changed."""
    return CommandError(message, hint, Status.USAGE)


@contextmanager
def warn_if_interrupted() -> Iterator[None]:
    """Warn that the outcome is unknown if a write is interrupted."""
    from asyncio import CancelledError

    try:
        yield
    except CancelledError:
        warn("interrupted; outcome unknown: check the account before retrying")
        raise


def print_error(error: CommandError) -> None:
    """Print an error and its hint to standard error."""
    _print("error", "bold red", error.message, *error.details)
    if error.hint:
        _print("hint", "bold", error.hint)


def warn(text: str) -> None:
    """Print a warning to standard error."""
    _print("warning", "bold yellow", text)


def note(text: str) -> None:
    """Print a note to standard error."""
    _print("note", "bold", text)


def _print(label: str, style: str, *lines: str) -> None:
    from rich.text import Text

    text = "\n  ".join(printable(line) for line in lines)
    error_console().print(Text.assemble((f"{label}:", style), " ", text))
