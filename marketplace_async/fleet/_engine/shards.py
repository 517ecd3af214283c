"""The unit of work: a shard of accounts and the task to run for each of them."""

import asyncio
from abc import ABC, abstractmethod
from typing import Any

import attrs

from ...client import MarketplaceClient
from ..sources import Connection, Target
from .journal import Failure


class Task(ABC):
    """The work that a job does for one account.

    A task must pickle, hold no credentials, and be safe to run more than once.
    """

    __slots__ = ()

    @abstractmethod
    async def run(self, client: MarketplaceClient, target: Target) -> Any:
        """Process one account and return a result that pickles."""

    def without_client(self, target: Target, error: Exception) -> Any:
        """Return the result of an account whose client could not be created, or raise `error`."""
        raise error


@attrs.frozen
class Shard:
    """Some accounts and the task to run for each. Shards pickle and hold no credentials."""

    targets: tuple[Target, ...]
    task: Task


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
    clients = await connection.clients([target.account_sid for target in shard.targets])
    return tuple(
        await asyncio.gather(
            *(_run(shard.task, clients[target.account_sid], target) for target in shard.targets)
        )
    )


async def _run(task: Task, client: MarketplaceClient | Exception, target: Target) -> AccountResult:
    try:
        if isinstance(client, Exception):
            return AccountResult(target, task.without_client(target, client))
        return AccountResult(target, await task.run(client, target))
    except Exception as error:  # noqa: BLE001 - no exception may stop the other accounts
        return AccountResult(target, failure=failure_of(target, error))


def failure_of(target: Target, error: Exception) -> Failure:
    """Return the failure to record for an account."""
    return Failure(target.account_sid, target.friendly_name, type(error).__name__, str(error))
