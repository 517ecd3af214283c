"""TOML text: checks its size and nesting before it is parsed, and finds the lines of its keys.

tomllib takes quadratic time for long dotted keys, and gives no line for a value that it accepts.
"""

import re
import tomllib
from collections import deque
from typing import Any, Final, TypeAlias

import attrs

Path: TypeAlias = tuple[str | int, ...]
"""The keys and list indexes that lead to a value."""

MAX_SIZE: Final = 16 * 1024 * 1024
"""The maximum length of a text, in characters. A file may have as many bytes."""
MAX_DEPTH: Final = 32
"""The maximum nesting of tables and lists, and the maximum number of parts of a key."""

# The lexical elements of TOML. A quotation mark alone starts a string that does not end.
_TOKEN = re.compile(
    r"""
      \"{3} (?: [^"\\]++ | \\. | "(?!"") )*+ \"{3,5}
    | '{3} (?: [^']++ | '(?!'') )*+ '{3,5}
    | "{3} | '{3}
    | " (?: [^"\\\n]++ | \\[^\n] )*+ "
    | ' [^'\n]*+ '
    | ["']
    | \#[^\n]*+
    | [\[\]{}=.,\n]
    | [^\s\[\]{}=.,"'#]++
    """,
    re.VERBOSE | re.DOTALL,
)
_UNTERMINATED: Final = frozenset({'"', "'", '"""', "'''"})
_OPENING: Final = frozenset("[{")
_CLOSING: Final = frozenset("]}")


class TomlError(ValueError):
    """A text is not TOML, or exceeds a limit. The message may name the line."""


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML text.

    Raises:
        TomlError: The text is not TOML, longer than `MAX_SIZE`, or nested deeper than `MAX_DEPTH`.
    """
    if len(text) > MAX_SIZE:
        raise TomlError(f"longer than {MAX_SIZE:,} characters")
    _check_nesting(text)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason = f"not TOML: {error}"
    except ValueError:
        # Python converts at most 4,300 digits.
        reason = "a number has too many digits"
    raise TomlError(reason)


def _check_nesting(text: str) -> None:
    line, depth, dots = 1, 0, 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token == ".":
            dots += 1
            if dots >= MAX_DEPTH:
                raise TomlError(f"line {line}: a key has more than {MAX_DEPTH} parts")
        elif token in _OPENING:
            depth, dots = depth + 1, 0
            if depth > MAX_DEPTH:
                raise TomlError(f"line {line}: nested more than {MAX_DEPTH} levels deep")
        elif token in _CLOSING:
            depth, dots = max(depth - 1, 0), 0
        elif token in _UNTERMINATED:
            return  # tomllib reports it
        elif token in "=,\n":
            dots = 0
        # A string can have several lines.
        line += token.count("\n")


class Lines:
    """The lines of the keys of a text that tomllib accepts. The text is read when first needed.

    A pickle does not contain the text.
    """

    def __init__(self, text: str = "") -> None:
        self._text = text
        self._lines: dict[Path, int] | None = None

    def __reduce__(self) -> tuple[type["Lines"], tuple[()]]:
        return Lines, ()

    def of(self, path: Path) -> int | None:
        """Return the line of a value, or of the table or list that would contain it."""
        if not self._text:
            return None
        if self._lines is None:
            self._lines = _Reader(self._text).read()
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path)


@attrs.define
class _Token:
    text: str
    line: int


class _Reader:
    """Reads the structure of valid TOML."""

    def __init__(self, text: str) -> None:
        self._tokens: deque[_Token] = deque()
        self._lines: dict[Path, int] = {}
        self._sizes: dict[Path, int] = {}  # of the arrays of tables
        line = 1
        # tomllib reads CRLF as a line feed, and so does the pattern, which skips white space.
        for match in _TOKEN.finditer(text):
            if not match[0].startswith("#"):
                self._tokens.append(_Token(match[0], line))
            line += match[0].count("\n")

    def read(self) -> dict[Path, int]:
        """Return the line of each path."""
        table: Path = ()
        while self._tokens:
            if self._skip("\n"):
                continue
            if self._tokens[0].text == "[":
                table = self._header()
            else:
                self._pair(table)
        return self._lines

    def _header(self) -> Path:
        line = self._tokens.popleft().line
        is_array = self._skip("[")
        *parents, last = self._key()
        table: Path = ()
        for part in parents:
            table = self._last_element((*table, part))
            self._lines.setdefault(table, line)
        table = (*table, last)
        self._lines.setdefault(table, line)
        if is_array:
            self._sizes[table] = self._sizes.get(table, 0) + 1
            table = self._last_element(table)
            self._lines[table] = line
            self._tokens.popleft()
        self._tokens.popleft()
        return table

    def _last_element(self, table: Path) -> Path:
        size = self._sizes.get(table)
        return table if size is None else (*table, size - 1)

    def _pair(self, table: Path) -> None:
        line = self._tokens[0].line
        for part in self._key():
            table = (*table, part)
            self._lines.setdefault(table, line)
        self._tokens.popleft()  # =
        self._value(table)

    def _key(self) -> list[str]:
        parts = [self._part()]
        while self._skip("."):
            parts.append(self._part())
        return parts

    def _part(self) -> str:
        text = self._tokens.popleft().text
        return str(tomllib.loads(f"x = {text}")["x"]) if text[0] in "\"'" else text

    def _value(self, path: Path) -> None:
        token = self._tokens[0]
        self._lines.setdefault(path, token.line)
        if token.text == "[":
            self._list(path)
        elif token.text == "{":
            self._inline_table(path)
        else:
            # A float has a dot and a date may have a space.
            while self._tokens and self._tokens[0].text not in ("\n", ",", "]", "}"):
                self._tokens.popleft()

    def _list(self, path: Path) -> None:
        self._tokens.popleft()
        size = 0
        while not self._skip("]"):
            if not self._skip("\n") and not self._skip(","):
                self._value((*path, size))
                size += 1

    def _inline_table(self, path: Path) -> None:
        self._tokens.popleft()
        while not self._skip("}"):
            if not self._skip("\n") and not self._skip(","):
                self._pair(path)

    def _skip(self, text: str) -> bool:
        found = bool(self._tokens) and self._tokens[0].text == text
        if found:
            self._tokens.popleft()
        return found
