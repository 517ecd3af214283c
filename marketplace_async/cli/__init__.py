"""The command line, `marketplace-async`: the extra `cli`."""

import os
import signal
import sys
from collections.abc import Sequence

from ..errors import MissingExtraError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status, as `marketplace_async.cli.status` has them.

    Args:
        arguments: What follows the name of the program; those of the process unless given.
    """
    try:
        from .app import run
    except MissingExtraError as error:
        print(error, file=sys.stderr)
        return 2
    return run(arguments)


def program() -> None:
    """Be the program `marketplace-async`: run the command of the process, and end it.

    What was interrupted, or writes to a pipe that nobody reads any more, dies of the signal, as
    shells expect: so that they end the loop or the script that it was part of, too.
    """
    status = main()
    if os.name == "posix" and status > 128:
        number = signal.Signals(status - 128)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    sys.exit(status)
