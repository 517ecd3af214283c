"""The command line, `marketplace-async`: the extra `cli`."""

import sys
from collections.abc import Sequence

from ..errors import MissingExtraError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status: 0 done, 1 failed, 2 usage or something missing.

    Args:
        arguments: What follows the name of the program; those of the process unless given.
    """
    try:
        from .app import run
    except MissingExtraError as error:
        print(error, file=sys.stderr)
        return 2
    return run(arguments)
