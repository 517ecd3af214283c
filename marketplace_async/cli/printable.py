"""Makes text from the network safe to print on a terminal."""

import re

# The control characters of C0 and C1, and those that change the direction of text.
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    r"""Return `text` with control characters escaped, such as `\x1b` and `\n`."""
    return UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
