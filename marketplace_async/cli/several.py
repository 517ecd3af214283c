"""Does the same to several records of one account, and says what became of each."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from .. import MarketplaceError
from .connection import Connection
from .output import Output
from .status import CommandError, Status, explain, may_have_happened, tell

T = TypeVar("T")


async def do_each(
    call: Callable[[str], Awaitable[T]],
    sids: Sequence[str],
    *,
    connection: Connection,
    output: Output,
    fields: Sequence[str],
    columns: Sequence[str],
) -> Status:
    """Call with one SID after the other and show what comes; a failure does not stop the rest.

    Raises:
        MarketplaceError: The only one failed.
    """
    failed = 0

    async def results() -> AsyncIterator[Sequence[T]]:
        nonlocal failed
        for sid in sids:
            try:
                with may_have_happened():
                    result = await call(sid)
            except MarketplaceError as error:
                if len(sids) == 1:
                    raise
                failed += 1
                tell(explain(error, connection.access))
            else:
                yield [result]

    await output.records(results(), fields, columns)
    if not failed:
        return Status.DONE
    status = Status.FAILED if failed == len(sids) else Status.PARTLY_FAILED
    raise CommandError(f"{failed} of {len(sids)} failed", status=status)
