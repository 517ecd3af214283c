"""`marketplace-async apply`: bring every account to the desired state."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from cyclopts import App

from ..fleet_accounts import Accounts
from ..options import Yes
from ..output import Output
from ..prompts import confirm, confirmation_required, is_interactive
from ..status import Status, note, usage_error, warn

if TYPE_CHECKING:
    from ... import fleet

app: App = App(
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
    """Show the plan and carry it out after confirmation.

    Parameters
    ----------
    desired
        The desired state, a TOML file. `marketplace-async schema` describes its content.
    journal
        The journal, a SQLite file. Default: the name of the desired state with suffix .journal.
    """
    from ... import fleet
    from ..._core.threads import to_daemon_thread
    from .. import jobs, plans

    if output.output == "csv":
        raise usage_error("--output: apply supports table, json or jsonl")
    if journal is None and not await to_daemon_thread(desired.is_file):
        # Its journal would be beside a pipe, or the file does not exist.
        await to_daemon_thread(desired.stat)
        raise usage_error(f"{desired} is not a regular file: pass --journal FILE")
    if not (yes or is_interactive()):
        raise confirmation_required("apply changes")
    if journal is not None:
        await to_daemon_thread(jobs.check_file, journal, "--journal")
    state = await to_daemon_thread(fleet.load, desired)
    for message in state.warnings:
        warn(message)
    with jobs.running() as job:

        async def approve(plan: "fleet.PlanReport") -> bool:
            job.bar.close()
            # From here on, a signal ends the job at once. Output may block.
            job.prompting = True
            is_seen = sys.stdout.isatty()
            if output.format == "table":
                await to_daemon_thread(plans.show, plan)
            if not yes and not (output.format == "table" and is_seen):
                # Nobody approves what is not on the screen.
                await to_daemon_thread(plans.show, plan, to_stderr=True)
            for message in plan.unmatched:
                warn(message)
            note(plans.summary(plan))
            await confirm(f"Apply this to {jobs.count_accounts(plan.to_change)}", yes=yes)
            job.prompting = False
            return True

        report = await job.report_of(
            fleet.apply(
                accounts.source(),
                state,
                journal=desired.with_suffix(".journal") if journal is None else journal,
                approve=approve,
                approve_timeout=None,
                credentials=accounts.described(),
                progress=job.bar,
                stop=job.stop,
                abort=job.abort,
                **accounts.options(),
            )
        )
    broken: OSError | None = None
    if output.format != "table":
        failures = await to_daemon_thread(plans.failures_of, report.failures)
        try:
            await output.record(
                {
                    "plan": plans.figures(report.plan),
                    "approved": report.approved,
                    "counts": jobs.plain(report.counts),
                    "changed": report.changed,
                    "writes": dict(report.writes),
                    "notes": list(report.notes),
                    "failed": report.failures.count,
                    "failures": [attrs.asdict(one) for one in failures],
                    "complete": report.complete,
                }
            )
        except OSError as error:  # the report on standard error is more important
            broken = error
    if not report.plan.steps:  # otherwise `approve` printed the warnings
        for message in report.plan.unmatched:
            warn(message)
    for message in report.notes:
        warn(message)
    if report.interrupted:
        note(
            f"the previous run left {report.interrupted:,} writes unfinished; "
            "their outcome was read from the accounts"
        )
    done = report.writes["done"]
    steps = "1 step" if done == 1 else f"{done:,} steps"
    result = f"{steps} done on {jobs.count_accounts(report.changed)}"
    if not report.plan.steps and report.complete:
        result = plans.summary(report.plan)
    job.end(
        report, result, "Run apply again to finish the remaining steps.", wrote=report.changed > 0
    )
    if broken is not None:
        raise broken
    return Status.DONE
