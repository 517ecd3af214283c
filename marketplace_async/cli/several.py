"""Does the same to several records of one account, and says what became of each."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from .. import MarketplaceError, bulk
from .connection import Connection
from .output import Output
from .status import CommandError, Status, explain, may_have_happened, tell

T = TypeVar("T")

_AT_ONCE: Final = 8


async def do_each(
    call: Callable[[str], Awaitable[T]],
    sids: Sequence[str],
    *,
    connection: Connection,
    output: Output,
    fields: Sequence[str],
    columns: Sequence[str],
) -> Status:
    """Call with each SID and show what comes, in their order; a failure does not stop the rest.

    Raises:
        MarketplaceError: The only one failed.
    """
    failed = 0

    with may_have_happened():
        async with (
            output.listing(fields, columns) as show,
            bulk.settle(call, sids, limit=_AT_ONCE) as outcomes,
        ):
            async for outcome in outcomes:
                error = outcome.error
                if error is None:
                    await show([outcome.value])
                elif len(sids) == 1 or not isinstance(error, MarketplaceError):
                    raise error
                else:
                    failed += 1
                    tell(explain(error, connection.access))
    if not failed:
        return Status.DONE
    status = Status.FAILED if failed == len(sids) else Status.PARTLY_FAILED
    raise CommandError(f"{failed} of {len(sids)} failed", status=status)
