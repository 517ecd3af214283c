"""Prompts on the terminal."""

import getpass
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from .._core.printable import printable
from .status import CommandError, print_error, usage_error

T = TypeVar("T")

_ATTEMPTS: Final = 3


def is_interactive() -> bool:
    """Return whether a user can see and answer a prompt."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def ask(prompt: str) -> str:
    """Prompt for a line of text. Raises EOFError at the end of input."""
    print(printable(prompt), end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.strip()


def ask_until_valid(ask_once: Callable[[], T]) -> T:
    """Call a function that prompts, and call it again after an invalid reply, twice at most.

    Args:
        ask_once: Prompts, and returns the reply. It raises CommandError if the reply is invalid,
            and EOFError at the end of input.

    Raises:
        CommandError: No reply was valid, or the input ended.
    """
    left = _ATTEMPTS
    while True:
        left -= 1
        try:
            return ask_once()
        except EOFError:
            raise usage_error("nothing was entered") from None
        except CommandError as error:
            if not left:
                raise
            print_error(error)
            discard_input()


def discard_input() -> None:
    """Discard what was typed or pasted and not read, so that it does not reach the shell.

    Does nothing without a terminal, or in the background.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        return
    try:
        import termios
    except ImportError:
        import msvcrt

        while msvcrt.kbhit():  # type: ignore[attr-defined]
            msvcrt.getwch()  # type: ignore[attr-defined]
        return
    descriptor = sys.stdin.fileno()
    with suppress(OSError, termios.error):
        if os.tcgetpgrp(descriptor) == os.getpgrp():
            termios.tcflush(descriptor, termios.TCIFLUSH)


def ask_secret(prompt: str) -> str:
    """Prompt for a line of text without echo. Raises EOFError at the end of input."""
    return getpass.getpass(printable(prompt), stream=sys.stderr).strip()


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
    try:
        reply = await to_daemon_thread(ask, f"{action}? [y/N] ")
    except EOFError:
        reply = ""
    if reply.lower() not in ("y", "yes"):
        raise CommandError("cancelled; nothing was changed")


def confirmation_required(action: str) -> CommandError:
    """Return the error of a command that needs `--yes` because there is no terminal."""
    action = action[0].lower() + action[1:]
    return usage_error(f"refusing to {action} without confirmation: pass --yes")
