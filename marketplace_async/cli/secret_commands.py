"""`secret_command` of a profile: a program that prints the secret, such as a password manager."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from .status import CommandError, usage_error

if TYPE_CHECKING:
    from .. import Secret

NAME: Final = "secret_command"
# The program may ask for a passphrase or a touch.
_TIMEOUT: Final[float] = 60.0
_NO_OUTPUT: Final = "secret_command printed nothing; expected the secret on one line"


def check(command: str) -> None:
    """Raise ValueError if a command is malformed, or its program does not exist."""
    (program, *_) = _arguments(command)
    if shutil.which(program) is None:
        raise ValueError(f"secret_command: the program {program!r} does not exist")


def read(command: str, source: str) -> "Secret":
    """Run a command, and return the line that it prints.

    No shell is involved. The program has no standard input; it can prompt on the terminal itself.

    Args:
        command: The program and its arguments, quoted as in a shell.
        source: Where the command was read, for messages. They never include what it prints, nor
            its arguments.

    Raises:
        CommandError: It fails, takes more than 60 seconds, or does not print one line.
    """
    try:
        check(command)
    except ValueError as error:
        raise usage_error(f"{source}: {error}") from None
    # Errors are raised where no variable holds the output.
    secret = _run(_arguments(command))
    if isinstance(secret, str):
        raise CommandError(
            f"{source}: {secret}", "Run it yourself: it must print the secret on one line."
        )
    return secret


def _arguments(command: str) -> Sequence[str]:
    try:
        # On Windows, a backslash is part of a path.
        arguments = shlex.split(command, posix=os.name != "nt")
    except ValueError as error:
        raise ValueError(f"secret_command: {str(error).lower()}") from None
    if not arguments:
        raise ValueError("secret_command: expected a program and its arguments")
    return arguments


def _run(arguments: Sequence[str]) -> "Secret | str":
    """Return the secret that a program prints, or what is wrong."""
    from .. import Secret

    try:
        finished = subprocess.run(
            arguments,
            stdin=subprocess.DEVNULL,  # standard input may be the data of the command
            stdout=subprocess.PIPE,
            stderr=None if sys.stderr is not None else subprocess.DEVNULL,
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"secret_command took more than {_TIMEOUT:g} seconds"
    except OSError as error:
        return f"secret_command: {error.strerror}"
    if finished.returncode:
        return f"secret_command failed with exit status {finished.returncode}"
    try:
        lines = finished.stdout.decode().strip().splitlines()
    except UnicodeDecodeError:
        return "secret_command printed something that is not UTF-8"
    if not lines:
        return _NO_OUTPUT
    if len(lines) > 1:
        return f"secret_command printed {len(lines)} lines; expected the secret on one line"
    return Secret(lines[0])
