"""`marketplace-async plan`: preview the changes needed to reach the desired state."""

import sys
from pathlib import Path

from cyclopts import App

from ..fleet_accounts import Accounts
from ..options import Flag
from ..output import Output
from ..parts import Selection
from ..status import Status, note, usage_error, warn

app: App = App(
    name="plan",
    help_epilogue="""\
Examples:
  marketplace-async plan fleet.toml --subaccounts --out plan.jsonl
  marketplace-async plan fleet.toml --subaccounts --html plan.html""",
)


@app.default
async def plan(
    desired: Path,
    /,
    *,
    to: Path | None = None,
    out: Path | None = None,
    html: Path | None = None,
    markdown: Path | None = None,
    resume: Flag = False,
    overwrite: Flag = False,
    unmanaged: Flag = False,
    verbose: Flag = False,
    detailed_exitcode: Flag = False,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    accounts: Accounts = Accounts(),  # noqa: B008 - frozen
    output: Output = Output(),
) -> int:
    """Preview changes without making them.

    Parameters
    ----------
    desired
        The desired state, a TOML file. `marketplace-async schema` describes its content.
    to
        Write the plan of each account to this JSON Lines file.
    out
        Save the plan to this file, for `apply --plan`.
    html
        Write a page for the browser (.html), instead of --to.
    markdown
        Also write a summary for a pull request (Markdown).
    resume
        Continue an interrupted plan and retry failed accounts.
    overwrite
        Start over and replace the file.
    unmanaged
        Also list the Add-ons that no entry covers.
    verbose
        Show the steps of each account.
    detailed_exitcode
        Exit with 5 instead of 0 if there are changes.
    """
    from ... import fleet
    from ..._core.threads import to_daemon_thread
    from .. import jobs, plans
    from ..displays import RecordDisplay
    from ..plan_json import plain_plan
    from ..profiles import plan_key

    if html is not None:
        if to is not None:
            raise usage_error("--html cannot be combined with --to: each has a journal of its own")
        if html.suffix.lower() != ".html":
            raise usage_error(f"--html: expected a file that ends in .html, got {str(html)!r}")
        to = html
    format = output.format
    if format == "csv":
        raise usage_error("--output: plan supports table, json or jsonl")
    option = "--to" if html is None else "--html"
    if to is None and (resume or overwrite):
        raise usage_error("--resume and --overwrite require --to FILE")
    if to is not None and (verbose or output.output == "jsonl"):
        raise usage_error(f"{option} cannot be combined with --verbose or --output jsonl")
    if out is not None and (to is not None or verbose or output.output == "jsonl"):
        raise usage_error(f"--out cannot be combined with {option}, --verbose or --output jsonl")
    if to is not None:
        await to_daemon_thread(jobs.check_file, to, option)
    if out is not None:
        await to_daemon_thread(jobs.check_file, out, "--out")
    if markdown is not None:
        if markdown in (to, out):
            raise usage_error(f"--markdown: {markdown} is the file of another option as well")
        await to_daemon_thread(plans.check_markdown, markdown)
    state = await to_daemon_thread(fleet.load, desired)
    part = selection.part(state)
    failures: list[fleet.Failure] = []
    is_written = to is not None or out is not None or format == "jsonl"
    key = await to_daemon_thread(plan_key) if is_written else None
    for message in state.warnings:
        warn(message)
    target: Path | fleet.Output[fleet.AccountPlan] | None = to
    if out is not None:
        target = None
    elif to is None and format == "jsonl":
        target = RecordDisplay("jsonl", fleet.AccountPlan, (), convert=plain_plan)
    elif to is None and verbose:
        target = plans.PlanDisplay()
    elif to is None and format == "json":
        target = plans.FailureList(failures)
    with jobs.running(shows=target is to or not sys.stdout.isatty()) as job:
        report = await job.report_of(
            fleet.plan(
                accounts.source(),
                state,
                to=target,
                out=out,
                key=key,
                unmanaged=unmanaged,
                part=part,
                max_failures=selection.max_failures,
                resume=resume,
                overwrite=overwrite,
                progress=job.bar,
                stop=job.stop,
                abort=job.abort,
                **accounts.options(),
            )
        )
    broken: OSError | None = None
    if markdown is not None:
        await to_daemon_thread(plans.write_markdown, markdown, report)
    if format == "json":
        if out is not None or report.failures.file is not None:
            failures = await to_daemon_thread(plans.failures_of, report.failures)
        try:
            await output.record(plans.figures(report, failures))
        except OSError as error:  # the report on standard error is more important
            broken = error
    elif format == "table":
        if report.steps:
            await to_daemon_thread(plans.show, report)
        if not verbose:
            await to_daemon_thread(plans.show_unmanaged, report)
    for message in report.unmatched:
        warn(message)
    hint = ""
    if out is not None and report.complete and job.error is None:
        if key is None and state.secret:
            warn("secret values are not compared: there is no plan key (MARKETPLACE_PLAN_KEY)")
        note(f"saved in {out}; apply it with: marketplace-async apply --plan {out}")
    elif out is not None:
        hint = f"{out} was not written."
    elif to is not None:
        hint = "Use --resume to retry them." if report.complete else "Use --resume to continue."
    elif not report.complete:
        hint = "Pass --to FILE to make the plan resumable."
    job.end(report, plans.summary(report), hint, verb="could not be planned")
    if broken is not None:
        raise broken
    return Status.CHANGES if detailed_exitcode and report.steps else Status.DONE
