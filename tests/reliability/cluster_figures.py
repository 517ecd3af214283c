"""How fast executors are, and what they cost: the figures of the page on several machines.

    PYTHONPATH=tests python -m reliability.cluster_figures [--accounts 20000] [--concurrency 256]
    PYTHONPATH=tests python -m reliability.cluster_figures --idle-shards 100000

An inventory at 100 ms a call. The emulator runs on the same machine and takes a core of its own.
With `--idle-shards`: the memory of scheduler and job over shards that do nothing.
"""

import argparse
import asyncio
import functools
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from support.dask import Cluster
from support.paths import PROJECT
from support.programs import ENDING_WITH_THIS_PROCESS

from marketplace_async import MarketplaceClient, fleet
from marketplace_async.emulator import Emulator
from marketplace_async.fleet._engine.shards import Job, Shard
from marketplace_async.fleet.inventories import ReadAddOns
from marketplace_async.testing import account

_TICKS: Final = os.sysconf("SC_CLK_TCK")


def connect(url: str, concurrency: int) -> MarketplaceClient:
    """Return a client of the parent account."""
    return MarketplaceClient(account(), base_url=url, concurrency=concurrency)


async def serve(accounts: int) -> None:
    """Run the service, and print its URL."""
    async with Emulator(latency=0.1) as emulator:
        emulator.add_subaccounts(account().account_sid, accounts)
        print(emulator.url, flush=True)
        await asyncio.Event().wait()


async def drive(url: str, concurrency: int, kind: str, address: str) -> dict[str, float]:
    """Run one inventory, and return its figures."""
    from reliability.cluster_figures import connect  # a module that workers can import

    executor: Any = fleet.EmbeddedExecutor(2 * concurrency)
    if kind == "processes":
        executor = fleet.ProcessExecutor(2)
    elif kind == "dask":
        executor = fleet.DaskExecutor(address)
    source = fleet.Subaccounts(functools.partial(connect, url, concurrency))
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        report = await fleet.inventory(source, Path(folder) / "x.jsonl", executor=executor)
        seconds = time.perf_counter() - start
    assert report.failures.count == 0
    return {
        "accounts": report.accounts,
        "seconds": seconds,
        "requests": sum(worker.sent for worker in report.workers),
        "driver": sum(resource.getrusage(resource.RUSAGE_SELF)[:2]),
        "children": sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def cpu_of(pid: int) -> float:
    """Return the CPU seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_of(pid: int) -> float:
    """Return the memory of a process in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 2**20


async def start(*arguments: str) -> asyncio.subprocess.Process:
    paths = os.pathsep.join([str(PROJECT), str(PROJECT / "tests")])
    return await asyncio.create_subprocess_exec(
        *(*ENDING_WITH_THIS_PROCESS, sys.executable),
        *("-m", "reliability.cluster_figures", *arguments),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths},
    )


async def measure(url: str, concurrency: int, kind: str, workers: int) -> str:
    """Run one row, and return it as a line of a Markdown table."""
    with tempfile.TemporaryDirectory() as folder:
        async with Cluster(Path(folder), workers=workers) as cluster:
            if workers:
                await cluster.wait_for_workers(workers)
            scheduler = cluster.scheduler
            assert scheduler is not None
            pids = [worker.pid for worker in cluster.workers]
            before = sum(map(cpu_of, pids)), cpu_of(scheduler.pid), memory_of(scheduler.pid)
            options = {"url": url, "concurrency": concurrency, "kind": kind}
            job = await start("drive", json.dumps({**options, "address": cluster.address}))
            output, _ = await job.communicate()
            after = sum(map(cpu_of, pids)), cpu_of(scheduler.pid), memory_of(scheduler.pid)
    found = json.loads(output)
    count = found["accounts"]
    worker = found["children"] + after[0] - before[0]
    each = [f"{seconds / count * 1e6:,.0f}" for seconds in (found["driver"], worker)]
    scheduler_each = f"{(after[1] - before[1]) / count * 1e6:,.0f}" if workers else "-"
    grown = f"{after[2] - before[2]:.0f}" if workers else "-"
    calls = f"{found['requests'] / count:.3f}" if found["requests"] else "-"
    return (
        f"| {kind}{f', {workers} workers' if workers else ''} | {found['seconds']:.1f} | "
        f"{count / found['seconds']:,.0f} | {' | '.join(each)} | {scheduler_each} | {calls} | "
        f"{found['memory']:.0f} | {grown} |"
    )


