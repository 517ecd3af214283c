"""The interface between the dispatcher and an engine: links to the workers."""

from collections.abc import AsyncGenerator, Mapping
from typing import Protocol

from ...errors import MarketplaceError


class WorkerLostError(MarketplaceError):
    """A worker was lost. The outcome of its unfinished work is unknown.

    Attributes:
        reason: Why it was lost, such as "process 1 was killed by SIGKILL".
        is_certain: Whether it has certainly ended. If not, it may still run, but be unreachable.
    """

    def __init__(self, reason: str, *, is_certain: bool = False) -> None:
        super().__init__(reason)
        self.reason: str = reason
        self.is_certain: bool = is_certain

    def _text(self) -> str:
        return self.reason


class NotBegunError(Exception):
    """The worker took the shard and did not begin it. Nothing was processed."""


class Link(Protocol):
    """A link to one worker. When the worker is lost, its methods raise WorkerLostError."""

    @property
    def name(self) -> str:
        """The name of the worker in reports."""
        ...

    @property
    def capacity(self) -> int:
        """Maximum number of shards at once."""
        ...

    @property
    def lost(self) -> WorkerLostError | None:
        """Why it was lost. None if it was not."""
        ...

    async def tell(self, message: bytes) -> bytes:
        """Send an instruction and return the response."""
        ...

    def work(self, message: bytes) -> AsyncGenerator[bytes, None]:
        """Send a shard and yield the messages about it. Closing the generator cancels it.

        Raises:
            NotBegunError: The worker did not begin the shard in time, and never will.
        """
        ...

    def suspect(self) -> None:
        """Report that the worker does not respond. The engine may then treat it as lost."""
        ...


class Engine(Protocol):
    """The workers of an executor. Workers can join and leave at any time."""

    @property
    def links(self) -> Mapping[str, Link]:
        """The links to the current workers, by name. Names are never reused."""
        ...

    async def changed(self) -> None:
        """Wait until workers have joined or left, or the engine was lost.

        Raises:
            JobError: The engine was lost.
        """
        ...
