"""Executors, sources and progress of the jobs, against an emulator."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.fleet import DESIRED, SPAM_SCORE, Fleet, lines
from support.fleet_workers import DyingExecutor, TwiceExecutor

from marketplace_async import MarketplaceError, fleet
from marketplace_async.emulator import Emulator
from marketplace_async.fleet import (
    AccountResult,
    EmbeddedExecutor,
    Executor,
    InventoryRecord,
    Job,
    Shard,
    Target,
)
from marketplace_async.fleet._engine.shards import Task
from marketplace_async.testing import account


class Nothing(Task):
    """A task that does nothing."""

    async def run(self, client: Any, target: Target, limit: Any, approved: Any) -> Any:
        await asyncio.sleep(0)


class NoConnection:
    """A connection to no accounts."""

    async def clients(self, sids: list[str]) -> dict[str, None]:
        return dict.fromkeys(sids)


class Recorder:
    """Records the progress updates of a job."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.totals: list[int | None] = []
        self.done = 0
        self.failures: list[Any] = []
        self.records = 0
        self.sent = 0

    def phase(self, name: str) -> None:
        self.phases.append(name)

    def started(self, total: int | None) -> None:
        self.totals.append(total)

    def advanced(self, count: int = 1) -> None:
        self.done += count

    def failed(self, item: object, error: Exception) -> None:
        self.failures.append((item, str(error)))

    def counted(self, records: int, stats: Any) -> None:
        self.records += records
        self.sent = stats.sent


async def test_progress_receives_totals_records_and_requests(shops: Fleet, tmp_path: Path) -> None:
    seen = Recorder()
    await fleet.inventory(shops.source, tmp_path / "x.jsonl", progress=seen)
    assert (seen.phases, seen.totals[0], seen.totals[-1]) == (["inventory"], None, 41)
    assert (seen.done, seen.records, seen.failures) == (41, 40, [])
    assert seen.sent >= 42
    shops.emulator.faults.add("GET", "/v1/InstalledAddOns", status=403)
    report = await fleet.inventory(shops.source, tmp_path / "y.jsonl")
    seen = Recorder()
    await fleet.inventory(shops.source, tmp_path / "y.jsonl", progress=seen, resume=True)
    assert (seen.done, seen.records) == (41, 40 - report.records)
    seen = Recorder()
    journal = tmp_path / "journal"
    await fleet.apply(
        shops.source, shops.desired, journal=journal, approve=lambda _: True, progress=seen
    )
    assert seen.phases == ["plan", "apply"]
    assert (seen.done, seen.totals[-1]) == (82, 41)


@pytest.mark.parametrize("executor", [TwiceExecutor()])
async def test_every_executor_produces_the_same_result(
    shops: Fleet, tmp_path: Path, executor: Executor
) -> None:
    file = tmp_path / "inventory.jsonl"
    report = await fleet.inventory(shops.source, file, executor=executor)
    assert (report.accounts, report.records, len(lines(file))) == (41, 40, 40)
    report_of_apply = await fleet.apply(
        shops.source,
        shops.desired,
        journal=tmp_path / "journal",
        approve=lambda _: True,
        executor=executor,
    )
    assert report_of_apply.failures.count == 0
    assert (await fleet.plan(shops.source, shops.desired)).steps == 0
    state = await shops.state()
    assert Counter(len(names) for names in state.values()) == {1: 1, 2: 29, 3: 11}


async def test_lost_shards_are_unknown_and_the_next_run_checks_them(
    shops: Fleet, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"

    def run(executor: Executor) -> Any:
        return fleet.apply(
            shops.source, shops.desired, journal=journal, approve=lambda _: True, executor=executor
        )

    report = await run(DyingExecutor())
    assert report.failures.count > 0
    assert {one.message.split(";")[0] for one in report.failures.first} == {"the worker died"}
    assert report.writes["unknown"] > 0
    report = await run(EmbeddedExecutor())
    assert report.failures.count == 0
    assert (await fleet.plan(shops.source, shops.desired)).steps == 0


async def test_shards_are_created_only_as_they_can_run() -> None:
    created = finished = peak = 0

    async def shards() -> AsyncIterator[Shard]:
        nonlocal created, peak
        for number in range(10_000):
            created += 2
            peak = max(peak, created - finished)
            yield Shard((Target(f"{number}a"), Target(f"{number}b")))

    connection: Any = NoConnection()
    seen: set[str] = set()
    async with (
        EmbeddedExecutor(4).open(connection) as session,
        session.run(Job(Nothing()), shards()) as results,
    ):
        async for result in results:
            assert isinstance(result, AccountResult)
            finished += 1
            seen.add(result.target.account_sid)
    assert (finished, len(seen)) == (20_000, 20_000)
    # Running, finished but not yet received, and the next shard.
    assert peak <= 4 + 4 + 2
    with pytest.raises(ValueError, match="accounts: must be a positive integer"):
        EmbeddedExecutor(0)


async def test_an_accounts_file_is_a_source_without_credentials(tmp_path: Path) -> None:
    accounts = tmp_path / "accounts.csv"
    accounts.write_text(
        "account_sid,auth_token,friendly_name\n"
        + "".join(
            f"{account(number).account_sid},made-up,Shop {number}\n" for number in range(1, 31)
        )
    )
    accounts.chmod(0o600)
    async with Emulator() as emulator:
        emulator.install(account(3).account_sid, SPAM_SCORE)
        source = fleet.AccountsFile(accounts, {"base_url": emulator.url})
        kept: list[InventoryRecord] = []

        class ListOutput:
            def begin(self) -> None: ...

            def resume(self, position: int) -> None: ...

            def write(self, account_sid: str, records: Any) -> None:
                kept.extend(records)

            def sync(self) -> int:
                return 0

            def close(self) -> None: ...

        report = await fleet.inventory(source, ListOutput())
        assert (report.accounts, report.records) == (30, 1)
        assert [one.account_friendly_name for one in kept] == ["Shop 3"]
        assert "made-up" not in repr(source)
        empty = tmp_path / "empty.csv"
        empty.write_text("account_sid,auth_token\n")
        empty.chmod(0o600)
        with pytest.raises(MarketplaceError, match="no account has credentials"):
            await fleet.plan(fleet.AccountsFile(empty), fleet.parse(DESIRED))
