"""Workers of a Dask cluster that are broken, stopped, busy or paused."""

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.dask import Cluster, kill
from support.fleet import Fleet

from marketplace_async import fleet
from marketplace_async.fleet import DaskExecutor, JobError
from marketplace_async.fleet._executors import dask_links
from marketplace_async.fleet._executors.dask_links import DaskLink
from marketplace_async.fleet._executors.links import NotBegunError, WorkerLostError
from marketplace_async.fleet._executors.messages import encode

distributed: Any = pytest.importorskip("distributed")

from marketplace_async.fleet._executors.dask_worker import BEGUN  # noqa: E402


@asynccontextmanager
async def links_of(
    address: str, *, lease: float
) -> AsyncIterator[tuple[dask_links.Cluster, list[DaskLink]]]:
    async with distributed.Client(address, asynchronous=True, set_as_default=False) as client:
        cluster = dask_links.Cluster(client, address, lease)
        async with cluster.watched():
            yield cluster, list(cluster.links.values())


async def replies_of(link: DaskLink) -> list[bytes]:
    """Send a shard of a job that is not open: the worker replies that the job is gone."""
    message = encode({"job": uuid.uuid4().hex})
    async with asyncio.timeout(10), aclosing(link.work(message)) as replies:
        first, *others = [reply async for reply in replies]
    assert first == BEGUN
    return others


async def begun(cluster: dask_links.Cluster) -> int:
    """Return how many shards workers have begun."""
    events = await cluster.client.get_events(cluster.topic)
    messages = [event[1] for _, event in events if not isinstance(event, dict)]
    return messages.count(cluster.begun)


def on_workers() -> tuple[Callable[..., None], Callable[..., None]]:
    """Return functions that occupy and pause a worker. Nested ones are pickled by value."""

    def occupy(seconds: float) -> None:
        import time

        time.sleep(seconds)

    def pause(dask_worker: Any) -> None:
        # Its memory monitor does this at 80 %, and would undo it.
        dask_worker.memory_manager.memory_pause_fraction = 1e-9
        dask_worker.status = type(dask_worker.status).paused

    return occupy, pause


@pytest.mark.parametrize("raised", ["RuntimeError('broken')", "SystemExit('broken')"])
async def test_a_worker_that_cannot_import_the_package_is_unfit(
    shops: Fleet, tmp_path: Path, raised: str
) -> None:
    package = tmp_path / "bad" / "marketplace_async"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f"raise {raised}\n")
    async with Cluster(tmp_path, workers=0) as cluster:
        await cluster.start_worker(env={"PYTHONPATH": str(package.parent)})
        await cluster.wait_for_workers(1)
        reason = raised.replace("('", ": ").rstrip("')")
        with pytest.raises(JobError, match=rf"no worker can do this job: .*: {reason}$"):
            async with asyncio.timeout(15):
                await fleet.inventory(
                    *(shops.source, tmp_path / "x.jsonl"),
                    executor=DaskExecutor(cluster.address, patience=5.0),
                )


async def test_a_stopped_worker_does_not_hold_up_a_job(
    shops: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_links, "_FIRST", 0.5)
    async with Cluster(tmp_path, workers=2) as cluster:
        await cluster.wait_for_workers(2)
        kill(cluster.workers[1], signal.SIGSTOP)
        async with asyncio.timeout(15):
            report = await fleet.inventory(
                shops.source, tmp_path / "x.jsonl", executor=DaskExecutor(cluster.address)
            )
        assert report.counts.done == 41
        async with links_of(cluster.address, lease=2.0) as (workers, found):
            assert len(found) == 1
            # A worker joins while the stopped one does not respond.
            await cluster.start_worker()
            async with asyncio.timeout(15):
                while len(workers.links) < 2:
                    await workers.changed()
            # The stopped one is used as soon as it responds.
            kill(cluster.workers[1], signal.SIGCONT)
            async with asyncio.timeout(15):
                while len(workers.links) < 3:
                    await workers.changed()
            # So is one that was suspected.
            found[0].suspect()
            with pytest.raises(WorkerLostError, match="it does not respond"):
                await replies_of(found[0])
            async with asyncio.timeout(15):
                while f"{found[0].address} (2)" not in workers.links:
                    await workers.changed()


