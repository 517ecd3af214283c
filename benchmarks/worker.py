"""One measured run: executes a workload with one client and prints its cost as JSON.

    python -m benchmarks.worker <task.json

`harness.py` starts a new process for each run, so that runs do not affect each other and the peak
memory belongs to one client.
"""

import asyncio
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from .clients import ACCOUNT, CLIENTS, LIST, SECRET, authorization
from .harness import Values, get_json
from .profiling import Samples, profiled


@dataclass(frozen=True)
class Task:
    """The settings of one run.

    Attributes:
        url: The URL of the replay server.
        work: The name of a workload in WORKLOADS.
        client: The name of a client in CLIENTS, or of a variant of the workload.
        sids: The SIDs of the records on the server.
        records: The number of records per account.
        times: The number of repetitions, or of records to fetch.
        accounts: The number of accounts.
        concurrency: The maximum number of requests in flight.
        account_limit: The number of concurrent requests that the server allows per account.
        unique_name: The unique name of a record on the server.
        warm: Whether to run the workload once before it is measured.
        uvloop: Whether to run under uvloop.
        profile: Whether to sample where the CPU time goes.
    """

    url: str
    work: str
    client: str
    sids: list[str] = field(repr=False)
    records: int = 0
    times: int = 1
    accounts: int = 1
    concurrency: int = 64
    account_limit: int = 1
    unique_name: str = ""
    warm: bool = False
    uvloop: bool = False
    profile: bool = False


# What the profiler found in this process.
samples: Samples = {}


@contextmanager
def measured(task: Task) -> Iterator[Values]:
    """Yield a dict, and fill it with the cost of the block: times in seconds, and counts."""
    values: Values = {}
    profile = profiled(samples) if task.profile else nullcontext()
    before = get_json(task.url, "/_bench/counts")
    cpu, wall = time.process_time(), time.perf_counter()
    with profile:
        yield values
    values["wall"] = time.perf_counter() - wall
    values["cpu"] = time.process_time() - cpu
    after = get_json(task.url, "/_bench/counts")
    values["server_busy"] = (after["cpu"] - before["cpu"]) / values["wall"]
    for name in ("processed", "throttled"):
        values[name] = after[name] - before[name]


