"""Accounts from a pipe or from standard input: read once, and kept in memory."""

import asyncio
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.accounts import SECRET, assert_hidden, collect, sid_of

from marketplace_async import AccountToken, CredentialsError, accounts, fleet

pytestmark = pytest.mark.skipif(os.name != "posix", reason="named pipes need POSIX")

CONTENT = f"account_sid,auth_token\n{sid_of(1)},{SECRET}\nnonsense\n{sid_of(2)},{SECRET}\n"
SIDS = [sid_of(1), sid_of(2)]


@contextmanager
def pipe(content: str) -> Iterator[int]:
    """Yield the reading end of a pipe that another thread writes to."""
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "w") as stream:
            stream.write(content)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield reading
    finally:
        thread.join(10)
        os.close(reading)


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "accounts"
    os.mkfifo(path, 0o600)
    thread = threading.Thread(target=path.write_text, args=[CONTENT])
    thread.start()
    yield path
    thread.join(10)


async def test_a_pipe_is_read_once_and_listed_repeatedly(fifo: Path) -> None:
    source = fleet.AccountsFile(fifo)
    for _ in range(2):  # two jobs, or the count and the job
        async with source.open() as connection:
            assert await connection.count() == 3
            targets = [target async for target in connection.accounts()]
            assert [target.account_sid for target in targets] == [SIDS[0], "line 3", SIDS[1]]
            clients = await connection.clients(SIDS)
            assert all(not isinstance(client, Exception) for client in clients.values())
    assert SECRET not in repr(source)
    with pytest.raises(TypeError, match="are in the memory of this process; write them to a file"):
        pickle.dumps(source)


async def test_the_bad_rows_of_a_pipe_are_told_as_those_of_a_file(fifo: Path) -> None:
    source = accounts.from_file(fifo, format="csv")
    for _ in range(2):
        found: list[accounts.Account] = []
        with pytest.raises(CredentialsError, match=f"{fifo}, line 3: account_sid") as error:
            await collect(source, found)
        assert_hidden(SECRET, error.value)
        assert [one.sid for one in found] == SIDS
    assert (await source.fetch(SIDS[1])).credentials == AccountToken(SIDS[1], SECRET)
    with pytest.raises(CredentialsError, match="not found"):
        await source.fetch(sid_of(3))


async def test_a_pipe_without_a_name_is_read() -> None:
    with pipe(json.dumps({"account_sid": SIDS[0], "auth_token": "x"})) as reading:
        source = accounts.from_file(f"/dev/fd/{reading}")
        assert [one.sid for one in await collect(source)] == SIDS[:1]
        assert [one.sid for one in await collect(source)] == SIDS[:1]


@pytest.mark.parametrize("mode", [0o644, 0o660])
async def test_a_named_pipe_that_other_users_can_access_is_not_read(
    tmp_path: Path, mode: int
) -> None:
    path = tmp_path / "accounts"
    os.mkfifo(path)
    path.chmod(mode)
    with pytest.raises(CredentialsError, match="other users have access: run chmod 600"):
        await collect(accounts.from_file(path))


async def test_waiting_for_a_pipe_does_not_keep_the_caller(tmp_path: Path) -> None:
    path = tmp_path / "accounts"
    os.mkfifo(path, 0o600)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await collect(accounts.from_file(path))
    path.write_text(CONTENT)  # let the thread end


PROGRAM = """
import asyncio, sys
from marketplace_async import accounts, fleet

async def main():
    source = fleet.AccountsFile("-")
    for _ in range(2):
        async with source.open() as connection:
            print(*[target.account_sid async for target in connection.accounts()], sep=",")
    await asyncio.wait_for(fleet.AccountsFile("-").open().__aenter__(), 1)

asyncio.run(main())
"""


def test_standard_input_is_read_once() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=CONTENT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == f"{SIDS[0]},line 3,{SIDS[1]}\n" * 2
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("stdin", "message"),
    [
        (subprocess.DEVNULL, "standard input, line 1: the file is empty; expected a header"),
        (None, "standard input: it is closed"),
    ],
)
def test_an_empty_or_closed_standard_input_is_told(stdin: int | None, message: str) -> None:
    command = [sys.executable, "-c", PROGRAM]
    if stdin is None:
        command = ["sh", "-c", 'exec "$0" -c "$1" <&-', sys.executable, PROGRAM]
    done = subprocess.run(command, stdin=stdin, capture_output=True, text=True, timeout=60)
    assert message in done.stderr.splitlines()[-1]


def test_a_program_that_waits_for_standard_input_ends_when_it_is_told_to() -> None:
    program = """
import asyncio
from marketplace_async import accounts
async def main():
    try:
        await asyncio.wait_for(anext(aiter(accounts.from_file("-"))), 0.2)
    except TimeoutError:
        print("left")
asyncio.run(main())
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.wait(30) == 0
        assert process.stdout is not None
        assert process.stdout.read() == b"left\n"
