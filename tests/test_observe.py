"""Observers: they see every call and attempt as it was, and change nothing."""

import asyncio
import logging
from base64 import b64encode
from typing import Any

import attrs
import pytest
from support.observed import CASES, OQ, SECRET, SPAM_SCORE, TWICE, XE, Recorder, create
from support.raw_servers import raw_server

from marketplace_async import (
    AccountToken,
    AmbiguousOutcomeError,
    ApiKey,
    ClientCredentials,
    MarketplaceClient,
    MarketplaceError,
    NotFoundError,
    Request,
    ResponseError,
)
from marketplace_async._core import session as sessions
from marketplace_async.observe import (
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    CallInfo,
    Observer,
    Waiting,
)
from marketplace_async.testing import account, emulated

SID = account().account_sid


@pytest.fixture(params=["direct", "aiohttp"])
def exchange(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_direct", request.param == "direct")


# -- the table


@pytest.mark.usefixtures("exchange")
@pytest.mark.parametrize("name", CASES)
async def test_an_observer_and_the_log_see_a_fault_as_it_was(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "marketplace_async")
    case, seen = CASES[name], Recorder()
    async with case.run(observers=[seen]):
        pass
    ends = seen.of(CallEnded)
    end = ends[-1]
    attempts = [one for one in seen.of(AttemptEnded) if one.call.parent is None]
    assert tuple((one.status, one.error_type) for one in attempts) == case.attempts
    assert (end.error_type, end.gave_up) == (case.end, case.gave_up)
    assert all((one.reason is None) == (one.error_type is None) for one in [*attempts, *ends])

    lines: list[Any] = [record for record in caplog.records if record.name == "marketplace_async"]
    logged = [line for line in lines if " -> " in line.msg % line.args and not _is_nested(line)]
    assert tuple((line.status, line.error_type) for line in logged) == case.attempts
    warnings = [line for line in lines if line.levelno == logging.WARNING and not _is_nested(line)]
    assert [line.error_type for line in warnings[-1:]] == [case.end] * case.gave_up
    for line in lines:
        _check_fields(line)
    retries = [line for line in lines if line.levelno == logging.INFO]
    assert [(line.wait, line.reason, line.error_type) for line in retries] == [
        (wait.seconds, wait.reason, wait.error_type) for wait in seen.of(Waiting)
    ]
    for text in (repr(seen.events), caplog.text):
        assert SECRET not in text
        assert "Basic " not in text
        assert "Bearer " not in text


def _is_nested(line: Any) -> bool:
    return bool(line.operation == "oauth.create_token")


def _check_fields(line: Any) -> None:
    """Check that a line has every field, both as an attribute and in its text."""
    text = line.getMessage()
    assert "\n" not in text
    assert text.startswith(f"{line.operation}: ")
    assert line.account == SID
    for name in ("account", "attempt", "status", "elapsed", "request_id"):
        value = getattr(line, name)
        shown = "-" if value is None else f"{value:.3f}" if name == "elapsed" else str(value)
        assert f"{name}={shown}" in text


@pytest.mark.parametrize("name", CASES)
async def test_events_come_in_pairs_and_in_order(name: str) -> None:
    seen = Recorder()
    async with CASES[name].run(observers=[seen]):
        pass
    open_calls: dict[CallInfo, list[AttemptStarted]] = {}
    for event in seen.events:
        match event:
            case CallInfo():
                assert event.parent is None or event.parent in open_calls
                open_calls[event] = []
            case AttemptStarted():
                assert not open_calls[event.call]
                open_calls[event.call].append(event)
            case AttemptEnded():
                started = open_calls[event.call].pop()
                assert (started.number, started.request) == (event.number, event.request)
            case Waiting():
                assert not open_calls[event.call]
            case CallEnded():
                assert open_calls.pop(event.call) == []
    assert not open_calls


@pytest.mark.parametrize("name", CASES)
async def test_the_log_warns_of_what_was_given_up_without_observers_as_well(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "marketplace_async")
    case = CASES[name]
    async with case.run():
        pass
    assert {line.levelno for line in caplog.records} <= {logging.INFO, logging.WARNING}
    warnings: list[Any] = [line for line in caplog.records if line.levelno == logging.WARNING]
    assert [line.error_type for line in warnings[-1:]] == [case.end] * case.gave_up
    for line in caplog.records:
        _check_fields(line)


# -- what the events hold


async def test_events_name_operation_account_request_and_waits() -> None:
    seen = Recorder()
    async with emulated(retry=TWICE, observers=[seen]) as (client, emulator):
        emulator.faults.add("GET", "*", status=429, retry_after=0)
        await client.available_add_ons.list(limit=1).collect()
        ids = [entry.request_id for entry in emulator.log]
        base_url = client.base_url
    assert seen.names == [
        *("CallInfo", "AttemptStarted", "AttemptEnded", "Waiting"),
        *("AttemptStarted", "AttemptEnded", "CallEnded"),
    ]
    call, started, failed, wait, _, succeeded, end = seen.events
    assert (call.operation, call.account) == ("available_add_ons.list", SID)
    assert (call.base_url, call.parent) == (base_url, None)
    assert attrs.astuple(started.request) == ("GET",) + ("/v1/AvailableAddOns",) * 2
    assert [one.number for one in (started, failed, wait, succeeded)] == [1, 1, 2, 2]
    assert [one.request_id for one in (failed, wait, succeeded, end)] == [
        *(ids[0], ids[0], ids[1], ids[1])
    ]
    assert failed.reason == wait.cause == "20429: Too Many Requests"
    assert (wait.reason, wait.status, wait.elapsed) == ("backoff", 429, failed.elapsed)
    assert 0 < failed.elapsed < end.elapsed
    assert (end.attempts, end.status, end.reason) == (2, 200, None)


async def test_a_wait_says_that_the_service_asked_for_it() -> None:
    seen = Recorder()
    async with emulated(observers=[seen]) as (client, emulator):
        emulator.faults.add("GET", "*", status=429, retry_after=1)
        await client.available_add_ons.list(limit=1).collect()
    wait = seen.of(Waiting)[0]
    assert (wait.reason, wait.seconds) == ("retry_after", 1.0)


async def test_a_pause_and_a_permit_are_waits() -> None:
    seen = Recorder()
    async with emulated(observers=[seen], concurrency=1) as (client, emulator):
        emulator.faults.add("GET", "*", status=429, retry_after=1, delay=0.1)
        first = client.available_add_ons.list(limit=1)
        await asyncio.gather(first.collect(), client.available_add_ons.fetch(SPAM_SCORE))
    waits = {(wait.reason, wait.seconds is None) for wait in seen.of(Waiting)}
    assert {("permit", True), ("retry_after", False), ("pause", False)} <= waits
    pause = next(wait for wait in seen.of(Waiting) if wait.reason == "pause")
    assert (pause.status, pause.elapsed) == (429, None)


async def test_an_attempt_knows_its_wait_for_a_permit() -> None:
    seen = Recorder()
    async with emulated(observers=[seen], concurrency=1) as (client, emulator):
        emulator.faults.add("GET", "*", delay=0.2)
        fetch = client.available_add_ons.fetch
        await asyncio.gather(fetch(SPAM_SCORE), fetch(SPAM_SCORE))
    first, second = seen.of(AttemptEnded)
    assert first.permit_wait == 0.0
    assert 0.1 < second.permit_wait < 1.0
    assert second.elapsed < second.permit_wait


async def test_the_account_is_the_key_if_the_credentials_do_not_say_it() -> None:
    seen = Recorder()
    async with emulated(observers=[seen]) as (client, _):
        for credentials in (
            ApiKey("SK" + "1" * 32, SECRET),
            ApiKey("SK" + "1" * 32, SECRET, SID),
            ClientCredentials(OQ, SECRET),
        ):
            with pytest.raises(MarketplaceError):
                await client.with_credentials(credentials).installed_add_ons.fetch(XE)
    accounts = [end.call.account for end in seen.of(CallEnded) if end.call.parent is None]
    assert accounts == ["SK" + "1" * 32, SID, OQ]


async def test_a_request_of_your_own_has_a_name_of_few_values() -> None:
    seen = Recorder()
    async with emulated(observers=[seen]) as (client, _):
        await client.send(Request("GET", "/v1/AvailableAddOns", {"PageSize": 7}))
        with pytest.raises(NotFoundError):
            await client.installed_add_ons.fetch(XE)
    own, fetched = seen.of(AttemptEnded)
    assert (own.call.operation, own.request.url_template) == ("send", None)
    assert fetched.request.url_template == "/v1/InstalledAddOns/{sid}"
    assert "PageSize" not in repr(seen.events)


# -- nesting


def tree(seen: Recorder) -> list[tuple[str, str | None, str | None]]:
    """Return the operation, the parent's operation and the error type of each call."""
    return [
        (
            end.call.operation,
            end.call.parent and end.call.parent.operation,
            end.error_type,
        )
        for end in seen.of(CallEnded)
    ]


async def test_the_fetch_of_a_token_is_inside_the_call_that_needs_it() -> None:
    seen = Recorder()
    async with emulated(observers=[seen]) as (client, _):
        derived = client.with_credentials(ClientCredentials(OQ, SECRET, SID))
        await derived.available_add_ons.fetch(SPAM_SCORE)
        await derived.available_add_ons.fetch(SPAM_SCORE)
    assert tree(seen) == [
        ("oauth.create_token", "available_add_ons.fetch", None),
        ("available_add_ons.fetch", None, None),
        ("available_add_ons.fetch", None, None),
    ]


async def test_the_search_for_a_lost_create_is_inside_the_create() -> None:
    seen = Recorder()
    async with emulated(observers=[seen], retry=TWICE) as (client, emulator):
        emulator.faults.add("POST", "*", drop=True, when="after")
        await client.installed_add_ons.create(
            available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True, unique_name="a"
        )
    assert tree(seen) == [
        ("installed_add_ons.list", "installed_add_ons.create", None),
        ("installed_add_ons.create", None, None),
    ]
    assert [one.error_type for one in seen.of(AttemptEnded)] == ["TransportError", None]


async def test_a_conflict_that_was_our_own_create_is_a_success() -> None:
    """What the caller sees is what the observer sees."""
    seen = Recorder()
    async with emulated(observers=[seen], retry=TWICE) as (client, emulator):
        # The first is lost, and not yet in the list. The second is a conflict.
        emulator.faults.add("POST", "*", drop=True, when="after")
        emulator.faults.add("GET", "*", status=404)
        try:
            await client.installed_add_ons.create(
                available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True, unique_name="a"
            )
        except AmbiguousOutcomeError:
            expected: str | None = "AmbiguousOutcomeError"
        else:
            expected = None
    assert tree(seen)[-1] == ("installed_add_ons.create", None, expected)


async def test_a_delete_whose_response_was_lost_is_a_success(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sessions, "_direct", True)  # aiohttp repeats a DELETE by itself
    seen = Recorder()
    async with emulated(observers=[seen], retry=TWICE) as (client, emulator):
        installed = await create(client)
        emulator.faults.add("DELETE", "*", drop=True, when="after")
        await client.installed_add_ons.delete(installed.sid)  # type: ignore[attr-defined]
    assert tree(seen)[-1] == ("installed_add_ons.delete", None, None)
    assert [one.error_type for one in seen.of(AttemptEnded)][-2:] == ["TransportError", "404"]


async def test_the_steps_of_ensure_are_inside_it() -> None:
    seen = Recorder()
    async with emulated(observers=[seen]) as (client, _):
        wish: dict[str, Any] = {
            "unique_name": "a",
            "available_add_on_sid": "XB85b56ed9ce713e0ac62342b901233193",
        }
        for url in ("https://a.example", "https://b.example"):
            configuration = {"callback_url": url, "callback_method": "POST"}
            await client.installed_add_ons.ensure(
                **wish, accept_terms_of_service=True, configuration=configuration, check_schema=True
            )
    ensure = "installed_add_ons.ensure"
    assert tree(seen) == [
        ("available_add_ons.fetch", ensure, None),
        ("installed_add_ons.list", ensure, None),
        ("installed_add_ons.create", ensure, None),
        (ensure, None, None),
        ("available_add_ons.fetch", ensure, None),
        ("installed_add_ons.list", ensure, None),
        ("installed_add_ons.update", ensure, None),
        (ensure, None, None),
    ]
    assert seen.of(CallEnded)[3].attempts == 0


async def test_a_client_that_a_hook_uses_is_not_taken_for_the_call() -> None:
    seen = Recorder()

    class Nosy(Observer):
        other: MarketplaceClient

        async def look(self) -> None:
            await self.other.available_add_ons.fetch(SPAM_SCORE)

        def attempt_started(self, attempt: AttemptStarted) -> None:
            self.task = asyncio.ensure_future(self.look())

    nosy = Nosy()
    async with emulated() as (other, emulator):
        nosy.other = other
        url = emulator.url
        async with MarketplaceClient(account(), base_url=url, observers=[seen, nosy]) as client:
            await client.available_add_ons.fetch(SPAM_SCORE)
            await nosy.task
    assert seen.names == ["CallInfo", "AttemptStarted", "AttemptEnded", "CallEnded"]


async def test_a_nested_call_that_the_deadline_of_its_call_ends_is_a_timeout() -> None:
    seen = Recorder()
    async with emulated(observers=[seen], retry=TWICE) as (client, emulator):
        emulator.faults.add("POST", "*", drop=True, when="after")
        emulator.faults.add("GET", "*", delay=5)
        with pytest.raises(AmbiguousOutcomeError):
            await client.with_options(deadline=0.3).installed_add_ons.create(
                available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True, unique_name="a"
            )
    assert tree(seen) == [
        ("installed_add_ons.list", "installed_add_ons.create", "timeout"),
        ("installed_add_ons.create", None, "AmbiguousOutcomeError"),
    ]


async def test_pages_of_a_list_are_calls_and_an_abandoned_prefetch_is_cancelled() -> None:
    seen = Recorder()
    async with emulated(observers=[seen]) as (client, emulator):
        pages = client.available_add_ons.list(page_size=1).pages()
        await anext(pages)
        await asyncio.sleep(0.1)
        emulator.faults.add("GET", "*", delay=5)
        await anext(pages)
        await asyncio.sleep(0.05)
        await pages.aclose()
    types = [end.error_type for end in seen.of(CallEnded)]
    assert types == [None, None, "cancelled"]


@pytest.mark.parametrize("link", ["repeated", "cyclic", "foreign"])
@pytest.mark.parametrize("observed", [False, True])
@pytest.mark.parametrize("prefetch", [False, True])
async def test_an_invalid_link_to_the_next_page_is_the_end_of_a_call(
    link: Any, observed: bool, prefetch: bool, caplog: pytest.LogCaptureFixture
) -> None:
    seen = Recorder()
    async with emulated(observers=[seen] if observed else []) as (client, emulator):
        emulator.faults.add("GET", "*", next_link=link, times=None)
        listed = client.available_add_ons.list(page_size=2, prefetch=prefetch)
        with pytest.raises(ResponseError, match="the link to the next page"):
            await listed.collect()
    (warning,) = (one for one in caplog.records if one.levelno == logging.WARNING)
    assert "gave up and sent nothing: ResponseError (the link to" in warning.getMessage()
    assert vars(warning)["status"] == 200
    if observed:
        *pages, end = seen.of(CallEnded)
        assert {one.error_type for one in pages} == {None}
        assert (end.error_type, end.attempts, end.status) == ("ResponseError", 0, 200)
        assert end.gave_up
        assert end.call.operation == "available_add_ons.list"


# -- secrets


@pytest.mark.parametrize("place", ["status line", "request ID", "message"])
@pytest.mark.parametrize("kind", ["token", "oauth"])
async def test_a_service_that_echoes_the_secrets_puts_them_into_no_event_and_no_line(
    place: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "marketplace_async")
    secret = "5ecret0f7heacc0un7"

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        echoed = secret.encode()
        for line in head.split(b"\r\n"):
            if line.startswith(b"Authorization: Basic "):
                echoed += line.removeprefix(b"Authorization: Basic")
        quoted = echoed.replace(b" ", b"")
        text = {
            "status line": b"HTTP/1.1 %s" % echoed,
            "request ID": b"HTTP/1.1 418 A\r\nTwilio-Request-Id: RQ%s" % quoted,
            "message": b"HTTP/1.1 418 A\r\nX-Body: 1",
        }[place]
        body = b'{"message": "%s"}' % echoed if place == "message" else b"{}"
        text += b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        writer.write(text)
        await writer.drain()

    seen = Recorder()
    credentials = AccountToken(SID, secret) if kind == "token" else ClientCredentials(OQ, secret)
    async with raw_server(echo) as url:
        client = MarketplaceClient(credentials, base_url=url, retry=TWICE, observers=[seen])
        async with client:
            with pytest.raises(MarketplaceError):
                await client.installed_add_ons.fetch(XE)
    assert len(seen.of(AttemptEnded)) >= 1
    encoded = b64encode(f"{SID}:{secret}".encode()).decode()
    for text in (repr(seen.events), caplog.text, repr([vars(line) for line in caplog.records])):
        assert secret not in text
        assert encoded.rstrip("=") not in text
