"""`secret_command` of a profile: a program that prints the secret."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.command_line import SECRET, SID, Cli
from support.reporters import reports

from marketplace_async.cli import profiles, resolution, secret_commands
from marketplace_async.cli.connection import Connection
from marketplace_async.cli.status import CommandError
from marketplace_async.emulator import Emulator

KEY = "SK" + "0" * 31 + "2"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "profiles.toml"
    file.touch(mode=0o600)
    return file


def program(tmp_path: Path, *lines: str) -> str:
    """Write a Python program, and return the command that runs it."""
    script = tmp_path / "print secret.py"
    script.write_text("\n".join(("import os, sys, time", *lines)))
    return f"'{sys.executable}' '{script}'"


def write(file: Path, command: str, *more: str) -> None:
    lines = (f'account_sid = "{SID}"', f'secret_command = "{command}"', *more)
    file.write_text("[work]\n" + "\n".join(lines))


def test_the_secret_comes_from_the_program(
    cli: Cli, file: Path, tmp_path: Path, served: Emulator
) -> None:
    served.reset()
    write(file, program(tmp_path, f"print('  {SECRET}  ')"))
    assert cli("installed", "list", "--profile", "work").status == 0
    assert [entry.account_sid for entry in served.log] == [SID]
    access = resolution.resolve(Connection(profile="work"), {"MARKETPLACE_PROFILES": str(file)})
    credentials = access.credentials
    assert getattr(credentials, "auth_token").reveal() == SECRET  # noqa: B009
    assert access.source == f'profile "work" in {file}, with the secret of its secret_command'


@pytest.mark.parametrize(
    ("lines", "message", "status"),
    [
        (["sys.exit(3)"], "secret_command failed with exit status 3", 1),
        (["print('s3cr3t'); sys.exit(1)"], "secret_command failed with exit status 1", 1),
        ([], "secret_command printed nothing", 1),
        (["print('s3cr3t'); print('s3cr3t')"], "secret_command printed 2 lines", 1),
        (["sys.stdout.buffer.write(b's3cr3t\\xff')"], "that is not UTF-8", 1),
        (["print('s3cr3t', flush=True); time.sleep(9)"], "took more than 0.5 seconds", 1),
    ],
)
def test_a_program_that_prints_no_secret_is_an_error_that_shows_no_output(
    cli: Cli,
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lines: Sequence[str],
    message: str,
    status: int,
) -> None:
    monkeypatch.setattr(secret_commands, "_TIMEOUT", 0.5 if "sleep" in str(lines) else 20.0)
    write(file, program(tmp_path, *lines))
    finished = cli("installed", "list", "--profile", "work")
    assert (finished.status, finished.out) == (status, "")
    assert f'error: profile "work" in {file}: ' in finished.err
    assert message in finished.err
    assert "s3cr3t" not in finished.err
    with pytest.raises(CommandError) as caught:
        secret_commands.read(program(tmp_path, *lines), "here")
    assert all(
        "s3cr3t" not in text for text in reports(_without_test_frames(caught.value)).values()
    )


def _without_test_frames(error: BaseException) -> BaseException:
    assert error.__context__ is None
    assert error.__traceback__ is not None
    return error.with_traceback(error.__traceback__.tb_next)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("/no/such/program --flag", "the program '/no/such/program' does not exist"),
        ("pass 'show", "secret_command: no closing quotation"),
        ("#", "the program '#' does not exist"),
    ],
)
def test_an_unusable_command_is_a_usage_error(
    cli: Cli, file: Path, command: str, message: str
) -> None:
    write(file, command)
    finished = cli("installed", "list", "--profile", "work")
    assert (finished.status, finished.out) == (2, "")
    assert message in finished.err
    added = cli("profiles", "add", "new", "--api-key", KEY, "--secret-command", command)
    assert added.status == 2
    assert message in added.err
    assert "new" not in profiles.load(file)


def test_a_profile_has_a_secret_or_a_command(cli: Cli, file: Path) -> None:
    write(file, "true", f'auth_token = "{SECRET}"')
    finished = cli("installed", "list", "--profile", "work")
    assert finished.status == 2
    assert "expected auth_token or secret_command, got both" in finished.err


def test_a_command_is_added_and_listed_and_not_run(cli: Cli, file: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    command = program(tmp_path, f"open({str(trace)!r}, 'w')")
    add = ("profiles", "add", "new", "--api-key", KEY, "--account-sid", SID)
    assert cli(*add, "--secret-command", command).status == 0
    listed = cli("profiles", "list", "--output", "csv").out
    assert f"new,API key,{KEY},command," in listed
    assert profiles.load(file)["new"].secret_command == command
    assert not trace.exists()
    both = cli(*add, "--replace", "--secret-command", command, "--no-secret")
    assert "at most one of --secret-stdin, --secret-command and --no-secret" in both.err


@pytest.mark.skipif(os.name != "posix", reason="POSIX only")
def test_the_program_does_not_read_the_input_of_the_command(
    cli: Cli, file: Path, tmp_path: Path, served: Emulator
) -> None:
    write(file, program(tmp_path, f"print('{SECRET}' if not sys.stdin.read() else '')"))
    create = ("installed", "create", "XB85b56ed9ce713e0ac62342b901233193", "--profile", "work")
    configuration = '{"callback_url": "https://example.com", "callback_method": "POST"}'
    finished = cli(
        *create, "--accept-terms-of-service", "--configuration", "-", stdin=configuration
    )
    assert finished.status == 0, finished.err
