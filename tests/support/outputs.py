"""Reads the files that jobs write."""

import csv
import io
import json
import sqlite3
from pathlib import Path
from typing import Any


def read(file: Path) -> list[dict[str, Any]]:
    """Return the records in an output file of any kind, as JSON Lines represents them."""
    match file.suffix:
        case ".jsonl":
            return [json.loads(line) for line in file.read_text().splitlines()]
        case ".csv":
            rows = list(csv.DictReader(io.StringIO(file.read_text())))
            for row in rows:
                for name in ("configuration", "extensions"):
                    row[name] = json.loads(row[name]) if row[name] else None
            return [{name: value or None for name, value in row.items()} for row in rows]
        case _:
            with sqlite3.connect(file) as db:
                db.row_factory = sqlite3.Row
                rows = []
                for row in map(dict, db.execute("SELECT * FROM installed_add_ons")):
                    extensions = [
                        dict(extension)
                        for extension in db.execute(
                            "SELECT * FROM extensions WHERE installed_add_on_sid = ?", (row["sid"],)
                        )
                    ]
                    for extension in extensions:
                        del extension["installed_add_on_sid"]
                        extension["enabled"] = bool(extension["enabled"])
                    row["configuration"] = json.loads(row["configuration"])
                    rows.append({**row, "extensions": extensions or None})
            db.close()
            return rows
