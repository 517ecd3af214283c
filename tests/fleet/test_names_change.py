"""Add-ons that are renamed, and Add-ons that replace others."""

from pathlib import Path
from typing import Any

import pytest
from support.fleet import PARENT, SPAM_SCORE, TRANSCRIPTION, VOICEBASE

from marketplace_async import AccountToken, InstalledAddOn, MarketplaceClient, fleet
from marketplace_async.emulator import Emulator
from marketplace_async.fleet import AccountPlan, DesiredStateError, JsonLines, Step
from marketplace_async.fleet.desired import Wanted
from marketplace_async.fleet.digests import Digests
from marketplace_async.fleet.steps import Observed, steps_for
from marketplace_async.testing import account

URL = {"callback_url": "https://example.com"}
ENTRY = f"""
[[add_ons]]
unique_name = "transcripts"
available_add_on_sid = "{VOICEBASE}"
accept_terms_of_service = true
accounts = {{ except_sids = ["{PARENT}"] }}
configuration = {{ callback_url = "https://example.com" }}
extensions = {{ recording-dial = true }}
"""
RENAMED = ENTRY + 'previous_names = ["older", "old"]\n'
REPLACED = f"""
[[add_ons]]
unique_name = "transcripts"
available_add_on_sid = "{TRANSCRIPTION}"
accept_terms_of_service = true
accounts = {{ except_sids = ["{PARENT}"] }}
previous_names = ["old"]
replaces = "{VOICEBASE}"
"""


