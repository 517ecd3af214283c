"""The long proofs of `nox -s reliability`: nothing is lost, duplicated or leaked.

    PYTHONPATH=tests python -m reliability.proofs [--scale 1] [--seed 1] [--minutes 10] [NAME ...]

`--scale 0.01` runs a quick check. Each proof prints a table row. The exit status is 0 only if every
proof holds. Emulators run in separate processes on loopback.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
from hypothesis import given, seed, settings, strategies as st
from reliability.emulators import Process, emulator
from reliability.reloads import MOST_UNSEEN, Result, is_installed, report_under_reloads
from reliability.served_requests import memory_of_emulator, resident_memory
from reliability.troubled_fleet import troubled_fleet
from support.fleet import SPAM_SCORE, SPAM_SCORE_FOR_ALL

from marketplace_async import (
    AccountToken,
    AmbiguousOutcomeError,
    BillableItem,
    InstalledAddOn,
    MarketplaceClient,
    MarketplaceError,
    Request,
    Response,
    Retry,
    bulk,
)
from marketplace_async._core.codec import to
from marketplace_async._core.error_documents import api_error
from marketplace_async.accounts import Account
from marketplace_async.testing import account

MANY_ATTEMPTS = Retry(attempts=60, max_elapsed=120.0, initial_backoff=0.01, max_backoff=0.2)


async def fail_a_fifth(process: Process, path: str) -> None:
    """Lose a tenth of the requests and a tenth of the responses: 20.2 % in total."""
    for when in ("before", "after"):
        await process.add_fault(method="POST", path=path, drop=True, when=when, probability=0.055)
        await process.add_fault(method="POST", path=path, status=500, when=when, probability=0.055)


async def run_concurrently(width: int, jobs: range, work: Callable[[int], Awaitable[None]]) -> None:
    """Run `work` for every job, `width` at a time."""
    pending = iter(jobs)

    async def worker() -> None:
        for number in pending:
            await work(number)

    await asyncio.gather(*(worker() for _ in range(width)))


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def memory() -> float:
    """Return the resident memory of this process in MB."""
    return resident_memory(os.getpid())


# -- the proofs: each returns a summary and the number of violations


async def creates(scale: float, chance: random.Random, minutes: float) -> tuple[str, int]:
    """Create with 20 % faults: no create is lost or duplicated."""
    total = int(10_000 * scale)
    async with (
        emulator() as process,
        MarketplaceClient(account(), base_url=process.url, retry=MANY_ATTEMPTS) as client,
    ):
        await fail_a_fifth(process, "/v1/InstalledAddOns")
        accounts = [client.with_credentials(account(number)) for number in range(100)]

        async def create(number: int) -> None:
            await accounts[number % 100].installed_add_ons.create(
                available_add_on_sid=SPAM_SCORE,
                accept_terms_of_service=True,
                unique_name=f"name-{number}",
            )

        await run_concurrently(32, range(total), create)
        await process.control("DELETE", "faults")
        names: Counter[str | None] = Counter()
        for each in accounts:
            names.update([one.unique_name async for one in each.installed_add_ons.list()])
    lost = sum(names[f"name-{number}"] == 0 for number in range(total))
    duplicated = sum(count > 1 for count in names.values()) + len(names) - (total - lost)
    return f"{total:,} creates: {lost} lost, {duplicated} duplicated", lost + duplicated


async def usage(scale: float, chance: random.Random, minutes: float) -> tuple[str, int]:
    """Report usage with 20 % faults: confirmed reports are billed exactly once."""
    total = int(2_000 * scale)
    confirmed: set[int] = set()
    ambiguous: set[int] = set()
    async with (
        emulator() as process,
        MarketplaceClient(account(), base_url=process.url, retry=MANY_ATTEMPTS) as client,
    ):
        installed = await client.installed_add_ons.create(
            available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True
        )
        await fail_a_fifth(process, "*/Usage")
        reports = client.installed_add_ons.usage(installed.sid)

        async def report(number: int) -> None:
            item = BillableItem(f"BI{number:032x}", Decimal(1))
            try:
                await reports.create([item])
            except AmbiguousOutcomeError:
                ambiguous.add(number)
            else:
                confirmed.add(number)

        await run_concurrently(16, range(total), report)
        billed = await process.control("GET", "usage")
    counts = Counter(int(item["sid"].removeprefix("BI"), 16) for item in billed["usage"])
    twice = sum(count > 1 for count in counts.values())
    missing = sum(counts[number] != 1 for number in confirmed)
    other = len(counts.keys() - confirmed - ambiguous) + total - len(confirmed) - len(ambiguous)
    ambiguous_billed = sum(counts[number] for number in ambiguous)
    text = (
        f"{total:,} usage reports: {twice} billed twice, {missing} confirmed but not billed; "
        f"{len(ambiguous)} ambiguous, of which {ambiguous_billed} billed"
    )
    return text, twice + missing + other


async def kills(scale: float, chance: random.Random, minutes: float) -> tuple[str, int]:
    """Kill and restart the emulator under load: no acknowledged write is lost."""
    times = max(2, int(50 * scale))
    acknowledged: set[str] = set()
    stop = asyncio.Event()
    with tempfile.TemporaryDirectory() as folder:
        process = Process("--db", str(Path(folder) / "state.db"))
        await asyncio.to_thread(process.start)
        async with MarketplaceClient(
            account(), base_url=process.url, retry=MANY_ATTEMPTS
        ) as client:

            async def load(worker: int) -> None:
                derived = client.with_credentials(account(worker))
                number = 0
                while not stop.is_set():
                    number += 1
                    installed = await derived.installed_add_ons.create(
                        available_add_on_sid=SPAM_SCORE,
                        accept_terms_of_service=True,
                        unique_name=f"name-{number}",
                    )
                    acknowledged.add(installed.sid)

            workers = [asyncio.ensure_future(load(worker)) for worker in range(8)]
            for _ in range(times):
                await asyncio.sleep(chance.uniform(0.05, 0.4))
                await asyncio.to_thread(process.kill)
                await asyncio.to_thread(process.start)
            stop.set()
            await asyncio.gather(*workers)
            found: set[str] = set()
            duplicated = 0
            for worker in range(8):
                items = (
                    await client.with_credentials(account(worker))
                    .installed_add_ons.list()
                    .collect()
                )
                found |= {one.sid for one in items}
                duplicated += len(items) - len({one.unique_name for one in items})
        await asyncio.to_thread(process.kill)
    lost = len(acknowledged - found)
    unexpected = len(found - acknowledged)
    text = (
        f"killed {times} times: {len(acknowledged):,} acknowledged, {lost} lost, "
        f"{duplicated} duplicated"
    )
    return text, lost + duplicated + unexpected


async def cancellations(scale: float, chance: random.Random, minutes: float) -> tuple[str, int]:
    """Cancel at random moments: no task, permit, connection or file is leaked."""
    total = int(10_000 * scale)
    async with emulator("--latency", "0.002") as process:
        await process.add_fault(method="*", path="/v1/*", drop=True, probability=0.05)
        await process.add_fault(method="*", path="/v1/*", status=429, probability=0.05)
        gc.collect()
        files_before = open_files()
        client = MarketplaceClient(
            account(), base_url=process.url, concurrency=20, retry=MANY_ATTEMPTS
        )
        async with client:
            cancelled = 0

            async def one(number: int) -> None:
                nonlocal cancelled
                if cancelled >= total:
                    return
                calls: list[Callable[[], Any]] = [
                    lambda: client.available_add_ons.list(page_size=3).collect(),
                    lambda: client.listings.list_own(),
                    lambda: client.installed_add_ons.ensure(
                        unique_name=f"name-{number % 50}",
                        available_add_on_sid=SPAM_SCORE,
                        accept_terms_of_service=True,
                    ),
                ]
                task = asyncio.ensure_future(chance.choice(calls)())
                await asyncio.sleep(chance.expovariate(1 / 0.01))
                task.cancel()
                with contextlib.suppress(MarketplaceError, asyncio.CancelledError):
                    await task
                cancelled += task.cancelled()

            # Calls that end before they are cancelled do not count.
            await run_concurrently(60, range(3 * total), one)
            permits = client.stats.in_flight
            tasks = len(asyncio.all_tasks()) - 1
            pool = client._session.pool
            connector = pool.session().connector
            assert connector is not None
            idle = sum(len(origin._idle) for origin in pool._origins.values())
            busy = len(connector._acquired) - idle
        await asyncio.sleep(0.05)
        gc.collect()
        files = open_files() - files_before
    leaked = permits + tasks + busy + max(files, 0)
    text = (
        f"{cancelled:,} cancellations: {permits} permits, {tasks} tasks, "
        f"{busy} connections, {max(files, 0)} files leaked"
    )
    return text, leaked + int(cancelled < total)


async def fetches(scale: float, chance: random.Random, minutes: float) -> tuple[str, int]:
    """Fetch for minutes: memory grows by at most 5 MB after the first tenth of the time."""
    async with (
        emulator() as process,
        MarketplaceClient(account(), base_url=process.url, retry=MANY_ATTEMPTS) as client,
    ):
        installed = await client.installed_add_ons.create(
            available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True
        )
        deadline = time.monotonic() + minutes * 60
        count = 0

        async def fetch() -> None:
            nonlocal count
            while time.monotonic() < deadline:
                await client.installed_add_ons.fetch(installed.sid)
                count += 1

        workers = [asyncio.ensure_future(fetch()) for _ in range(16)]
        await asyncio.sleep(minutes * 6)
        gc.collect()
        before = memory()
        await asyncio.gather(*workers)
        gc.collect()
        growth = memory() - before
    text = f"{minutes:g} minutes, {count:,} fetches: {growth:+.1f} MB"
    return text, int(growth > 5)


async def served(scale: float, chance: random.Random, minutes: float) -> tuple[str, int]:
    """An emulator serves 1,000,000 requests: its memory grows by at most 5 MB after a tenth."""
    tenths, count = await memory_of_emulator(int(1_000_000 * scale))
    text = f"{count:,} requests: {tenths[0]:.1f} MB after a tenth, {tenths[-1]:.1f} MB at the end"
    return text, int(tenths[-1] - tenths[0] > 5)


async def fuzz(scale: float, chance: random.Random, minutes: float) -> tuple[str, int]:
    """Fuzz bodies and headers: only errors of the package are raised."""
    total = int(100_000 * scale)
    words = [b'{"sid":', b'"account_sid"', b'"XE"', b"null", b"1e999", b"[", b"]", b"{", b"}", b":"]
    words += [b",", b'"date_created":', b'"2016-04-07T23:52:28Z"', b"\xff", b'"\\ud800"', b"-0"]
    words += [b'"code":', b'"message":', b'"links":', b"true", b"0.1", b"\x00", b'"configuration":']
    latin = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=30)
    names = st.sampled_from(["Retry-After", "Twilio-Request-Id", "Content-Type"])

    @seed(chance.randrange(2**32))
    @settings(max_examples=total, deadline=None, database=None)
    @given(
        status=st.integers(200, 599),
        body=st.binary(max_size=200) | st.lists(st.sampled_from(words), max_size=30).map(b"".join),
        headers=st.dictionaries(names, latin),
    )
    def run(status: int, body: bytes, headers: dict[str, str]) -> None:
        request, response = Request("GET", "/v1/X"), Response(status, headers, body)
        str(api_error(request, response))
        assert response.retry_after is None or response.retry_after >= 0
        with contextlib.suppress(MarketplaceError):
            to(InstalledAddOn)(request, response)

    try:
        await asyncio.to_thread(run)
    except Exception as error:  # noqa: BLE001 - any other error is a violation
        return f"{total:,} fuzzed responses: {type(error).__name__}: {error}", 1
    return f"{total:,} fuzzed responses: only errors of the package", 0


async def nginx(scale: float, chance: random.Random, minutes: float) -> tuple[str, int]:
    """Report usage through nginx while it reloads."""
    return await reloads("nginx", "nginx -s reload", scale)


async def haproxy(scale: float, chance: random.Random, minutes: float) -> tuple[str, int]:
    """Report usage through haproxy while it reloads."""
    return await reloads("haproxy", "haproxy -sf", scale)


async def reloads(program: str, command: str, scale: float) -> tuple[str, int]:
    """No report is lost, billed twice, or denied. Few are ambiguous that nobody saw."""
    if not is_installed(program):
        return f"{command}: not run, because {program} is not installed", 0
    total = max(500, int(3_000 * scale))
    kept = await report_under_reloads(program, total)
    fresh = await report_under_reloads(program, total, fresh_connection_for_unsafe_writes=True)

    def wrong(result: Result) -> int:
        return result.lost + result.twice + result.denied + (result.reloads == 0)

    text = (
        f"2 x {total:,} usage reports, 500 in flight, {command} {kept.reloads + fresh.reloads} "
        f"times: {kept.lost + fresh.lost} lost, {kept.twice + fresh.twice} billed twice, "
        f"{kept.denied + fresh.denied} denied though billed; ambiguous though never seen: "
        f"{kept.unseen} ({kept.unseen / total:.2%}), with fresh connections {fresh.unseen}"
    )
    too_many = kept.unseen > MOST_UNSEEN * total
    return text, wrong(kept) + wrong(fresh) + too_many + fresh.unseen


DESIRED = f"""
{SPAM_SCORE_FOR_ALL}
[[add_ons]]
unique_name = "old"
accounts = {{ friendly_names = ["Shop 1*"] }}
state = "absent"
"""


class Jobs:
    """Runs and kills command-line jobs in a folder."""

    def __init__(self, url: str, folder: Path, chance: random.Random) -> None:
        self._folder = folder
        self._chance = chance
        self._env = {
            **os.environ,
            "MARKETPLACE_BASE_URL": url,
            "MARKETPLACE_PROFILES": str(folder / "profiles.toml"),
            "TWILIO_ACCOUNT_SID": account().account_sid,
            "TWILIO_AUTH_TOKEN": "made-up",
        }
        self.kills = 0

    def _start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "marketplace_async", *arguments, "--subaccounts"],
            env=self._env,
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, *arguments: str) -> int:
        """Run a job to its end. Return its exit status."""
        process = self._start(*arguments)
        _, errors = process.communicate()
        if process.returncode != 0:
            print(errors, file=sys.stderr)
        return process.returncode

    def killed(self, *arguments: str, seconds: float) -> int:
        """Kill a job at three random moments within the given time, then run it to its end."""
        for part in (3, 2, 1):
            process = self._start(*arguments)
            # A resumed job repeats no finished work, so the next run is shorter.
            time.sleep(0.4 + self._chance.random() * seconds / 3 * part / 2)
            process.kill()
            process.communicate()
            self.kills += process.returncode == -signal.SIGKILL
        return self.finish(*arguments)

    def count(self, file: str, key: str = "account_sid") -> Counter[str]:
        lines = (self._folder / file).read_text().splitlines()
        return Counter(json.loads(line)[key] for line in lines)


async def create_shops(process: Process, total: int) -> None:
    """Create subaccounts, each with one installed Add-on."""
    async with MarketplaceClient(account(), base_url=process.url) as client:
        url = f"{process.url}/2010-04-01/Accounts.json"
        user = account().authorization.reveal()

        async def create(number: int) -> None:
            form = {"FriendlyName": f"Shop {number}"}
            async with session.post(url, data=form, headers={"Authorization": user}) as response:
                created = await response.json()
            shop = client.with_credentials(AccountToken(created["sid"], created["auth_token"]))
            await shop.installed_add_ons.create(
                available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True, unique_name="old"
            )

        async with aiohttp.ClientSession() as session:
            await bulk.gather(create, range(1, total + 1))


async def state_of(process: Process) -> dict[str, tuple[str, ...]]:
    """Return the unique names by friendly name of the account, with * per enabled extension."""
    async with MarketplaceClient(account(), base_url=process.url) as client:

        async def read(one: Account) -> tuple[str, tuple[str, ...]]:
            assert one.credentials is not None
            installed = client.with_credentials(one.credentials).installed_add_ons
            names = []
            async for add_on in installed.list():
                enabled = [
                    extension.unique_name
                    async for extension in installed.extensions(add_on.sid).list()
                    if extension.enabled
                ]
                names.append(f"{add_on.unique_name}{'*' * len(enabled)}")
            return one.friendly_name or "", tuple(sorted(names))

        return dict(await bulk.gather(read, client.accounts.list()))


async def jobs(scale: float, chance: random.Random, minutes: float) -> tuple[str, int]:
    """Kill inventory, plan, apply and plan three times each: nothing is lost or duplicated."""
    total = max(40, int(2_000 * scale))
    wrong = 0
    async with emulator("--latency", "0.05") as process:
        await create_shops(process, total)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "fleet.toml").write_text(DESIRED)
            runs = Jobs(process.url, Path(folder), chance)

            def killed(*arguments: str, seconds: float = total / 1500) -> int:
                return runs.killed(*arguments, seconds=seconds)

            plan = ("plan", "fleet.toml", "--resume", "--to")
            inventory = ("inventory", "--resume", "--to", "inventory.jsonl")
            wrong += await asyncio.to_thread(killed, *inventory) != 0
            records = runs.count("inventory.jsonl", "sid")
            wrong += (len(records), set(records.values())) != (total, {1})
            wrong += await asyncio.to_thread(killed, *plan, "plan.jsonl") != 0
            plans = runs.count("plan.jsonl")
            wrong += (len(plans), set(plans.values())) != (total + 1, {1})
            apply = ("apply", "fleet.toml", "--yes")
            wrong += await asyncio.to_thread(killed, *apply, seconds=total / 200) != 0
            wrong += await asyncio.to_thread(killed, *plan, "again.jsonl") != 0
            wrong += runs.count("again.jsonl") != {}
            kills = runs.kills
            # With few accounts, a job may finish before it is killed.
            wrong += scale >= 1 and kills != 12
        state = await state_of(process)
    expected: dict[str, tuple[str, ...]] = {account().account_sid: ("spam-score*",)}
    for number in range(1, total + 1):
        removed = str(number).startswith("1")
        expected[f"Shop {number}"] = ("spam-score*",) if removed else ("old", "spam-score*")
    wrong += sum(state.get(name) != names for name, names in expected.items())
    wrong += len(state) != total + 1
    text = f"inventory, plan, apply and second plan of {total:,} accounts, killed {kills} times"
    return f"{text}: {wrong} records or accounts lost, duplicated or wrong", wrong


async def trouble(scale: float, chance: random.Random, minutes: float) -> tuple[str, int]:
    """Apply to a fleet with troubled accounts and a saboteur, killed at random."""
    return await troubled_fleet(max(200, int(2_000 * scale)), chance)


PROOFS = [
    creates,
    usage,
    nginx,
    haproxy,
    kills,
    cancellations,
    fuzz,
    fetches,
    served,
    jobs,
    trouble,
]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help=", ".join(proof.__name__ for proof in PROOFS))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=10.0)
    arguments = parser.parse_args()
    failed = 0
    print(f"| proof (seed {arguments.seed}) | seconds | holds |\n| --- | --- | --- |")
    for proof in PROOFS:
        if arguments.names and proof.__name__ not in arguments.names:
            continue
        chance = random.Random(arguments.seed)
        started = time.monotonic()
        text, violations = asyncio.run(proof(arguments.scale, chance, arguments.minutes))
        failed += bool(violations)
        elapsed = time.monotonic() - started
        print(f"| {text} | {elapsed:.0f} | {'no' if violations else 'yes'} |", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
