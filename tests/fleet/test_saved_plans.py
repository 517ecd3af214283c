"""Plans that are saved, reviewed and applied later."""

import asyncio
import json
import os
import stat
from pathlib import Path

import pytest
from support.fleet import DESIRED, PARENT, SPAM_SCORE, TRANSCRIPTION, Fleet, StopAtOnce, lines

from marketplace_async import fleet
from marketplace_async.fleet import JobError, PlanKey

KEY = PlanKey(b"k" * 32)


def yes(plan: fleet.PlanReport) -> bool:
    return True


async def test_a_saved_plan_is_applied_as_it_was_made(shops: Fleet, tmp_path: Path) -> None:
    file = tmp_path / "plan.jsonl"
    plan = await fleet.plan(shops.source, shops.desired, out=file, key=KEY)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert b"very-secret" not in file.read_bytes()
    assert os.listdir(tmp_path) == ["plan.jsonl"]
    seen: list[fleet.PlanReport] = []

    def approve(plan: fleet.PlanReport) -> bool:
        seen.append(plan)
        return True

    report = await fleet.apply(
        shops.source,
        shops.desired,
        journal=tmp_path / "journal",
        plan=file,
        approve=approve,
        key=KEY,
    )
    assert seen == [plan]
    assert (report.writes, report.changed, report.counts) == ({"done": 151}, 41, plan.counts)
    assert report.complete
    assert (await fleet.plan(shops.source, shops.desired)).steps == 0
    # Apply it again: every step is already done.
    written = len(shops.writes())
    again = await fleet.apply(
        shops.source, shops.desired, journal=tmp_path / "journal", plan=file, approve=yes, key=KEY
    )
    assert (again.writes, len(shops.writes())) == ({"unchanged": 151}, written)


async def test_steps_of_accounts_that_changed_since_are_skipped(
    shops: Fleet, tmp_path: Path
) -> None:
    file = tmp_path / "plan.jsonl"
    await fleet.plan(shops.source, shops.desired, out=file, key=KEY)
    shops.emulator.install(shops.shops[0][0], TRANSCRIPTION, {}, unique_name="spam-score")
    new, _ = shops.emulator.add_subaccounts(PARENT, 1, friendly_name="Shop new")[0]
    report = await fleet.apply(
        shops.source, shops.desired, journal=tmp_path / "journal", plan=file, approve=yes, key=KEY
    )
    assert (report.counts.skipped, report.counts.done) == (1, 40)
    assert report.failures.first[0].message.count("changed since the plan") >= 1
    assert (await shops.state())["Shop new"] == {}
    assert new not in {one["account"]["account_sid"] for one in lines(file) if "account" in one}


async def test_a_secret_that_changed_since_is_not_applied(shops: Fleet, tmp_path: Path) -> None:
    file = tmp_path / "plan.jsonl"
    await fleet.plan(shops.source, shops.desired, out=file, key=KEY)
    rotated = fleet.parse(DESIRED.replace("very-secret", "rotated-secret"))
    report = await fleet.apply(
        shops.source, rotated, journal=tmp_path / "journal", plan=file, approve=yes, key=KEY
    )
    assert report.counts.skipped == 40
    assert "rotated-secret" not in str(await shops.state())


async def test_without_a_key_changed_secrets_need_to_be_accepted(
    shops: Fleet, tmp_path: Path
) -> None:
    file, journal = tmp_path / "plan.jsonl", tmp_path / "journal"
    await fleet.plan(shops.source, shops.desired, out=file)
    assert lines(file)[0]["secret_values"] == "not compared"
    with pytest.raises(JobError, match="secret values are not compared"):
        await fleet.apply(shops.source, shops.desired, journal=journal, plan=file, approve=yes)
    assert not journal.exists()
    rotated = fleet.parse(DESIRED.replace("very-secret", "rotated-secret"))
    report = await fleet.apply(
        shops.source,
        rotated,
        journal=journal,
        plan=file,
        approve=yes,
        accept_secret_changes=True,
    )
    assert report.writes == {"done": 151}
    with pytest.raises(ValueError, match="requires a saved plan"):
        await fleet.apply(
            shops.source, rotated, journal=journal, approve=yes, accept_secret_changes=True
        )


@pytest.mark.parametrize("key", [KEY, None])
async def test_every_edited_line_is_noticed(
    shops: Fleet, tmp_path: Path, key: PlanKey | None
) -> None:
    file, journal = tmp_path / "plan.jsonl", tmp_path / "journal"
    await fleet.plan(shops.source, shops.desired, out=file, key=key)
    whole = file.read_bytes().splitlines(keepends=True)
    first = whole[1].replace(b"install", b"update ", 1)
    edits = {
        "a line is changed": [whole[0], first, *whole[2:]],
        "a line is missing": [whole[0], *whole[2:]],
        "a line is added": [*whole[:2], *whole[1:]],
        "lines are swapped": [whole[0], whole[2], whole[1], *whole[3:]],
        "the end is missing": whole[:-2],
        "the seal is missing": whole[:-1],
        "the seal is another": [*whole[:-1], b'{"seal":"sha256:00"}\n'],
        "the file is cut": [*whole[:-1], whole[-1][:-5]],
        "the header is changed": [whole[0].replace(b'"made":"2', b'"made":"3'), *whole[1:]],
        "only the header is left": whole[:1],
    }
    for edit, content in edits.items():
        file.write_bytes(b"".join(content))
        with pytest.raises(JobError, match="was edited or damaged"):
            await fleet.apply(
                shops.source,
                shops.desired,
                journal=journal,
                plan=file,
                approve=lambda _: pytest.fail("asked"),
                key=key,
                accept_secret_changes=True,
            )
        assert not journal.exists(), edit
    assert shops.writes() == []


