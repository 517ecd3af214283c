"""Workers prove the credentials of one account when they open a job: bad ones get no accounts."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.fleet import PARENT
from support.local_engine import LocalEngine

from marketplace_async import AccountToken, ApiKey, Credentials, fleet
from marketplace_async.accounts.file import FileAccounts
from marketplace_async.emulator import Emulator
from marketplace_async.fleet import Connection, JobError, Source
from marketplace_async.fleet._executors import portable

# What the functions of the vault find: on the machine of the job, and on that of the worker.
VAULT: dict[str, Credentials] = {}
VAULT_OF_THE_WORKER: dict[str, Credentials] = {}


def sids() -> list[str]:
    return [*VAULT]


def find(sid: str) -> Credentials:
    return VAULT[sid]


def find_on_the_worker(sid: str) -> Credentials:
    return VAULT_OF_THE_WORKER[sid]


@pytest.fixture
def shops(marketplace_emulator: Emulator) -> Iterator[dict[str, str]]:
    shops = dict(marketplace_emulator.add_subaccounts(PARENT, 40, friendly_name="Shop {number}"))
    VAULT.update((sid, AccountToken(sid, token)) for sid, token in shops.items())
    yield shops
    VAULT.clear()
    VAULT_OF_THE_WORKER.clear()


def opened_as(monkeypatch: pytest.MonkeyPatch, *changes: Callable[[Any], Source] | None) -> None:
    """Change what the first workers open instead of the source of the job."""
    source_of, left = portable.source_of, list(changes)

    def changed(document: dict[str, Any]) -> Source:
        source = source_of(document)
        change = left.pop(0) if left else None
        return source if change is None else change(source)

    monkeypatch.setattr(portable, "source_of", changed)


def with_first_wrong(count: int, shops: dict[str, str]) -> dict[str, str]:
    """Return the tokens of all accounts, the first few of them wrong."""
    return {
        sid: WRONG if number < count else token for number, (sid, token) in enumerate(shops.items())
    }


def file_with(path: Path, rows: dict[str, str]) -> Path:
    path.touch(mode=0o600)
    lines = ["account_sid,auth_token", *(f"{sid},{token}" for sid, token in rows.items())]
    path.write_text("\n".join(lines) + "\n")
    return path


def with_rows(path: Path) -> Callable[[fleet.AccountsFile], fleet.AccountsFile]:
    """Return a change after which a source finds the rows of another file at its own path."""

    def change(source: fleet.AccountsFile) -> fleet.AccountsFile:
        object.__setattr__(source, "_accounts", FileAccounts(path))
        return source

    return change


class Named:
    """A vault with the name of another one: its functions are the same, and find other things."""

    def __init__(self, source: fleet.Vault) -> None:
        self.source = source

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Connection]:
        async with self.source.open() as connection:
            of_the_job = fleet.Vault(sids, find, self.source.options)
            async with of_the_job.open() as named:
                connection._identity = named._identity
            connection.source = of_the_job
            yield connection


def with_its_own_vault(source: fleet.Vault) -> Source:
    changed = fleet.Vault(source.sids, find_on_the_worker, source.options)
    return Named(changed)


WRONG = "0" * 32
ROWS: dict[str, Callable[[dict[str, str]], dict[str, str]]] = {
    "AuthenticationError: 401 20003": lambda rows: dict.fromkeys(rows, WRONG),
    "the accounts file of the worker has other accounts": lambda rows: dict([*rows.items()][1:]),
    "the header is missing|no accounts|other accounts": lambda _: {},
}


@pytest.mark.parametrize("reason", ROWS)
async def test_a_worker_with_another_accounts_file_is_unfit(
    marketplace_emulator: Emulator,
    shops: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reason: str,
) -> None:
    file = file_with(tmp_path / "accounts.csv", shops)
    other = file_with(tmp_path / "other.csv", ROWS[reason](shops))
    source = fleet.AccountsFile(file, {"base_url": marketplace_emulator.url})
    opened_as(monkeypatch, with_rows(other))
    engine = LocalEngine(2)
    report = await fleet.inventory(source, tmp_path / "x.jsonl", executor=engine)
    assert (report.counts.done, report.counts.accounts) == (40, 40)
    # Either worker may be the first to open the job.
    accounts = sorted((one.accounts, one.unfit is None) for one in report.workers)
    assert accounts == [(0, False), (40, True)]
    opened_as(monkeypatch, with_rows(other))
    with pytest.raises(JobError, match=f"no worker can do this job: worker 0: .*({reason})"):
        await fleet.inventory(source, tmp_path / "y.jsonl", executor=LocalEngine(1))


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (None, "KeyError"),
        (lambda sid, _: AccountToken(sid, WRONG), "AuthenticationError: 401 20003"),
        (lambda _, other: VAULT[other], "the vault returned credentials of"),
        (lambda sid, _: ApiKey(PARENT.replace("AC", "SK"), "x"), "belong to"),
    ],
)
async def test_a_worker_with_another_vault_is_unfit(
    marketplace_emulator: Emulator,
    shops: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    found: Callable[[str, str], Credentials] | None,
    reason: str,
) -> None:
    if found is not None:
        everything = [*shops]
        for sid, other in zip(everything, everything[1:] + everything[:1], strict=True):
            VAULT_OF_THE_WORKER[sid] = found(sid, other)
    source = fleet.Vault(sids, find, {"base_url": marketplace_emulator.url})
    opened_as(monkeypatch, with_its_own_vault)
    engine = LocalEngine(2)
    report = await fleet.inventory(source, tmp_path / "x.jsonl", executor=engine)
    assert (report.counts.done, report.counts.accounts) == (40, 40)
    # Either worker may be the first to open the job.
    assert sum(one.unfit is not None for one in report.workers) == 1
    opened_as(monkeypatch, with_its_own_vault)
    with pytest.raises(JobError, match=f"no worker can do this job: worker 0: .*{reason}"):
        await fleet.inventory(source, tmp_path / "y.jsonl", executor=LocalEngine(1))


async def test_without_credentials_that_work_here_no_worker_is_checked(
    marketplace_emulator: Emulator, shops: dict[str, str], tmp_path: Path
) -> None:
    file = file_with(tmp_path / "accounts.csv", with_first_wrong(3, shops))
    source = fleet.AccountsFile(file, {"base_url": marketplace_emulator.url})
    report = await fleet.inventory(source, tmp_path / "x.jsonl", executor=LocalEngine(2))
    assert (report.counts.done, report.counts.failed) == (37, 3)
    assert {one.unfit for one in report.workers} == {None}


async def test_accounts_whose_credentials_do_not_work_are_not_those_to_prove(
    marketplace_emulator: Emulator, shops: dict[str, str], tmp_path: Path
) -> None:
    file = file_with(tmp_path / "accounts.csv", with_first_wrong(2, shops))
    source = fleet.AccountsFile(file, {"base_url": marketplace_emulator.url})
    engine = LocalEngine(2)
    report = await fleet.inventory(source, tmp_path / "x.jsonl", executor=engine)
    assert (report.counts.done, report.counts.failed) == (38, 2)
    assert {one.unfit for one in report.workers} == {None}
    third = [*shops][2]
    assert {json.loads(one)["account"] for one in engine.messages if b'"open"' in one} == {third}
