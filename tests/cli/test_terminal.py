"""The command line on a terminal and in a shell: pipes, signals, prompts, completion."""

import json
import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.terminal import PROGRAM, on_a_terminal

from marketplace_async.emulator import AddOn, Catalogue, Emulator
from marketplace_async.testing import account

SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
SID = account().account_sid
SECRET = "made-up-and-never-shown"


@pytest.fixture
def env(served: Emulator, tmp_path: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if "TWILIO_" not in name}
    return {
        **inherited,
        "MARKETPLACE_BASE_URL": served.url,
        "MARKETPLACE_PROFILES": str(tmp_path / "profiles" / "profiles.toml"),
        "TWILIO_ACCOUNT_SID": SID,
        "TWILIO_AUTH_TOKEN": SECRET,
    }


def without_credentials(env: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if "TWILIO_" not in name}


def run(*arguments: str, env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*PROGRAM, *arguments],
        env=env,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


# -- output


def test_a_terminal_gets_a_table_and_a_pipe_gets_json_lines(
    served: Emulator, env: dict[str, str]
) -> None:
    (sid,) = served.install(SID, SPAM_SCORE)
    shown = on_a_terminal([*PROGRAM, "installed", "list"], env=env)
    assert shown.status == 0
    header, row = shown.screen.splitlines()
    assert header.split() == ["sid", "unique_name", "friendly_name", "date_created"]
    assert row.startswith(f"{sid}  nomorobo_spamscore  Nomorobo Spam Score  20")
    assert "\x1b[1m" in shown.raw
    piped = run("installed", "list", env=env)
    assert json.loads(piped.stdout)["sid"] == sid
    assert run("installed", "list", "--output", "table", env=env).stdout.startswith("sid")


@pytest.mark.parametrize("columns", [40, 80, 140])
def test_a_table_fits_the_terminal_and_truncates_no_sid(
    served: Emulator, env: dict[str, str], columns: int
) -> None:
    served.install(SID, SPAM_SCORE, times=3)
    command = [*PROGRAM, "available", "list"]
    lines = on_a_terminal(command, env=env, columns=columns).screen.splitlines()
    *table, hidden = lines
    assert max(map(len, table)) <= columns
    assert sum(line[:34].startswith("XB") and " " not in line[:34] for line in table) == 17
    assert sum("Nomorobo Spam Score" in line for line in table) == 1
    assert ("pricing_type" in table[0]) == (columns == 140)
    names = "description" if columns == 140 else "pricing_type, description"
    assert hidden == f"note: too narrow for {names}: widen the terminal, or use -o json"


def test_a_table_without_hidden_columns_has_no_note(env: dict[str, str]) -> None:
    shown = on_a_terminal([*PROGRAM, "available", "list"], env=env, columns=400)
    assert "note" not in shown.screen


def test_a_record_on_a_terminal_wraps_words_but_not_links(env: dict[str, str]) -> None:
    screen = on_a_terminal([*PROGRAM, "available", "fetch", SPAM_SCORE], env=env, columns=50).screen
    assert "description           Checks whether a number is\n" in screen
    assert (
        f'"extensions": "{env["MARKETPLACE_BASE_URL"]}/v1/AvailableAddOns/{SPAM_SCORE}/' in screen
    )


def test_an_empty_table_is_a_note_on_standard_error(env: dict[str, str]) -> None:
    finished = run("installed", "list", "--output", "table", env=env)
    assert (finished.stdout, finished.stderr) == ("", "note: no results\n")


def test_formats_for_programs_are_utf_8_in_any_locale(
    served: Emulator, env: dict[str, str]
) -> None:
    env["PYTHONIOENCODING"] = "ascii"
    create = ("installed", "create", SPAM_SCORE, "--accept-terms-of-service")
    run(*create, "--unique-name", "größe-名前", env=env)
    for output in ("json", "jsonl", "csv"):
        finished = run("installed", "list", "--output", output, env=env)
        assert "größe-名前" in finished.stdout, finished.stderr
    table = run("installed", "list", "--output", "table", env=env)
    assert (table.returncode, table.stderr) == (0, "")
    assert r"gr\xf6\xdfe-\u540d\u524d" in table.stdout


