"""Installed Add-ons that no entry of the desired state covers."""

from pathlib import Path

import pytest
from support.fleet import SPAM_SCORE, VOICEBASE, Fleet, lines

from marketplace_async import InstalledAddOn, fleet
from marketplace_async.fleet import JobError
from marketplace_async.fleet.desired import Wanted
from marketplace_async.fleet.steps import Observed, unmanaged_add_ons

ONE_SHOP = f"""
[[add_ons]]
unique_name = "voicebase_transcription"
available_add_on_sid = "{VOICEBASE}"
accept_terms_of_service = true
accounts = {{ friendly_names = ["Shop 1"] }}
"""


async def test_a_plan_lists_what_no_entry_covers(shops: Fleet, tmp_path: Path) -> None:
    shops.emulator.install(shops.shops[0][0], SPAM_SCORE, unique_name="by hand")
    desired, file = fleet.parse(ONE_SHOP), tmp_path / "plan.jsonl"
    report = await fleet.plan(shops.source, desired, to=file, unmanaged=True)
    assert (report.steps, report.to_change, report.other_unmanaged) == (0, 0, 0)
    assert [(one.unique_name, one.accounts) for one in report.unmanaged] == [
        ("voicebase_transcription", 39),
        ("by hand", 1),
    ]
    assert report.unmanaged[1].examples[0].friendly_name == "Shop 1"
    assert len(lines(file)) == 40
    assert {one["unmanaged"][0]["available_add_on_sid"] for one in lines(file)} == {
        VOICEBASE,
        SPAM_SCORE,
    }
    with pytest.raises(JobError, match="cannot be resumed"):
        await fleet.plan(shops.source, desired, to=file, resume=True)


async def test_a_plan_without_the_option_does_not_read_what_no_entry_applies_to(
    shops: Fleet,
) -> None:
    report = await fleet.plan(shops.source, fleet.parse(ONE_SHOP))
    assert report.unmanaged == ()
    assert len(shops.emulator.log.matching("GET", "/v1/InstalledAddOns")) == 1


def test_previous_names_are_covered_and_an_add_on_without_a_name_is_not() -> None:
    def installed(digit: str, name: str | None) -> InstalledAddOn:
        return InstalledAddOn(sid="XE" + digit * 32, unique_name=name)

    wanted = Wanted(path="", unique_name="new", state="absent", previous_names=("old",))
    observed = Observed((installed("1", "new"), installed("2", "old"), installed("3", None)))
    assert [one.sid for one in unmanaged_add_ons([wanted], observed)] == ["XE" + "3" * 32]


async def test_the_number_of_groups_is_bounded(shops: Fleet) -> None:
    for number in range(205):
        sid, _ = shops.shops[number % 40]
        shops.emulator.install(sid, SPAM_SCORE, unique_name=f"name {number}")
    report = await fleet.plan(shops.source, fleet.parse(ONE_SHOP), unmanaged=True)
    assert len(report.unmanaged) == 200
    listed = sum(group.accounts for group in report.unmanaged)
    assert listed + report.other_unmanaged == 205 + 39
