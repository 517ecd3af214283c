"""A line for each request, written by a thread: a slow terminal does not slow the emulator."""

import os
import time
from collections.abc import Mapping
from threading import Event, Thread
from typing import Final, TextIO

import attrs

from .faults import Fault
from .request_log import LogEntry, RequestLog

_BATCH: Final = 500
_PAUSE: Final = 0.05  # collects lines, so that a busy emulator wakes the thread rarely
_NOT_EFFECTS: Final = {"method", "path", "times", "probability", "hits"}
_RESET: Final = "\x1b[0m"
_DIM: Final = "\x1b[2m"
_BOLD: Final = "\x1b[1m"
_RED: Final = "\x1b[31m"
_COLORS: Final = {2: "\x1b[32m", 3: "\x1b[36m", 4: "\x1b[33m"}


class RequestLines:
    """Writes a line for each log entry, from `start` to `close`.

    Args:
        log: The request log.
        stream: Where to write.
        color: Whether to use colors.
    """

    def __init__(self, log: RequestLog, stream: TextIO, color: bool) -> None:
        self._log = log
        self._stream = stream
        self._color = color
        self._changed = Event()
        self._closing = False
        self._thread = Thread(target=self._run, name="request lines", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._log.watch(self._changed.set)
        self._thread.start()

    def close(self) -> None:
        """Write what is left. A terminal that stands still is given a second."""
        self._closing = True
        self._changed.set()
        self._thread.join(timeout=1.0)

    def _run(self) -> None:
        try:
            last = 0
            while not self._closing:
                self._changed.wait()
                time.sleep(0 if self._closing else _PAUSE)
                self._changed.clear()
                while entries := self._log.after(last, _BATCH):
                    # The log may have turned over, or been cleared, before it was read.
                    missed = entries[0][0] - last - 1
                    lines = [f"... {missed} more requests\n"] if missed else []
                    lines += [_line(entry, self._color) for _, entry in entries]
                    self._stream.write("".join(lines))
                    self._stream.flush()
                    last = entries[-1][0]
        except (OSError, ValueError):
            return  # nobody reads the lines any more


def uses_color(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether to use colors: on a terminal, unless NO_COLOR or FORCE_COLOR is set."""
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    understood = os.name != "nt" or "WT_SESSION" in environ  # Windows Terminal
    return stream.isatty() and environ.get("TERM") != "dumb" and understood


def _line(entry: LogEntry, color: bool) -> str:
    at = entry.time.astimezone().strftime("%H:%M:%S.%f")[:-3]
    status = "drop" if entry.status is None else str(entry.status)
    url = _printable(f"{entry.path}?{entry.query}" if entry.query else entry.path)
    account = f"  {entry.account_sid}" if entry.account_sid else ""
    fault = f"  fault: {_summary(entry.fault)}" if entry.fault else ""
    method = _printable(entry.method)
    duration = f"{entry.duration * 1000:.1f} ms"
    if not color:
        return f"{at}  {status:>4}  {method:<6}  {url}  {duration}{account}{fault}\n"
    shade = _COLORS.get((entry.status or 0) // 100, _RED)
    return (
        f"{_DIM}{at}{_RESET}  {shade}{status:>4}{_RESET}  {_BOLD}{method:<6}{_RESET}  {url}"
        f"  {_DIM}{duration}{account}{_RESET}{_RED}{fault}{_RESET}\n"
    )


def _summary(fault: Fault) -> str:
    effects = []
    for field in attrs.fields(Fault):
        value = getattr(fault, field.name)
        if field.name not in _NOT_EFFECTS and value != field.default:
            effects.append(
                f"{field.name}={value:g}" if isinstance(value, float) else f"{field.name}={value}"
            )
    return _printable(", ".join(effects))


def _printable(text: str) -> str:
    """Escape what is not printable: a path can contain commands for the terminal."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )
