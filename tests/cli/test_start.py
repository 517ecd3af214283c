"""What it costs to start: CPU time, and the modules that help and completion do not import."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

import pytest
from support.command_line import SID, commands
from support.paths import PROJECT

from marketplace_async.accounts import AccountStatus
from marketplace_async.cli.commands import accounts

PYTHON = (sys.executable, "-c", "pass")
LIBRARIES = (sys.executable, "-c", "import cyclopts, rich.console")
# What the installed script does. `python -m` costs 5 ms more.
PROGRAM = (sys.executable, "-c", "from marketplace_async.cli import program; program()")
VERSION = (*PROGRAM, "--version")
SLOW = {
    *("aiohttp", "asyncio", "cattrs", "jsonschema", "jsonschema_rs", "msgspec", "multidict"),
    *("sqlite3", "tomlkit", "yarl", "marketplace_async._public"),
}


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of an installed program: with bytecode, and without coverage."""
    names = ("COV", "PYTHON", "TWILIO_", "MARKETPLACE_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    home, cache = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("bytecode")
    return {
        **env,
        "HOME": str(home),
        "PYTHONPATH": str(PROJECT),
        "PYTHONPYCACHEPREFIX": str(cache),
    }


# -- CPU time

ROUNDS = 9
TYPICAL = [
    (*PROGRAM, *words)
    for words in (
        ["--help"],
        ["__complete", "installed", "list", "--"],
        ["__complete", "plan", "fleet.toml", "--acc"],
        ["instaled"],
        ["installed", "list", "--limt", "3"],
        ["plan", "fleet.toml", "--subacounts"],
        ["emulator", "--prot", "1"],
    )
]


def cpu(command: Sequence[str], env: Mapping[str, str]) -> float:
    """Run a command and return its CPU time in seconds, in user mode and in the kernel."""
    silent = subprocess.DEVNULL
    process = subprocess.Popen(command, env=env, stdin=silent, stdout=silent, stderr=silent)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


@pytest.fixture(scope="module")
def seconds(env: dict[str, str]) -> dict[tuple[str, ...], float]:
    """The least CPU time of each command: other programs only add to it. They take turns."""
    times: dict[tuple[str, ...], list[float]] = {
        command: [] for command in (PYTHON, LIBRARIES, VERSION, *TYPICAL)
    }
    for _ in range(1 + ROUNDS):
        for command, values in times.items():
            values.append(cpu(command, env))
    # The first round filled the bytecode cache.
    return {command: min(values[1:]) for command, values in times.items()}


def test_the_version_costs_at_most_two_and_a_half_times_python_itself(
    seconds: dict[tuple[str, ...], float],
) -> None:
    assert seconds[VERSION] <= 2.5 * seconds[PYTHON]


@pytest.mark.parametrize("command", TYPICAL, ids=lambda command: " ".join(command[len(PROGRAM) :]))
def test_help_completion_and_typos_cost_at_most_half_more_than_cyclopts_and_rich(
    seconds: dict[tuple[str, ...], float], command: tuple[str, ...]
) -> None:
    assert seconds[command] <= 1.5 * seconds[LIBRARIES]


# -- modules


def invocations() -> Iterator[list[str]]:
    """Yield the help, a completion and a mistyped option of every command, and more."""
    yield ["--version"]
    yield []
    yield ["instaled"]
    yield ["installed", "lst"]
    yield ["installed", "fetch"]  # the SID is missing
    yield ["installed", "fetch", "--version"]
    for _, words in commands():
        yield [*words, "--help"]
        yield [*words, "--nonsense"]
        yield ["__complete", *words, "--"]
    yield ["__complete", "installed", "list", "--profile", ""]
    yield ["--install-completion", "--shell", "fish"]


def run_all(invocations: Sequence[Sequence[str]], env: Mapping[str, str]) -> Any:
    """Run commands in one fresh process. Return the modules that each of them imported."""
    program = (
        "import contextlib, io, json, sys\n"
        "invocations, imported, known = json.load(sys.stdin), [], set(sys.modules)\n"
        "from marketplace_async.cli import main\n"
        "for words in invocations:\n"
        "    with contextlib.redirect_stdout(io.StringIO()):\n"
        "        main(words)\n"
        "    imported.append([words, sorted(sys.modules.keys() - known)])\n"
        "    known.update(sys.modules)\n"
        "print(json.dumps(imported))\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(invocations),
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def test_help_completion_and_typos_import_no_slow_modules(env: dict[str, str]) -> None:
    imported = run_all([*invocations()], env)
    assert len(imported) > 100
    found = [(words, SLOW.intersection(modules)) for words, modules in imported]
    assert [(words, modules) for words, modules in found if modules] == []
    assert any("cyclopts" in modules for _, modules in imported)


def test_the_version_imports_only_this_package(env: dict[str, str]) -> None:
    [[_, imported]] = run_all([["--version"]], env)
    assert imported == ["marketplace_async", "marketplace_async._version", "marketplace_async.cli"]


def test_a_command_that_runs_imports_the_package(env: dict[str, str]) -> None:
    server = {"MARKETPLACE_BASE_URL": "http://127.0.0.1:1"}
    credentials = {"TWILIO_ACCOUNT_SID": SID, "TWILIO_AUTH_TOKEN": "made-up"}
    [[_, imported]] = run_all(
        [["installed", "fetch", "XE" + "1" * 32]], {**env, **server, **credentials}
    )
    assert {"aiohttp", "cattrs", "marketplace_async._public"} <= set(imported)


def test_the_account_statuses_are_those_of_the_package() -> None:
    assert get_args(accounts.AccountStatus) == get_args(AccountStatus)


# -- the version


@pytest.mark.parametrize("words", [["--version"], ["installed", "--version"]])
def test_the_version_is_the_same_in_every_place(env: dict[str, str], words: list[str]) -> None:
    from marketplace_async import __version__

    printed = subprocess.run(
        [*PROGRAM, *words], env=env, capture_output=True, text=True, check=True
    )
    assert (printed.stdout, printed.stderr) == (f"{__version__}\n", "")


@pytest.mark.parametrize(
    ("redirection", "status", "error"),
    [
        (">&-", 1, "error: standard output is closed\n"),
        ("> /dev/full", 1, "error: [Errno 28] No space left on device\n"),
    ],
)
def test_the_version_reports_that_it_cannot_be_printed(
    env: dict[str, str], redirection: str, status: int, error: str
) -> None:
    program = f'"{sys.executable}" -m marketplace_async --version {redirection}'
    finished = subprocess.run(
        ["sh", "-c", program], env=env, capture_output=True, text=True, check=False
    )
    assert finished.stderr.startswith(error)
    assert "Traceback" not in finished.stderr
    assert finished.returncode in (status, 120)  # 120: the interpreter cannot flush its output


def test_a_closed_pipe_ends_the_version_silently(env: dict[str, str]) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write) as pipe:
        finished = subprocess.run(
            VERSION, env=env, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (finished.returncode, finished.stderr) == (-signal.SIGPIPE, "")
