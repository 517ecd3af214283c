"""What the dispatcher needs of an engine: links to its workers."""

from collections.abc import AsyncGenerator, Mapping
from typing import Protocol

from ...errors import MarketplaceError


class WorkerLostError(MarketplaceError):
    """A worker was lost. What it was working on has an unknown outcome.

    Attributes:
        reason: What is known, such as "process 1 was killed by signal 9".
        is_certain: Whether it has surely ended. Otherwise it may still run, out of reach.
    """

    def __init__(self, reason: str, *, is_certain: bool = False) -> None:
        super().__init__(reason)
        self.reason: str = reason
        self.is_certain: bool = is_certain

    def _text(self) -> str:
        return self.reason


class Link(Protocol):
    """A link to one worker. When the worker is lost, its methods raise WorkerLostError."""

    @property
    def name(self) -> str:
        """The name of the worker in reports."""
        ...

    @property
    def capacity(self) -> int:
        """How many shards it takes at once."""
        ...

    @property
    def lost(self) -> WorkerLostError | None:
        """Why it was lost. None if it was not."""
        ...

    async def tell(self, message: bytes) -> bytes:
        """Send an instruction and return the response."""
        ...

    def work(self, message: bytes) -> AsyncGenerator[bytes, None]:
        """Send a shard and yield the messages about it. Closing the generator cancels it."""
        ...

    def suspect(self) -> None:
        """Take note that it does not respond. The engine may then give it up."""
        ...


class Engine(Protocol):
    """The workers of an executor, as they come and go."""

    @property
    def links(self) -> Mapping[str, Link]:
        """The links to the workers that are there, by a name that no other worker had before."""
        ...

    async def changed(self) -> None:
        """Wait until workers have come or gone, or the engine was lost.

        Raises:
            JobError: The engine was lost.
        """
        ...
