"""The sources of jobs: bad rows of an accounts file, accounts left out, and vaults that hang."""

import pickle
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.fleet import PARENT, SPAM_SCORE, Fleet, lines

from marketplace_async import AccountToken, Credentials, CredentialsError, fleet
from marketplace_async.emulator import Emulator
from marketplace_async.testing import account

KEY = "SK" + "5" * 32


def sid_of(number: int) -> str:
    return account(number).account_sid


def write(path: Path, *rows: str) -> Path:
    path.touch(mode=0o600)
    path.write_text("\n".join(rows) + "\n")
    return path


async def targets_of(source: fleet.Source) -> tuple[list[fleet.Target], Counter[str]]:
    async with source.open() as connection:
        targets = [target async for target in connection.accounts()]
        assert await connection.count() == len(targets)
        return targets, connection.left_out


# -- accounts files


async def test_each_bad_row_is_a_target_with_a_problem(tmp_path: Path) -> None:
    file = write(
        tmp_path / "accounts.csv",
        "Account SID,Auth Token,API key,API secret,Friendly name,Status,Region",
        f"{sid_of(1)},one,,,Shop,Active,eu",
        f"{sid_of(2)},,,,Cafe,,",
        ",,,,,,",
        f"{sid_of(3)},,{KEY},x,,,",
        f"{sid_of(4)},four,,,,closed,",
        f"{sid_of(5)},,{KEY},x,Office,,",
        f"{sid_of(6)},six,,,,suspended,",
        "a,b,c,d,e,f,g,h",
        f"{sid_of(1)},one,,,Shop,Active,eu",
    )
    targets, left_out = await targets_of(fleet.AccountsFile(file))
    key = "lines 5 and 7 have the same API key, which belongs to only one account"
    assert targets == [
        fleet.Target(sid_of(1), "Shop", columns={"region": "eu"}),
        fleet.Target(sid_of(2), problem="line 3: expected auth_token, or api_key and api_secret"),
        fleet.Target(sid_of(3), problem=f"line 5: {key}"),
        fleet.Target(sid_of(5), "Office", problem=f"line 7: {key}"),
        fleet.Target("line 9", problem="expected 7 cells as in the header, got 8"),
        fleet.Target("line 10", "Shop", problem=f"{sid_of(1)} is already on line 2"),
    ]
    assert left_out == {"closed": 1, "suspended": 1}
    assert hash(targets[0]) == hash(fleet.Target(sid_of(1), "Shop"))
    assert pickle.loads(pickle.dumps(targets)) == targets


async def test_a_job_over_a_file_with_bad_rows_does_the_rest(
    marketplace_emulator: Emulator, tmp_path: Path
) -> None:
    emulator = marketplace_emulator
    rows = [f"{sid_of(number)},made-up,," for number in range(1, 41)]
    rows[10] = f"{sid_of(11)},,{KEY},x"
    rows[11] = f"{sid_of(12)},,{KEY},x"
    rows[20] = "nonsense"
    rows[30] = rows[5]
    for number in range(1, 41):
        emulator.install(sid_of(number), SPAM_SCORE)
    file = write(tmp_path / "accounts.csv", "account_sid,auth_token,api_key,api_secret", *rows)
    source = fleet.AccountsFile(file, {"base_url": emulator.url})
    report = await fleet.inventory(source, tmp_path / "all.jsonl")
    assert (report.accounts, report.records, report.failures.count) == (40, 36, 4)
    assert report.failures.file is not None
    failures = {one["account_sid"]: one["message"] for one in lines(report.failures.file)}
    assert failures.keys() == {sid_of(11), sid_of(12), "line 22", "line 32"}
    assert failures[sid_of(12)].startswith("line 13: lines 12 and 13 have the same API key")
    bad = {sid_of(number) for number in (11, 12, 21, 31)}
    good = {sid_of(number) for number in range(1, 41)} - bad
    assert {one["account_sid"] for one in lines(tmp_path / "all.jsonl")} == good
    assert {entry.account_sid for entry in emulator.log} == good


async def test_a_file_without_a_header_ends_the_job_before_any_account(
    marketplace_emulator: Emulator, tmp_path: Path
) -> None:
    file = write(tmp_path / "accounts.csv", f"{sid_of(1)},made-up")
    source = fleet.AccountsFile(file, {"base_url": marketplace_emulator.url})
    with pytest.raises(CredentialsError, match="line 1: the header is missing"):
        await fleet.inventory(source, tmp_path / "all.jsonl")
    assert not marketplace_emulator.log.matching("*")


