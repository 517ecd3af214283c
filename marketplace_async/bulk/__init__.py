"""Make many calls, or read many lists, concurrently.

    outcomes = await bulk.settle(client.available_add_ons.fetch, sids)

    async with bulk.merge(c.installed_add_ons.list() for c in clients) as stream:
        async for installed in stream:
            ...

Every function accepts an iterable or async iterable of any length. It reads items only as fast as
calls complete, so memory stays constant. No task keeps running after the call returns or the
`async with` block exits. Inside the block, a stream goes on after a timeout or a cancellation:
nothing is lost or repeated.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from .._core.arguments import check_positive_int
from .._core.pagination import Paginator
from ._calls import Calls, Settling, completed
from ._lists import Lists, merged, merged_outcomes
from ._outcomes import Failure, Outcome, Success
from ._workers import AnyIterable, Progress

__all__ = [
    "AnyIterable",
    "Failure",
    "Outcome",
    "Progress",
    "Settling",
    "Success",
    "as_completed",
    "gather",
    "merge",
    "merge_settled",
    "settle",
]

Item = TypeVar("Item")
T = TypeVar("T")

for _class in (Failure, Progress, Settling, Success):
    _class.__module__ = __name__


async def gather(
    call: Callable[[Item], Awaitable[T]],
    items: AnyIterable[Item],
    *,
    limit: int = 64,
    progress: Progress | None = None,
) -> list[T]:
    """Call a function for each item concurrently. Stop at the first failure.

    Args:
        call: An async function of one item, such as `client.installed_add_ons.fetch`.
        items: The items.
        limit: Maximum number of concurrent calls, at least 1.
        progress: Receives progress updates.

    Returns:
        The values that the calls returned, in the order of the items.

    Raises:
        ValueError: `limit` is not a positive integer.
        Exception: A call or `items` raised it. No call is still running.
    """
    values: dict[int, T] = {}
    async with Calls(call, items, check_positive_int(limit, "limit"), progress) as calls:
        while (result := await calls.next_result()) is not None:
            number, outcome = result
            calls.release()
            try:
                values[number] = outcome.value  # raises the error of a failure
            finally:
                del result, outcome  # the traceback of the error refers to this frame
    return [values[number] for number in range(len(values))]


def settle(
    call: Callable[[Item], Awaitable[T]],
    items: AnyIterable[Item],
    *,
    limit: int = 64,
    progress: Progress | None = None,
) -> Settling[Item, T]:
    """Call a function for each item concurrently and return every outcome.

    `await settle(...)` returns a list. To process a long sequence, iterate instead:

        async with bulk.settle(call, items) as outcomes:
            async for outcome in outcomes:
                ...

    Args:
        call: An async function of one item, such as `client.installed_add_ons.fetch`.
        items: The items.
        limit: Maximum number of concurrent calls, at least 1. When iterating, finished calls that
            wait for an earlier one count as well.
        progress: Receives progress updates.

    Returns:
        `Success(item, value)` or `Failure(item, error)` for each item, in the order of the items.

    Raises:
        ValueError: `limit` is not a positive integer.
        Exception: `items` raised it. A call that fails is a `Failure`.
    """
    return Settling(Calls(call, items, check_positive_int(limit, "limit"), progress))


def as_completed(
    call: Callable[[Item], Awaitable[T]],
    items: AnyIterable[Item],
    *,
    limit: int = 64,
    progress: Progress | None = None,
) -> AbstractAsyncContextManager[AsyncIterator[Outcome[Item, T]]]:
    """Call a function for each item concurrently and yield outcomes as calls complete.

    Use it as `async with as_completed(...) as stream`, and iterate the stream.

    Args:
        call: An async function of one item.
        items: The items.
        limit: Maximum number of concurrent calls, at least 1. An outcome counts until you read the
            next one.
        progress: Receives progress updates.

    Returns:
        `Success(item, value)` or `Failure(item, error)` for each item, in order of completion.

    Raises:
        ValueError: `limit` is not a positive integer.
        Exception: Raised by the stream if `items` raises it. A call that fails is a `Failure`.
    """
    return completed(Calls(call, items, check_positive_int(limit, "limit"), progress))


def merge(
    lists: AnyIterable[Paginator[T]], *, limit: int = 64, progress: Progress | None = None
) -> AbstractAsyncContextManager[AsyncIterator[T]]:
    """Read many lists concurrently as one stream. Stop at the first failure.

    Use it as `async with merge(...) as stream`, and iterate the stream.

    Args:
        lists: The lists, such as `client.installed_add_ons.list()` of many clients.
        limit: Maximum number of lists read concurrently, and of pages in memory, at least 1. Each
            list has at most one page ahead of the one you are reading, even with `prefetch=False`.
        progress: Receives progress updates. The lists are the items.

    Returns:
        The records. Those of one list arrive in order; pages of different lists are interleaved.

    Raises:
        ValueError: `limit` is not a positive integer.
        MarketplaceError: Raised by the stream if a list fails, and again at each later step.
    """
    return merged(Lists(lambda each: each, lists, check_positive_int(limit, "limit"), progress))


def merge_settled(
    list_of: Callable[[Item], Paginator[T]],
    items: AnyIterable[Item],
    *,
    limit: int = 64,
    progress: Progress | None = None,
) -> AbstractAsyncContextManager[AsyncIterator[Outcome[Item, T]]]:
    """Read the lists of many items as one stream. If a list fails, the others continue.

    Use it as `async with merge_settled(...) as stream`, and iterate the stream.

    Args:
        list_of: Returns the list of an item.
        items: The items, such as accounts.
        limit: Maximum number of lists read concurrently, and of pages in memory, at least 1.
        progress: Receives progress updates.

    Returns:
        `Success(item, record)` for each record. A list that fails ends with `Failure(item, error)`,
        after the records read before.

    Raises:
        ValueError: `limit` is not a positive integer.
        Exception: Raised by the stream if `items` raises it. A list that fails is a `Failure`.
    """
    return merged_outcomes(Lists(list_of, items, check_positive_int(limit, "limit"), progress))
