"""Every transcript of the README is run against a fresh emulator, and comes out as it stands there.

What varies is masked: SIDs that the service makes (in the README, those that begin with zeros)
stand for the same record wherever they appear, dates for any other, the emulator's address for its
own, and the number of an error of the operating system for that of another.
"""

import re
from pathlib import Path

from support.command_line import commands
from support.paths import PROJECT
from support.transcripts import Session, steps

from marketplace_async.emulator import Emulator

README = (PROJECT / "README.md").read_text()
STEPS = list(steps(README))


def test_every_transcript_comes_out_as_it_stands_in_the_readme(
    served: Emulator, tmp_path: Path
) -> None:
    session = Session(tmp_path, served.url)
    session.write(README)
    for step in STEPS:
        output = session.run(step.command)
        assert session.as_expected(output, step.output) == step.output, step.command


def test_every_command_is_shown() -> None:
    typed = "\n".join(step.command for step in STEPS) + README
    for command, words in commands():
        if command.default_command is not None:
            assert re.search(rf"marketplace-async {' '.join(words)}\b", typed), words
