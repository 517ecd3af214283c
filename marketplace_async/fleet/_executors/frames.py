"""Frames: the messages on the pipes between a job and its worker processes."""

import asyncio
import struct
from typing import Final, Literal, TypeAlias

import attrs

_HEADER: Final = struct.Struct("!IIc")
# The configurations of an account can take several megabytes, a desired state 16 MiB.
_MAX_SIZE: Final = 2**30

Kind: TypeAlias = Literal[b"p", b"t", b"w", b"c", b"r", b"m", b"e"]
"""To a process: path, tell, work, cancel. From a process: response, message of a shard, end."""


@attrs.frozen
class Frame:
    """A message.

    Attributes:
        number: The number of its exchange.
        kind: A `Kind`.
        body: Its content.
    """

    number: int
    kind: bytes
    body: bytes = b""

    def encoded(self) -> bytes:
        """Return the frame as bytes."""
        return _HEADER.pack(len(self.body), self.number, self.kind) + self.body


async def read_frame(reader: asyncio.StreamReader) -> Frame | None:
    """Return the next frame. None at the end, or if the input is not frames."""
    try:
        size, number, kind = _HEADER.unpack(await reader.readexactly(_HEADER.size))
        if size > _MAX_SIZE:
            return None  # it is not a frame
        return Frame(number, kind, await reader.readexactly(size))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
