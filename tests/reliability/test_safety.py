"""Never doubled, never lost: what each operation does under each fault, as the README shows it."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
from support.paths import PROJECT

from marketplace_async import (
    AmbiguousOutcomeError,
    APIError,
    BillableItem,
    ConflictError,
    InstalledAddOn,
    MarketplaceClient,
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
    """An account with something of everything, and what has been done to it."""

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
        """What stands on the account: installations, usage, listings, and what updates changed."""
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

# Operation: what the README calls it, the path, the call, and the state once it has happened.
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
FAULTS: dict[str, list[dict[str, Any]]] = {
    "refused": [{"status": 429}, {"status": 429, "retry_after": 0}, {"status": 503}],
    "lost on the way": [
        {"drop": True},
        {"status": 500},
        {"status": 502},
        {"status": 503, "code": 20500},
    ],
    "answer lost": [
        {"drop": True, "when": "after"},
        {"status": 500, "when": "after"},
        {"status": 502, "when": "after"},
        {"delay": 0.5, "when": "after"},
        {"body": "cut"},
        {"body": "garbled"},
    ],
}
BLINDLY = ("repeated", "repeated", "repeated")
NEVER = ("repeated", "`AmbiguousOutcomeError`", "`AmbiguousOutcomeError`")
TABLE = {
    "list": BLINDLY,
    "fetch": BLINDLY,
    "delete": ("repeated", "repeated", "repeated; the 404 counts as done"),
    "update": BLINDLY,
    "update an extension": BLINDLY,
    "update a listing": BLINDLY,
    "create with a unique name": ("repeated", "looked up, repeated", "looked up, found"),
    "create without a name": NEVER,
    "report usage": NEVER,
    "create a listing": NEVER,
    "convert a referral": NEVER,
}
CELLS = [
    pytest.param(operation, fault, cell, column, id=f"{operation}-{column}-{fault}")
    for operation in OPERATIONS
    # The other lists and fetches share their row.
    for row in (TABLE[operation if operation in TABLE else operation.split()[0]],)
    for (column, faults), cell in zip(FAULTS.items(), row, strict=True)
    for fault in faults
]


@pytest.mark.parametrize(("operation", "fault", "cell", "column"), CELLS)
async def test_what_an_operation_does_under_a_fault(
    operation: str, fault: dict[str, Any], cell: str, column: str
) -> None:
    method, path, call, done = OPERATIONS[operation]
    async with emulated(timeout=0.3, retry=RETRY) as (client, emulator):
        world = World(client, emulator)
        await world.prepare()
        assert await world.state() == START
        emulator.log.clear()
        injected = emulator.faults.add(method, path, **fault)
        if cell == "`AmbiguousOutcomeError`":
            with pytest.raises(
                AmbiguousOutcomeError, match="may or may not have happened"
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
        happened = column == "answer lost" or cell != "`AmbiguousOutcomeError`"
        assert await world.state() == (done if happened else START)


def test_the_readme_shows_this_table() -> None:
    readme = (PROJECT / "README.md").read_text()
    header = f"| | {' | '.join(FAULTS)} |\n| --- | --- | --- | --- |\n"
    rows = "".join(f"| {name} | {' | '.join(row)} |\n" for name, row in TABLE.items())
    assert header + rows in readme


async def test_a_connection_that_cannot_be_made_is_tried_again_whatever_it_carries(
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
async def test_what_else_stands_under_the_name_is_a_conflict(changes: dict[str, Any]) -> None:
    async with emulated(retry=RETRY) as (client, emulator):
        theirs = await create(client, **changes)
        emulator.faults.add("POST", "*", drop=True)
        with pytest.raises(ConflictError, match="409 20409"):
            await create(client)
        assert await client.installed_add_ons.list().collect() == [theirs]


async def test_a_conflict_is_ours_if_only_a_lookup_came_too_early() -> None:
    async with emulated(timeout=0.4, retry=RETRY) as (client, emulator):
        # The first try times out, and is carried out after the look-up has found nothing ...
        emulator.faults.add("POST", "*", delay=0.6)
        emulator.faults.add("GET", "*", delay=0.35, when="after")
        # ... so that the second meets it.
        ours = await create(client)
        statuses = [(entry.method, entry.status) for entry in emulator.log]
        assert statuses == [("POST", 201), ("GET", 200), ("POST", 409), ("GET", 200)]
        assert await client.installed_add_ons.list().collect() == [ours]


async def test_a_conflict_that_cannot_be_looked_up_stays_ambiguous() -> None:
    async with emulated(retry=RETRY) as (client, emulator):
        emulator.faults.add("POST", "*", drop=True)
        emulator.faults.add("POST", "*", status=409)
        emulator.faults.add("GET", "*", delay=0.0001)
        emulator.faults.add("GET", "*", status=500, times=None)
        with pytest.raises(AmbiguousOutcomeError, match="500 20500"):
            await create(client)


async def test_a_conflict_without_an_unknown_outcome_before_it_is_the_answer() -> None:
    async with emulated(retry=RETRY) as (client, emulator):
        await create(client)
        emulator.faults.add("POST", "*", status=429)
        with pytest.raises(ConflictError) as error:
            await create(client)
        assert not error.value.after_unknown


async def test_an_outcome_that_cannot_be_looked_up_stays_ambiguous() -> None:
    async with emulated(retry=RETRY) as (client, emulator):
        emulator.faults.add("POST", "*", drop=True, when="after")
        emulator.faults.add("GET", "*", status=500, times=None)
        with pytest.raises(AmbiguousOutcomeError, match="500 20500"):
            await create(client)


async def test_nested_tries_do_not_multiply() -> None:
    async with emulated(retry=RETRY) as (client, emulator):
        emulator.faults.add("*", "*", status=500, when="after", times=None)
        with pytest.raises(AmbiguousOutcomeError):
            await create(client)
        assert len(emulator.log) == RETRY.attempts


async def test_tries_that_all_fail_end_ambiguous() -> None:
    async with emulated(retry=RETRY) as (client, emulator):
        emulator.faults.add("POST", "*", status=500, times=None)
        with pytest.raises(AmbiguousOutcomeError, match="500 20500"):
            await create(client)
        assert len(emulator.log.matching("POST")) == RETRY.attempts


async def test_a_refusal_after_a_look_up_that_found_nothing_is_no_mystery() -> None:
    async with emulated(retry=RETRY) as (client, emulator):
        emulator.faults.add("POST", "*", drop=True)
        emulator.faults.add("POST", "*", status=429, times=None)
        with pytest.raises(RateLimitedError):
            await create(client)


async def test_without_retries_an_unknown_outcome_is_ambiguous_at_once() -> None:
    async with emulated(retry=Retry(attempts=1)) as (client, emulator):
        emulator.faults.add("POST", "*", status=500)
        with pytest.raises(AmbiguousOutcomeError):
            await create(client)
        emulator.faults.add("GET", "*", status=500)
        with pytest.raises(ServerError):
            await client.listings.list_own()
        assert len(emulator.log) == 2


# -- deleting and updating


async def test_a_404_is_only_done_if_the_delete_may_have_happened() -> None:
    async with emulated(retry=RETRY) as (client, emulator):
        installed = await create(client)
        await client.installed_add_ons.delete(installed.sid)
        with pytest.raises(NotFoundError) as error:
            await client.installed_add_ons.delete(installed.sid)
        assert not error.value.after_unknown
        emulator.faults.add("DELETE", "*", status=429)
        with pytest.raises(NotFoundError):
            await client.installed_add_ons.delete(installed.sid)


async def test_the_second_try_that_aiohttp_makes_of_a_delete_counts_too() -> None:
    async with emulated(retry=Retry(attempts=1)) as (client, emulator):
        installed = await create(client)
        emulator.faults.add("DELETE", "*", drop=True, when="after")
        await client.installed_add_ons.delete(installed.sid)
        assert [entry.status for entry in emulator.log.matching("DELETE")] == [None, 404]


async def test_a_conflict_of_an_update_with_itself_is_no_conflict() -> None:
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


async def test_ensure_installs_leaves_alone_and_updates() -> None:
    async with emulated() as (client, _):
        action, first = await ensure(client)
        assert action == "installed"
        assert await ensure(client) == ("unchanged", first)
        assert await ensure(client, configuration=None) == ("unchanged", first)
        action, changed = await ensure(client, configuration={})
        assert (action, changed.sid, changed.configuration) == ("updated", first.sid, {})
        # To Python, True is 1: to JSON it is not.
        await ensure(client, configuration={"x": True})
        action, _ = await ensure(client, configuration={"x": 1})
        assert action == "updated"
        assert len(await client.installed_add_ons.list().collect()) == 1


async def test_ensure_takes_an_inventory_that_was_read_already() -> None:
    async with emulated() as (client, emulator):
        _, first = await ensure(client)
        inventory = await client.installed_add_ons.list().collect()
        emulator.log.clear()
        assert await ensure(client, inventory=inventory) == ("unchanged", first)
        assert len(emulator.log) == 0
        assert await ensure(client, inventory=[]) == ("unchanged", first)


async def test_another_add_on_under_the_name_is_a_conflict_and_stays() -> None:
    async with emulated() as (client, _):
        theirs = await create(client, available_add_on_sid=SPAM_SCORE, configuration=None)
        with pytest.raises(ConflictError, match="409 20409"):
            await ensure(client)
        assert await client.installed_add_ons.list().collect() == [theirs]


async def test_what_was_deleted_meanwhile_is_installed_again() -> None:
    async with emulated() as (client, _):
        _, first = await ensure(client)
        inventory = await client.installed_add_ons.list().collect()
        await client.installed_add_ons.delete(first.sid)
        action, again = await ensure(client, inventory=inventory, configuration={})
        assert action == "installed"
        assert again.sid != first.sid


@pytest.mark.parametrize("configurations", [[{}], [{}, {"x": 1}]])
async def test_ten_at_once_end_with_one_install(configurations: list[dict[str, Any]]) -> None:
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
async def test_ensure_refuses_bad_input_before_anything_is_sent(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    async with emulated() as (client, emulator):
        with pytest.raises(error, match=message):
            await ensure(client, **changes)
        assert len(emulator.log) == 0


async def test_an_add_on_that_is_not_there_cannot_be_ensured() -> None:
    async with emulated() as (client, _):
        with pytest.raises(NotFoundError):
            await ensure(client, available_add_on_sid="XB" + "0" * 32)


# -- cancelling


async def test_cancelled_at_any_moment_it_leaves_no_slot_taken_and_no_task() -> None:
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
            with contextlib.suppress(asyncio.CancelledError, APIError, AmbiguousOutcomeError):
                await task
        emulator.faults.clear()
        await asyncio.gather(*(client.listings.list_own() for _ in range(4)))
        assert client.stats.in_flight == 0
        assert len(asyncio.all_tasks()) <= before + 2  # the emulator's own, one for each connection
