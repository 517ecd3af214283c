"""A Dask cluster of real processes on this machine."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from support.paths import PROJECT
from support.programs import ENDING_WITH_THIS_PROCESS


class Cluster:
    """A scheduler and workers; use it as `async with`.

    Args:
        folder: Where their logs are written.
        workers: Number of workers to start.
        host: The address of the scheduler.
        env: More environment variables of the scheduler.
    """

    def __init__(
        self,
        folder: Path,
        workers: int = 2,
        host: str = "127.0.0.1",
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = folder
        self._count = workers
        self._host = host
        self._env = env or {}
        self.port = 0
        self.scheduler: asyncio.subprocess.Process | None = None
        self.workers: list[asyncio.subprocess.Process] = []

    @property
    def address(self) -> str:
        return f"tcp://{self._host}:{self.port}"

    async def __aenter__(self) -> Self:
        await self.start_scheduler()
        for _ in range(self._count):
            await self.start_worker()
        return self

    async def start_scheduler(self) -> None:
        file = self._folder / f"scheduler-{os.urandom(4).hex()}.json"
        self.scheduler = await self._start(
            "scheduler",
            *("--host", self._host, "--port", str(self.port), "--scheduler-file", str(file)),
            *("--dashboard-address", "127.0.0.1:0"),
        )
        while not self.port:
            await asyncio.sleep(0.1)
            assert self.scheduler.returncode is None, self.logs()
            self.port = await asyncio.to_thread(_port_in, file)

    async def start_worker(
        self,
        *options: str,
        env: Mapping[str, str] | None = None,
        address: str | None = None,
        command: Sequence[str] = (sys.executable,),
    ) -> asyncio.subprocess.Process:
        """Start a worker.

        Args:
            options: Options of `dask worker`.
            env: More environment variables.
            address: The address of the scheduler.
            command: What runs Python.
        """
        worker = await self._start(
            "worker",
            *(address or self.address, "--nthreads", "2"),
            *(() if "--nanny" in options else ("--no-nanny",)),
            *(() if {"--listen-address", "--host"} & {*options} else ("--host", "127.0.0.1")),
            *("--dashboard-address", "127.0.0.1:0"),
            *("--local-directory", str(self._folder / "scratch"), *options),
            env=env,
            command=command,
        )
        self.workers.append(worker)
        return worker

    async def _start(
        self,
        kind: str,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        command: Sequence[str] = (sys.executable,),
    ) -> asyncio.subprocess.Process:
        number = len(self.workers)
        environment = {**os.environ, **(env or {})}
        if kind == "scheduler":
            # It needs neither the package nor the secrets.
            environment = {name: os.environ[name] for name in ("PATH", "HOME")} | {**self._env}
        elif "PYTHONPATH" not in (env or {}):
            environment["PYTHONPATH"] = os.pathsep.join([str(PROJECT), str(PROJECT / "tests")])
        log = await asyncio.to_thread((self._folder / f"{kind}-{number}.log").open, "ab")
        with log:
            return await asyncio.create_subprocess_exec(
                *(*ENDING_WITH_THIS_PROCESS, *command),
                *("-m", "distributed.cli.dask_" + kind, *arguments),
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self._folder,
                start_new_session=True,
            )

    async def __aexit__(self, *_: object) -> None:
        running = [*self.workers, *([self.scheduler] if self.scheduler else [])]
        for process in running:
            kill(process)
        for process in running:
            await process.wait()

    async def wait_for_workers(self, count: int) -> None:
        """Wait until the scheduler has this number of workers."""
        from distributed import Client

        async with Client(self.address, asynchronous=True, set_as_default=False) as client:
            await client.wait_for_workers(count)

    def logs(self) -> bytes:
        """Return what all processes have logged."""
        return b"".join(file.read_bytes() for file in sorted(self._folder.glob("*.log")))

    async def scheduler_memory(self) -> bytes:
        """Return the memory of the scheduler, as far as it is its own."""
        assert self.scheduler is not None
        return await asyncio.to_thread(_memory_of, self.scheduler.pid)


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def kill(process: asyncio.subprocess.Process, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process and those that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _port_in(file: Path) -> int:
    import json

    with contextlib.suppress(OSError, ValueError):
        document: Any = json.loads(file.read_text())
        return int(document["address"].rpartition(":")[2])
    return 0


def _memory_of(pid: int) -> bytes:
    parts = []
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            place, permissions, *_ = line.split()
            if not permissions.startswith("rw"):
                continue
            start, end = (int(one, 16) for one in place.split("-"))
            with contextlib.suppress(OSError, ValueError, OverflowError):
                memory.seek(start)
                parts.append(memory.read(end - start))
    return b"".join(parts)