async def test_a_file_that_is_replaced_while_it_is_listed_ends_the_listing(tmp_path: Path) -> None:
    rows = [f"{sid_of(number)},made-up" for number in range(1, 1001)]
    file = write(tmp_path / "accounts.csv", "account_sid,auth_token", *rows)
    other = write(tmp_path / "other.csv", "account_sid,auth_token", *rows[::-1])
    async with fleet.AccountsFile(file).open() as connection:
        targets = connection.accounts()
        assert (await anext(targets)).account_sid == sid_of(1)
        other.replace(file)
        with pytest.raises(CredentialsError, match="the file changed while it was being read"):
            _ = [target async for target in targets]
        # A new listing reads the new file.
        assert (await anext(connection.accounts())).account_sid == sid_of(1000)


def test_an_unknown_format_is_rejected_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="format: expected one of csv, jsonl"):
        fleet.AccountsFile(tmp_path / "a.csv", format="xml")  # type: ignore[arg-type]


async def test_an_accounts_file_pickles_without_its_accounts(tmp_path: Path) -> None:
    file = write(tmp_path / "accounts", "account_sid,auth_token", f"{sid_of(1)},geheim-42")
    source = fleet.AccountsFile(file, format="csv")
    await targets_of(source)
    pickled = pickle.dumps(source)
    assert b"geheim" not in pickled
    assert pickle.loads(pickled) == source
    assert await targets_of(pickle.loads(pickled)) == await targets_of(source)


# -- subaccounts


async def test_subaccounts_that_are_not_active_are_left_out_and_counted(shops: Fleet) -> None:
    shops.emulator.add_subaccounts(PARENT, 3, status="suspended")
    shops.emulator.add_subaccounts(PARENT, 2, status="closed")
    for _ in range(2):
        targets, left_out = await targets_of(shops.source)
        assert len(targets) == 41
        assert left_out == {"suspended": 3, "closed": 2}


# -- vaults


async def test_lookups_that_hang_fail_alone_and_the_job_ends(
    marketplace_emulator: Emulator, tmp_path: Path
) -> None:
    emulator = marketplace_emulator
    release = threading.Event()
    hanging = {sid_of(number) for number in range(1, 201, 10)}

    def find(sid: str) -> Credentials:
        if sid in hanging:
            release.wait(60)
        return AccountToken(sid, "made-up")

    def sids() -> Iterator[str]:
        for number in range(1, 201):
            time.sleep(0.0002)
            yield sid_of(number)

    emulator.install(sid_of(2), SPAM_SCORE)
    source = fleet.Vault(sids, find, {"base_url": emulator.url}, timeout=2.0)
    began = time.monotonic()
    report = await fleet.inventory(source, tmp_path / "all.jsonl")
    assert time.monotonic() - began < 20
    release.set()
    assert (report.accounts, report.records, report.failures.count) == (200, 1, 20)
    assert report.failures.file is not None
    failures = {one["account_sid"]: one["message"] for one in lines(report.failures.file)}
    assert failures == {sid: f"looking up {sid} took more than 2 s" for sid in hanging}


async def test_sids_that_hang_end_the_job(tmp_path: Path) -> None:
    release = threading.Event()

    def sids() -> list[str]:
        release.wait(60)
        return []

    source = fleet.Vault(sids, AccountToken, timeout=0.2)  # type: ignore[arg-type]  # not called
    with pytest.raises(CredentialsError, match=r"sids took more than 0\.2 s"):
        await fleet.inventory(source, tmp_path / "all.jsonl")
    release.set()


@pytest.mark.parametrize("kind", ["generator", "list", "async generator"])
async def test_sids_may_come_from_any_function(kind: str) -> None:
    threads = set()

    def generator() -> Iterator[str]:
        for number in range(1, 1001):
            threads.add(threading.current_thread())
            yield sid_of(number)

    async def asynchronous() -> Any:
        for sid in generator():
            yield sid

    functions: dict[str, Any] = {
        "generator": generator,
        "list": lambda: [*generator()],
        "async generator": asynchronous,
    }
    source = fleet.Vault(functions[kind], AccountToken)  # type: ignore[arg-type]  # not called
    targets, left_out = await targets_of(source)
    assert [target.account_sid for target in targets] == [sid_of(n) for n in range(1, 1001)]
    assert not left_out
    on_the_loop = threading.main_thread() in threads
    assert on_the_loop is (kind == "async generator")
