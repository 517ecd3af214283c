"""Runs programs on a pseudo-terminal and types replies to their prompts."""

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

# Makes the pseudo-terminal the controlling one, so that Ctrl-C works, then runs the program.
_LAUNCHER = (
    "import fcntl, os, sys, termios\n"
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    "os.execvp(sys.argv[1], sys.argv[1:])\n"
)
_STYLE = re.compile(r"\x1b\[[0-9;]*m")

PROGRAM = (sys.executable, "-m", "marketplace_async")


@attrs.frozen
class Finished:
    """The result of a program: its exit status as in Popen, and everything on the screen."""

    status: int
    raw: str

    @property
    def screen(self) -> str:
        """The screen without styles."""
        return _STYLE.sub("", self.raw).replace("\r\n", "\n")


def on_a_terminal(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    typed: Mapping[str, str | list[str]] | None = None,
    columns: int = 100,
    timeout: float = 30,
) -> Finished:
    """Run a program on a terminal. When the screen ends with a key of `typed`, type its value.

    A list has the replies to a prompt that appears several times.
    """
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    inherited = {name: value for name, value in env.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, "-c", _LAUNCHER, *command],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**inherited, "TERM": "xterm-256color"},
        start_new_session=True,
    )
    os.close(terminal)
    pending = {
        prompt: [text] if isinstance(text, str) else [*text]
        for prompt, text in (typed or {}).items()
    }
    screen = b""
    deadline = time.monotonic() + timeout
    try:
        while True:
            assert time.monotonic() < deadline, screen.decode()
            if not select.select([controller], [], [], 0.1)[0]:
                continue
            try:
                chunk = os.read(controller, 65536)
            except OSError:  # Linux raises it after the program has closed the terminal
                break
            if not chunk:
                break
            screen += chunk
            for prompt, replies in pending.items():
                if replies and screen.decode(errors="replace").endswith(prompt):
                    os.write(controller, replies.pop(0).encode())
                    break
        return Finished(process.wait(timeout), screen.decode())
    finally:
        process.kill()
        process.wait()
        os.close(controller)
