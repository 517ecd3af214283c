"""`accounts.from_file`: CSV and JSON Lines files, their errors, and how they are read."""

import asyncio
import json
import os
import pickle
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from support.accounts import SECRET, assert_hidden, collect, sid_of
from support.interruptions import read_interrupted

from marketplace_async import Account, AccountToken, ApiKey, CredentialsError, accounts
from marketplace_async.accounts.reading import FileReader

HEADER = "account_sid,auth_token\n"


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """A function that writes a file only its owner can read."""

    def write_file(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(0o600)
        return path

    return write_file


ROWS: list[dict[str, str]] = [
    {"account_sid": sid_of(1), "auth_token": "one", "friendly_name": 'Shop, "the" 1'},
    {"account_sid": sid_of(2), "api_key": "SK" + "2" * 32, "api_secret": "two", "status": "active"},
    {"account_sid": sid_of(3), "auth_token": "three", "status": "suspended"},
    {"account_sid": sid_of(4), "auth_token": "four", "status": "closed", "note": "an extra column"},
]
FOUND = [
    Account(
        sid=sid_of(1), friendly_name='Shop, "the" 1', credentials=AccountToken(sid_of(1), "one")
    ),
    Account(sid=sid_of(2), status="active", credentials=ApiKey("SK" + "2" * 32, "two", sid_of(2))),
    Account(sid=sid_of(3), status="suspended", credentials=AccountToken(sid_of(3), "three")),
    Account(sid=sid_of(4), status="closed", credentials=AccountToken(sid_of(4), "four")),
]


def as_csv(rows: list[dict[str, str]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, *([row.get(name, "") for name in names] for row in rows)]
    quoted = [['"' + cell.replace('"', '""') + '"' for cell in line] for line in lines]
    return "".join(",".join(line) + "\r\n" for line in quoted)


def as_json(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("accounts.csv", as_csv(ROWS)),
        ("accounts.CSV", "\ufeff" + as_csv(ROWS)),
        ("accounts.csv", as_csv(ROWS).replace("\r\n", "\n").removesuffix("\n")),
        ("accounts.csv", as_csv(ROWS).replace('"AC', '" AC').replace("\r\n", "\r\n\r\n")),
        ("accounts.jsonl", as_json(ROWS)),
        ("accounts.ndjson", "\ufeff" + as_json(ROWS).replace("\n", "\r\n\n")),
    ],
)
async def test_a_file_yields_accounts(write: Any, name: str, content: str) -> None:
    source = accounts.from_file(write(name, content))
    assert await collect(source) == FOUND
    assert await collect(source) == FOUND
    assert [await source.fetch(one.sid) for one in reversed(FOUND)] == FOUND[::-1]


async def test_a_file_is_filtered_by_status(write: Any) -> None:
    path = str(write("a.jsonl", as_json(ROWS)))
    assert await collect(accounts.from_file(path, status="active")) == FOUND[:2]
    assert await collect(accounts.from_file(path, status="suspended")) == FOUND[2:3]
    assert await collect(accounts.from_file(path, status="closed")) == FOUND[3:]


async def test_nothing_is_read_before_iterating(write: Any, tmp_path: Path) -> None:
    source = accounts.from_file(tmp_path / "later.csv")
    for read in (lambda: collect(source), lambda: source.fetch(sid_of(1))):
        with pytest.raises(CredentialsError, match=r"later\.csv: No such file"):
            await read()
    write("later.csv", HEADER + f"{sid_of(1)},one\n")
    assert len(await collect(source)) == 1
    assert await collect(accounts.from_file(write("empty.jsonl", ""))) == []


def test_an_invalid_format_or_status_raises_at_once() -> None:
    with pytest.raises(ValueError, match="format: expected one of csv, jsonl, got 'xlsx'"):
        accounts.from_file("accounts.csv", format="xlsx")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="status: expected one of"):
        accounts.from_file("accounts.csv", status="gone")  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [as_csv(ROWS), as_json(ROWS), "\ufeff\n " + as_json(ROWS)])
