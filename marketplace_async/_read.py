"""What the resources call: a request goes out, and what it asked for comes back."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias, TypeVar

from ._wire import Request, Response
from .errors import MarketplaceError
from .retry import Budget

T = TypeVar("T")

Parse: TypeAlias = Callable[[Request, Response], T]
Resolve: TypeAlias = Callable[[], Awaitable[T | None]]


class Read(Protocol):
    """Send a request, try again where that is safe, and parse the answer."""

    async def __call__(
        self,
        request: Request,
        parse: Parse[T],
        *,
        resolve: Resolve[T] | None = None,
        failed: MarketplaceError | None = None,
    ) -> T:
        """Return what `parse` makes of the answer.

        Args:
            request: What to send.
            parse: Makes a value of an answer, or raises ResponseError.
            resolve: Finds out what came of a try that may have happened: gives the value if it did,
                None if it did not. With it, what may not be repeated blindly can be tried again.
            failed: How a first try ended, if there was one before this.

        Raises:
            APIError, ResponseError, TransportError: The last try failed.
            AmbiguousOutcomeError: A try may have happened, and it is not safe to repeat it.
        """
        ...

    def within(self, budget: Budget) -> "Read":
        """Return the like that shares what may be used up, for calls that belong to one."""
        ...

    def start(self, request: Request, parse: Parse[T]) -> "asyncio.Task[T]":
        """Begin to read what is not needed yet, in a task that the client owns."""
        ...
