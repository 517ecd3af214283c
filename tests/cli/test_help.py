"""The help of every command."""

import re

import pytest
from cyclopts import App
from rich.console import Console
from support.command_line import commands
from support.paths import PROJECT

from marketplace_async.cli import main
from marketplace_async.cli.app import app
from marketplace_async.cli.status import Status


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
    assert text.startswith(" ".join(("Usage: marketplace-async", *words)))
    if command.default_command is not None:
        for argument in command.assemble_argument_collection(parse_docstring=True):
            if argument.show:
                assert argument.parameter.help, argument.names


def test_the_help_and_the_documentation_list_every_exit_status(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["--help"])
    help_text = capsys.readouterr().out
    table = (PROJECT / "docs" / "reference" / "exit-statuses.md").read_text()
    numbers = sorted(int(status) for status in Status)
    assert [
        int(number) for number in re.findall(r"^ +(\d+)  \w", help_text, re.MULTILINE)
    ] == numbers
    assert [int(number) for number in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == numbers