async def test_the_format_follows_from_the_first_character_unless_the_suffix_tells(
    write: Any, content: str
) -> None:
    assert await collect(accounts.from_file(write("accounts.txt", content))) == FOUND
    json = "{" in content
    path = write("accounts.jsonl" if not json else "accounts.csv", content)
    assert await collect(accounts.from_file(path, format="jsonl" if json else "csv")) == FOUND
    with pytest.raises(CredentialsError, match="line"):
        await collect(accounts.from_file(path))


async def test_every_bad_row_is_told_after_the_last_account(write: Any) -> None:
    rows = [f"{sid_of(number)},{SECRET}" for number in range(1000)]
    rows[700] = "nonsense"
    path = write("a.csv", HEADER + "\n".join(rows))
    found: list[Account] = []
    with pytest.raises(CredentialsError, match=r"a\.csv, line 702: account_sid: expected the SID"):
        await collect(accounts.from_file(path), found)
    good = [sid_of(number) for number in range(1000) if number != 700]
    assert [one.sid for one in found] == good
    for number in range(0, 1000, 2):
        rows[number] = SECRET
    path = write("a.csv", HEADER + "\n".join(rows))
    found.clear()
    with pytest.raises(CredentialsError) as error:
        await collect(accounts.from_file(path), found)
    assert str(error.value).startswith(
        f"{path}: 500 rows are malformed: line 2: account_sid: expected the SID of an account"
    )
    assert str(error.value).count("; line ") == 19
    assert str(error.value).endswith("; ... and 480 more")
    assert_hidden(SECRET, error.value)
    assert len(found) == 500


async def test_a_bad_row_costs_no_other_account(write: Any) -> None:
    content = HEADER + f"{sid_of(1)},one\n{sid_of(2)},\nnonsense\n{sid_of(3)},three\n"
    source = accounts.from_file(write("a.csv", content))
    for number in (1, 3):
        assert (await source.fetch(sid_of(number))).sid == sid_of(number)
    with pytest.raises(CredentialsError, match=r"line 3: expected auth_token, or api_key and"):
        await source.fetch(sid_of(2))
    with pytest.raises(
        CredentialsError, match=r"not found; the file: 2 rows are malformed: line 3"
    ):
        await source.fetch(sid_of(4))


@pytest.mark.skipif(os.name != "posix", reason="file modes need POSIX")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o622, 0o644])
async def test_a_file_that_other_users_can_access_is_not_read(write: Any, mode: int) -> None:
    path = write("a.csv", HEADER + f"{sid_of(1)},{SECRET}\n")
    path.chmod(mode)
    source = accounts.from_file(path)
    for read in (lambda: collect(source), lambda: source.fetch(sid_of(1))):
        with pytest.raises(CredentialsError) as error:
            await read()
        assert str(error.value).endswith(
            f"it contains secrets, but other users have access: run chmod 600 {path}"
        )
    path.chmod(0o400)
    assert len(await collect(source)) == 1


async def test_a_folder_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "b.csv").mkdir(0o700)
    for read in (collect, lambda source: source.fetch(sid_of(1))):
        with pytest.raises(CredentialsError, match=r"b\.csv: expected a file or a pipe"):
            await read(accounts.from_file(tmp_path / "b.csv"))


async def test_a_file_that_changes_while_it_is_being_read_raises(write: Any) -> None:
    rows = "".join(f"{sid_of(number)},x\n" for number in range(1000))
    path = write("a.csv", HEADER + rows)
    source = accounts.from_file(path)
    stream = aiter(source)
    assert (await anext(stream)).sid == sid_of(0)
    write("a.csv", HEADER + rows + f"{sid_of(1000)},x\n")
    with pytest.raises(CredentialsError, match="the file changed while it was being read"):
        await collect(stream)
    assert (await source.fetch(sid_of(999))).sid == sid_of(999)
    write("a.csv", HEADER + f"{sid_of(1)},other\n")
    found = await source.fetch(sid_of(1))
    assert found.credentials == AccountToken(sid_of(1), "other")
    with pytest.raises(CredentialsError, match=f"account {sid_of(999)} not found"):
        await source.fetch(sid_of(999))


