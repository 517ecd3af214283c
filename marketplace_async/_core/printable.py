"""Makes text from the network safe to print: one line, without control characters."""

import re
from typing import Final

# The control characters of C0 and C1, those that change the direction of text, and halves of
# surrogate pairs.
UNPRINTABLE: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""Return `text` with control characters escaped, such as `\x1b` and `\n`."""
    return UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
