"""The jobs over many accounts: inventory, plan and apply against an emulator."""

import asyncio
import functools
import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.fleet_workers import (
    DyingExecutor,
    ProcessesExecutor,
    TwiceExecutor,
    connect,
    find_in_the_vault,
    sids_of_the_vault,
)

from marketplace_async import AuthenticationError, MarketplaceClient, MarketplaceError, fleet
from marketplace_async.bulk import Outcome
from marketplace_async.emulator import Emulator
from marketplace_async.fleet import (
    DesiredStateError,
    EmbeddedExecutor,
    Executor,
    InventoryRecord,
    JobError,
)
from marketplace_async.testing import account

SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
TRANSCRIPTION = "XB85b56ed9ce713e0ac62342b901233193"
VOICEBASE = "XB7afe11af3e292cadb03248e0066b8c1e"
PARENT = account().account_sid

DESIRED = f"""
secret = ["api_token"]

[[add_ons]]
unique_name = "spam-score"
available_add_on_sid = "{SPAM_SCORE}"
accept_terms_of_service = true
accounts = "all"
extensions = {{ voice-incoming = true }}

[[add_ons]]
unique_name = "transcription"
available_add_on_sid = "{TRANSCRIPTION}"
accept_terms_of_service = true
accounts = {{ friendly_names = ["Shop *"] }}
configuration = {{ callback_url = "https://example.com/done", api_token = "very-secret" }}

[[add_ons.overrides]]
accounts = {{ friendly_names = ["Shop 1*"] }}
configuration = {{ callback_url = "https://one.example.com/done" }}

[[add_ons]]
unique_name = "voicebase_transcription"
accounts = {{ except_friendly_names = ["Shop 2*"] }}
state = "absent"
"""


class StopAtOnce:
    """A progress that stops the job as soon as anything is done."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop

    def started(self, total: int | None) -> None: ...

    def advanced(self, count: int = 1) -> None:
        self._stop.set()

    def failed(self, item: object, error: Exception) -> None: ...


class Fleet:
    """An emulator with a parent account and 40 shops, each with an add-on to begin with."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.shops = emulator.add_subaccounts(PARENT, 40, friendly_name="Shop {number}")
        for sid, _ in self.shops:
            emulator.install(sid, VOICEBASE, {"callback_url": "https://example.com"})
        self.source = fleet.Subaccounts(functools.partial(connect, emulator.url))
        self.desired = fleet.parse(DESIRED)

    async def state(self) -> dict[str, dict[str, Any]]:
        """Return what is installed, by account and unique name: configuration and extensions."""
        state: dict[str, dict[str, Any]] = {}
        async with MarketplaceClient(account(), base_url=self.emulator.url) as client:
            async for each in client.accounts.list():
                assert each.credentials is not None
                add_ons = client.with_credentials(each.credentials).installed_add_ons
                state[each.friendly_name or ""] = {
                    str(one.unique_name): (
                        one.configuration,
                        {
                            extension.unique_name
                            async for extension in add_ons.extensions(one.sid).list()
                            if extension.enabled
                        },
                    )
                    async for one in add_ons.list()
                }
        return state

    def writes(self) -> list[str]:
        """Return the requests that changed something."""
        return [
            f"{entry.method} {entry.path}"
            for entry in self.emulator.log
            if entry.method != "GET" and entry.status is not None and entry.status < 300
        ]


@pytest.fixture
async def shops(marketplace_emulator: Emulator) -> Fleet:
    return Fleet(marketplace_emulator)


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def tasks() -> set[str]:
    """Return what runs in the loop, the emulator aside."""
    coroutines = {task.get_coro() for task in asyncio.all_tasks()}
    return {str(one) for one in coroutines if "RequestHandler" not in str(one)}


