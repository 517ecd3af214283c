"""`marketplace-async plan`: preview the changes needed to reach the desired state."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
from cyclopts import App

from ... import fleet
from ..._core.rows import field_names
from ..._core.threads import to_daemon_thread
from .. import jobs
from ..flags import Flag
from ..fleet_accounts import Accounts
from ..output import Output, StandardOutput
from ..printable import printable
from ..status import Status, note, usage_error, warn

if TYPE_CHECKING:
    from rich.text import Text

_MARKS: Final = {"install": "+", "update": "~", "enable": "+", "disable": "-", "remove": "-"}
_STYLES: Final = {"+": "bold green", "~": "bold cyan", "-": "bold red"}


app: App = App(
    name="plan",
    help_epilogue="""\
Examples:
  marketplace-async plan fleet.toml --subaccounts
  marketplace-async plan fleet.toml --subaccounts --to plan.jsonl
  marketplace-async schema > fleet.schema.json""",
)


@app.default
async def plan(
    desired: Path,
    /,
    *,
    to: Path | None = None,
    resume: Flag = False,
    overwrite: Flag = False,
    verbose: Flag = False,
    accounts: Accounts = Accounts(),  # noqa: B008 - frozen
    output: Output = Output(),
) -> int:
    """Preview changes without making them.

    Parameters
    ----------
    desired
        The desired state, a TOML file. `marketplace-async schema` describes its content.
    to
        Write the plan of each account to this file as JSON Lines.
    resume
        Continue an interrupted plan and retry failed accounts.
    overwrite
        Start over and replace the file.
    verbose
        Show the steps of each account.
    """
    format = output.format
    if format == "csv":
        raise usage_error("--output: plan supports table, json or jsonl")
    if to is None and (resume or overwrite):
        raise usage_error("--resume and --overwrite require --to FILE")
    if to is not None and (verbose or output.output == "jsonl"):
        raise usage_error("--to cannot be combined with --verbose or --output jsonl")
    state = await to_daemon_thread(fleet.load, desired)
    target: Path | fleet.Output[fleet.AccountPlan] | None = to
    if to is None and format == "jsonl":
        target = _PlansAsJson()
    elif to is None and verbose:
        target = _PlansAsText()
    with jobs.running(shows=target is to or not sys.stdout.isatty(), hint=jobs.RESUME_HINT) as job:
        report = await fleet.plan(
            accounts.source(),
            state,
            to=target,
            resume=resume,
            overwrite=overwrite,
            executor=accounts.executor(),
            progress=job.bar,
            stop=job.stop,
        )
    if format == "json":
        await output.record(figures(report))
    elif format == "table" and report.steps:
        await to_daemon_thread(show, report)
    for message in report.unmatched:
        warn(message)
    if not report.complete:
        resumable = "Pass --to FILE to make the plan resumable."
        hint = resumable if to is None else "Use --resume to continue."
        raise jobs.interrupted(f"{jobs.count_accounts(report.accounts)} planned", hint)
    note(summary(report))
    if report.failures.count:
        hint = "" if to is None else "Use --resume to retry them."
        raise jobs.failed(report.failures, report.accounts, hint, verb="could not be planned")
    return Status.CHANGES if report.steps else Status.DONE


def summary(report: fleet.PlanReport) -> str:
    """Summarize a plan in one sentence."""
    if not report.steps:
        return f"nothing to do on {jobs.count_accounts(report.accounts)}"
    steps = f"{report.steps:,} step" + ("" if report.steps == 1 else "s")
    return f"{steps} to do on {report.to_change:,} of {jobs.count_accounts(report.accounts)}"


def figures(report: fleet.PlanReport) -> dict[str, Any]:
    """Return the summary of a plan as plain JSON."""
    return {
        "accounts": report.accounts,
        "to_change": report.to_change,
        "steps": report.steps,
        "failed": report.failures.count,
        "complete": report.complete,
        "groups": [attrs.asdict(group) for group in report.groups],
        "unmatched": list(report.unmatched),
    }


def show(report: fleet.PlanReport) -> None:
    """Print the steps of a plan, grouping identical ones."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    for group in report.groups:
        mark = _MARKS[group.action]
        add_on = f" ({group.available_add_on_sid})" if group.action == "install" else ""
        name = f"{group.extension} of {group.unique_name}" if group.extension else group.unique_name
        head = Text(printable(f"{group.action} {name}"), "bold")
        console.print(
            Text.assemble((mark, _STYLES[mark]), " ", head, printable(add_on)),
            f"on all {jobs.count_accounts(group.accounts)}"
            if group.accounts == report.accounts > 1
            else f"on {jobs.count_accounts(group.accounts)}",
        )
        for change, count in sorted(group.changes.items(), key=_by_path):
            line = Text.assemble("    ", _change(change))
            if count != group.accounts:
                line.append(f"   on {count:,}", "dim")
            console.print(line)
        if group.other_changes:
            console.print(f"    ... and {group.other_changes:,} other changes")
        few = len(group.examples) == group.accounts < max(report.accounts, 2)
        if few or group.action == "remove":
            for target in group.examples:
                console.print("   ", Text(printable(_name(target)), "dim"))
            if more := group.accounts - len(group.examples):
                console.print("   ", Text(f"... and {more:,} more", "dim"))


def _by_path(change: tuple[str, int]) -> tuple[str, int]:
    text, count = change
    return text[2:].partition(" = ")[0], -count


def _name(target: fleet.Target) -> str:
    name = target.friendly_name
    return f"{target.account_sid} ({name})" if name else target.account_sid


def _change(change: str) -> "Text":
    from rich.text import Text

    mark, _, text = change.partition(" ")
    return Text.assemble((mark, _STYLES[mark]), " ", printable(text))


class _PlansAsJson(jobs.DisplayOutput):
    def __init__(self) -> None:
        self._out = StandardOutput("jsonl", field_names(fleet.AccountPlan), ())

    def write(self, account_sid: str, records: Sequence[fleet.AccountPlan]) -> None:
        self._out.chunk(records)


class _PlansAsText(jobs.DisplayOutput):
    def write(self, account_sid: str, records: Sequence[fleet.AccountPlan]) -> None:
        from rich.console import Console
        from rich.text import Text

        console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        for plan in records:
            target = fleet.Target(plan.account_sid, plan.friendly_name)
            console.print(Text(printable(_name(target))))
            for step in plan.steps:
                mark = _MARKS[step.action]
                text = Text.assemble((mark, _STYLES[mark]), " ", printable(str(step)))
                console.print("   ", text)
                for change in step.changes:
                    console.print("       ", _change(str(change)))
