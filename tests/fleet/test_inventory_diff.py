"""The differences between two inventories."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
from support.fleet import PARENT, SPAM_SCORE, Fleet, StopAtOnce

from marketplace_async import AccountToken, MarketplaceClient, fleet
from marketplace_async.fleet import JobError
from marketplace_async.fleet.outputs import output_of

BEFORE = fleet.InventoryRecord(
    account_sid="AC1",
    account_friendly_name="Shop",
    sid="XE1",
    unique_name="scan",
    friendly_name="Scan",
    available_add_on_sid="XB1",
    configuration={"limit": 1, "api_token": "old-secret"},
    date_created=None,
    date_updated=None,
    extensions=(
        fleet.ExtensionRecord(
            sid="XF1", unique_name="voice", friendly_name=None, product_name=None, enabled=False
        ),
    ),
)


def written(file: Path, *records: fleet.InventoryRecord) -> Path:
    output = output_of(file)
    output.begin()
    for record in records:
        output.write(record.account_sid, [record])
    output.sync()
    output.close()
    return file


@pytest.mark.parametrize("suffix", ["csv", "db"])
async def test_a_fleet_is_compared_with_itself_after_changes(
    shops: Fleet, tmp_path: Path, suffix: str
) -> None:
    before, after = tmp_path / f"before.{suffix}", tmp_path / "after.jsonl"
    await fleet.inventory(shops.source, before, extensions=True)
    for number in (0, 1, 2):
        sid, token = shops.shops[number]
        async with MarketplaceClient(
            AccountToken(sid, token), base_url=shops.emulator.url
        ) as client:
            add_ons = client.installed_add_ons
            (installed,) = [one async for one in add_ons.list()]
            if number == 0:
                await add_ons.delete(installed.sid)
            elif number == 1:
                await add_ons.update(
                    installed.sid, configuration={"callback_url": "https://example.com/2"}
                )
            else:
                extensions = add_ons.extensions(installed.sid)
                (extension,) = [one async for one in extensions.list()]
                await extensions.update(extension.sid, enabled=True)
    shops.emulator.install(PARENT, SPAM_SCORE)
    await fleet.inventory(shops.source, after, extensions=True)
    found = await asyncio.to_thread(fleet.diff_inventories, before, after)
    by_account = {one.account_sid: one for one in found.changes}
    assert found.unchanged == 37
    assert len(by_account) == len(found.changes) == 4
    assert by_account[PARENT].action == "installed"
    assert by_account[shops.shops[0][0]].action == "removed"
    assert "~ configuration.callback_url" in str(by_account[shops.shops[1][0]].changes[0])
    enabled = [str(one) for one in by_account[shops.shops[2][0]].changes]
    assert "~ extensions.recording-dial.enabled = false -> true" in enabled
    same = await asyncio.to_thread(fleet.diff_inventories, before, before)
    assert (same.changes, same.unchanged) == ((), 40)


@pytest.mark.parametrize(
    "field", [one.name for one in attrs.fields(fleet.InventoryRecord) if one.name != "account_sid"]
)
def test_a_difference_in_any_field_is_found(tmp_path: Path, field: str) -> None:
    values: dict[str, Any] = {
        "configuration": {"limit": 1},
        "date_created": datetime(2026, 1, 1, tzinfo=UTC),
        "date_updated": datetime(2026, 1, 1, tzinfo=UTC),
        "extensions": (),
    }
    changed = attrs.evolve(BEFORE, **{field: values.get(field, "another")})
    found = fleet.diff_inventories(
        written(tmp_path / "a.jsonl", BEFORE), written(tmp_path / "b.jsonl", changed)
    )
    (change,) = found.changes
    assert change.action == ("reinstalled" if field == "sid" else "changed")
    assert any(one.path.split(".")[0] == field for one in change.changes)


def test_secret_values_are_compared_and_not_shown(tmp_path: Path) -> None:
    changed = attrs.evolve(BEFORE, configuration={"limit": 1, "api_token": "new-secret"})
    files = written(tmp_path / "a.csv", BEFORE), written(tmp_path / "b.db", changed)
    found = fleet.diff_inventories(*files, secret=["api_token"])
    assert "~ configuration.api_token = *** -> ***" in map(str, found.changes[0].changes)
    assert "-secret" not in repr(found)


async def test_keys_that_one_inventory_masks_are_masked_in_the_difference(
    shops: Fleet, tmp_path: Path
) -> None:
    files = tmp_path / "masked.jsonl", tmp_path / "plain.jsonl"
    await fleet.inventory(shops.source, files[0], secret=["callback_url"])
    await fleet.inventory(shops.source, files[1])
    found = await asyncio.to_thread(fleet.diff_inventories, *files)
    assert len(found.changes) == 40
    assert "example.com" not in repr(found)


async def test_a_failed_account_is_not_reported_as_emptied(shops: Fleet, tmp_path: Path) -> None:
    before, after = tmp_path / "before.jsonl", tmp_path / "after.jsonl"
    await fleet.inventory(shops.source, before)
    shops.emulator.faults.add("GET", "/v1/InstalledAddOns", status=403)
    report = await fleet.inventory(shops.source, after)
    (sid,) = (one.account_sid for one in report.failures.first)
    found = await asyncio.to_thread(fleet.diff_inventories, before, after)
    assert (found.changes, found.unchanged, found.not_compared) == (
        (),
        40 - (sid != PARENT),
        (sid,),
    )


async def test_an_incomplete_inventory_is_rejected(shops: Fleet, tmp_path: Path) -> None:
    stop = asyncio.Event()
    file = tmp_path / "a.jsonl"
    await fleet.inventory(
        shops.source,
        file,
        stop=stop,
        progress=StopAtOnce(stop),
        executor=fleet.EmbeddedExecutor(2),
    )
    with pytest.raises(JobError, match="is not complete: resume it"):
        await asyncio.to_thread(fleet.diff_inventories, file, file)


def test_extensions_that_only_one_inventory_has_are_counted(tmp_path: Path) -> None:
    without = attrs.evolve(BEFORE, extensions=None)
    found = fleet.diff_inventories(
        written(tmp_path / "a.jsonl", BEFORE), written(tmp_path / "b.jsonl", without)
    )
    assert (found.changes, found.unchanged, found.without_extensions) == ((), 1, 1)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "", "expected an inventory that ends in"),
        ("a.jsonl", "{}\n", "line 1: not a record of an inventory"),
        ("a.csv", "a,b\n1,2\n", "expected the columns of an inventory"),
    ],
)
def test_another_file_is_rejected(tmp_path: Path, name: str, text: str, message: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        fleet.diff_inventories(file, file)
    assert file.read_text() == text


def test_an_empty_database_is_rejected_and_stays_empty(tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    file.touch()
    with pytest.raises(JobError, match="is empty"):
        fleet.diff_inventories(file, file)
    assert file.stat().st_size == 0
