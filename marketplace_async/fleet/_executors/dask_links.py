"""The workers of a Dask cluster, and the links of a job to them."""

import asyncio
import contextlib
import math
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

from ..._core.clocks import monotonic
from ..._core.tasks import cancelled, create_task
from .._engine.entries import JobError
from .links import NotBegunError, WorkerLostError
from .messages import encode

_POLL: Final = 0.5
# Seconds: for one response, for those of the first workers, and until a scheduler that does not
# respond counts as lost.
_RESPONSE: Final = 10.0
_FIRST: Final = 2.0
_SILENCE: Final = 30.0

# The oldest version of a scheduler, which the extra `dask` also requires.
_OLDEST: Final = (2025, 4)


class Cluster:
    """The workers of a cluster, as its scheduler reports them.

    Args:
        client: The client of Dask.
        address: The address of the scheduler, as the user wrote it.
        lease: Seconds within which a worker must begin a shard.
    """

    def __init__(self, client: Any, address: str, lease: float) -> None:
        from .dask_worker import BEGUN, functions

        self.links: dict[str, DaskLink] = {}
        self.client = client
        self.lease = lease
        # The scheduler deletes the events of a client that has ended, and keeps other topics.
        self.topic: str = client.id
        self.functions = functions()
        self.begun: bytes = BEGUN
        self.exchanges: dict[int, asyncio.Queue[bytes]] = {}
        self._address = address
        self._number = 0
        self._seen: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._error: JobError | None = None
        self._scheduler: str | None = None
        self._joining: dict[str, asyncio.Task[None]] = {}

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Keep track of the workers while the block runs.

        Raises:
            JobError: The scheduler does not respond, or cannot do the job.
        """
        self.client.subscribe_topic(self.topic, self._on_event)
        try:
            await self._start()
            task = create_task(self._watch())
            try:
                yield
            finally:
                await cancelled(task)
        finally:
            await cancelled(*self._joining.values())
            await self._delete_events()

    @property
    def is_closed(self) -> bool:
        """Whether the scheduler was lost for good. Dask reconnects after a short loss."""
        return self.client.status not in ("running", "connecting")

    def next_number(self) -> int:
        """Return the number of a new exchange."""
        self._number += 1
        return self._number

    async def changed(self) -> None:
        await self._changed.wait()
        self._changed.clear()
        if self._error is not None:
            raise self._error

    async def _on_event(self, event: tuple[float, Any]) -> None:
        match event:
            case (_, [int(number), message]):
                if (exchange := self.exchanges.get(number)) is not None:
                    exchange.put_nowait(bytes(message))
            case _:
                pass  # an event of Dask itself

    async def _start(self) -> None:
        try:
            async with asyncio.timeout(_RESPONSE):
                self._check_scheduler(await self.client.scheduler.versions())
                await self._poll()
        except JobError:
            raise
        except TimeoutError:
            reason = f"did not respond within {_RESPONSE:g} seconds"
            raise JobError(f"the scheduler {self._address} {reason}") from None
        except Exception as error:  # noqa: BLE001 - Dask raises many kinds
            raise JobError(f"the scheduler {self._address} was lost: {_text(error)}") from None
        if self._joining:
            # A job whose first workers are all unfit ends, so it must not begin with half of them.
            await asyncio.wait(self._joining.values(), timeout=_FIRST)

    def _check_scheduler(self, versions: dict[str, Any]) -> None:
        found: str = versions["packages"]["distributed"]
        if tuple(int(part) for part in found.split(".")[:2]) < _OLDEST:
            oldest = ".".join(map(str, _OLDEST))
            raise JobError(f"the scheduler has Dask {found}, but must have {oldest} or later")
        here, there = _python(sys.version), _python(versions["host"]["python"])
        if there != here:
            # It could not unpickle the job's functions.
            raise JobError(f"the scheduler has Python {there}, but this process has {here}")

    async def _watch(self) -> None:
        heard = monotonic()
        while True:
            await asyncio.sleep(_POLL)
            try:
                async with asyncio.timeout(_RESPONSE):
                    await self._poll()
                heard = monotonic()
            except Exception as error:  # noqa: BLE001 - Dask raises many kinds
                is_final = isinstance(error, JobError) or monotonic() - heard > _SILENCE
                if is_final and not self.is_closed:
                    self._lose(f"the scheduler {self._address} was lost: {_text(error)}")
                    return
            if self.is_closed:
                self._lose(f"the scheduler {self._address} was lost: it does not respond")
                return

    def _lose(self, reason: str) -> None:
        for link in list(self.links.values()):
            link.lose("its scheduler was lost")
        self._error = JobError(reason)
        self._changed.set()

    async def _poll(self) -> None:
        """Ask the scheduler for its current workers."""
        identity = await self.client.scheduler.identity(n_workers=-1)
        if self._scheduler not in (None, identity["id"]):
            # The new scheduler does not know this job, and would not pass on its results.
            raise JobError("it was restarted")
        self._scheduler = identity["id"]
        running: dict[str, int] = {
            address: worker["nthreads"]
            for address, worker in identity["workers"].items()
            if worker["status"] == "running"
        }
        for link in list(self.links.values()):
            if link.address not in identity["workers"]:
                link.lose("the scheduler lost it, or it was stopped")
            link.set_running(link.address in running)
        known = {link.address for link in self.links.values()} | self._joining.keys()
        for address in running.keys() - known:
            self._joining[address] = create_task(self._join(address, running[address]))

    async def _join(self, address: str, threads: int) -> None:
        """Add a worker when it responds. If it does not, the next poll begins again."""
        try:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_RESPONSE):
                    # Ask through the scheduler: this process may be unable to reach the worker.
                    versions = await self.client.scheduler.broadcast(
                        msg={"op": "versions"}, workers=[address], on_error="ignore"
                    )
                self._add(address, threads, _python(versions[address]["host"]["python"]))
        finally:
            self._joining.pop(address, None)

    def _add(self, address: str, threads: int, python: str) -> None:
        self._seen[address] = count = self._seen.get(address, 0) + 1
        name = address if count == 1 else f"{address} ({count})"
        self.links[name] = DaskLink(name, address, threads, self, python)
        self._changed.set()

    def remove(self, link: "DaskLink") -> None:
        """Remove a link. If the worker responds later, it gets a new one."""
        self.links.pop(link.name, None)
        self._changed.set()

    async def _delete_events(self) -> None:
        """Delete the results that the scheduler keeps."""
        with contextlib.suppress(Exception):
            self.client.unsubscribe_topic(self.topic)
            async with asyncio.timeout(_FIRST):
                await self.client.run_on_scheduler(self.functions.delete_events, self.topic)


class DaskLink:
    """A link to a worker of a cluster.

    Attributes:
        name: Its name in reports.
        address: Its address.
        capacity: Maximum number of shards at once.
        lost: Why it was lost. None if it was not.
    """

    def __init__(
        self, name: str, address: str, threads: int, cluster: Cluster, python: str
    ) -> None:
        self.name: str = name
        self.address: str = address
        # As many shards as it runs at once, and a few more that wait for them to finish.
        self.capacity: int = max(2, math.ceil(1.25 * threads))
        self.lost: WorkerLostError | None = None
        self._cluster = cluster
        self._python = python
        self._losing = asyncio.Event()
        self._pausing = asyncio.Event()

    def lose(self, reason: str) -> None:
        """Mark the worker as lost."""
        if self.lost is None:
            self.lost = WorkerLostError(reason)
            self._losing.set()
            self._cluster.remove(self)

    def suspect(self) -> None:
        """Mark the worker as lost until it responds again."""
        self.lose("it does not respond")

    def set_running(self, is_running: bool) -> None:
        """Set whether the worker begins tasks. A paused one has little memory left."""
        if is_running:
            self._pausing.clear()
        else:
            self._pausing.set()

    async def tell(self, message: bytes) -> bytes:
        """Send an instruction and return the response."""
        if self._python != _python(sys.version):
            # Another version of Python cannot read functions that are pickled by value.
            return encode(
                {"unfit": f"it has Python {self._python}, but the job has {_python(sys.version)}"}
            )
        try:
            response: bytes = await self._run(self._cluster.functions.tell, message)
        except (OSError, RuntimeError) as error:  # timeouts, and connections that Dask has closed
            raise self._unreachable(error) from None
        except WorkerLostError:
            raise
        except Exception as error:  # noqa: BLE001 - the worker cannot run the job's functions
            return encode({"unfit": f"{type(error).__name__}: {error}"})
        return response

    async def work(self, message: bytes) -> AsyncGenerator[bytes, None]:
        """Send a shard and yield the messages about it.

        Raises:
            NotBegunError: The worker has not begun it within the lease, or was paused before.
        """
        if self.lost is not None:
            raise self.lost
        if self._pausing.is_set():
            raise NotBegunError(f"{self.name} is paused")
        cluster = self._cluster
        number = cluster.next_number()
        messages = cluster.exchanges[number] = asyncio.Queue()
        future = cluster.client.submit(
            *(cluster.functions.work, message, cluster.topic, number),
            key=f"marketplace_async-{cluster.topic}-{number}",
            workers=[self.address],
            allow_other_workers=False,
            pure=False,
            retries=0,
        )
        ended = create_task(_result(future))
        try:
            if await self._begins(messages, ended):
                yield cluster.begun
            else:
                await self._withdraw(number)
            while not (ended.done() and messages.empty()):
                following = create_task(messages.get())
                await self._unless_lost(_first(following, ended))
                if not following.done():
                    await cancelled(following)
                    continue
                yield following.result()
            # Messages arrive before the task's result, over the same connection. If one is missing
            # anyway, its accounts have no result and are handed out again.
            if (error := ended.exception()) is not None:
                raise WorkerLostError(_in_words(error))
        finally:
            del cluster.exchanges[number]
            await cancelled(ended)
            future.release()

    async def _begins(self, messages: asyncio.Queue[bytes], ended: "asyncio.Task[None]") -> bool:
        """Wait for the first message, which says that the worker has begun.

        Return False if it has not begun within the lease, or is paused.
        """
        begun, pausing = create_task(messages.get()), create_task(self._pausing.wait())
        try:
            async with asyncio.timeout(self._cluster.lease):
                await self._unless_lost(_first(begun, pausing, ended))
        except TimeoutError:
            pass
        finally:
            has_begun = begun.done() or ended.done()
            await cancelled(begun, pausing)
        return has_begun

    async def _withdraw(self, number: int) -> None:
        """Keep the worker from beginning a shard. Return if it has begun.

        The worker decides, so no message that is late can make it begin afterwards.
        """
        cluster = self._cluster
        try:
            async with asyncio.timeout(_RESPONSE):
                is_withdrawn = await self._run(cluster.functions.withdraw, cluster.topic, number)
        except TimeoutError:
            self.suspect()
            raise WorkerLostError("it does not respond") from None
        except WorkerLostError:
            raise
        except Exception as error:  # noqa: BLE001 - Dask raises many kinds
            raise self._unreachable(error) from None
        if is_withdrawn:
            reason = "is paused" if self._pausing.is_set() else "is busy"
            raise NotBegunError(f"{self.name} {reason}")

    async def _run(self, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Any:
        """Run a function on the worker's event loop, next to its tasks."""
        responses = await self._unless_lost(
            self._cluster.client.run(function, *args, workers=[self.address])
        )
        return responses[self.address]

    def _unreachable(self, error: Exception) -> WorkerLostError:
        if self._cluster.is_closed:
            return WorkerLostError("its scheduler was lost")
        return WorkerLostError(f"it cannot be reached: {_text(error)}")

    async def _unless_lost(self, awaitable: Any) -> Any:
        """Wait for a response, unless the worker is lost."""
        losing = create_task(self._losing.wait())
        task = asyncio.ensure_future(awaitable)
        try:
            await asyncio.wait([task, losing], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            assert self.lost is not None
            raise self.lost
        finally:
            await cancelled(losing, task)


async def _first(*tasks: "asyncio.Task[Any]") -> None:
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


async def _result(future: Any) -> None:
    await future


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _in_words(error: BaseException) -> str:
    """Return why a task of Dask failed."""
    if "scheduler-connection-lost" in str(error):
        return "its scheduler was lost"
    return f"its task failed: {type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _python(version: str) -> str:
    """Return the Python version that pickled functions depend on, such as 3.11 for 3.11.7."""
    return ".".join(version.split()[0].split(".")[:2])
