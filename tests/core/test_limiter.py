"""The limiter bounds requests in flight, is fair between accounts, and pauses them."""

import asyncio
import random
import selectors
from collections import Counter, deque

import pytest
from hypothesis import given, settings, strategies as st

from marketplace_async import ApiKey, ClientClosedError, RateLimitedError, Response, Retry
from marketplace_async._core.adaptive import AdaptiveLimit
from marketplace_async._core.limiter import Limiter, Paused
from marketplace_async.emulator import Emulator
from marketplace_async.testing import account, emulated

XE = "XE" + "a" * 32
SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
OK, THROTTLED = Response(200, {}, b""), Response(429, {}, b"")
PAUSE = Response(429, {"Retry-After": "2"}, b"")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


# -- without requests


async def test_a_free_permit_is_acquired_without_waiting() -> None:
    limiter = Limiter(2)
    first = limiter.try_acquire("a")
    assert first is not None
    assert limiter.try_acquire("b") is not None
    assert limiter.try_acquire("c") is None
    limiter.release(first)
    assert limiter.try_acquire("c") is not None


async def test_accounts_take_turns() -> None:
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


async def test_no_account_takes_the_last_permits_while_others_are_active() -> None:
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


async def test_idle_accounts_are_forgotten() -> None:
    clock = Clock()
    limiter = Limiter(4, clock=clock)
    for number in range(10_000):
        permits = [limiter.try_acquire(str(number)) for _ in range(2)]
        for permit, response in zip(permits, [THROTTLED if number < 6 else OK, OK], strict=True):
            assert permit is not None
            limiter.release(permit, response)
        assert len(limiter._queues) <= 16
    assert "0" in limiter._queues  # its limit is remembered for a while
    clock.now = 100.0
    for number in range(20):
        permit = limiter.try_acquire(f"later {number}")
        assert permit is not None
        limiter.release(permit, OK)
    assert "0" not in limiter._queues


@settings(max_examples=50, deadline=None)
@given(
    rate=st.sampled_from([0.5, 1, 2.5, 7, 40, 200]),
    late=st.lists(st.sampled_from([0.0, 0.0, 0.01, 0.3, 2.0]), min_size=80, max_size=80),
)
def test_the_rate_is_never_exceeded_in_any_second(rate: float, late: list[float]) -> None:
    clock = Clock()
    limiter = Limiter(1000, requests_per_second=rate, clock=clock)
    sent: list[float] = []
    for delay in late:
        clock.now += delay  # timers of event loops fire late
        while limiter.try_acquire(str(len(sent) % 500)) is not None:
            sent.append(clock.now)
        assert limiter._rate is not None
        clock.now += max(limiter._rate.wait(), 0.0)
    for index, start in enumerate(sent):
        in_window = sum(at < start + max(1.0, 1 / rate) - 1e-9 for at in sent[index:])
        assert in_window <= max(1, rate)
    assert len(sent) >= 79


async def test_requests_that_wait_for_the_rate_are_sent_in_time() -> None:
    limiter = Limiter(1000, requests_per_second=200)
    loop = asyncio.get_running_loop()
    started = loop.time()

    async def one(name: str) -> None:
        permit = limiter.try_acquire(name) or await limiter.acquire(name)
        limiter.release(permit, OK)

    await asyncio.gather(*(one(str(number % 7)) for number in range(60)))
    assert 59 / 200 - 0.051 <= loop.time() - started < 2


# -- pauses


async def test_retry_after_pauses_the_account_and_no_other() -> None:
    clock = Clock()
    limiter = Limiter(8, clock=clock)
    first, second = limiter.try_acquire("a"), limiter.try_acquire("a")
    assert first is not None
    assert second is not None
    limiter.release(first, PAUSE)
    for _ in range(2):
        with pytest.raises(Paused) as paused:
            limiter.try_acquire("a")
        assert 2.0 <= paused.value.until <= 2.2  # jitter only lengthens a pause
    assert limiter.try_acquire("b") is not None
    limiter.release(second, OK)
    clock.now = 2.3
    # One request finds out whether the pause is over.
    assert limiter.try_acquire("a") is not None
    assert limiter.try_acquire("a") is None


