"""Writes configurations as TOML text that reads back unchanged.

A configuration becomes a tree: tables are dicts, and all other values are TOML text. Trees of
different accounts can be compared, and their common parts factored out.
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, TypeAlias
from unicodedata import normalize

import attrs

Tree: TypeAlias = dict[str, Any]
"""Tables, and TOML text for other values."""

REMOVE: Final = "{ remove = true }"
_MAX_DEPTH: Final = 20
_MAX_PATH: Final = 1024
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SPECIAL: Final = frozenset({"env", "null", "remove", "literal"})
_BRACES = re.compile(r"\{+([^{}\s]+)\}+")
# Keys whose text is treated as secret even if it is not declared so.
_SECRET_KEY = re.compile(
    r"token|secret|passw|passphrase|credential|api_?key|private_?key|auth_?key|^authorization$",
    re.IGNORECASE,
)


class UnwritableError(ValueError):
    """The desired state cannot represent a value."""


def text_of(text: str) -> str:
    """Return text as a TOML string."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def key_of(key: str) -> str:
    """Return a key as TOML."""
    return key if _BARE.fullmatch(key) else text_of(key)


def table_of(tree: Tree) -> str:
    """Return a tree as an inline table."""
    pairs = [
        f"{key_of(key)} = {item if isinstance(item, str) else table_of(item)}"
        for key, item in tree.items()
    ]
    return f"{{ {', '.join(pairs)} }}" if pairs else "{}"


@attrs.define(repr=False)
class Variables:
    """The environment variables for secret values: one for each value.

    Attributes:
        values: The values by name.
        keys: The secret keys.
    """

    values: dict[str, str] = attrs.field(factory=dict)
    keys: dict[str, None] = attrs.field(factory=dict)
    _names: dict[tuple[str, str], str] = attrs.field(factory=dict)

    def name_of(self, unique_name: str, key: str, value: str, account_sid: str) -> str:
        """Return the name of the variable for the value of a key."""
        base = re.sub(r"[^A-Z0-9]+", "_", f"{unique_name}_{key}".upper()).strip("_")
        base = f"ADD_ON_{base}" if not base or base[0].isdigit() else base
        self.keys.setdefault(key)
        name = self._names.get((base, value))
        if name is None:
            name = base
            if name in self.values:
                name = f"{base}_{account_sid.upper()}"
            number = 2
            while name in self.values:
                name, number = f"{base}_{number}", number + 1
            self._names[base, value] = name
            self.values[name] = value
        return name

    def copy(self) -> "Variables":
        """Return a copy that can be filled and discarded."""
        return Variables(dict(self.values), dict(self.keys), dict(self._names))

    def take(self, copy: "Variables") -> None:
        """Replace the content with that of a copy."""
        self.values, self.keys, self._names = copy.values, copy.keys, copy._names


