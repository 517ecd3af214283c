"""The program: `demo`, `emulator`, help, and missing extras."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from marketplace_async.cli import main
from marketplace_async.cli.commands import demo
from marketplace_async.emulator import Emulator
from marketplace_async.emulator.installed_add_ons import InstalledAddOns


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "marketplace_async", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# -- demo


def test_the_demo_shows_every_step_and_succeeds() -> None:
    finished = run("demo")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stderr == ""
    steps = re.findall(r"^(\d)\. (.+)$", finished.stdout, re.MULTILINE)
    assert [number for number, _ in steps] == list("123456789")
    assert finished.stdout.count("✓") == 10
    assert re.search(r"500 accounts in \d+\.\d s; one at a time, in \d+\.\d s", finished.stdout)
    assert "✗" not in finished.stdout
    assert "Every step succeeded" in finished.stdout
    assert "marketplace-async emulator" in finished.stdout.split("What next")[1]


async def test_the_demo_runs_against_another_server(marketplace_emulator: Emulator) -> None:
    output = io.StringIO()
    assert await demo.run(marketplace_emulator.url, Console(file=output, width=80)) == 0
    assert marketplace_emulator.url in output.getvalue()
    assert len({entry.account_sid for entry in marketplace_emulator.log}) == 3


@pytest.mark.parametrize("width", [80, 140])
async def test_the_demo_truncates_no_sid(marketplace_emulator: Emulator, width: int) -> None:
    output = io.StringIO()
    await demo.run(marketplace_emulator.url, Console(file=output, width=width))
    assert all(
        len(sid) == 34 for sid in re.findall(r"\b(?:XB|XE|AC)[0-9a-f]{5,}", output.getvalue())
    )
    code_and_tables = [line for line in output.getvalue().splitlines() if line.startswith("   ")]
    assert max(map(len, code_and_tables)) <= width


def test_the_demo_uses_ascii_on_an_ascii_terminal() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "marketplace_async", "demo"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=True,
    )
    assert finished.stdout.count(b"ok ") >= 9


async def test_a_step_that_fails_ends_the_demo_with_status_1(
    marketplace_emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = io.StringIO()
    monkeypatch.setattr(InstalledAddOns, "_check_configuration", lambda *_: None)
    assert await demo.run(marketplace_emulator.url, Console(file=output, width=80)) == 1
    assert "✗ a configuration that does not match the schema was accepted" in output.getvalue()


async def test_a_rejected_request_ends_the_demo_with_status_1(
    marketplace_emulator: Emulator,
) -> None:
    output = io.StringIO()
    marketplace_emulator.faults.add("DELETE", "*", status=403)
    assert await demo.run(marketplace_emulator.url, Console(file=output, width=140)) == 1
    assert (
        "✗ 403 20403: Forbidden (installed_add_ons.delete, DELETE /v1/InstalledAddOns/XE"
        in output.getvalue()
    )


@pytest.mark.parametrize(
    ("base_url", "message"),
    [
        ("http://127.0.0.1:1", "cannot connect to 127.0.0.1:1"),
        ("ftp://x", "base_url: expected a URL"),
    ],
)
def test_an_unreachable_server_ends_the_demo_with_one_message(base_url: str, message: str) -> None:
    finished = run("demo", "--base-url", base_url)
    assert finished.returncode == 1
    assert message in finished.stdout
    assert "Traceback" not in finished.stdout + finished.stderr


# -- emulator


def test_the_emulator_applies_its_options(tmp_path: Path) -> None:
    accounts = tmp_path / "accounts"
    accounts.write_text(f"\nSK{'2' * 32}:key:secret\n")
    catalogue = tmp_path / "catalogue.json"
    catalogue.write_text(json.dumps([{"unique_name": "mine", "friendly_name": "Mine"}]))
    sid = "AC" + "1" * 32
    options = [
        *("--host", "127.0.0.1", "--port", "0", "--db", str(tmp_path / "state.db")),
        *("--account", f"{sid}:secret", "--accounts-file", str(accounts)),
        *("--catalogue", str(catalogue), "--concurrency", "2", "--latency", "0.01"),
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "marketplace_async", "emulator", "--quiet", *options],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        curl = (
            "import sys, urllib.request, base64\n"
            "request = urllib.request.Request(sys.argv[1] + '/v1/AvailableAddOns')\n"
            "request.add_header('Authorization', 'Basic ' + base64.b64encode("
            "sys.argv[2].encode()).decode())\n"
            "print(urllib.request.urlopen(request).read().decode())\n"
        )
        for user, status in (
            (f"{sid}:secret", 0),
            (f"{sid}:wrong", 1),
            (f"SK{'2' * 32}:key:secret", 0),
        ):
            response = subprocess.run(
                [sys.executable, "-c", curl, url, user], capture_output=True, text=True, check=False
            )
            assert response.returncode == status
            assert ("Mine" in response.stdout) == (status == 0)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
    assert (tmp_path / "state.db").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["emulator", "--port", "99999"], 2, "Must be from 0 to 65535"),
        (["emulator", "--port", "x"], 2, "--port"),
        (["emulator", "--concurrency", "0"], 2, "Must be more than 0"),
        (["emulator", "--latency", "-1"], 2, "Must be 0 or more"),
        (["emulator", "--account", "AC1"], 2, "--account: expected SID:SECRET"),
        (["emulator", "--account", "AC1:x"], 2, "--account: expected SID:SECRET"),
        (["emulator", "--accounts-file", "/nowhere/x"], 1, "the emulator cannot start"),
        (["emulator", "--accounts-file", "/dev/null"], 2, "/dev/null: expected SID:SECRET on each"),
        (["emulator", "--latency", "nan"], 2, "Must be 0 or more"),
        (["emulator", "--db", "/nowhere/x.db"], 1, "the emulator cannot start: /nowhere/x.db"),
        (["emulator", "--catalogue", "/nowhere/x.json"], 1, "the emulator cannot start"),
        (["emulator", "--host", "256.0.0.1"], 1, "the emulator cannot start"),
        (["nonsense"], 2, "nonsense"),
        (["emulator", "--nonsense"], 2, "--nonsense"),
    ],
)
def test_an_invalid_command_ends_with_a_message_and_its_exit_status(
    arguments: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == status
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
    assert "Traceback" not in captured.err


def test_the_error_of_an_invalid_accounts_file_gives_the_line_number_but_not_the_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accounts = tmp_path / "accounts"
    accounts.write_text(f"AC{'1' * 32}:secret\nAC1:made-up\n")
    assert main(["emulator", "--accounts-file", str(accounts)]) == 2
    assert capsys.readouterr().err == (
        f"error: {accounts}, line 2: expected SID:SECRET, where SID starts with AC, SK or OQ\n"
    )


def test_help_lists_the_commands_and_the_limits_of_the_emulator(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--help"]) == 0
    assert main(["emulator", "--help"]) == 0
    assert main(["--version"]) == 0
    out = capsys.readouterr().out
    for text in ("demo", "emulator", "It is not the service", "--latency", "0.1.0"):
        assert text in out


@pytest.mark.parametrize(
    ("missing", "arguments", "extra"),
    [("cyclopts", [], "cli"), ("jsonschema_rs", ["emulator"], "emulator")],
)
def test_the_error_of_a_missing_extra_names_the_extra(
    missing: str, arguments: list[str], extra: str
) -> None:
    program = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        f"from marketplace_async.cli import main; sys.exit(main({arguments!r}))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 2
    message, *lines = finished.stderr.splitlines()
    assert re.fullmatch(
        rf"(error: )?the .+ needs an extra: install marketplace_async\[{extra}\]", message
    )
    if extra == "cli":
        for line in (
            "pip install 'marketplace_async[cli]'",
            "pipx install 'marketplace_async[cli]'",
            "uvx --from 'marketplace_async[cli]' marketplace-async demo",
        ):
            assert any(each.endswith(f"  {line}") for each in lines)
    else:
        assert lines == []


def test_an_older_python_is_named() -> None:
    program = (
        "import sys; sys.version_info = (3, 10, 13, 'final', 0)\n"
        "try: import marketplace_async\n"
        "except ImportError as error: print(error)\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    message = "marketplace_async needs Python 3.11 or later; this is Python 3.10.13\n"
    assert finished.stdout == message


@pytest.mark.parametrize(
    ("folder", "line"),
    [
        ("/home/you/.cache/uv/archive-v0/x/lib", "uv tool install 'marketplace_async[cli]'"),
        ("/home/you/.local/share/uv/tools/x/lib", "pip install 'marketplace_async'"),
        ("/home/you/.local/share/pipx/venvs/x/lib", "pip install 'marketplace_async'"),
        ("/home/you/project/.nox/demo/lib", "pip install '.[cli]'"),
        ("/home/you/project/.venv/lib", "marketplace-async emulator"),
    ],
)
def test_the_demo_says_what_to_do_next_for_each_way_to_install(folder: str, line: str) -> None:
    first, following, *_ = demo.next_steps(f"{folder}/demo.py").splitlines()[2:]
    assert first.startswith(f"  {line}")
    assert "marketplace-async emulator" in first + following
