"""The differences between two inventories."""

import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Literal

import attrs

from ._engine.checkpoint import beside
from ._engine.entries import JobError
from ._engine.journal import Journal
from .comparison import Change, differences
from .inventory_files import read_inventory
from .outputs import ExtensionRecord, InventoryRecord


@attrs.frozen(kw_only=True)
class InventoryChange:
    """A change to one installed Add-on between two inventories.

    The fields describe the Add-on in the later inventory, or in the earlier one if it was removed.

    Attributes:
        action: "installed"; "removed"; "reinstalled": another installation has the same unique
            name; or "changed".
        account_sid: The account, `AC...`.
        account_friendly_name: The account's friendly name.
        unique_name: The unique name of the Add-on.
        sid: The installed Add-on, `XE...`.
        available_add_on_sid: The Add-on, `XB...`.
        changes: The fields that differ. Empty if the Add-on was installed or removed.
    """

    action: Literal["installed", "removed", "reinstalled", "changed"]
    account_sid: str
    account_friendly_name: str | None
    unique_name: str | None
    sid: str
    available_add_on_sid: str | None
    changes: tuple[Change, ...] = ()


@attrs.frozen(kw_only=True)
class InventoryDiff:
    """The differences between two inventories.

    Attributes:
        changes: The changes, sorted by account SID and unique name.
        unchanged: Number of installed Add-ons that are the same in both.
        not_compared: The accounts that failed in one of the inventories.
        without_extensions: Number of Add-ons whose extensions were not compared, because only one
            of the inventories has them.
    """

    changes: tuple[InventoryChange, ...]
    unchanged: int
    not_compared: tuple[str, ...]
    without_extensions: int


def diff_inventories(
    before: str | os.PathLike[str], after: str | os.PathLike[str], *, secret: Collection[str] = ()
) -> InventoryDiff:
    """Return what changed between two inventories, in files of any format.

    An account that failed in one of them is not compared, because its Add-ons are unknown. Values
    that were masked when an inventory was made cannot be compared. Blocks, and holds the records of
    the earlier inventory in memory.

    Args:
        before: The earlier inventory.
        after: The later one.
        secret: Configuration keys, at any depth, whose values are masked in the result. Keys that
            either inventory masks are added.

    Raises:
        JobError: An inventory is not complete, or a file is damaged or in use.
        ValueError: A file is not an inventory.
        OSError: A file cannot be read.
    """
    files = Path(before), Path(after)
    hidden = set(secret)
    for file in files:
        hidden.update(_masked_keys(file))
    skipped = {sid for file in files for sid in _failed(file)}
    comparison = _Comparison(frozenset(hidden))
    old: dict[str, dict[str, InventoryRecord]] = {}
    for record in _compared(files[0], skipped):
        old.setdefault(record.account_sid, {})[record.sid] = record
    arrived: list[InventoryRecord] = []
    for record in _compared(files[1], skipped):
        earlier = old.get(record.account_sid, {}).pop(record.sid, None)
        if earlier is None:
            arrived.append(record)
        else:
            comparison.add("changed", earlier, record)
    # Of the rest, Add-ons with the same account and unique name were reinstalled.
    names = {
        (one.account_sid, one.unique_name): one
        for records in old.values()
        for one in records.values()
        if one.unique_name
    }
    for record in arrived:
        earlier = names.pop((record.account_sid, record.unique_name or ""), None)
        if earlier is None:
            comparison.changes.append(_change("installed", record))
        else:
            del old[earlier.account_sid][earlier.sid]
            comparison.add("reinstalled", earlier, record)
    comparison.changes += [
        _change("removed", one) for records in old.values() for one in records.values()
    ]
    comparison.changes.sort(key=lambda one: (one.account_sid, one.unique_name or "", one.sid))
    return InventoryDiff(
        changes=tuple(comparison.changes),
        unchanged=comparison.unchanged,
        not_compared=tuple(sorted(skipped)),
        without_extensions=comparison.without_extensions,
    )


@attrs.define
class _Comparison:
    secret: Collection[str]
    changes: list[InventoryChange] = attrs.field(factory=list)
    unchanged: int = 0
    without_extensions: int = 0

    def add(
        self,
        action: Literal["changed", "reinstalled"],
        before: InventoryRecord,
        after: InventoryRecord,
    ) -> None:
        old, new = _fields(before), _fields(after)
        # An SQLite inventory also has None for an Add-on without extensions.
        if (before.extensions is None or after.extensions is None) and (
            before.extensions or after.extensions
        ):
            self.without_extensions += 1
            del old["extensions"], new["extensions"]
        changes = tuple(differences(old, new, self.secret))
        if changes:
            self.changes.append(_change(action, after, changes))
        else:
            self.unchanged += 1


def _fields(record: InventoryRecord) -> dict[str, Any]:
    """Return the fields of a record as plain JSON, with the extensions by name."""
    fields = {
        name: value
        for name, value in attrs.asdict(record, recurse=False).items()
        if name != "account_sid"
    }
    for name in ("date_created", "date_updated"):
        fields[name] = fields[name] and fields[name].isoformat().replace("+00:00", "Z")
    fields["extensions"] = {
        one.unique_name or one.sid: _extension(one) for one in record.extensions or ()
    }
    return fields


def _extension(record: ExtensionRecord) -> dict[str, Any]:
    return {name: value for name, value in attrs.asdict(record).items() if name != "unique_name"}


def _change(
    action: Literal["installed", "removed", "reinstalled", "changed"],
    record: InventoryRecord,
    changes: tuple[Change, ...] = (),
) -> InventoryChange:
    return InventoryChange(
        action=action,
        account_sid=record.account_sid,
        account_friendly_name=record.account_friendly_name,
        unique_name=record.unique_name,
        sid=record.sid,
        available_add_on_sid=record.available_add_on_sid,
        changes=changes,
    )


def _compared(file: Path, skipped: Collection[str]) -> Iterator[InventoryRecord]:
    return (one for one in read_inventory(file) if one.account_sid not in skipped)


def _masked_keys(file: Path) -> list[str]:
    """Return the keys whose values the inventory masks, according to its journal, if there is one.

    Raises:
        JobError: The inventory is not complete.
    """
    path = beside(file, "journal")
    if path is None or not path.is_file():
        return []
    with Journal(path) as journal:
        if journal.completed() is None:
            raise JobError(f"{file} is not complete: resume it before you compare it")
        return list(journal.settings().get("secret", ()))


def _failed(file: Path) -> Iterator[str]:
    path = beside(file, "failures.jsonl")
    if path is not None and path.is_file():
        with path.open("rb") as lines:
            for line in lines:
                yield json.loads(line)["account_sid"]
