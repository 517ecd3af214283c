"""Splits the limits of a job among its workers."""

from collections.abc import Iterable, Mapping

import attrs

from .._engine.entries import JobError

# The driver gets one of this many parts of the permits.
_DRIVER: int = 16


@attrs.frozen
class Limits:
    """The limits of a job.

    Attributes:
        concurrency: Maximum number of requests in flight.
        requests_per_second: Maximum request rate. None sets no limit.
    """

    concurrency: int
    requests_per_second: float | None = None

    def __attrs_post_init__(self) -> None:
        if self.concurrency < 2:
            raise JobError(
                "concurrency: must be at least 2 with workers in other processes, one of them for "
                f"the list of accounts, got {self.concurrency}"
            )

    @property
    def of_driver(self) -> int:
        """The share of the process that lists the accounts."""
        return max(1, self.concurrency // _DRIVER)

    def rate_of(self, share: int) -> float | None:
        """Return the request rate for a share."""
        rate = self.requests_per_second
        return None if rate is None else rate * share / self.concurrency

    def lowered(self, granted: Mapping[str, int]) -> dict[str, int]:
        """Return the workers whose share must be lowered, with their new shares.

        Args:
            granted: The share of each worker. A new worker has 0.
        """
        fair = self._fair(granted)
        return {name: fair for name, share in granted.items() if share > fair}

    def raised(self, granted: Mapping[str, int], reserved: Iterable[int] = ()) -> dict[str, int]:
        """Return the workers whose share can be raised, with their new shares.

        Args:
            granted: The share of each worker.
            reserved: Shares of lost workers that may still use them.
        """
        fair = self._fair(granted)
        free = self.concurrency - self.of_driver - sum(granted.values()) - sum(reserved)
        raised: dict[str, int] = {}
        for name, share in sorted(granted.items(), key=lambda one: one[1]):
            more = min(fair - share, free)
            if more > 0:
                raised[name] = share + more
                free -= more
        return raised

    def _fair(self, granted: Mapping[str, int]) -> int:
        return max(1, (self.concurrency - self.of_driver) // max(1, len(granted)))
