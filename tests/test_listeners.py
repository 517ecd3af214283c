"""Observers, log handlers and progress objects that raise: the call goes on."""

import asyncio
import contextvars
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from support.observed import SPAM_SCORE, TWICE, XE, Recorder, create

from marketplace_async import (
    AmbiguousOutcomeError,
    MarketplaceClient,
    NotFoundError,
)
from marketplace_async._core import session as sessions
from marketplace_async.observe import (
    CallEnded,
    CallInfo,
    Observer,
)
from marketplace_async.testing import account, emulated

SID = account().account_sid


@pytest.fixture(params=["direct", "aiohttp"])
def exchange(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_direct", request.param == "direct")


# -- that raise


class Raising(Observer):
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def call_started(self, call: CallInfo) -> None:
        raise self.error

    attempt_started = attempt_ended = waiting = call_ended = call_started  # type: ignore[assignment]


@pytest.fixture
async def reports() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: found.append(context))
    return found


@pytest.mark.parametrize("error", [ValueError("broken"), asyncio.CancelledError()])
async def test_an_observer_that_raises_is_reported_once_and_changes_nothing(
    error: BaseException, reports: list[dict[str, Any]]
) -> None:
    seen = Recorder()
    async with emulated(observers=[Raising(error), seen], retry=TWICE) as (client, emulator):
        for _ in range(3):
            emulator.faults.add("GET", "*", status=429)
            await client.available_add_ons.list(limit=1).collect()
        await create(client)
        with pytest.raises(NotFoundError):
            await client.installed_add_ons.fetch(XE)
    assert [report["exception"] for report in reports] == [error] * 5
    assert reports[0]["message"].startswith("Raising.call_started raised ")
    assert len(seen.of(CallEnded)) == 5


async def test_an_observer_of_two_clients_is_reported_by_each(
    reports: list[dict[str, Any]],
) -> None:
    raising = Raising(ValueError())
    for _ in range(2):
        async with emulated(observers=[raising]) as (client, _):
            await client.available_add_ons.list(limit=1).collect()
    assert len(reports) == 8


class RaisingHandler(logging.Handler):
    def handle(self, record: logging.LogRecord) -> bool:
        raise OSError("no space left on device")


@pytest.fixture
def raising_handler() -> Iterator[None]:
    logger, handler = logging.getLogger("marketplace_async"), RaisingHandler()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield
    logger.removeHandler(handler)
    logger.setLevel(before)


@pytest.mark.usefixtures("raising_handler")
async def test_a_log_handler_that_raises_does_not_turn_a_create_into_its_error(
    reports: list[dict[str, Any]],
) -> None:
    async with emulated(retry=TWICE) as (client, emulator):
        emulator.faults.add("POST", "*", status=429)
        for _ in range(2):
            await create(client)
        emulator.faults.add("*", "*", drop=True, times=None)
        with pytest.raises(AmbiguousOutcomeError):
            await create(client)
        assert [entry.status for entry in emulator.log][:3] == [429, 201, 201]
    assert {report["message"].split(" raised ")[0] for report in reports} == {
        *("Log.attempt_ended", "Log.waiting", "Log.call_ended")
    }


@pytest.mark.usefixtures("raising_handler")
async def test_a_report_that_cannot_be_logged_is_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The default handler of the loop logs, and that log handler raises as well."""
    handler = RaisingHandler()
    logging.getLogger("asyncio").addHandler(handler)
    try:
        async with emulated() as (client, _):
            await create(client)
    finally:
        logging.getLogger("asyncio").removeHandler(handler)
    assert "Log.attempt_ended raised OSError" in capsys.readouterr().err


async def test_a_record_factory_with_the_same_fields_does_not_lose_a_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "marketplace_async")
    default = logging.getLogRecordFactory()

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = default(*args, **kwargs)
        record.request_id = "of the web framework"
        return record

    logging.setLogRecordFactory(factory)
    try:
        async with emulated() as (client, emulator):
            await client.available_add_ons.list(limit=1).collect()
            (entry,) = emulator.log
    finally:
        logging.setLogRecordFactory(default)
    (line,) = [record for record in caplog.records if record.name == "marketplace_async"]
    assert getattr(line, "request_id") == "of the web framework"  # noqa: B009
    assert f"request_id={entry.request_id}" in line.getMessage()


# -- that are rejected


async def test_without_observers_and_debug_nothing_is_told() -> None:
    async with emulated() as (client, _):
        assert client._call._watch.has_observers is False  # type: ignore[attr-defined]
        await create(client)


@pytest.mark.parametrize(
    ("observers", "message"),
    [
        (5, "observers: expected a list of Observer, got int"),
        ("abc", "observers: expected a list of Observer, got str"),
        ([Recorder], "observers: expected an Observer, got the class Recorder: pass an instance"),
        ([object()], "object has no method call_started: subclass Observer"),
    ],
)
def test_what_is_no_observer_is_rejected(observers: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        MarketplaceClient(account(), observers=observers)


def test_an_async_observer_is_rejected() -> None:
    class Late(Observer):
        async def call_ended(self, end: CallEnded) -> None:  # type: ignore[override]
            pass

    with pytest.raises(TypeError, match=r"Late\.call_ended is async: it must be a plain function"):
        MarketplaceClient(account(), observers=[Late()])


async def test_derived_clients_have_the_same_observers() -> None:
    seen = Recorder()
    async with emulated(observers=[seen]) as (client, _):
        other = account(2)
        await client.with_credentials(other).available_add_ons.list(limit=1).collect()
        await client.with_options(timeout=5).available_add_ons.list(limit=1).collect()
    assert [end.call.account for end in seen.of(CallEnded)] == [other.account_sid, SID]


async def test_a_call_that_is_collected_as_garbage_ends() -> None:
    seen = Recorder()
    async with emulated(observers=[seen]) as (client, emulator):
        emulator.faults.add("GET", "*", delay=5)
        call = client.available_add_ons.fetch(SPAM_SCORE)
        # It starts in one context, and is closed in another.
        contextvars.copy_context().run(call.send, None)
        call.close()
        await client.available_add_ons.fetch(SPAM_SCORE)
    ends = seen.of(CallEnded)
    assert [end.error_type for end in ends] == ["cancelled", None]
    assert [end.call.parent for end in ends] == [None, None]
