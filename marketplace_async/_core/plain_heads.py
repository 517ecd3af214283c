"""The heads of plain responses: a status line, ASCII headers, and a body of known length.

The pattern is strict. A head that it does not match goes to aiohttp's parser.
"""

import re
from typing import Final

# Bytes of a response's head, as in aiohttp for one line of it.
_MAX_HEAD: Final = 8190

# These headers change how the body is read, or what happens to the connection afterwards.
_OTHER = (
    rb"(?!(?i:content-length|(?:proxy-)?connection|transfer-encoding|content-encoding|upgrade"
    rb"|trailer):)"
    rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++:[ -~\t]*+\r\n"
)
_LINES = rb"((?:" + _OTHER + rb"|(?i:connection:[ \t]*+keep-alive[ \t]*+\r\n)){0,60}+)"
# A response with status 204 or 304 has no body, whatever its headers say.
_STATUS = rb"HTTP/1\.1 (?!204|304)([2-5][0-9]{2}) [ -~]*+\r\n"
PLAIN_HEAD: Final = re.compile(
    _STATUS + _LINES + rb"(?i:content-length:)[ \t]*+([0-9]{1,12}+)[ \t]*+\r\n" + _LINES + rb"\r\n"
)
# A plain head of which the end has not arrived.
_BEGUN = re.compile(
    _STATUS + _LINES + rb"(?:(?i:content-length:)[ \t]*+[0-9]{1,12}+[ \t]*+\r\n" + _LINES + rb")?+"
)
_BEGUN_LINE = re.compile(rb"[ -~\t]*+\r?")


def is_begun(data: bytes) -> bool:
    """Return True if this may be the start of a plain head. A bare LF or CR, for one, is not."""
    if len(data) > _MAX_HEAD or not b"HTTP/1.1 ".startswith(data[:9]):
        return False
    end = data.rfind(b"\n") + 1
    complete = not end or _BEGUN.fullmatch(data, 0, end) is not None
    return complete and _BEGUN_LINE.fullmatch(data, end) is not None
