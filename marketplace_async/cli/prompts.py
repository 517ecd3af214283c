"""Asks the person at the terminal, if there is one."""

import getpass
import sys

from .._core.threads import to_daemon_thread
from .printable import printable
from .status import CommandError, usage_error


def somebody_is_there() -> bool:
    """Tell whether questions can be seen and answered."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def ask(question: str) -> str:
    """Return a line from the person at the terminal, "" at its end."""
    print(printable(question), end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def ask_secret(question: str) -> str:
    """Return a line that is not shown while it is typed."""
    try:
        return getpass.getpass(printable(question), stream=sys.stderr).strip()
    except EOFError:
        return ""


async def confirm(what: str, *, yes: bool) -> None:
    """Go on only if the person at the terminal agrees, or has agreed with `--yes`.

    Args:
        what: What would be done, such as "Delete 3 installed add-ons".
        yes: Whether `--yes` was given.

    Raises:
        CommandError: The answer was no, or nobody is there to ask.
    """
    if yes:
        return
    if not somebody_is_there():
        raise usage_error(
            f"nobody is there to ask: {what}?",
            "--yes does it without being asked; nothing was done.",
        )
    answer = await to_daemon_thread(ask, f"{what}? [y/N] ")
    if answer.lower() not in ("y", "yes"):
        raise CommandError("nothing was done")
