"""Plans as text: their summary, their steps and their JSON."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from .. import fleet
from .._core.files import replacing
from .._core.printable import printable
from ..fleet.markdown_text import MARK
from .displays import Display
from .jobs import account_name, check_file, count_accounts, plain
from .plan_json import plain_group
from .status import CommandError, usage_error
from .streams import error_console, output_console

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from ..fleet.saved_plans import Header

_MARKS: Final = {
    "install": "+",
    "rename": "~",
    "update": "~",
    "enable": "+",
    "disable": "-",
    "remove": "-",
}
_STYLES: Final = {"+": "bold green", "~": "bold cyan", "-": "bold red"}


def summary(report: fleet.PlanReport) -> str:
    """Summarize a plan in one sentence."""
    text = f"nothing to do on {count_accounts(report.counts.done)}"
    if report.steps:
        steps = f"{report.steps:,} step" + ("" if report.steps == 1 else "s")
        text = f"{steps} to do on {report.to_change:,} of {count_accounts(report.accounts)}"
        text += f": {totals(report)}"
    if report.left_out:
        kinds = ", ".join(f"{count:,} to {kind}" for kind, count in report.left_out.items())
        text += f"; steps left out: {kinds}"
    if "replace" in report.left_out:
        text += " (to replace is to remove and install, both or neither: --only install,remove)"
    return text


def totals(report: fleet.PlanReport) -> str:
    """Return the number of steps and accounts by kind, in words."""
    parts = [f"{count:,} to {action}" for action, count in report.totals.items() if count]
    counts = report.counts
    unchanged = max(0, counts.done - report.to_change)
    accounts = {
        "unchanged": unchanged,
        "failed": report.failures.count,
        "not begun": counts.not_begun,
    }
    named = [f"{count:,} {name}" for name, count in accounts.items() if count]
    return ", ".join(parts) + (f"; accounts: {', '.join(named)}" if named else "")


def figures(
    report: fleet.PlanReport, failures: Sequence[fleet.Failure] | None = None
) -> dict[str, Any]:
    """Return the summary of a plan as plain JSON."""
    listed = {} if failures is None else {"failures": [attrs.asdict(one) for one in failures]}
    return {
        "accounts": report.accounts,
        "counts": plain(report.counts),
        "to_change": report.to_change,
        "steps": report.steps,
        "totals": report.totals,
        "failed": report.failures.count,
        "complete": report.complete,
        "groups": [plain_group(group) for group in report.groups],
        "unmatched": list(report.unmatched),
        "unmanaged": [attrs.asdict(group) for group in report.unmanaged],
        "other_unmanaged": report.other_unmanaged,
        "removals": [attrs.asdict(one) for one in report.removals],
        "left_out": report.left_out,
        "acceptances": [attrs.asdict(one) for one in report.acceptances],
        **listed,
    }


def failures_of(failures: fleet.Failures) -> list[fleet.Failure]:
    """Return all failures."""
    if failures.file is None:
        return list(failures.first)
    with failures.file.open("rb") as lines:
        return [fleet.Failure(**json.loads(line)) for line in lines]


def saved_header(plan: Path) -> "Header":
    """Return what a saved plan was made for. Blocks.

    Raises:
        CommandError: It is not a saved plan.
    """
    from ..fleet.saved_plans import read_header

    try:
        return read_header(plan)
    except fleet.JobError as error:
        raise CommandError(error.message) from None


def check_markdown(file: Path) -> None:
    """Raise CommandError unless a Markdown file is new, empty, or an earlier one. Blocks."""
    check_file(file, "--markdown")
    if not file.exists():
        return
    mark = MARK.encode()
    with file.open("rb") as stream:
        if stream.read(len(mark)) not in (mark, b""):
            raise usage_error(
                f"--markdown: {file} exists and is not from plan --markdown: pass another path"
            )


def write_markdown(file: Path, report: fleet.PlanReport) -> None:
    """Write the Markdown of a plan. Blocks."""
    with replacing(file) as stream:
        stream.write(fleet.plan_markdown(report).encode())


def desired_file(plan: Path, header: "Header") -> Path:
    """Return the file of the desired state that a saved plan was made from."""
    if len(header.desired_files) != 1:
        raise usage_error(f"{plan} does not name its desired state: pass the TOML file as well")
    return Path(header.desired_files[0])


def show(report: fleet.PlanReport, *, to_stderr: bool = False) -> None:
    """Print the steps of a plan, grouping identical ones."""
    from rich.text import Text

    console = error_console() if to_stderr else output_console()
    for group in report.groups:
        mark = _MARKS[group.action]
        add_on = f" ({group.available_add_on_sid})" if group.action == "install" else ""
        head = Text(printable(_step(group)), "bold")
        console.print(
            Text.assemble((mark, _STYLES[mark]), " ", head, (printable(add_on), "dim")),
            f"on all {count_accounts(group.accounts)}"
            if group.accounts == report.accounts > 1
            else f"on {count_accounts(group.accounts)}",
        )
        for change, count in sorted(group.changes.items(), key=_by_path):
            line = Text.assemble("    ", _change(change))
            if count != group.accounts:
                line.append(f"   on {count:,}", "dim")
            console.print(line)
        if group.other_changes:
            console.print(f"    ... and {group.other_changes:,} other changes")
        for name, count in sorted(group.also_installed.items()):
            text = f'already installed as "{name}" on {count:,}: previous_names renames it'
            console.print("   ", Text(printable(text), "yellow"))
        few = len(group.examples) == group.accounts < max(report.accounts, 2)
        if few or group.action == "remove":
            for target in group.examples:
                console.print(
                    "   ",
                    Text(printable(account_name(target.account_sid, target.friendly_name)), "dim"),
                )
            if more := group.accounts - len(group.examples):
                console.print("   ", Text(f"... and {more:,} more", "dim"))

    show_acceptances(report, console)


def show_acceptances(report: fleet.PlanReport, console: "Console") -> None:
    """Print the prices and terms that the installations accept."""
    from rich.text import Text

    if not report.acceptances:
        return
    console.print(Text("Prices and terms that the installations accept:", "bold"))
    for one in report.acceptances:
        names = (printable(", ".join(one.unique_names)), "bold")
        sid = (f" ({one.available_add_on_sid})", "dim")
        on = f" on {count_accounts(one.accounts)}"
        console.print("   ", Text.assemble(names, sid, on))
        price, terms = offer_texts(one.offer)
        for text in (f"price: {price}", f"terms: {terms}"):
            for line in Text(text).wrap(console, max(console.width - 8, 20)):
                line.rstrip()
                console.print("       ", line)


def offer_texts(offer: fleet.Offer | None) -> tuple[str, str]:
    """Return the price and the terms of an offer in words."""
    if offer is None:
        return "not known to this plan", "not known to this plan"
    return printable(offer.price_text), printable(offer.terms_text)


def show_removals(report: fleet.PlanReport) -> None:
    """Name the installed Add-ons to remove on standard error."""
    from rich.text import Text

    removed = report.totals["remove"]
    if not removed:
        return
    console = error_console()
    add_ons = "1 installed Add-on" if removed == 1 else f"{removed:,} installed Add-ons"
    console.print(Text.assemble(("-", _STYLES["-"]), f" removes {add_ons}:"))
    for one in report.removals:
        account = account_name(one.account_sid, one.friendly_name)
        console.print("   ", Text(printable(f"{account}: {one.unique_name} ({one.sid})")))
    if more := removed - len(report.removals):
        console.print(f"    and {more:,} more")


def show_unmanaged(report: fleet.PlanReport) -> None:
    """Print the installed Add-ons that no entry of the desired state covers."""
    from rich.text import Text

    console = output_console()
    for group in report.unmanaged:
        head = Text(printable(f"unmanaged {group.unique_name or '(no unique name)'}"), "bold")
        add_on = printable(f" ({group.available_add_on_sid or 'unknown Add-on'})")
        where = f"on {count_accounts(group.accounts)}"
        console.print(Text.assemble(("?", "yellow"), " ", head, add_on), where)
        for target in group.examples:
            console.print(
                "   ",
                Text(printable(account_name(target.account_sid, target.friendly_name)), "dim"),
            )
        if more := group.accounts - len(group.examples):
            console.print("   ", Text(f"... and {more:,} more", "dim"))
    if report.other_unmanaged:
        console.print(f"? ... and {report.other_unmanaged:,} other unmanaged Add-ons")


def _step(group: fleet.Group) -> str:
    """Return the step of a group in words."""
    return str(
        fleet.Step(
            action=group.action,
            unique_name=group.unique_name,
            extension=group.extension,
            previous_name=group.previous_name,
        )
    )


def _by_path(change: tuple[str, int]) -> tuple[str, int, str]:
    text, count = change
    return text[2:].partition(" = ")[0], -count, text


def _change(change: str) -> "Text":
    from rich.text import Text

    mark, _, text = change.partition(" ")
    return Text.assemble((mark, _STYLES[mark]), " ", printable(text))


class PlanDisplay(Display):
    """Prints the steps of each account."""

    def write(self, account_sid: str, records: Sequence[fleet.AccountPlan]) -> None:
        """Print the steps of an account."""
        from rich.text import Text

        console = output_console()
        for plan in records:
            target = fleet.Target(plan.account_sid, plan.friendly_name)
            console.print(Text(printable(account_name(target.account_sid, target.friendly_name))))
            for step in plan.steps:
                mark = _MARKS[step.action]
                text = Text.assemble((mark, _STYLES[mark]), " ", printable(str(step)))
                console.print("   ", text)
                if step.offer is not None:
                    price, terms = offer_texts(step.offer)
                    console.print(Text(f"        price: {price}; terms: {terms}", "dim"))
                for change in step.changes:
                    console.print("       ", _change(str(change)))
            for one in plan.unmanaged:
                line = f"unmanaged {one.unique_name or '(no unique name)'} ({one.sid})"
                console.print("   ", Text.assemble(("?", "yellow"), " ", printable(line)))


class FailureList(Display):
    """Collects failures, and prints nothing.

    Args:
        failures: Receives them.
    """

    def __init__(self, failures: list[fleet.Failure]) -> None:
        self._failures = failures

    def write(self, account_sid: str, records: Sequence[fleet.AccountPlan]) -> None:
        """Do nothing."""

    def fail(self, failure: fleet.Failure) -> None:
        """Keep a failure."""
        self._failures.append(failure)
