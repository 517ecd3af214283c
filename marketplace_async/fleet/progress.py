"""What a job tells while it runs."""

from typing import Protocol, runtime_checkable

from .. import bulk
from .._core.limiter import Stats


@runtime_checkable
class Progress(bulk.Progress, Protocol):
    """What a job reports to that wants to know more than `bulk.Progress` is told.

    `started` is called again as soon as the total is known, and `advanced` for each account.
    """

    def phase(self, name: str) -> None:
        """Say what begins: "inventory", "plan" or "apply"."""
        ...

    def counted(self, records: int, stats: Stats) -> None:
        """Say how many more records there are, and what was sent and refused so far."""
        ...
