"""The plan and apply jobs, against an emulator."""

import asyncio
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.fleet import DESIRED, PARENT, SPAM_SCORE, TRANSCRIPTION, Fleet, StopAtOnce, lines

from marketplace_async import MarketplaceClient, fleet
from marketplace_async.fleet import DesiredStateError, EmbeddedExecutor, JobError
from marketplace_async.testing import account


async def test_apply_performs_the_plan_and_then_nothing_is_left(
    shops: Fleet, tmp_path: Path
) -> None:
    before = await shops.state()
    file = tmp_path / "plan.jsonl"
    plan = await fleet.plan(shops.source, shops.desired, to=file)
    assert await shops.state() == before
    assert {
        f"{group.action} {group.extension or group.unique_name}": group.accounts
        for group in plan.groups
    } == {
        "install spam-score": 41,
        "enable voice-incoming": 41,
        "install transcription": 40,
        "remove voicebase_transcription": 29,
    }
    assert (plan.to_change, plan.steps, plan.failures.count) == (41, 151, 0)
    assert len(lines(file)) == 41
    (transcription,) = (group for group in plan.groups if group.unique_name == "transcription")
    assert transcription.changes == {
        "+ api_token = ***": 40,
        '+ callback_url = "https://example.com/done"': 29,
        '+ callback_url = "https://one.example.com/done"': 11,
    }

    journal = tmp_path / "fleet.journal"
    seen: list[int] = []

    def approve(plan: fleet.PlanReport) -> bool:
        seen.append(plan.steps)
        return True

    report = await fleet.apply(shops.source, shops.desired, journal=journal, approve=approve)
    assert seen == [151]
    assert report.writes == {"done": 151}
    assert (report.changed, report.failures.count, report.complete) == (41, 0, True)
    state = await shops.state()
    assert state[PARENT] == {"spam-score": ({}, {"voice-incoming"})}
    assert state["Shop 1"] == {
        "spam-score": ({}, {"voice-incoming"}),
        "transcription": (
            {"callback_url": "https://one.example.com/done", "api_token": "very-secret"},
            set(),
        ),
    }
    assert state["Shop 20"].keys() == {"spam-score", "transcription", "voicebase_transcription"}

    plan = await fleet.plan(shops.source, shops.desired)
    assert (plan.accounts, plan.to_change, plan.steps, plan.groups) == (41, 0, 0, ())
    written = len(shops.writes())
    report = await fleet.apply(
        shops.source, shops.desired, journal=journal, approve=lambda _: pytest.fail("asked")
    )
    assert report.approved
    assert len(shops.writes()) == written
    for name in ("plan.jsonl", "plan.jsonl.journal", "fleet.journal"):
        assert b"very-secret" not in (tmp_path / name).read_bytes()
    with sqlite3.connect(journal) as db:
        assert db.execute("SELECT outcome, count(*) FROM writes").fetchall() == [("done", 151)]
    db.close()


async def test_a_plan_that_is_not_approved_changes_nothing(shops: Fleet, tmp_path: Path) -> None:
    async def decline(plan: fleet.PlanReport) -> bool:
        return False

    journal = tmp_path / "journal"
    report = await fleet.apply(shops.source, shops.desired, journal=journal, approve=decline)
    assert (report.approved, report.changed, report.plan.steps) == (False, 0, 151)
    assert shops.writes() == []


async def test_the_journal_of_another_job_is_left_unchanged(shops: Fleet, tmp_path: Path) -> None:
    file = tmp_path / "inventory.jsonl"
    await fleet.inventory(shops.source, file)
    with pytest.raises(JobError, match=r"is the journal of another job \(inventory\)"):
        await fleet.apply(
            shops.source,
            shops.desired,
            journal=tmp_path / "inventory.jsonl.journal",
            approve=lambda _: True,
        )
    with pytest.raises(JobError, match="was completed at 20"):
        await fleet.inventory(shops.source, file, resume=True)
    assert shops.writes() == []


async def test_changes_after_the_plan_are_left_for_the_next_run(
    shops: Fleet, tmp_path: Path
) -> None:
    first, second = (sid for sid, _ in shops.shops[:2])
    desired = fleet.parse(
        DESIRED.replace('"Shop *"', '"Shop 1"').replace(
            'accounts = "all"', 'accounts = { friendly_names = ["Shop 1", "Shop 2"] }'
        )
    )

    async def meanwhile(plan: fleet.PlanReport) -> bool:
        async with MarketplaceClient(account(), base_url=shops.emulator.url) as client:
            for sid in (first, second):
                credentials = (await client.accounts.fetch(sid)).credentials
                assert credentials is not None
                add_ons = client.with_credentials(credentials).installed_add_ons
                if sid == first:  # install what was planned
                    await add_ons.create(
                        available_add_on_sid=SPAM_SCORE,
                        accept_terms_of_service=True,
                        unique_name="spam-score",
                    )
                else:  # install a different Add-on under the planned name
                    await add_ons.create(
                        available_add_on_sid=TRANSCRIPTION,
                        accept_terms_of_service=True,
                        unique_name="spam-score",
                    )
        return True

    journal = tmp_path / "journal"
    report = await fleet.apply(shops.source, desired, journal=journal, approve=meanwhile)
    assert report.writes["unchanged"] == 1
    assert report.writes["skipped"] == 2
    assert report.writes["failed"] == report.writes["unknown"] == 0
    state = await shops.state()
    assert state["Shop 1"]["spam-score"] == ({}, {"voice-incoming"})
    assert state["Shop 2"]["spam-score"] == ({}, set())
    plan = await fleet.plan(shops.source, desired)
    assert plan.failures.count == 1
    assert "a different Add-on uses the unique name spam-score" in plan.failures.first[0].message


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500, "when": "after"},
        {"drop": True, "when": "after"},
        {"drop": True},
        {"status": 429},
    ],
)
async def test_faults_do_not_change_the_result_and_nothing_is_installed_twice(
    shops: Fleet, tmp_path: Path, fault: dict[str, Any]
) -> None:
    shops.emulator.faults.add("*", "/v1/*", times=None, probability=0.3, **fault)
    journal = tmp_path / "journal"
    for _ in range(4):
        report = await fleet.apply(
            shops.source, shops.desired, journal=journal, approve=lambda _: True
        )
        if not report.plan.steps and not report.failures.count:
            break
    shops.emulator.faults.clear()
    report = await fleet.apply(shops.source, shops.desired, journal=journal, approve=lambda _: True)
    assert report.failures.count == 0
    assert (await fleet.plan(shops.source, shops.desired)).steps == 0
    state = await shops.state()
    assert Counter(len(names) for names in state.values()) == {1: 1, 2: 29, 3: 11}


