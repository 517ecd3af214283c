"""A call and a progress that record what bulk calls do with them."""

import asyncio


class SlowCall:
    """A call that takes a while and counts how often it runs at the same time."""

    def __init__(self, *failing: int, seconds: float = 0.001) -> None:
        self.failing = failing
        self.seconds = seconds
        self.started: list[int] = []
        self.running = self.peak = self.cancelled = 0

    async def __call__(self, number: int) -> str:
        self.started.append(number)
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            await asyncio.sleep(self.seconds * (1 + number % 3))
        except asyncio.CancelledError:
            self.cancelled += 1
            await asyncio.sleep(0)  # ends a little after its cancellation
            raise
        finally:
            self.running -= 1
        if number in self.failing:
            raise LookupError(number)
        return str(number)


class RecordedProgress:
    """A progress that records its updates."""

    def __init__(self) -> None:
        self.totals: list[int | None] = []
        self.done = 0
        self.failures: list[tuple[object, str]] = []

    def started(self, total: int | None) -> None:
        self.totals.append(total)

    def advanced(self, count: int = 1) -> None:
        self.done += count

    def failed(self, item: object, error: Exception) -> None:
        self.failures.append((item, repr(error)))
