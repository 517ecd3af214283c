"""A job on the command line ends with the same report and the right status, whatever ends it."""

import asyncio
import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.every_error import every_class, every_error
from support.fleet import SPAM_SCORE
from support.outputs import read
from support.shops import Shops
from support.terminal import PROGRAM, on_a_terminal

from marketplace_async import MarketplaceError, Request, Response, fleet
from marketplace_async.cli import progress
from marketplace_async.cli.explanations import explain
from marketplace_async.emulator import Fault

STATUSES = {
    "AmbiguousOutcomeError": 4,
    "ConfigurationError": 2,
    "CredentialsError": 2,
    "DesiredStateError": 2,
    "MissingExtraError": 2,
    "UnusableResponseError": 4,
}


def of_every_class() -> list[MarketplaceError]:
    request = Request("POST", "/v1/InstalledAddOns")
    return every_error(request, Response(500, {}, b"{}", 0.0), "text")


@pytest.mark.parametrize("error", of_every_class(), ids=lambda error: type(error).__name__)
def test_each_error_class_has_one_exit_status(error: MarketplaceError) -> None:
    assert explain(error).status == STATUSES.get(type(error).__name__, 1)


def test_no_error_class_was_left_out() -> None:
    assert {type(error) for error in of_every_class()} >= {
        cls for cls in every_class() if not cls.__subclasses__()
    }


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("x"), 2),
        (FileNotFoundError(2, "No such file or directory", "fleet.toml"), 2),
        (NotADirectoryError(20, "Not a directory", "fleet.toml"), 2),
        (OSError(28, "No space left on device", "x.jsonl"), 1),
        (PermissionError(13, "Permission denied", "x.jsonl"), 1),
    ],
)
def test_other_errors_have_a_status_as_well(error: Any, status: int) -> None:
    assert explain(error).status == status


def start(shops: Shops, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*PROGRAM, *arguments],
        env=shops.env,
        cwd=shops.desired.parent,
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


