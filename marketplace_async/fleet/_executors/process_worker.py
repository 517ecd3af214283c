"""The program of a worker process: `python -m marketplace_async.fleet._executors.process_worker`.

It reads frames from standard input and writes frames to its original standard output. It exits when
its input ends, which happens when the job's process ends for any reason.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Coroutine
from contextlib import aclosing
from typing import Any

from ..._core.tasks import cancelled, create_task
from .frames import Frame, read_frame
from .messages import decode
from .worker import Worker


class _Process:
    """Reads frames and executes them."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._worker = Worker()
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        while (frame := await read_frame(self._reader)) is not None:
            match frame.kind:
                case b"t":
                    self._start(frame.number, self._tell(frame))
                case b"w":
                    self._start(frame.number, self._work(frame))
                case b"c":
                    if (task := self._tasks.get(frame.number)) is not None:
                        task.cancel()
        await cancelled(*self._tasks.values())
        await self._worker.aclose()

    def _start(self, number: int, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._tasks[number] = create_task(coroutine)
        task.add_done_callback(lambda _: self._tasks.pop(number, None))

    async def _tell(self, frame: Frame) -> None:
        await self._send(Frame(frame.number, b"r", await self._worker.tell(frame.body)))

    async def _work(self, frame: Frame) -> None:
        try:
            async with aclosing(self._worker.work(frame.body)) as messages:
                async for message in messages:
                    await self._send(Frame(frame.number, b"m", message))
        finally:
            await self._send(Frame(frame.number, b"e"))

    async def _send(self, frame: Frame) -> None:
        self._writer.write(frame.encoded())
        await self._writer.drain()


async def _main(output: int) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(0, "rb", buffering=0)
    )
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.streams.FlowControlMixin(loop=loop), os.fdopen(output, "wb", buffering=0)
    )
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    first = await read_frame(reader)
    if first is None:
        return
    # Sources may name functions of modules that are only on the path of the job's process.
    sys.path[:] = decode(first.body)["path"]
    with contextlib.suppress(ConnectionError):
        await _Process(reader, writer).run()


def main() -> None:
    """Run until standard input ends."""
    # Only the job's process handles Ctrl-C. It ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    output = os.dup(1)
    os.dup2(2, 1)  # printed text must not mix with the frames
    asyncio.run(_main(output))
    os._exit(0)  # do not wait for threads of a user's function


if __name__ == "__main__":
    main()
