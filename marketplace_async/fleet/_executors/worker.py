"""The part of a job that runs in a worker. Independent of the engine: it exchanges messages."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from typing import Any, Final
from weakref import WeakValueDictionary

import attrs

from ..._core.tasks import cancelled, create_task
from ..._version import __version__
from .._engine.shards import AccountResult, Job, Shard, process
from ..connections import Connection, Target
from . import portable, tasks
from .fence import Fence
from .messages import PROTOCOL, Message, counters, decode, encode
from .permits import Permits

# An account waits for its requests one after the other.
_ACCOUNTS_PER_PERMIT: Final = 2

# A job that sends no message for this many leases is closed: its driver may have died.
_PATIENCE = 4


@attrs.define
class _Opened:
    """A job that this worker has opened."""

    job: Job
    connection: Connection
    stack: AsyncExitStack
    fence: Fence
    permits: Permits
    share_number: int  # the number of its latest share of the limits
    is_stopped: bool = False
    running: set[asyncio.Task[Any]] = attrs.field(factory=set)
    heard: float = attrs.field(factory=Fence.clock)
    watch: "asyncio.Task[None] | None" = None

    def cancel(self) -> None:
        """Cancel the accounts that are being processed."""
        for task in self.running:
            task.cancel()


class Worker:
    """Processes shards of any number of jobs. There is one for each process and event loop.

    All messages are JSON. `tell` receives messages with an "op": "open", "renew", "stop" or "end"
    for a job, or "ping". `work` receives shards.
    """

    def __init__(self) -> None:
        self._opened: dict[str, _Opened] = {}
        self._ended: set[str] = set()  # jobs that ended while they were being opened
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def tell(self, message: bytes) -> bytes:
        """Execute an instruction and return the response."""
        try:
            return encode(await self._response(decode(message)))
        except Exception as error:  # noqa: BLE001 - any error makes the worker unfit
            return encode({"unfit": f"{type(error).__name__}: {error}"})

    async def _response(self, request: Message) -> Message:
        match request["op"]:
            case "open":
                return await self._open(request)
            case "renew":
                return self._renew(request)
            case "stop":
                if (opened := self._opened.get(request["job"])) is not None:
                    opened.is_stopped = True
                return {}
            case "end":
                name = request["job"]
                if (lock := self._locks.get(name)) is not None and lock.locked():
                    self._ended.add(name)
                await self.end(name)
                return {}
            case "ping":
                return {}
            case op:
                raise ValueError(f"unknown instruction {op!r}")

    async def work(self, message: bytes) -> AsyncGenerator[bytes, None]:
        """Process a shard, and yield its results as they become available.

        The last message has "late": whether the lease has ended. If so, accounts without a result
        may be partly processed. If the job is not open, the only message is "gone". Closing the
        generator cancels running accounts.
        """
        request = decode(message)
        opened = self._opened.get(request["job"])
        if opened is None:
            yield encode({"gone": "the job is not open"})
            return
        opened.heard = Fence.clock()
        opened.fence.extend(request["clock"])
        # An account that a lost worker may have changed is processed even if the job was stopped.
        not_begun: list[str] | None = [] if request["is_new"] else None
        shard = tasks.shard_of(request)
        async with aclosing(self._results(opened, shard, not_begun)) as batches:
            async for batch in batches:
                results = [tasks.encode_result(opened.job.task, result) for result in batch]
                yield b'{"results":[%b]}' % b",".join(results)
        end = {"late": not opened.fence.is_open, "not_begun": not_begun or []}
        yield encode({**end, **_state(opened)})

    async def end(self, name: str) -> None:
        """End a job: cancel its running accounts and close its clients."""
        opened = self._opened.pop(name, None)
        if opened is None:
            return
        opened.fence.close()
        if opened.watch is not None and opened.watch is not asyncio.current_task():
            await cancelled(opened.watch)
        await cancelled(*opened.running)
        await opened.stack.aclose()

    async def aclose(self) -> None:
        """End all jobs."""
        for name in tuple(self._opened):
            await self.end(name)

    async def _open(self, request: Message) -> Message:
        if (request["protocol"], request["version"]) != (PROTOCOL, __version__):
            return {
                "unfit": f"it has version {__version__} of marketplace_async, and the job has "
                f"{request['version']}"
            }
        name = request["job"]
        # A job that gave up waiting opens again, perhaps before the first attempt has ended.
        async with self._locks.setdefault(name, asyncio.Lock()):
            await self.end(name)
            opened = await self._opening(request)
            if name in self._ended:
                self._ended.discard(name)
                await opened.stack.aclose()
                return {"gone": "the job has ended"}
            opened.watch = create_task(self._close_when_idle(name, opened, request["lease"]))
            self._opened[name] = opened
            return _state(opened)

    async def _opening(self, request: Message) -> _Opened:
        task = await asyncio.to_thread(tasks.task_of, request["task"])
        source = portable.source_of(request["source"])
        async with AsyncExitStack() as stack:
            connection = await stack.enter_async_context(source.open())
            connection.limit(request["concurrency"], request["requests_per_second"])
            _check_identity(request["identity"], await connection.identity(accounts=True))
            # A worker with a wrong secret would fail fast, and so receive most of the shards.
            await connection.check(request["account"])
            job = Job(task, request["account_timeout"])
            fence = Fence(request["lease"], lambda: opened.cancel())
            if task.writes:
                connection.check_before_requests(fence.check)
            permits = Permits(_ACCOUNTS_PER_PERMIT * request["concurrency"])
            number = request["number"]
            opened = _Opened(job, connection, stack.pop_all(), fence, permits, number)
            return opened
        raise AssertionError("the stack suppresses nothing")

    def _renew(self, request: Message) -> Message:
        opened = self._opened.get(request["job"])
        if opened is None:
            return {"gone": "the job is not open"}
        opened.heard = Fence.clock()
        opened.fence.extend(request["clock"])
        if request["number"] > opened.share_number:
            opened.share_number = request["number"]
            opened.connection.limit(request["concurrency"], request["requests_per_second"])
            opened.permits.resize(_ACCOUNTS_PER_PERMIT * request["concurrency"])
        return _state(opened)

    async def _results(
        self, opened: _Opened, shard: Shard, not_begun: list[str] | None
    ) -> AsyncGenerator[list[AccountResult], None]:
        """Yield the results of a shard in batches, as they become available."""
        results: list[AccountResult] = []
        changed = asyncio.Event()

        async def one(target: Target) -> None:
            async with opened.permits:
                if opened.is_stopped and not_begun is not None:
                    not_begun.append(target.account_sid)
                    return
                result = await process(opened.connection, opened.job, target, shard.approved)
            results.append(result)
            changed.set()

        is_over = opened.is_stopped and not_begun is not None
        if is_over or await self._may_start(opened, shard):
            running = {create_task(one(target)) for target in shard.targets}
        else:
            running = set()
        opened.running |= running
        for task in running:
            task.add_done_callback(lambda _: changed.set())
            task.add_done_callback(opened.running.discard)
        try:
            while not all(task.done() for task in running) or results:
                if results:
                    batch = results.copy()
                    results.clear()
                    yield batch
                    continue
                changed.clear()
                await changed.wait()
        finally:
            await cancelled(*running)

    async def _may_start(self, opened: _Opened, shard: Shard) -> bool:
        """Read the page of a shard. Return whether the lease still allows its accounts to start."""
        if shard.page is not None:
            sids = {target.account_sid for target in shard.targets}
            try:
                await opened.connection.read_page(shard.page, sids)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                # The lease has ended: the fence cancels requests.
        return not opened.job.task.writes or opened.fence.is_open

    async def _close_when_idle(self, name: str, opened: _Opened, lease: float) -> None:
        patience = _PATIENCE * lease
        while (left := opened.heard + patience - Fence.clock()) > 0:  # noqa: ASYNC110 - a clock
            await asyncio.sleep(left)
        if self._opened.get(name) is opened:
            with contextlib.suppress(Exception):
                await self.end(name)


def _state(opened: _Opened) -> Message:
    return {"clock": Fence.clock(), "stats": counters(opened.connection.stats)}


def _check_identity(expected: dict[str, str], found: dict[str, str]) -> None:
    """Raise ValueError unless the worker's own source has the accounts of the job."""
    for name in expected.keys() | found.keys():
        if expected.get(name) != found.get(name):
            if name == "accounts":  # a digest
                raise ValueError("the accounts file of the worker has other accounts")
            raise ValueError(
                f"{name.replace('_', ' ')} is {found.get(name)} for the worker, and "
                f"{expected.get(name)} for the job"
            )
