"""Runs the command line in this process, against an emulator."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from cyclopts import App

from marketplace_async.cli import main
from marketplace_async.cli.app import app
from marketplace_async.emulator import Emulator
from marketplace_async.testing import account

SID = account().account_sid
SECRET = "made-up-and-never-shown"


@attrs.frozen
class Finished:
    """The result of a command."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Finished]


@pytest.fixture
def cli(
    served: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Cli:
    for name in ("TWILIO_API_KEY", "TWILIO_CLIENT_ID", "MARKETPLACE_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MARKETPLACE_PROFILES", str(tmp_path / "profiles.toml"))
    monkeypatch.setenv("MARKETPLACE_BASE_URL", served.url)
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", SID)
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", SECRET)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str, stdin: str | None = None) -> Finished:
        if stdin is not None:
            monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        status = main(arguments)
        captured = capsys.readouterr()
        assert SECRET not in captured.out + captured.err
        assert "Traceback" not in captured.err
        return Finished(status, captured.out, captured.err)

    return run


def commands(parent: App = app, *words: str) -> Iterator[tuple[App, tuple[str, ...]]]:
    """Yield each command and command group, with the words that name it."""
    yield parent, words
    for name, child in parent.resolved_commands().items():
        if not name.startswith("-"):
            yield from commands(child, *words, name)