HOSTILE = '\x1b]0;owned\x07\x1b[2J\x9b31m\u202eevil\r\nfoo,"bar"'


ADD_ON = AddOn(unique_name="hostile", friendly_name=HOSTILE, description="\x1b[31m\ttabbed")


@pytest.fixture
def hostile() -> Iterator[Emulator]:
    with Emulator(catalogue=Catalogue([ADD_ON])) as emulator:
        yield emulator


@pytest.mark.parametrize("output", ["table", "json", "jsonl", "csv"])
@pytest.mark.parametrize(
    "command",
    [
        ["list"],
        ["fetch", next(iter(Catalogue([AddOn(unique_name="hostile", friendly_name="")]))).sid],
    ],
)
def test_no_control_character_reaches_the_terminal(
    hostile: Emulator, env: dict[str, str], output: str, command: list[str]
) -> None:
    env["MARKETPLACE_BASE_URL"] = hostile.url
    command = ["available", *command, "--output", output]
    shown = on_a_terminal([*PROGRAM, *command], env=env, columns=400)
    assert shown.status == 0
    assert "evil" in shown.screen
    assert not {"\x1b", "\x07", "\x9b", "\u202e", "\t"} & set(shown.screen)
    piped = run(*command, env=env).stdout
    assert ("\x1b" in piped) == (output == "csv")  # a file keeps the value
    if "json" in output:
        document = json.loads(piped)
        assert (document[0] if isinstance(document, list) else document)["friendly_name"] == HOSTILE


# -- pipes and signals


