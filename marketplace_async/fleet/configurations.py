"""The values in configurations of a desired state: secrets from the environment, null, removed
keys, and values that differ from account to account.

    { env = "NAME" }      the value of an environment variable, under a secret key
    { null = true }       JSON null, which TOML does not have
    { remove = true }     in an override: remove the key
    { literal = value }   the value as it is, without any of these
    "{account_sid}"       in text: a value of the account; "{{account_sid}}" is the text in braces
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from datetime import date, time
from enum import Enum
from typing import Any, Final
from unicodedata import normalize

import attrs

from .._core.arguments import plain_text
from .problems import Problems, described, path_text, suggestion
from .toml_text import Path

# Python cannot convert more digits to text.
_MAX_BITS: Final = 4300 * 3
_LITERALLY: Final = "write { literal = ... } around a table that is meant literally"
_BRACES = re.compile(r"(\{+)([^{}\s]+)(\}+)")
ACCOUNT_VALUES: Final = ("account_sid", "friendly_name")
"""The names of values that every account has. Columns of an accounts file add others."""


class Special(Enum):
    """A value that is not JSON."""

    REMOVE = "remove"


class MissingValueError(ValueError):
    """A value of an account is missing. The message says where and why."""


@attrs.frozen
class Template:
    """Text with values of the account.

    Attributes:
        path: Where the file defines it.
        parts: Text and names, alternating. They may be parts of a secret.
        is_secret: Whether the text is the value of a secret key.
    """

    path: str
    parts: tuple[str, ...] = attrs.field(repr=False)
    is_secret: bool = False

    def filled(self, values: Mapping[str, str | None]) -> str:
        """Return the text for an account.

        Raises:
            MissingValueError: A value is missing or empty.
        """
        parts = list(self.parts)
        for index in range(1, len(parts), 2):
            name = parts[index]
            if name not in values:
                raise MissingValueError(f"{self.path}: {self._unknown(name, values)}")
            value = values[name]
            if not value:
                raise MissingValueError(f"{self.path}: {name} is empty for this account")
            parts[index] = value
        return "".join(parts)

    def _unknown(self, name: str, values: Mapping[str, object]) -> str:
        neither = f"neither {' nor '.join(ACCOUNT_VALUES)} nor a column of the accounts file"
        if self.is_secret:
            return f"a name in braces is {neither}; double the braces of other text"
        return f"{{{name}}} is {neither}{suggestion(name, values)}; {_in_braces(name)}"


def _in_braces(name: str) -> str:
    return f"write {{{{{name}}}}} for the text in braces"


@attrs.frozen
class Reader:
    """Reads configurations of a file.

    Args:
        secret: The secret keys.
        environ: The environment variables.
        problems: Collects the problems.
    """

    secret: frozenset[str]
    environ: Mapping[str, str] = attrs.field(repr=False)
    problems: Problems

    def read(self, configuration: Mapping[Any, Any], path: Path, *, override: bool) -> Any:
        """Return a configuration that `merged` and `filled` accept."""
        return {
            name: self._value(item, (*path, name), override=override)
            for name, item in configuration.items()
            if self._is_key(name, path)
        }

    def _is_key(self, name: object, path: Path) -> bool:
        is_text = isinstance(name, str)
        if not is_text:
            self.problems.add(path, f"keys must be text, not {described(name)}")
        return is_text

    def _value(self, value: Any, path: Path, *, override: bool) -> Any:
        match value:
            case {"env": str(name)} if len(value) == 1:
                return self._variable(name, path)
            case {"null": True} if len(value) == 1:
                return None
            case {"literal": literal} if len(value) == 1:
                self._check_plain(literal, path)
                return literal
            case {"remove": True} if len(value) == 1:
                return self._removal(path, override=override)
            case Mapping():
                return self.read(value, path, override=override)
            case list() | tuple():
                return [
                    self._value(item, (*path, index), override=override)
                    for index, item in enumerate(value)
                ]
            case str():
                self._check_plain(value, path)
                return self._template(plain_text(value), path)
            case _:
                self._check_plain(value, path)
                return value

    def _removal(self, path: Path, *, override: bool) -> Special:
        if not override:
            self.problems.add(path, f"only an override can remove a key; {_LITERALLY}")
        elif any(isinstance(part, int) for part in _below(path)):
            self.problems.add(path, f"a list is replaced as a whole; {_LITERALLY}")
        return Special.REMOVE

    def _variable(self, name: str, path: Path) -> str:
        if not self._is_secret(path):
            key = json.dumps(_keys(path)[-1], ensure_ascii=False)
            self.problems.add(
                path,
                "only a secret key can have a value from the environment: "
                f"add secret = [{key}] at the top of the file; {_LITERALLY}",
            )
        elif not self.environ.get(name):
            self.problems.add(path, f"environment variable {name} is not set")
        return self.environ.get(name, "")

    def _is_secret(self, path: Path) -> bool:
        return not self.secret.isdisjoint(_keys(path))

    def _template(self, text: str, path: Path) -> str | Template:
        parts, end, is_secret = [""], 0, self._is_secret(path)
        for match in _BRACES.finditer(text):
            opening, name, closing = match.groups()
            name = normalize("NFC", name)
            if not name.isidentifier():
                continue
            parts[-1] += text[end : match.start()]
            end = match.end()
            if len(opening) > 1 and len(closing) > 1:
                parts[-1] += match[0][1:-1]
                continue
            if name != name.lower():
                shown = "a name in braces" if is_secret else f"{{{name}}}"
                self.problems.add(path, f"{shown} must be in lower case; {_in_braces('name')}")
            parts[-1] += opening[1:]
            parts += [name, closing[1:]]
        parts[-1] += text[end:]
        if len(parts) == 1:
            return parts[0]
        return Template(path_text(path), tuple(parts), is_secret)

    def _check_plain(self, value: Any, path: Path) -> None:
        match value:
            case None | bool():
                return
            case int():
                if value.bit_length() > _MAX_BITS:
                    self.problems.add(path, "the number has too many digits")
            case float():
                if not math.isfinite(value):
                    self.problems.add(path, f"JSON cannot hold {value}")
            case str():
                try:
                    value.encode()
                except UnicodeEncodeError:
                    self.problems.add(path, "the text is not valid Unicode")
            case date() | time():
                self.problems.add(path, "JSON has no dates or times: write text, in quotes")
            case list() | tuple():
                for index, item in enumerate(value):
                    self._check_plain(item, (*path, index))
            case Mapping():
                for name, item in value.items():
                    if self._is_key(name, path):
                        self._check_plain(item, (*path, name))
            case _:
                self.problems.add(path, f"JSON cannot hold {described(value)}")


def _below(path: Path) -> Path:
    """Return the part of a path that lies within the configuration."""
    return path[path.index("configuration") + 1 :]


def _keys(path: Path) -> list[str]:
    """Return the keys on a path that lie within the configuration."""
    return [part for part in _below(path) if isinstance(part, str)]


def merged(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with the values of an override."""
    result = dict(base)
    for key, value in override.items():
        if value is Special.REMOVE:
            result.pop(key, None)
        elif isinstance(value, dict):
            existing = result.get(key)
            result[key] = merged(existing if isinstance(existing, dict) else {}, value)
        else:
            result[key] = value
    return result


def filled(value: Any, values: Mapping[str, str | None]) -> Any:
    """Return a configuration with the values of an account.

    Raises:
        MissingValueError: A value of the account is missing or empty.
    """
    match value:
        case Template():
            return value.filled(values)
        case dict():
            return {key: filled(item, values) for key, item in value.items()}
        case list():
            return [filled(item, values) for item in value]
        case _:
            return value


def keys_of(value: Any) -> Iterator[str]:
    """Yield the keys in plain JSON, at any depth."""
    match value:
        case Mapping():
            for key, item in value.items():
                yield key
                yield from keys_of(item)
        case list() | tuple():
            for item in value:
                yield from keys_of(item)
        case _:
            return