async def test_a_pause_wakes_those_who_wait_for_a_permit() -> None:
    limiter = Limiter(1)
    held = limiter.try_acquire("a")
    assert held is not None
    waiting = [asyncio.ensure_future(limiter.acquire("a")) for _ in range(3)]
    await asyncio.sleep(0)
    limiter.release(held, PAUSE)
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Paused] * 3
    assert limiter.stats.in_flight == 0


async def test_a_pause_ends_whatever_the_service_asks_for() -> None:
    clock = Clock()
    limiter = Limiter(8, clock=clock)
    permit = limiter.try_acquire("a")
    assert permit is not None
    limiter.release(permit, Response(503, {"Retry-After": "999999999"}, b""))
    with pytest.raises(Paused):
        limiter.try_acquire("a")
    clock.now = 700.0
    assert limiter.try_acquire("a") is not None


async def test_a_waiting_coroutine_that_is_closed_loses_no_permit() -> None:
    limiter = Limiter(1)
    held = limiter.try_acquire("a")
    assert held is not None
    closed, waiting = limiter.acquire("a"), asyncio.ensure_future(limiter.acquire("a"))
    closed.send(None)  # as a foreign driver does
    await asyncio.sleep(0)
    closed.close()
    limiter.release(held, OK)
    limiter.release(await waiting, OK)
    assert limiter.stats.in_flight == 0


@settings(max_examples=200, deadline=None)
@given(data=st.data(), total=st.integers(1, 12))
def test_no_permit_is_ever_lost_or_handed_out_twice(data: st.DataObject, total: int) -> None:
    async def run() -> None:
        limiter = Limiter(total)
        steps = data.draw(
            st.lists(
                st.tuples(
                    st.sampled_from(["acquire", "release", "cancel"]),
                    st.integers(0, 30),
                    st.sampled_from([OK, THROTTLED, Response(503, {}, b""), None]),
                ),
                max_size=60,
            )
        )
        tasks: list[asyncio.Task[None]] = []
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
            if step == "acquire":
                tasks.append(asyncio.ensure_future(one(f"account {number % 4}")))
            elif step == "release" and held:
                ended = held[number % len(held)]
                held.remove(ended)
                if not ended.done():
                    ended.set_result(status)
            elif step == "cancel" and tasks:
                tasks[number % len(tasks)].cancel()
            if number % 3:
                await asyncio.sleep(0)
        while not all(task.done() for task in tasks):
            while held:
                ended = held.popleft()
                if not ended.done():
                    ended.set_result(OK)
            await asyncio.sleep(0)
        assert limiter.stats.in_flight == 0
        assert in_flight.total() == 0
        for task in tasks:
            if not task.cancelled():
                task.result()

    asyncio.run(run())


# -- with requests


class InFlight:
    """Counts inside the emulator how many requests are in flight."""

    def __init__(self, emulator: Emulator) -> None:
        self.highest_of: Counter[str] = Counter()
        self.highest = 0
        enter = emulator._handler._enter

        def count(account_sid: str) -> int:
            now = emulator._handler._in_flight
            self.highest_of[account_sid] = max(
                self.highest_of[account_sid], now.get(account_sid, 0) + 1
            )
            self.highest = max(self.highest, sum(now.values()) + 1)
            return enter(account_sid)

        emulator._handler._enter = count  # type: ignore[method-assign]


async def test_the_total_is_a_hard_limit() -> None:
    emulator = Emulator(latency=0.01)
    async with emulated(emulator, concurrency=6) as (client, _):
        in_flight = InFlight(emulator)
        derived = [client.with_credentials(account(number)) for number in range(1, 5)]
        await asyncio.gather(
            *(one.installed_add_ons.list().collect() for one in derived for _ in range(30))
        )
        assert in_flight.highest == 6
        assert client.stats.sent == 120
        assert client.stats.in_flight == 0


