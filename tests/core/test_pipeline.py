"""Retries, captures and logs."""

import asyncio
import logging
import pickle
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.raw_servers import free_port

from marketplace_async import (
    AmbiguousOutcomeError,
    APIError,
    BillableItem,
    ClientCredentials,
    MarketplaceClient,
    PermissionDeniedError,
    RateLimitedError,
    Request,
    RequestTimeoutError,
    Response,
    Retry,
    ServerError,
    TokenError,
    TransportError,
    capture,
)
from marketplace_async.testing import account, emulated

XE, XF = "XE" + "a" * 32, "XF" + "a" * 32
SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
FAST = Retry(attempts=3, initial_backoff=0.001)


async def create(client: MarketplaceClient) -> Any:
    return await client.installed_add_ons.create(
        available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True
    )


# -- retries


@pytest.mark.parametrize("status", [429, 503])
async def test_a_rejected_write_is_retried(status: int) -> None:
    async with emulated(retry=FAST) as (client, emulator):
        emulator.faults.add("POST", "/v1/InstalledAddOns", status=status, times=2)
        await create(client)
        assert [entry.status for entry in emulator.log] == [status, status, 201]


async def test_the_last_rejection_is_raised() -> None:
    async with emulated(retry=FAST) as (client, emulator):
        emulator.faults.add("*", "*", status=429, retry_after=0, times=None)
        with pytest.raises(RateLimitedError) as error:
            await create(client)
        assert error.value.retry_after == 0
        assert len(emulator.log) == 3


async def test_a_write_with_an_unknown_outcome_is_not_repeated() -> None:
    async with emulated(retry=FAST) as (client, emulator):
        emulator.faults.add("POST", "*", status=500, when="after")
        with pytest.raises(AmbiguousOutcomeError, match="500 20500") as error:
            await create(client)
        assert [entry.status for entry in emulator.log] == [500]
        assert isinstance(error.value.error, ServerError)
        assert error.value.request.body == emulator.log[0].body


async def test_max_elapsed_covers_attempts_and_waits_but_not_the_wait_for_a_permit() -> None:
    retry = Retry(attempts=100, max_elapsed=0.5, initial_backoff=0.0)
    async with emulated(concurrency=1, retry=retry) as (client, emulator):
        emulator.faults.add("GET", "*", delay=0.7)
        queueing = asyncio.ensure_future(client.available_add_ons.list().first())
        await asyncio.sleep(0.05)
        emulator.faults.add("POST", "*", status=429)
        await create(client)
        await queueing
        emulator.faults.add("POST", "*", status=429, delay=0.1, times=None)
        with pytest.raises(RateLimitedError):
            await create(client)
        assert 5 <= len(emulator.log.matching("POST")) <= 8


async def test_a_wait_that_exceeds_max_elapsed_is_not_started() -> None:
    async with emulated(retry=Retry(max_elapsed=5.0)) as (client, emulator):
        emulator.faults.add("*", "*", status=429, retry_after=6, times=None)
        async with asyncio.timeout(2):
            with pytest.raises(RateLimitedError):
                await create(client)
        assert len(emulator.log) == 1


async def test_sleeping_between_attempts_holds_no_permit() -> None:
    async with emulated(concurrency=1, retry=Retry(initial_backoff=0.0)) as (client, emulator):
        emulator.faults.add("POST", "*", status=429, retry_after=1)
        throttled = asyncio.ensure_future(create(client))
        while not len(emulator.log):
            await asyncio.sleep(0.005)
        async with asyncio.timeout(0.5):
            another = client.with_credentials(account(2))
            await another.available_add_ons.list(limit=1).collect()
        assert not throttled.done()
        await throttled


# -- what errors say about the attempts


async def test_an_error_names_operation_account_and_request_and_counts_the_attempts() -> None:
    sid = account().account_sid
    async with emulated(retry=FAST) as (client, emulator):
        emulator.faults.add("*", "*", status=403, code=20003)
        with pytest.raises(PermissionDeniedError) as once:
            await create(client)
        emulator.faults.add("*", "*", status=429, times=None)
        with pytest.raises(RateLimitedError) as often:
            await create(client)
        first, *_, last = emulator.log
    where = f"(installed_add_ons.create, POST /v1/InstalledAddOns, {sid}, "
    assert str(once.value).endswith(f"{where}{first.request_id}, attempt 1)")
    assert re.search(
        re.escape(f"{where}{last.request_id}, after 3 attempts in ") + r"0\.[0-9] s\)$",
        str(often.value),
    )
    assert (often.value.account_sid, often.value.attempts) == (sid, 3)
    assert 0 < often.value.total_elapsed < 1


