"""The emulator as a process: its options, the lines that it prints, HTTPS, and its end."""

import argparse
import inspect
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from cyclopts import App
from support.paths import PROJECT
from support.plain_http import AC, basic

from marketplace_async.cli.app import app
from marketplace_async.cli.commands import emulator as command
from marketplace_async.emulator.__main__ import DESCRIPTION, main, parser
from marketplace_async.emulator.serving import Settings

MODULE = ("-m", "marketplace_async.emulator")
COMMAND = ("-m", "marketplace_async", "emulator")
OTHER_EXTRAS = ("cyclopts", "rich", "platformdirs", "tomlkit", "trustme")


def without(*modules: str, then: str) -> tuple[str, str]:
    """Return the arguments of a Python that has no such modules."""
    return "-c", f"import sys; sys.modules.update(dict.fromkeys({modules!r}))\n{then}"


@contextmanager
def process(
    *arguments: str, stderr: Any = subprocess.PIPE, **environ: str
) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Run Python with arguments that start an emulator. Yields the process and its URL."""
    env = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    started = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env={**env, **environ},
    )
    try:
        assert started.stdout is not None
        url = started.stdout.readline().strip()
        assert url, started.communicate()
        yield started, url
    finally:
        started.kill()
        started.communicate()


def get(url: str, context: ssl.SSLContext | None = None, **headers: str) -> int:
    request = urllib.request.Request(url, headers={**basic(), **headers})
    try:
        with urllib.request.urlopen(request, timeout=20, context=context) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def end(started: "subprocess.Popen[str]", number: signal.Signals = signal.SIGTERM) -> str:
    """Stop a process and return what it wrote to standard error."""
    started.send_signal(number)
    _, errors = started.communicate(timeout=20)
    assert started.returncode == 0, errors
    return errors


# -- options


def test_both_ways_to_start_have_the_same_options_and_explain_them_alike() -> None:
    actions = [
        action
        for action in parser("x")._actions
        if not isinstance(action, argparse._HelpAction | argparse._VersionAction)
    ]
    help_of = {
        argument.name: argument.parameter.help
        for argument in App(default_command=command.emulator).assemble_argument_collection(
            parse_docstring=True
        )
        if argument.show
    }
    parameters = inspect.signature(command.emulator).parameters
    assert [action.option_strings for action in actions] == [[name] for name in help_of]
    for action, parameter in zip(actions, parameters.values(), strict=True):
        assert action.default in (parameter.default, *([[]] if parameter.default is None else []))
        shown = " ".join(str(help_of[action.option_strings[0]]).split())
        assert action.help == shown
    assert set(parameters) == set(inspect.signature(Settings).parameters)
    assert " ".join(DESCRIPTION.split()) == " ".join(app["emulator"].help.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "99999"], "argument --port: must be from 0 to 65535, got '99999'"),
        (["--port", "x"], "argument --port: must be from 0 to 65535, got 'x'"),
        (["--concurrency", "0"], "argument --concurrency: must be a positive integer, got '0'"),
        (["--latency", "nan"], "argument --latency: must be 0 or more, got 'nan'"),
        (["--latency", "soon"], "argument --latency: must be 0 or more, got 'soon'"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["--quie"], "unrecognized arguments: --quie"),
    ],
)
def test_an_unknown_option_or_value_is_a_usage_error(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--account", "AC1:x"], 2, "--account: expected SID:SECRET"),
        (["--accounts-file", "/dev/null"], 2, "/dev/null: expected SID:SECRET on each line"),
        (["--accounts-file", "/nowhere/x"], 1, "the emulator cannot start"),
        (["--db", "/nowhere/x.db"], 1, "the emulator cannot start: /nowhere/x.db"),
        (["--host", "256.0.0.1"], 1, "the emulator cannot start"),
        (["--public-url", "emulator.test"], 2, "--public-url: must be like https://emulator"),
        (["--tls", "cert.pem"], 2, "--tls: expected CERT KEY, or self-signed"),
        (["--tls", "a", "b", "c"], 2, "--tls: expected CERT KEY, or self-signed"),
        (["--tls", "/nowhere/a", "/nowhere/b"], 1, "--tls: /nowhere/a: No such file or directory"),
        (["--tls", "/dev/null", "/dev/null"], 1, "--tls: /dev/null and /dev/null do not fit"),
    ],
)
@pytest.mark.parametrize("run", ["module", "command"])
def test_what_cannot_start_says_why(
    arguments: list[str],
    status: int,
    message: str,
    run: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from marketplace_async.cli import main as cli

    assert (main(arguments) if run == "module" else cli(["emulator", *arguments])) == status
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        MODULE,
        without(
            *OTHER_EXTRAS,
            then="from marketplace_async.emulator.__main__ import main; sys.exit(main([]))",
        ),
        without(
            *OTHER_EXTRAS,
            then="from marketplace_async.cli import main; sys.exit(main(['emulator']))",
        ),
        COMMAND,
    ],
    ids=["module", "module, extra emulator alone", "command, extra emulator alone", "command"],
)
def test_an_emulator_starts(arguments: tuple[str, ...]) -> None:
    with process(*arguments) as (started, url):
        assert get(f"{url}/v1/AvailableAddOns") == 200
        assert " 200  GET     /v1/AvailableAddOns  " in end(started)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("module", ["marketplace_async.emulator", "marketplace_async emulator"])
def test_output_that_cannot_be_written_is_one_sentence(module: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", *module.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr == "error: standard output: No space left on device\n"


@pytest.mark.parametrize(
    ("modules", "then", "message"),
    [
        (
            ("cyclopts", "jsonschema_rs"),
            "from marketplace_async.cli import main; sys.exit(main(['emulator']))",
            "the emulator needs an extra: install marketplace_async[emulator]",
        ),
        (
            ("cyclopts",),
            "from marketplace_async.cli import main; sys.exit(main(['installed']))",
            "the command line needs an extra: install marketplace_async[cli]",
        ),
        (
            ("jsonschema_rs",),
            "import runpy; runpy.run_module('marketplace_async.emulator', run_name='__main__')",
            "the emulator needs an extra: install marketplace_async[emulator]",
        ),
        (
            ("trustme",),
            "from marketplace_async.emulator.__main__ import main\n"
            "sys.exit(main(['--tls', 'self-signed']))",
            "--tls self-signed needs an extra: install marketplace_async[tls]",
        ),
    ],
)
def test_a_missing_extra_is_named(modules: tuple[str, ...], then: str, message: str) -> None:
    finished = subprocess.run(
        [sys.executable, *without(*modules, then=then)], capture_output=True, text=True, check=False
    )
    assert finished.returncode in (1, 2)
    assert any(message in line for line in finished.stderr.splitlines())
    assert finished.stdout == ""


# -- the line per request

LINE = re.compile(r"\d\d:\d\d:\d\d\.\d{3}   ?(\w+)  (\w+) +(\S+)  [\d.]+ ms(?:  (AC\w+))?(.*)")


def test_a_line_per_request_says_what_happened() -> None:
    with process(*MODULE) as (started, url):
        fault = b'{"method": "GET", "path": "/v1/Listings", "status": 503, "retry_after": 2}'
        urllib.request.urlopen(
            urllib.request.Request(
                f"{url}/_emulator/faults", fault, {"Content-Type": "application/json"}
            )
        ).close()
        assert get(f"{url}/v1/AvailableAddOns?PageSize=1") == 200
        assert get(f"{url}/v1/Listings") == 503
        assert get(f"{url}/v1/%1b%5B31mred%0A%C3%A9", Authorization="Basic secret") == 401
        assert get(f"{url}/_emulator/health") == 200  # the control API has no lines
        lines = end(started).splitlines()
    found = [match.groups() for line in lines if (match := LINE.fullmatch(line))]
    assert found == [
        ("200", "GET", "/v1/AvailableAddOns?PageSize=1", AC, ""),
        ("503", "GET", "/v1/Listings", AC, "  fault: status=503, retry_after=2"),
        ("401", "GET", "/v1/\\x1b[31mred\\né", None, ""),
    ]
    assert len(lines) == 3


def test_lines_are_colored_where_colors_are_wanted() -> None:
    with process(*MODULE, FORCE_COLOR="1") as (started, url):
        get(f"{url}/v1/AvailableAddOns")
        get(f"{url}/v1/nowhere")
        errors = end(started)
    assert "\x1b[32m 200\x1b[0m" in errors
    assert "\x1b[33m 404\x1b[0m" in errors
    with process(*MODULE, FORCE_COLOR="1", NO_COLOR="1") as (started, url):
        get(f"{url}/v1/AvailableAddOns")
        assert "\x1b" not in end(started)


def test_quiet_prints_no_line() -> None:
    with process(*MODULE, "--quiet") as (started, url):
        get(f"{url}/v1/AvailableAddOns")
        assert end(started) == ""


def test_a_terminal_that_stands_still_delays_no_request_and_not_the_end() -> None:
    read, write = os.pipe()
    try:
        with process(*MODULE, stderr=write) as (started, url):
            path = "/v1/" + "x" * 4000
            assert [get(url + path) for _ in range(40)] == [404] * 40  # 160 KB, more than a pipe
            began = time.monotonic()
            started.send_signal(signal.SIGTERM)
            assert started.wait(timeout=10) == 0
            assert time.monotonic() - began < 5
    finally:
        os.close(read)
        os.close(write)


def test_lines_that_nobody_reads_end_nothing() -> None:
    read, write = os.pipe()
    os.close(read)
    with process(*MODULE, stderr=write) as (started, url):
        os.close(write)
        assert [get(f"{url}/v1/AvailableAddOns") for _ in range(3)] == [200] * 3
        started.send_signal(signal.SIGTERM)
        assert started.wait(timeout=10) == 0


# -- addresses


def test_a_wildcard_address_prints_a_url_that_works() -> None:
    with process(*MODULE, "--host", "0.0.0.0") as (_, url):
        assert url.startswith("http://127.0.0.1:")
        assert get(f"{url}/v1/AvailableAddOns") == 200


def test_further_names_are_allowed() -> None:
    with process(*MODULE, "--allow-host", "a.test", "--allow-host", "b.test") as (_, url):
        for host, status in (("a.test", 200), ("b.test:80", 200), ("c.test", 403)):
            assert get(f"{url}/_emulator/health", Host=host) == status


# -- HTTPS


def test_https_is_served_with_the_files_given(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    for arguments in (MODULE, COMMAND):
        with process(*arguments, "--tls", str(certificate), str(key), "--quiet") as (_, url):
            assert url.startswith("https://127.0.0.1:")
            assert get(f"{url}/v1/AvailableAddOns", context) == 200


def test_a_self_signed_certificate_is_trusted_by_the_lines_that_are_printed() -> None:
    options = ("--tls", "self-signed", "--allow-host", "emulator.test")
    with process(*MODULE, *options) as (started, url):
        assert started.stderr is not None
        shown = started.stderr.readline() + started.stderr.readline()
        (file,) = set(re.findall(r"/\S+ca\.pem", shown))
        context = ssl.create_default_context(cafile=file)
        assert get(f"{url}/v1/AvailableAddOns", context) == 200
        assert get(f"{url.replace('127.0.0.1', 'localhost')}/v1/AvailableAddOns", context) == 200
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            get(f"{url}/v1/AvailableAddOns")
        export = re.findall(r"(\w+)=(\S+)", shown.splitlines()[1])
        program = "import urllib.request, sys; urllib.request.urlopen(sys.argv[1])"
        subprocess.run(
            [sys.executable, "-c", program, f"{url}/_emulator/health"],
            env={**os.environ, **dict(export)},
            check=True,
        )
        end(started)
    assert not Path(file).exists()


def test_a_key_with_a_password_is_rejected_without_a_question(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    issued = trustme.CA().issue_cert("127.0.0.1")
    pem = issued.private_key_pem.bytes()
    key = serialization.load_pem_private_key(pem, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )
    (tmp_path / "key.pem").write_bytes(key)
    (tmp_path / "cert.pem").write_bytes(issued.cert_chain_pems[0].bytes())
    finished = subprocess.run(
        [sys.executable, *MODULE, "--tls", str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert (finished.returncode, "needs a password" in finished.stderr) == (1, True)


# -- the end

WINDOWS = """
import asyncio, sys
def unsupported(*_):
    raise NotImplementedError
