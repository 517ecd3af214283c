"""The problems of a desired state, each with its line, its path and a way to fix it."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, time
from difflib import get_close_matches
from itertools import islice
from typing import Final

from .._core.printable import printable
from ..errors import MarketplaceError
from .toml_text import Lines, Path

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_MAX_SHOWN: Final = 60
# Each comparison takes microseconds, and more for long text.
_MAX_COMPARED: Final = 1000


class DesiredStateError(MarketplaceError, ValueError):
    """The desired state is invalid. The message lists every problem, one on each line.

    Args:
        problems: The problems, or a single one.
        file: The file, if known.

    Attributes:
        problems: The problems. Each says where it is in the file, and what to change.
        file: The file, if known.
    """

    def __init__(self, problems: str | Iterable[str], file: str | None = None) -> None:
        self.problems: tuple[str, ...] = (
            (problems,) if isinstance(problems, str) else tuple(problems)
        )
        self.file: str | None = file
        super().__init__(self.problems, file)

    @property
    def summary(self) -> str:
        """The message in one line: the only problem, or their number."""
        place = "" if self.file is None else f"{self.file}: "
        if len(self.problems) == 1:
            return printable(place + self.problems[0])
        return printable(f"{place}{len(self.problems):,} problems")

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return self.summary
        return "\n  ".join([self.summary, *map(printable, self.problems)])


class Problems:
    """Collects the problems of a document.

    Args:
        names: The unique names of the Add-ons in the document, as far as they are known.
        lines: The lines of the document.
    """

    def __init__(self, names: Sequence[str | None], lines: Lines) -> None:
        self._names = names
        self._lines = lines
        self._found: dict[tuple[Path, str], None] = {}

    def add(self, path: Path, message: str) -> None:
        """Add a problem. Further ones with the same path and message are dropped."""
        self._found.setdefault((path, message))

    def __len__(self) -> int:
        return len(self._found)

    def check(self) -> None:
        """Raise DesiredStateError if there are problems."""
        if self._found:
            raise DesiredStateError(self._texts())

    def _texts(self) -> list[str]:
        """Return the problems, sorted by line where the line is known."""
        found = [(self._lines.of(path), path, message) for path, message in self._found]
        found.sort(key=lambda problem: problem[0] or 0)
        return [self._text(*problem) for problem in found]

    def _text(self, line: int | None, path: Path, message: str) -> str:
        where = "" if line is None else f"line {line}: "
        if not path:
            return where + message
        name = None
        if len(path) > 1 and path[0] == "add_ons" and isinstance(path[1], int):
            name = self._names[path[1]]
        return f"{where}{path_text(path)}{f' ({name})' if name else ''}: {message}"


def path_text(path: Path) -> str:
    """Return a path as text, such as `add_ons[0].overrides[1].accounts`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            key = part if _BARE_KEY.fullmatch(part) else json.dumps(part, ensure_ascii=False)
            text += f".{key}" if text else key
    return text


def quoted(value: object) -> str:
    """Describe a value where a word was expected. Short text is shown."""
    if isinstance(value, str) and len(value) <= _MAX_SHOWN:
        return repr(value)
    return f"{len(value):,} characters" if isinstance(value, str) else described(value)


def described(value: object) -> str:
    """Describe the kind of a value. The value is not shown: it may be a misplaced secret."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case date() | time():
            return "a date or time"
        case Mapping():
            return "a table"
        case list() | tuple():
            return "a list"
    return type(value).__name__


def suggestion(word: object, known: Iterable[str]) -> str:
    """Return "; did you mean ...?" if a word resembles a known one."""
    if not isinstance(word, str) or len(word) > _MAX_SHOWN:
        return ""
    few = [one for one in islice(known, _MAX_COMPARED) if len(one) <= _MAX_SHOWN]
    close = get_close_matches(word.lower().replace("-", "_"), few, n=1)
    return f"; did you mean {close[0]}?" if close else ""
