"""The commands for many accounts: output, exit status, Ctrl-C, and `kill -9` at any moment."""

import json
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from support.command_line import Cli
from support.fleet import PARENT, SPAM_SCORE, TRANSCRIPTION
from support.outputs import read
from support.shops import DESIRED, SHOPS, TOKEN, Shops
from support.terminal import PROGRAM, on_a_terminal

from marketplace_async.emulator import Emulator
from marketplace_async.testing import account

TO_DO = "note: 231 steps to do on 61 of 61 accounts: 49 to remove, 121 to install, 61 to enable\n"
DONE = {"spam-score": SHOPS + 1, "transcription": SHOPS, "voicebase_transcription": 11}


# -- output and exit status


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".db"])
def test_an_inventory_is_written_in_every_file_format(shops: Shops, suffix: str) -> None:
    file = shops.desired.parent / f"inventory{suffix}"
    done = shops.run("inventory", "--subaccounts", "--extensions", "--to", file.name)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"note: 60 installed Add-ons of 61 accounts in inventory{suffix}\n"
    assert {record["account_sid"] for record in read(file)} == set(shops.sids) - {PARENT}
    again = shops.run("inventory", "--subaccounts", "--to", file.name)
    assert again.returncode == 1
    assert again.stderr.startswith(f"error: inventory{suffix} already exists")


def test_inventories_and_plans_are_written_as_pages(shops: Shops) -> None:
    done = shops.run("inventory", "--subaccounts", "--to", "fleet.html")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "note: 60 installed Add-ons of 61 accounts in fleet.html\n"
    plan = ("plan", "fleet.toml", "--subaccounts", "--html", "plan.html")
    assert shops.run(*plan).returncode == 0
    for name in ("fleet.html", "plan.html"):
        page = (shops.desired.parent / name).read_text()
        assert page.startswith("<!doctype html>")
        assert all(sid in page for sid in shops.sids)
        assert TOKEN not in page
    assert "plan.html already exists" in shops.run(*plan).stderr
    assert shops.run(*plan, "--overwrite").returncode == 0


def test_an_inventory_is_printed_in_every_format(shops: Shops) -> None:
    for format, begins in (("jsonl", '{"account_sid"'), ("csv", "account_sid,"), ("json", "[\n")):
        shown = shops.run("inventory", "--subaccounts", "--output", format)
        assert shown.returncode == 0
        assert shown.stdout.startswith(begins)
    assert len(json.loads(shops.run("inventory", "--subaccounts", "-o", "json").stdout)) == 60
    masked = shops.run("inventory", "--subaccounts", "--secret", "callback_url")
    assert masked.stdout.count('"configuration":{"callback_url":"***"}') == 60
    table = on_a_terminal([*PROGRAM, "inventory", "--subaccounts"], env=shops.env, columns=140)
    assert table.screen.count("Shop ") == 60


