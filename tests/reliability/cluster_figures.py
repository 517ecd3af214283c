"""How fast executors are, and what they cost: the figures of the page on several machines.

    PYTHONPATH=tests python -m reliability.cluster_figures [--accounts 20000] [--concurrency 256]

An inventory at 100 ms a call. The emulator runs on the same machine and takes a core of its own.
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
from pathlib import Path
from typing import Any, Final

from support.dask import Cluster
from support.paths import PROJECT

from marketplace_async import MarketplaceClient, fleet
from marketplace_async.emulator import Emulator
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
        *(sys.executable, "-m", "reliability.cluster_figures", *arguments),
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
        given = parser.parse_args()
        asyncio.run(main(given.accounts, given.concurrency))