async def test_a_scheduler_that_is_too_old_or_does_not_respond_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_links, "_RESPONSE", 0.5)
    monkeypatch.setattr(dask_links, "_FIRST", 0.1)
    async with Cluster(tmp_path, workers=0) as cluster:
        address = cluster.address
        async with distributed.Client(address, asynchronous=True, set_as_default=False) as client:
            with monkeypatch.context() as patch:
                patch.setattr(dask_links, "_OLDEST", (9999, 1))
                with pytest.raises(JobError, match=r"but must have 9999\.1 or later"):
                    async with dask_links.Cluster(client, address, 2.0).watched():
                        pass
            assert cluster.scheduler is not None
            kill(cluster.scheduler, signal.SIGSTOP)
            with pytest.raises(JobError, match=r"did not respond within 0\.5 seconds"):
                async with dask_links.Cluster(client, address, 2.0).watched():
                    pass
            kill(cluster.scheduler, signal.SIGCONT)


async def test_a_shard_that_a_busy_or_paused_worker_does_not_begin_is_withdrawn(
    tmp_path: Path,
) -> None:
    occupy, pause = on_workers()
    async with Cluster(tmp_path, workers=0) as cluster:
        await cluster.start_worker("--nthreads", "1")
        await cluster.wait_for_workers(1)
        async with links_of(cluster.address, lease=0.4) as (workers, (link,)):
            await link.tell(encode({"op": "ping"}))  # which imports the package there
            (gone,) = await replies_of(link)
            assert b"gone" in gone
            # Another program's task ends before, at about the same time as, and after the lease.
            withdrawn = 0
            for seconds in (0.1, 0.2, 0.35, 0.37, 0.39, 0.4, 0.41, 0.43, 0.6, 0.9):
                task = workers.client.submit(occupy, seconds, pure=False)
                await asyncio.sleep(0.02)
                (outcome,) = await asyncio.gather(replies_of(link), return_exceptions=True)
                if isinstance(outcome, NotBegunError):
                    withdrawn += 1
                else:
                    assert outcome == [gone]
                await task
            assert 0 < withdrawn < 10
            # A shard that is withdrawn never begins, and any other is processed.
            assert await replies_of(link) == [gone]
            assert await begun(workers) == 12 - withdrawn

            # This holds even if Dask runs its task later.
            task = workers.client.submit(occupy, 0.8, pure=False)
            waiting = asyncio.create_task(replies_of(link))
            await asyncio.sleep(0.1)
            key = f"marketplace_async-{workers.topic}-{workers.next_number() - 1}"
            kept = distributed.Future(key, workers.client)
            with pytest.raises(NotBegunError, match="is busy"):
                await waiting
            assert not task.done()
            assert await kept is None
            assert await begun(workers) == 12 - withdrawn

            task = workers.client.submit(occupy, 2, pure=False)
            workers.lease = 60.0
            waiting = asyncio.create_task(replies_of(link))
            await asyncio.sleep(0.2)
            await workers.client.run(pause)
            for work in (waiting, replies_of(link)):
                with pytest.raises(NotBegunError, match="is paused"):
                    async with asyncio.timeout(5):
                        await work
            assert not task.done()
            assert await begun(workers) == 12 - withdrawn


def test_a_shard_begins_once_or_is_withdrawn_once() -> None:
    from marketplace_async.fleet._executors import dask_worker

    plugin = dask_worker._Plugin()
    assert [plugin.claim("a", number) for number in (1, 2, 1)] == [True, True, False]
    assert plugin.claim("b", 1)
    # What it remembers is bounded. The topics that are in use are kept.
    for number in range(1000):
        assert plugin.claim(f"other {number}", 1)
        assert not plugin.claim("a", 1)
    assert len(plugin._claimed) == dask_worker._TOPICS