@attrs.define(repr=False)
class Writer:
    """Writes the configurations of one Add-on.

    Args:
        unique_name: Its unique name.
        secret: Secret keys, in addition to those that are secret by their name.
        variables: Receives the values of secret keys.

    Attributes:
        ignored: The paths of keys that cannot be written, in the format of `ignore`.
    """

    unique_name: str
    secret: Collection[str]
    variables: Variables
    ignored: dict[str, None] = attrs.field(factory=dict)
    _account_sid: str = ""

    def tree(self, configuration: Mapping[str, Any], account_sid: str) -> Tree:
        """Return a configuration as a tree.

        Raises:
            UnwritableError: A key can neither be written nor be named in `ignore`.
        """
        self._account_sid = account_sid
        return self._table(configuration, ())

    def _table(self, table: Mapping[str, Any], path: tuple[str, ...]) -> Tree:
        result: Tree = {}
        for key, value in table.items():
            try:
                result[key] = self._item(key, value, (*path, key))
            except UnwritableError:
                self.ignored.setdefault(_ignorable((*path, key)))
        return result

    def _item(self, key: str, value: Any, path: tuple[str, ...]) -> Tree | str:
        is_secret = key in self.secret
        if is_secret or (_SECRET_KEY.search(key.replace("-", "_")) and not _is_switch(value)):
            return "{ null = true }" if value is None else self._variable(key, value)
        if isinstance(value, Mapping) and not _looks_special(value):
            if len(path) > _MAX_DEPTH:
                raise UnwritableError
            return self._table(value, path)
        return self._plain(value, len(path))

    def _variable(self, key: str, value: Any) -> str:
        # The value of a variable must be text that is not empty.
        if not isinstance(value, str) or not value or "\0" in value:
            raise UnwritableError
        name = self.variables.name_of(self.unique_name, key, value, self._account_sid)
        return f"{{ env = {text_of(name)} }}"

    def _plain(self, value: Any, depth: int) -> str:
        """Return a value that is not a table, or a table within a list."""
        if depth > _MAX_DEPTH:
            raise UnwritableError
        match value:
            case None:
                return "{ null = true }"
            case bool():
                return "true" if value else "false"
            case int() | float():
                return repr(value)
            case str():
                return text_of(self._template(value))
            case list() | tuple():
                return f"[{', '.join(self._plain(item, depth + 1) for item in value)}]"
            case Mapping() if _looks_special(value):
                return f"{{ literal = {self._literal(value, depth + 1)} }}"
            case Mapping():
                if any(self._is_secret_text(key, item) for key, item in value.items()):
                    raise UnwritableError
                return table_of({key: self._plain(item, depth + 1) for key, item in value.items()})
        raise UnwritableError

    def _is_secret_text(self, key: str, value: Any) -> bool:
        return self._is_secret(key) and not _is_switch(value)

    def _is_secret(self, key: str) -> bool:
        return key in self.secret or _SECRET_KEY.search(key.replace("-", "_")) is not None

    def _literal(self, value: Any, depth: int) -> str:
        """Return a value that is read literally. TOML has no null."""
        if value is None or depth > _MAX_DEPTH:
            raise UnwritableError
        match value:
            case str():
                return text_of(value)
            case list() | tuple():
                return f"[{', '.join(self._literal(item, depth + 1) for item in value)}]"
            case Mapping():
                if any(map(self._is_secret, value)):
                    raise UnwritableError
                return table_of({key: self._literal(one, depth + 1) for key, one in value.items()})
        return self._plain(value, depth)

    def _template(self, text: str) -> str:
        if self._account_sid in text and not {"{", "}"}.intersection(text):
            return text.replace(self._account_sid, "{account_sid}")
        return _BRACES.sub(
            lambda match: f"{{{match[0]}}}" if _is_name(match[1]) else match[0], text
        )


def _is_switch(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _is_name(text: str) -> bool:
    return normalize("NFC", text).isidentifier()


def _looks_special(value: Mapping[str, Any]) -> bool:
    # Factoring can leave a table with a single key.
    return not _SPECIAL.isdisjoint(value)


def _ignorable(path: Sequence[str]) -> str:
    """Return a path of keys in the format of `ignore`."""
    parts = []
    for key in path:
        quote = next((mark for mark in ('"', "'") if mark not in key), None)
        if not key or quote is None:
            raise UnwritableError
        parts.append(f"{quote}{key}{quote}" if set(key) & {".", '"', "'"} else key)
    text = ".".join(parts)
    if len(text) > _MAX_PATH:
        raise UnwritableError
    return text


# -- factoring


def common(trees: Sequence[Tree]) -> Tree:
    """Return what most of the trees have in common, key by key."""
    result: Tree = {}
    for key in dict.fromkeys(key for tree in trees for key in tree):
        values = [tree[key] for tree in trees if key in tree]
        if len(values) * 2 <= len(trees):
            continue
        tables = [value for value in values if isinstance(value, dict)]
        if len(tables) == len(values):
            result[key] = common(tables)
            continue
        counts = Counter(_canonical(value) for value in values)
        text, count = counts.most_common(1)[0]
        # A value that occurs on one of several accounts only is not common.
        if count > 1 or len(trees) == 1:
            result[key] = next(value for value in values if _canonical(value) == text)
    return result


def _canonical(value: Tree | str) -> str:
    return json.dumps(value, sort_keys=True)


def difference(base: Tree, tree: Tree) -> Tree:
    """Return the override that turns a base into a tree."""
    result: Tree = {key: REMOVE for key in base if key not in tree}
    for key, value in tree.items():
        existing = base.get(key)
        if key in base and _canonical(value) == _canonical(existing or {}):
            continue
        if isinstance(value, dict) and isinstance(existing, dict):
            result[key] = difference(existing, value)
        else:
            result[key] = value
    return result
