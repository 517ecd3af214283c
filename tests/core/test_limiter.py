"""The limiter: bounds requests in flight, is fair between accounts, and finds their limits."""

import asyncio
import random
import selectors
from collections import Counter, deque
from itertools import pairwise

import pytest
from hypothesis import given, settings, strategies as st

from marketplace_async import ApiKey, ClientClosedError, RateLimitedError, Response, Retry
from marketplace_async._core.limiter import AdaptiveLimit, Limiter
from marketplace_async.emulator import Emulator
from marketplace_async.testing import account, emulated

XE = "XE" + "a" * 32
SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
OK, REFUSED = Response(200, {}, b""), Response(429, {}, b"")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


# -- what one account is allowed, as pure decisions


def test_it_doubles_from_round_to_round_until_the_first_refusal() -> None:
    adaptive, clock = AdaptiveLimit(), Clock()
    assert int(adaptive.limit) == 8
    for _ in range(8):
        adaptive.accepted(8, clock)
    assert int(adaptive.limit) == 16
    for _ in range(4):
        adaptive.accepted(12, clock)
    adaptive.throttled(13, clock)
    assert (int(adaptive.limit), adaptive.ceiling) == (12, 13)


@pytest.mark.parametrize("refusals", [(6, 7, 8), (8, 7, 6), (7, 8, 6)])
def test_of_a_burst_of_refusals_the_lowest_counts(refusals: tuple[int, ...]) -> None:
    adaptive, clock = AdaptiveLimit(), Clock()
    for number in refusals:
        adaptive.throttled(number, clock)
    assert (int(adaptive.limit), adaptive.ceiling) == (5, 6)


def test_it_stays_below_where_it_was_refused_and_probes_ever_more_rarely() -> None:
    adaptive, clock = AdaptiveLimit(), Clock()
    adaptive.throttled(6, clock)
    probes: list[float] = []
    for second in range(1000):
        clock.now = float(second)
        adaptive.accepted(int(adaptive.limit), clock)
        if int(adaptive.limit) == 6:
            probes.append(clock.now)
            adaptive.throttled(6, clock)
        assert int(adaptive.limit) == 5
    waits = [after - before for before, after in pairwise(probes)]
    assert probes[0] == 10
    assert waits == [20, 40, 80, 160, 300, 300]


def test_where_a_probe_is_let_in_it_grows_again_step_by_step() -> None:
    adaptive, clock = AdaptiveLimit(), Clock()
    adaptive.throttled(6, clock)
    clock.now = 10.0
    adaptive.accepted(5, clock)
    adaptive.accepted(6, clock)
    assert adaptive.ceiling is None
    for _ in range(7):
        adaptive.accepted(6, clock)
    assert int(adaptive.limit) == 7


def test_there_is_always_one() -> None:
    adaptive, clock = AdaptiveLimit(), Clock()
    for _ in range(5):
        adaptive.throttled(1, clock)
    assert int(adaptive.limit) == 1


# -- limiter, without requests


async def test_a_slot_that_is_free_is_had_without_waiting() -> None:
    limiter = Limiter(2)
    first = limiter.try_acquire("a")
    assert first is not None
    assert limiter.try_acquire("b") is not None
    assert limiter.try_acquire("c") is None
    limiter.release(first)
    assert limiter.try_acquire("c") is not None


async def test_accounts_have_their_turns() -> None:
    limiter = Limiter(1)
    held = limiter.try_acquire("a")
    assert held is not None
    order: list[str] = []

    async def one(name: str) -> None:
        permit = await limiter.acquire(name)
        order.append(name)
        limiter.release(permit, OK)

    async with asyncio.TaskGroup() as group:
        for name in "aaaabbc":
            group.create_task(one(name))
        await asyncio.sleep(0)
        limiter.release(held, OK)
    assert "".join(order) == "abcabaa"


async def test_no_account_takes_the_last_slots_while_others_are_about() -> None:
    clock = Clock()
    limiter = Limiter(16, clock=clock)
    allowed = AdaptiveLimit()
    allowed.limit = 100.0
    alone = [limiter.try_acquire("a") for _ in range(8)]
    assert None not in alone
    limiter._queues["a"].adaptive = allowed
    assert [limiter.try_acquire("a") for _ in range(9)].count(None) == 1
    for permit in alone:
        assert permit is not None
        limiter.release(permit, OK)
    assert limiter.try_acquire("b") is not None
    assert [limiter.try_acquire("a") for _ in range(8)].count(None) == 2
    clock.now = 61.0
    assert limiter.try_acquire("a") is not None


