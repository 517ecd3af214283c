"""The lease of a worker, which may write until the lease ends."""

import asyncio
from collections.abc import Callable

from ..._core.clocks import monotonic


class Fence:
    """Stops the writes of a worker after its job has lost contact with it.

    The job extends the lease from a time that the worker reported, on the worker's own clock. So a
    delayed message cannot extend the lease too far.

    Args:
        seconds: How long a lease lasts.
        ended: Called when the lease ends.
    """

    def __init__(self, seconds: float, ended: Callable[[], None]) -> None:
        self._seconds = seconds
        self._ended = ended
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @staticmethod
    def clock() -> float:
        """Return the current time, to report to the job."""
        return monotonic()

    @property
    def is_open(self) -> bool:
        """Whether the worker may write now."""
        return monotonic() < self._until

    def extend(self, reported: float) -> None:
        """Extend the lease from a time that `clock` returned."""
        self._until = max(self._until, reported + self._seconds)
        if self._timer is None and self.is_open:
            self._wait()

    def check(self) -> None:
        """Raise CancelledError if the worker may not write now."""
        if not self.is_open:
            raise asyncio.CancelledError("the lease has ended")

    def close(self) -> None:
        """End the lease without calling `ended`."""
        self._until = 0.0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(0.0, self._until - monotonic()), self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        if self.is_open:
            self._wait()
        else:
            self._ended()
