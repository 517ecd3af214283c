"""`marketplace-async inventory`: every installed add-on of every account."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from ... import fleet
from ..._core.threads import to_daemon_thread
from .. import jobs
from ..flags import Flag
from ..fleet_accounts import Accounts
from ..output import Output, StandardOutput, fields_of
from ..status import Status, note, usage_error

_COLUMNS = ("account_sid", "unique_name", "account_friendly_name", "sid", "friendly_name")


app = App(
    name="inventory",
    help_epilogue="""\
Examples:
  marketplace-async inventory --subaccounts --to inventory.csv
  marketplace-async inventory --subaccounts --to inventory.csv --resume
  marketplace-async inventory --accounts accounts.csv | jq .unique_name""",
)


@app.default
async def inventory(
    *,
    to: Path | None = None,
    extensions: Flag = False,
    secret: Annotated[list[str] | None, Parameter(negative=())] = None,
    resume: Flag = False,
    overwrite: Flag = False,
    accounts: Accounts = Accounts(),  # noqa: B008 - frozen
    output: Output = Output(),
) -> int:
    """Write every installed add-on of every account to one file, or show them.

    Parameters
    ----------
    to
        The file: JSON lines (.jsonl, .ndjson), CSV (.csv) or SQLite (.db, .sqlite).
    extensions
        Read the extensions of each add-on, too; a request more for each.
    secret
        A key of configurations whose value is masked, such as api_token; can be repeated.
    resume
        Go on with what is in the file.
    overwrite
        Begin anew, and lose what is in the file.
    """
    if to is not None and output.output is not None:
        raise usage_error("--output says how to show it, and the name of a file how to write it")
    if to is None and (resume or overwrite):
        raise usage_error("--resume and --overwrite need a file: --to FILE")
    shown = _Shown(output) if to is None else None
    with jobs.running(
        shows=to is not None or output.format != "table", hint=jobs.RESUME_HINT
    ) as job:
        report = await fleet.inventory(
            accounts.source(),
            shown or to or "",
            extensions=extensions,
            secret=secret or (),
            resume=resume,
            overwrite=overwrite,
            executor=accounts.executor(),
            progress=job.bar,
            stop=job.stop,
        )
    there = f"{report.records:,} installed add-ons of {jobs.accounts(report.accounts)}"
    where = "" if to is None else f" in {to}"
    if not report.complete:
        hint = "--to FILE makes one that goes on." if to is None else "--resume goes on."
        raise jobs.interrupted(f"{there} are{where or ' shown'}", hint)
    if shown is not None:
        await to_daemon_thread(shown.end)
        if not report.records and output.format == "table":
            note(there)
    else:
        note(f"{there}{where}")
    if report.failures.count:
        hint = "" if to is None else "--resume tries them again."
        raise jobs.failed(report.failures, report.accounts, hint)
    return Status.DONE


class _Shown(jobs.Shown):
    """Shows the records on standard output."""

    def __init__(self, output: Output) -> None:
        self._out = StandardOutput(output.format, fields_of(fleet.InventoryRecord), _COLUMNS)

    def begin(self) -> None:
        self._out.begin()

    def write(self, account_sid: str, records: Sequence[fleet.InventoryRecord]) -> None:
        if records:
            self._out.chunk(records)

    def end(self) -> None:
        """Show what comes after the last record: an array of JSON is closed if it is whole."""
        self._out.end()
