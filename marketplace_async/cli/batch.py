"""Runs one operation on several records of an account."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from .. import MarketplaceError, bulk
from .connection import Connection
from .output import Output
from .status import CommandError, Status, explain, print_error, warn_if_interrupted

T = TypeVar("T")

_CONCURRENCY: Final = 8


async def run_each(
    call: Callable[[str], Awaitable[T]],
    sids: Sequence[str],
    *,
    connection: Connection,
    output: Output,
    fields: Sequence[str],
    columns: Sequence[str],
) -> Status:
    """Call an operation with each SID and show the results in order.

    If one call fails, the others continue.

    Raises:
        CommandError: At least one of several calls failed.
        MarketplaceError: The only call failed.
    """
    failed = 0
    with warn_if_interrupted():
        async with (
            output.listing(fields, columns) as show,
            bulk.settle(call, sids, limit=_CONCURRENCY) as outcomes,
        ):
            async for outcome in outcomes:
                error = outcome.error
                if error is None:
                    await show([outcome.value])
                elif len(sids) == 1 or not isinstance(error, MarketplaceError):
                    raise error
                else:
                    failed += 1
                    print_error(explain(error, connection.access))
    if not failed:
        return Status.DONE
    status = Status.FAILED if failed == len(sids) else Status.PARTLY_FAILED
    raise CommandError(f"{failed} of {len(sids)} failed", status=status)
