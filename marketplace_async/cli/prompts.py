"""Prompts on the terminal."""

import getpass
import sys

from .._core.printable import printable
from .status import CommandError, usage_error


def is_interactive() -> bool:
    """Return whether a user can see and answer a prompt."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def ask(prompt: str) -> str:
    """Prompt for a line of text; return "" at the end of input."""
    print(printable(prompt), end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def ask_secret(prompt: str) -> str:
    """Prompt for a line of text without echo; return "" at the end of input."""
    try:
        return getpass.getpass(printable(prompt), stream=sys.stderr).strip()
    except EOFError:
        return ""


async def confirm(action: str, *, yes: bool) -> None:
    """Ask for confirmation, unless `yes` is set.

    Args:
        action: What will be done, such as "Delete 3 installed Add-ons".
        yes: Whether `--yes` was given.

    Raises:
        CommandError: The user declined, or there is no terminal.
    """
    from .._core.threads import to_daemon_thread

    if yes:
        return
    if not is_interactive():
        raise confirmation_required(action)
    reply = await to_daemon_thread(ask, f"{action}? [y/N] ")
    if reply.lower() not in ("y", "yes"):
        raise CommandError("cancelled; nothing was changed")


def confirmation_required(action: str) -> CommandError:
    """Return the error of a command that needs `--yes` because there is no terminal."""
    action = action[0].lower() + action[1:]
    return usage_error(f"Refusing to {action} without confirmation: pass --yes")