asyncio.AbstractEventLoop.add_signal_handler = unsupported
for loop in (asyncio.SelectorEventLoop,):
    loop.add_signal_handler = unsupported
from marketplace_async.emulator.__main__ import main
sys.exit(main([]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("arguments", [MODULE, ("-c", WINDOWS)], ids=["posix", "as on Windows"])
def test_a_signal_ends_it_well(arguments: tuple[str, ...], number: signal.Signals) -> None:
    with process(*arguments) as (started, url):
        get(f"{url}/v1/AvailableAddOns")
        assert "Traceback" not in end(started, number)


def test_an_open_page_does_not_delay_the_end() -> None:
    with process(*MODULE) as (started, url):
        request = urllib.request.Request(
            f"{url}/_emulator/log", headers={"Accept": "text/event-stream"}
        )
        with urllib.request.urlopen(request, timeout=20) as stream:
            assert stream.readline().startswith(b"event: emulator")
            began = time.monotonic()
            end(started)
            assert time.monotonic() - began < 5


# -- the container


def test_the_container_starts_the_emulator_and_checks_its_health() -> None:
    text = (PROJECT / "examples" / "Containerfile").read_text().replace("\\\n", " ")
    pattern = r"^(ENTRYPOINT|CMD|HEALTHCHECK .*? CMD) (\[.*\])$"
    instructions = dict(re.findall(pattern, text, re.MULTILINE))
    entrypoint, options, check = (
        json.loads(next(value for name, value in instructions.items() if name.startswith(start)))
        for start in ("ENTRYPOINT", "CMD", "HEALTHCHECK")
    )
    assert entrypoint[1:3] == ["-m", "marketplace_async.emulator"]
    parsed = parser("x").parse_args([*entrypoint[3:], *options])
    assert (parsed.host, parsed.port, parsed.db) == ("0.0.0.0", 8912, Path("/state/emulator.db"))
    assert check[0] == entrypoint[0]
    with process(*MODULE, "--quiet") as (started, url):
        program = check[2].replace("http://127.0.0.1:8912", url)
        assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
        end(started)
        ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
        assert ended.returncode == 1
