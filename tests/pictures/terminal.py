"""Takes pictures of commands on a terminal, as SVG."""

import re
import shlex
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Final

from rich.ansi import AnsiDecoder
from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from support.fleet import PARENT, SPAM_SCORE, TRANSCRIPTION, VOICEBASE
from support.programs import environ
from support.terminal import PROGRAM, on_a_terminal

from marketplace_async.emulator import Emulator

from .pages import DESIRED, HOOK, fill

_FONT: Final = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
_INSTALLED: Final = {
    SPAM_SCORE: {},
    TRANSCRIPTION: {"callback_url": "https://hooks.example.com/done"},
    VOICEBASE: HOOK,
}
# Each picture: the number of columns, and the command.
COMMANDS: Final = {
    "installed": (110, "installed list"),
    "apply": (130, "apply fleet.toml --subaccounts --friendly-name '*Logistics' --limit 4 --yes"),
    "journal": (130, "journal show fleet.journal"),
}


def picture(command: str, columns: int, env: Mapping[str, str]) -> str:
    """Run a command of the command line on a terminal, and return its picture."""
    shown = f"$ marketplace-async {command}\n"
    program = shlex.join(PROGRAM)
    # Standard error is no terminal, so that no progress moves the cursor.
    script = f"cd; {program} {command} 2> >(cat); wait $!"
    finished = on_a_terminal(["bash", "-c", script], env=env, columns=columns)
    console = Console(
        width=columns, record=True, file=StringIO(), force_terminal=True, color_system="truecolor"
    )
    for line in AnsiDecoder().decode(shown + finished.raw.replace("\r\n", "\n")):
        # As a terminal does, which knows no words.
        for part in line.divide(range(columns, line.cell_len, columns)):
            console.print(part)
    svg = console.export_svg(title="marketplace-async", theme=DIMMED_MONOKAI, unique_id="terminal")
    # The fonts of rich come from another host.
    return _FONT.sub("", svg)


def take(home: Path, to: Path) -> None:
    """Save a picture of each command. The commands run one after another, on one emulator."""
    (home / "fleet.toml").write_text(DESIRED)
    with Emulator() as emulator:
        fill(emulator)
        for add_on, configuration in _INSTALLED.items():
            emulator.install(PARENT, add_on, configuration)
        env = {**environ(emulator.url), "HOME": str(home)}
        for name, (columns, command) in COMMANDS.items():
            (to / f"terminal-{name}.svg").write_text(picture(command, columns, env))
