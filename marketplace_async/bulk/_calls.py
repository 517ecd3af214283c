"""Calls of a function for many items: the results of `settle` and `as_completed`."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from ._outcomes import Failure, Outcome, Success
from ._workers import AnyIterable, Progress, Workers

Item = TypeVar("Item")
T = TypeVar("T")


class Calls(Workers[Item, tuple[int, Outcome[Item, T]]]):
    """Calls a function for each item. Yields numbered outcomes as calls complete."""

    def __init__(
        self,
        call: Callable[[Item], Awaitable[T]],
        items: AnyIterable[Item],
        limit: int,
        progress: Progress | None,
    ) -> None:
        super().__init__(items, limit, progress)
        self._call = call

    async def work(self, number: int, item: Item) -> None:
        outcome: Outcome[Item, T]
        try:
            outcome = Success(item, await self._call(item))
        except Exception as error:  # noqa: BLE001 - the outcome holds it
            outcome = Failure(item, error)
        self.report_done(item, outcome.error)
        self.emit((number, outcome))


class Settling(Generic[Item, T]):
    """Returned by `settle`: await it for a list, or iterate it in an `async with` block."""

    def __init__(self, calls: Calls[Item, T]) -> None:
        self._calls = calls

    def __await__(self) -> Generator[Any, None, list[Outcome[Item, T]]]:
        return self._list().__await__()

    async def __aenter__(self) -> AsyncIterator[Outcome[Item, T]]:
        await self._calls.__aenter__()
        return self._in_order()

    async def __aexit__(self, *_: object) -> None:
        await self._calls.__aexit__()

    async def _list(self) -> list[Outcome[Item, T]]:
        outcomes: dict[int, Outcome[Item, T]] = {}
        async with self._calls as calls:
            async for number, outcome in calls:
                calls.release()
                outcomes[number] = outcome
        return [outcomes[number] for number in range(len(outcomes))]

    async def _in_order(self) -> AsyncGenerator[Outcome[Item, T], None]:
        early: dict[int, Outcome[Item, T]] = {}
        expected = 0
        async for number, outcome in self._calls:
            early[number] = outcome
            while expected in early:
                self._calls.release()
                yield early.pop(expected)
                expected += 1


@asynccontextmanager
async def completed(
    calls: Calls[Item, T],
) -> AsyncGenerator[AsyncIterator[Outcome[Item, T]], None]:
    async def outcomes() -> AsyncGenerator[Outcome[Item, T], None]:
        async for _, outcome in calls:
            yield outcome
            calls.release()

    async with calls:
        yield outcomes()
