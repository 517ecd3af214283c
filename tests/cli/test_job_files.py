"""The files of the commands for many accounts: what is accepted, and what one sentence rejects."""

import os
import resource
import sqlite3
import subprocess
from pathlib import Path

import pytest
from support.command_line import Cli
from support.fleet import SPAM_SCORE
from support.outputs import read
from support.terminal import PROGRAM

from marketplace_async.emulator import Emulator
from marketplace_async.testing import account

ACCOUNTS = 30
HINT = "hint: Leave out --to to print to standard output; --output sets the format.\n"
DESIRED = f"""
[[add_ons]]
unique_name = "spam"
available_add_on_sid = "{SPAM_SCORE}"
accept_terms_of_service = true
accounts = "all"
"""


@pytest.fixture
def folder(served: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an accounts file, a desired state, and things that are not files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MARKETPLACE_BASE_URL", served.url)
    rows = ""
    for number in range(1, ACCOUNTS + 1):
        sid = account(number).account_sid
        served.install(sid, SPAM_SCORE, times=2)
        rows += f"{sid},made-up\n"
    accounts = tmp_path / "accounts.csv"
    accounts.write_text(f"account_sid,auth_token\n{rows}")
    accounts.chmod(0o600)
    os.link(accounts, "hard.csv")
    Path("fleet.toml").write_text(DESIRED)
    Path("folder.csv").mkdir()
    os.mkfifo("pipe.csv")
    Path("link.csv").symlink_to("accounts.csv")
    Path("dangling.csv").symlink_to("nowhere")
    with sqlite3.connect("crm.db") as db:
        db.execute("CREATE TABLE accounts (sid TEXT)")
    db.close()
    return tmp_path


def contents(folder: Path) -> dict[str, bytes | str]:
    return {
        file.name: file.read_bytes() if file.is_file() else str(file.lstat().st_mode)
        for file in folder.iterdir()
    }


LINK = "and links are not written through: pass the path of the file itself"


@pytest.mark.parametrize("option", [(), ("--resume",), ("--overwrite",)])
@pytest.mark.parametrize(
    ("to", "message", "hint"),
    [
        ("-", "--to -: expected the path of a regular file", HINT),
        ("/dev/null", "--to /dev/null is a device: expected the path of a regular file", HINT),
        ("folder.csv", "--to folder.csv is a directory: expected the path of a regular file", HINT),
        ("pipe.csv", "--to pipe.csv is a pipe: expected the path of a regular file", HINT),
        ("link.csv", f"--to link.csv is a symbolic link to accounts.csv, {LINK}", HINT),
        ("dangling.csv", f"--to dangling.csv is a symbolic link to nowhere, {LINK}", HINT),
        ("no/x.csv", "--to no/x.csv: the directory no does not exist: create it", ""),
        ("fleet.toml/x.csv", "--to fleet.toml/x.csv: fleet.toml is not a directory", ""),
        ("x.xlsx", "to: expected a file that ends in .jsonl, .ndjson, .csv, .db, .sqlite, .sq", ""),
    ],
)
def test_an_inventory_goes_to_a_regular_file_only(
    cli: Cli, served: Emulator, folder: Path, to: str, message: str, hint: str, option: tuple[str]
) -> None:
    before = contents(folder)
    done = cli("inventory", "--accounts", "accounts.csv", "--to", to, *option)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"error: {message}")
    assert done.err.endswith(hint)
    assert done.err.count("\n") == 1 + bool(hint)
    assert contents(folder) == before
    assert not served.log.matching("*")


def test_standard_output_is_not_a_file(folder: Path) -> None:
    command = [*PROGRAM, "inventory", "--accounts", "accounts.csv", "--to", "/dev/stdout"]
    piped = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (piped.returncode, piped.stdout) == (2, "")
    assert piped.stderr.startswith("error: --to /dev/stdout is a pipe: expected the path of a reg")
    assert piped.stderr.endswith(HINT)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--to", "accounts.csv", "--overwrite"), "accounts.csv is an input of this job"),
        (("--to", "hard.csv", "--overwrite"), "hard.csv is the same file as accounts.csv, which"),
        (("--to", "crm.db"), "crm.db already exists"),
        (("--to", "crm.db", "--overwrite"), "crm.db is not an inventory; it was left unchanged"),
        (("--to", "crm.db", "--resume"), "its journal crm.db.journal does not exist"),
    ],
)
def test_an_inventory_overwrites_nothing_that_is_not_its_own(
    cli: Cli, served: Emulator, folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    before = contents(folder)
    done = cli("inventory", "--accounts", "accounts.csv", *arguments)
    assert (done.status, done.out) == (1, "")
    assert message in done.err
    assert contents(folder) == before
    assert not served.log.matching("*")


@pytest.mark.parametrize(
    ("journal", "message"),
    [
        ("crm.db", "crm.db is not a journal; it was left unchanged: pass another path\n"),
        ("hard.csv", "hard.csv is the same file as accounts.csv, which is an input of this job"),
        ("fleet.toml", "fleet.toml is an input of this job: pass another output"),
        ("folder.csv", "--journal folder.csv is a directory: expected the path of a regular file"),
        ("no/x", "--journal no/x: the directory no does not exist: create it"),
    ],
)
def test_apply_uses_no_journal_that_is_not_its_own(
    cli: Cli, served: Emulator, folder: Path, journal: str, message: str
) -> None:
    before = contents(folder)
    command = ("apply", "fleet.toml", "--accounts", "accounts.csv", "--yes", "--journal", journal)
    done = cli(*command)
    assert done.status in (1, 2)
    assert message in done.err
    assert contents(folder) == before
    assert not served.log.matching("*")


def test_a_complete_inventory_says_so_and_its_files_are_private(cli: Cli, folder: Path) -> None:
    command = ("inventory", "--accounts", "accounts.csv", "--to", "x.csv", "--resume")
    assert cli(*command).status == 0
    again = cli(*command)
    assert again.status == 1
    assert again.err.startswith("error: x.csv was completed at 20")
    assert again.err.endswith("hint: Use --overwrite to start over.\n")
    for name in ("x.csv", "x.csv.journal"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    assert not [name for name in contents(folder) if name.startswith(".")]


def test_the_emulator_starts_on_no_database_of_another_program(cli: Cli, folder: Path) -> None:
    before = contents(folder)
    done = cli("emulator", "--db", "crm.db")
    assert (done.status, done.out) == (1, "")
    assert done.err == (
        "error: the emulator cannot start: crm.db is not a state file of the emulator; it was left "
        "unchanged: pass another path\n"
    )
    assert contents(folder) == before


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "db"])
def test_a_file_that_may_not_grow_ends_in_counts_and_goes_on_later(
    folder: Path, suffix: str
) -> None:
    command = [*PROGRAM, "inventory", "--accounts", "accounts.csv", "--to", f"x.{suffix}"]

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (45_000, 45_000))

    first = subprocess.run(
        [*command, "--concurrency", "2"],
        capture_output=True,
        text=True,
        check=False,
        # Its own files may not grow either.
        env={name: value for name, value in os.environ.items() if "COVERAGE" not in name},
        preexec_fn=limited,
    )
    assert first.returncode == 3
    assert "accounts with " in first.stderr
    assert " records are saved: free some disk space or repair the disk\n" in first.stderr
    assert first.stderr.endswith("hint: Then use --resume to continue.\n")
    assert "Traceback" not in first.stderr
    second = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr
    found = [record["sid"] for record in read(Path(f"x.{suffix}"))]
    assert len(found) == len(set(found)) == 2 * ACCOUNTS