# -- inventory


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "db"])
async def test_the_inventory_holds_every_add_on_of_every_account(
    shops: Fleet, tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"inventory.{suffix}"
    report = await fleet.inventory(shops.source, file, extensions=True)
    assert (report.accounts, report.records, report.failures.count) == (41, 40, 0)
    assert report.complete
    expected = {sid for sid, _ in shops.shops}
    if suffix == "db":
        with sqlite3.connect(file) as db:
            found = [sid for (sid,) in db.execute("SELECT account_sid FROM installed_add_ons")]
            assert db.execute("SELECT count(*) FROM extensions").fetchone() == (40,)
        db.close()
        assert Counter(found) == Counter(expected)
    elif suffix == "jsonl":
        records = lines(file)
        assert Counter(one["account_sid"] for one in records) == Counter(expected)
        assert {one["account_friendly_name"] for one in records} == {
            f"Shop {number}" for number in range(1, 41)
        }
        assert records[0]["extensions"][0]["unique_name"] == "recording-dial"
    else:
        text = file.read_text()
        assert text.count("\n") == 41
        assert all(sid in text for sid in expected)


async def test_an_account_that_fails_stops_no_other_and_is_tried_again(tmp_path: Path) -> None:
    accounts = {account(number).account_sid: "made-up" for number in range(1, 31)}
    accounts[account(9).account_sid] = "another token"
    file = tmp_path / "inventory.jsonl"
    async with Emulator(accounts=accounts) as emulator:
        for sid in accounts:
            emulator.install(sid, SPAM_SCORE)
        source = fleet.Vault(sids_of_the_vault, find_in_the_vault, {"base_url": emulator.url})
        report = await fleet.inventory(source, file)
        assert (report.accounts, report.records, report.failures.count) == (30, 28, 2)
        assert [(one.account_sid[-1], one.error) for one in report.failures.first] == [
            ("7", "KeyError"),
            ("9", "AuthenticationError"),
        ]
        assert report.failures.file is not None
        assert [one["account_sid"][-1] for one in lines(report.failures.file)] == ["7", "9"]
        assert len(lines(file)) == 28

        accounts[account(9).account_sid] = "made-up"
        emulator.log.clear()
        report = await fleet.inventory(source, file, resume=True)
        assert (report.accounts, report.records, report.failures.count) == (30, 29, 1)
        assert len(lines(file)) == 29
        assert len(emulator.log) == 1  # nobody was asked who is in the file already


async def test_what_is_asked_otherwise_is_not_gone_on_with(shops: Fleet, tmp_path: Path) -> None:
    file = tmp_path / "inventory.jsonl"
    await fleet.inventory(shops.source, file)
    with pytest.raises(JobError, match="is there already"):
        await fleet.inventory(shops.source, file)
    with pytest.raises(JobError, match="begun otherwise"):
        await fleet.inventory(shops.source, file, resume=True, extensions=True)
    with pytest.raises(ValueError, match="resume: expected a file, and not overwrite"):
        await fleet.inventory(shops.source, file, resume=True, overwrite=True)
    with pytest.raises(ValueError, match=r"to: expected a file that ends in"):
        await fleet.inventory(shops.source, tmp_path / "inventory.xlsx")
    report = await fleet.inventory(shops.source, file, overwrite=True, extensions=True)
    assert (report.records, len(lines(file))) == (40, 40)


async def test_accounts_that_cannot_be_listed_end_the_job(tmp_path: Path) -> None:
    async with Emulator(accounts={PARENT: "another token"}) as emulator:
        source = fleet.Subaccounts(functools.partial(connect, emulator.url))
        with pytest.raises(AuthenticationError):
            await fleet.inventory(source, tmp_path / "inventory.jsonl")


async def test_a_list_of_accounts_that_breaks_off_can_be_gone_on_with(
    shops: Fleet, tmp_path: Path
) -> None:
    file = tmp_path / "inventory.jsonl"

    class BreaksOff:
        def open(self) -> Any:
            opened = shops.source.open()

            class Breaking:
                async def __aenter__(self) -> Any:
                    connection = await opened.__aenter__()
                    whole = connection.accounts

                    async def accounts() -> AsyncIterator[Any]:
                        count = 0
                        async for one in whole():
                            count += 1
                            if count == 20:
                                raise MarketplaceError("the list broke off")
                            yield one

                    connection.accounts = accounts  # type: ignore[method-assign]
                    return connection

                async def __aexit__(self, *error: Any) -> None:
                    await opened.__aexit__(*error)

            return Breaking()

    with pytest.raises(MarketplaceError, match="broke off"):
        await fleet.inventory(BreaksOff(), file)
    # What was in flight is in the file.
    assert len(lines(file)) == 15
    report = await fleet.inventory(shops.source, file, resume=True)
    assert (report.records, len(lines(file))) == (40, 40)


async def test_a_job_that_is_stopped_finishes_what_it_has_begun(
    shops: Fleet, tmp_path: Path
) -> None:
    file = tmp_path / "inventory.jsonl"
    stop = asyncio.Event()

    one_by_one = EmbeddedExecutor(1)
    report = await fleet.inventory(
        shops.source, file, executor=one_by_one, progress=StopAtOnce(stop), stop=stop
    )
    assert not report.complete
    assert 0 < report.records == len(lines(file)) < 40
    report = await fleet.inventory(shops.source, file, resume=True)
    assert report.complete
    assert len(lines(file)) == 40


async def test_a_job_that_is_cancelled_leaves_nothing_running(shops: Fleet, tmp_path: Path) -> None:
    file = tmp_path / "inventory.jsonl"
    before = tasks()
    shops.emulator.faults.add("GET", "/v1/InstalledAddOns", delay=0.1, times=None)
    for moment in range(1, 9):
        job = asyncio.create_task(
            fleet.inventory(shops.source, file, resume=True, executor=EmbeddedExecutor(1))
        )
        await asyncio.sleep(0.01 * moment)
        assert job.cancel()
        await asyncio.gather(job, return_exceptions=True)
        assert job.cancelled()
        assert tasks() == before
    shops.emulator.faults.clear()
    report = await fleet.inventory(shops.source, file, resume=True)
    assert (report.accounts, len(lines(file))) == (41, 40)


# -- plan and apply


async def test_what_is_planned_is_applied_and_then_nothing_is_left(
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


async def test_nothing_is_done_that_is_not_approved(shops: Fleet, tmp_path: Path) -> None:
    async def refuse(plan: fleet.PlanReport) -> bool:
        return False

    journal = tmp_path / "journal"
    report = await fleet.apply(shops.source, shops.desired, journal=journal, approve=refuse)
    assert (report.approved, report.changed, report.plan.steps) == (False, 0, 151)
    assert shops.writes() == []


async def test_the_journal_of_another_job_is_left_alone(shops: Fleet, tmp_path: Path) -> None:
    file = tmp_path / "inventory.jsonl"
    await fleet.inventory(shops.source, file)
    with pytest.raises(JobError, match="is the journal of another job: inventory"):
        await fleet.apply(
            shops.source,
            shops.desired,
            journal=tmp_path / "inventory.jsonl.journal",
            approve=lambda _: True,
        )
    report = await fleet.inventory(shops.source, file, resume=True)
    assert (report.accounts, shops.writes()) == (41, [])


async def test_what_comes_up_after_the_plan_is_left_for_the_next_run(
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
                if sid == first:  # somebody does what was planned
                    await add_ons.create(
                        available_add_on_sid=SPAM_SCORE,
                        accept_terms_of_service=True,
                        unique_name="spam-score",
                    )
                else:  # and installs what the file wants removed elsewhere, under its name
                    await add_ons.create(
                        available_add_on_sid=TRANSCRIPTION,
                        accept_terms_of_service=True,
                        unique_name="spam-score",
                    )
        return True

    journal = tmp_path / "journal"
    report = await fleet.apply(shops.source, desired, journal=journal, approve=meanwhile)
    assert report.writes["unchanged"] == 3
    assert report.writes["failed"] == report.writes["unknown"] == 0
    state = await shops.state()
    assert state["Shop 1"]["spam-score"] == ({}, {"voice-incoming"})
    assert state["Shop 2"]["spam-score"] == ({}, set())
    plan = await fleet.plan(shops.source, desired)
    assert plan.failures.count == 1
    assert "spam-score is another add-on there" in plan.failures.first[0].message


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500, "when": "after"},
        {"drop": True, "when": "after"},
        {"drop": True},
        {"status": 429},
    ],
)
async def test_through_faults_it_comes_to_the_same_and_nothing_is_doubled(
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


async def test_a_write_that_fails_is_told_with_its_account_and_without_secrets(
    shops: Fleet, tmp_path: Path
) -> None:
    quoting = DESIRED.replace(
        'callback_url = "https://one.example.com/done"', 'callback_method = "very-secret"'
    )
    desired = fleet.parse(quoting)
    plan = await fleet.plan(shops.source, desired, to=tmp_path / "plan.jsonl")
    assert plan.failures.count == 11
    assert {group.accounts for group in plan.groups if group.unique_name == "transcription"} == {29}
    (message,) = {one.message for one in plan.failures.first}
    assert message == (
        "add_ons[1].configuration does not meet the add-on's schema: "
        'callback_method: "***" is not one of "GET" or "POST"'
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
        ((SPAM_SCORE, "XB" + "0" * 32), r"add_ons\[0\]\.available_add_on_sid: there is no add-on"),
        (
            ("voice-incoming", "nonsense"),
            r"add_ons\[0\]\.extensions\.nonsense: Nomorobo Spam Score has no such extension; "
            "it has lookup-api, voice-incoming",
        ),
    ],
)
async def test_what_the_catalogue_does_not_have_is_said_before_any_account_is_read(
    shops: Fleet, change: tuple[str, str], message: str
) -> None:
    with pytest.raises(DesiredStateError, match=message):
        await fleet.plan(shops.source, fleet.parse(DESIRED.replace(*change)))
    assert not shops.emulator.log.matching("GET", "/v1/InstalledAddOns")


