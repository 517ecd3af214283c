"""Runs one operation on several records of an account."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from .. import MarketplaceError, bulk
from .._core.arguments import check_sid
from .connection import Connection
from .explanations import explain
from .output import Output
from .status import CommandError, Status, print_error, warn_if_interrupted

T = TypeVar("T")

_CONCURRENCY: Final = 8


def check_sids(prefix: str, sids: Sequence[str]) -> None:
    """Check all SIDs before the first request.

    Raises:
        ValueError: One is malformed, or has another prefix.
    """
    for sid in sids:
        check_sid(prefix, sid, "sid")


async def run_each(
    call: Callable[[str], Awaitable[T]],
    sids: Sequence[str],
    *,
    connection: Connection,
    output: Output,
    fields: type | Sequence[str],
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
