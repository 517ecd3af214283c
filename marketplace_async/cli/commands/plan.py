"""`marketplace-async plan`: what would be done, so that the accounts are as is desired."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
from cyclopts import App

from ... import fleet
from ..._core.threads import to_daemon_thread
from .. import jobs
from ..flags import Flag
from ..fleet_accounts import Accounts
from ..output import Output, StandardOutput, fields_of
from ..printable import printable
from ..status import Status, note, usage_error

if TYPE_CHECKING:
    from rich.text import Text

_MARKS: Final = {"install": "+", "update": "~", "enable": "+", "disable": "-", "remove": "-"}
_STYLES: Final = {"+": "bold green", "~": "bold cyan", "-": "bold red"}


app = App(
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
    """Show what would be done, and change nothing.

    Parameters
    ----------
    desired
        The desired state, a TOML file: `marketplace-async schema` tells what may be in it.
    to
        Write the plan of each account to this file, too, as JSON lines.
    resume
        Go on with what is in that file.
    overwrite
        Begin anew, and lose what is in that file.
    verbose
        Show what is to be done account by account.
    """
    format = output.format
    if format == "csv":
        raise usage_error("--output: a plan is shown as table, json or jsonl")
    if to is None and (resume or overwrite):
        raise usage_error("--resume and --overwrite need a file: --to FILE")
    if to is not None and (verbose or output.output == "jsonl"):
        raise usage_error("--to writes the plan of each account to a file, instead of showing it")
    wanted = await to_daemon_thread(fleet.load, desired)
    target: Path | fleet.Output[fleet.AccountPlan] | None = to
    if to is None and format == "jsonl":
        target = _PlansAsJson()
    elif to is None and verbose:
        target = _PlansAsText()
    with jobs.running(shows=target is to or not sys.stdout.isatty(), hint=jobs.RESUME_HINT) as job:
        report = await fleet.plan(
            accounts.source(),
            wanted,
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
    for sentence in report.unmatched:
        note(sentence)
    if not report.complete:
        hint = "--to FILE makes a plan that goes on." if to is None else "--resume goes on."
        raise jobs.interrupted(f"{jobs.accounts(report.accounts)} are planned", hint)
    note(summary(report))
    if report.failures.count:
        hint = "" if to is None else "--resume tries them again."
        raise jobs.failed(report.failures, report.accounts, hint, what="cannot be made so")
    return Status.CHANGES if report.steps else Status.DONE


def schema() -> int:
    """Show the JSON Schema of the desired state, for editors that check and complete TOML."""
    out = StandardOutput("jsonl", (), ())
    out.chunk([fleet.schema()])
    return Status.DONE


def summary(report: fleet.PlanReport) -> str:
    """Say in one sentence what a plan comes to."""
    if not report.steps:
        return f"nothing to do on {jobs.accounts(report.accounts)}"
    steps = f"{report.steps:,} step" + ("" if report.steps == 1 else "s")
    return f"{steps} to do on {report.to_change:,} of {jobs.accounts(report.accounts)}"


def figures(report: fleet.PlanReport) -> dict[str, Any]:
    """Return a plan in figures, as plain JSON."""
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
    """Show what is to be done, with the same on several accounts told once."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    for group in report.groups:
        mark = _MARKS[group.action]
        add_on = f" ({group.available_add_on_sid})" if group.action == "install" else ""
        what = f"{group.extension} of {group.unique_name}" if group.extension else group.unique_name
        head = Text(printable(f"{group.action} {what}"), "bold")
        console.print(
            Text.assemble((mark, _STYLES[mark]), " ", head, printable(add_on)),
            f"on all {jobs.accounts(group.accounts)}"
            if group.accounts == report.accounts > 1
            else f"on {jobs.accounts(group.accounts)}",
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


class _PlansAsJson(jobs.Shown):
    def __init__(self) -> None:
        self._out = StandardOutput("jsonl", fields_of(fleet.AccountPlan), ())

    def write(self, account_sid: str, records: Sequence[fleet.AccountPlan]) -> None:
        self._out.chunk(records)


class _PlansAsText(jobs.Shown):
    def write(self, account_sid: str, records: Sequence[fleet.AccountPlan]) -> None:
        from rich.console import Console
        from rich.text import Text

        console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        for one in records:
            console.print(Text(printable(_name(fleet.Target(one.account_sid, one.friendly_name)))))
            for step in one.steps:
                mark = _MARKS[step.action]
                text = Text.assemble((mark, _STYLES[mark]), " ", printable(str(step)))
                console.print("   ", text)
                for change in step.changes:
                    console.print("       ", _change(str(change)))
