"""The part of a job that runs in a worker of a Dask cluster, on the worker's own event loop."""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, Final, NamedTuple

from distributed import WorkerPlugin, get_worker

from .worker import Worker

# The first message about a shard: the worker has begun it.
BEGUN: Final = b'{"begun":true}'

_PLUGIN: Final = "marketplace_async"
# The shards of this many topics are remembered. A topic belongs to one connection of a job.
_TOPICS: Final = 100


class _Plugin(WorkerPlugin):  # type: ignore[misc]
    """Closes the clients when the worker closes. Created here: the scheduler never sees it."""

    def __init__(self) -> None:
        self.worker = Worker()
        self._claimed: OrderedDict[str, set[int]] = OrderedDict()

    async def teardown(self, worker: Any) -> None:
        await self.worker.aclose()

    def claim(self, topic: str, number: int) -> bool:
        """Return True the first time: for the task that begins a shard, or its withdrawal."""
        claimed = self._claimed.setdefault(topic, set())
        self._claimed.move_to_end(topic)
        if len(self._claimed) > _TOPICS:
            self._claimed.popitem(last=False)
        is_first = number not in claimed
        claimed.add(number)
        return is_first


async def _plugin_of(dask_worker: Any) -> _Plugin:
    if _PLUGIN not in dask_worker.plugins:
        await dask_worker.plugin_add(_Plugin(), name=_PLUGIN)
    plugin: _Plugin = dask_worker.plugins[_PLUGIN]
    return plugin


async def tell(dask_worker: Any, message: bytes) -> bytes:
    """Execute an instruction and return the response."""
    return await (await _plugin_of(dask_worker)).worker.tell(message)


async def withdraw(dask_worker: Any, topic: str, number: int) -> bool:
    """Keep a shard from beginning. Return False if it has begun."""
    return (await _plugin_of(dask_worker)).claim(topic, number)


async def work(message: bytes, topic: str, number: int) -> None:
    """Process a shard, and publish the messages about it. The first one says that it has begun."""
    dask_worker = get_worker()
    plugin = await _plugin_of(dask_worker)
    if not plugin.claim(topic, number):
        return
    dask_worker.log_event(topic, [number, BEGUN])
    async with aclosing(plugin.worker.work(message)) as replies:
        async for reply in replies:
            dask_worker.log_event(topic, [number, reply])


class Functions(NamedTuple):
    """The functions that a job sends to the processes of a cluster."""

    tell: Callable[..., Any]
    withdraw: Callable[..., Any]
    work: Callable[..., Any]
    delete_events: Callable[..., Any]


def functions() -> Functions:
    """Return functions for workers and a scheduler that may not have this package.

    Nested functions are pickled by value. A scheduler or a worker that cannot import this module
    would fail to unpickle other functions, and shut down.
    """

    async def tell(message: bytes, dask_worker: Any) -> bytes:
        import json

        try:
            from marketplace_async.fleet._executors import dask_worker as module

            return await module.tell(dask_worker, message)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - any error makes the worker unfit
            return json.dumps({"unfit": f"{type(error).__name__}: {error}"}).encode()

    async def withdraw(topic: str, number: int, dask_worker: Any) -> bool:
        from marketplace_async.fleet._executors import dask_worker as module

        return await module.withdraw(dask_worker, topic, number)

    async def work(message: bytes, topic: str, number: int) -> None:
        from marketplace_async.fleet._executors import dask_worker as module

        await module.work(message, topic, number)

    def delete_events(topic: str, dask_scheduler: Any) -> None:
        dask_scheduler._broker.truncate(topic)

    return Functions(tell, withdraw, work, delete_events)
