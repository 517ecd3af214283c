"""One measured run: does some work with one client, and prints what it took.

    python -m benchmarks.work <task.json

`harness.py` starts a process for each run, so that no client pays for what another has left behind,
and so that the peak of its memory is its own.
"""

import asyncio
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .harness import Figures, ask
from .peers import ACCOUNT, LIST, PEERS, SECRET, authorization


@dataclass(frozen=True)
class Task:
    """What to do, with which client, and how much of it.

    Attributes:
        url: Where the replaying server listens.
        work: The name of a function in WORKS.
        peer: The name of a client in PEERS, or of a way to do the work.
        sids: The SIDs of the records that the server has.
        records: How many records an account has.
        times: How often to do it, or how many records to fetch.
        accounts: How many accounts to do it for.
        at_once: How many requests in flight at most.
        each: How many requests in flight an account allows.
        warm: Whether to do it once before it is measured.
    """

    url: str
    work: str
    peer: str
    sids: list[str] = field(repr=False)
    records: int = 0
    times: int = 1
    accounts: int = 1
    at_once: int = 64
    each: int = 1
    warm: bool = False


@contextmanager
def measured(task: Task) -> Iterator[Figures]:
    """Fill in what the block took: seconds, of CPU too, and what the server saw of it."""
    figures: Figures = {}
    before = ask(task.url, "/_bench/counts")
    cpu, wall = time.process_time(), time.perf_counter()
    yield figures
    figures["wall"] = time.perf_counter() - wall
    figures["cpu"] = time.process_time() - cpu
    after = ask(task.url, "/_bench/counts")
    figures["server_busy"] = (after["cpu"] - before["cpu"]) / figures["wall"]
    for name in ("answered", "refused"):
        figures[name] = after[name] - before[name]


def peak() -> float:
    """Return the most memory that this process had, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage() counts what the parent had when it started this process.
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return float(lines["VmHWM"].split()[0]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(most if sys.platform == "darwin" else most * 1024)


async def fetch(task: Task) -> Figures:
    """Fetch by SID, so many at a time."""

    async def drive(sids: Iterable[str], call: Callable[[str], Awaitable[object]]) -> None:
        waiting = iter(sids)

        async def worker() -> None:
            for sid in waiting:
                await call(sid)

        await asyncio.gather(*(worker() for _ in range(task.at_once)))

    async with PEERS[task.peer](task.url, ACCOUNT, task.at_once) as peer:
        await drive(task.sids[:200], peer.fetch)
        sids = [task.sids[index % len(task.sids)] for index in range(task.times)]
        with measured(task) as figures:
            await drive(sids, peer.fetch)
    return figures


async def list_all(task: Task) -> Figures:
    """List all records of an account, and hold them."""
    async with PEERS[task.peer](task.url, ACCOUNT, task.at_once) as peer:
        if task.warm:
            await peer.list()
        with measured(task) as figures:
            for _ in range(task.times):
                records = await peer.list()
                assert len(records) == task.records, len(records)
                del records
    return figures


async def stream(task: Task) -> Figures:
    """Go through all records of an account, and hold none."""
    from marketplace_async import AccountToken, MarketplaceClient

    count = 0
    async with MarketplaceClient(AccountToken(ACCOUNT, SECRET), base_url=task.url) as client:
        with measured(task) as figures:
            async for _ in client.installed_add_ons.list():
                count += 1
    assert count == task.records, count
    return figures


def account_sid(number: int) -> str:
    """Return the SID of an account."""
    return f"AC{number:032x}"


async def merge_ours(task: Task) -> Figures:
    """Go through all records of many accounts as one stream."""
    from marketplace_async import AccountToken, MarketplaceClient, bulk

    first = AccountToken(ACCOUNT, SECRET)
    count = 0
    async with MarketplaceClient(first, base_url=task.url, concurrency=task.at_once) as client:
        with measured(task) as figures:
            siblings = (
                client.with_credentials(AccountToken(account_sid(number), SECRET))
                for number in range(task.accounts)
            )
            lists = (sibling.installed_add_ons.list() for sibling in siblings)
            async with bulk.merge(lists, limit=task.at_once) as records:
                async for _ in records:
                    count += 1
    assert count == task.accounts * task.records, count
    return figures


async def merge_by_hand(task: Task) -> Figures:
    """Do the same with aiohttp, a semaphore and orjson."""
    import aiohttp
    import orjson

    count = 0
    slots = asyncio.Semaphore(task.at_once)
    connector = aiohttp.TCPConnector(limit=task.at_once)
    async with aiohttp.ClientSession(task.url, connector=connector) as session:

        async def go_through(number: int) -> None:
            nonlocal count
            headers = {"Authorization": authorization(account_sid(number))}
            url: str | None = f"{LIST}?PageSize=1000"
            while url:
                async with slots, session.get(url, headers=headers) as r:
                    r.raise_for_status()
                    page = orjson.loads(await r.read())
                for _ in page["installed_add_ons"]:
                    count += 1
                url = page["meta"]["next_page_url"]

        with measured(task) as figures:
            await asyncio.gather(*map(go_through, range(task.accounts)))
    assert count == task.accounts * task.records, count
    return figures


async def crowd(task: Task) -> Figures:
    """Fetch many records of each of many accounts, each of which allows only so many at once.

    A client that is told holds back by itself, account by account; the other finds out.
    """
    from marketplace_async import AccountToken, MarketplaceClient, bulk

    first = AccountToken(ACCOUNT, SECRET)
    sids = task.sids[: task.times]
    async with MarketplaceClient(first, base_url=task.url, concurrency=task.at_once) as client:

        async def work(number: int) -> None:
            sibling = client.with_credentials(AccountToken(account_sid(number), SECRET))
            allowed = asyncio.Semaphore(task.each)

            async def fetch_in_turn(sid: str) -> object:
                async with allowed:
                    return await sibling.installed_add_ons.fetch(sid)

            told = task.peer == "told"
            await bulk.gather(fetch_in_turn if told else sibling.installed_add_ons.fetch, sids)

        with measured(task) as figures:
            await asyncio.gather(*map(work, range(task.accounts)))
    assert figures["answered"] == task.accounts * task.times, figures
    return figures


async def merge(task: Task) -> Figures:
    return await (merge_ours(task) if task.peer == "ours" else merge_by_hand(task))


WORKS: Final[dict[str, Callable[[Task], Awaitable[Figures]]]] = {
    "fetch": fetch,
    "list": list_all,
    "merge": merge,
    "stream": stream,
    "crowd": crowd,
}


def main() -> None:
    task = Task(**json.load(sys.stdin))

    async def run() -> Figures:
        return await WORKS[task.work](task)

    print(json.dumps({**asyncio.run(run()), "peak": peak()}))


if __name__ == "__main__":
    main()
