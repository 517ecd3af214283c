"""Progress updates whose errors do not affect the job."""

from collections.abc import Sequence
from typing import Final

from ... import bulk
from ..._core.limiter import Stats
from ..._core.listeners import guarded
from ...errors import MarketplaceError
from .._executors.reports import WorkerReport
from ..connections import Target
from ..progress import Progress, WorkerProgress
from .entries import Failure

# The methods of `WorkerProgress`. `Progress` has the first five, `bulk.Progress` the first three.
_METHODS: Final = ("started", "advanced", "failed", "phase", "counted", "workers", "waiting")


class AccountError(MarketplaceError):
    """One account of a job failed.

    Attributes:
        failure: The account and the reason.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure

    def _text(self) -> str:
        return self.failure.message


class Notifier:
    """Passes updates to a `bulk.Progress`. Its errors do not affect the job.

    Args:
        progress: Receives the updates, if given.
    """

    def __init__(self, progress: bulk.Progress | None) -> None:
        self._progress = None if progress is None else guarded(progress, _METHODS)

    @property
    def is_needed(self) -> bool:
        """Whether anything receives the updates."""
        return self._progress is not None

    def phase(self, name: str) -> None:
        if isinstance(self._progress, Progress):
            self._progress.phase(name)

    def started(self, total: int | None) -> None:
        if self._progress is not None:
            self._progress.started(total)

    def advanced(self, count: int = 1) -> None:
        if self._progress is not None and count:
            self._progress.advanced(count)

    def failed(self, target: Target, failure: Failure) -> None:
        if self._progress is not None:
            self._progress.failed(target, AccountError(failure))

    def counted(self, records: int, stats: Stats) -> None:
        if isinstance(self._progress, Progress):
            self._progress.counted(records, stats)

    def workers(self, reports: Sequence[WorkerReport]) -> None:
        if reports and isinstance(self._progress, WorkerProgress):
            self._progress.workers(reports)

    def waiting(self, seconds: float) -> None:
        if isinstance(self._progress, WorkerProgress):
            self._progress.waiting(seconds)
