"""Emulators in processes of their own, which can be killed."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp


class Process:
    """An emulator in a separate process that can be killed and restarted."""

    def __init__(self, *options: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._options = options
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "marketplace_async", "emulator", "--quiet"),
                *("--port", str(self.port), *self._options),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == self.url

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    async def control(self, method: str, path: str, **options: Any) -> Any:
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"{self.url}/_emulator/{path}", **options) as response,
        ):
            assert response.status < 300, await response.text()
            return await response.json() if response.status == 200 else None

    async def add_fault(self, **fault: Any) -> None:
        await self.control("POST", "faults", json={"times": None, **fault})


@asynccontextmanager
async def emulator(*options: str) -> AsyncIterator[Process]:
    process = Process(*options)
    await asyncio.to_thread(process.start)
    try:
        yield process
    finally:
        await asyncio.to_thread(process.kill)