async def test_the_state_of_idle_accounts_goes() -> None:
    clock = Clock()
    limiter = Limiter(4, clock=clock)
    for number in range(10_000):
        permit = limiter.try_acquire(str(number))
        assert permit is not None
        limiter.release(permit, REFUSED if number < 6 else OK)
        assert len(limiter._queues) <= 16
    assert "0" in limiter._queues  # what was learned is kept for a while
    clock.now = 100.0
    for number in range(20):
        permit = limiter.try_acquire(f"later {number}")
        assert permit is not None
        limiter.release(permit, OK)
    assert "0" not in limiter._queues


async def test_a_pace_spaces_requests_and_makes_up_for_late_timers() -> None:
    limiter = Limiter(1000, requests_per_second=200)
    loop = asyncio.get_running_loop()
    started = loop.time()
    gone: list[float] = []

    async def one(name: str) -> None:
        permit = limiter.try_acquire(name) or await limiter.acquire(name)
        gone.append(loop.time() - started)
        limiter.release(permit, OK)

    await asyncio.gather(*(one(str(number % 7)) for number in range(60)))
    # Not one before its time, and none lost.
    assert all(at >= number / 200 - 0.051 for number, at in enumerate(gone))
    assert len(gone) == 60
    assert gone[-1] >= 59 / 200 - 0.051


@settings(max_examples=200, deadline=None)
@given(data=st.data(), total=st.integers(1, 12))
def test_whatever_happens_no_slot_is_lost_and_none_is_handed_out_twice(
    data: st.DataObject, total: int
) -> None:
    async def run() -> None:
        limiter = Limiter(total)
        steps = data.draw(
            st.lists(
                st.tuples(
                    st.sampled_from(["ask", "end", "cancel"]),
                    st.integers(0, 30),
                    st.sampled_from([OK, REFUSED, Response(503, {}, b""), None]),
                ),
                max_size=60,
            )
        )
        asking: list[asyncio.Task[None]] = []
        held: deque[asyncio.Future[Response | None]] = deque()
        in_flight: Counter[str] = Counter()

        async def one(name: str) -> None:
            permit = limiter.try_acquire(name) or await limiter.acquire(name)
            in_flight[name] += 1
            assert in_flight.total() <= total
            assert in_flight.total() <= limiter.stats.in_flight
            ended: asyncio.Future[Response | None] = asyncio.get_running_loop().create_future()
            held.append(ended)
            status = None
            try:
                status = await ended
            finally:
                in_flight[name] -= 1
                limiter.release(permit, status)

        for step, number, status in steps:
            if step == "ask":
                asking.append(asyncio.ensure_future(one(f"account {number % 4}")))
            elif step == "end" and held:
                ended = held[number % len(held)]
                held.remove(ended)
                if not ended.done():
                    ended.set_result(status)
            elif step == "cancel" and asking:
                asking[number % len(asking)].cancel()
            if number % 3:
                await asyncio.sleep(0)
        while not all(task.done() for task in asking):
            while held:
                ended = held.popleft()
                if not ended.done():
                    ended.set_result(OK)
            await asyncio.sleep(0)
        assert limiter.stats.in_flight == 0
        assert in_flight.total() == 0
        for task in asking:
            if not task.cancelled():
                task.result()

    asyncio.run(run())


# -- limiter, under requests


class AtOnce:
    """A check inside the emulator of how many requests are answered at once."""

    def __init__(self, emulator: Emulator) -> None:
        self.most: Counter[str] = Counter()
        self.most_in_all = 0
        enter = emulator._handler._enter

        def count(account_sid: str) -> int:
            now = emulator._handler._in_flight
            self.most[account_sid] = max(self.most[account_sid], now.get(account_sid, 0) + 1)
            self.most_in_all = max(self.most_in_all, sum(now.values()) + 1)
            return enter(account_sid)

        emulator._handler._enter = count  # type: ignore[method-assign]


async def test_never_more_in_flight_than_slots() -> None:
    emulator = Emulator(latency=0.01)
    async with emulated(emulator, concurrency=6) as (client, _):
        at_once = AtOnce(emulator)
        siblings = [client.with_credentials(account(number)) for number in range(1, 5)]
        await asyncio.gather(
            *(one.installed_add_ons.list().collect() for one in siblings for _ in range(30))
        )
        assert at_once.most_in_all == 6
        assert client.stats.sent == 120
        assert client.stats.in_flight == 0


def test_what_the_service_counts_goes_before_what_is_counted_here() -> None:
    adaptive, clock = AdaptiveLimit(), Clock()
    for in_flight in (3, 5, 4):
        adaptive.accepted(in_flight, clock)
    # Some answers had not been read yet: 11 were in flight here, but no more than 6 there.
    adaptive.throttled(11, clock)
    assert (int(adaptive.limit), adaptive.ceiling) == (5, 6)
    # Somebody else has come who shares the account.
    adaptive.throttled(3, clock)
    assert (int(adaptive.limit), adaptive.ceiling) == (2, 3)