async def test_accounts_that_are_named_and_not_there_are_told(shops: Fleet) -> None:
    nobody = "AC" + "f" * 32
    text = DESIRED.replace('["Shop *"]', f'["Store *"], sids = ["{nobody}"]')
    plan = await fleet.plan(shops.source, fleet.parse(text))
    assert plan.unmatched == ("add_ons[1].accounts: no account meets it",)
    (failure,) = plan.failures.first
    assert failure.account_sid == nobody
    assert failure.message == "add_ons[1].accounts: it is not among the accounts"


async def test_a_plan_that_was_stopped_goes_on_and_says_the_whole(
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
    with pytest.raises(JobError, match="begun otherwise"):
        await fleet.plan(shops.source, other, to=file, resume=True)


# -- progress


class Told:
    """Keeps what a job tells."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.totals: list[int | None] = []
        self.done = 0
        self.failures: list[Any] = []
        self.records = 0
        self.sent = 0

    def phase(self, name: str) -> None:
        self.phases.append(name)

    def started(self, total: int | None) -> None:
        self.totals.append(total)

    def advanced(self, count: int = 1) -> None:
        self.done += count

    def failed(self, item: object, error: Exception) -> None:
        self.failures.append((item, str(error)))

    def counted(self, records: int, stats: Any) -> None:
        self.records += records
        self.sent = stats.sent


async def test_progress_is_told_with_totals_records_and_requests(
    shops: Fleet, tmp_path: Path
) -> None:
    told = Told()
    await fleet.inventory(shops.source, tmp_path / "x.jsonl", progress=told)
    assert (told.phases, told.totals[0], told.totals[-1]) == (["inventory"], None, 41)
    assert (told.done, told.records, told.failures) == (41, 40, [])
    assert told.sent >= 42
    told = Told()
    await fleet.inventory(shops.source, tmp_path / "x.jsonl", progress=told, resume=True)
    assert (told.done, told.records) == (41, 0)
    told = Told()
    journal = tmp_path / "journal"
    await fleet.apply(
        shops.source, shops.desired, journal=journal, approve=lambda _: True, progress=told
    )
    assert told.phases == ["plan", "apply"]
    assert (told.done, told.totals[-1]) == (82, 41)


# -- executors


@pytest.mark.parametrize("executor", [ProcessesExecutor(), TwiceExecutor()])
async def test_another_executor_comes_to_the_same(
    shops: Fleet, tmp_path: Path, executor: Executor
) -> None:
    file = tmp_path / "inventory.jsonl"
    report = await fleet.inventory(shops.source, file, executor=executor)
    assert (report.accounts, report.records, len(lines(file))) == (41, 40, 40)
    report_of_apply = await fleet.apply(
        shops.source,
        shops.desired,
        journal=tmp_path / "journal",
        approve=lambda _: True,
        executor=executor,
    )
    assert report_of_apply.failures.count == 0
    assert (await fleet.plan(shops.source, shops.desired)).steps == 0
    state = await shops.state()
    assert Counter(len(names) for names in state.values()) == {1: 1, 2: 29, 3: 11}


async def test_shards_that_are_lost_are_unknown_and_the_next_run_finds_out(
    shops: Fleet, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"

    def run(executor: Executor) -> Any:
        return fleet.apply(
            shops.source, shops.desired, journal=journal, approve=lambda _: True, executor=executor
        )

    report = await run(DyingExecutor())
    assert report.failures.count > 0
    assert {one.message.split(";")[0] for one in report.failures.first} == {"the worker died"}
    assert report.writes["unknown"] > 0
    report = await run(EmbeddedExecutor())
    assert report.failures.count == 0
    assert (await fleet.plan(shops.source, shops.desired)).steps == 0


async def test_no_more_shards_are_held_than_are_in_flight() -> None:
    given = worked = most = 0

    async def shards() -> AsyncIterator[int]:
        nonlocal given, most
        for number in range(100_000):
            given += 1
            most = max(most, given - worked)
            yield number

    async def work(connection: Any, shard: int) -> tuple[int]:
        await asyncio.sleep(0)
        return (shard,)

    executor: Any = EmbeddedExecutor(4)
    total = 0
    async with executor.run(work, None, shards()) as outcomes:
        async for outcome in outcomes:
            assert isinstance(outcome, Outcome)
            worked += 1
            total += outcome.item
    assert (worked, total) == (100_000, sum(range(100_000)))
    # In work, and done but not taken yet.
    assert most <= 4 + 4 + 1
    with pytest.raises(ValueError, match="shards: must be a positive integer"):
        EmbeddedExecutor(0)


async def test_sources_hold_no_credentials_and_a_vault_may_fail_for_one(tmp_path: Path) -> None:
    accounts = tmp_path / "accounts.csv"
    accounts.write_text(
        "account_sid,auth_token,friendly_name\n"
        + "".join(
            f"{account(number).account_sid},made-up,Shop {number}\n" for number in range(1, 31)
        )
    )
    accounts.chmod(0o600)
    async with Emulator() as emulator:
        emulator.install(account(3).account_sid, SPAM_SCORE)
        source = fleet.AccountsFile(accounts, {"base_url": emulator.url})
        told: list[InventoryRecord] = []

        class Kept:
            def begin(self) -> None: ...

            def resume(self, position: int) -> None: ...

            def write(self, account_sid: str, records: Any) -> None:
                told.extend(records)

            def sync(self) -> int:
                return 0

            def close(self) -> None: ...

        report = await fleet.inventory(source, Kept())
        assert (report.accounts, report.records) == (30, 1)
        assert [one.account_friendly_name for one in told] == ["Shop 3"]
        assert "made-up" not in repr(source)
        empty = tmp_path / "empty.csv"
        empty.write_text("account_sid,auth_token\n")
        empty.chmod(0o600)
        with pytest.raises(MarketplaceError, match="no account with credentials"):
            await fleet.plan(fleet.AccountsFile(empty), fleet.parse(DESIRED))