async def test_an_ambiguous_outcome_says_how_often_it_was_attempted() -> None:
    async with emulated(retry=FAST) as (client, emulator):
        emulator.faults.add("POST", "*", status=429)
        emulator.faults.add("POST", "*", drop=True)
        with pytest.raises(AmbiguousOutcomeError) as error:
            await create(client)
    assert str(error.value).startswith("installed_add_ons.create may or may not have taken effect")
    assert "after 2 attempts in 0." in str(error.value)
    assert (error.value.attempts, error.value.account_sid) == (2, account().account_sid)


async def test_a_deadline_and_a_pause_say_how_often_it_was_attempted() -> None:
    async with emulated(retry=Retry(max_elapsed=0.5)) as (client, emulator):
        emulator.faults.add("*", "*", delay=2)
        with pytest.raises(RequestTimeoutError, match=r"has passed \(.*, AC.*, attempt 1\)$"):
            await client.with_options(deadline=0.1).installed_add_ons.fetch(XE)
        emulator.faults.add("*", "*", status=429, retry_after=5)
        with pytest.raises(RateLimitedError, match="attempt 1"):
            await client.installed_add_ons.fetch(XE)
        with pytest.raises(RateLimitedError, match="not sent: the account is paused") as error:
            await client.installed_add_ons.fetch(XE)
        assert error.value.attempts is None


async def test_the_error_of_a_token_says_how_often_it_was_attempted() -> None:
    async with emulated(retry=FAST) as (client, emulator):
        emulator.faults.add("POST", "/v2/token", times=None, status=503, code=20503)
        oauth = ClientCredentials("OQ" + "1" * 32, "made-up", account().account_sid)
        with pytest.raises(
            TokenError, match=r"\(oauth.create_token, POST /v2/token, AC.*after 3 at"
        ):
            await client.with_credentials(oauth).installed_add_ons.fetch(XE)


OPERATIONS: dict[str, Callable[[MarketplaceClient], Awaitable[object]]] = {
    "available_add_ons.list": lambda client: client.available_add_ons.list().collect(),
    "available_add_ons.fetch": lambda client: client.available_add_ons.fetch(SPAM_SCORE),
    "available_add_ons.extensions.list": lambda client: (
        client.available_add_ons.extensions(SPAM_SCORE).list().collect()
    ),
    "available_add_ons.extensions.fetch": lambda client: client.available_add_ons.extensions(
        SPAM_SCORE
    ).fetch(XF),
    "installed_add_ons.create": create,
    "installed_add_ons.list": lambda client: client.installed_add_ons.list().collect(),
    "installed_add_ons.fetch": lambda client: client.installed_add_ons.fetch(XE),
    "installed_add_ons.update": lambda client: client.installed_add_ons.update(XE, unique_name="a"),
    "installed_add_ons.delete": lambda client: client.installed_add_ons.delete(XE),
    "installed_add_ons.extensions.list": lambda client: (
        client.installed_add_ons.extensions(XE).list().collect()
    ),
    "installed_add_ons.extensions.fetch": lambda client: client.installed_add_ons.extensions(
        XE
    ).fetch(XF),
    "installed_add_ons.extensions.update": lambda client: client.installed_add_ons.extensions(
        XE
    ).update(XF, enabled=True),
    "installed_add_ons.usage.create": lambda client: client.installed_add_ons.usage(XE).create(
        [BillableItem("BI" + "1" * 32, 1)]
    ),
    "listings.create": lambda client: client.listings.create(module_info={}),
    "listings.list_own": lambda client: client.listings.list_own(),
    "listings.fetch": lambda client: client.listings.fetch(SPAM_SCORE),
    "listings.update": lambda client: client.listings.update(SPAM_SCORE, module_info={}),
    "referral_conversions.create": lambda client: client.referral_conversions.create(
        referral_account_sid="AC" + "1" * 32
    ),
    "accounts.list": lambda client: client.accounts.list().collect(),
    "accounts.fetch": lambda client: client.accounts.fetch("AC" + "1" * 32),
}


@pytest.mark.parametrize("name", OPERATIONS)
async def test_every_request_has_the_name_of_its_method(name: str) -> None:
    async with emulated(retry=FAST) as (client, emulator):
        emulator.faults.add("*", "*", status=418)
        with capture() as exchanges, pytest.raises(APIError, match=rf"\({name}, ") as error:
            await OPERATIONS[name](client)
    assert {exchange.request.operation for exchange in exchanges} == {name}
    assert pickle.loads(pickle.dumps(error.value)).request.operation == name


