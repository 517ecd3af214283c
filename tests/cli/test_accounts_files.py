"""Accounts files on the command line: `accounts check`, standard input, and bad rows of jobs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.command_line import SECRET, SID, Cli

from marketplace_async.emulator import Emulator
from marketplace_async.testing import account

CAFE, SHOP = account(2).account_sid, account(3).account_sid
ROWS = (
    "Account SID;Auth Token;Friendly Name;Status\r\n"
    f"{SID};{SECRET};Shop;Active\r\n"
    f"{SID};{SECRET};Shop;Active\r\n"
    f"{CAFE};{SECRET};Café;closed\r\n"
    f"{SHOP};;;\r\n"
    ";;;\r\n"
    f"nonsense;{SECRET};;\r\n"
)
PROBLEMS: list[dict[str, Any]] = [
    {"line": 3, "account_sid": None, "problem": f"{SID} is already on line 2"},
    {
        "line": 5,
        "account_sid": SHOP,
        "problem": "expected auth_token, or api_key and api_secret",
    },
    {
        "line": 7,
        "account_sid": None,
        "problem": "account_sid: expected the SID of an account (AC and 32 hex digits), got 8 "
        "characters",
    },
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "accounts.csv"
    file.touch(mode=0o600)
    file.write_text("\ufeff" + ROWS)
    return file


@pytest.fixture(params=["run", "sh"])
def piped(request: pytest.FixtureRequest, served: Emulator) -> Any:
    """A function that runs a command whose standard input is ROWS, or whose argument is a pipe."""
    environ = {**os.environ, "MARKETPLACE_BASE_URL": served.url, "COLUMNS": "200"}
    module = [sys.executable, "-m", "marketplace_async"]

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        if request.param == "run":
            command = [*module, *arguments]
        else:
            words = " ".join("<(cat)" if word == "-" else word for word in arguments)
            command = ["bash", "-c", f'exec "$@" {words} <&0', "bash", *module]
        return subprocess.run(
            command, input=ROWS, capture_output=True, text=True, timeout=60, env=environ
        )

    return run


def test_every_bad_row_is_shown_at_once(cli: Cli, file: Path) -> None:
    checked = cli("accounts", "check", str(file), "--output", "json")
    assert checked.status == 3
    assert checked.json == PROBLEMS
    assert checked.err == (
        f"note: usable rows in {file}: 1 active, 1 closed\nerror: 3 of 5 rows cannot be used\n"
    )
    table = cli("accounts", "check", str(file), "--output", "table").out.splitlines()
    assert table[0].split() == ["line", "account_sid", "problem"]
    assert len(table) == 4


def test_a_good_file_passes(cli: Cli, file: Path) -> None:
    file.write_text(f"account_sid,auth_token\n{SID},{SECRET}\n")
    checked = cli("accounts", "check", str(file))
    assert (checked.status, checked.out) == (0, "")
    assert checked.err == f"note: usable rows in {file}: 1 active\n"


@pytest.mark.parametrize(
    ("content", "arguments", "status", "message"),
    [
        ("account_sid,auth_token\nx,y\n", [], 1, "1 of 1 rows cannot be used"),
        (f"{SID},{SECRET}\n", [], 2, "line 1: the header is missing"),
        ("account_sid,auth_token\n", ["--accounts-format", "jsonl"], 1, "1 of 1 rows"),
        ("account_sid,auth_token\n", ["--accounts-format", "xlsx"], 2, "--accounts-format"),
    ],
)
def test_the_status_tells_whether_all_some_or_no_rows_can_be_used(
    cli: Cli, file: Path, content: str, arguments: list[str], status: int, message: str
) -> None:
    file.write_text(content)
    checked = cli("accounts", "check", str(file), *arguments)
    assert checked.status == status
    assert message in checked.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["accounts", "check", "--nonsense"], "Expected a file, or - for standard input, got '--n"),
        (["inventory", "--accounts", "--extensions"], "Expected a file, or - for standard"),
        (["inventory", "--subaccounts", "--accounts-format", "csv"], "requires --accounts FILE"),
        (["accounts", "check", "missing.csv"], "missing.csv: No such file or directory"),
    ],
)
def test_wrong_arguments_are_a_usage_error(cli: Cli, arguments: list[str], message: str) -> None:
    finished = cli(*arguments)
    assert finished.status == 2
    assert message in finished.err


def test_the_output_of_accounts_list_with_tokens_is_an_accounts_file(
    cli: Cli, served: Emulator, tmp_path: Path
) -> None:
    tokens = dict(served.add_subaccounts(SID, 2, friendly_name="Shop, {number}"))
    served.add_subaccounts(SID, 1, status="suspended")
    for format in ("csv", "jsonl"):
        listed = cli("accounts", "list", "--output", format).out
        file = tmp_path / f"accounts.{format}"
        file.touch(mode=0o600)
        lines: list[str] = []
        for line in listed.splitlines():
            token = next((tokens[sid] for sid in tokens if sid in line), "made-up")
            if format == "csv":
                lines.append(line + ("," + token if lines else ",auth_token"))
            else:
                lines.append(json.dumps({**json.loads(line), "auth_token": token}))
        file.write_text("\n".join(lines))
        checked = cli("accounts", "check", str(file))
        assert checked.err == f"note: usable rows in {file}: 3 active, 1 suspended\n"
        inventory = cli("inventory", "--accounts", str(file), "--output", "jsonl")
        assert (inventory.status, inventory.err) == (
            0,
            "note: 0 installed Add-ons of 3 accounts (left out: 1 suspended)\n",
        )
        requests = [entry for entry in served.log if "InstalledAddOns" in entry.path]
        assert len({entry.account_sid for entry in requests}) == 3


def test_a_job_reports_bad_rows_as_failures_and_does_the_rest(cli: Cli, file: Path) -> None:
    finished = cli("inventory", "--accounts", str(file), "--output", "jsonl")
    assert finished.status == 3
    lines = finished.err.splitlines()
    assert "error: 3 of 4 accounts failed" in lines
    assert f"  line 3 (Shop): {SID} is already on line 2" in lines
    assert f"  {SHOP}: line 5: expected auth_token, or api_key and api_secret" in lines


@pytest.mark.skipif(os.name != "posix", reason="POSIX only")
def test_secrets_need_not_touch_a_disk(piped: Any) -> None:
    checked = piped("accounts", "check", "-", "--output", "json")
    assert checked.returncode == 3
    assert json.loads(checked.stdout) == PROBLEMS
    # Accounts are listed twice: to be counted, and to be processed.
    done = piped("inventory", "--accounts", "-", "--accounts-format", "csv")
    assert done.returncode == 3
    assert "error: 3 of 4 accounts failed" in done.stderr
    assert SECRET not in checked.stdout + checked.stderr + done.stdout + done.stderr


@pytest.mark.skipif(os.name != "posix", reason="POSIX only")
def test_a_plan_is_applied_to_accounts_from_a_pipe(piped: Any, tmp_path: Path) -> None:
    desired = tmp_path / "fleet.toml"
    desired.write_text(
        '[[add_ons]]\nunique_name = "spam"\naccounts = "all"\naccept_terms_of_service = true\n'
        'available_add_on_sid = "XB06d5274893cc9af4198667d2f7d74d09"\n'
    )
    done = piped("apply", str(desired), "--accounts", "-", "--yes", "--output", "table")
    assert re.search(
        "^note: 1 steps? done on 1 account .left out: 1 closed.$", done.stderr, re.MULTILINE
    )
    assert done.returncode == 3
