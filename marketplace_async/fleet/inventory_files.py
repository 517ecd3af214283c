"""Reads inventories from files."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from .._core.codec import encode, from_json
from .._core.databases import is_ours, open_database
from .._core.rows import field_names
from ._engine.entries import JobError
from .outputs import INVENTORY, InventoryRecord

# The csv module is no alternative: its limit for the size of a cell is that of the whole process.
_CELL = re.compile(rb'(?:"((?:[^"]++|"")*+)"|([^,"\n]*+))(,|\n|\Z)')
_COLUMNS: Final = field_names(InventoryRecord)
_REMEDY: Final = "write an inventory with `inventory --extensions --to FILE`"
_JSON_COLUMNS: Final = ("configuration", "extensions")


def read_inventory(file: str | os.PathLike[str]) -> Iterator[InventoryRecord]:
    """Yield the records of an inventory: JSON Lines, CSV or SQLite, by its suffix. Blocks.

    Raises:
        ValueError: The suffix is unknown, or a record does not belong to an inventory.
        JobError: The SQLite file is not an inventory.
        OSError: The file cannot be read.
    """
    file = Path(file)
    match file.suffix.lower():
        case ".jsonl" | ".ndjson":
            with file.open("rb") as stream:
                for number, line in enumerate(stream, 1):
                    if line.strip():
                        yield _record(line, f"{file}, line {number}")
        case ".csv":
            with file.open("rb") as stream:
                yield from _csv_records(file, stream)
        case ".db" | ".sqlite" | ".sqlite3":
            yield from _sqlite_records(file)
        case _:
            raise ValueError(
                f"{file}: expected an inventory that ends in .jsonl, .ndjson, .csv, .db, .sqlite "
                f"or .sqlite3: {_REMEDY}"
            )


def csv_rows(stream: BinaryIO) -> Iterator[tuple[list[str], int, int]]:
    """Yield the cells, start and end of each row. A row may span several lines."""
    begin = end = 0
    row = b""
    for line in stream:
        row += line
        end += len(line)
        if row.count(b'"') % 2 == 0:
            yield _cells(row), begin, end
            row, begin = b"", end
    if row:
        raise ValueError("the last row ends within a quoted cell")


def _cells(row: bytes) -> list[str]:
    cells = []
    position = 0
    while match := _CELL.match(row, position):
        quoted, plain, delimiter = match.groups()
        cells.append((plain if quoted is None else quoted.replace(b'""', b'"')).decode())
        if delimiter != b",":
            return cells
        position = match.end()
    raise ValueError("a row is not CSV")


def _csv_records(file: Path, stream: BinaryIO) -> Iterator[InventoryRecord]:
    rows = csv_rows(stream)
    header, _, _ = next(rows, ([], 0, 0))
    if tuple(header) != _COLUMNS:
        raise ValueError(f"{file}: expected the columns of an inventory: {','.join(_COLUMNS)}")
    for number, (cells, _, _) in enumerate(rows, 1):
        where = f"{file}, record {number}"
        if len(cells) != len(_COLUMNS):
            raise ValueError(f"{where}: expected {len(_COLUMNS)} cells, got {len(cells)}")
        values: dict[str, Any] = {
            name: cell or None for name, cell in zip(_COLUMNS, cells, strict=True)
        }
        for name in _JSON_COLUMNS:
            values[name] = _json(values[name], where)
        yield _record(encode(values), where)


def _sqlite_records(file: Path) -> Iterator[InventoryRecord]:
    if not is_ours(file, INVENTORY):
        # `open_database` would turn it into an inventory.
        file.stat()
        raise JobError(f"{file} is empty: expected an inventory")
    db = open_database(file, INVENTORY)
    columns = _COLUMNS[:-1]
    details = ("sid", "unique_name", "friendly_name", "product_name", "enabled")
    try:
        extensions: dict[str, list[dict[str, Any]]] = {}
        for sid, *row in db.execute(
            f"SELECT installed_add_on_sid, {', '.join(details)} FROM extensions"
        ):
            extension: dict[str, Any] = dict(zip(details, row, strict=True))
            if extension["enabled"] is not None:
                extension["enabled"] = bool(extension["enabled"])
            extensions.setdefault(sid, []).append(extension)
        for row in db.execute(f"SELECT {', '.join(columns)} FROM installed_add_ons"):
            values: dict[str, Any] = dict(zip(columns, row, strict=True))
            where = f"{file}, {values['sid']}"
            values["configuration"] = _json(values["configuration"], where)
            # The file does not say whether an Add-on has no extensions, or they were not read.
            values["extensions"] = extensions.get(values["sid"])
            yield _record(encode(values), where)
    finally:
        db.close()


def _json(text: str | None, where: str) -> Any:
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"{where}: a cell is not JSON") from None


def _record(text: bytes, where: str) -> InventoryRecord:
    try:
        return from_json(text, InventoryRecord, "a record of an inventory")
    except ValueError as error:
        raise ValueError(f"{where}: {error}; {_REMEDY}") from None
