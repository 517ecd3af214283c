"""Checks a document against the file format of the desired state. Reports every deviation.

`msgspec.convert` stops at the first deviation, and its messages name Python types. This check reads
the same classes, so a document that passes can be converted.
"""

import re
from collections.abc import Mapping
from typing import Any

from msgspec import inspect

from .._core.arguments import check_sid
from .desired_file import EXPECTED, RULES, SID, File
from .problems import Problems, described, quoted, suggestion
from .toml_text import Path


def check_format(document: Any, problems: Problems) -> None:
    """Add every deviation of a document from the file format to `problems`."""
    _Check(problems).value(inspect.type_info(File), document, ())


class _Check:
    def __init__(self, problems: Problems) -> None:
        self._problems = problems

    def value(self, type_: inspect.Type, value: Any, path: Path) -> None:
        extra: dict[str, Any] = {}
        while isinstance(type_, inspect.Metadata):
            extra = type_.extra or {}
            type_ = type_.type
        match type_:
            case inspect.StructType():
                self._struct(type_, value, path)
            case inspect.VarTupleType():
                self._list(type_, value, path)
            case inspect.DictType():
                self._dict(type_, value, path)
            case inspect.UnionType():
                self._union(type_, value, path)
            case inspect.LiteralType():
                if not (isinstance(value, str) and value in type_.values):
                    allowed = " or ".join(f'"{one}"' for one in reversed(type_.values))
                    self._wrong_word(path, allowed, value)
            case inspect.BoolType():
                if not isinstance(value, bool):
                    self._wrong(path, "true or false", value)
            case inspect.StrType():
                self._text(type_, value, path, extra)
            case _:
                assert isinstance(type_, inspect.AnyType), type_

    def _wrong(self, path: Path, expected: str, value: Any, hint: str = "") -> None:
        self._problems.add(path, f"must be {expected}, not {described(value)}{hint}")

    def _wrong_word(self, path: Path, expected: str, value: Any) -> None:
        self._problems.add(path, f"must be {expected}, not {quoted(value)}")

    def _struct(self, type_: inspect.StructType, value: Any, path: Path) -> None:
        if not isinstance(value, Mapping):
            self._wrong(path, "a table", value)
            return
        fields = {field.name: field for field in type_.fields}
        meant: set[str] = set()
        for key, item in value.items():
            if key in fields:
                self.value(fields[key].type, item, (*path, key))
                continue
            hint = suggestion(key, fields)
            meant |= {name for name in fields if hint.endswith(f" {name}?")}
            allowed = "" if hint else f"; the keys are {', '.join(fields)}"
            self._problems.add((*path, str(key)), f"there is no such key{hint or allowed}")
        for name, field in fields.items():
            # A misspelled key is reported once.
            if field.required and name not in value and name not in meant:
                self._problems.add(path, f"{name} is missing")
        for key, message in RULES[type_.cls](value):
            if key not in meant:
                self._problems.add((*path, key) if key in value else path, message)

    def _list(self, type_: inspect.VarTupleType, value: Any, path: Path) -> None:
        if not isinstance(value, list | tuple):
            of_tables = isinstance(type_.item_type, inspect.StructType)
            written = isinstance(value, Mapping) and of_tables
            hint = f": write [[{path[-1]}]]" if written and path else ""
            self._wrong(path, "a list of tables" if of_tables else "a list", value, hint)
            return
        if type_.min_length and not value:
            self._problems.add(path, "must not be empty")
        for index, item in enumerate(value):
            self.value(type_.item_type, item, (*path, index))

    def _dict(self, type_: inspect.DictType, value: Any, path: Path) -> None:
        if not isinstance(value, Mapping):
            self._wrong(path, "a table", value)
            return
        for key, item in value.items():
            self.value(type_.key_type, key, (*path, str(key)))
            self.value(type_.value_type, item, (*path, str(key)))

    def _union(self, type_: inspect.UnionType, value: Any, path: Path) -> None:
        # The only union consists of a word and a table.
        expected = []
        for one in type_.types:
            match one:
                case inspect.StructType() if isinstance(value, Mapping):
                    self.value(one, value, path)
                    return
                case inspect.StructType():
                    keys = ", ".join(field.name for field in one.fields)
                    expected.append(f"a table with any of {keys}")
                case inspect.LiteralType():
                    if isinstance(value, str) and value in one.values:
                        return
                    expected += [f'"{word}"' for word in one.values]
        self._wrong_word(path, " or ".join(expected), value)

    def _text(self, type_: inspect.StrType, value: Any, path: Path, extra: dict[str, Any]) -> None:
        if not isinstance(value, str):
            self._wrong(path, extra.get(EXPECTED, "text"), value)
        elif SID in extra:
            try:
                check_sid(extra[SID], value, "")
            except ValueError as error:
                self._problems.add(path, str(error).removeprefix(": "))
        elif not _is_valid(type_, value):
            self._wrong_word(path, extra.get(EXPECTED, "text that is not blank"), value)


def _is_valid(type_: inspect.StrType, value: str) -> bool:
    if len(value) < (type_.min_length or 0):
        return False
    if type_.max_length is not None and len(value) > type_.max_length:
        return False
    return type_.pattern is None or re.search(type_.pattern, value) is not None
