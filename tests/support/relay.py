"""A relay in front of a server that can refuse connections, or close idle ones unnoticed."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class Relay:
    """Forwards connections to a server on this machine."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url).port
        self._port = 0
        self._server: asyncio.Server | None = None
        self._restarting: asyncio.Task[None] | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None] | None] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        while self._tasks:
            await asyncio.sleep(0.005)

    async def refuse(self) -> None:
        """Drop all connections, and refuse new ones for a moment."""
        await self.stop()
        self._restarting = asyncio.ensure_future(self._restart())

    async def _restart(self) -> None:
        await asyncio.sleep(0.03)
        await self.start()

    async def close_unnoticed(self) -> None:
        """Close the idle connections. The event loop does not run meanwhile."""
        for writer in self._writers:
            number = writer.get_extra_info("socket").fileno()
            if number == -1:  # the client has closed it
                continue
            with socket.socket(fileno=os.dup(number)) as connection:
                connection.shutdown(socket.SHUT_RDWR)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())
        self._writers.add(writer)
        with contextlib.suppress(OSError):
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
            forward = asyncio.ensure_future(_copy(reader, to_server))
            await _copy(from_server, writer)
            forward.cancel()
            await asyncio.wait([forward])
        self._writers.discard(writer)
        writer.close()
        self._tasks.discard(asyncio.current_task())


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
    except OSError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def relayed(url: str) -> AsyncIterator[Relay]:
    relay = Relay(url)
    await relay.start()
    try:
        yield relay
    finally:
        if relay._restarting is not None:
            await relay._restarting
        await relay.stop()