async def test_pages_after_the_first_have_the_name_of_the_method() -> None:
    async with emulated() as (client, _):
        with capture() as exchanges:
            await client.available_add_ons.list(page_size=1, limit=3).collect()
    names = [exchange.request.operation for exchange in exchanges]
    assert names == ["available_add_ons.list"] * 3


# -- captures and logs


async def test_capture_collects_every_attempt_and_no_credentials() -> None:
    async with emulated(retry=FAST) as (client, emulator):
        emulator.faults.add("GET", "*", status=429, times=1)
        with capture() as exchanges:
            await client.available_add_ons.list(limit=1).collect()
    assert [exchange.response and exchange.response.status for exchange in exchanges] == [429, 200]
    response = exchanges[-1].response
    assert response is not None
    assert response.headers["twilio-request-id"] == emulator.log[-1].request_id
    assert exchanges[-1].request == Request("GET", "/v1/AvailableAddOns", "PageSize=1")
    assert b"made-up" not in pickle.dumps(exchanges)
    assert b"Basic" not in pickle.dumps(exchanges)


async def test_capture_collects_errors_and_attempts_of_tasks_of_the_block() -> None:
    async with MarketplaceClient(
        account(), base_url=f"http://127.0.0.1:{free_port()}", retry=FAST
    ) as client:
        with capture() as outer, capture() as inner:
            results = await asyncio.gather(
                *(client.installed_add_ons.fetch(XE) for _ in range(2)), return_exceptions=True
            )
        with pytest.raises(TransportError):
            await client.installed_add_ons.fetch(XE)
    assert outer == inner
    errors = [exchange.error for exchange in outer]
    assert len(errors) == 2 * FAST.attempts
    assert set(results) <= set(errors)
    assert outer[0].response is None


async def test_capture_ends_with_its_block_and_collects_cancelled_attempts() -> None:
    async with emulated() as (client, emulator):
        emulator.faults.add("GET", "*", delay=5)
        with capture() as exchanges:
            slow = asyncio.ensure_future(client.listings.list_own())
            await asyncio.sleep(0.05)
            slow.cancel()
            with pytest.raises(asyncio.CancelledError):
                await slow

            async def later() -> None:
                await asyncio.sleep(0.05)
                await client.listings.list_own()

            outlives = asyncio.ensure_future(later())
            await asyncio.sleep(0)
        await outlives
    assert [type(exchange.error) for exchange in exchanges] == [asyncio.CancelledError]


async def test_send_accepts_a_request_without_a_method_of_its_own(
    marketplace_client: MarketplaceClient,
) -> None:
    response = await marketplace_client.send(Request("GET", "/v1/AvailableAddOns", {"PageSize": 5}))
    assert isinstance(response, Response)
    assert response.status == 200
    assert response.elapsed > 0
    with pytest.raises(APIError, match="405 20004"):
        await marketplace_client.send(Request("PUT", "/v1/Listings"))


async def test_one_line_per_attempt_is_logged_without_secrets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "marketplace_async")
    async with emulated(retry=FAST) as (client, emulator):
        emulator.faults.add("GET", "*", status=429, times=1)
        await client.available_add_ons.list(limit=1).collect()
        emulator.faults.add("POST", "*", drop=True)
        with pytest.raises(AmbiguousOutcomeError):
            await create(client)
        ids = [entry.request_id for entry in emulator.log]
    lines = [record.getMessage() for record in caplog.records if record.name == "marketplace_async"]
    attempts = [line for line in lines if " -> " in line]
    assert len(attempts) == 3
    assert attempts[0].startswith("available_add_ons.list: GET /v1/AvailableAddOns -> 429 (20429")
    assert attempts[0].endswith(f" request_id={ids[0]}]")
    assert attempts[1].startswith("available_add_ons.list: GET /v1/AvailableAddOns -> 200 [")
    assert attempts[2].startswith(
        "installed_add_ons.create: POST /v1/InstalledAddOns -> TransportError (the server closed "
    )
    assert "made-up" not in caplog.text
    assert "Basic" not in caplog.text


def test_nothing_is_printed_without_logging_configuration() -> None:
    program = (
        "import asyncio\n"
        "from marketplace_async import *\n"
        "async def main():\n"
        "    async with MarketplaceClient(AccountToken('AC' + '1' * 32, 'x'),"
        " base_url='http://127.0.0.1:1') as client:\n"
        "        try: await client.listings.list_own()\n"
        "        except TransportError: pass\n"
        "asyncio.run(main())\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert (run.stdout, run.stderr) == ("", "")