def test_apply_makes_the_changes_of_the_plan(shops: Shops) -> None:
    plan = shops.run("plan", "fleet.toml", "--subaccounts", "--output", "table")
    assert plan.returncode == 0
    changes = shops.run("plan", "fleet.toml", "--subaccounts", "--detailed-exitcode")
    assert changes.returncode == 5
    assert (
        plan.stdout.split("\n    AC")[0]
        == f"""\
+ install spam-score ({SPAM_SCORE}) on all 61 accounts
+ enable voice-incoming of spam-score on all 61 accounts
+ install transcription ({TRANSCRIPTION}) on 60 accounts
    + api_token = ***
    + callback_method = "POST"   on 49
    + callback_method = "GET"   on 11
- remove voicebase_transcription on 49 accounts"""
    )
    steps, _, offers = plan.stdout.partition("Prices and terms that the installations accept:\n")
    assert steps.endswith("    ... and 46 more\n")
    assert offers.splitlines() == [
        f"    spam-score ({SPAM_SCORE}) on 61 accounts",
        "        price: per request",
        "        terms: not stated by the service",
        f"    transcription ({TRANSCRIPTION}) on 60 accounts",
        "        price: per minute",
        "        terms: not stated by the service",
    ]
    assert plan.stderr == TO_DO

    unconfirmed = shops.run("apply", "fleet.toml", "--subaccounts")
    assert (unconfirmed.returncode, unconfirmed.stdout) == (2, "")
    assert unconfirmed.stderr == (
        "error: refusing to apply changes without confirmation: pass --yes\n"
    )
    applied = shops.run("apply", "fleet.toml", "--subaccounts", "--yes", "--output", "table")
    assert applied.returncode == 0
    assert applied.stdout == plan.stdout
    assert "231 steps done on 61 accounts" in applied.stderr
    assert shops.installed() == DONE

    plan = shops.run("plan", "fleet.toml", "--subaccounts", "--detailed-exitcode")
    assert (plan.returncode, plan.stdout) == (0, "")
    assert plan.stderr == "note: nothing to do on 61 accounts\n"
    applied = shops.run("apply", "fleet.toml", "--subaccounts", "--yes", "-o", "json")
    assert applied.returncode == 0
    assert json.loads(applied.stdout)["changed"] == 0
    for file in shops.desired.parent.iterdir():
        assert TOKEN.encode() not in file.read_bytes()


def test_a_plan_lists_the_steps_of_each_account(shops: Shops) -> None:
    plans = shops.run("plan", "fleet.toml", "--subaccounts")
    assert plans.returncode == 0
    lines = [json.loads(line) for line in plans.stdout.splitlines()]
    assert len(lines) == 61
    assert {plan["account_sid"] for plan in lines} == set(shops.sids)
    assert TOKEN not in plans.stdout
    verbose = shops.run("plan", "fleet.toml", "--subaccounts", "--verbose", "-o", "table")
    for sid in shops.sids:
        assert [line.split(" (")[0] for line in verbose.stdout.splitlines()].count(sid) == 1
    assert verbose.stdout.count("    + enable voice-incoming of spam-score\n") == 61
    figures = json.loads(shops.run("plan", "fleet.toml", "--subaccounts", "-o", "json").stdout)
    assert (figures["steps"], figures["to_change"], len(figures["groups"])) == (231, 61, 4)


def test_apply_shows_the_plan_and_asks_for_confirmation(shops: Shops) -> None:
    command = [*PROGRAM, "apply", str(shops.desired), "--subaccounts"]
    declined = on_a_terminal(command, env=shops.env, typed={"[y/N] ": "n\n"})
    assert "- remove voicebase_transcription on 49 accounts" in declined.screen
    assert (
        "Apply this to 61 accounts? [y/N] n\nerror: cancelled; nothing was changed\n"
        in declined.screen
    )
    assert declined.status == 1
    assert shops.installed() == {"voicebase_transcription": 60}
    interrupted = on_a_terminal(command, env=shops.env, typed={"[y/N] ": "\x03"})
    assert interrupted.status == -signal.SIGINT
    assert "Traceback" not in interrupted.screen
    done = on_a_terminal(command, env=shops.env, typed={"[y/N] ": "y\n"})
    assert done.status == 0
    assert "231 steps done on 61 accounts" in done.screen
    assert shops.installed() == DONE