class Shop:
    """One subaccount, and the jobs that run on it and its parent."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        self.emulator, self.folder = emulator, folder
        ((self.sid, self.token),) = emulator.add_subaccounts(PARENT, 1, friendly_name="Shop")
        self.source = fleet.Subaccounts(lambda: MarketplaceClient(account(), base_url=emulator.url))

    def install(self, name: str, add_on: str = VOICEBASE) -> str:
        configuration = {} if add_on == SPAM_SCORE else URL
        (sid,) = self.emulator.install(self.sid, add_on, configuration, unique_name=name)
        return sid

    async def steps(self, text: str) -> tuple[list[str], fleet.PlanReport]:
        report = await fleet.plan(self.source, fleet.parse(text))
        return [group_text(group) for group in report.groups], report

    async def apply(self, text: str, approve: Any = lambda _: True) -> fleet.ApplyReport:
        return await fleet.apply(
            self.source, fleet.parse(text), journal=self.folder / "journal", approve=approve
        )

    async def installed(self) -> dict[str | None, InstalledAddOn]:
        async with self.client() as client:
            return {one.unique_name: one async for one in client.installed_add_ons.list()}

    def client(self) -> MarketplaceClient:
        return MarketplaceClient(AccountToken(self.sid, self.token), base_url=self.emulator.url)

    def writes(self) -> list[str]:
        return [
            entry.method
            for entry in self.emulator.log
            if entry.method != "GET" and "Extensions" not in entry.path and entry.status
        ]


def group_text(group: fleet.Group) -> str:
    return " ".join(filter(None, (group.action, group.previous_name, group.unique_name)))


@pytest.fixture
def shop(marketplace_emulator: Emulator, tmp_path: Path) -> Shop:
    return Shop(marketplace_emulator, tmp_path)


async def test_an_add_on_under_a_previous_name_is_renamed_and_no_second_one_is_installed(
    shop: Shop,
) -> None:
    sid = shop.install("old")
    steps, _ = await shop.steps(RENAMED)
    assert steps == ["rename old transcripts", "enable transcripts"]
    report = await shop.apply(RENAMED)
    assert (report.writes, report.failures.count) == ({"done": 2}, 0)
    installed = await shop.installed()
    assert {name: one.sid for name, one in installed.items()} == {"transcripts": sid}
    assert installed["transcripts"].configuration == URL
    assert (await shop.steps(RENAMED))[0] == []


async def test_a_renamed_add_on_is_updated_in_the_same_run(shop: Shop) -> None:
    sid = shop.install("old")
    changed = RENAMED.replace("https://example.com", "https://new.example.com")
    steps, _ = await shop.steps(changed)
    assert steps == ["rename old transcripts", "update transcripts", "enable transcripts"]
    assert (await shop.apply(changed)).writes == {"done": 3}
    (one,) = (await shop.installed()).values()
    assert (one.sid, one.configuration) == (sid, {"callback_url": "https://new.example.com"})


async def test_a_lost_response_to_a_rename_is_no_failure(shop: Shop) -> None:
    shop.install("old")
    shop.emulator.faults.add("POST", "/v1/InstalledAddOns/*", drop=True, when="after", times=1)
    report = await shop.apply(RENAMED)
    assert (report.writes, report.failures.count) == ({"done": 2}, 0)
    assert (await shop.installed()).keys() == {"transcripts"}


@pytest.mark.parametrize("name", ["a colleague's", "transcripts"])
async def test_an_add_on_that_was_renamed_since_the_plan_is_not_renamed_again(
    shop: Shop, name: str
) -> None:
    sid = shop.install("old")

    async def meanwhile(_: fleet.PlanReport) -> bool:
        async with shop.client() as client:
            await client.installed_add_ons.update(sid, unique_name=name)
        return True

    report = await shop.apply(RENAMED, meanwhile)
    assert (await shop.installed()).keys() == {name}
    if name == "transcripts":
        assert report.writes == {"unchanged": 1, "done": 1}
    else:
        assert "done" not in {key for key, count in report.writes.items() if count}
        assert "changed since the plan" in report.failures.first[0].message


async def test_a_different_add_on_under_a_previous_name_stays(shop: Shop) -> None:
    shop.install("old", SPAM_SCORE)
    steps, _ = await shop.steps(RENAMED)
    assert steps == ["install transcripts", "enable transcripts"]
    assert (await shop.apply(RENAMED)).failures.count == 0
    assert (await shop.installed()).keys() == {"old", "transcripts"}


async def test_two_add_ons_under_previous_names_are_a_problem(shop: Shop) -> None:
    shop.install("old")
    shop.install("older")
    steps, report = await shop.steps(RENAMED)
    assert steps == []
    assert "add_ons[0].previous_names: several are installed: older (XE" in (
        report.failures.first[0].message
    )


@pytest.mark.parametrize("name", ["transcripts", "old"])
async def test_an_add_on_is_replaced_under_any_of_its_names(shop: Shop, name: str) -> None:
    shop.install(name)
    steps, _ = await shop.steps(REPLACED)
    removed = "remove transcripts" if name == "transcripts" else "remove old transcripts"
    assert steps == [removed, "install transcripts"]
    report = await shop.apply(REPLACED)
    assert (report.writes, report.failures.count) == ({"done": 2}, 0)
    assert shop.writes() == ["DELETE", "POST"]
    installed = await shop.installed()
    assert installed.keys() == {"transcripts"}
    assert installed["transcripts"].available_add_on_sid == TRANSCRIPTION
    assert (await shop.steps(REPLACED))[0] == []


async def test_an_interrupted_replacement_is_completed(shop: Shop) -> None:
    sid = shop.install("transcripts")

    async def meanwhile(_: fleet.PlanReport) -> bool:
        async with shop.client() as client:
            await client.installed_add_ons.delete(sid)
        return True

    report = await shop.apply(REPLACED, meanwhile)
    assert (report.writes, report.failures.count) == ({"unchanged": 1, "done": 1}, 0)
    assert (await shop.installed()).keys() == {"transcripts"}


async def test_nothing_is_installed_if_the_old_add_on_was_not_removed(shop: Shop) -> None:
    shop.install("transcripts")
    shop.emulator.faults.add("DELETE", "/v1/*", status=403, times=1)
    report = await shop.apply(REPLACED)
    assert (report.writes["failed"], report.writes["skipped"]) == (1, 1)
    (one,) = (await shop.installed()).values()
    assert one.available_add_on_sid == VOICEBASE


async def test_a_third_add_on_under_the_name_is_not_replaced(shop: Shop) -> None:
    shop.install("transcripts", SPAM_SCORE)
    steps, report = await shop.steps(REPLACED)
    assert steps == []
    assert "a different Add-on uses the unique name" in report.failures.first[0].message


async def test_an_override_removes_an_add_on_under_its_previous_name(shop: Shop) -> None:
    shop.install("old")
    gone = f'\n[[add_ons.overrides]]\naccounts = {{ sids = ["{shop.sid}"] }}\nstate = "absent"\n'
    steps, _ = await shop.steps(RENAMED + gone)
    assert steps == ["remove old transcripts"]
    await shop.apply(RENAMED + gone)
    assert await shop.installed() == {}


async def test_a_plan_says_that_the_account_has_the_add_on_under_another_name(shop: Shop) -> None:
    shop.install("by hand")
    file = shop.folder / "plan.jsonl"
    report = await fleet.plan(shop.source, fleet.parse(ENTRY), to=JsonLines(file))
    assert report.groups[0].also_installed == {"by hand": 1}
    assert '"also_installed":["by hand"]' in file.read_text()


def test_a_renaming_is_approved_with_both_names() -> None:
    def rename(name: str, old: str) -> Step:
        wanted = Wanted(
            path="",
            unique_name=name,
            state="present",
            available_add_on_sid=VOICEBASE,
            previous_names=(old,),
        )
        record = InstalledAddOn(
            sid="XE" + "1" * 32,
            unique_name=old,
            links={"available_add_on": f"https://x.example/v1/AvailableAddOns/{VOICEBASE}"},
        )
        ((step,), ()) = steps_for([wanted], Observed((record,)), (), Digests(None))
        return step

    step = rename("new", "old")
    assert str(step) == "rename old to new"
    assert step.has_content_of(rename("new", "old"))
    for other in (rename("new", "older"), rename("newer", "old")):
        assert not step.has_content_of(other)
        assert (step.before, step.after) != (other.before, other.after)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ENTRY + 'previous_names = ["transcripts"]\n', "must not contain the unique name itself"),
        (ENTRY + 'previous_names = [" "]\n', "must be text that is not blank"),
        (ENTRY + f'replaces = "{VOICEBASE}"\n', "must differ from available_add_on_sid"),
        (ENTRY + 'replaces = "XE1"\n', "replaces (transcripts)"),
        (
            '[[add_ons]]\nunique_name = "a"\naccounts = "all"\nstate = "absent"\n'
            'previous_names = ["b"]\n',
            'is not allowed with state = "absent"',
        ),
    ],
)
def test_names_that_contradict_each_other_are_reported(text: str, message: str) -> None:
    with pytest.raises(DesiredStateError) as caught:
        fleet.parse(text)
    assert message in str(caught.value)


def test_a_name_belongs_to_one_entry_of_an_account() -> None:
    desired = fleet.parse(RENAMED + ENTRY.replace('"transcripts"', '"old"'))
    with pytest.raises(
        DesiredStateError, match=r"both define 'old' .*; remove it from previous_names once"
    ):
        desired.wanted("AC" + "2" * 32, None)


def test_plans_of_accounts_keep_the_names() -> None:
    step = Step(action="rename", unique_name="new", previous_name="old")
    plan = AccountPlan("AC" + "1" * 32, None, (step,))
    assert plan.steps[0].key == "rename/new"