async def test_the_limit_of_the_account_is_found_and_few_are_throttled() -> None:
    emulator = Emulator(latency=0.01, concurrency=5)
    async with emulated(emulator, concurrency=64, retry=Retry(initial_backoff=0.05)) as (client, _):
        in_flight = InFlight(emulator)
        lists = (client.installed_add_ons.list().collect() for _ in range(600))
        await asyncio.gather(*lists)
        assert client.stats.throttled <= 0.02 * 600
        throttled_at_first = client.stats.throttled
        in_flight.highest_of.clear()
        await asyncio.gather(*(client.installed_add_ons.list().collect() for _ in range(200)))
        # A probe now and then is all.
        assert client.stats.throttled - throttled_at_first <= 0.02 * 200
        assert in_flight.highest_of[account().account_sid] in (5, 6)  # 6 during a probe


async def test_keys_of_one_account_share_its_limit_if_the_account_is_known() -> None:
    emulator = Emulator(latency=0.02, concurrency=4)
    sid = account().account_sid
    async with emulated(emulator, concurrency=64, retry=Retry(initial_backoff=0.01)) as (client, _):
        for number in (1, 2):
            # Both belong to one account, and say so.
            key = ApiKey(f"SK{number:032x}", "made-up", account_sid=sid)
            await client.with_credentials(key).available_add_ons.list(limit=1).first()
        assert list(client._limiter._queues) == [sid]
        unrelated = ApiKey(f"SK{3:032x}", "made-up")
        await client.with_credentials(unrelated).available_add_ons.list(limit=1).first()
        assert list(client._limiter._queues) == [sid, unrelated.key_sid]


class VirtualTime(asyncio.SelectorEventLoop):
    """An event loop whose time passes only while all tasks wait."""

    def __init__(self) -> None:
        selector = selectors.DefaultSelector()
        super().__init__(selector)
        self.set_debug(False)  # or each of thousands of tasks keeps its stack
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
def test_an_account_with_10000_requests_hardly_delays_the_others(
    total: int, same_length: bool
) -> None:
    chance = random.Random(1)

    async def p99(limiter: Limiter, *, crowded_by: int) -> float:
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

        crowd = [asyncio.ensure_future(request("big")) for _ in range(crowded_by)]
        times = await asyncio.gather(*(small(f"small {number % 20}") for number in range(200)))
        assert sum(not task.done() for task in crowd) >= crowded_by / 2
        for task in crowd:
            task.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)
        return sorted(times)[197]

    async def both() -> tuple[float, float]:
        clock = asyncio.get_running_loop().time
        alone = await p99(Limiter(total, clock=clock), crowded_by=0)
        return alone, await p99(Limiter(total, clock=clock), crowded_by=10_000)

    with asyncio.Runner(loop_factory=VirtualTime) as runner:
        alone, crowded_by = runner.run(both())
    assert alone < 0.1
    assert crowded_by <= 2 * alone


async def test_waiting_on_another_event_loop_is_an_error() -> None:
    limiter = Limiter(1)
    held = limiter.try_acquire("a")
    waiting = asyncio.ensure_future(limiter.acquire("a"))
    await asyncio.sleep(0)
    with pytest.raises(ClientClosedError, match="another event loop"):
        await asyncio.to_thread(asyncio.run, limiter.acquire("a"))
    assert held is not None
    limiter.release(held)
    limiter.release(await waiting)


async def test_a_permit_that_arrives_with_a_cancellation_is_released() -> None:
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


async def test_throttled_requests_are_counted() -> None:
    async with emulated(retry=Retry(attempts=1)) as (client, emulator):
        emulator.faults.add("GET", "*", status=429, times=1)
        with pytest.raises(RateLimitedError):
            await client.installed_add_ons.fetch(XE)
        assert (client.stats.sent, client.stats.throttled) == (1, 1)
