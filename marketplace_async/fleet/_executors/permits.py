"""Bounds how many accounts a worker processes at once."""

import asyncio


class Permits:
    """A semaphore whose number of permits can change. Use it as `async with`.

    Args:
        count: The number of permits (at least 1).
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._semaphore = asyncio.Semaphore(count)
        self._excess = 0  # permits to withdraw when they are released

    def resize(self, count: int) -> None:
        """Change the number of permits. Holders of permits keep them."""
        self._excess += self._count - count
        self._count = count
        while self._excess < 0:
            self._excess += 1
            self._semaphore.release()

    async def __aenter__(self) -> None:
        await self._semaphore.acquire()
        while self._excess > 0:  # withdraw this one, and wait for another
            self._excess -= 1
            await self._semaphore.acquire()

    async def __aexit__(self, *_: object) -> None:
        if self._excess > 0:
            self._excess -= 1
        else:
            self._semaphore.release()
