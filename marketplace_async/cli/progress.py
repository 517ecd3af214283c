"""The progress bar of a job, on standard error if that is a terminal."""

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

_PATIENCE: Final = 0.5
_SECONDS: Final = 5.0
_WHAT: Final = {"inventory": "add-ons", "plan": "steps", "apply": "steps done"}


class Bar(Progress):
    """Shows accounts done, what came of them, requests, failures and the time left.

    Args:
        shows: Whether to show anything.
    """

    def __init__(self, *, shows: bool = True) -> None:
        self._shows = shows and sys.stderr.isatty()
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None
        self._soon: asyncio.TimerHandle | None = None
        self._phase = ""
        self._total: int | None = None
        self._done = 0
        self._failed = 0
        self._records = 0
        self._refused = 0
        self._sent: deque[tuple[float, int]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away, until another phase begins."""
        if self._soon is not None:
            self._soon.cancel()
        if self._bar is not None:
            self._bar.stop()
        self._bar = self._task = self._soon = None

    def quit(self) -> None:
        """Take the bar away for good."""
        self.close()
        self._shows = False

    def phase(self, name: str) -> None:
        """Begin a bar."""
        self.close()
        self._phase = name
        self._failed = self._records = self._done = 0
        self._total = None

    def started(self, total: int | None) -> None:
        """Show how many accounts there are, as far as that is known."""
        self._total = total
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, total=total)
        elif self._shows and self._soon is None:
            # What takes no time shows no bar.
            self._soon = asyncio.get_running_loop().call_later(_PATIENCE, self._show)

    def advanced(self, count: int = 1) -> None:
        """Show that so many more accounts are done."""
        self._done += count
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, count)

    def _show(self) -> None:
        self._bar = _rich_progress(self)
        self._task = self._bar.add_task(self._phase, total=self._total, completed=self._done)
        self._bar.start()

    def failed(self, item: object, error: Exception) -> None:
        """Show one more failure."""
        self._failed += 1

    def counted(self, records: int, stats: "Stats") -> None:
        """Show what came of the accounts, and what was sent."""
        now = time.monotonic()
        self._records += records
        self._refused = stats.throttled
        self._sent.append((now, stats.sent))
        while len(self._sent) > 2 and now - self._sent[0][0] > _SECONDS:
            self._sent.popleft()

    def text(self, task: "Task", room: int) -> "Text":
        """Return what stands beside the bar, as much as there is room for."""
        from rich.text import Text

        total = "" if task.total is None else f"/{task.total:,.0f}"
        # What may be missing on a narrow terminal comes with a higher number.
        parts = [
            (0, f"{task.completed:,.0f}{total} accounts", ""),
            (3, f"{self._records:,} {_WHAT.get(self._phase, 'records')}", ""),
            (4, f"{self._requests():,.0f} requests/s", "dim"),
            (5, f"{self._refused:,} refused" if self._refused else "", "dim"),
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
        BarColumn(width, style="grey50"),  # seen on dark and on light, and never as done
        Details(),
        console=console,
        transient=True,
    )
