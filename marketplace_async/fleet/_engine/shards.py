"""The unit of work: a shard of accounts and the task to run for each of them."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs

from ...client import MarketplaceClient
from ...errors import MarketplaceError
from ..sources import Connection, Target
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
        seconds: The limit, from now. None if there is none.
    """

    seconds: float | None
    _ends: float | None = attrs.field(
        init=False, default=attrs.Factory(lambda self: _end_of(self.seconds), takes_self=True)
    )

    @asynccontextmanager
    async def enforced(self) -> AsyncIterator[None]:
        """Raise AccountTimeoutError in the block as soon as the time is over."""
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


class Task(ABC):
    """The work that a job does for one account.

    A task must pickle, hold no credentials, and be safe to run more than once.
    """

    __slots__ = ()

    @abstractmethod
    async def run(self, client: MarketplaceClient, target: Target, limit: TimeLimit) -> Any:
        """Process one account within the limit and return a result that pickles."""

    def without_client(self, target: Target, error: Exception) -> Any:
        """Return the result of an account whose client could not be created, or raise `error`."""
        raise error


@attrs.frozen
class Shard:
    """Some accounts and the task to run for each. Shards pickle and hold no credentials.

    Attributes:
        targets: The accounts.
        task: The task.
        account_timeout: How long the task may take for one account, in seconds.
    """

    targets: tuple[Target, ...]
    task: Task
    account_timeout: float | None = None


@attrs.frozen
class AccountResult:
    """The result of one account: a value, or a failure.

    Attributes:
        target: The account.
        value: The inventory records, the `AccountPlan` or the writes of the account.
        failure: Why the account failed; None if it succeeded.
    """

    target: Target
    value: Any = ()
    failure: Failure | None = None


async def work(connection: Connection, shard: Shard) -> tuple[AccountResult, ...]:
    """Process the accounts of a shard concurrently. A failed account does not stop the others."""
    if len(shard.targets) == 1:
        return (await _run(connection, shard, shard.targets[0]),)
    runs = [_run(connection, shard, target) for target in shard.targets]
    return tuple(await asyncio.gather(*runs))


async def _run(connection: Connection, shard: Shard, target: Target) -> AccountResult:
    limit = TimeLimit(shard.account_timeout)
    task = shard.task
    try:
        async with limit.enforced():
            clients = await connection.clients([target.account_sid])
        client = clients[target.account_sid]
        if isinstance(client, Exception):
            return AccountResult(target, task.without_client(target, client))
        return AccountResult(target, await task.run(client, target, limit))
    except Exception as error:  # noqa: BLE001 - no exception may stop the other accounts
        return AccountResult(target, failure=failure_of(target, error))


def failure_of(target: Target, error: Exception) -> Failure:
    """Return the failure to record for an account."""
    return Failure(target.account_sid, target.friendly_name, type(error).__name__, str(error))
