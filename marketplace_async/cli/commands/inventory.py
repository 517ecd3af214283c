"""`marketplace-async inventory`: every installed Add-on of every account."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from ..fleet_accounts import Accounts
from ..options import Flag
from ..output import Output
from ..status import Status, usage_error

_COLUMNS = ("account_sid", "unique_name", "sid", "account_friendly_name", "friendly_name")


app: App = App(
    name="inventory",
    help_epilogue="""\
Examples:
  marketplace-async inventory --subaccounts --to inventory.csv
  marketplace-async inventory --subaccounts --to fleet.html
  marketplace-async inventory --accounts accounts.csv | jq .unique_name
  marketplace-async inventory diff monday.jsonl tuesday.jsonl""",
)
app.command(
    f"{__package__}.inventory_diff:diff",
    name="diff",
    help="Show what changed between two inventories.",
)


@app.default
async def inventory(
    *,
    to: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    extensions: Flag = False,
    secret: Annotated[list[str] | None, Parameter(negative=())] = None,
    sort: Annotated[bool | None, Parameter(show_default=False)] = None,
    resume: Flag = False,
    overwrite: Flag = False,
    accounts: Accounts = Accounts(),  # noqa: B008 - frozen
    output: Output = Output(),
) -> int:
    """Export every installed Add-on of every account.

    Parameters
    ----------
    to
        The file: .jsonl, .ndjson, .csv, .db, .sqlite, or a page for the browser (.html).
    extensions
        Include extensions: one more request per Add-on.
    secret
        Mask the values of this configuration key, such as api_token. Can be repeated.
    sort
        Sort by account and unique name. Default for --to.
    resume
        Continue an inventory and retry failed accounts.
    overwrite
        Start over and replace the file.
    """
    from ... import fleet
    from ..._core.threads import to_daemon_thread
    from .. import jobs
    from ..displays import RecordDisplay

    if to is not None and output.output is not None:
        raise usage_error("--output cannot be combined with --to: the file suffix sets the format")
    if to is None and (resume or overwrite):
        raise usage_error("--resume and --overwrite require --to FILE")
    if to is None and sort:
        raise usage_error("--sort requires --to FILE")
    if to is not None:
        await to_daemon_thread(jobs.check_file, to, "--to")
    display = None
    if to is None:
        display = RecordDisplay(output.format, fleet.InventoryRecord, _COLUMNS)
    with jobs.running(shows=to is not None or output.format != "table") as job:
        report = await job.report_of(
            fleet.inventory(
                accounts.source(),
                display or to or "",
                extensions=extensions,
                secret=secret or (),
                sort=sort,
                resume=resume,
                overwrite=overwrite,
                progress=job.bar,
                stop=job.stop,
                abort=job.abort,
                **accounts.options(),
            )
        )
    if display is not None:
        await to_daemon_thread(display.end)
    result = f"{report.records:,} installed Add-ons of {jobs.count_accounts(report.counts.done)}"
    if to is not None:
        result += f" in {to}"
        hint = "Use --resume to continue." if not report.complete else "Use --resume to retry them."
    else:
        hint = "Pass --to FILE to make the inventory resumable." if not report.complete else ""
    job.end(report, result, hint, is_shown=display is not None and report.records > 0)
    return Status.DONE
