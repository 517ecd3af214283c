"""Standard output and standard error: any encoding, and closed, full or broken ones."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from support.command_line import SECRET, SID
from support.shops import Shops
from support.terminal import PROGRAM

from marketplace_async.emulator import Emulator

SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
NAME = "naïve-名"
DESIRED = f"""
[[add_ons]]
unique_name = "{NAME}"
available_add_on_sid = "{SPAM_SCORE}"
accept_terms_of_service = true
accounts = "all"
"""
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
LATIN_1 = {"PYTHONIOENCODING": "latin-1"}


@pytest.fixture
def env(served: Emulator, tmp_path: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if "TWILIO_" not in name}
    (tmp_path / "fleet.toml").write_text(DESIRED, encoding="utf-8")
    return {
        **inherited,
        "MARKETPLACE_BASE_URL": served.url,
        "MARKETPLACE_PROFILES": str(tmp_path / "profiles.toml"),
        "TWILIO_ACCOUNT_SID": SID,
        "TWILIO_AUTH_TOKEN": SECRET,
        "COLUMNS": "80",
    }


def shell(
    script: str, *words: str, env: dict[str, str], folder: Path
) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        ["bash", "-c", script, "-", *PROGRAM, *words],
        env=env,
        cwd=folder,
        capture_output=True,
        timeout=60,
        check=False,
    )


# -- encodings


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [(ASCII, rb"na\xefve-\u540d"), (LATIN_1, "naïve-".encode("latin-1") + rb"\u540d")],
    ids=["ASCII", "Latin-1"],
)
def test_every_table_is_escaped_where_the_encoding_lacks_a_character(
    env: dict[str, str], tmp_path: Path, encoding: dict[str, str], shown: bytes
) -> None:
    table = ("--subaccounts", "-o", "table")
    for words in (
        ["plan", "fleet.toml", *table, "--verbose"],
        ["apply", "fleet.toml", *table, "--yes"],
        ["installed", "list", "-o", "table"],
    ):
        done = shell('"$@"', *words, env={**env, **encoding}, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        assert shown in done.stdout, words
    listed = shell('"$@"', "installed", "list", env={**env, **encoding}, folder=tmp_path)
    assert json.loads(listed.stdout)["unique_name"] == NAME


@pytest.mark.parametrize("words", [["apply", "--help-all"], ["help", "output"]])
def test_help_is_drawn_in_ascii_where_it_must_be(
    env: dict[str, str], tmp_path: Path, words: list[str]
) -> None:
    done = shell('"$@"', *words, env={**env, **ASCII}, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()
    assert rb"\u" not in done.stdout
    assert b"+-" in done.stdout


# -- closed, full and broken streams


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["demo"],
        ["available", "list", "-o", "table"],
        ["plan", "fleet.toml", "--subaccounts", "-o", "table"],
        ["plan", "fleet.toml", "--subaccounts", "-o", "table", "--verbose"],
    ],
    ids=" ".join,
)
def test_a_closed_output_pipe_ends_every_command_silently(
    env: dict[str, str], tmp_path: Path, words: list[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer) as pipe:
        done = subprocess.run(
            [*PROGRAM, *words],
            env=env,
            cwd=tmp_path,
            stdout=pipe,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (-13, b"")


PLAN = ["plan", "fleet.toml", "--subaccounts", "--detailed-exitcode"]


@pytest.mark.parametrize(
    ("redirection", "words", "status"),
    [
        ("2>&-", ["available", "list", "--limit", "1"], 0),
        ("2>&-", PLAN, 5),
        ("2>&-", ["available", "get"], 2),
        ("2>/dev/full", PLAN, 5),
        ("2>/dev/full", ["installed", "fetch", "XE" + "1" * 32], 1),
        ("2> >(true)", PLAN, 5),
    ],
)
def test_without_standard_error_commands_do_their_work(
    env: dict[str, str], tmp_path: Path, redirection: str, words: list[str], status: int
) -> None:
    if "full" in redirection and not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    done = shell(f'"$@" {redirection}', *words, env=env, folder=tmp_path)
    assert done.returncode == status
    assert bool(done.stdout) == (status in (0, 5))
    assert done.stderr == b""


def test_a_plan_that_is_not_shown_whole_is_not_applied(shops: Shops) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = ["apply", "fleet.toml", "--subaccounts", "--yes", "-o", "table"]
    with os.fdopen(writer) as pipe:
        done = subprocess.run(
            [*PROGRAM, *command],
            env=shops.env,
            cwd=shops.desired.parent,
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (-13, "")
    assert not shops.creates()


def test_a_terminal_that_is_gone_does_not_end_a_job(slow_shops: Shops) -> None:
    """The terminal takes nothing more after it has shown the progress bar."""
    controller, terminal = os.openpty()
    folder = slow_shops.desired.parent
    with subprocess.Popen(
        [*PROGRAM, "inventory", "--subaccounts", "--to", "inventory.jsonl", "--concurrency", "1"],
        env={**slow_shops.env, "TERM": "xterm"},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=terminal,
    ) as process:
        os.close(terminal)
        shown = b""
        while b"accounts" not in shown:
            shown += os.read(controller, 65536)
        assert process.poll() is None
        os.close(controller)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert len((folder / "inventory.jsonl").read_text().splitlines()) == 60
