"""Progress updates of a job."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from .. import bulk
from .._core.limiter import Stats
from ._executors.reports import WorkerReport


@runtime_checkable
class Progress(bulk.Progress, Protocol):
    """A `bulk.Progress` that also receives phases and counts.

    `started` is called again once the number of accounts is known. `advanced` counts accounts.
    """

    def phase(self, name: str) -> None:
        """A phase starts: "inventory", "plan" or "apply"."""
        ...

    def counted(self, records: int, stats: Stats) -> None:
        """`records` more records were saved. `stats` are the request counters so far."""
        ...


@runtime_checkable
class WorkerProgress(Progress, Protocol):
    """A `Progress` that is also told about workers."""

    def workers(self, reports: Sequence[WorkerReport]) -> None:
        """More results arrived. `reports` are the current reports of all workers."""
        ...

    def waiting(self, seconds: float) -> None:
        """The job waits until the workers of an interrupted run can no longer write."""
        ...