def test_a_file_that_changes_between_its_index_and_the_first_row_raises(write: Any) -> None:
    reader = FileReader(write("a.csv", HEADER + f"{sid_of(1)},one\n"), "csv")
    assert len(reader.read(9)) == 1
    again = reader.again()
    path = write("a.csv", HEADER + f"{sid_of(1)},two\n{sid_of(2)},two\n")
    assert again.read(9) == []
    assert again.failure == f"{path}: the file changed while it was being read"
    assert reader.row_at(len(HEADER), 2) == again.failure


async def test_a_file_source_pickles_its_path_and_not_its_accounts(write: Any) -> None:
    source = accounts.from_file(write("a.jsonl", as_json(ROWS)), status="closed")
    await source.fetch(sid_of(1))
    pickled = pickle.dumps(source)
    assert b"four" not in pickled
    assert await collect(pickle.loads(pickled)) == FOUND[3:]
    assert repr(source).endswith("a.jsonl>")


async def test_concurrent_fetches_index_the_file_once(
    write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from marketplace_async.accounts.index import Index

    indexed = []
    index_of = Index.of

    def counted(reader: Any) -> Any:
        indexed.append(reader)
        return index_of(reader)

    monkeypatch.setattr(Index, "of", counted)
    rows = [{"account_sid": sid_of(number), "auth_token": f"t{number}"} for number in range(500)]
    source = accounts.from_file(write("a.jsonl", as_json(rows)))
    before = threading.active_count()
    threads = []

    async def fetch(number: int) -> Account:
        account = await source.fetch(sid_of(number))
        threads.append(threading.active_count())
        return account

    found = await asyncio.gather(*map(fetch, range(500)))
    assert max(threads) <= before + 64
    assert [one.credentials for one in found] == [
        AccountToken(sid_of(number), f"t{number}") for number in range(500)
    ]
    assert len(indexed) == 1


async def test_a_hundred_thousand_lines_neither_block_the_loop_nor_stay_in_memory(
    write: Any,
) -> None:
    path = write("a.csv", HEADER + "".join(f"{sid_of(n)},{n:032x}\n" for n in range(100_000)))
    held: weakref.WeakSet[Account] = weakref.WeakSet()
    ticks = read = peak = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    task = asyncio.create_task(tick())
    async for one in accounts.from_file(path):
        read += 1
        held.add(one)
        peak = max(peak, len(held))
    task.cancel()
    assert read == 100_000
    # Other tasks run between batches, and at most two batches are in memory.
    assert ticks > 100_000 / 256
    assert peak <= 2 * 256


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
async def test_leaving_early_leaves_no_file_open(write: Any) -> None:
    path = write("a.csv", HEADER + "".join(f"{sid_of(n)},x\n" for n in range(1000)))

    def is_open() -> bool:
        return path in [link.resolve() for link in Path("/proc/self/fd").iterdir()]

    with path.open():
        assert await asyncio.to_thread(is_open)
    stream = aiter(accounts.from_file(path))
    await anext(stream)
    assert not await asyncio.to_thread(is_open)


@given(patience=st.lists(st.integers(0, 3), max_size=40))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_interrupted_file_yields_every_account_once(write: Any, patience: list[int]) -> None:
    path = write("a.csv", HEADER + "".join(f"{sid_of(n)},x\n" for n in range(600)))

    async def read() -> list[Account]:
        return await read_interrupted(aiter(accounts.from_file(path)), patience)

    assert [one.sid for one in asyncio.run(read())] == [sid_of(number) for number in range(600)]


async def test_a_malformed_line_is_reported_at_each_step(write: Any) -> None:
    stream = aiter(accounts.from_file(write("a.csv", HEADER + f"{sid_of(1)},x\nnonsense\n")))
    assert (await anext(stream)).sid == sid_of(1)
    for _ in range(3):
        with pytest.raises(CredentialsError, match="line 3"):
            await anext(stream)