def idle_functions(functions: Any, begun: bytes) -> Any:
    """Return the functions of workers that do nothing, and report that they are done."""

    async def tell(message: bytes, dask_worker: Any) -> bytes:
        return json.dumps({"clock": time.monotonic(), "stats": {}}).encode()

    async def work(message: bytes, topic: str, number: int) -> None:
        from distributed import get_worker

        sids = [target["account_sid"] for target in json.loads(message)["targets"]]
        results = {"results": [{"sid": sid, "value": []} for sid in sids]}
        end = {"late": False, "clock": time.monotonic(), "stats": {}}
        for reply in (begun, json.dumps(results).encode(), json.dumps(end).encode()):
            get_worker().log_event(topic, [number, reply])

    return functions._replace(tell=tell, work=work)


async def idle_shards(count: int) -> AsyncIterator[Shard]:
    for number in range(count):
        yield Shard((fleet.Target(f"AC{number:032x}"),))


async def measure_idle_shards(count: int) -> None:
    """Print the memory of scheduler and job while shards that do nothing are handed out."""
    from reliability.cluster_figures import connect  # a module that workers can import

    print("| shards | seconds | scheduler, MB | job, MB |\n| --: | --: | --: | --: |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        async with Emulator() as emulator, Cluster(Path(folder), workers=2) as cluster:
            await cluster.wait_for_workers(2)
            assert cluster.scheduler is not None
            source = fleet.Subaccounts(functools.partial(connect, emulator.url, 64))
            executor = fleet.DaskExecutor(cluster.address)
            async with source.open() as connection, executor.open(connection) as session:
                engine: Any = session._engine
                engine.functions = idle_functions(engine.functions, engine.begun)
                start, done = time.perf_counter(), 0
                async with session.run(Job(ReadAddOns(False)), idle_shards(count)) as results:
                    async for result in results:
                        assert isinstance(result, fleet.AccountResult)
                        assert result.failure is None, result
                        if done % (count // 10) == 0 or done == count - 1:
                            print(
                                f"| {done:,} | {time.perf_counter() - start:,.0f} | "
                                f"{memory_of(cluster.scheduler.pid):,.0f} | "
                                f"{memory_of(os.getpid()):,.0f} |",
                                flush=True,
                            )
                        done += 1
                assert done == count
                # Only this process has sent requests: who the parent account is.
                assert all(worker.sent == 0 for worker in session.workers.values())


async def main(accounts: int, concurrency: int) -> None:
    service = await start("serve", str(accounts))
    assert service.stdout is not None
    try:
        url = (await service.stdout.readline()).decode().strip()
        print(
            "| executor | seconds | accounts/s | driver, µs of CPU per account | workers, µs | "
            "scheduler, µs | calls of workers per account | driver, MB | scheduler, MB more |"
        )
        print("| --- |" + " --: |" * 8, flush=True)
        for kind, workers in (("embedded", 0), ("processes", 0), ("dask", 1), ("dask", 2)):
            print(await measure(url, concurrency, kind, workers), flush=True)
    finally:
        service.kill()
        await service.wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve(int(sys.argv[2])))
    elif sys.argv[1:2] == ["drive"]:
        print(json.dumps(asyncio.run(drive(**json.loads(sys.argv[2])))))
    else:
        parser = argparse.ArgumentParser()
        parser.add_argument("--accounts", type=int, default=20_000)
        parser.add_argument("--concurrency", type=int, default=256)
        parser.add_argument("--idle-shards", type=int)
        given = parser.parse_args()
        if given.idle_shards:
            asyncio.run(measure_idle_shards(given.idle_shards))
        else:
            asyncio.run(main(given.accounts, given.concurrency))
