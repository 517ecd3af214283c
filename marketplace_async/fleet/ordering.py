"""Sorts inventories, so that two inventories of a fleet can be compared line by line."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias

from .._core.files import replacing
from .inventory_files import csv_rows

Key: TypeAlias = tuple[str, str, str]

_FIELDS: Final = ("account_sid", "unique_name", "sid")


def sort_inventory(file: Path) -> None:
    """Sort an inventory by account, unique name and SID. The file is replaced atomically.

    Holds the keys of all records in memory, but only one record at a time. An SQLite file is left
    unchanged: it has indexes.

    Raises:
        OSError: The file cannot be read or replaced.
    """
    keys_of = _KEYS.get(file.suffix.lower())
    if keys_of is None:
        return
    with file.open("rb") as old:
        header, records = keys_of(old)
        if all(one <= other for one, other in itertools.pairwise(records)):
            return
        with replacing(file) as new:
            old.seek(0)
            new.write(old.read(header))
            for _, begin, end in sorted(records):
                old.seek(begin)
                new.write(old.read(end - begin))


def key_order(value: Any) -> Any:
    """Return plain JSON with the keys of all objects sorted."""
    match value:
        case dict():
            return {key: key_order(value[key]) for key in sorted(value)}
        case list():
            return [key_order(item) for item in value]
        case _:
            return value


# The key, start and end of a record.
_Located: TypeAlias = tuple[Key, int, int]


def _keys_of_json_lines(stream: BinaryIO) -> tuple[int, list[_Located]]:
    records = []
    end = 0
    for line in stream:
        begin, end = end, end + len(line)
        record = json.loads(line)
        records.append((_key(record.get), begin, end))
    return 0, records


def _keys_of_csv(stream: BinaryIO) -> tuple[int, list[_Located]]:
    rows = csv_rows(stream)
    names, _, header = next(rows, ([], 0, 0))
    return header, [
        (_key(dict(zip(names, cells, strict=False)).get), begin, end) for cells, begin, end in rows
    ]


def _key(get: Callable[[str], Any]) -> Key:
    account_sid, unique_name, sid = (get(name) or "" for name in _FIELDS)
    return account_sid, unique_name, sid


_KEYS: Final[dict[str, Callable[[BinaryIO], tuple[int, list[_Located]]]]] = {
    ".jsonl": _keys_of_json_lines,
    ".ndjson": _keys_of_json_lines,
    ".csv": _keys_of_csv,
}
