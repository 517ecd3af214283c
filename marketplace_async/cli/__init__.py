"""The command line, `marketplace-async` (extra `cli`).

Modules of this package that declare commands and options import the SDK, asyncio and other slow
modules inside functions: help, completion and messages about mistyped options need none of them.
"""

import os
import sys

from .._version import __version__

TYPE_CHECKING = False  # importing it from typing would slow down `--version`

if TYPE_CHECKING:
    from collections.abc import Sequence


_INSTALL = (
    "  pip:   pip install 'marketplace_async[cli]'",
    "  pipx:  pipx install 'marketplace_async[cli]'",
    "  uvx:   uvx --from 'marketplace_async[cli]' marketplace-async demo",
)


def main(arguments: "Sequence[str] | None" = None) -> int:
    """Run a command and return its exit status: see `marketplace_async.cli.status.Status`.

    Args:
        arguments: The arguments without the program name. Defaults to those of the process.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if [*arguments] == ["--version"] and (status := _print_version()) is not None:
        return status
    try:
        import cyclopts  # noqa: F401
    except ModuleNotFoundError:
        return _run_without_cyclopts(arguments)
    from .app import run

    return run(arguments)


def _run_without_cyclopts(arguments: "Sequence[str]") -> int:
    """Run `emulator`, which needs the extra `emulator` alone, or explain what is missing."""
    from ..errors import MissingExtraError

    if arguments[:1] == ["emulator"]:
        try:
            from ..emulator import __main__ as program
        except MissingExtraError as error:
            print(error, file=sys.stderr)
            return 2
        return program.main(arguments[1:], "marketplace-async emulator")
    print(MissingExtraError("the command line", "cli"), *_INSTALL, sep="\n", file=sys.stderr)
    return 2


def _print_version() -> int | None:
    """Print the version without cyclopts. Return the exit status, or None if `run` must explain."""
    try:
        print(__version__, flush=True)
    except BrokenPipeError:
        from .status import Status

        return Status.CLOSED_PIPE
    except OSError:
        return None
    return 0 if sys.stdout is not None else None


def program() -> None:
    """Run the command of this process, then exit.

    After an interrupt or a closed pipe, the process kills itself with that signal. Shells then
    also stop the loop or script that called it.
    """
    from .._core.exits import end, flush_standard_streams

    status = main()
    if os.name == "posix" and status > 128:
        import signal

        flush_standard_streams()
        number = signal.Signals(status - 128)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    end(status)
