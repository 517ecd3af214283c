"""How a program ends. This module imports next to nothing, so `--version` stays cheap."""

import _thread
import os
import sys

TYPE_CHECKING = False  # importing it from typing would slow down `--version`

if TYPE_CHECKING:
    from typing import IO, NoReturn

# Seconds that standard streams have to accept what is left.
_LIMIT = 1.0


def end(status: int) -> "NoReturn":
    """End the process with a status. Drops what standard streams do not accept within a second.

    Python itself would flush them at exit, wait for a pipe that nobody reads, and replace the
    status with 120 if the flush fails.
    """
    if flush_standard_streams():
        sys.exit(status)
    # An abandoned thread is still writing to a full pipe, and holds its stream's lock.
    os._exit(status)


def flush_standard_streams() -> bool:
    """Flush standard streams, and drop what they reject. Return False if it takes too long."""
    done = _thread.allocate_lock()
    done.acquire()

    def flush() -> None:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                _flush_or_drop(stream)
        done.release()

    _thread.start_new_thread(flush, ())
    return done.acquire(timeout=_LIMIT)


def _flush_or_drop(stream: "IO[str]") -> None:
    try:
        stream.flush()
    except (OSError, ValueError):
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
        except (OSError, ValueError):
            pass  # importing contextlib costs as much as all the rest