def test_the_schema_is_printed(cli: Cli) -> None:
    shown = cli("schema")
    assert shown.status == 0
    assert shown.json["title"] == "The desired state of marketplace_async"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inventory"], "no accounts selected: pass either --subaccounts or --accounts FILE"),
        (["inventory", "--subaccounts", "--accounts", "x.csv"], "no accounts selected"),
        (["inventory", "--subaccounts", "--resume"], "--resume and --overwrite require --to FILE"),
        (
            ["inventory", "--subaccounts", "--to", "x.csv", "-o", "json"],
            "--output cannot be combined with --to",
        ),
        (["inventory", "--subaccounts", "--to", "x.xlsx"], "to: expected a file that ends in"),
        (
            ["inventory", "--subaccounts", "--concurrency", "0"],
            "--concurrency: must be at least 1, got 0",
        ),
        (["plan", "--subaccounts"], "DESIRED"),
        (
            ["plan", "fleet.toml", "--subaccounts", "--html", "x.htm"],
            "--html: expected a file that ends in .html, got 'x.htm'",
        ),
        (
            ["plan", "fleet.toml", "--subaccounts", "--html", "x.html", "--to", "x.jsonl"],
            "--html cannot be combined with --to",
        ),
        (["plan", "nowhere.toml", "--subaccounts"], "nowhere.toml"),
        (["plan", "wrong.toml", "--subaccounts"], "line 1: add_ons[0]: unique_name is missing"),
        (["plan", "torn.toml", "--subaccounts"], "torn.toml: not TOML: "),
        (["plan", "wrong.toml", "--subaccounts", "-o", "csv"], "plan supports table, json"),
        (["plan", "wrong.toml", "--subaccounts", "--resume"], "require --to FILE"),
        (
            ["apply", "wrong.toml", "--subaccounts", "-y", "-o", "csv"],
            "apply supports table, json or jsonl",
        ),
    ],
)
def test_invalid_options_are_rejected_before_any_request(
    cli: Cli,
    served: Emulator,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wrong.toml").write_text("[[add_ons]]\n")
    Path("torn.toml").write_text("[[add_ons]\n")
    finished = cli(*arguments)
    assert finished.status in (1, 2)
    assert message in finished.err
    assert finished.out == ""
    assert not served.log.matching("*")


def test_an_accounts_file_needs_no_other_credentials(
    shops: Shops, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = shops.desired.parent / "accounts.csv"
    accounts.write_text(
        "account_sid,auth_token,friendly_name\n"
        + "".join(f"{account(number).account_sid},made-up,Shop {number}\n" for number in (5, 6))
    )
    accounts.chmod(0o600)
    for name in ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"):
        del shops.env[name]
    applied = shops.run("apply", "fleet.toml", "--accounts", "accounts.csv", "--yes")
    assert applied.returncode == 0, applied.stderr
    assert json.loads(applied.stdout)["changed"] == 2
    accounts.chmod(0o644)
    rejected = shops.run("inventory", "--accounts", "accounts.csv")
    assert rejected.returncode == 2
    assert "chmod 600" in rejected.stderr


def test_failed_accounts_are_listed_and_the_status_is_3(shops: Shops) -> None:
    shops.emulator.faults.add("GET", "/v1/InstalledAddOns", status=403, times=7)
    done = shops.run("inventory", "--subaccounts", "--to", "x.jsonl")
    assert done.returncode == 3
    lines = done.stderr.splitlines()
    assert lines[0] == "note: 53 installed Add-ons of 61 accounts in x.jsonl" or "54" in lines[0]
    assert lines[1] == "error: 7 of 61 accounts failed"
    assert "403" in lines[2]
    assert lines[7] == "  ... and 2 more, listed in x.jsonl.failures.jsonl"
    assert lines[8] == "hint: Use --resume to retry them."
    done = shops.run("inventory", "--subaccounts", "--to", "x.jsonl", "--resume")
    assert (done.returncode, done.stderr) == (
        0,
        "note: 60 installed Add-ons of 61 accounts in x.jsonl\n",
    )


def test_failed_steps_are_reported_and_done_by_the_next_run(shops: Shops) -> None:
    shops.emulator.faults.add("POST", "/v1/InstalledAddOns", status=403, times=2)
    command = ("apply", "fleet.toml", "--subaccounts", "--yes", "--output", "table")
    partly = shops.run(*command)
    assert partly.returncode == 3
    assert "of 61 accounts failed\n  AC" in partly.stderr
    assert "install/" in partly.stderr
    assert (
        "fleet.journal.failures.jsonl. Run apply again to finish the remaining steps.\n"
        in partly.stderr
    )
    assert shops.run(*command).returncode == 0
    assert shops.installed() == DONE


def test_a_plan_reports_conflicts_and_unmatched_selections(shops: Shops) -> None:
    shops.emulator.install(shops.sids[1], SPAM_SCORE)
    text = DESIRED.replace('"spam-score"', '"nomorobo_spamscore"', 1).replace(
        SPAM_SCORE, "XBac2c99d9c684a765ced0b18cf0e5e1c7", 1
    )
    shops.desired.write_text(text.replace('["Shop *"]', '["Store *"]'))
    plan = shops.run("plan", "fleet.toml", "--subaccounts", "--output", "table")
    assert plan.returncode == 3
    assert 'warning: add_ons[1] ("transcription") matches no account\n' in plan.stderr
    assert (
        f"error: 1 of 61 accounts could not be planned\n  {shops.sids[1]} (Shop 1): " in plan.stderr
    )
    assert "a different Add-on uses the unique name nomorobo_spamscore" in plan.stderr
    applied = shops.run("apply", "fleet.toml", "--subaccounts", "--yes", "--output", "table")
    # Warnings precede the summary and the prompt.
    warning, summary = (applied.stderr.find(part) for part in ("matches no account", " to do on "))
    assert 0 <= warning < summary


def test_an_invalid_desired_state_is_explained_line_by_line_before_any_request(
    shops: Shops,
) -> None:
    text = shops.desired.read_text()
    shops.desired.write_text(text.replace("accounts =", "acounts =").replace("state =", "sate ="))
    before = len(shops.emulator.log)
    for command in (("plan", "fleet.toml"), ("apply", "fleet.toml", "--yes")):
        finished = shops.run(*command, "--subaccounts")
        assert finished.returncode == 2
        first, *problems = finished.stderr.splitlines()
        assert re.fullmatch(r"error: fleet\.toml: \d+ problems", first)
        assert any("acounts" in one and "did you mean accounts?" in one for one in problems)
        assert all(re.match(r"  line \d+: |hint: ", one) for one in problems)
    assert len(shops.emulator.log) == before


def test_unique_names_that_look_alike_are_a_warning(shops: Shops) -> None:
    shops.desired.write_text(
        "".join(
            f'[[add_ons]]\nunique_name = "{name}"\naccounts = "all"\nstate = "absent"\n'
            for name in ("spam", "Spam")
        )
    )
    for command in (("plan", "fleet.toml"), ("apply", "fleet.toml", "--yes")):
        finished = shops.run(*command, "--subaccounts")
        assert finished.returncode == 0
        warning = "warning: the unique names 'spam' and 'Spam' differ only in case"
        assert finished.stderr.count(warning) == 1


@pytest.mark.parametrize("columns", [80, 140])
def test_a_terminal_shows_a_progress_bar(slow_shops: Shops, columns: int) -> None:
    shops = slow_shops
    shops.emulator.faults.add("GET", "/v1/InstalledAddOns", status=403, times=3)
    file = shops.desired.parent / "x.jsonl"
    command = ("inventory", "--subaccounts", "--to", str(file), "--concurrency", "2")
    done = on_a_terminal([*PROGRAM, *command], env=shops.env, columns=columns)
    assert done.status == 3
    bars = re.findall(r"inventory [^\x1b\n\r]+", done.screen)
    assert any(re.search(r" \d+/61 accounts · .*3 failed", bar) for bar in bars)
    assert any("Add-ons" in bar for bar in bars)
    assert columns == 80 or any("requests/s" in bar for bar in bars)
    assert max(map(len, bars)) <= columns


# -- interrupted


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_lets_running_requests_finish_and_twice_stops_immediately(
    slow_shops: Shops, times: int
) -> None:
    shops = slow_shops
    options = ("--subaccounts", "--to", "x.jsonl", "--resume", "--concurrency", "4")
    process = subprocess.Popen(
        [*PROGRAM, "inventory", *options],
        env=shops.env,
        cwd=shops.desired.parent,
        stderr=subprocess.PIPE,
        text=True,
    )
    while len(shops.emulator.log.matching("GET", "/v1/InstalledAddOns")) < 8:
        time.sleep(0.01)
    for _ in range(times):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT
    assert "Traceback" not in errors
    assert "note: finishing running requests; press Ctrl-C again to stop immediately" in errors
    if times == 1:
        assert "hint: Use --resume to continue." in errors
    done = shops.run("inventory", *options)
    assert done.returncode == 0
    assert len(read(shops.desired.parent / "x.jsonl")) == 60


def killed(shops: Shops, generator: random.Random, *arguments: str) -> bool:
    """Run a command, kill it at a random moment, and return whether it was still running."""
    process = subprocess.Popen(
        [*PROGRAM, *arguments],
        env=shops.env,
        cwd=shops.desired.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    before = len(shops.emulator.log)
    deadline = time.monotonic() + 30
    # At a random moment after the first request, not while Python starts.
    after = before + generator.randrange(1, 70)
    while len(shops.emulator.log) < after and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(generator.random() * 0.02)
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


def ended(done: "subprocess.CompletedProcess[str]", status: int) -> bool:
    """Return whether a resumed job is complete now, or was before it could be killed."""
    return done.returncode == status or "was completed at" in done.stderr


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".db"])
def test_a_killed_inventory_resumes_and_has_each_record_once(
    slow_shops: Shops, suffix: str
) -> None:
    generator = random.Random(suffix)
    file = slow_shops.desired.parent / f"x{suffix}"
    command = ("inventory", "--subaccounts", "--to", file.name, "--resume")
    assert sum(killed(slow_shops, generator, *command) for _ in range(3)) >= 1
    done = slow_shops.run(*command)
    assert ended(done, 0), done.stderr
    sids = Counter(record["account_sid"] for record in read(file))
    assert sids == dict.fromkeys(slow_shops.sids[1:], 1)


def test_killed_plan_and_apply_resume_and_repeat_nothing(
    slow_shops: Shops,
) -> None:
    shops = slow_shops
    generator = random.Random(1)
    plan = ("plan", "fleet.toml", "--subaccounts", "--to", "plan.jsonl", "--resume")
    assert sum(killed(shops, generator, *plan) for _ in range(3)) >= 1
    done = shops.run(*plan)
    assert ended(done, 0), done.stderr
    if done.returncode == 0:
        assert done.stderr == TO_DO
    plans = Counter(plan["account_sid"] for plan in read(shops.desired.parent / "plan.jsonl"))
    assert plans == dict.fromkeys(shops.sids, 1)

    apply = ("apply", "fleet.toml", "--subaccounts", "--yes")
    assert sum(killed(shops, generator, *apply) for _ in range(4)) >= 2
    done = shops.run(*apply)
    assert done.returncode == 0, done.stderr
    assert shops.installed() == DONE
    assert set(shops.creates().values()) == {1}
    again = shops.run("plan", "fleet.toml", "--subaccounts")
    assert (again.returncode, again.stdout) == (0, "")


def test_a_closed_pipe_ends_an_inventory_silently(shops: Shops) -> None:
    script = (
        f"{sys.executable} -m marketplace_async inventory --subaccounts | head -1; "
        "exit ${PIPESTATUS[0]}"
    )
    shown = subprocess.run(
        ["bash", "-c", script], env=shops.env, capture_output=True, text=True, check=False
    )
    assert shown.returncode in (0, 141)
    assert shown.stderr == ""
    assert shown.stdout.count("\n") == 1
