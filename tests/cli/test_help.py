"""The help of every command."""

import re

import pytest
from cyclopts import App
from rich.console import Console
from support.command_line import commands
from support.paths import PROJECT

from marketplace_async.cli import main
from marketplace_async.cli.app import app
from marketplace_async.cli.commands.help import TOPICS
from marketplace_async.cli.status import Status

SCREEN = 40
# A line that was wrapped where the source is wrapped and not where the terminal ends.
BROKEN_SENTENCE = re.compile(r"^\w.{,45}[^.:\n]\n\w", re.MULTILINE)


@pytest.mark.parametrize(
    ("command", "words"),
    [*commands()],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_help_fits_80_columns_and_explains_each_option(
    command: App,
    words: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(app, "console", Console(width=80))
    assert main([*words, "--help"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("\n") <= SCREEN
    assert text.startswith(" ".join(("Usage: marketplace-async", *words)))
    assert "ARGS" not in text
    assert not BROKEN_SENTENCE.search(text)
    if command.default_command is not None:
        for argument in command.assemble_argument_collection(parse_docstring=True):
            if argument.show:
                assert argument.parameter.help, argument.names


def test_the_help_and_the_documentation_list_every_exit_status(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["help", "exit-statuses"])
    help_text = capsys.readouterr().out
    table = (PROJECT / "docs" / "reference" / "exit-statuses.md").read_text()
    numbers = sorted(int(status) for status in Status)
    assert [
        int(number) for number in re.findall(r"^ +(\d+)  \w", help_text, re.MULTILINE)
    ] == numbers
    assert [int(number) for number in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == numbers


def shown(*words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(app, "console", Console(width=80))
    status = main(words)
    captured = capsys.readouterr()
    assert (status, captured.err) == (0, "")
    return captured.out


def test_shared_options_are_one_line_and_explained_on_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short = shown("installed", "list", "--help", monkeypatch=monkeypatch, capsys=capsys)
    assert "Connection: --profile, --region, --edge," in short
    assert "Output: -o/--output table|json|jsonl|csv (help output)" in short
    assert "Twilio region" not in short
    in_full = shown("installed", "list", "--help-all", monkeypatch=monkeypatch, capsys=capsys)
    topic = shown("help", "connection", monkeypatch=monkeypatch, capsys=capsys)
    for option in ("profile", "region", "edge", "base-url", "proxy", "ca-file", "timeout"):
        assert f"--{option}" in short
        assert f"--{option} " in in_full
        assert f"--{option} " in topic
    assert "The Twilio region, such as au1." in in_full
    assert "TWILIO_REGION" in topic
    assert "Usage" not in topic
    # A value of an option, or of a command, is not a request for help.
    assert main(["installed", "delete", "--", "--help-all"]) == 2


@pytest.mark.parametrize("topic", TOPICS)
def test_every_topic_fits_a_screen_and_completes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], topic: str
) -> None:
    text = shown("help", topic, monkeypatch=monkeypatch, capsys=capsys)
    assert text.count("\n") <= SCREEN
    assert max(map(len, text.splitlines())) <= 80
    completed = shown("__complete", "help", "", monkeypatch=monkeypatch, capsys=capsys)
    assert {topic, "installed", "apply"} <= {line.strip() for line in completed.splitlines()}
    main(["--help"])
    assert topic in capsys.readouterr().out


def test_help_explains_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in ((), ("installed",), ("installed", "extensions", "list"), ("apply",)):
        text = shown("help", *words, monkeypatch=monkeypatch, capsys=capsys)
        assert text == shown(*words, "--help", monkeypatch=monkeypatch, capsys=capsys)
    assert main(["help", "instaled"]) == 2
    assert capsys.readouterr().err == (
        "error: no topic or command 'instaled'\n"
        "hint: Topics: connection, output, accounts, exit-statuses.\n"
    )
