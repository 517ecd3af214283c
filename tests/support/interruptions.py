"""Readers that interrupt an iterator at each step, and go on."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterable
from itertools import chain, repeat
from typing import TypeVar

T = TypeVar("T")


async def read_interrupted(
    stream: AsyncIterator[T], patience: Iterable[int], *expected: type[Exception]
) -> list[T]:
    """Read a stream to its end, and return what it yields.

    Args:
        stream: The stream.
        patience: How many turns of the event loop to wait for each step before cancelling it. The
            steps after these are not cancelled.
        expected: Errors after which to go on.
    """
    errors: tuple[type[BaseException], ...] = (asyncio.CancelledError, *expected)
    found: list[T] = []
    for turns in chain(patience, repeat(None)):
        step = asyncio.ensure_future(anext(stream))
        for _ in range(turns or 0):
            await asyncio.sleep(0)
        if turns is not None:
            step.cancel()
        try:
            found.append(await step)
        except errors:
            continue
        except StopAsyncIteration:
            break
    return found


async def read_with_heartbeat(stream: AsyncIterator[T], seconds: float) -> tuple[list[T], int]:
    """Read a stream to its end under one timeout after another. Return items and timeouts."""
    found: list[T] = []
    timeouts = 0
    while True:
        try:
            async with asyncio.timeout(seconds):
                async for item in stream:
                    found.append(item)  # noqa: PERF401 - a comprehension would lose items
            return found, timeouts
        except TimeoutError:
            timeouts += 1


def errors_alive(kind: type[BaseException]) -> set[int]:
    """Return the identities of all errors of a kind that something refers to."""
    return {id(one) for one in gc.get_objects() if type(one) is kind}
