"""A plan as Markdown, for a comment on a pull request."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from .._core.printable import printable
from .connections import Target
from .plan_report import Acceptance, Group, PlanReport

# GitHub rejects longer comments.
MAX_LENGTH: Final = 65_536
MARK: Final = "<!-- marketplace_async plan -->"
_MIN_LENGTH: Final = 2_000
# Room for the lines that say what was cut.
_RESERVE: Final = 1_000
_MAX_TEXT: Final = 200
_MAX_CHANGES: Final = 10
_SPECIAL: Final = re.compile(r"[`|\\]")
_PLAIN: Final = re.compile(r"[A-Za-z0-9 _-]")
# Programs that search text for mentions and links recognize them by these characters.
_LINKED: Final = frozenset("@:.#")


def plan_markdown(report: PlanReport, *, max_length: int = MAX_LENGTH) -> str:
    """Return a plan as GitHub-flavored Markdown, for a pull request.

    It contains the totals, the removals, the prices and terms that installations accept, the steps,
    and the failures. Names and values from the service are formatted as code, so they cannot act as
    links, mentions or HTML.

    Args:
        report: The plan.
        max_length: The maximum length in UTF-16 code units, at least 2,000. The text says how many
            rows were cut.

    Raises:
        ValueError: `max_length` is less than 2,000.
    """
    if max_length < _MIN_LENGTH:
        raise ValueError(f"max_length: must be at least {_MIN_LENGTH:,}, got {max_length:,}")
    page = _Page(max_length - _RESERVE)
    page.add(f"{MARK}\n## Plan: {_headline(report)}\n")
    if not report.complete:
        page.add("**This plan is incomplete: it ended early. Do not apply it.**\n")
    if report.failures.count:
        count = report.failures.count
        accounts = "1 account" if count == 1 else f"{count:,} accounts"
        page.add(f"**{accounts} could not be planned, see below.**\n")
    removals = [group for group in report.groups if group.action == "remove"]
    if removals:
        removed = report.totals["remove"]
        noun = "Add-on" if removed == 1 else "Add-ons"
        page.add(f"### Removes {removed:,} installed {noun}\n")
        page.rows(map(_removal, removals), "removals", share=4)
    page.table(
        "Totals",
        ("step", "number"),
        ((action, f"{count:,}") for action, count in report.totals.items() if count),
        share=1,
    )
    page.table(
        "Prices and terms that the installations accept",
        ("Add-on", "price", "terms", "accounts"),
        map(_acceptance, report.acceptances),
        share=4,
    )
    # Leave some room for the failures.
    page.table(
        "Steps",
        ("step", "accounts", "differences"),
        map(_group, report.groups),
        share=1.3 if report.failures.count or report.unmatched else 1,
    )
    failures = report.failures.first
    page.table(
        "Accounts that could not be planned",
        ("account", "reason"),
        ((_account(one.account_sid, one.friendly_name), _code(one.message)) for one in failures),
        share=1.2,
        more=report.failures.count - len(failures),
    )
    if report.unmatched:
        page.add("### Selections that match no account\n")
        page.rows((f"- {_code(message)}" for message in report.unmatched), "messages", share=1)
    return page.text()


def _headline(report: PlanReport) -> str:
    accounts = f"{report.accounts:,} account" + ("" if report.accounts == 1 else "s")
    if not report.steps:
        return f"nothing to do on {accounts}"
    steps = f"{report.steps:,} step" + ("" if report.steps == 1 else "s")
    return f"{steps} to do on {report.to_change:,} of {accounts}"


@attrs.define
class _Page:
    """Markdown of a limited length."""

    left: int
    parts: list[str] = attrs.field(factory=list)

    def add(self, text: str) -> None:
        """Add text, whatever its length."""
        self.parts.append(text)
        self.left -= _length(text) + 1

    def rows(self, rows: Iterable[str], noun: str, *, share: float, more: int = 0) -> None:
        """Add as many rows as fit in a share of the room, and say how many are left out."""
        room = self.left / share
        lines: list[str] = []
        for row in rows:
            room -= _length(row) + 1
            if room < 0:
                more += 1
                room = 0  # add no row after the first one that is left out
            else:
                lines.append(row)
        self.add("\n".join(lines) + "\n" if lines else "")
        if more:
            self.add(f"_{more:,} more {noun} are left out here; the plan has all of them._\n")

    def table(
        self,
        title: str,
        head: tuple[str, ...],
        rows: Iterable[tuple[str, ...]],
        *,
        share: float,
        more: int = 0,
    ) -> None:
        """Add a table, unless it has no rows."""
        lines = [f"| {' | '.join(row)} |" for row in rows]
        if not lines and not more:
            return
        rule = " | ".join("---" for _ in head)
        self.add(f"### {title}\n\n| {' | '.join(head)} |\n| {rule} |")
        self.rows(lines, "rows", share=share, more=more)

    def text(self) -> str:
        return "\n".join(self.parts)


def _removal(group: Group) -> str:
    names = ", ".join(_target(one) for one in group.examples)
    more = group.accounts - len(group.examples)
    rest = f" and {more:,} more" if more else ""
    return f"- {_step(group)} on {group.accounts:,}: {names}{rest}"


def _acceptance(one: Acceptance) -> tuple[str, ...]:
    names = "<br>".join(_code(name) for name in one.unique_names[:_MAX_CHANGES])
    name = f"{names}<br>{_code(one.available_add_on_sid or '')}"
    if one.offer is None:
        return name, "not known", "not known", f"{one.accounts:,}"
    texts = one.offer.price_text, one.offer.terms_text
    return name, *(_code(text) for text in texts), f"{one.accounts:,}"


def _group(group: Group) -> tuple[str, ...]:
    changes = sorted(group.changes.items(), key=lambda one: (one[0][2:], -one[1]))
    shown = changes[:_MAX_CHANGES]
    lines = [
        _code(text) + ("" if count == group.accounts else f" on {count:,}") for text, count in shown
    ]
    if more := len(group.changes) - len(shown) + group.other_changes:
        lines.append(f"{more:,} more")
    lines += [
        f"already installed as {_code(name)} on {count:,}"
        for name, count in sorted(group.also_installed.items())[:_MAX_CHANGES]
    ]
    return _step(group), f"{group.accounts:,}", "<br>".join(lines)


def _step(group: Group) -> str:
    name = _code(group.unique_name)
    if group.extension is not None:
        return f"{group.action} {_code(group.extension)} of {name}"
    if group.action == "rename":
        return f"rename {_code(group.previous_name or '')} to {name}"
    return f"{group.action} {_code(group.previous_name or group.unique_name)}"


def _target(target: Target) -> str:
    return _account(target.account_sid, target.friendly_name)


def _account(sid: str, name: str | None) -> str:
    return f"{_code(sid)} {_code(name)}" if name and name != sid else _code(sid)


def _code(text: str) -> str:
    """Return text as code on one line that cannot start a link, mention, HTML or table cell."""
    text = printable(" ".join(text.split()))
    if len(text) > _MAX_TEXT:
        text = f"{text[: _MAX_TEXT - 1]}…"
    if not text:
        return "(empty)"
    if not _SPECIAL.search(text):
        return f"`{text}`"
    # A code span cannot contain these everywhere: in a table, a bar ends the cell.
    return f"<code>{''.join(_escaped(text))}</code>"


def _escaped(text: str) -> Iterator[str]:
    for char in text:
        if _PLAIN.fullmatch(char):
            yield char
        else:
            # A zero-width space separates what would be a link or mention after the escape.
            yield f"&#{ord(char)};" + ("&#8203;" if char in _LINKED else "")


def _length(text: str) -> int:
    """Return the number of UTF-16 code units, as GitHub and JavaScript count."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