async def test_it_settles_at_what_the_account_allows_and_few_are_refused() -> None:
    emulator = Emulator(latency=0.01, concurrency=5)
    async with emulated(emulator, concurrency=64, retry=Retry(initial_backoff=0.05)) as (client, _):
        at_once = AtOnce(emulator)
        lists = (client.installed_add_ons.list().collect() for _ in range(600))
        await asyncio.gather(*lists)
        assert client.stats.throttled <= 0.02 * 600
        refused_at_first = client.stats.throttled
        at_once.most.clear()
        await asyncio.gather(*(client.installed_add_ons.list().collect() for _ in range(200)))
        assert client.stats.throttled == refused_at_first
        assert at_once.most[account().account_sid] == 5


async def test_two_keys_of_one_account_share_what_it_allows_where_the_account_is_known() -> None:
    emulator = Emulator(latency=0.02, concurrency=4)
    sid = account().account_sid
    async with emulated(emulator, concurrency=64, retry=Retry(initial_backoff=0.01)) as (client, _):
        for number in (1, 2):
            # Both belong to one account, the SID of which they are told.
            key = ApiKey(f"SK{number:032x}", "made-up", account_sid=sid)
            await client.with_credentials(key).available_add_ons.list(limit=1).first()
        assert list(client._limiter._queues) == [sid]
        stranger = ApiKey(f"SK{3:032x}", "made-up")
        await client.with_credentials(stranger).available_add_ons.list(limit=1).first()
        assert list(client._limiter._queues) == [sid, stranger.key_sid]


class VirtualTime(asyncio.SelectorEventLoop):
    """An event loop whose time passes only while all wait: what is measured in it is exact."""

    def __init__(self) -> None:
        selector = selectors.DefaultSelector()
        super().__init__(selector)
        self.set_debug(False)  # or each of thousands of tasks keeps where it was made
        self.now = 0.0
        select = selector.select

        def pass_time(timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            self.now += timeout or 0.0
            return select(0)

        selector.select = pass_time  # type: ignore[method-assign]

    def time(self) -> float:
        return self.now


@pytest.mark.parametrize("same_length", [True, False])
@pytest.mark.parametrize("total", [8, 16, 64])
def test_one_account_with_10000_requests_hardly_holds_up_the_others(
    total: int, same_length: bool
) -> None:
    chance = random.Random(1)

    async def p99(limiter: Limiter, *, beside: int) -> float:
        loop = asyncio.get_running_loop()

        async def request(name: str) -> float:
            begun = loop.time()
            permit = limiter.try_acquire(name) or await limiter.acquire(name)
            await asyncio.sleep(0.05 if same_length else 0.05 * chance.uniform(0.5, 1.5))
            limiter.release(permit, OK)
            return loop.time() - begun

        async def small(name: str) -> float:
            await asyncio.sleep(chance.uniform(0.5, 3))
            return await request(name)

        crowd = [asyncio.ensure_future(request("big")) for _ in range(beside)]
        times = await asyncio.gather(*(small(f"small {number % 20}") for number in range(200)))
        assert sum(not task.done() for task in crowd) >= beside / 2
        for task in crowd:
            task.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)
        return sorted(times)[197]

    async def both() -> tuple[float, float]:
        clock = asyncio.get_running_loop().time
        alone = await p99(Limiter(total, clock=clock), beside=0)
        return alone, await p99(Limiter(total, clock=clock), beside=10_000)

    with asyncio.Runner(loop_factory=VirtualTime) as runner:
        alone, beside = runner.run(both())
    assert alone < 0.1
    assert beside <= 2 * alone


async def test_a_client_of_another_loop_that_has_to_wait_is_told_so() -> None:
    limiter = Limiter(1)
    held = limiter.try_acquire("a")
    waiting = asyncio.ensure_future(limiter.acquire("a"))
    await asyncio.sleep(0)
    with pytest.raises(ClientClosedError, match="another event loop"):
        await asyncio.to_thread(asyncio.run, limiter.acquire("a"))
    assert held is not None
    limiter.release(held)
    limiter.release(await waiting)


async def test_whose_turn_comes_as_it_is_cancelled_sends_nothing() -> None:
    limiter = Limiter(1)
    held = limiter.try_acquire("a")
    assert held is not None
    waiting = asyncio.ensure_future(limiter.acquire("a"))
    await asyncio.sleep(0)
    limiter.release(held, OK)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (limiter.stats.sent, limiter.stats.in_flight) == (1, 0)


async def test_what_is_refused_is_counted() -> None:
    async with emulated(retry=Retry(attempts=1)) as (client, emulator):
        emulator.faults.add("GET", "*", status=429, times=1)
        with pytest.raises(RateLimitedError):
            await client.installed_add_ons.fetch(XE)
        assert (client.stats.sent, client.stats.throttled) == (1, 1)
