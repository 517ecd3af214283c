"""The order of the records in inventory files."""

import asyncio
import random
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st
from support.fleet import SPAM_SCORE, Fleet, StopAtOnce
from support.outputs import read
from support.records import quick

from marketplace_async import fleet
from marketplace_async.fleet.inventory_files import read_inventory
from marketplace_async.fleet.ordering import key_order, sort_inventory
from marketplace_async.fleet.outputs import output_of

SUFFIXES = ["jsonl", "csv"]


def key(record: dict[str, str | None]) -> tuple[str, str, str]:
    return record["account_sid"] or "", record["unique_name"] or "", record["sid"] or ""


def with_more(shops: Fleet) -> None:
    for sid, _ in shops.shops:
        shops.emulator.install(sid, SPAM_SCORE)


@pytest.mark.parametrize("suffix", SUFFIXES)
async def test_two_inventories_of_the_same_fleet_are_equal_byte_for_byte(
    shops: Fleet, tmp_path: Path, suffix: str
) -> None:
    with_more(shops)
    files = [tmp_path / f"{name}.{suffix}" for name in ("first", "second")]
    for file in files:
        await fleet.inventory(shops.source, file, extensions=True)
    assert files[0].read_bytes() == files[1].read_bytes()
    keys = [key(one) for one in read(files[0])]
    assert len(keys) == 80
    assert keys == sorted(keys)


@pytest.mark.parametrize("suffix", SUFFIXES)
async def test_a_resumed_inventory_is_sorted_when_it_is_complete(
    shops: Fleet, tmp_path: Path, suffix: str
) -> None:
    with_more(shops)
    file = tmp_path / f"inventory.{suffix}"
    stop = asyncio.Event()
    small = fleet.EmbeddedExecutor(2)
    first = await fleet.inventory(
        shops.source, file, stop=stop, progress=StopAtOnce(stop), executor=small
    )
    assert not first.complete
    await fleet.inventory(shops.source, file, resume=True)
    keys = [key(one) for one in read(file)]
    assert len(keys) == 80
    assert keys == sorted(keys)


async def test_only_files_can_be_sorted(shops: Fleet) -> None:
    with pytest.raises(ValueError, match="sort: requires a file"):
        await fleet.inventory(shops.source, fleet.JsonLines(Path("unused")), sort=True)


def test_a_cell_may_be_larger_than_the_csv_module_allows(tmp_path: Path) -> None:
    file = tmp_path / "large.csv"
    output = output_of(file)
    output.begin()
    for name in ("b", "a"):
        output.write(
            "AC1",
            [
                fleet.InventoryRecord(
                    account_sid="AC1",
                    account_friendly_name=None,
                    sid=name,
                    unique_name=name,
                    friendly_name="",
                    available_add_on_sid=None,
                    configuration={"text": '"' * 200_000},
                    date_created=None,
                    date_updated=None,
                )
            ],
        )
    output.close()
    sort_inventory(file)
    assert [one.sid for one in read_inventory(file)] == ["a", "b"]


names = st.none() | st.text(max_size=6) | st.sampled_from(['a"b', "a\nb", "a\r\nb", "a,b", "\r"])
records = st.lists(
    st.builds(
        fleet.InventoryRecord,
        account_sid=st.sampled_from(["AC1", "AC2", "AC3"]),
        account_friendly_name=names,
        sid=st.text("XE0123", min_size=1, max_size=4),
        unique_name=names,
        friendly_name=names,
        available_add_on_sid=st.none(),
        configuration=st.none() | st.dictionaries(st.text(max_size=3), names, max_size=2),
        date_created=st.none(),
        date_updated=st.none(),
    ),
    max_size=8,
)


def as_read(record: fleet.InventoryRecord) -> dict[str, Any]:
    # A CSV cell does not distinguish None from "".
    fields = attrs.asdict(record).items()
    return {name: value if name == "configuration" else value or None for name, value in fields}


@pytest.mark.parametrize("suffix", SUFFIXES)
@quick
@given(written=records, seed=st.integers())
def test_sorting_moves_whole_records_and_keeps_each(
    tmp_path_factory: pytest.TempPathFactory,
    suffix: str,
    written: list[fleet.InventoryRecord],
    seed: int,
) -> None:
    folder = tmp_path_factory.mktemp("sorted")
    shuffled = list(written)
    random.Random(seed).shuffle(shuffled)
    contents = []
    for name, order in (("a", written), ("b", shuffled)):
        file = folder / f"{name}.{suffix}"
        output = output_of(file)
        output.begin()
        for record in order:
            output.write(record.account_sid, [record])
        output.close()
        size = file.stat().st_size
        sort_inventory(file)
        assert file.stat().st_size == size
        contents.append(file.read_bytes())
        found = list(read_inventory(file))
        assert sorted(map(repr, map(as_read, found))) == sorted(map(repr, map(as_read, order)))
    keys = [(one.account_sid, one.unique_name or "", one.sid) for one in written]
    if len(set(keys)) == len(keys):
        assert contents[0] == contents[1]


def test_the_keys_of_objects_are_ordered_at_any_depth() -> None:
    ordered = key_order({"b": [{"d": 1, "c": None}], "a": {"z": {}, "y": []}})
    assert str(ordered) == "{'a': {'y': [], 'z': {}}, 'b': [{'c': None, 'd': 1}]}"
