"""The command line, `marketplace-async` (extra `cli`)."""

import os
import signal
import sys
from collections.abc import Sequence

from ..errors import MissingExtraError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: see `marketplace_async.cli.status.Status`.

    Args:
        arguments: The arguments without the program name. Defaults to those of the process.
    """
    try:
        from .app import run
    except MissingExtraError as error:
        print(error, file=sys.stderr)
        return 2
    return run(arguments)


def program() -> None:
    """Run the command of this process, then exit.

    After an interrupt or a closed pipe, the process kills itself with that signal. Shells then
    also stop the loop or script that called it.
    """
    status = main()
    if os.name == "posix" and status > 128:
        number = signal.Signals(status - 128)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    sys.exit(status)
