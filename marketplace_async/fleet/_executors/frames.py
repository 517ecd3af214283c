"""Frames: the messages over the pipes between a job and its processes."""

import asyncio
import struct
from typing import Final, Literal, TypeAlias

import attrs

_HEADER: Final = struct.Struct("!IIc")
# An account has up to some megabytes of configurations, a desired state up to 16 MiB.
_MAX_SIZE: Final = 2**30

Kind: TypeAlias = Literal[b"t", b"w", b"c", b"r", b"m", b"e"]
"""To a process: tell, work, cancel. From it: the response, a message of a shard, its end."""


@attrs.frozen
class Frame:
    """A message.

    Attributes:
        number: The exchange that it belongs to.
        kind: What it is.
        body: Its content.
    """

    number: int
    kind: bytes
    body: bytes = b""

    def encoded(self) -> bytes:
        """Return it as bytes."""
        return _HEADER.pack(len(self.body), self.number, self.kind) + self.body


async def read_frame(reader: asyncio.StreamReader) -> Frame | None:
    """Return the next frame. None at the end."""
    try:
        size, number, kind = _HEADER.unpack(await reader.readexactly(_HEADER.size))
        if size > _MAX_SIZE:
            return None  # it is not a frame
        return Frame(number, kind, await reader.readexactly(size))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
