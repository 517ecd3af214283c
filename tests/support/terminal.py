"""Runs programs on a terminal of their own, as a person would, and types the answers."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence

import attrs

# Takes the terminal for its own, so that Ctrl-C reaches it, and becomes the program.
_LAUNCHER = (
    "import fcntl, os, sys, termios\n"
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    "os.execvp(sys.argv[1], sys.argv[1:])\n"
)
_STYLE = re.compile(r"\x1b\[[0-9;]*m")

PROGRAM = (sys.executable, "-m", "marketplace_async")


@attrs.frozen
class Finished:
    """What came of a program: its exit status as Popen has it, and all that the screen showed."""

    status: int
    raw: str

    @property
    def screen(self) -> str:
        """The text without styles."""
        return _STYLE.sub("", self.raw).replace("\r\n", "\n")


def on_a_terminal(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    typed: Mapping[str, str] | None = None,
    columns: int = 100,
    timeout: float = 30,
) -> Finished:
    """Run a program on a terminal; when the screen ends with a key of `typed`, type its value."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    inherited = {name: value for name, value in env.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, "-c", _LAUNCHER, *command],
        stdin=its,
        stdout=its,
        stderr=its,
        env={**inherited, "TERM": "xterm-256color"},
        start_new_session=True,
    )
    os.close(its)
    left = dict(typed or {})
    shown = b""
    deadline = time.monotonic() + timeout
    try:
        while True:
            assert time.monotonic() < deadline, shown.decode()
            if not select.select([ours], [], [], 0.1)[0]:
                continue
            try:
                piece = os.read(ours, 65536)
            except OSError:  # Linux says so when the program has closed its side
                break
            if not piece:
                break
            shown += piece
            for prompt, text in left.items():
                if shown.decode(errors="replace").endswith(prompt):
                    os.write(ours, text.encode())
                    del left[prompt]
                    break
        return Finished(process.wait(timeout), shown.decode())
    finally:
        process.kill()
        process.wait()
        os.close(ours)
