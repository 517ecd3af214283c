"""Every transcript in the manual is the real output against a fresh emulator.

Varying parts are masked: placeholder SIDs (those that begin with zeros), dates, the emulator's URL,
and the error numbers of the operating system.
"""

import re
from pathlib import Path

from support.command_line import commands
from support.manual import MANUAL
from support.transcripts import Session, steps

from marketplace_async.emulator import Emulator

STEPS = list(steps(MANUAL))


def test_every_transcript_shows_the_real_output(served: Emulator, tmp_path: Path) -> None:
    session = Session(tmp_path, served.url)
    session.write(MANUAL)
    for step in STEPS:
        output = session.run(step.command)
        assert session.as_expected(output, step.output) == step.output, step.command


def test_every_command_appears_in_the_manual() -> None:
    typed = "\n".join(step.command for step in STEPS) + MANUAL
    for command, words in commands():
        if command.default_command is not None:
            assert re.search(rf"marketplace-async {' '.join(words)}\b", typed), words
