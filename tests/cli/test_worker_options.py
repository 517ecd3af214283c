"""The options of jobs that use several processes."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.command_line import SID, Cli
from support.fleet import WITH_VARIABLE

from marketplace_async.emulator import Emulator


def test_apply_uses_several_processes(
    cli: Cli, served: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_API_TOKEN", "never-shown-either")
    served.add_subaccounts(SID, 5)
    file = tmp_path / "fleet.toml"
    file.write_text(WITH_VARIABLE)
    options = ("--subaccounts", "--processes", "2", "--requests-per-second", "500")
    assert cli("plan", str(tmp_path / "missing.toml"), *options).status != 0
    # The plan key is in a file beside the profiles, which the processes read themselves.
    saved = tmp_path / "plan.jsonl"
    planned = cli("plan", str(file), "--out", str(saved), *options)
    assert planned.status == 0, planned.err
    done = cli("apply", "--plan", str(saved), "--yes", *options)
    assert done.status == 0, done.err
    assert "6 steps done on 6 accounts" in done.err
    assert "process 1: " in done.err
    assert "never-shown-either" not in planned.out + planned.err + done.out + done.err
    inventory = cli("inventory", "--subaccounts", "-o", "jsonl")
    assert len([json.loads(line) for line in inventory.out.splitlines()]) == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--processes", "0"), "--processes: must be at least 1, got 0"),
        (
            ("--processes", "2", "--executor", "dask://127.0.0.1:8786"),
            "--processes cannot be combined with --executor",
        ),
        (("--executor", "celery://x"), "--executor: expected dask://HOST:PORT or tls://HOST:PORT"),
        pytest.param(
            *(("--executor", "dask://192.0.2.1:8786"), "dask://192.0.2.1:8786 is on another mach"),
            marks=pytest.mark.skipif(find_spec("distributed") is None, reason="no Dask"),
        ),
        (("--requests-per-second", "0"), "--requests-per-second: must be more than 0, got 0"),
        (
            ("--processes", "2", "--concurrency", "1"),
            "concurrency: must be at least 2 with workers in other processes",
        ),
    ],
)
def test_bad_options_are_errors(cli: Cli, options: tuple[str, ...], message: str) -> None:
    done = cli("inventory", "--subaccounts", *options)
    assert done.status != 0
    assert message in done.err
