"""The console transcripts of the README: commands and their output."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs

from support.terminal import on_a_terminal

COLUMNS = 120
REPLIES = {
    "[y/N] ": "y\n",
    "OAuth client ID (OQ...): ": "AC00000000000000000000000000000001\n",
    "(input hidden): ": "made-up\n",
}
README_URL = "http://127.0.0.1:8912"
README_HOME = "/home/you"

_BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"`(\S+)`:\n\n```(?:toml|csv)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)\n", re.MULTILINE)
_SID = re.compile(r"\b(?:[A-Z]{2})[0-9a-f]{32}\b")
# A bar that a slow machine shows in a terminal, and that is erased when the command ends.
_BAR = re.compile("\x1b\\[\\?25l.*?\x1b\\[\\?25h\r?\n?\x1b\\[1A\x1b\\[2K", re.DOTALL)
_ERRNO = re.compile(r"\[Errno \d+\]")
_ELAPSED = re.compile(r"attempts in \d+\.\d s")
_DATE = re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?: UTC|Z)?")


@attrs.frozen
class Step:
    """A command and its output on the screen."""

    command: str
    output: str


def steps(text: str) -> Iterator[Step]:
    """Yield the steps of all transcripts of a page, in order."""
    for block in _BLOCK.findall(text):
        if block.startswith("$ "):
            _, *parts = _COMMAND.split(block)
            yield from map(Step, parts[::2], parts[1::2])


def is_placeholder(sid: str) -> bool:
    """Return whether a SID in the README is a placeholder for one that the service creates."""
    return sid.startswith(("XE0", "XB0000", "RQ"))


class Session:
    """Runs commands one after another in one shell environment, against one emulator."""

    def __init__(self, folder: Path, url: str) -> None:
        self._home = folder
        self._url = url
        self._status = 0
        self._sids: dict[str, str] = {}
        shim = folder / "bin" / "marketplace-async"
        shim.parent.mkdir()
        shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m marketplace_async "$@"\n')
        shim.chmod(0o755)
        inherited = {
            name: value
            for name, value in os.environ.items()
            # Coverage would double the time, and other tests run the same commands.
            if not name.startswith(("TWILIO_", "MARKETPLACE_", "COVERAGE_"))
        }
        self._env = {
            **inherited,
            "PATH": f"{shim.parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "MARKETPLACE_PROFILES": f"{folder}/.config/marketplace-async/profiles.toml",
        }

    def write(self, text: str) -> None:
        """Write the files of a page: each is a code block after a file name and a colon."""
        for name, content in _FILE.findall(text):
            (self._home / name).write_text(content)

    def run(self, command: str) -> str:
        """Run a command of the README and return the screen, with the README's URL and home."""
        if command.startswith("export "):
            name, _, value = command.removeprefix("export ").partition("=")
            self._env[name] = value.replace(README_URL, self._url)
            return ""
        if command.startswith("unset "):
            del self._env[command.removeprefix("unset ")]
            return ""
        for readme, real in self._sids.items():
            command = command.replace(readme, real)
        command = command.replace(README_URL, self._url)
        script = f"cd; (exit {self._status}); {command}"
        finished = on_a_terminal(
            ["bash", "-c", script], env=self._env, typed=REPLIES, columns=COLUMNS
        )
        self._status = finished.status
        screen = finished.screen.replace(self._url, README_URL)
        return screen.replace(str(self._home), README_HOME)

    def as_expected(self, output: str, expected: str) -> str:
        """Replace SIDs, dates, times and error numbers in `output` that vary by the expected ones.

        A placeholder SID stands for the same record in all steps.
        """
        for real, readme in zip(_SID.findall(output), _SID.findall(expected), strict=False):
            if is_placeholder(readme) and real[:2] == readme[:2]:
                known = self._sids.setdefault(readme, real)
                if known == real:
                    output = output.replace(real, readme)
        output = _BAR.sub("", output)
        output = _ERRNO.sub("[Errno 111]", output)
        output = _ELAPSED.sub("attempts in 1.9 s", output)
        dates = iter(_DATE.findall(expected))

        def date(match: re.Match[str]) -> str:
            other = next(dates, "")
            return other if len(other) == len(match[0]) else match[0]

        return _trimmed(_DATE.sub(date, output))


def _trimmed(text: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())
