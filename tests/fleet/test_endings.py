"""Every job, however it ends, reports counts that add up to the number of accounts."""

import asyncio
import base64
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.fleet import SPAM_SCORE, Fleet, lines, tasks

from marketplace_async import (
    AuthenticationError,
    CredentialsError,
    Request,
    Response,
    Retry,
    ServerError,
    fleet,
)
from marketplace_async.fleet import EmbeddedExecutor, InventoryRecord, JobEndedError

ACCOUNTS = 48
HANGS, ENDLESS, FORBIDDEN = (f"AC{number:032x}" for number in (3, 20, 37))
OFF = fleet.parse('[[add_ons]]\nunique_name = "spam"\nstate = "absent"\naccounts = "all"\n')


class Service:
    """A service with one installed Add-on per account. Some accounts cause trouble."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "accounts.csv"
        self.url = ""
        self.removed: set[str] = set()
        self.on_delete: Callable[[], None] = lambda: None
        self.delay = 0.0
        self.updates = 0
        self.defaults: dict[str, Any] = {}
        self.configurations: dict[str, dict[str, Any]] = {}

    @property
    def source(self) -> fleet.AccountsFile:
        self.file.touch(mode=0o600)
        rows = "".join(f"AC{number:032x},x\n" for number in range(ACCOUNTS))
        self.file.write_text(f"account_sid,auth_token\n{rows}")
        retry = Retry(attempts=1)
        return fleet.AccountsFile(self.file, {"base_url": self.url, "retry": retry})

    async def handle(self, request: web.Request) -> web.StreamResponse:
        user = base64.b64decode(request.headers["Authorization"][6:]).decode().partition(":")[0]
        if request.method == "DELETE":
            self.on_delete()
            await asyncio.sleep(self.delay)
            self.removed.add(user)
            return web.Response(status=204)
        if "AvailableAddOns" in request.path:
            return web.json_response({"sid": SPAM_SCORE, "configuration_schema": None})
        if request.method == "POST":
            self.updates += 1
            form = await request.post()
            self.configurations[user] = json.loads(str(form["Configuration"])) | self.defaults
        if user == HANGS:
            await asyncio.sleep(3600)
        if user == FORBIDDEN:
            return web.json_response({"code": 20003, "message": "Suspended"}, status=403)
        record = {
            "sid": f"XE{user[2:]}",
            "account_sid": user,
            "unique_name": "spam",
            "configuration": self.configurations.get(user, {}),
            "links": {"available_add_on": f"{self.url}/v1/AvailableAddOns/{SPAM_SCORE}"},
        }
        if request.path.count("/") > 2:
            return web.json_response(record)
        more = None
        if user == ENDLESS:
            await asyncio.sleep(0.02)
            token = int(request.query.get("PageToken", "PA0")[2:]) + 1
            more = f"{self.url}/v1/InstalledAddOns?PageSize=1000&PageToken=PA{token}"
            record["sid"] = f"XE{token:032x}"
        page = {"installed_add_ons": [record], "meta": {"next_page_url": more}}
        page["meta"]["key"] = "installed_add_ons"  # type: ignore[index]
        return web.json_response(page)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    service = Service(tmp_path)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", service.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    service.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield service
    finally:
        await runner.cleanup()


class StopAfter:
    """A progress that sets an event after some accounts."""

    def __init__(self, event: asyncio.Event, accounts: int) -> None:
        self.event, self.left = event, accounts

    def started(self, total: int | None) -> None: ...

    def advanced(self, count: int = 1) -> None:
        self.left -= count
        if self.left <= 0:
            self.event.set()

    def failed(self, item: object, error: Exception) -> None: ...


async def test_accounts_that_never_end_fail_alone_and_the_others_are_durable_meanwhile(
    service: Service, tmp_path: Path
) -> None:
    file = tmp_path / "all.jsonl"
    job = asyncio.create_task(
        fleet.inventory(service.source, file, account_timeout=3.0, executor=EmbeddedExecutor(4))
    )
    while not file.exists() or len(file.read_text().splitlines()) < ACCOUNTS - 3:
        assert not job.done()
        await asyncio.sleep(0.02)
    report = await job
    assert report.counts == fleet.Counts(done=ACCOUNTS - 3, failed=3)
    assert {one.account_sid: one.error for one in report.failures.first} == {
        HANGS: "AccountTimeoutError",
        ENDLESS: "AccountTimeoutError",
        FORBIDDEN: "PermissionDeniedError",
    }
    assert "not finished within 3 seconds" in report.failures.first[0].message


async def test_apply_reports_each_account_as_what_it_is(service: Service, tmp_path: Path) -> None:
    report = await fleet.apply(
        service.source,
        OFF,
        journal=tmp_path / "journal",
        approve=lambda _: True,
        account_timeout=5.0,
    )
    assert report.counts == fleet.Counts(done=ACCOUNTS - 3, failed=3)
    assert report.writes == {"done": ACCOUNTS - 3}
    assert service.removed.isdisjoint({HANGS, ENDLESS, FORBIDDEN})


async def test_a_write_that_takes_too_long_is_unknown_until_the_next_run(
    service: Service, tmp_path: Path
) -> None:
    service.delay = 3600.0
    journal = tmp_path / "journal"

    async def run(account_timeout: float) -> fleet.ApplyReport:
        return await fleet.apply(
            service.source,
            OFF,
            journal=journal,
            approve=lambda _: True,
            account_timeout=account_timeout,
        )

    report = await run(2.0)
    assert report.counts == fleet.Counts(unknown=ACCOUNTS - 3, failed=3)
    service.delay = 0.0
    report = await run(5.0)
    assert report.counts == fleet.Counts(done=ACCOUNTS - 3, failed=3)
    with sqlite3.connect(journal) as db:
        outcomes = dict(db.execute("SELECT outcome, count(*) FROM writes GROUP BY outcome"))
    db.close()
    assert outcomes == {"done": ACCOUNTS - 3, "failed": ACCOUNTS - 3}


@pytest.mark.parametrize("event", ["stop", "abort"])
async def test_a_stopped_apply_tells_what_was_not_begun(
    service: Service, tmp_path: Path, event: str
) -> None:
    happened = asyncio.Event()
    service.delay = 0.1 if event == "stop" else 3600.0
    service.on_delete = happened.set
    before = tasks()
    options: Any = {event: happened}
    report = await fleet.apply(
        service.source,
        OFF,
        journal=tmp_path / "journal",
        approve=lambda _: True,
        account_timeout=2.0 if event == "stop" else 5.0,
        executor=EmbeddedExecutor(4),
        **options,
    )
    counts = report.counts
    assert (counts.accounts, report.complete) == (ACCOUNTS, False)
    assert counts.not_begun > 0
    assert counts.failed == (3 if event == "stop" else counts.failed)
    if event == "stop":
        assert counts.done == len(service.removed) > 0
        assert counts.unknown == 0
    else:
        assert (counts.done, len(service.removed)) == (0, 0)
        assert counts.unknown == report.writes["unknown"] > 0
    assert tasks() == before


@pytest.mark.parametrize("event", ["stop", "abort"])
async def test_a_stopped_inventory_tells_what_was_not_begun(
    service: Service, tmp_path: Path, event: str
) -> None:
    happened = asyncio.Event()
    options: Any = {event: happened}
    report = await fleet.inventory(
        service.source,
        tmp_path / "all.jsonl",
        progress=StopAfter(happened, 2),
        executor=EmbeddedExecutor(1),
        account_timeout=1.0,
        **options,
    )
    assert report.counts.done + report.counts.failed >= 2
    if event == "stop":
        assert report.counts.accounts == ACCOUNTS
        assert report.counts.not_begun == ACCOUNTS - 16
    assert not report.complete


async def test_a_journal_that_cannot_be_written_ends_the_job_with_a_report(
    service: Service,
) -> None:
    class Full:
        accounts = 0

        def begin(self) -> None: ...

        def resume(self, position: int) -> None: ...

        def write(self, account_sid: str, records: Sequence[InventoryRecord]) -> None:
            self.accounts += 1
            if self.accounts > 10:
                raise OSError(28, "No space left on device")

        def sync(self) -> int:
            return 0

        def close(self) -> None: ...

    with pytest.raises(JobEndedError, match="No space left") as raised:
        await fleet.inventory(
            service.source, Full(), account_timeout=1.0, executor=EmbeddedExecutor(1)
        )
    counts = raised.value.report.counts
    assert isinstance(raised.value.__cause__, OSError)
    assert 0 < counts.done + counts.failed <= 10
    assert counts.accounts == ACCOUNTS
    assert not raised.value.report.complete


async def test_a_file_that_is_replaced_while_it_is_read_ends_the_job_with_a_report(
    service: Service, tmp_path: Path
) -> None:
    source = service.source
    many = "".join(f"AC{number:032x},x\n" for number in range(100, 2000))
    service.file.write_text(service.file.read_text() + many)

    class Replaces(StopAfter):
        def advanced(self, count: int = 1) -> None:
            super().advanced(count)
            if self.event.is_set():
                service.file.write_text("account_sid,auth_token\n")

    with pytest.raises(JobEndedError, match="changed while it was being read") as raised:
        await fleet.inventory(
            source,
            tmp_path / "all.jsonl",
            progress=Replaces(asyncio.Event(), 10),
            account_timeout=1.0,
        )
    assert isinstance(raised.value.__cause__, CredentialsError)
    counts = raised.value.report.counts
    assert counts.done == len(lines(tmp_path / "all.jsonl")) > 0


async def test_a_list_of_accounts_that_fails_half_way_ends_the_job_with_a_report(
    service: Service, tmp_path: Path
) -> None:
    class FailsHalfWay(fleet.AccountsFile):
        @asynccontextmanager
        async def open(self) -> AsyncIterator[fleet.Connection]:
            async with super().open() as connection:

                async def listed(page_size: int | None = None) -> AsyncIterator[fleet.Target]:
                    count = 0
                    async for target in connection_accounts():
                        count += 1
                        if count > 20:
                            raise ServerError(Request("GET", "/x"), Response(500, {}, b"", 0.0))
                        yield target

                connection_accounts = connection.accounts
                connection.accounts = listed  # type: ignore[method-assign]
                yield connection

    source = service.source
    source = FailsHalfWay(source.file, source.options)
    with pytest.raises(JobEndedError) as raised:
        await fleet.inventory(
            source, tmp_path / "all.jsonl", account_timeout=1.0, executor=EmbeddedExecutor(4)
        )
    assert isinstance(raised.value.__cause__, ServerError)
    counts = raised.value.report.counts
    assert counts.accounts == counts.done + counts.failed + counts.not_begun == ACCOUNTS
    assert counts.done == len(lines(tmp_path / "all.jsonl")) > 0


async def test_an_error_before_any_account_is_raised_as_it_is(shops: Fleet, tmp_path: Path) -> None:
    shops.emulator.faults.add("GET", "/2010-04-01/Accounts.json", status=401, times=None)
    with pytest.raises(AuthenticationError):
        await fleet.inventory(shops.source, tmp_path / "all.jsonl")


async def test_a_progress_that_raises_changes_nothing(shops: Fleet, tmp_path: Path) -> None:
    reports: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reports.append(context["message"]))

    class Broken(StopAfter):
        def advanced(self, count: int = 1) -> None:
            raise ZeroDivisionError

    progress = Broken(asyncio.Event(), 0)
    report = await fleet.inventory(shops.source, tmp_path / "all.jsonl", progress=progress)
    assert (report.counts.done, report.complete) == (41, True)
    assert [report for report in reports if "Broken.advanced raised ZeroDivisionError" in report]
    assert len(reports) == 1


async def test_an_approval_that_never_comes_ends_in_time_and_changes_nothing(
    shops: Fleet, tmp_path: Path
) -> None:
    never = asyncio.Event()

    async def approve(plan: fleet.PlanReport) -> bool:
        return await never.wait()

    with pytest.raises(TimeoutError):
        await fleet.apply(
            shops.source,
            shops.desired,
            journal=tmp_path / "journal",
            approve=approve,
            approve_timeout=0.2,
        )
    assert shops.writes() == []


async def test_what_the_service_makes_of_a_configuration_is_told_once_and_not_rewritten(
    service: Service, tmp_path: Path
) -> None:
    service.defaults = {"topics": False}
    wanted = fleet.parse(
        f'[[add_ons]]\nunique_name = "spam"\navailable_add_on_sid = "{SPAM_SCORE}"\n'
        'accept_terms_of_service = true\naccounts = "all"\nconfiguration = { level = 1 }\n'
    )

    async def run() -> fleet.ApplyReport:
        return await fleet.apply(
            service.source,
            wanted,
            journal=tmp_path / "journal",
            approve=lambda _: True,
            account_timeout=1.0,
            executor=EmbeddedExecutor(1),
        )

    report = await run()
    assert report.writes == {"done": ACCOUNTS - 3}
    (note,) = report.notes
    assert "spam: the service keeps" in note
    assert "topics = false" in note
    service.updates = 0
    report = await run()
    # Each account still differs from the desired state, and a write would not change that.
    assert report.writes.keys() == {"done", "unchanged"}
    assert (service.updates, len(report.notes)) == (report.writes["done"], 1)
    assert service.updates <= 32
    assert report.counts.done == ACCOUNTS - 3
