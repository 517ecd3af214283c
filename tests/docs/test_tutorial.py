"""The course of the tutorial works as it is: its files, its commands, and what they print."""

import re
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from support.manual import BLOCK, COURSE
from support.transcripts import Session, steps

from marketplace_async.emulator import Emulator
from marketplace_async.testing import account

# The last name before a block of code is that of the file to save it in.
_NAMED = re.compile(
    r"`([\w.]+\.(?:py|toml|ini))`:\n\n```\w+\n(.*?)^```|^```console\n(.*?)^```",
    re.MULTILINE | re.DOTALL,
)
_ACCOUNT = re.compile(r"\bAC[0-9a-f]{32}\b")
_SECONDS = re.compile(r"in \d+\.\d+ ?s")


class Student(Session):
    """Follows the course, in one shell."""

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder, url)
        self.folder = folder
        python = folder / "bin" / "python"
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
        self._accounts: dict[str, str] = {account().account_sid: account().account_sid}

    def as_expected(self, output: str, expected: str) -> str:
        """Replace what varies, which includes the SIDs of new accounts and times of pytest."""
        for real, shown in zip(_ACCOUNT.findall(output), _ACCOUNT.findall(expected), strict=False):
            output = output.replace(real, self._accounts.setdefault(real, shown))
        seconds = _SECONDS.search(expected)
        output = _SECONDS.sub(seconds[0] if seconds else "in 1.0s", output)
        return super().as_expected(output, expected)


def test_a_student_sees_what_the_course_shows(served: Emulator, tmp_path: Path) -> None:
    student = Student(tmp_path, served.url)
    for page in COURSE:
        for name, content, console in _NAMED.findall(page.read_text()):
            if name:
                (tmp_path / name).write_text(content)
            for step in steps(f"```console\n{console}```") if console else ():
                output = student.run(step.command)
                shown = student.as_expected(output, step.output)
                assert shown == step.output, f"{page.name}: {step.command}"


@pytest.mark.parametrize("page", COURSE, ids=lambda page: page.stem)
def test_every_file_of_the_course_has_a_name_and_is_used(page: Path) -> None:
    text = page.read_text()
    named = [content for name, content, _ in _NAMED.findall(text) if name]
    blocks = [content for language, content in BLOCK.findall(text) if language != "console"]
    assert named == blocks
    for name, _, _ in _NAMED.findall(text):
        stem = name.partition(".")[0]
        assert not name or re.search(rf"^\$ .*{stem}|pytest", text, re.MULTILINE), name


def test_each_page_of_the_course_leads_to_the_next() -> None:
    for page, following in pairwise(COURSE):
        assert page.read_text().rstrip().endswith(f"({following.name})")
