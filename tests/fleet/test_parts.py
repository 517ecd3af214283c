"""`plan` and `apply`, limited to a part of a fleet."""

from pathlib import Path

import pytest
from support.fleet import SPAM_SCORE, TRANSCRIPTION, VOICEBASE, Fleet

from marketplace_async import fleet
from marketplace_async.fleet import JobEndedError, JobError, Part, PlanKey

KEY = PlanKey(b"k" * 32)
REPLACED = f"""
[[add_ons]]
unique_name = "voicebase_transcription"
available_add_on_sid = "{TRANSCRIPTION}"
replaces = "{VOICEBASE}"
accept_terms_of_service = true
accounts = {{ friendly_names = ["Shop 1", "Shop 2"] }}

[[add_ons]]
unique_name = "spam-score"
available_add_on_sid = "{SPAM_SCORE}"
accept_terms_of_service = true
accounts = {{ friendly_names = ["Shop 1"] }}
extensions = {{ voice-incoming = true }}
"""


def yes(_: fleet.PlanReport) -> bool:
    return True


async def planned(shops: Fleet, part: Part) -> dict[str, int]:
    plan = await fleet.plan(shops.source, shops.desired, part=part)
    return {action: count for action, count in plan.totals.items() if count}


async def test_a_part_selects_accounts_entries_and_actions(shops: Fleet) -> None:
    first, second = (sid for sid, _ in shops.shops[:2])
    one = Part(accounts=[first.lower().replace("ac", "AC", 1)])
    assert await planned(shops, one) == {"remove": 1, "install": 2, "enable": 1}
    both = Part(accounts=[first], friendly_names=["Shop 2"])
    assert (await planned(shops, both))["install"] == 4
    assert await planned(shops, Part(add_ons=["spam-score"])) == {"install": 41, "enable": 41}
    assert await planned(shops, Part(actions=["remove"])) == {"remove": 29}
    assert await planned(shops, Part(actions=["enable"])) == {}
    mixed = Part(accounts=[second], add_ons=["spam-score"], actions=["install"])
    assert await planned(shops, mixed) == {"install": 1}


async def test_what_a_part_leaves_out_is_counted(shops: Fleet) -> None:
    part = Part(friendly_names=["Shop 1", "No shop"], actions=["install"])
    plan = await fleet.plan(shops.source, shops.desired, part=part)
    assert plan.left_out == {"enable": 1, "remove": 1}
    assert (plan.accounts, plan.counts.left_out) == (1, {"not selected": 40})
    assert plan.unmatched == ("the selection matches no account: 'No shop'",)


async def test_a_canary_is_the_first_accounts_in_the_order_of_their_sids(shops: Fleet) -> None:
    plan = await fleet.plan(
        shops.source, shops.desired, part=Part(limit=3, add_ons=["transcription"])
    )
    chosen = sorted(sid for sid, _ in shops.shops)[:3]
    (group,) = plan.groups
    assert sorted(one.account_sid for one in group.examples) == chosen
    assert plan.counts.left_out == {"not selected": 38}


async def test_a_replacement_is_done_whole_or_not_at_all(shops: Fleet, tmp_path: Path) -> None:
    shops.desired = fleet.parse(REPLACED)
    for actions in (["remove"], ["install"]):
        plan = await fleet.plan(shops.source, shops.desired, part=Part(actions=actions))
        assert plan.left_out["replace"] == 2
        assert plan.totals["remove"] == 0
    part = Part(actions=["install", "remove"], add_ons=["voicebase_transcription"])
    report = await fleet.apply(
        shops.source, shops.desired, journal=tmp_path / "journal", approve=yes, part=part
    )
    assert (report.writes, report.counts.done) == ({"done": 4}, 41)
    assert (await planned(shops, Part())) == {"install": 1, "enable": 1}


@pytest.mark.parametrize("saved", [True, False])
async def test_a_canary_is_applied_and_then_the_rest(
    shops: Fleet, tmp_path: Path, saved: bool
) -> None:
    file = tmp_path / "plan.jsonl"
    await fleet.plan(shops.source, shops.desired, out=file, key=KEY)

    async def apply(part: Part) -> fleet.ApplyReport:
        return await fleet.apply(
            shops.source,
            shops.desired,
            journal=tmp_path / "journal",
            plan=file if saved else None,
            key=KEY,
            approve=yes,
            part=part,
        )

    canary = await apply(Part(limit=5))
    assert (canary.changed, canary.counts.accounts) == (5, 5)
    assert canary.counts.left_out == {"not selected": 36}
    installs = await apply(Part(actions=["install"]))
    assert installs.counts.done == 41
    assert set(installs.writes) <= {"done", "unchanged"}
    rest = await apply(Part())
    assert rest.counts.done == 41
    assert set(rest.writes) <= {"done", "unchanged"}
    assert await planned(shops, Part()) == {}


