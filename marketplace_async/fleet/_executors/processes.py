"""The executor that runs a job in several processes on this machine."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Final

import attrs

from ..._core.arguments import check_positive, check_positive_int
from ..._core.tasks import cancelled, create_task
from .._engine.entries import JobError
from ..connections import Connection
from .frames import Frame, read_frame
from .links import Link, WorkerLostError
from .messages import encode
from .sessions import RemoteSession

_MODULE: Final = f"{__package__}.process_worker"
# The executor fails after this many processes in a row ended without a response.
_MAX_USELESS: Final = 5
_END: Final = 5.0


@attrs.frozen
class ProcessExecutor:
    """Processes accounts in several processes on this machine.

    Each process has its own event loop, so the job uses several cores. The processes open the
    source themselves. They read credentials from their own profile, environment, accounts file or
    vault, and the values of secret keys from the environment, which they inherit from this process.
    The limits of the client are split among them.

    Args:
        processes: Number of processes (at least 1).
        shard_size: Number of accounts in a shard, 1 to 1,000. Also the page size for the list of
            accounts.
        lease: Seconds after which a process that does not respond stops writing. It is then killed,
            and other processes continue with its accounts. More than 0.
    """

    processes: int = attrs.field(validator=lambda _, __, value: _check_count("processes", value))
    shard_size: int = attrs.field(
        default=250, kw_only=True, validator=lambda _, __, value: check_shard_size(value)
    )
    lease: float = attrs.field(
        default=30.0, kw_only=True, validator=lambda _, __, value: check_lease(value)
    )

    @property
    def is_remote(self) -> bool:
        """True."""
        return True

    @property
    def orphan_lease(self) -> None:
        """None: the processes end with the process of the job."""

    @asynccontextmanager
    async def open(self, connection: Connection) -> AsyncIterator[RemoteSession]:
        """Start the processes. Leaving the block ends them."""
        async with _Processes(self.processes) as engine:
            yield RemoteSession(connection, engine, self.lease)


class _Processes:
    """Starts processes, and replaces those that end."""

    def __init__(self, count: int) -> None:
        self.links: dict[str, Link] = {}
        self._count = count
        self._started = 0
        self._useless = 0
        self._changed = asyncio.Event()
        self._error: JobError | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "_Processes":
        for _ in range(self._count):
            task = create_task(self._keep_one())
            self._tasks.add(task)
        return self

    async def __aexit__(self, *_: object) -> None:
        await cancelled(*self._tasks)

    async def changed(self) -> None:
        await self._changed.wait()
        self._changed.clear()
        if self._error is not None:
            raise self._error

    async def _keep_one(self) -> None:
        """Run a process, and replace it whenever it ends."""
        while self._useless < _MAX_USELESS:
            self._started += 1
            name = f"process {self._started}"
            try:
                link = await ProcessLink.start(name)
            except OSError as error:
                self._fail(f"{name} cannot be started: {error}")
                return
            self.links[name] = link
            self._changed.set()
            try:
                await link.ended()
            finally:
                del self.links[name]
                await link.aclose()
            self._useless = 0 if link.has_responded else self._useless + 1
            self._changed.set()
        self._fail("the processes of this executor exit as soon as they start")

    def _fail(self, message: str) -> None:
        self._error = JobError(message)
        self._changed.set()


class ProcessLink:
    """A link to a process over its standard input and output.

    Attributes:
        name: Its name.
        capacity: Maximum number of shards at once.
        lost: Why it ended. None while it runs.
        has_responded: Whether it has ever responded.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name: str = name
        # While one shard finishes, another one is already running.
        self.capacity: int = 2
        self.lost: WorkerLostError | None = None
        self.has_responded: bool = False
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._writer = process.stdin
        self._reader = process.stdout
        self._number = 0
        self._exchanges: dict[int, asyncio.Queue[Frame | None]] = {}

    @classmethod
    async def start(cls, name: str) -> "ProcessLink":
        """Start a process."""
        process = await asyncio.create_subprocess_exec(
            # Safe path: the current directory may contain a module such as `secrets.py`.
            *(sys.executable, "-P", "-m", _MODULE),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # Only this process receives the signals of a terminal.
            start_new_session=os.name == "posix",
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        link = cls(name, process)
        link._write(Frame(0, b"p", encode({"path": sys.path})))
        return link

    async def ended(self) -> None:
        """Read frames from the process until it ends."""
        while (frame := await read_frame(self._reader)) is not None:
            self.has_responded = True
            if (exchange := self._exchanges.get(frame.number)) is not None:
                exchange.put_nowait(frame)
        with contextlib.suppress(TimeoutError):  # its output may close before it exits
            async with asyncio.timeout(_END):
                await self._process.wait()
        self._kill()
        code = await self._process.wait()
        self.lost = WorkerLostError(f"{self.name} {_in_words(code)}", is_certain=True)
        for exchange in self._exchanges.values():
            exchange.put_nowait(None)

    async def aclose(self) -> None:
        """End the process. It has some time to close its connections first."""
        self._writer.close()
        try:
            async with asyncio.timeout(_END):
                await self._process.wait()
        except TimeoutError:
            self._kill()
            await self._process.wait()
        finally:
            if self._process.returncode is None:
                self._kill()

    def suspect(self) -> None:
        """Kill the process: it does not respond."""
        self._kill()

    async def tell(self, message: bytes) -> bytes:
        """Send an instruction and return the response."""
        with self._exchange() as (number, frames):
            await self._send(Frame(number, b"t", message))
            frame = await frames.get()
            if frame is None:
                raise self._lost()
            return frame.body

    async def work(self, message: bytes) -> AsyncGenerator[bytes, None]:
        """Send a shard and yield the messages about it."""
        with self._exchange() as (number, frames):
            await self._send(Frame(number, b"w", message))
            has_ended = False
            try:
                while (frame := await frames.get()) is not None:
                    if frame.kind == b"e":
                        has_ended = True
                        return
                    yield frame.body
                has_ended = True
                raise self._lost()
            finally:
                if not has_ended:
                    self._write(Frame(number, b"c"))

    @contextlib.contextmanager
    def _exchange(self) -> Iterator[tuple[int, "asyncio.Queue[Frame | None]"]]:
        self._number += 1
        number = self._number
        frames = self._exchanges[number] = asyncio.Queue()
        try:
            yield number, frames
        finally:
            del self._exchanges[number]

    async def _send(self, frame: Frame) -> None:
        if self.lost is not None:
            raise self._lost()
        self._write(frame)
        with contextlib.suppress(ConnectionError):  # `ended` finds out why
            await self._writer.drain()

    def _write(self, frame: Frame) -> None:
        if not self._writer.is_closing():
            self._writer.write(frame.encoded())

    def _lost(self) -> WorkerLostError:
        return self.lost or WorkerLostError(f"{self.name} has ended", is_certain=True)

    def _kill(self) -> None:
        if self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            if sys.platform == "win32":
                self._process.kill()
            else:
                # `Process.kill` may reap the process, which hides its exit status from asyncio.
                os.kill(self._process.pid, signal.SIGKILL)


def _in_words(code: int) -> str:
    if code >= 0:
        return f"ended with status {code}"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-code).name}"
    return f"was killed by signal {-code}"


def _check_count(name: str, value: int) -> None:
    check_positive_int(value, name)


def check_shard_size(value: int) -> None:
    """Raise unless this is a valid page size for the list of accounts."""
    if check_positive_int(value, "shard_size") > 1000:
        raise ValueError(f"shard_size: must be at most 1000, got {value}")


def check_lease(value: float) -> None:
    """Raise unless this is a positive number of seconds."""
    check_positive(value, "lease", "seconds")
