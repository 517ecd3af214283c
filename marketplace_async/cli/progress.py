"""The progress bar of a job, on standard error if it is a terminal."""

import asyncio
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Self

from ..fleet import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress, Task, TaskID
    from rich.text import Text

    from .. import Stats

_DELAY: Final = 0.5
_RATE_WINDOW: Final = 5.0
_NOUNS: Final = {"inventory": "Add-ons", "plan": "steps", "apply": "steps done"}


class Bar(Progress):
    """Shows accounts, records, request rate, throttled requests, failures and time left.

    Args:
        shows: Whether to show the bar.
    """

    def __init__(self, *, shows: bool = True) -> None:
        self._shows = shows and sys.stderr.isatty()
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._phase = ""
        self._total: int | None = None
        self._done = 0
        self._failed = 0
        self._records = 0
        self._throttled = 0
        self._sent: deque[tuple[float, int]] = deque()

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
            # A short phase shows no bar.
            self._timer = asyncio.get_running_loop().call_later(_DELAY, self._show)

    def advanced(self, count: int = 1) -> None:
        """Add finished accounts."""
        self._done += count
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, count)

    def _show(self) -> None:
        self._bar = _rich_progress(self)
        self._task = self._bar.add_task(self._phase, total=self._total, completed=self._done)
        self._bar.start()

    def failed(self, item: object, error: Exception) -> None:
        """Add a failure."""
        self._failed += 1

    def counted(self, records: int, stats: "Stats") -> None:
        """Add records and update the request counters."""
        now = time.monotonic()
        self._records += records
        self._throttled = stats.throttled
        self._sent.append((now, stats.sent))
        while len(self._sent) > 2 and now - self._sent[0][0] > _RATE_WINDOW:
            self._sent.popleft()

    def text(self, task: "Task", room: int) -> "Text":
        """Return the text beside the bar, shortened to `room` columns."""
        from rich.text import Text

        total = "" if task.total is None else f"/{task.total:,.0f}"
        # Parts with the highest number are dropped first on a narrow terminal.
        parts = [
            (0, f"{task.completed:,.0f}{total} accounts", ""),
            (3, f"{self._records:,} {_NOUNS.get(self._phase, 'records')}", ""),
            (4, f"{self._requests():,.0f} requests/s", "dim"),
            (5, f"{self._throttled:,} throttled" if self._throttled else "", "dim"),
            (1, f"{self._failed:,} failed" if self._failed else "", "bold red"),
            (2, _left(task), "dim"),
        ]
        parts = [part for part in parts if part[1]]
        while len(parts) > 1 and sum(len(text) + 3 for _, text, _ in parts) - 3 > room:
            parts.remove(max(parts))
        return Text(" · ").join(Text(text, style) for _, text, style in parts)

    def _requests(self) -> float:
        if len(self._sent) < 2:
            return 0.0
        (began, before), (now, sent) = self._sent[0], self._sent[-1]
        return (sent - before) / max(now - began, 0.1)


def _left(task: "Task") -> str:
    seconds = task.time_remaining
    if seconds is None or task.finished:
        return ""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02} left" if hours else f"{minute}:{second:02} left"


def _rich_progress(bar: Bar) -> "RichProgress":
    from rich.console import Console
    from rich.progress import BarColumn, Progress as RichProgress, ProgressColumn, TextColumn

    console = Console(file=sys.stderr, highlight=False)
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
