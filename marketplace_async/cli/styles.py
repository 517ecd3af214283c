"""The colors of a table. They only repeat what the text says."""

import functools
import sys
from typing import Final, TextIO

# The colors that every theme of a terminal, dark or light, keeps legible.
_STYLES: Final = {
    "status": {"active": "green", "suspended": "yellow", "closed": "red"},
    "enabled": {"true": "green", "false": "yellow"},
    "action": {"installed": "green", "updated": "cyan", "unchanged": "dim"},
    "kind": {"invalid": "red"},
}


def style_of(name: str, text: str) -> str:
    """Return the style of a field with this text, or "" if it has none."""
    if name.endswith("sid"):
        return "dim"
    return _STYLES.get(name, {}).get(text, "")


def painted(text: str, style: str) -> str:
    """Return text in a style, if standard output is a terminal that supports it."""
    if not style or not text:
        return text
    before, after = _codes(style, sys.stdout)
    return f"{before}{text}{after}"


@functools.lru_cache(maxsize=16)
def _codes(style: str, stream: TextIO) -> tuple[str, str]:
    """Return what starts and what ends a style on a stream."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream, highlight=False)
    with console.capture() as capture:
        console.print(Text("x", style), end="")
    before, _, after = capture.get().partition("x")
    return before, after
