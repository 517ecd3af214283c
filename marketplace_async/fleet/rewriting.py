"""Attempts of a write. The installation is compared again before each attempt."""

import asyncio
import random
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from .._core.clocks import monotonic
from ..errors import AmbiguousOutcomeError, MarketplaceError
from ..retry import Retry, Verdict, retry_after, verdict_on


class Attempt:
    """One attempt of a write. Use `with` around the write, and `wait` before the next attempt.

    The block suppresses an error if another attempt may succeed. Other errors, and those of the
    last attempt, are raised.

    Attributes:
        may_have_written: Whether an earlier attempt may have taken effect.
    """

    def __init__(self, retry: Retry, number: int, began: float, *, may_have_written: bool) -> None:
        self.may_have_written: bool = may_have_written
        self._retry = retry
        self._number = number
        self._began = began
        self._seconds = 0.0

    @classmethod
    def sequence(cls, retry: Retry) -> Iterator[Self]:
        """Yield the attempts that a retry policy allows."""
        began = monotonic()
        may_have_written = False
        for number in range(1, retry.attempts + 1):
            attempt = cls(retry, number, began, may_have_written=may_have_written)
            yield attempt
            may_have_written = attempt.may_have_written

    def __enter__(self) -> None: ...

    def __exit__(
        self,
        _: type[BaseException] | None,
        error: BaseException | None,
        __: TracebackType | None,
    ) -> bool:
        if not isinstance(error, MarketplaceError):
            return False
        verdict = verdict_on(error)
        if isinstance(error, AmbiguousOutcomeError):
            verdict = Verdict.UNKNOWN
        if verdict is Verdict.RESPONSE:
            return False
        seconds = self._retry.delay(
            self._number,
            spent=monotonic() - self._began,
            jitter=random.random(),
            retry_after=retry_after(error),
        )
        if seconds is None:
            return False
        self.may_have_written = self.may_have_written or verdict is Verdict.UNKNOWN
        self._seconds = seconds
        return True

    async def wait(self) -> None:
        """Wait until the next attempt may start. Holds no permit."""
        await asyncio.sleep(self._seconds)
