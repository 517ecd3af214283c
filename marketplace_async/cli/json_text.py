"""Records as JSON text that is safe to print on a terminal."""

from typing import Any

import msgspec

from .._core.codec import encode
from .._core.printable import UNPRINTABLE


def to_json(value: Any) -> str:
    """Return a record as JSON on one line, with every digit of its numbers."""
    # JSON strings may contain control characters that terminals interpret.
    return UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", encode(value).decode())


def indented_json(value: Any) -> str:
    """Return a record as JSON on several lines."""
    return msgspec.json.format(to_json(value), indent=2)
