"""Progress updates of a job."""

from typing import Protocol, runtime_checkable

from .. import bulk
from .._core.limiter import Stats


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