async def test_a_plan_for_something_else_is_rejected(shops: Fleet, tmp_path: Path) -> None:
    file, journal = tmp_path / "plan.jsonl", tmp_path / "journal"
    await fleet.plan(shops.source, shops.desired, out=file, key=KEY)

    async def rejected(
        desired: fleet.Desired = shops.desired,
        source: fleet.Source = shops.source,
        key: PlanKey | None = KEY,
    ) -> str:
        with pytest.raises(JobError) as caught:
            await fleet.apply(source, desired, journal=journal, plan=file, approve=yes, key=key)
        return caught.value.message

    other = fleet.parse(DESIRED.replace("one.example.com", "two.example.com"))
    assert "the desired state has changed since" in await rejected(other)
    assert "another plan key" in await rejected(key=PlanKey(b"x" * 32))
    assert "another plan key" in await rejected(key=None)
    accounts = tmp_path / "accounts.csv"
    accounts.write_text("account_sid,auth_token\n")
    accounts.chmod(0o600)
    source = fleet.AccountsFile(accounts, {"base_url": shops.emulator.url})
    assert "was made for another fleet: the source of the accounts was" in await rejected(
        source=source
    )
    header, rest = file.read_bytes().split(b"\n", 1)
    version = {**json.loads(header), "version": "0.0.1"}
    file.write_bytes(json.dumps(version, separators=(",", ":")).encode() + b"\n" + rest)
    assert "was made by version 0.0.1" in await rejected()
    file.write_text('{"account_sid": "AC"}\n')
    assert "is not a saved plan" in await rejected()
    assert not journal.exists()
    assert shops.writes() == []


async def test_only_a_complete_plan_replaces_only_a_saved_plan(
    shops: Fleet, tmp_path: Path
) -> None:
    file = tmp_path / "plan.jsonl"
    file.write_text("mine\n")
    with pytest.raises(JobError, match="exists and is not a saved plan"):
        await fleet.plan(shops.source, shops.desired, out=file)
    assert file.read_text() == "mine\n"
    file.unlink()
    await fleet.plan(shops.source, shops.desired, out=file, key=KEY)
    before = file.read_bytes()
    stop = asyncio.Event()
    report = await fleet.plan(
        shops.source, shops.desired, out=file, stop=stop, progress=StopAtOnce(stop)
    )
    assert not report.complete
    assert file.read_bytes() == before
    await fleet.plan(shops.source, shops.desired, out=file)
    assert file.read_bytes() != before
    assert os.listdir(tmp_path) == ["plan.jsonl"]
    with pytest.raises(ValueError, match="cannot be combined with to"):
        await fleet.plan(shops.source, shops.desired, out=file, to=tmp_path / "other")


async def test_the_failures_of_a_saved_plan_are_those_of_apply(
    shops: Fleet, tmp_path: Path
) -> None:
    file = tmp_path / "plan.jsonl"
    shops.emulator.install(shops.shops[0][0], SPAM_SCORE, {}, unique_name="transcription")
    plan = await fleet.plan(shops.source, shops.desired, out=file, key=KEY)
    assert (plan.failures.count, plan.counts.failed) == (1, 1)
    report = await fleet.apply(
        shops.source, shops.desired, journal=tmp_path / "journal", plan=file, approve=yes, key=KEY
    )
    assert report.plan.failures.count == 1
    assert (report.counts.failed, report.counts.done) == (1, 40)
    assert report.counts.accounts == 41


@pytest.mark.parametrize("saved", [True, False])
async def test_a_plan_with_too_many_removals_is_rejected_before_the_approval(
    shops: Fleet, tmp_path: Path, saved: bool
) -> None:
    file = tmp_path / "plan.jsonl"
    plan = await fleet.plan(shops.source, shops.desired, out=file)
    assert plan.totals == {
        "remove": 29,
        "rename": 0,
        "install": 81,
        "update": 0,
        "enable": 41,
        "disable": 0,
    }

    async def apply(most: int, approve: bool) -> fleet.ApplyReport:
        return await fleet.apply(
            shops.source,
            shops.desired,
            journal=tmp_path / "journal",
            plan=file if saved else None,
            accept_secret_changes=saved,
            max_removals=most,
            approve=yes if approve else lambda _: pytest.fail("asked"),
        )

    for most in (0, 28):
        with pytest.raises(JobError, match=r"the plan removes 29 .* voicebase_transcription on 29"):
            await apply(most, approve=False)
    with pytest.raises(ValueError, match="max_removals"):
        await apply(-1, approve=False)
    assert shops.writes() == []
    assert (await apply(29, approve=True)).writes == {"done": 151}
