"""The interface that resources call: send a request and return the parsed response."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import NoReturn, Protocol, TypeAlias, TypeVar

from ..errors import MarketplaceError, ResponseError
from ..retry import Attempts
from .messages import Request, Response

T = TypeVar("T")

Parse: TypeAlias = Callable[[Request, Response], T]
Reconcile: TypeAlias = Callable[[], Awaitable[T | None]]


class Call(Protocol):
    """Send a request, retry it where that is safe, and parse the response."""

    @property
    def account_sid(self) -> str | None:
        """The account that the credentials belong to, `AC...`, if known."""
        ...

    async def __call__(
        self,
        request: Request,
        parse: Parse[T],
        *,
        reconcile: Reconcile[T] | None = None,
        failed: MarketplaceError | None = None,
    ) -> T:
        """Return the parsed response.

        Args:
            request: The request to send.
            parse: Turns a response into a value, or raises ResponseError.
            reconcile: Finds out what became of an attempt whose outcome is unknown. Returns the
                value if the request was processed and None if it was not. With `reconcile`, a
                request that is not safe to repeat can be retried.
            failed: The error of an attempt that was made before this call, if there was one.

        Raises:
            APIError, ResponseError, TransportError: The last attempt failed.
            AmbiguousOutcomeError: The outcome is unknown, and repeating the request is not safe.
        """
        ...

    def within(self, attempts: Attempts) -> "Call":
        """Return a copy that shares `attempts`, for calls that belong to one operation."""
        ...

    def operation(self, name: str) -> AbstractContextManager[None]:
        """Make the calls of a block one operation, for observers and for the deadline.

        The call of a request with the same name is the operation itself. The others are nested.
        Errors that the block raises carry the account.

        Args:
            name: Such as "installed_add_ons.ensure".
        """
        ...

    def one_deadline(self) -> AbstractContextManager[None]:
        """Make the calls of a block end within one deadline, if there is one."""
        ...

    def fail(self, request: Request, error: ResponseError) -> NoReturn:
        """Raise an error that was found before a request was sent, as the end of its call.

        Args:
            request: The request that cannot be sent, or the one before it.
            error: What is wrong with an earlier response.
        """
        ...

    def start(self, request: Request, parse: Parse[T]) -> "asyncio.Task[T]":
        """Start a call in a task that the client owns."""
        ...
