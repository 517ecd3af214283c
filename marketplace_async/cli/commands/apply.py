"""`marketplace-async apply`: the accounts are made as is desired."""

from pathlib import Path

from cyclopts import App

from ... import fleet
from ..._core.threads import to_daemon_thread
from .. import jobs
from ..flags import Yes
from ..fleet_accounts import Accounts
from ..output import Output
from ..prompts import confirm, somebody_is_there
from ..status import Status, note, usage_error
from .plan import figures, show, summary

app = App(
    name="apply",
    help_epilogue="""\
Examples:
  marketplace-async apply fleet.toml --subaccounts
  marketplace-async apply fleet.toml --accounts accounts.csv --yes""",
)


@app.default
async def apply(
    desired: Path,
    /,
    *,
    journal: Path | None = None,
    yes: Yes = False,
    accounts: Accounts = Accounts(),  # noqa: B008 - frozen
    output: Output = Output(),
) -> int:
    """Do what the plan says, after showing it and asking.

    Parameters
    ----------
    desired
        The desired state, a TOML file: `marketplace-async schema` tells what may be in it.
    journal
        The file of the journal, of SQLite; that of the desired state with .journal unless given.
    yes
        Do not ask; needed where nobody is there to be asked.
    """
    if output.output == "csv":
        raise usage_error("--output: what is applied is shown as table, json or jsonl")
    if not (yes or somebody_is_there()):
        raise usage_error("nobody is there to ask", "--yes does it without being asked.")
    wanted = await to_daemon_thread(fleet.load, desired)
    with jobs.running() as job:

        async def approve(plan: fleet.PlanReport) -> bool:
            job.bar.close()
            if output.format == "table":
                await to_daemon_thread(show, plan)
            for sentence in plan.unmatched:
                note(sentence)
            note(summary(plan))
            job.asking = True
            what = f"Apply this to {jobs.accounts(plan.to_change)}"
            await confirm(what, yes=yes)
            job.asking = False
            return True

        report = await fleet.apply(
            accounts.source(),
            wanted,
            journal=desired.with_suffix(".journal") if journal is None else journal,
            approve=approve,
            executor=accounts.executor(),
            progress=job.bar,
            stop=job.stop,
        )
    if output.format != "table":
        await output.record(
            {
                "plan": figures(report.plan),
                "changed": report.changed,
                "writes": dict(report.writes),
                "failed": report.failures.count,
                "complete": report.complete,
            }
        )
    if not report.plan.steps:  # else it was told with the plan
        for sentence in report.plan.unmatched:
            note(sentence)
    if report.interrupted:
        note(
            f"the run before ended in the middle of {report.interrupted:,} writes; "
            "what came of them was read from the accounts"
        )
    done = report.writes["done"]
    said = f"{done:,} steps done on {jobs.accounts(report.changed)}"
    if not report.complete:
        raise jobs.interrupted(said, "Run it again: it does what is left.")
    note(said if report.plan.steps else summary(report.plan))
    if report.failures.count:
        hint = "Run it again: it does what is left."
        raise jobs.failed(report.failures, report.plan.accounts, hint)
    return Status.DONE
