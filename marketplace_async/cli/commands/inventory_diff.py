"""`marketplace-async inventory diff`: what changed between two inventories."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import attrs
from cyclopts import Parameter

from ..options import Flag
from ..output import Output
from ..status import Status, note, usage_error, warn

if TYPE_CHECKING:
    from ... import fleet

_MARKS: Final = {"installed": "+", "removed": "-", "reinstalled": "~", "changed": "~"}
_COLUMNS: Final = (
    *("action", "account_sid", "account_friendly_name", "unique_name", "sid"),
    *("available_add_on_sid", "changes"),
)


async def diff(
    before: Path,
    after: Path,
    /,
    *,
    secret: Annotated[list[str] | None, Parameter(negative=())] = None,
    detailed_exitcode: Flag = False,
    output: Output = Output(),
) -> int:
    """Show what changed between two inventories.

    Accounts that failed in one of them are not compared; they are counted, and the exit status is
    3.

    Parameters
    ----------
    before
        The earlier inventory: JSON Lines, CSV or SQLite.
    after
        The later inventory. Its format may differ.
    secret
        Mask the values of this configuration key. Keys that an inventory masks are added.
    detailed_exitcode
        Exit with 5 instead of 0 if there are changes.
    """
    from ... import fleet
    from ..._core.threads import to_daemon_thread

    for file in (before, after):
        if str(file) == "-":
            raise usage_error("an inventory must be a file, not standard input")
    found = await to_daemon_thread(
        lambda: fleet.diff_inventories(before, after, secret=secret or ())
    )
    if output.format == "table":
        await to_daemon_thread(_show, found)
    else:
        async with output.listing(_COLUMNS, ()) as show:
            await show([_object(one) for one in found.changes])
    if found.without_extensions:
        warn(
            f"extensions of {found.without_extensions:,} installed Add-ons were not compared: only "
            "one of the inventories has them"
        )
    if found.not_compared:
        first = ", ".join(found.not_compared[:3])
        more = ", ..." if len(found.not_compared) > 3 else ""
        warn(
            f"{len(found.not_compared):,} accounts were not compared, because they failed in an "
            f"inventory: {first}{more}"
        )
    note(_summary(found))
    if found.not_compared:
        return Status.PARTLY_FAILED
    return Status.CHANGES if detailed_exitcode and found.changes else Status.DONE


def _summary(found: "fleet.InventoryDiff") -> str:
    counts = {
        action: count
        for action in _MARKS
        if (count := sum(one.action == action for one in found.changes))
    }
    figures = [*(f"{count:,} {action}" for action, count in counts.items())]
    return ", ".join([*figures, f"{found.unchanged:,} unchanged"])


def _show(found: "fleet.InventoryDiff") -> None:
    from rich.console import Console

    from ..changes import change_text, marked
    from ..jobs import account_name

    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    for one in found.changes:
        name = one.unique_name or one.available_add_on_sid or "an Add-on"
        account = account_name(one.account_sid, one.account_friendly_name)
        console.print(
            marked(_MARKS[one.action], f"{one.action} {name} on {account}"), f"[dim]{one.sid}[/dim]"
        )
        for change in one.changes:
            console.print("   ", change_text(change))


def _object(change: "fleet.InventoryChange") -> dict[str, Any]:
    from ..changes import change_object

    fields = attrs.asdict(change, recurse=False)
    return {**fields, "changes": [change_object(one) for one in change.changes]}
