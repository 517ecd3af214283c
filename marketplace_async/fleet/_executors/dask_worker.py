"""The part of a job that runs in a worker of a Dask cluster, on the worker's own event loop."""

from collections.abc import Callable
from contextlib import aclosing
from typing import Any, Final

from distributed import WorkerPlugin, get_worker

from .worker import Worker

_PLUGIN: Final = "marketplace_async"


class _Plugin(WorkerPlugin):  # type: ignore[misc]
    """Closes the clients when the worker closes. Created here: the scheduler never sees it."""

    def __init__(self) -> None:
        self.worker = Worker()

    async def teardown(self, worker: Any) -> None:
        await self.worker.aclose()


async def _worker_of(dask_worker: Any) -> Worker:
    if _PLUGIN not in dask_worker.plugins:
        await dask_worker.plugin_add(_Plugin(), name=_PLUGIN)
    worker: Worker = dask_worker.plugins[_PLUGIN].worker
    return worker


async def tell(dask_worker: Any, message: bytes) -> bytes:
    """Execute an instruction and return the response."""
    return await (await _worker_of(dask_worker)).tell(message)


async def work(message: bytes, topic: str, number: int) -> None:
    """Process a shard, and publish the messages about it."""
    dask_worker = get_worker()
    async with aclosing((await _worker_of(dask_worker)).work(message)) as replies:
        async for reply in replies:
            dask_worker.log_event(topic, [number, reply])


def functions() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return `tell` and `work` for workers that may not have this package.

    Nested functions are pickled by value. A scheduler or a worker that cannot import this module
    would fail to unpickle other functions, and shut down.
    """

    async def tell(message: bytes, dask_worker: Any) -> bytes:
        import json

        try:
            from marketplace_async.fleet._executors import dask_worker as module
        except ImportError as error:
            reason = f"{type(error).__name__}: {error}"
            return json.dumps({"unfit": reason}).encode()
        return await module.tell(dask_worker, message)

    async def work(message: bytes, topic: str, number: int) -> None:
        from marketplace_async.fleet._executors import dask_worker as module

        await module.work(message, topic, number)

    return tell, work
