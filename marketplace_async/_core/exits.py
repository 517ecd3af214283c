"""The last thing that a program does. It imports nothing, so that `--version` stays cheap."""

import os

TYPE_CHECKING = False  # importing it from typing would slow down `--version`

if TYPE_CHECKING:
    from typing import IO


def give_up(*streams: "IO[str] | None") -> None:
    """Flush standard streams for the last time. What they do not take is dropped.

    Otherwise Python would flush them at exit, and replace the exit status by 120.
    """
    for stream in streams:
        if stream is None:
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            _drop_what_is_left(stream)


def _drop_what_is_left(stream: "IO[str]") -> None:
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        pass  # contextlib costs as much as all the rest
