"""The inventory job, against an emulator."""

import asyncio
import functools
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.fleet import PARENT, SPAM_SCORE, Fleet, StopAtOnce, lines, tasks
from support.fleet_workers import connect, find_in_the_vault, sids_of_the_vault

from marketplace_async import AuthenticationError, MarketplaceError, fleet
from marketplace_async.emulator import Emulator
from marketplace_async.fleet import EmbeddedExecutor, JobError
from marketplace_async.testing import account


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "db"])
async def test_the_inventory_contains_every_add_on_of_every_account(
    shops: Fleet, tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"inventory.{suffix}"
    report = await fleet.inventory(shops.source, file, extensions=True)
    assert (report.accounts, report.records, report.failures.count) == (41, 40, 0)
    assert report.complete
    expected = {sid for sid, _ in shops.shops}
    if suffix == "db":
        with sqlite3.connect(file) as db:
            found = [sid for (sid,) in db.execute("SELECT account_sid FROM installed_add_ons")]
            assert db.execute("SELECT count(*) FROM extensions").fetchone() == (40,)
        db.close()
        assert Counter(found) == Counter(expected)
    elif suffix == "jsonl":
        records = lines(file)
        assert Counter(one["account_sid"] for one in records) == Counter(expected)
        assert {one["account_friendly_name"] for one in records} == {
            f"Shop {number}" for number in range(1, 41)
        }
        assert records[0]["extensions"][0]["unique_name"] == "recording-dial"
    else:
        text = file.read_text()
        assert text.count("\n") == 41
        assert all(sid in text for sid in expected)


async def test_a_failed_account_does_not_stop_the_others_and_is_retried(tmp_path: Path) -> None:
    accounts = {account(number).account_sid: "made-up" for number in range(1, 31)}
    accounts[account(9).account_sid] = "another token"
    file = tmp_path / "inventory.jsonl"
    async with Emulator(accounts=accounts) as emulator:
        for sid in accounts:
            emulator.install(sid, SPAM_SCORE)
        source = fleet.Vault(sids_of_the_vault, find_in_the_vault, {"base_url": emulator.url})
        report = await fleet.inventory(source, file)
        assert (report.accounts, report.records, report.failures.count) == (30, 28, 2)
        assert [(one.account_sid[-1], one.error) for one in report.failures.first] == [
            ("7", "KeyError"),
            ("9", "AuthenticationError"),
        ]
        assert report.failures.file is not None
        assert [one["account_sid"][-1] for one in lines(report.failures.file)] == ["7", "9"]
        assert len(lines(file)) == 28

        accounts[account(9).account_sid] = "made-up"
        emulator.log.clear()
        report = await fleet.inventory(source, file, resume=True)
        assert (report.accounts, report.records, report.failures.count) == (30, 29, 1)
        assert len(lines(file)) == 29
        assert len(emulator.log) == 1  # accounts in the file are not read again


async def test_a_job_with_other_settings_is_not_resumed(shops: Fleet, tmp_path: Path) -> None:
    file = tmp_path / "inventory.jsonl"
    await fleet.inventory(shops.source, file)
    with pytest.raises(JobError, match="already exists"):
        await fleet.inventory(shops.source, file)
    with pytest.raises(JobError, match="the option for extensions was off and is now on"):
        await fleet.inventory(shops.source, file, resume=True, extensions=True)
    with pytest.raises(
        ValueError, match="resume: requires a file and cannot be combined with overwrite"
    ):
        await fleet.inventory(shops.source, file, resume=True, overwrite=True)
    with pytest.raises(ValueError, match=r"to: expected a file that ends in"):
        await fleet.inventory(shops.source, tmp_path / "inventory.xlsx")
    report = await fleet.inventory(shops.source, file, overwrite=True, extensions=True)
    assert (report.records, len(lines(file))) == (40, 40)


async def test_the_job_fails_if_the_accounts_cannot_be_listed(tmp_path: Path) -> None:
    async with Emulator(accounts={PARENT: "another token"}) as emulator:
        source = fleet.Subaccounts(functools.partial(connect, emulator.url))
        with pytest.raises(AuthenticationError):
            await fleet.inventory(source, tmp_path / "inventory.jsonl")


async def test_a_job_whose_account_list_fails_midway_can_be_resumed(
    shops: Fleet, tmp_path: Path
) -> None:
    file = tmp_path / "inventory.jsonl"

    class FailsMidway:
        def open(self) -> Any:
            opened = shops.source.open()

            class Failing:
                async def __aenter__(self) -> Any:
                    connection = await opened.__aenter__()
                    original = connection.accounts

                    async def accounts(page_size: int | None = None) -> AsyncIterator[Any]:
                        count = 0
                        async for one in original():
                            count += 1
                            if count == 20:
                                raise MarketplaceError("the list failed")
                            yield one

                    connection.accounts = accounts  # type: ignore[method-assign]
                    return connection

                async def __aexit__(self, *error: Any) -> None:
                    await opened.__aexit__(*error)

            return Failing()

    with pytest.raises(MarketplaceError, match="the list failed"):
        await fleet.inventory(FailsMidway(), file)
    # The shard in flight is in the file.
    assert len(lines(file)) == 15
    report = await fleet.inventory(shops.source, file, resume=True)
    assert (report.records, len(lines(file))) == (40, 40)


async def test_a_stopped_job_finishes_its_running_shards(shops: Fleet, tmp_path: Path) -> None:
    file = tmp_path / "inventory.jsonl"
    stop = asyncio.Event()

    one_by_one = EmbeddedExecutor(1)
    report = await fleet.inventory(
        shops.source, file, executor=one_by_one, progress=StopAtOnce(stop), stop=stop
    )
    assert not report.complete
    assert 0 < report.records == len(lines(file)) < 40
    report = await fleet.inventory(shops.source, file, resume=True)
    assert report.complete
    assert len(lines(file)) == 40


async def test_a_cancelled_job_leaves_nothing_running(shops: Fleet, tmp_path: Path) -> None:
    file = tmp_path / "inventory.jsonl"
    before = tasks()
    shops.emulator.faults.add("GET", "/v1/InstalledAddOns", delay=0.1, times=None)
    for moment in range(1, 9):
        job = asyncio.create_task(
            fleet.inventory(shops.source, file, resume=True, executor=EmbeddedExecutor(1))
        )
        await asyncio.sleep(0.01 * moment)
        assert job.cancel()
        await asyncio.gather(job, return_exceptions=True)
        assert job.cancelled()
        assert tasks() == before
    shops.emulator.faults.clear()
    report = await fleet.inventory(shops.source, file, resume=True)
    assert (report.accounts, len(lines(file))) == (41, 40)
