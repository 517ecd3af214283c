"""Safety under faults: no request is lost or applied twice.

`docs/explanation/retries.md` shows the table.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
from support.paths import PROJECT
from support.relay import Relay, relayed

from marketplace_async import (
    AmbiguousOutcomeError,
    BillableItem,
    ConflictError,
    InstalledAddOn,
    MarketplaceClient,
    MarketplaceError,
    NotFoundError,
    RateLimitedError,
    Retry,
    ServerError,
)
from marketplace_async.emulator import Emulator
from marketplace_async.testing import account, emulated

SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
SPEECH_TO_TEXT = "XB85b56ed9ce713e0ac62342b901233193"
BI = "BI" + "a" * 32
RETRY = Retry(attempts=4, initial_backoff=0.01)


class World:
    """An account with one resource of each kind."""

    def __init__(self, client: MarketplaceClient, emulator: Emulator) -> None:
        self.client = client
        self.emulator = emulator

    async def prepare(self) -> None:
        create = self.client.installed_add_ons.create
        self.installed = await create(
            available_add_on_sid=SPEECH_TO_TEXT, accept_terms_of_service=True, unique_name="old"
        )
        self.extensions = self.client.installed_add_ons.extensions(self.installed.sid)
        self.extension = await self.extensions.list().first()
        self.listing = await self.client.listings.create(module_info={"name": "x"})
        self.emulator.log.clear()

    async def state(self) -> tuple[int, int, int, Any, Any, Any]:
        """Return the state: installations, usage, listings, and the fields that updates change."""
        client = self.client
        installed = await client.installed_add_ons.list().collect()
        ours = [one for one in installed if one.sid == self.installed.sid]
        enabled = None
        if ours:
            enabled = (await self.extensions.fetch(self.extension.sid)).enabled  # type: ignore[union-attr]
        listings = await client.listings.list_own()
        return (
            len(installed),
            len(self.emulator.usage()),
            len(listings),
            ours[0].unique_name if ours else None,
            enabled,
            (await client.listings.fetch(self.listing.sid)).pricing,
        )


Operation = Callable[[World], Awaitable[object]]
START = (1, 0, 1, "old", False, None)

# By the name in the documentation: HTTP method, path, call, and the state after the effect.
OPERATIONS: dict[str, tuple[str, str, Operation, tuple[Any, ...]]] = {
    "list": (
        "GET",
        "/v1/InstalledAddOns",
        lambda w: w.client.installed_add_ons.list().collect(),
        START,
    ),
    "fetch": (
        "GET",
        "/v1/InstalledAddOns/*",
        lambda w: w.client.installed_add_ons.fetch(w.installed.sid),
        START,
    ),
    "list available": (
        "GET",
        "*",
        lambda w: w.client.available_add_ons.list(limit=3).collect(),
        START,
    ),
    "list available extensions": (
        "GET",
        "*",
        lambda w: w.client.available_add_ons.extensions(SPEECH_TO_TEXT).list().collect(),
        START,
    ),
    "list extensions": ("GET", "*", lambda w: w.extensions.list().collect(), START),
    "list listings": ("GET", "*", lambda w: w.client.listings.list_own(), START),
    "fetch available": (
        "GET",
        "*",
        lambda w: w.client.available_add_ons.fetch(SPEECH_TO_TEXT),
        START,
    ),
    "fetch available extension": (
        "GET",
        "*",
        lambda w: w.client.available_add_ons.extensions(SPEECH_TO_TEXT).fetch(w.extension.sid),  # type: ignore[union-attr]
        START,
    ),
    "fetch extension": ("GET", "*", lambda w: w.extensions.fetch(w.extension.sid), START),  # type: ignore[union-attr]
    "fetch listing": ("GET", "*", lambda w: w.client.listings.fetch(w.listing.sid), START),
    "delete": (
        "DELETE",
        "*",
        lambda w: w.client.installed_add_ons.delete(w.installed.sid),
        (0, 0, 1, None, None, None),
    ),
    "update": (
        "POST",
        "*",
        lambda w: w.client.installed_add_ons.update(w.installed.sid, unique_name="new"),
        (1, 0, 1, "new", False, None),
    ),
    "update an extension": (
        "POST",
        "*",
        lambda w: w.extensions.update(w.extension.sid, enabled=True),  # type: ignore[union-attr]
        (1, 0, 1, "old", True, None),
    ),
    "update a listing": (
        "POST",
        "*",
        lambda w: w.client.listings.update(w.listing.sid, pricing={"body": "free"}),
        (1, 0, 1, "old", False, {"body": "free"}),
    ),
    "create with a unique name": (
        "POST",
        "*",
        lambda w: w.client.installed_add_ons.create(
            available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True, unique_name="mine"
        ),
        (2, 0, 1, "old", False, None),
    ),
    "create without a name": (
        "POST",
        "*",
        lambda w: w.client.installed_add_ons.create(
            available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True
        ),
        (2, 0, 1, "old", False, None),
    ),
    "report usage": (
        "POST",
        "*",
        lambda w: w.client.installed_add_ons.usage(w.installed.sid).create(
            [BillableItem(BI, Decimal(1))]
        ),
        (1, 1, 1, "old", False, None),
    ),
    "create a listing": (
        "POST",
        "*",
        lambda w: w.client.listings.create(module_info={"name": "y"}),
        (1, 0, 2, "old", False, None),
    ),
    "convert a referral": (
        "POST",
        "*",
        lambda w: w.client.referral_conversions.create(referral_account_sid="AC" + "b" * 32),
        START,
    ),
}
NOT_SENT: dict[str, Callable[[Relay], Awaitable[None]]] = {
    "connections refused": Relay.refuse,
    "connections closed unnoticed": Relay.close_unnoticed,
}
FAULTS: dict[str, list[dict[str, Any]]] = {
    "rejected": [{"status": 429}, {"status": 429, "retry_after": 0}, {"status": 503}],
    "request lost": [
        {"drop": True},
        {"status": 500},
        {"status": 502},
        {"status": 503, "code": 20500},
    ],
    "response lost": [
        {"drop": True, "when": "after"},
        {"status": 500, "when": "after"},
        {"status": 502, "when": "after"},
        {"delay": 0.5, "when": "after"},
        {"body": "cut"},
        {"body": "garbled"},
    ],
}
COLUMNS = ("not sent", *FAULTS)
ALWAYS = ("retried", "retried", "retried")
IF_REJECTED = ("retried", "`AmbiguousOutcomeError`", "`AmbiguousOutcomeError`")
TABLE = {
    "list": ALWAYS,
    "fetch": ALWAYS,
    "delete": ("retried", "retried", "retried; a 404 counts as success"),
    "update": ALWAYS,
    "update an extension": ALWAYS,
    "update a listing": ALWAYS,
    "create with a unique name": ("retried", "looked up, retried", "looked up, found"),
    "create without a name": IF_REJECTED,
    "report usage": IF_REJECTED,
    "create a listing": IF_REJECTED,
    "convert a referral": IF_REJECTED,
}
CELLS = [
    pytest.param(operation, fault, cell, column, id=f"{operation}-{column}-{fault}")
    for operation in OPERATIONS
    # The other lists and fetches share the row of "list" and "fetch".
    for row in (TABLE[operation if operation in TABLE else operation.split()[0]],)
    for (column, faults), cell in zip(FAULTS.items(), row, strict=True)
    for fault in faults
]


@pytest.mark.parametrize(("operation", "fault", "cell", "column"), CELLS)
async def test_each_operation_under_each_fault(
    operation: str, fault: dict[str, Any], cell: str, column: str
) -> None:
    method, path, call, done = OPERATIONS[operation]
    # Only a delay needs a short timeout, which a busy machine could exceed.
    timeout = 0.3 if fault.get("delay") else 10
    async with emulated(timeout=timeout, retry=RETRY) as (client, emulator):
        world = World(client, emulator)
        await world.prepare()
        assert await world.state() == START
        emulator.log.clear()
        injected = emulator.faults.add(method, path, **fault)
        if cell == "`AmbiguousOutcomeError`":
            with pytest.raises(
                AmbiguousOutcomeError, match="may or may not have taken effect"
            ) as error:
                await call(world)
            assert error.value.request.method == "POST"
            assert error.value.__cause__ is error.value.error
            assert len(emulator.log) == (0 if fault.get("delay") else 1)
        else:
            await call(world)
        assert injected.hits == 1
        if fault.get("delay"):
            await asyncio.sleep(0.5)
        applied = column == "response lost" or cell != "`AmbiguousOutcomeError`"
        assert await world.state() == (done if applied else START)


async def test_a_removal_whose_repetition_is_throttled_is_still_done() -> None:
    """aiohttp itself repeats a DELETE whose connection closed: the client sees the 429 alone."""
    async with emulated(retry=RETRY) as (client, emulator):
        world = World(client, emulator)
        await world.prepare()
        emulator.faults.add("DELETE", "*", drop=True, when="after")
        emulator.faults.add("DELETE", "*", status=429)
        await client.installed_add_ons.delete(world.installed.sid)
        assert (await world.state())[0] == 0
        assert [entry.status for entry in emulator.log if entry.method == "DELETE"][-1] == 404


@pytest.mark.parametrize("fresh", [False, True], ids=["kept", "fresh"])
@pytest.mark.parametrize("fault", NOT_SENT)
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_each_operation_is_retried_if_it_was_not_sent(
    operation: str, fault: str, fresh: bool, exchange: str
) -> None:
    _, _, call, done = OPERATIONS[operation]
    retry = Retry(attempts=50, initial_backoff=0.01, max_backoff=0.01)
    async with Emulator() as emulator, relayed(emulator.url) as relay:
        async with MarketplaceClient(
            account(), base_url=relay.url, retry=retry, fresh_connection_for_unsafe_writes=fresh
        ) as client:
            world = World(client, emulator)
            await world.prepare()
            await NOT_SENT[fault](relay)
            await call(world)
            # The operation was sent once, and never looked up. aiohttp itself does not notice that
            # an idle connection was closed, and sends a GET or DELETE twice.
            twice = ("GET", "DELETE") if exchange == "aiohttp" and not fresh else ()
            sent = [
                (entry.method, entry.path, entry.query)
                for entry in emulator.log
                if entry.method not in twice
            ]
            assert len(set(sent)) == len(sent)
            assert await world.state() == done


def test_the_documentation_shows_this_table() -> None:
    page = (PROJECT / "docs" / "explanation" / "retries.md").read_text()
    header = f"| | {' | '.join(COLUMNS)} |\n| {' | '.join(['---'] * (len(COLUMNS) + 1))} |\n"
    rows = "".join(f"| {name} | retried | {' | '.join(row)} |\n" for name, row in TABLE.items())
    assert header + rows in page


async def test_a_failed_connection_is_retried_for_any_operation(
    unused_tcp_port: int,
) -> None:
    emulator = Emulator(port=unused_tcp_port)
    client = MarketplaceClient(
        account(),
        base_url=f"http://127.0.0.1:{unused_tcp_port}",
        retry=Retry(attempts=100, initial_backoff=0.05, max_backoff=0.05),
    )
    async with client:
        create = asyncio.ensure_future(
            client.installed_add_ons.create(
                available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True
            )
        )
        await asyncio.sleep(0.1)
        async with emulator:
            assert (await create).unique_name == "nomorobo_spamscore"
            assert len(emulator.log) == 1


# -- creating with a unique name


async def create(client: MarketplaceClient, **changes: Any) -> InstalledAddOn:
    arguments: dict[str, Any] = {
        "available_add_on_sid": SPEECH_TO_TEXT,
        "accept_terms_of_service": True,
        "configuration": {"callback_method": "POST"},
        "unique_name": "mine",
    }
    return await client.installed_add_ons.create(**{**arguments, **changes})


@pytest.mark.parametrize(
    "changes", [{"available_add_on_sid": SPAM_SCORE, "configuration": {}}, {"configuration": {}}]
)
async def test_a_different_installation_with_the_name_is_a_conflict(
    changes: dict[str, Any],
) -> None:
    async with emulated(retry=RETRY) as (client, emulator):
        other = await create(client, **changes)
        emulator.faults.add("POST", "*", drop=True)
        with pytest.raises(ConflictError, match="409 20409"):
            await create(client)
        assert await client.installed_add_ons.list().collect() == [other]


async def test_a_conflict_with_an_earlier_attempt_of_the_same_call_is_resolved() -> None:
    async with emulated(timeout=0.4, retry=RETRY) as (client, emulator):
        # The first attempt times out and takes effect after the lookup found nothing ...
        emulator.faults.add("POST", "*", delay=0.6)
        emulator.faults.add("GET", "*", delay=0.35, when="after")
        # ... so the second attempt conflicts with it.
        installed = await create(client)
        statuses = [(entry.method, entry.status) for entry in emulator.log]
        assert statuses == [("POST", 201), ("GET", 200), ("POST", 409), ("GET", 200)]
        assert await client.installed_add_ons.list().collect() == [installed]


async def test_a_conflict_whose_lookup_fails_is_ambiguous() -> None:
    async with emulated(retry=RETRY) as (client, emulator):
        emulator.faults.add("POST", "*", drop=True)
        emulator.faults.add("POST", "*", status=409)
        emulator.faults.add("GET", "*", delay=0.0001)
        emulator.faults.add("GET", "*", status=500, times=None)
        with pytest.raises(AmbiguousOutcomeError, match="500 20500"):
            await create(client)


async def test_a_conflict_without_an_earlier_unknown_outcome_is_raised() -> None:
    async with emulated(retry=RETRY) as (client, emulator):
        await create(client)
        emulator.faults.add("POST", "*", status=429)
        with pytest.raises(ConflictError) as error:
            await create(client)
        assert not error.value.after_unknown


async def test_an_unknown_outcome_whose_lookup_fails_is_ambiguous() -> None:
    async with emulated(retry=RETRY) as (client, emulator):
        emulator.faults.add("POST", "*", drop=True, when="after")
        emulator.faults.add("GET", "*", status=500, times=None)
        with pytest.raises(AmbiguousOutcomeError, match="500 20500"):
            await create(client)


async def test_attempts_do_not_multiply_across_lookups() -> None:
    async with emulated(retry=RETRY) as (client, emulator):
        emulator.faults.add("*", "*", status=500, when="after", times=None)
        with pytest.raises(AmbiguousOutcomeError):
            await create(client)
        assert len(emulator.log) == RETRY.attempts


async def test_an_outcome_is_ambiguous_when_every_attempt_fails() -> None:
    async with emulated(retry=RETRY) as (client, emulator):
        emulator.faults.add("POST", "*", status=500, times=None)
        with pytest.raises(AmbiguousOutcomeError, match="500 20500"):
            await create(client)
        assert len(emulator.log.matching("POST")) == RETRY.attempts


async def test_a_rejection_after_a_lookup_that_found_nothing_is_not_ambiguous() -> None:
    async with emulated(retry=RETRY) as (client, emulator):
        emulator.faults.add("POST", "*", drop=True)
        emulator.faults.add("POST", "*", status=429, times=None)
        with pytest.raises(RateLimitedError):
            await create(client)


async def test_without_retries_an_unknown_outcome_is_ambiguous_at_once() -> None:
    async with emulated(retry=Retry(attempts=1)) as (client, emulator):
        emulator.faults.add("POST", "*", status=500)
        with pytest.raises(AmbiguousOutcomeError):
            await create(client, unique_name=None)
        emulator.faults.add("GET", "*", status=500)
        with pytest.raises(ServerError):
            await client.listings.list_own()
        assert len(emulator.log) == 2


# -- deleting and updating


async def test_a_404_counts_as_deleted_only_after_an_unknown_outcome() -> None:
    async with emulated(retry=RETRY) as (client, emulator):
        installed = await create(client)
        await client.installed_add_ons.delete(installed.sid)
        with pytest.raises(NotFoundError) as error:
            await client.installed_add_ons.delete(installed.sid)
        assert not error.value.after_unknown
        emulator.faults.add("DELETE", "*", status=429)
        with pytest.raises(NotFoundError):
            await client.installed_add_ons.delete(installed.sid)


async def test_a_404_after_a_retry_counts_as_deleted() -> None:
    async with emulated(retry=Retry(attempts=2, initial_backoff=0)) as (client, emulator):
        installed = await create(client)
        emulator.faults.add("DELETE", "*", drop=True, when="after")
        await client.installed_add_ons.delete(installed.sid)
        assert [entry.status for entry in emulator.log.matching("DELETE")] == [None, 404]


async def test_an_update_that_conflicts_with_its_earlier_attempt_succeeds() -> None:
    async with emulated(retry=RETRY) as (client, emulator):
        installed = await create(client)
        emulator.faults.add("POST", "*", drop=True, when="after")
        emulator.faults.add("POST", "*", status=409)
        update = client.installed_add_ons.update
        updated = await update(installed.sid, unique_name="new", configuration={})
        assert (updated.unique_name, updated.configuration) == ("new", {})
        emulator.faults.add("POST", "*", drop=True)
        emulator.faults.add("POST", "*", status=409)
        with pytest.raises(ConflictError) as error:
            await update(installed.sid, unique_name="newer")
        assert error.value.after_unknown
        emulator.faults.add("POST", "*", status=409)
        with pytest.raises(ConflictError):
            await update(installed.sid, unique_name="new")


# -- ensure


async def ensure(client: MarketplaceClient, **changes: Any) -> tuple[str, InstalledAddOn]:
    arguments: dict[str, Any] = {
        "available_add_on_sid": SPEECH_TO_TEXT,
        "accept_terms_of_service": True,
        "configuration": {"callback_method": "POST"},
        "unique_name": "mine",
    }
    ensured = await client.installed_add_ons.ensure(**{**arguments, **changes})
    return ensured.action, ensured.record


async def test_ensure_installs_updates_or_changes_nothing() -> None:
    async with emulated() as (client, _):
        action, first = await ensure(client)
        assert action == "installed"
        assert await ensure(client) == ("unchanged", first)
        assert await ensure(client, configuration=None) == ("unchanged", first)
        action, changed = await ensure(client, configuration={})
        assert (action, changed.sid, changed.configuration) == ("updated", first.sid, {})
        # In Python, True == 1. In JSON, they differ.
        await ensure(client, configuration={"x": True})
        action, _ = await ensure(client, configuration={"x": 1})
        assert action == "updated"
        assert len(await client.installed_add_ons.list().collect()) == 1


async def test_ensure_accepts_an_inventory_read_earlier() -> None:
    async with emulated() as (client, emulator):
        _, first = await ensure(client)
        inventory = await client.installed_add_ons.list().collect()
        emulator.log.clear()
        assert await ensure(client, inventory=inventory) == ("unchanged", first)
        assert len(emulator.log) == 0
        assert await ensure(client, inventory=[]) == ("unchanged", first)


async def test_ensure_leaves_a_different_add_on_with_the_name_untouched() -> None:
    async with emulated() as (client, _):
        other = await create(client, available_add_on_sid=SPAM_SCORE, configuration=None)
        with pytest.raises(ConflictError, match="409 20409"):
            await ensure(client)
        assert await client.installed_add_ons.list().collect() == [other]


async def test_ensure_reinstalls_what_was_deleted_after_the_inventory() -> None:
    async with emulated() as (client, _):
        _, first = await ensure(client)
        inventory = await client.installed_add_ons.list().collect()
        await client.installed_add_ons.delete(first.sid)
        action, again = await ensure(client, inventory=inventory, configuration={})
        assert action == "installed"
        assert again.sid != first.sid


@pytest.mark.parametrize("configurations", [[{}], [{}, {"x": 1}]])
async def test_ten_concurrent_ensure_calls_install_once(
    configurations: list[dict[str, Any]],
) -> None:
    async with emulated() as (client, _):
        results = await asyncio.gather(
            *(
                ensure(client, configuration=configurations[number % len(configurations)])
                for number in range(10)
            )
        )
        assert [action for action, _ in results].count("installed") == 1
        (only,) = await client.installed_add_ons.list().collect()
        assert {record.sid for _, record in results} == {only.sid}


async def test_ensure_survives_faults() -> None:
    retry = Retry(attempts=12, initial_backoff=0.001)
    async with emulated(retry=retry) as (client, emulator):
        emulator.faults.seed(1)
        for when in ("before", "after"):
            emulator.faults.add("*", "*", drop=True, when=when, times=None, probability=0.2)
        for number in range(40):
            await ensure(client, unique_name=f"name-{number % 20}", configuration={"n": number})
        emulator.faults.clear()
        installed = await client.installed_add_ons.list().collect()
        assert sorted(one.configuration["n"] for one in installed) == list(range(20, 40))  # type: ignore[index]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"unique_name": ""}, ValueError, "unique_name: "),
        ({"unique_name": None}, TypeError, "unique_name: "),
        ({"available_add_on_sid": "XB1"}, ValueError, "available_add_on_sid: "),
        ({"accept_terms_of_service": 1}, TypeError, "accept_terms_of_service: "),
        ({"configuration": []}, TypeError, "configuration: "),
    ],
)
async def test_ensure_rejects_invalid_arguments_before_any_request(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    async with emulated() as (client, emulator):
        with pytest.raises(error, match=message):
            await ensure(client, **changes)
        assert len(emulator.log) == 0


async def test_ensure_raises_if_the_add_on_does_not_exist() -> None:
    async with emulated() as (client, _):
        with pytest.raises(NotFoundError):
            await ensure(client, available_add_on_sid="XB" + "0" * 32)


# -- cancellation


async def test_cancellation_at_any_moment_leaks_no_permit_and_no_task() -> None:
    async with emulated(concurrency=2, retry=RETRY) as (client, emulator):
        emulator.faults.seed(2)
        emulator.faults.add("*", "*", status=429, times=None, probability=0.3)
        emulator.faults.add("*", "*", drop=True, times=None, probability=0.1)
        before = len(asyncio.all_tasks())
        tasks = [asyncio.ensure_future(ensure(client, unique_name=f"n{n}")) for n in range(60)]
        for number, task in enumerate(tasks):
            await asyncio.sleep(0.002 * (number % 3))
            task.cancel()
        for task in tasks:
            # The faults can use up the attempts of a call.
            with contextlib.suppress(asyncio.CancelledError, MarketplaceError):
                await task
        emulator.faults.clear()
        await asyncio.gather(*(client.listings.list_own() for _ in range(4)))
        assert client.stats.in_flight == 0
        assert len(asyncio.all_tasks()) <= before + 2  # one per connection, of the emulator
