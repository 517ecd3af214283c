"""Differences of configurations as text and as JSON."""

import json
from typing import TYPE_CHECKING, Any, Final

from .._core.printable import printable

if TYPE_CHECKING:
    from rich.text import Text

    from .. import fleet

_STYLES: Final = {"+": "bold green", "~": "bold cyan", "-": "bold red"}


def change_text(change: "fleet.Change") -> "Text":
    """Return a difference as a line of text, such as `~ limit = 1 -> 2`."""
    return marked(*str(change).split(" ", 1))


def marked(mark: str, text: str) -> "Text":
    """Return text behind a colored mark: `+`, `~` or `-`."""
    from rich.text import Text

    return Text.assemble((mark, _STYLES[mark]), " ", printable(text))


def change_object(change: "fleet.Change") -> dict[str, Any]:
    """Return a difference as plain JSON: `path`, and `before` and `after` as far as they are set.

    Masked values are the text "***".
    """
    result: dict[str, Any] = {"path": change.path}
    for name in ("before", "after"):
        text: str | None = getattr(change, name)
        if text is not None:
            result[name] = _value(text)
    return result


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:  # it is masked
        return text
