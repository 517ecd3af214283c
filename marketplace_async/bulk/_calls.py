"""Calls of a function for many items: the results of `settle` and `as_completed`."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from .._core.streams import Running, Stream
from ._outcomes import Failure, Outcome, Success
from ._workers import AnyIterable, Progress, Workers

Item = TypeVar("Item")
T = TypeVar("T")


class Calls(Workers[Item, tuple[int, Outcome[Item, T]]]):
    """Calls a function for each item. The results are numbered outcomes, as calls complete."""

    def __init__(
        self,
        call: Callable[[Item], Awaitable[T]],
        items: AnyIterable[Item],
        limit: int,
        progress: Progress | None,
    ) -> None:
        super().__init__(items, limit, progress)
        self._call = call
        self._early: dict[int, Outcome[Item, T]] = {}
        self._expected = 0
        self._in_use = False

    async def work(self, number: int, item: Item) -> None:
        outcome: Outcome[Item, T]
        try:
            outcome = Success(item, await self._call(item))
        except Exception as error:  # noqa: BLE001 - the outcome holds it
            outcome = Failure(item, error)
        self.report_done(item, outcome.error)
        self.emit((number, outcome))
        del outcome  # the traceback of its error refers to this frame

    async def in_order(self, running: Running) -> AsyncGenerator[Outcome[Item, T], None]:
        """Yield outcomes in the order of the items; for `Stream`."""
        with running:
            while True:
                while (outcome := self._early.pop(self._expected, None)) is not None:
                    self._expected += 1
                    self.release()
                    yield outcome
                result = await self.next_result()
                if result is None:
                    return
                number, self._early[number] = result

    async def as_completed(self, running: Running) -> AsyncGenerator[Outcome[Item, T], None]:
        """Yield outcomes as calls complete; for `Stream`. One counts until the next is read."""
        with running:
            while True:
                if self._in_use:
                    self._in_use = False
                    self.release()
                result = await self.next_result()
                if result is None:
                    return
                self._in_use = True
                yield result[1]


class Settling(Generic[Item, T]):
    """Returned by `settle`: await it for a list, or iterate it in an `async with` block."""

    def __init__(self, calls: Calls[Item, T]) -> None:
        self._calls = calls

    def __await__(self) -> Generator[Any, None, list[Outcome[Item, T]]]:
        return self._list().__await__()

    async def __aenter__(self) -> AsyncIterator[Outcome[Item, T]]:
        await self._calls.__aenter__()
        return Stream(self._calls.in_order)

    async def __aexit__(self, *_: object) -> None:
        await self._calls.__aexit__()

    async def _list(self) -> list[Outcome[Item, T]]:
        outcomes: dict[int, Outcome[Item, T]] = {}
        async with self._calls as calls:
            while (result := await calls.next_result()) is not None:
                calls.release()
                number, outcomes[number] = result
        return [outcomes[number] for number in range(len(outcomes))]


@asynccontextmanager
async def completed(
    calls: Calls[Item, T],
) -> AsyncGenerator[AsyncIterator[Outcome[Item, T]], None]:
    async with calls:
        yield Stream(calls.as_completed)
