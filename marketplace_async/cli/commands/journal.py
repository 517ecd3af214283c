"""`marketplace-async journal`: what `apply` changed, and how to undo it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
from cyclopts import App

from ..options import Flag
from ..output import Output
from ..status import Status, note, warn

if TYPE_CHECKING:
    from ... import fleet

app: App = App(
    name="journal",
    help_epilogue="""\
Examples:
  marketplace-async journal show fleet.journal --run last
  marketplace-async journal undo fleet.journal --to undo.toml
  marketplace-async apply undo.toml --subaccounts""",
)

_FIELDS: Final = (
    *("run", "begun", "ended", "credentials", "user", "desired", "account_sid", "friendly_name"),
    *("action", "unique_name", "extension", "available_add_on_sid", "installed_add_on_sid"),
    *("outcome", "changes", "before", "after", "handouts", "message"),
)
_COLUMNS: Final = (
    *("account_sid", "action", "unique_name", "outcome", "begun", "extension", "friendly_name"),
    *("user", "message"),
)


@app.command
async def show(
    journal: Path,
    /,
    *,
    run: str | None = None,
    account: str | None = None,
    output: Output = Output(),
) -> int:
    """Show every write of apply: who, when, where, what, and its outcome.

    A table shows the most important columns.
    Other formats have all of them, with the configurations before and after.
    Secrets are masked.

    Parameters
    ----------
    journal
        The journal of apply, such as fleet.journal.
    run
        Show one run: "last", or the first characters of its name.
    account
        Show the writes to one account.
    """
    from ... import fleet
    from ..._core.threads import to_daemon_thread

    writes = await to_daemon_thread(
        lambda: fleet.read_journal(journal, run=run, account_sid=account)
    )
    async with output.listing(_FIELDS, _COLUMNS, if_empty="no writes") as printed:
        for begin in range(0, len(writes), 500):
            await printed([_row(one) for one in writes[begin : begin + 500]])
    return Status.DONE


def _row(write: "fleet.JournalWrite") -> dict[str, Any]:
    from ..changes import change_object

    step = write.step
    values = {
        **attrs.asdict(write, recurse=False),
        "action": step.action,
        "unique_name": step.unique_name,
        "extension": step.extension,
        "available_add_on_sid": step.available_add_on_sid,
        "changes": [change_object(one) for one in step.changes],
    }
    return {name: values[name] for name in _FIELDS}


@app.command
async def undo(
    journal: Path,
    /,
    *,
    run: str = "last",
    to: Path | None = None,
    overwrite: Flag = False,
) -> int:
    """Write a desired state that restores what a run updated, renamed, enabled or disabled.

    Changes nothing. Review the file with plan, and carry it out with apply.
    Lists the commands that undo installations and removals.
    If there are any, the exit status is 3.

    Parameters
    ----------
    journal
        The journal of apply, such as fleet.journal.
    run
        The run: "last", or the first characters of its name.
    to
        The file to write, such as undo.toml. Default: standard output.
    overwrite
        Replace the file.
    """
    from ... import fleet
    from ..._core.threads import to_daemon_thread

    found = await to_daemon_thread(lambda: fleet.undo_of(journal, run=run))
    if found.desired is not None:
        await to_daemon_thread(_write, found.desired, to, overwrite)
    if found.variables:
        first = ", ".join(found.variables[:3]) + (", ..." if len(found.variables) > 3 else "")
        warn(
            "secrets cannot be restored from the journal, which has them masked: set "
            f"{len(found.variables):,} environment variables to the earlier values: {first}"
        )
    for message in found.not_undone:
        warn(f"not undone: {message}")
    changes = "1 change" if found.changes == 1 else f"{found.changes:,} changes"
    where = f" in {to}" if to is not None and found.desired is not None else ""
    note(f"{changes} of run {found.run[:8]} to revert{where}")
    return Status.PARTLY_FAILED if found.not_undone else Status.DONE


def _write(text: str, to: Path | None, overwrite: bool) -> None:
    from ..._core.files import create, replacing, write_all

    if to is None:
        sys.stdout.write(text)
        sys.stdout.flush()
    elif overwrite:
        with replacing(to) as stream:
            stream.write(text.encode())
    else:
        with create(to) as file:
            write_all(file, text.encode())