async def test_a_failed_write_is_reported_with_its_account_and_without_secrets(
    shops: Fleet, tmp_path: Path
) -> None:
    quoting = DESIRED.replace(
        'callback_url = "https://one.example.com/done"', 'callback_method = "very-secret"'
    )
    with pytest.raises(DesiredStateError) as caught:
        await fleet.plan(shops.source, fleet.parse(quoting), to=tmp_path / "plan.jsonl")
    assert str(caught.value).endswith(
        "add_ons[1].overrides[0].configuration.callback_method (transcription): does not match "
        'the Add-on\'s schema: "***" is not one of "GET" or "POST"'
    )

    shops.emulator.faults.add("POST", "/v1/InstalledAddOns", status=403, times=3)
    report = await fleet.apply(
        shops.source, shops.desired, journal=tmp_path / "journal", approve=lambda _: True
    )
    assert report.writes["failed"] == 3
    assert report.failures.count <= 3
    assert {one.error for one in report.failures.first} == {"PermissionDeniedError"}
    assert report.failures.file is not None
    assert "install/" in report.failures.file.read_text()
    assert (await fleet.plan(shops.source, shops.desired)).steps > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            (SPAM_SCORE, "XB" + "0" * 32),
            r"line 6: add_ons\[0\]\.available_add_on_sid \(spam-score\): "
            "Add-on XB0+ does not exist",
        ),
        (
            ("voice-incoming", "nonsense"),
            r"line 9: add_ons\[0\]\.extensions\.nonsense \(spam-score\): "
            "Nomorobo Spam Score has no such extension; it has lookup-api, voice-incoming",
        ),
    ],
)
async def test_entries_missing_from_the_catalogue_are_reported_before_any_account_is_read(
    shops: Fleet, change: tuple[str, str], message: str
) -> None:
    with pytest.raises(DesiredStateError, match=message):
        await fleet.plan(shops.source, fleet.parse(DESIRED.replace(*change)))
    assert not shops.emulator.log.matching("GET", "/v1/InstalledAddOns")


async def test_selections_without_accounts_are_reported(shops: Fleet) -> None:
    unlisted = "AC" + "f" * 32
    text = DESIRED.replace('["Shop *"]', f'["Store *"], sids = ["{unlisted}"]')
    plan = await fleet.plan(shops.source, fleet.parse(text))
    assert plan.unmatched == ('add_ons[1] ("transcription") matches no account',)
    (failure,) = plan.failures.first
    assert failure.account_sid == unlisted
    assert failure.message == "add_ons[1].accounts: the account is not in the list of accounts"


async def test_a_stopped_plan_can_be_resumed_and_reports_all_steps(
    shops: Fleet, tmp_path: Path
) -> None:
    file = tmp_path / "plan.jsonl"
    stop = asyncio.Event()

    part = await fleet.plan(
        shops.source,
        shops.desired,
        to=file,
        stop=stop,
        progress=StopAtOnce(stop),
        executor=EmbeddedExecutor(1),
    )
    assert not part.complete
    assert 0 < part.to_change < 41
    whole = await fleet.plan(shops.source, shops.desired, to=file, resume=True)
    assert (whole.to_change, whole.steps, whole.complete) == (41, 151, True)
    assert len(lines(file)) == 41
    other = fleet.parse(
        DESIRED.replace('accounts = "all"', 'accounts = { sids = ["AC%s"] }' % ("1" * 32))
    )
    with pytest.raises(JobError, match="cannot be resumed: the desired state changed"):
        await fleet.plan(shops.source, other, to=file, resume=True)


async def test_a_plan_shows_each_key_that_changes_however_many_values_there_are(
    shops: Fleet,
) -> None:
    for number, (sid, _) in enumerate(shops.shops):
        extra = {"odd_one_out": 1} if number == 37 else {}
        shops.emulator.install(sid, TRANSCRIPTION, {"callback_url": f"https://{number}", **extra})
    desired = fleet.parse(
        f'[[add_ons]]\nunique_name = "ibm_watson_speechtotext"\n'
        f'available_add_on_sid = "{TRANSCRIPTION}"\naccept_terms_of_service = true\n'
        'accounts = { friendly_names = ["Shop *"] }\n'
        'configuration = { callback_url = "https://same", callback_method = "POST" }\n'
    )
    plan = await fleet.plan(shops.source, desired)
    (group,) = plan.groups
    assert (group.action, group.accounts) == ("update", 40)
    assert "- odd_one_out = 1" in group.changes
    assert len(group.changes) <= 23
    assert group.other_changes > 0