async def test_a_plan_of_a_part_can_be_saved_and_applied(shops: Fleet, tmp_path: Path) -> None:
    file = tmp_path / "plan.jsonl"
    part = Part(friendly_names=["Shop 1*"], actions=["install"])
    await fleet.plan(shops.source, shops.desired, out=file, key=KEY, part=part)
    report = await fleet.apply(
        shops.source, shops.desired, journal=tmp_path / "journal", plan=file, key=KEY, approve=yes
    )
    # A step that the plan left out does not count as a change since the plan.
    assert report.writes == {"done": 22}
    assert report.counts.skipped == 0


async def test_a_plan_of_another_part_is_not_resumed(shops: Fleet, tmp_path: Path) -> None:
    file = tmp_path / "plan.jsonl"
    shops.emulator.faults.add("GET", "/v1/InstalledAddOns", status=400, times=1)
    first = Part(friendly_names=["Shop 1*"])
    await fleet.plan(shops.source, shops.desired, to=file, part=first)
    for part in (Part(), Part(limit=5)):
        with pytest.raises(JobError, match="the selection was friendly_names Shop 1\\* and is now"):
            await fleet.plan(shops.source, shops.desired, to=file, part=part, resume=True)
    report = await fleet.plan(shops.source, shops.desired, to=file, part=first, resume=True)
    assert (report.counts.done, report.complete) == (11, True)


async def test_too_many_failures_end_a_plan_which_is_then_resumed(
    shops: Fleet, tmp_path: Path
) -> None:
    file = tmp_path / "plan.jsonl"
    shops.emulator.faults.add("GET", "/v1/InstalledAddOns", status=400, times=4)
    one_by_one = fleet.EmbeddedExecutor(1)
    with pytest.raises(JobEndedError) as error:
        await fleet.plan(shops.source, shops.desired, to=file, max_failures=2, executor=one_by_one)
    report = error.value.report
    assert isinstance(report, fleet.PlanReport)
    assert "failed, and at most 2 may fail" in str(error.value.__cause__)
    assert report.counts.accounts == 41
    assert report.counts.not_begun > 0
    assert not report.complete
    report = await fleet.plan(shops.source, shops.desired, to=file, max_failures=2, resume=True)
    assert (report.counts.done, report.complete) == (41, True)


async def test_too_many_failures_end_an_apply_which_then_goes_on(
    shops: Fleet, tmp_path: Path
) -> None:
    async def apply() -> fleet.ApplyReport:
        return await fleet.apply(
            shops.source,
            shops.desired,
            journal=tmp_path / "journal",
            approve=yes,
            max_failures=0,
            executor=fleet.EmbeddedExecutor(1),
        )

    shops.emulator.faults.add("POST", "/v1/InstalledAddOns", status=400, times=1)
    with pytest.raises(JobEndedError) as error:
        await apply()
    report = error.value.report
    assert isinstance(report, fleet.ApplyReport)
    counts = report.counts
    assert (counts.accounts, counts.failed) == (41, 1)
    assert counts.not_begun > 0
    assert (await apply()).counts.done == 41


async def test_removals_are_named_in_the_order_of_accounts(shops: Fleet) -> None:
    plan = await fleet.plan(shops.source, shops.desired)
    assert len(plan.removals) == 20
    sids = [one.account_sid for one in plan.removals]
    assert sids == sorted(sids)
    assert {one.unique_name for one in plan.removals} == {"voicebase_transcription"}
    assert all((one.sid or "").startswith("XE") for one in plan.removals)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"accounts": ["AB1"]}, "accounts: 'AB1' is not the SID of an account"),
        ({"limit": 0}, "limit: must be a positive integer, got 0"),
        ({"friendly_names": [" "]}, "friendly_names"),
        ({"actions": ["delete"]}, "actions: expected some of install, .*got 'delete'"),
        ({"add_ons": ["spam"]}, "no entry .* name 'spam'; it has: spam-score, transcription"),
    ],
)
async def test_a_wrong_part_is_rejected_before_any_request(
    shops: Fleet, values: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        await fleet.plan(shops.source, shops.desired, part=Part(**values))  # type: ignore[arg-type]
    assert len(shops.emulator.log) == 0
