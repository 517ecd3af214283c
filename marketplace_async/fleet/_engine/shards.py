"""The unit of work: a shard of accounts and the task to run for each of them."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Final

import attrs

from ...client import MarketplaceClient
from ...errors import MarketplaceError
from ..connections import Connection, Target
from ..steps import Step
from .entries import Failure


class AccountTimeoutError(MarketplaceError):
    """An account took longer than the job allows.

    Attributes:
        seconds: The limit.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds

    def _text(self) -> str:
        return f"not finished within {self.seconds:g} seconds"


@attrs.frozen
class TimeLimit:
    """The time that one account may take.

    Args:
        seconds: The limit, counted from now. None sets no limit.
    """

    seconds: float | None
    _ends: float | None = attrs.field(
        init=False, default=attrs.Factory(lambda self: _end_of(self.seconds), takes_self=True)
    )

    @asynccontextmanager
    async def enforced(self) -> AsyncIterator[None]:
        """Cancel the block once the time is up, and raise AccountTimeoutError."""
        timeout = asyncio.timeout_at(self._ends)
        try:
            async with timeout:
                yield
        except TimeoutError:
            if not timeout.expired():
                raise
            assert self.seconds is not None
            raise AccountTimeoutError(self.seconds) from None


def _end_of(seconds: float | None) -> float | None:
    return None if seconds is None else asyncio.get_running_loop().time() + seconds


@attrs.frozen
class Approved:
    """The steps that were approved for the accounts of a shard.

    Attributes:
        steps: The approved steps by account.
        with_problems: The accounts whose plan left out steps because of a problem.
        kept: The configurations that the service is known to store differently: the digest of
            what it stored, by the digest of what was sent.
    """

    steps: Mapping[str, tuple[Step, ...]] = attrs.field(factory=dict, hash=False)
    with_problems: frozenset[str] = frozenset()
    kept: Mapping[str, str] = attrs.field(factory=dict, hash=False)


class Task(ABC):
    """The work that a job does for one account.

    A task holds no credentials, and is safe to run more than once.

    Attributes:
        writes: Whether it changes accounts.
    """

    __slots__ = ()
    writes: ClassVar[bool] = False

    @abstractmethod
    async def run(
        self, client: MarketplaceClient, target: Target, limit: TimeLimit, approved: Approved
    ) -> Any:
        """Process one account within the limit and return a result."""

    def without_client(self, target: Target, error: Exception, approved: Approved) -> Any:
        """Return the result for an account whose client could not be created, or raise `error`."""
        raise error


@attrs.frozen
class Job:
    """The settings that all shards of a run share.

    Attributes:
        task: The task to run for each account.
        account_timeout: How long the task may take for one account, in seconds. None sets no limit.
        is_stopped: Returns True once no more accounts may be started.
    """

    task: Task
    account_timeout: float | None = None
    is_stopped: Callable[[], bool] = attrs.field(default=lambda: False, eq=False)


NOTHING_APPROVED: Final = Approved()


@attrs.frozen
class Shard:
    """A group of accounts of a job, without credentials.

    Attributes:
        targets: The accounts.
        approved: The steps that were approved for them.
        page: A link to the page of the account list that contains the accounts. None if the source
            has no pages, or the executor is not remote.
    """

    targets: tuple[Target, ...]
    approved: Approved = NOTHING_APPROVED
    page: str | None = None


@attrs.frozen
class AccountResult:
    """The result of one account: a value, or a failure.

    Attributes:
        target: The account.
        value: The inventory records, the `AccountPlan` or the writes of the account.
        failure: Why the account failed; None if it succeeded.
        handouts: How many times the account was handed to a worker.
    """

    target: Target
    value: Any = ()
    failure: Failure | None = None
    handouts: int = 1


@attrs.frozen
class NotBegun:
    """Accounts that the executor received but did not start, because the job was stopped.

    Attributes:
        targets: The accounts.
    """

    targets: tuple[Target, ...]


@attrs.frozen
class ShardFailure:
    """Accounts that have no result, because the executor could not process them.

    Attributes:
        targets: The accounts.
        error: The error.
    """

    targets: tuple[Target, ...]
    error: Exception


async def process(
    connection: Connection, job: Job, target: Target, approved: Approved
) -> AccountResult:
    """Process one account. An error becomes a result with a failure."""
    limit = TimeLimit(job.account_timeout)
    task = job.task
    try:
        async with limit.enforced():
            clients = await connection.clients([target.account_sid])
        client = clients[target.account_sid]
        if isinstance(client, Exception):
            return AccountResult(target, task.without_client(target, client, approved))
        return AccountResult(target, await task.run(client, target, limit, approved))
    except Exception as error:  # noqa: BLE001 - no exception may stop the other accounts
        return AccountResult(target, failure=failure_of(target, error))


def failure_of(target: Target, error: Exception) -> Failure:
    """Return the failure to record for an account."""
    return Failure(target.account_sid, target.friendly_name, type(error).__name__, str(error))
