"""The commands over many accounts: what they show, how they end, and `kill -9` at any moment."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from support.command_line import Cli
from support.outputs import read
from support.served import ServedEmulator, serve
from support.terminal import PROGRAM, on_a_terminal

from marketplace_async.emulator import Emulator
from marketplace_async.testing import account

pytest_plugins = ["support.command_line"]

SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
TRANSCRIPTION = "XB85b56ed9ce713e0ac62342b901233193"
VOICEBASE = "XB7afe11af3e292cadb03248e0066b8c1e"
PARENT = account().account_sid
SHOPS = 60

DESIRED = f"""
secret = ["api_token"]

[[add_ons]]
unique_name = "spam-score"
available_add_on_sid = "{SPAM_SCORE}"
accept_terms_of_service = true
accounts = "all"
extensions = {{ voice-incoming = true }}

[[add_ons]]
unique_name = "transcription"
available_add_on_sid = "{TRANSCRIPTION}"
accept_terms_of_service = true
accounts = {{ friendly_names = ["Shop *"] }}
configuration = {{ callback_method = "POST", api_token = {{ env = "API_TOKEN" }} }}

[[add_ons.overrides]]
accounts = {{ friendly_names = ["Shop 1*"] }}
configuration = {{ callback_method = "GET" }}

[[add_ons]]
unique_name = "voicebase_transcription"
accounts = {{ except_friendly_names = ["Shop 2*"] }}
state = "absent"
"""
TOKEN = "very-secret-token"


@attrs.frozen
class Shops:
    """An emulator with a parent account and 60 shops, each with an add-on to begin with."""

    emulator: Emulator
    sids: list[str]
    env: dict[str, str]
    desired: Path

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*PROGRAM, *arguments],
            env=self.env,
            cwd=self.desired.parent,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )

    def installed(self) -> Counter[str]:
        """Return how often each unique name is installed, deleted ones aside."""
        found = self.run("inventory", "--subaccounts")
        assert found.returncode == 0, found.stderr
        records = [json.loads(line) for line in found.stdout.splitlines()]
        # No account has a name twice.
        names = [(one["account_sid"], one["unique_name"]) for one in records]
        assert len(names) == len(set(names))
        return Counter(one["unique_name"] for one in records)

    def creates(self) -> Counter[tuple[str | None, bytes]]:
        """Return how often each account was asked for each installation, with success."""
        return Counter(
            (entry.account_sid, entry.body)
            for entry in self.emulator.log
            if (entry.method, entry.path, entry.status) == ("POST", "/v1/InstalledAddOns", 201)
        )


def _shops(emulator: Emulator, folder: Path) -> Shops:
    accounts = emulator.add_subaccounts(PARENT, SHOPS, friendly_name="Shop {number}")
    for sid, _ in accounts:
        emulator.install(sid, VOICEBASE, {"callback_url": "https://example.com"})
    desired = folder / "fleet.toml"
    desired.write_text(DESIRED)
    inherited = {name: value for name, value in os.environ.items() if "TWILIO_" not in name}
    env = {
        **inherited,
        "MARKETPLACE_BASE_URL": emulator.url,
        "MARKETPLACE_PROFILES": str(folder / "profiles.toml"),
        "TWILIO_ACCOUNT_SID": PARENT,
        "TWILIO_AUTH_TOKEN": "made-up",
        "API_TOKEN": TOKEN,
    }
    return Shops(emulator, [PARENT, *(sid for sid, _ in accounts)], env, desired)


@pytest.fixture
def shops(served: Emulator, tmp_path: Path) -> Shops:
    return _shops(served, tmp_path)


@pytest.fixture
def slow_shops(tmp_path: Path) -> Iterator[Shops]:
    """Shops that take their time, so that there are moments to be killed at."""
    for emulator in serve(ServedEmulator(latency=0.03)):
        yield _shops(emulator, tmp_path)


DONE = {"spam-score": SHOPS + 1, "transcription": SHOPS, "voicebase_transcription": 11}


# -- what they show, and how they end


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".db"])
def test_an_inventory_goes_to_a_file_of_each_kind(shops: Shops, suffix: str) -> None:
    file = shops.desired.parent / f"inventory{suffix}"
    done = shops.run("inventory", "--subaccounts", "--extensions", "--to", file.name)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"note: 60 installed add-ons of 61 accounts in inventory{suffix}\n"
    assert {one["account_sid"] for one in read(file)} == set(shops.sids) - {PARENT}
    again = shops.run("inventory", "--subaccounts", "--to", file.name)
    assert again.returncode == 1
    assert again.stderr.startswith(f"error: inventory{suffix} is there already")


def test_an_inventory_is_shown_in_every_format(shops: Shops) -> None:
    for format, begins in (("jsonl", '{"account_sid"'), ("csv", "account_sid,"), ("json", "[\n")):
        shown = shops.run("inventory", "--subaccounts", "--output", format)
        assert shown.returncode == 0
        assert shown.stdout.startswith(begins)
    assert len(json.loads(shops.run("inventory", "--subaccounts", "-o", "json").stdout)) == 60
    masked = shops.run("inventory", "--subaccounts", "--secret", "callback_url")
    assert masked.stdout.count('"configuration":{"callback_url":"***"}') == 60
    table = on_a_terminal([*PROGRAM, "inventory", "--subaccounts"], env=shops.env, columns=140)
    assert table.screen.count("Shop ") == 60


def test_a_plan_and_what_became_of_it(shops: Shops) -> None:
    plan = shops.run("plan", "fleet.toml", "--subaccounts", "--output", "table")
    assert plan.returncode == 5
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
    assert plan.stdout.endswith("    ... and 46 more\n")
    assert plan.stderr == "note: 231 steps to do on 61 of 61 accounts\n"

    nobody = shops.run("apply", "fleet.toml", "--subaccounts")
    assert (nobody.returncode, nobody.stdout) == (2, "")
    assert "nobody is there to ask" in nobody.stderr
    applied = shops.run("apply", "fleet.toml", "--subaccounts", "--yes", "--output", "table")
    assert applied.returncode == 0
    assert applied.stdout == plan.stdout
    assert "231 steps done on 61 accounts" in applied.stderr
    assert shops.installed() == DONE

    plan = shops.run("plan", "fleet.toml", "--subaccounts")
    assert (plan.returncode, plan.stdout) == (0, "")
    assert plan.stderr == "note: nothing to do on 61 accounts\n"
    applied = shops.run("apply", "fleet.toml", "--subaccounts", "--yes", "-o", "json")
    assert applied.returncode == 0
    assert json.loads(applied.stdout)["changed"] == 0
    for file in shops.desired.parent.iterdir():
        assert TOKEN.encode() not in file.read_bytes()


def test_a_plan_account_by_account(shops: Shops) -> None:
    plans = shops.run("plan", "fleet.toml", "--subaccounts")
    assert plans.returncode == 5
    lines = [json.loads(line) for line in plans.stdout.splitlines()]
    assert len(lines) == 61
    assert {one["account_sid"] for one in lines} == set(shops.sids)
    assert TOKEN not in plans.stdout
    told = shops.run("plan", "fleet.toml", "--subaccounts", "--verbose", "-o", "table")
    for sid in shops.sids:
        assert told.stdout.count(f"\n{sid} (") + told.stdout.startswith(sid) == 1
    assert told.stdout.count("    + enable voice-incoming of spam-score\n") == 61
    figures = json.loads(shops.run("plan", "fleet.toml", "--subaccounts", "-o", "json").stdout)
    assert (figures["steps"], figures["to_change"], len(figures["groups"])) == (231, 61, 4)


def test_a_person_is_shown_the_plan_and_asked(shops: Shops) -> None:
    command = [*PROGRAM, "apply", str(shops.desired), "--subaccounts"]
    refused = on_a_terminal(command, env=shops.env, typed={"[y/N] ": "n\n"})
    assert "- remove voicebase_transcription on 49 accounts" in refused.screen
    assert "Apply this to 61 accounts? [y/N] n\nerror: nothing was done\n" in refused.screen
    assert refused.status == 1
    assert shops.installed() == {"voicebase_transcription": 60}
    interrupted = on_a_terminal(command, env=shops.env, typed={"[y/N] ": "\x03"})
    assert interrupted.status == -signal.SIGINT
    assert "Traceback" not in interrupted.screen
    done = on_a_terminal(command, env=shops.env, typed={"[y/N] ": "y\n"})
    assert done.status == 0
    assert "231 steps done on 61 accounts" in done.screen
    assert shops.installed() == DONE


def test_the_schema_is_shown(cli: Cli) -> None:
    shown = cli("schema")
    assert shown.status == 0
    assert shown.json["title"] == "The desired state of marketplace_async"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inventory"], "which accounts? Say --subaccounts or --accounts FILE"),
        (["inventory", "--subaccounts", "--accounts", "x.csv"], "which accounts?"),
        (["inventory", "--subaccounts", "--resume"], "--resume and --overwrite need a file"),
        (["inventory", "--subaccounts", "--to", "x.csv", "-o", "json"], "--output says how to"),
        (["inventory", "--subaccounts", "--to", "x.xlsx"], "to: expected a file that ends in"),
        (
            ["inventory", "--subaccounts", "--concurrency", "0"],
            "concurrency: must be a positive integer",
        ),
        (["plan", "--subaccounts"], "DESIRED"),
        (["plan", "nowhere.toml", "--subaccounts"], "nowhere.toml"),
        (["plan", "wrong.toml", "--subaccounts"], "wrong.toml: add_ons[0]: object missing requ"),
        (["plan", "torn.toml", "--subaccounts"], "torn.toml: not TOML: "),
        (["plan", "wrong.toml", "--subaccounts", "-o", "csv"], "a plan is shown as table, json"),
        (["plan", "wrong.toml", "--subaccounts", "--resume"], "need a file: --to FILE"),
        (["apply", "wrong.toml", "--subaccounts", "-y", "-o", "csv"], "table, json or jsonl"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_sent(
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


def test_accounts_of_a_file_need_no_other_credentials(
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
    refused = shops.run("inventory", "--accounts", "accounts.csv")
    assert refused.returncode == 2
    assert "chmod 600" in refused.stderr


def test_accounts_that_fail_are_told_and_the_status_is_3(shops: Shops) -> None:
    shops.emulator.faults.add("GET", "/v1/InstalledAddOns", status=403, times=7)
    done = shops.run("inventory", "--subaccounts", "--to", "x.jsonl")
    assert done.returncode == 3
    said = done.stderr.splitlines()
    assert said[0] == "note: 53 installed add-ons of 61 accounts in x.jsonl" or "54" in said[0]
    assert said[1] == "error: 7 of 61 accounts failed"
    assert "403" in said[2]
    assert said[7] == "  ... and 2 more, in x.jsonl.failures.jsonl"
    assert said[8] == "hint: --resume tries them again."
    done = shops.run("inventory", "--subaccounts", "--to", "x.jsonl", "--resume")
    assert (done.returncode, done.stderr) == (
        0,
        "note: 60 installed add-ons of 61 accounts in x.jsonl\n",
    )


def test_what_apply_could_not_do_is_told_and_done_by_the_next_run(shops: Shops) -> None:
    shops.emulator.faults.add("POST", "/v1/InstalledAddOns", status=403, times=2)
    command = ("apply", "fleet.toml", "--subaccounts", "--yes", "--output", "table")
    partly = shops.run(*command)
    assert partly.returncode == 3
    assert "of 61 accounts failed\n  AC" in partly.stderr
    assert "install/" in partly.stderr
    assert (
        "fleet.journal.failures.jsonl, too. Run it again: it does what is left.\n" in partly.stderr
    )
    assert shops.run(*command).returncode == 0
    assert shops.installed() == DONE


def test_a_plan_tells_what_stands_in_the_way(shops: Shops) -> None:
    shops.emulator.install(shops.sids[1], SPAM_SCORE)
    text = DESIRED.replace('"spam-score"', '"nomorobo_spamscore"', 1).replace(
        SPAM_SCORE, "XBac2c99d9c684a765ced0b18cf0e5e1c7", 1
    )
    shops.desired.write_text(text.replace('["Shop *"]', '["Store *"]'))
    plan = shops.run("plan", "fleet.toml", "--subaccounts", "--output", "table")
    assert plan.returncode == 3
    assert "note: add_ons[1].accounts: no account meets it\n" in plan.stderr
    assert f"error: 1 of 61 accounts cannot be made so\n  {shops.sids[1]} (Shop 1): " in plan.stderr
    assert "nomorobo_spamscore is another add-on there" in plan.stderr
    applied = shops.run("apply", "fleet.toml", "--subaccounts", "--yes", "--output", "table")
    # Told with the plan, before anybody is asked.
    unmet, to_do = (applied.stderr.find(part) for part in ("no account meets it", " to do on "))
    assert 0 <= unmet < to_do


@pytest.mark.parametrize("columns", [80, 140])
def test_a_person_sees_how_far_it_is(slow_shops: Shops, columns: int) -> None:
    shops = slow_shops
    shops.emulator.faults.add("GET", "/v1/InstalledAddOns", status=403, times=3)
    file = shops.desired.parent / "x.jsonl"
    command = ("inventory", "--subaccounts", "--to", str(file), "--concurrency", "2")
    done = on_a_terminal([*PROGRAM, *command], env=shops.env, columns=columns)
    assert done.status == 3
    bars = re.findall(r"inventory [^\x1b\n\r]+", done.screen)
    assert any(re.search(r" \d+/61 accounts · .*3 failed", bar) for bar in bars)
    assert any("add-ons" in bar for bar in bars)
    assert columns == 80 or any("requests/s" in bar for bar in bars)
    assert max(map(len, bars)) <= columns


# -- interrupted


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_finishes_what_has_begun_and_twice_ends_at_once(
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
    assert "note: finishing what has begun; Ctrl-C again ends it at once" in errors
    if times == 1:
        assert "hint: --resume goes on." in errors
    done = shops.run("inventory", *options)
    assert done.returncode == 0
    assert len(read(shops.desired.parent / "x.jsonl")) == 60


def killed(shops: Shops, chance: random.Random, *arguments: str) -> bool:
    """Run a command, kill it at a random moment, and tell whether it was still running."""
    process = subprocess.Popen(
        [*PROGRAM, *arguments],
        env=shops.env,
        cwd=shops.desired.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    before = len(shops.emulator.log)
    deadline = time.monotonic() + 30
    # Not while Python starts: from its first requests on, anywhere.
    after = before + chance.randrange(1, 70)
    while len(shops.emulator.log) < after and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(chance.random() * 0.02)
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".db"])
def test_an_inventory_that_is_killed_goes_on_and_holds_each_record_once(
    slow_shops: Shops, suffix: str
) -> None:
    chance = random.Random(suffix)
    file = slow_shops.desired.parent / f"x{suffix}"
    command = ("inventory", "--subaccounts", "--to", file.name, "--resume")
    assert sum(killed(slow_shops, chance, *command) for _ in range(3)) >= 1
    done = slow_shops.run(*command)
    assert done.returncode == 0, done.stderr
    sids = Counter(one["account_sid"] for one in read(file))
    assert sids == dict.fromkeys(slow_shops.sids[1:], 1)


def test_plan_and_apply_that_are_killed_come_to_the_same_with_nothing_doubled(
    slow_shops: Shops,
) -> None:
    shops = slow_shops
    chance = random.Random(1)
    plan = ("plan", "fleet.toml", "--subaccounts", "--to", "plan.jsonl", "--resume")
    assert sum(killed(shops, chance, *plan) for _ in range(3)) >= 1
    done = shops.run(*plan)
    assert (done.returncode, done.stderr) == (5, "note: 231 steps to do on 61 of 61 accounts\n")
    plans = Counter(one["account_sid"] for one in read(shops.desired.parent / "plan.jsonl"))
    assert plans == dict.fromkeys(shops.sids, 1)

    apply = ("apply", "fleet.toml", "--subaccounts", "--yes")
    assert sum(killed(shops, chance, *apply) for _ in range(4)) >= 2
    done = shops.run(*apply)
    assert done.returncode == 0, done.stderr
    assert shops.installed() == DONE
    assert set(shops.creates().values()) == {1}
    again = shops.run("plan", "fleet.toml", "--subaccounts")
    assert (again.returncode, again.stdout) == (0, "")


def test_a_closed_pipe_ends_it_quietly(shops: Shops) -> None:
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