def wait_for(shops: Shops, method: str, path: str, count: int) -> None:
    deadline = time.monotonic() + 30
    while len(shops.emulator.log.matching(method, path)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_until_injected(fault: Fault) -> None:
    deadline = time.monotonic() + 30
    while not fault.hits:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_an_apply_with_a_report(slow_shops: Shops, number: int) -> None:
    shops = slow_shops
    process = start(
        shops, "apply", "fleet.toml", "--subaccounts", "--yes", "-o", "json", "--concurrency", "4"
    )
    wait_for(shops, "POST", "/v1/InstalledAddOns", 6)
    process.send_signal(number)
    out, errors = process.communicate(timeout=30)
    assert process.returncode == -number
    assert "Traceback" not in errors
    assert "not begun" in errors
    report = json.loads(out)
    counts = report["counts"]
    assert not report["complete"]
    assert counts["accounts"] == 61
    assert counts["accounts"] == sum(
        counts[name] for name in ("done", "skipped", "failed", "unknown", "not_begun")
    )
    assert counts["done"] > 0
    assert counts["unknown"] == 0


def test_a_second_signal_ends_an_apply_at_once_and_says_what_is_unknown(
    slow_shops: Shops,
) -> None:
    shops = slow_shops
    stuck = shops.emulator.faults.add("POST", "/v1/InstalledAddOns", delay=3600, times=None)
    process = start(shops, "apply", "fleet.toml", "--subaccounts", "--yes", "-o", "json")
    wait_until_injected(stuck)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    counts = json.loads(out)["counts"]
    assert counts["unknown"] > 0
    assert counts["accounts"] == 61
    assert "unknown" in errors
    shops.emulator.faults.clear()
    again = shops.run("apply", "fleet.toml", "--subaccounts", "--yes", "-o", "json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["counts"]["done"] == 61


def test_a_list_of_accounts_that_fails_is_one_message(shops: Shops) -> None:
    shops.emulator.faults.add("GET", "/2010-04-01/Accounts.json", status=401, times=None)
    done = shops.run("inventory", "--subaccounts")
    assert done.returncode == 1
    assert done.stderr.startswith("error: 401 20003: ")


@pytest.mark.parametrize("format", ["json", "jsonl"])
def test_all_failures_are_in_json(shops: Shops, format: str) -> None:
    shops.emulator.faults.add("GET", "/v1/InstalledAddOns", status=403, times=12)
    options = ("--subaccounts", "-o", format)
    for command in (("inventory",), ("plan", "fleet.toml")):
        shops.emulator.faults.clear()
        shops.emulator.faults.add("GET", "/v1/InstalledAddOns", status=403, times=12)
        done = shops.run(*command, *options)
        assert done.returncode == 3
        if format == "jsonl":
            records = [json.loads(line) for line in done.stdout.splitlines()]
        else:
            records = json.loads(done.stdout)
            records = records["failures"] if command[0] == "plan" else records
        failed = [one for one in records if one.get("error") == "PermissionDeniedError"]
        assert len(failed) == 12
        assert all(one["message"].startswith("403") for one in failed)


def test_a_failure_outranks_changes_and_both_are_reported(shops: Shops) -> None:
    shops.emulator.faults.add("GET", "/v1/InstalledAddOns", status=403, times=1)
    plan = shops.run("plan", "fleet.toml", "--subaccounts", "--detailed-exitcode", "-o", "json")
    assert plan.returncode == 3
    report = json.loads(plan.stdout)
    assert (report["to_change"], report["counts"]["failed"]) == (60, 1)
    assert "steps to do on 60 of 61 accounts" in plan.stderr
    assert "1 of 61 accounts could not be planned" in plan.stderr


def test_nothing_is_said_of_accounts_that_were_not_read(shops: Shops) -> None:
    shops.desired.write_text(
        f'[[add_ons]]\nunique_name = "x"\nstate = "absent"\navailable_add_on_sid = "{SPAM_SCORE}"\n'
        'accounts = "all"\n'
    )
    shops.emulator.faults.add("GET", "/v1/InstalledAddOns", status=403, times=14)
    plan = shops.run("plan", "fleet.toml", "--subaccounts")
    assert plan.returncode == 3
    assert "nothing to do on 47 accounts" in plan.stderr
    assert "14 of 61 accounts could not be planned" in plan.stderr


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_closed_stream_does_not_change_what_an_apply_does(shops: Shops, stream: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        process = start(
            shops, "apply", "fleet.toml", "--subaccounts", "--yes", "-o", "json", **{stream: writer}
        )
    finally:
        os.close(writer)
    process.communicate(timeout=60)
    assert process.returncode in ((0,) if stream == "stderr" else (-signal.SIGPIPE,))
    assert shops.installed()["transcription"] == 60


@pytest.mark.parametrize(
    "options",
    [("--concurrency", "0"), ("--account-timeout", "0"), ("--account-timeout", "-1")],
)
def test_options_are_checked_before_any_account(shops: Shops, options: tuple[str, ...]) -> None:
    for command in (["inventory"], ["plan", "fleet.toml"], ["apply", "fleet.toml", "--yes"]):
        done = shops.run(*command, "--subaccounts", *options)
        assert done.returncode == 2
        assert options[0] in done.stderr
    assert not shops.emulator.log.matching("*")


def test_a_slow_account_fails_and_the_others_are_exported(shops: Shops) -> None:
    shops.emulator.faults.add("GET", "/v1/InstalledAddOns", delay=3600)
    done = shops.run("inventory", "--subaccounts", "--to", "x.jsonl", "--account-timeout", "2")
    assert done.returncode == 3
    assert "not finished within 2 seconds" in done.stderr
    assert len(read(shops.desired.parent / "x.jsonl")) in (59, 60)  # the parent has none


async def test_without_a_terminal_a_long_job_writes_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_LINE_INTERVAL", 0.05)
    with progress.Bar() as bar:
        bar.phase("inventory")
        bar.started(None)
        bar.started(100)
        bar.advanced(25)
        bar.failed(None, ValueError("x"))
        await asyncio.sleep(0.2)
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 5
    assert lines[0].startswith("note: inventory: 25/100 accounts · 0 Add-ons · ")
    assert "1 failed" in lines[0]
    assert "left" in lines[0]


async def test_a_job_that_waits_for_the_workers_of_an_interrupted_run_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress.Bar() as bar:
        bar.waiting(38.2)
        await asyncio.sleep(0.2)
    printed = " ".join(capsys.readouterr().err.split())  # the width of a line varies
    assert printed == (
        "note: waiting 39 s until the workers of the interrupted run can no longer write"
    )


def test_a_plan_is_shown_where_it_is_approved(shops: Shops) -> None:
    command = f"{' '.join(PROGRAM)} apply {shops.desired} --subaccounts > {shops.desired}.log"
    declined = on_a_terminal(["bash", "-c", command], env=shops.env, typed={"[y/N] ": "n\n"})
    assert "- remove voicebase_transcription on 49 accounts" in declined.screen
    assert "Apply this to 61 accounts? [y/N] n" in declined.screen
    assert shops.installed() == {"voicebase_transcription": 60}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_job_that_has_not_begun(shops: Shops, number: int) -> None:
    stuck = shops.emulator.faults.add("GET", "/v1/AvailableAddOns/*", delay=3600, times=None)
    process = start(shops, "plan", "fleet.toml", "--subaccounts")
    wait_until_injected(stuck)
    process.send_signal(number)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == -number
    assert "interrupted" in errors


def test_a_full_standard_output_does_not_hide_the_report_of_an_apply(shops: Shops) -> None:
    shops.emulator.faults.add("POST", "/v1/InstalledAddOns", status=403, times=1)
    with Path("/dev/full").open("w") as full:
        process = start(shops, "apply", "fleet.toml", "--subaccounts", "--yes", stdout=full)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "of 61 accounts failed" in errors


def test_a_pipe_as_desired_state_needs_the_path_of_a_journal(shops: Shops) -> None:
    command = f"{' '.join(PROGRAM)} apply <(cat {shops.desired}) --subaccounts --yes"
    done = subprocess.run(
        ["bash", "-c", command], env=shops.env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "is not a regular file: pass --journal FILE" in done.stderr


def test_processes_that_create_the_key_of_plans_at_once_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(12) as pool:
        keys = [pool.submit(fleet.PlanKey.from_file, tmp_path / "plan.key") for _ in range(48)]
    assert len({key.result().digest(b"x") for key in keys}) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["plan.key"]
