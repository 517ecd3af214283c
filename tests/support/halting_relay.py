"""A relay in front of a port of this machine that can halt, as a network does that is cut."""

import asyncio
import contextlib


class HaltingRelay:
    """Forwards connections. While it is halted, it accepts them and forwards nothing.

    Args:
        target: The port to forward to.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._goes = asyncio.Event()
        self._goes.set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def halt(self) -> None:
        self._goes.clear()

    def go_on(self) -> None:
        self._goes.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await self._goes.wait()
            back, forth = await asyncio.open_connection("127.0.0.1", self._target)
            await asyncio.gather(self._copy(reader, forth), self._copy(back, writer))
        writer.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError):
                while data := await reader.read(65536):
                    await self._goes.wait()
                    writer.write(data)
                    await writer.drain()
            await self._goes.wait()
        finally:
            writer.close()
