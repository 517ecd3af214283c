"""The identity of a job: its files only resume on the same accounts, and are never mixed up."""

import asyncio
import functools
import os
import sqlite3
from collections.abc import Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from support.fleet import DESIRED, PARENT, SPAM_SCORE, Fleet, StopAtOnce, lines
from support.fleet_workers import connect, find_in_the_vault, sids_of_the_vault

from marketplace_async import (
    AccountToken,
    ApiKey,
    AuthenticationError,
    MarketplaceClient,
    PermissionDeniedError,
    fleet,
)
from marketplace_async.emulator import Emulator
from marketplace_async.fleet import EmbeddedExecutor, JobError, Source
from marketplace_async.testing import account

OTHER_PARENT = "AC" + "e" * 32
TOKENS = {account(number).account_sid: f"token-{number}" for number in range(1, 31)}
EVERY_OPTION: list[dict[str, Any]] = [{}, {"resume": True}, {"overwrite": True}]


async def interrupted(source: Source, file: Path, **options: Any) -> None:
    """Start an inventory and stop it after the first account."""
    stop = asyncio.Event()
    report = await fleet.inventory(
        source,
        file,
        stop=stop,
        progress=StopAtOnce(stop),
        executor=EmbeddedExecutor(1),
        **options,
    )
    assert not report.complete
    assert report.accounts > 0


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def accounts_file(file: Path, tokens: dict[str, str]) -> fleet.AccountsFile:
    rows = "".join(f"{sid},{token}\n" for sid, token in tokens.items())
    file.write_text(f"account_sid,auth_token\n{rows}")
    file.chmod(0o600)
    return fleet.AccountsFile(file)


def other_sids() -> list[str]:
    return sids_of_the_vault()


def subaccounts(url: str, credentials: AccountToken | ApiKey) -> fleet.Subaccounts:
    return fleet.Subaccounts(functools.partial(MarketplaceClient, credentials, base_url=url))


async def refused(source: Source, file: Path, message: str, **options: Any) -> None:
    before = contents(file.parent)
    with pytest.raises(JobError, match=message) as raised:
        await fleet.inventory(source, file, resume=True, **options)
    assert raised.value.remedy == "overwrite"
    assert contents(file.parent) == before


async def test_a_job_on_another_parent_account_is_not_resumed(shops: Fleet, tmp_path: Path) -> None:
    file = tmp_path / "inventory.jsonl"
    for sid, _ in shops.emulator.add_subaccounts(OTHER_PARENT, 30):
        shops.emulator.install(sid, SPAM_SCORE)
    await interrupted(shops.source, file)
    other = subaccounts(shops.emulator.url, AccountToken(OTHER_PARENT, "x"))
    await refused(
        other,
        file,
        f"inventory.jsonl cannot be resumed: the parent account was {PARENT} and is now "
        f"{OTHER_PARENT}; pass overwrite=True to start over",
    )
    report = await fleet.inventory(shops.source, file, resume=True)
    assert (report.accounts, len(lines(file))) == (41, 40)


async def test_credentials_of_the_same_parent_account_resume_its_job(
    shops: Fleet, tmp_path: Path
) -> None:
    file = tmp_path / "inventory.jsonl"
    await interrupted(shops.source, file)
    # This API key does not name its account, but the service does.
    key = ApiKey(PARENT.replace("AC", "SK"), "x")
    report = await fleet.inventory(subaccounts(shops.emulator.url, key), file, resume=True)
    assert (report.accounts, len(lines(file))) == (41, 40)