def test_a_long_list_is_streamed_in_constant_memory(served: Emulator, env: dict[str, str]) -> None:
    def listed(account_sid: str) -> tuple[int, int]:
        """Return the number of lines and the peak memory of the program in kB."""
        environ = {**env, "TWILIO_ACCOUNT_SID": account_sid}
        with subprocess.Popen(
            [*PROGRAM, "installed", "list"], env=environ, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            requests = len(served.log.matching("GET"))
            lines = 1 + sum(1 for _ in process.stdout)
            assert lines == 1000 or requests < 40, "output was not streamed"
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            assert process.returncode == 0
            return lines, used.ru_maxrss

    few, many = account(2).account_sid, account(3).account_sid
    served.install(few, SPAM_SCORE, times=1000)
    served.install(many, SPAM_SCORE, times=40_000)
    lines, least = listed(few)
    assert lines == 1000
    served.log.clear()
    lines, most = listed(many)
    assert lines == 40_000
    assert most - least < 16_000, f"{least} kB for 1,000 records, {most} kB for 40,000"


def test_a_closed_pipe_ends_a_list_silently_and_stops_its_requests(
    served: Emulator, env: dict[str, str]
) -> None:
    served.install(SID, SPAM_SCORE, times=5000)
    finished = subprocess.run(
        [
            "bash",
            "-c",
            '"$@" | head -1; echo "${PIPESTATUS[0]}"',
            "-",
            *PROGRAM,
            "installed",
            "list",
        ],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    line, status = finished.stdout.splitlines()
    assert json.loads(line)["account_sid"] == SID
    assert (status, finished.stderr) == ("141", "")
    assert len(served.log.matching("GET")) < 5


def test_a_closed_standard_output_is_an_error(env: dict[str, str]) -> None:
    finished = subprocess.run(
        ["bash", "-c", '"$@" >&-', "-", *PROGRAM, "available", "list"],
        env=env,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (finished.returncode, finished.stderr) == (1, "error: standard output is closed\n")


def test_a_full_disk_is_an_error(env: dict[str, str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    with open("/dev/full", "w") as full:
        finished = subprocess.run(
            [*PROGRAM, "available", "list"],
            env=env,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert finished.returncode == 1
    assert finished.stderr == "error: [Errno 28] No space left on device\n"


def test_ctrl_c_ends_a_list_silently(served: Emulator, env: dict[str, str]) -> None:
    fault = served.faults.add("GET", "*", delay=30)
    with subprocess.Popen(
        [*PROGRAM, "installed", "list"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        until(lambda: fault.hits > 0)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=10) == (b"", b"")
        assert process.returncode == -signal.SIGINT


def test_ctrl_c_ends_a_list_that_waits_for_a_pager(served: Emulator, env: dict[str, str]) -> None:
    served.install(SID, SPAM_SCORE, times=5000)
    with subprocess.Popen(
        [*PROGRAM, "installed", "list"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        until(lambda: len(served.log.matching("GET")) > 0)
        time.sleep(0.5)  # until the unread pipe is full
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == -signal.SIGINT
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_ctrl_c_during_a_write_warns_that_the_outcome_is_unknown(
    served: Emulator, env: dict[str, str]
) -> None:
    fault = served.faults.add("POST", "*", delay=30, when="after")
    with subprocess.Popen(
        [*PROGRAM, "installed", "create", SPAM_SCORE, "--accept-terms-of-service"],
        env=env,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        until(lambda: fault.hits > 0)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
        assert process.returncode == -signal.SIGINT
    assert errors == ("warning: interrupted; outcome unknown: check the account before retrying\n")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# -- prompts


@pytest.mark.parametrize(
    ("answer", "status", "left"),
    [("y\n", 0, 0), ("Yes\n", 0, 0), ("n\n", 1, 1), ("\n", 1, 1), ("\x04", 1, 1), ("\x03", -2, 1)],
    ids=["y", "Yes", "n", "nothing", "Ctrl-D", "Ctrl-C"],
)
def test_delete_asks_for_confirmation_on_a_terminal(
    served: Emulator, env: dict[str, str], answer: str, status: int, left: int
) -> None:
    (sid,) = served.install(SID, SPAM_SCORE)
    question = f"Delete nomorobo_spamscore (Nomorobo Spam Score, {sid})? [y/N] "
    finished = on_a_terminal(
        [*PROGRAM, "installed", "delete", sid], env=env, typed={question: answer}
    )
    assert finished.status == status, finished.screen
    assert question in finished.screen
    assert ("error: cancelled; nothing was changed" in finished.screen) == (status == 1)
    assert "Traceback" not in finished.screen
    assert len(run("installed", "list", env=env).stdout.splitlines()) == left


def test_delete_of_several_records_asks_once(served: Emulator, env: dict[str, str]) -> None:
    sids = served.install(SID, SPAM_SCORE, times=2)
    finished = on_a_terminal(
        [*PROGRAM, "installed", "delete", *sids],
        env=env,
        typed={"Delete 2 installed Add-ons? [y/N] ": "y\n"},
    )
    assert finished.status == 0
    assert finished.screen.splitlines()[1:] == [
        "sid                                 deleted",
        *(f"{sid}  true" for sid in sids),
    ]


def test_delete_without_a_terminal_requires_yes(served: Emulator, env: dict[str, str]) -> None:
    (sid,) = served.install(SID, SPAM_SCORE)
    finished = run("installed", "delete", sid, env=env)
    assert finished.returncode == 2
    assert finished.stderr == (
        f"error: refusing to delete {sid} without confirmation: pass --yes\n"
    )
    assert not served.log.matching("DELETE")
    assert run("installed", "delete", sid, "--yes", env=env).returncode == 0


def test_profiles_add_prompts_without_echoing_the_secret(
    served: Emulator, env: dict[str, str]
) -> None:
    env = without_credentials(env)
    finished = on_a_terminal(
        [*PROGRAM, "profiles", "add", "default", "--base-url", served.url],
        env=env,
        typed={
            "Account SID (AC...), API key (SK...) or OAuth client ID (OQ...): ": f"{SID}\n",
            f"auth_token of {SID} (input hidden): ": f"{SECRET}\n",
        },
    )
    assert finished.status == 0, finished.screen
    assert SECRET not in finished.raw
    file = Path(env["MARKETPLACE_PROFILES"])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert SECRET in file.read_text()
    assert run("installed", "list", env=env).returncode == 0
    assert [entry.account_sid for entry in served.log] == [SID]


@pytest.mark.parametrize(
    "ending", ["\x03", ["\n"] * 3, "\x04"], ids=["Ctrl-C", "nothing", "Ctrl-D"]
)
def test_a_prompt_that_is_cancelled_adds_no_profile_and_restores_the_terminal(
    env: dict[str, str], ending: str | list[str]
) -> None:
    env = without_credentials(env)
    prompt = f"auth_token of {SID} (input hidden): "
    script = 'trap : INT; "$@"; echo "ended with $?"; stty -a | grep -o "[-]*echo "'
    finished = on_a_terminal(
        ["bash", "-c", script, "-", *PROGRAM, "profiles", "add", "x", "--account-sid", SID],
        env=env,
        typed={prompt: ending},
    )
    assert "Traceback" not in finished.screen
    assert f"ended with {130 if ending == chr(3) else 2}" in finished.screen
    assert finished.screen.endswith("\necho \n")
    assert not Path(env["MARKETPLACE_PROFILES"]).exists()


SID_PROMPT = "Account SID (AC...), API key (SK...) or OAuth client ID (OQ...): "


def test_profiles_add_asks_again_after_a_typo(env: dict[str, str]) -> None:
    finished = on_a_terminal(
        [*PROGRAM, "profiles", "add", "x"],
        env=without_credentials(env),
        typed={
            SID_PROMPT: [f"{SECRET}\n", f"{SID}0\n", f"{SID}\n"],
            f"auth_token of {SID} (input hidden): ": ["\n", f"{SECRET}\n"],
        },
    )
    assert finished.status == 0, finished.screen
    assert f"error: expected AC..., SK... or OQ..., got {len(SECRET)} characters" in finished.screen
    assert "account_sid: expected the SID of an account" in finished.screen
    assert f"error: expected the auth_token of {SID}, got nothing" in finished.screen
    assert SECRET in Path(env["MARKETPLACE_PROFILES"]).read_text()


def test_settings_are_checked_before_the_first_prompt(env: dict[str, str]) -> None:
    command = [*PROGRAM, "profiles", "add", "x", "--region", "a b"]
    finished = on_a_terminal(command, env=without_credentials(env))
    assert finished.status == 2
    assert "region: expected a name" in finished.screen
    assert SID_PROMPT not in finished.screen


@pytest.mark.parametrize("typo", ["AC1", SID])
def test_a_secret_that_was_pasted_too_early_never_reaches_the_shell(
    env: dict[str, str], typo: str
) -> None:
    # The shell reads what the command left over.
    script = '"$@"; echo "ended with $?"; read -t 0.3 line; echo "shell got: [$line]"'
    finished = on_a_terminal(
        ["bash", "-c", script, "-", *PROGRAM, "profiles", "add", "x"],
        env=without_credentials(env),
        typed={
            SID_PROMPT: [f"{typo}\n{SECRET}\n{SECRET}\n", *["AC1\n"] * 2],
            f"auth_token of {SID} (input hidden): ": "\x04",
        },
    )
    assert "ended with 2" in finished.screen
    assert "shell got: []" in finished.screen
    assert not Path(env["MARKETPLACE_PROFILES"]).exists()


def test_a_missing_secret_is_prompted_for(served: Emulator, env: dict[str, str]) -> None:
    del env["TWILIO_AUTH_TOKEN"]
    finished = on_a_terminal(
        [*PROGRAM, "available", "list", "--limit", "1", "--output", "jsonl"],
        env=env,
        typed={f"TWILIO_AUTH_TOKEN of {SID}: ": f"{SECRET}\n"},
    )
    assert finished.status == 0
    assert SECRET not in finished.raw
    assert '"sid":"XB' in finished.screen
    assert run("available", "list", env=env).returncode == 2
    empty = on_a_terminal(
        [*PROGRAM, "available", "list"], env=env, typed={f"TWILIO_AUTH_TOKEN of {SID}: ": "\n"}
    )
    assert empty.status == 2
    assert "error: no secret was entered" in empty.screen


def test_a_prompt_never_shows_a_secret_given_as_a_sid(
    env: dict[str, str],
) -> None:
    del env["TWILIO_AUTH_TOKEN"]
    env["TWILIO_ACCOUNT_SID"] = SECRET
    finished = on_a_terminal([*PROGRAM, "available", "list"], env=env)
    assert finished.status == 2
    assert "error: TWILIO_ACCOUNT_SID: expected the SID of an account" in finished.screen
    assert SECRET not in finished.screen


def test_the_emulator_prints_instructions_on_a_terminal(env: dict[str, str]) -> None:
    finished = on_a_terminal(
        [*PROGRAM, "emulator"], env=env, typed={"Press Ctrl-C to stop it.\r\n": "\x03"}
    )
    assert finished.status == 0
    url = finished.screen.splitlines()[0]
    assert f"export MARKETPLACE_BASE_URL={url}" in finished.screen


# -- completion


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["inst"], {"installed"}),
        (["installed", "del"], {"delete"}),
        (["installed", "list", "--out"], {"--output"}),
        (["installed", "list", "--output", "js"], {"json", "jsonl"}),
    ],
)
def test_bash_completes_commands_options_and_values(
    env: dict[str, str], tmp_path: Path, words: list[str], offered: set[str]
) -> None:
    env.update(HOME=str(tmp_path), SHELL="/bin/bash")
    assert run("--install-completion", env=env).returncode == 0
    (script,) = tmp_path.rglob("completions/*")
    complete = (
        'source "$1"; shift; COMP_WORDS=(marketplace-async "$@"); COMP_CWORD=$#\n'
        '_marketplace_async; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    completed = subprocess.run(
        ["bash", "-c", complete, "-", str(script), *words],
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(completed.stdout.split()) == offered


def test_bash_completes_the_names_of_profiles(env: dict[str, str], tmp_path: Path) -> None:
    env.update(HOME=str(tmp_path), SHELL="/bin/bash", PATH=f"{tmp_path}:{os.environ['PATH']}")
    shim = tmp_path / "marketplace-async"
    shim.write_text(f'#!/bin/sh\nexec {" ".join(PROGRAM)} "$@"\n')
    shim.chmod(0o755)
    file = Path(env["MARKETPLACE_PROFILES"])
    file.parent.mkdir()
    file.write_text("[work]\n[home]\n[other]\nx = 1\n")
    run("--install-completion", env=env)
    (script,) = tmp_path.rglob("completions/*")
    complete = (
        'source "$1"; shift; COMP_WORDS=(marketplace-async "$@"); COMP_CWORD=$#\n'
        '_marketplace_async; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    for words, names in (
        (["installed", "list", "--profile", ""], {"work", "home", "other"}),
        (["plan", "fleet.toml", "--profile", "wo"], {"work"}),
        (["profiles", "delete", ""], {"work", "home", "other"}),
    ):
        command = ["bash", "-c", complete, "-", str(script), *words]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        assert names <= set(done.stdout.split()), words
    file.write_text("not TOML")
    assert run("__complete", "installed", "list", "--profile", "", env=env).stderr == ""
