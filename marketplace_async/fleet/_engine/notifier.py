"""Progress updates that cannot harm a job."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ... import bulk
from ...errors import MarketplaceError
from ..progress import Progress
from ..sources import Connection, Target
from .entries import Failure

_log = logging.getLogger("marketplace_async")


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
    """Passes updates to a progress. If the progress raises, that is logged and updates end.

    Args:
        progress: Receives the updates, if given.
    """

    def __init__(self, progress: bulk.Progress | None) -> None:
        self._progress = progress

    @property
    def is_needed(self) -> bool:
        """Whether anything receives the updates."""
        return self._progress is not None

    def phase(self, name: str) -> None:
        with self._guarded() as progress:
            if isinstance(progress, Progress):
                progress.phase(name)

    def started(self, total: int | None) -> None:
        with self._guarded() as progress:
            if progress is not None:
                progress.started(total)

    def advanced(self, count: int = 1) -> None:
        with self._guarded() as progress:
            if progress is not None and count:
                progress.advanced(count)

    def failed(self, target: Target, failure: Failure) -> None:
        with self._guarded() as progress:
            if progress is not None:
                progress.failed(target, AccountError(failure))

    def counted(self, records: int, connection: Connection) -> None:
        with self._guarded() as progress:
            if isinstance(progress, Progress):
                progress.counted(records, connection.stats)

    @contextmanager
    def _guarded(self) -> Iterator[bulk.Progress | None]:
        try:
            yield self._progress
        except Exception:  # noqa: BLE001 - whatever it raises, the job continues
            self._progress = None
            _log.exception("the progress of a job raised; it receives no more updates")
