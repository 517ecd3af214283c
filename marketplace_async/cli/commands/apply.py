"""`marketplace-async apply`: bring every account to the desired state."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import attrs
from cyclopts import App, Parameter

from ..fleet_accounts import Accounts
from ..options import Flag, Yes
from ..output import Output
from ..parts import GROUP, Selection
from ..prompts import confirm, confirmation_required, is_interactive
from ..status import Status, note, usage_error, warn

if TYPE_CHECKING:
    from ... import fleet

app: App = App(
    name="apply",
    usage="Usage: marketplace-async apply [OPTIONS] [DESIRED]",
    help_epilogue="""\
Examples:
  marketplace-async apply fleet.toml --subaccounts
  marketplace-async apply --plan plan.jsonl --subaccounts""",
)


@app.default
async def apply(
    desired: Path | None = None,
    /,
    *,
    plan: Path | None = None,
    accept_secret_changes: Flag = False,
    max_removals: Annotated[int | None, Parameter(group=GROUP)] = None,
    journal: Path | None = None,
    yes: Yes = False,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    accounts: Accounts = Accounts(),  # noqa: B008 - frozen
    output: Output = Output(),
) -> int:
    """Show the plan and carry it out after confirmation.

    Parameters
    ----------
    desired
        The desired state, a TOML file. Default: that of the saved plan.
    plan
        Apply a plan that `plan --out` saved, instead of making a new one.
    accept_secret_changes
        Apply a plan that was saved without a plan key, even if secret values have changed since.
    max_removals
        Reject a plan that removes more installed Add-ons than this. Default: no limit.
    journal
        The journal (SQLite). Default: DESIRED with suffix .journal.
    """
    from ... import fleet
    from ..._core.threads import to_daemon_thread
    from .. import jobs, plans
    from ..profiles import plan_key

    if output.output == "csv":
        raise usage_error("--output: apply supports table, json or jsonl")
    if max_removals is not None and max_removals < 0:
        raise usage_error(f"--max-removals: must be 0 or more, got {max_removals}")
    if accept_secret_changes and plan is None:
        raise usage_error("--accept-secret-changes requires --plan FILE")
    header = None if plan is None else await to_daemon_thread(plans.saved_header, plan)
    if desired is None:
        if plan is None or header is None:
            raise usage_error("pass the desired state, a TOML file, or --plan FILE")
        desired = plans.desired_file(plan, header)
    if journal is None and not await to_daemon_thread(desired.is_file):
        # Its journal would be beside a pipe, or the file does not exist.
        await to_daemon_thread(desired.stat)
        raise usage_error(f"{desired} is not a regular file: pass --journal FILE")
    if not (yes or is_interactive()):
        raise confirmation_required("apply changes")
    if journal is not None:
        await to_daemon_thread(jobs.check_file, journal, "--journal")
    state = await to_daemon_thread(fleet.load, desired)
    part = selection.part(state)
    for message in state.warnings:
        warn(message)
    key = None if plan is None else await to_daemon_thread(plan_key)
    with jobs.running() as job:

        async def approve(report: "fleet.PlanReport") -> bool:
            job.bar.close()
            # From here on, a signal ends the job at once. Output may block.
            job.prompting = True
            is_seen = sys.stdout.isatty()
            if output.format == "table":
                await to_daemon_thread(plans.show, report)
            if not yes and not (output.format == "table" and is_seen):
                # Nobody approves what is not on the screen.
                await to_daemon_thread(plans.show, report, to_stderr=True)
            for message in report.unmatched:
                warn(message)
            if header is not None and header.key is None and state.secret:
                warn("secret values are not compared: the plan was saved without a plan key")
            await to_daemon_thread(plans.show_removals, report)
            note(plans.summary(report) + jobs.left_out(report.counts))
            await confirm(f"Apply this to {jobs.count_accounts(report.to_change)}", yes=yes)
            job.prompting = False
            return True

        report = await job.report_of(
            fleet.apply(
                accounts.source(),
                state,
                journal=desired.with_suffix(".journal") if journal is None else journal,
                approve=approve,
                plan=plan,
                accept_secret_changes=accept_secret_changes,
                part=part,
                max_removals=max_removals,
                max_failures=selection.max_failures,
                key=key,
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
            + (
                "their outcome was read from the accounts"
                if plan is None
                else "a run without --plan reads their outcome from the accounts"
            )
        )
    done = report.writes["done"]
    steps = "1 step" if done == 1 else f"{done:,} steps"
    result = f"{steps} done on {jobs.count_accounts(report.changed)}"
    if not report.plan.steps and report.complete:
        result = plans.summary(report.plan)
    hint = "Run apply again to finish the remaining steps."
    if plan is not None:
        hint = "Make a new plan for the remaining steps, or apply this one again."
    job.end(report, result, hint, wrote=report.changed > 0)
    if broken is not None:
        raise broken
    return Status.DONE
