"""The progress bar of a job, on standard error if it is a terminal."""

import asyncio
import math
import sys
import threading
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Self

from .._core.clocks import monotonic
from ..fleet import WorkerProgress, WorkerReport
from .status import note
from .streams import error_console

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress, Task, TaskID
    from rich.text import Text

    from .. import Stats

_DELAY: Final = 0.5
_RATE_WINDOW: Final = 5.0
# Seconds between two lines where a bar cannot be shown, as in a log file.
_LINE_INTERVAL: Final = 30.0
_NOUNS: Final = {"inventory": "Add-ons", "plan": "steps", "apply": "steps done"}


class Bar(WorkerProgress):
    """Shows accounts, records, request rate, throttled requests, failures and time left.

    Without a terminal, it prints a line every 30 seconds.

    Args:
        shows: Whether to show the bar.
    """

    def __init__(self, *, shows: bool = True) -> None:
        self._shows = shows and sys.stderr is not None
        self._is_live = shows and sys.stderr is not None and sys.stderr.isatty()
        # Not read later: rich replaces standard error while the bar is shown.
        encoding = getattr(sys.stderr, "encoding", None) or ""
        self._separator = " · " if encoding.lower().startswith("utf") else ", "
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._phase = ""
        self._total: int | None = None
        self._done = 0
        self._failed = 0
        self._records = 0
        self._throttled = 0
        self._workers = 0
        self._sent: deque[tuple[float, int]] = deque()
        self._began = 0.0

    @property
    def has_begun(self) -> bool:
        """Whether a phase has begun."""
        return self._phase != ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hide the bar until the next phase begins."""
        if self._timer is not None:
            self._timer.cancel()
        if self._bar is not None:
            self._bar.stop()
        self._bar = self._task = self._timer = None

    def disable(self) -> None:
        """Hide the bar permanently."""
        self.close()
        self._shows = False

    def phase(self, name: str) -> None:
        """Start a phase."""
        self.close()
        self._phase = name
        self._failed = self._records = self._done = 0
        self._total = None

    def started(self, total: int | None) -> None:
        """Show the number of accounts, or None if it is unknown."""
        self._total = total
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, total=total)
        elif self._shows and self._timer is None:
            # A short phase shows nothing.
            loop = asyncio.get_running_loop()
            if self._is_live:
                self._timer = loop.call_later(_DELAY, self._show)
            else:
                self._began = loop.time()
                self._timer = loop.call_later(_LINE_INTERVAL, self._print_line)

    def advanced(self, count: int = 1) -> None:
        """Add finished accounts."""
        self._done += count
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, count)

    def _show(self) -> None:
        self._bar = _rich_progress(self)
        self._task = self._bar.add_task(self._phase, total=self._total, completed=self._done)
        self._bar.start()

    def _print_line(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_LINE_INTERVAL, self._print_line)
        seconds = None
        if self._total and self._done:
            elapsed = loop.time() - self._began
            seconds = elapsed / self._done * max(0, self._total - self._done)
        parts = self._parts(self._done, self._total, seconds)
        line = f"{self._phase}: {self._separator.join(text for _, text, _ in parts)}"
        _print_note(line)

    def failed(self, item: object, error: Exception) -> None:
        """Add a failure."""
        self._failed += 1

    def counted(self, records: int, stats: "Stats") -> None:
        """Add records and update the request counters."""
        now = monotonic()
        self._records += records
        self._throttled = stats.throttled
        self._sent.append((now, stats.sent))
        while len(self._sent) > 2 and now - self._sent[0][0] > _RATE_WINDOW:
            self._sent.popleft()

    def workers(self, reports: Sequence[WorkerReport]) -> None:
        """Update the number of workers."""
        self._workers = sum(one.unfit is None and one.lost is None for one in reports)

    def waiting(self, seconds: float) -> None:
        """Print why the job waits, and for how long."""
        if self._shows:
            _print_note(
                f"waiting {math.ceil(seconds)} s until the workers of the interrupted run can no "
                "longer write"
            )

    def text(self, task: "Task", room: int) -> "Text":
        """Return the text beside the bar, shortened to `room` columns."""
        from rich.text import Text

        seconds = None if task.finished else task.time_remaining
        parts = self._parts(task.completed, task.total, seconds)
        while len(parts) > 1 and sum(len(text) + 3 for _, text, _ in parts) - 3 > room:
            parts.remove(max(parts))
        return Text(self._separator).join(Text(text, style) for _, text, style in parts)

    def _parts(
        self, done: float, total: float | None, seconds: float | None
    ) -> list[tuple[int, str, str]]:
        """Return texts with their styles. Those with the highest number are dropped first."""
        parts = [
            (0, f"{done:,.0f}{'' if total is None else f'/{total:,.0f}'} accounts", ""),
            (3, f"{self._records:,} {_NOUNS.get(self._phase, 'records')}", ""),
            (4, f"{self._requests():,.0f} requests/s", "dim"),
            (6, f"{self._workers:,} workers" if self._workers else "", "dim"),
            (5, f"{self._throttled:,} throttled" if self._throttled else "", "dim"),
            (1, f"{self._failed:,} failed" if self._failed else "", "bold red"),
            (2, "" if seconds is None else _left(seconds), "dim"),
        ]
        return [part for part in parts if part[1]]

    def _requests(self) -> float:
        if len(self._sent) < 2:
            return 0.0
        (began, before), (now, sent) = self._sent[0], self._sent[-1]
        return (sent - before) / max(now - began, 0.1)


def _print_note(text: str) -> None:
    # The pipe may be full, and the job goes on.
    threading.Thread(target=note, args=(text,), daemon=True).start()


def _left(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02} left" if hours else f"{minute}:{second:02} left"


def _rich_progress(bar: Bar) -> "RichProgress":
    from rich.progress import BarColumn, Progress as RichProgress, ProgressColumn, TextColumn

    console = error_console(soft_wrap=False)
    width = 10 if console.width < 100 else 30

    class Details(ProgressColumn):
        max_refresh = None

        def render(self, task: Any) -> "Text":
            return bar.text(task, console.width - width - len(task.description) - 3)

    return RichProgress(
        TextColumn("{task.description}", style="bold"),
        BarColumn(width, style="grey50"),  # visible on dark and light backgrounds
        Details(),
        console=console,
        transient=True,
    )
