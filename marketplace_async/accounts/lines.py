"""The lines of an accounts file. A line that was read can be put back."""

from collections.abc import Iterable
from typing import BinaryIO, Final

import attrs

# Longer lines are no accounts, and a file without line ends must not fill the memory.
MAX_LENGTH: Final = 65_536

_BOM: Final = b"\xef\xbb\xbf"


@attrs.frozen(repr=False)
class Line:
    """A line with its end.

    Attributes:
        number: Its number, from 1.
        offset: Where it starts in the file, in bytes.
        data: Its bytes; None if there are more than MAX_LENGTH.
    """

    number: int
    offset: int
    data: bytes | None

    @property
    def text(self) -> str:
        """The text of the line. Raises ValueError, without content, if it cannot be read."""
        if self.data is None:
            raise ValueError(f"longer than {MAX_LENGTH} bytes")
        try:
            return self.data.decode()
        except UnicodeDecodeError:
            reason = "not UTF-8, but perhaps Latin-1 or Windows-1252: "
        raise ValueError(reason + 'save the file as UTF-8, in Excel as "CSV UTF-8"')


class Lines:
    """Reads the lines of a stream from a position on.

    Args:
        stream: The stream, at the position.
        offset: The offset of the next line in bytes.
        number: How many lines precede it.
    """

    def __init__(self, stream: BinaryIO, offset: int = 0, number: int = 0) -> None:
        self._stream = stream
        self._offset = offset
        self._number = number
        self._put_back: list[Line] = []

    @property
    def position(self) -> tuple[int, int]:
        """The offset of the next line, and how many lines precede it."""
        if self._put_back:
            following = self._put_back[-1]
            return following.offset, following.number - 1
        return self._offset, self._number

    def next(self) -> Line | None:
        """Return the next line, or None at the end."""
        if self._put_back:
            return self._put_back.pop()
        data = self._stream.readline(MAX_LENGTH + 1)
        if not data:
            return None
        offset = self._offset
        self._offset += len(data)
        self._number += 1
        is_too_long = len(data) > MAX_LENGTH
        while is_too_long and data and not data.endswith(b"\n"):
            data = self._stream.readline(MAX_LENGTH)
            self._offset += len(data)
        if is_too_long:
            return Line(self._number, offset, None)
        return Line(self._number, offset, data.removeprefix(_BOM) if offset == 0 else data)

    def put_back(self, lines: Iterable[Line]) -> None:
        """Return lines to be read again, in the order in which they were read."""
        self._put_back += reversed([*lines])
