"""Help that fits a screen: options that many commands share are one line."""

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

import attrs
from cyclopts import Group

if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions

FULL_HELP: Final = "--help-all"

# The titles that are one line all the same. None if all are one line.
_in_full: Final[ContextVar[tuple[str, ...] | None]] = ContextVar("in_full", default=None)


@contextmanager
def full_help(*but: str) -> Iterator[None]:
    """Explain each option in the block, but not those in groups with these titles."""
    token = _in_full.set(but)
    try:
        yield
    finally:
        _in_full.reset(token)


@attrs.frozen
class OneLine:
    """Formats a panel of options as one line that names them, unless the help is in full.

    Attributes:
        more: The command that explains them.
    """

    more: str

    def __call__(self, console: "Console", options: "ConsoleOptions", panel: "HelpPanel") -> None:
        """Print a panel."""
        but = _in_full.get()
        if but is not None and panel.title not in but:
            from cyclopts.help.formatters import DefaultFormatter

            DefaultFormatter()(console, options, panel)
            return
        title = f"{panel.title}: "
        names = ", ".join(map(_names, panel.entries))
        text = f"{title}{names} ({self.more})"
        wrapped = textwrap.wrap(
            text, console.width, subsequent_indent=" " * len(title), break_on_hyphens=False
        )
        console.print("\n".join(wrapped), markup=False, highlight=False, soft_wrap=True)


def shared_options(title: str, *, more: str, sort_key: int) -> Group:
    """Return a group of options that help shows as one line.

    Args:
        title: The title.
        more: The command that explains them.
        sort_key: The position in the help.
    """
    return Group(title, sort_key=sort_key, help_formatter=OneLine(more))


def _names(entry: "HelpEntry") -> str:
    names = "/".join((*entry.shorts, *entry.names))
    return f"{names} {'|'.join(entry.choices)}" if entry.choices else names