async def test_a_job_on_another_service_is_not_resumed(shops: Fleet, tmp_path: Path) -> None:
    file = tmp_path / "inventory.jsonl"
    await interrupted(shops.source, file)
    async with Emulator() as other:
        other.add_subaccounts(PARENT, 3)
        await refused(
            fleet.Subaccounts(functools.partial(connect, other.url)),
            file,
            f"the base URL was {shops.emulator.url} and is now {other.url}",
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"extensions": True}, "the option for extensions was off and is now on"),
        ({"secret": ["a", "b"]}, "the list of secret keys was none and is now a, b"),
        (
            {"extensions": True, "secret": ["a"]},
            "the option for extensions was off and is now on; the list of secret keys was none",
        ),
    ],
)
async def test_a_job_with_other_options_is_not_resumed(
    shops: Fleet, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    file = tmp_path / "inventory.jsonl"
    await interrupted(shops.source, file)
    await refused(shops.source, file, f"cannot be resumed: {message}", **options)


async def test_an_accounts_file_is_the_same_if_its_tokens_rotate_or_its_rows_move(
    tmp_path: Path,
) -> None:
    file, listed = tmp_path / "inventory.jsonl", tmp_path / "accounts.csv"
    async with Emulator() as emulator:
        for sid in TOKENS:
            emulator.install(sid, SPAM_SCORE)
        options: Any = {"base_url": emulator.url}

        def source(path: Path, tokens: dict[str, str]) -> fleet.AccountsFile:
            return fleet.AccountsFile(accounts_file(path, tokens).file, options)

        await interrupted(source(listed, TOKENS), file)
        rotated = {sid: f"{token}-rotated" for sid, token in reversed(TOKENS.items())}
        fewer = dict(list(TOKENS.items())[1:])
        await refused(
            source(listed, fewer), file, "the accounts in the accounts file changed; pass over"
        )
        elsewhere = tmp_path / "elsewhere.csv"
        await refused(
            source(elsewhere, TOKENS),
            file,
            f"the accounts file was {listed} and is now {elsewhere}",
        )
        report = await fleet.inventory(source(listed, rotated), file, resume=True)
        assert (report.accounts, len(lines(file))) == (30, 30)
    assert "token-" not in (tmp_path / "inventory.jsonl.journal").read_bytes().decode("latin-1")


async def test_a_vault_is_known_by_its_functions_without_their_arguments(tmp_path: Path) -> None:
    file = tmp_path / "inventory.jsonl"
    async with Emulator() as emulator:

        def vault(sids: Callable[[], list[str]], find: Any = find_in_the_vault) -> fleet.Vault:
            return fleet.Vault(sids, find, {"base_url": emulator.url})

        await interrupted(vault(sids_of_the_vault, functools.partial(find_in_the_vault)), file)
        await refused(
            vault(other_sids),
            file,
            r"the vault was support\.fleet_workers\.sids_of_the_vault, .* and is now .*other_sids",
        )
        report = await fleet.inventory(vault(sids_of_the_vault), file, resume=True)
        assert (report.accounts, report.complete) == (30, True)


async def test_a_source_of_your_own_is_known_by_its_class(shops: Fleet, tmp_path: Path) -> None:
    class Mine:
        @asynccontextmanager
        async def open(self) -> Any:
            async with shops.source.open() as opened:
                yield fleet.Connection(self, opened._listed, opened._fetch, client=opened._client)

    file = tmp_path / "inventory.jsonl"
    await interrupted(Mine(), file)
    await refused(shops.source, file, r"the source of the accounts was .*Mine and is now a parent")
    assert (await fleet.inventory(Mine(), file, resume=True)).accounts == 41


async def test_a_complete_inventory_says_so_and_failed_accounts_are_retried(
    shops: Fleet, tmp_path: Path
) -> None:
    file = tmp_path / "inventory.jsonl"
    shops.emulator.faults.add("GET", "/v1/InstalledAddOns", status=403, times=2)
    report = await fleet.inventory(shops.source, file)
    assert (report.complete, report.failures.count) == (True, 2)
    report = await fleet.inventory(shops.source, file, resume=True)
    assert (report.complete, report.failures.count, len(lines(file))) == (True, 0, 40)
    requests = len(shops.emulator.log)
    await refused(shops.source, file, r"was completed at 20\d\d-\d\d-\d\dT.*Z; pass overwrite=Tr")
    assert len(shops.emulator.log) == requests
    assert (await fleet.inventory(shops.source, file, overwrite=True)).records == 40


async def test_a_job_that_records_nothing_leaves_no_file_and_overwrites_none(
    shops: Fleet, tmp_path: Path
) -> None:
    file = tmp_path / "inventory.jsonl"
    wrong = subaccounts(shops.emulator.url, AccountToken(shops.shops[0][0], "wrong"))
    for options in EVERY_OPTION:
        with pytest.raises(AuthenticationError):
            await fleet.inventory(wrong, file, **options)
        assert contents(tmp_path) == {}
    await fleet.inventory(shops.source, file)
    before = contents(tmp_path)
    with pytest.raises(AuthenticationError):
        await fleet.inventory(wrong, file, overwrite=True)
    assert contents(tmp_path).keys() == before.keys()
    assert file.read_bytes() == before[file.name]
    await refused(shops.source, file, "was completed at")


async def test_a_job_that_cannot_read_the_catalogue_leaves_no_file(
    shops: Fleet, tmp_path: Path
) -> None:
    shops.emulator.faults.add("GET", "/v1/AvailableAddOns/*", status=403, times=None)
    with pytest.raises(PermissionDeniedError):
        await fleet.plan(shops.source, shops.desired, to=tmp_path / "plan.jsonl")
    with pytest.raises(PermissionDeniedError):
        await apply(shops.source, tmp_path / "fleet.journal")
    assert contents(tmp_path) == {}


async def apply(source: Source, journal: Path, desired: str = DESIRED) -> fleet.ApplyReport:
    return await fleet.apply(source, fleet.parse(desired), journal=journal, approve=lambda _: True)


async def test_apply_rejects_the_journal_of_another_fleet_but_not_of_another_desired_state(
    shops: Fleet, tmp_path: Path
) -> None:
    journal = tmp_path / "fleet.journal"
    await apply(shops.source, journal)
    shops.emulator.add_subaccounts(OTHER_PARENT, 3, friendly_name="Shop {number}")
    before = contents(tmp_path)
    other = subaccounts(shops.emulator.url, AccountToken(OTHER_PARENT, "x"))
    with pytest.raises(
        JobError, match=f"belongs to another fleet: the parent account was {PARENT}"
    ):
        await apply(other, journal)
    assert contents(tmp_path) == before

    writes = len(shops.writes())
    shops.emulator.add_subaccounts(PARENT, 1, friendly_name="Shop 1000")
    report = await apply(
        shops.source, journal, DESIRED.replace("https://one.exam", "https://uno.exam")
    )
    assert report.complete
    assert report.changed > 1
    assert len(shops.writes()) > writes


async def test_no_job_writes_to_a_file_that_it_reads(
    shops: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    listed, desired = tmp_path / "accounts.jsonl.failures.jsonl", tmp_path / "fleet.toml"
    listed.write_text('{"account_sid": "AC%s", "auth_token": "x"}\n' % ("1" * 32))
    listed.chmod(0o600)
    desired.write_text(DESIRED)
    os.link(listed, "hard.jsonl")
    os.link(desired, "hard.journal")
    state = await asyncio.to_thread(fleet.load, desired)
    source = fleet.AccountsFile(listed, {"base_url": shops.emulator.url})
    before = contents(tmp_path)

    for name in (listed.name, "hard.jsonl", "accounts.jsonl", tmp_path / "accounts.jsonl"):
        with pytest.raises(OSError, match="is an input of this job"):
            await fleet.inventory(source, name, overwrite=True)
    for name in (desired, "fleet.toml", "hard.journal", listed):
        with pytest.raises(OSError, match="is an input of this job"):
            await fleet.plan(source, state, to=name, overwrite=True)
        with pytest.raises(OSError, match="is an input of this job"):
            await fleet.apply(source, state, journal=name, approve=lambda _: True)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["folder.csv", "pipe.csv", "link.csv", "dangling.csv"])
async def test_a_job_writes_only_to_regular_files(
    shops: Fleet, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "target").write_text("old")
    (tmp_path / "link.csv").symlink_to(tmp_path / "target")
    (tmp_path / "dangling.csv").symlink_to(tmp_path / "nowhere")
    before = names(tmp_path)
    for options in EVERY_OPTION:
        with pytest.raises(OSError, match=f"{name} is a "):
            await fleet.inventory(shops.source, tmp_path / name, **options)
    assert names(tmp_path) == before
    assert (tmp_path / "target").read_text() == "old"


@pytest.mark.parametrize("output", [fleet.JsonLines, fleet.Csv, fleet.Sqlite])
async def test_an_output_of_your_own_overwrites_nothing(
    shops: Fleet, tmp_path: Path, output: Callable[[Path], Any]
) -> None:
    file = tmp_path / "x"
    report = await fleet.inventory(shops.source, output(file))
    assert (report.records, names(tmp_path)) == (40, ["x"])
    before = contents(tmp_path)
    with pytest.raises(FileExistsError):
        await fleet.inventory(shops.source, output(file))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("suffix", ["journal", "failures.jsonl"])
async def test_the_files_beside_an_output_are_not_written_through_links(
    shops: Fleet, tmp_path: Path, suffix: str
) -> None:
    target = tmp_path / "target"
    target.write_text("")
    (tmp_path / f"x.jsonl.{suffix}").symlink_to(target)
    with pytest.raises(OSError, match=f"x.jsonl.{suffix} is a symbolic link to {target}"):
        await fleet.inventory(shops.source, tmp_path / "x.jsonl")
    assert target.read_text() == ""
    assert len(names(tmp_path)) == 2


async def test_the_audit_log_of_apply_is_not_taken_over_by_a_plan(
    shops: Fleet, tmp_path: Path
) -> None:
    journal = tmp_path / "fleet.journal"
    await fleet.apply(shops.source, shops.desired, journal=journal, approve=lambda _: True)
    before = journal.read_bytes()
    for overwrite in (False, True):
        with pytest.raises(JobError, match="journal of apply, with its audit log"):
            await fleet.plan(
                shops.source, shops.desired, to=tmp_path / "fleet", overwrite=overwrite
            )
    assert journal.read_bytes() == before


async def test_a_database_is_not_overwritten_by_lines_of_text(shops: Fleet, tmp_path: Path) -> None:
    file = tmp_path / "crm.jsonl"
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE customers (name TEXT)")
        db.commit()
    before = file.read_bytes()
    with pytest.raises(JobError, match="is a database; it was left unchanged"):
        await fleet.inventory(shops.source, file, overwrite=True)
    assert file.read_bytes() == before