def peak() -> float:
    """Return the peak memory of this process in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage() would include the memory of the parent process at the fork.
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return float(lines["VmHWM"].split()[0]) * 1024
    peak_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak_rss if sys.platform == "darwin" else peak_rss * 1024)


async def fetch(task: Task) -> Values:
    """Fetch records by SID, with the given concurrency."""

    async def call_all(sids: Iterable[str], call: Callable[[str], Awaitable[object]]) -> None:
        pending = iter(sids)

        async def worker() -> None:
            for sid in pending:
                await call(sid)

        await asyncio.gather(*(worker() for _ in range(task.concurrency)))

    async with CLIENTS[task.client](task.url, ACCOUNT, task.concurrency) as client:
        await call_all(task.sids[:200], client.fetch)
        sids = [task.sids[index % len(task.sids)] for index in range(task.times)]
        with measured(task) as values:
            await call_all(sids, client.fetch)
    return values


async def list_all(task: Task) -> Values:
    """List all records of an account and keep them in memory."""
    async with CLIENTS[task.client](task.url, ACCOUNT, task.concurrency) as client:
        if task.warm:
            await client.list()
        with measured(task) as values:
            for _ in range(task.times):
                records = await client.list()
                assert len(records) == task.records, len(records)
                del records
    return values


async def stream(task: Task) -> Values:
    """Iterate over all records of an account without keeping them."""
    from marketplace_async import AccountToken, MarketplaceClient

    count = 0
    async with MarketplaceClient(AccountToken(ACCOUNT, SECRET), base_url=task.url) as client:
        with measured(task) as values:
            async for _ in client.installed_add_ons.list():
                count += 1
    assert count == task.records, count
    return values


def account_sid(number: int) -> str:
    return f"AC{number:032x}"


async def merge_ours(task: Task) -> Values:
    """Iterate over all records of many accounts as one stream."""
    from marketplace_async import AccountToken, MarketplaceClient, bulk

    first = AccountToken(ACCOUNT, SECRET)
    count = 0
    async with MarketplaceClient(first, base_url=task.url, concurrency=task.concurrency) as client:
        with measured(task) as values:
            clients = (
                client.with_credentials(AccountToken(account_sid(number), SECRET))
                for number in range(task.accounts)
            )
            lists = (one.installed_add_ons.list() for one in clients)
            async with bulk.merge(lists, limit=task.concurrency) as records:
                async for _ in records:
                    count += 1
    assert count == task.accounts * task.records, count
    return values


async def merge_plain_http(task: Task) -> Values:
    """Iterate over the same records with aiohttp, a semaphore and orjson."""
    import aiohttp
    import orjson

    count = 0
    permits = asyncio.Semaphore(task.concurrency)
    connector = aiohttp.TCPConnector(limit=task.concurrency)
    async with aiohttp.ClientSession(task.url, connector=connector) as session:

        async def list_account(number: int) -> None:
            nonlocal count
            headers = {"Authorization": authorization(account_sid(number))}
            url: str | None = f"{LIST}?PageSize=1000"
            while url:
                async with permits, session.get(url, headers=headers) as r:
                    r.raise_for_status()
                    page = orjson.loads(await r.read())
                for _ in page["installed_add_ons"]:
                    count += 1
                url = page["meta"]["next_page_url"]

        with measured(task) as values:
            await asyncio.gather(*map(list_account, range(task.accounts)))
    assert count == task.accounts * task.records, count
    return values


async def limited_accounts(task: Task) -> Values:
    """Fetch records of many accounts that the server limits.

    With "known_limits", a semaphore per account enforces the limit. Otherwise the client adapts.
    """
    from marketplace_async import AccountToken, MarketplaceClient, bulk

    first = AccountToken(ACCOUNT, SECRET)
    sids = task.sids[: task.times]
    async with MarketplaceClient(first, base_url=task.url, concurrency=task.concurrency) as client:

        async def work(number: int) -> None:
            derived = client.with_credentials(AccountToken(account_sid(number), SECRET))
            permits = asyncio.Semaphore(task.account_limit)

            async def fetch_with_permit(sid: str) -> object:
                async with permits:
                    return await derived.installed_add_ons.fetch(sid)

            known = task.client == "known_limits"
            await bulk.gather(fetch_with_permit if known else derived.installed_add_ons.fetch, sids)

        with measured(task) as values:
            await asyncio.gather(*map(work, range(task.accounts)))
    assert values["processed"] == task.accounts * task.times, values
    return values


def _accounts_file(folder: str, accounts: int) -> Path:
    file = Path(folder, "accounts.csv")
    file.touch(mode=0o600)
    rows = (f"{account_sid(number)},{SECRET}\n" for number in range(accounts))
    file.write_text("account_sid,auth_token\n" + "".join(rows))
    return file


async def apply_ours(task: Task) -> Values:
    """Remove an Add-on from many accounts with `fleet.apply`, which keeps a journal."""
    from marketplace_async import fleet

    desired = fleet.parse(
        f'[[add_ons]]\nunique_name = "{task.unique_name}"\nstate = "absent"\naccounts = "all"\n'
    )
    with TemporaryDirectory() as folder:
        accounts = _accounts_file(folder, task.accounts)
        options = {"base_url": task.url, "concurrency": task.concurrency}
        source = fleet.AccountsFile(accounts, options)  # type: ignore[arg-type]
        with measured(task) as values:
            report = await fleet.apply(
                source,
                desired,
                journal=Path(folder, "journal"),
                approve=lambda plan: True,
                executor=fleet.EmbeddedExecutor(2 * task.concurrency),
            )
    assert report.writes == {"done": task.accounts}, report
    return values


async def apply_plain_http(task: Task) -> Values:
    """Send the same requests with aiohttp and a semaphore."""
    import aiohttp

    permits = asyncio.Semaphore(task.concurrency)
    connector = aiohttp.TCPConnector(limit=task.concurrency)
    async with aiohttp.ClientSession(task.url, connector=connector) as session:

        async def find(number: int) -> str:
            headers = {"Authorization": authorization(account_sid(number))}
            async with permits, session.get(f"{LIST}?PageSize=1000", headers=headers) as r:
                r.raise_for_status()
                page = await r.json()
            records = page["installed_add_ons"]
            sid: str = next(one["sid"] for one in records if one["unique_name"] == task.unique_name)
            return sid

        async def remove(number: int) -> None:
            sid = await find(number)
            headers = {"Authorization": authorization(account_sid(number))}
            async with permits, session.delete(f"{LIST}/{sid}", headers=headers) as r:
                r.raise_for_status()

        with measured(task) as values:
            await asyncio.gather(*map(find, range(task.accounts)))
            await asyncio.gather(*map(remove, range(task.accounts)))
    return values


async def apply(task: Task) -> Values:
    return await (apply_ours(task) if task.client == "ours" else apply_plain_http(task))


async def merge(task: Task) -> Values:
    return await (merge_ours(task) if task.client == "ours" else merge_plain_http(task))


WORKLOADS: Final[dict[str, Callable[[Task], Awaitable[Values]]]] = {
    "fetch": fetch,
    "list": list_all,
    "merge": merge,
    "stream": stream,
    "limited_accounts": limited_accounts,
    "apply": apply,
}


def main() -> None:
    task = Task(**json.load(sys.stdin))

    loop_factory = None
    if task.uvloop:
        import uvloop

        loop_factory = uvloop.new_event_loop

    async def run() -> Values:
        return await WORKLOADS[task.work](task)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        print(json.dumps({**runner.run(run()), "peak": peak(), "samples": samples}))


if __name__ == "__main__":
    main()
