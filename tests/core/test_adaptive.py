"""The adaptive limit finds what an account may have in flight, and follows it."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings, strategies as st
from support.service_models import (
    Admit,
    Model,
    Run,
    changing,
    fixed,
    out,
    rated,
    stray,
    unlimited,
)

from marketplace_async._core.adaptive import AdaptiveLimit

LATENCY = 0.05
UNLIMITED_RATE = 64 / LATENCY


# -- decisions


def test_the_limit_doubles_each_round_until_a_request_is_throttled() -> None:
    adaptive = AdaptiveLimit()
    assert int(adaptive.limit) == 8
    for serial in range(1, 9):
        adaptive.accepted(serial, 8, 0.0)
    assert int(adaptive.limit) == 16
    adaptive.throttled(serial=20, latest=24, in_flight=13, now=0.0)
    assert int(adaptive.limit) < 13
    assert adaptive.ceiling == 13


@pytest.mark.parametrize("serials", [(6, 7, 8), (8, 7, 6), (7, 8, 6)])
def test_a_burst_is_one_signal_that_tells_how_many_were_too_many(serials: tuple[int, ...]) -> None:
    adaptive = AdaptiveLimit()
    for serial in serials:
        adaptive.throttled(serial, latest=8, in_flight=8, now=0.0)
    assert (int(adaptive.limit), adaptive.ceiling) == (5, 6)


def test_a_throttled_request_that_was_alone_says_nothing_about_concurrency() -> None:
    adaptive = AdaptiveLimit()
    for serial in range(1, 6):
        adaptive.throttled(serial, latest=serial, in_flight=1, now=0.0)
    assert (int(adaptive.limit), adaptive.ceiling) == (8, None)


def test_the_limit_is_never_below_one() -> None:
    adaptive = AdaptiveLimit()
    for serial in range(2, 100):
        adaptive.throttled(serial, latest=serial, in_flight=2, now=0.0)
    assert int(adaptive.limit) == 1


def test_after_a_pause_it_begins_with_one() -> None:
    adaptive = AdaptiveLimit()
    adaptive.restart()
    assert int(adaptive.limit) == 1
    for serial in range(1, 10):
        adaptive.accepted(serial, 8, 0.0)
    assert int(adaptive.limit) > 4


# -- against services in virtual time


@settings(max_examples=60, deadline=None)
@given(
    limit=st.integers(1, 60),
    latency=st.sampled_from([0.02, 0.05, 0.3]),
    seed=st.integers(0, 1000),
)
def test_a_fixed_limit_is_used_and_hardly_ever_exceeded(
    limit: int, latency: float, seed: int
) -> None:
    run = Model(fixed(limit), latency, (128,), seed).run(40)
    assert run.rate(5, 40) >= 0.95 * limit / latency
    assert run.share_throttled(5) <= 0.02


@settings(max_examples=30, deadline=None)
@given(
    limits=st.lists(st.integers(1, 60), min_size=2, max_size=4),
    seed=st.integers(0, 1000),
)
def test_a_limit_that_changes_is_followed_within_seconds(limits: list[int], seed: int) -> None:
    phases = [(20.0 * index, limit) for index, limit in enumerate(limits)]
    run = Model(changing(*phases), LATENCY, (128,), seed).run(20.0 * len(limits))
    for start, limit in phases:
        assert run.rate(start + 12, start + 20) >= 0.9 * limit / LATENCY, (start, limit)
    assert run.share_throttled() <= 0.04


@pytest.mark.parametrize("seed", range(5))
def test_stray_throttling_and_a_burst_are_forgotten_within_seconds(seed: int) -> None:
    admit = stray(0.01, 3, 6, out(11, 12, unlimited), seed)
    run = Model(admit, LATENCY, (64,), seed).run(20)
    assert run.rate(1, 3) >= 0.9 * UNLIMITED_RATE
    assert run.rate(3, 6) >= 0.4 * UNLIMITED_RATE
    assert run.rate(8, 11) >= 0.9 * UNLIMITED_RATE
    assert run.rate(13, 15) >= 0.8 * UNLIMITED_RATE
    assert run.rate(15, 20) >= 0.95 * UNLIMITED_RATE


@pytest.mark.parametrize("seed", range(5))
def test_an_outage_is_forgotten_within_two_seconds(seed: int) -> None:
    run = Model(out(10, 20, fixed(30)), LATENCY, (64,), seed).run(30)
    full = 30 / LATENCY
    assert run.rate(5, 10) >= 0.95 * full
    assert run.rate(22, 30) >= 0.95 * full


@pytest.mark.parametrize(
    ("clients", "limit"), [((64, 64), 50), ((64, 64, 64), 60), ((64, 64, 64, 64), 50)]
)
@pytest.mark.parametrize("seed", range(3))
def test_clients_of_one_account_share_it(clients: tuple[int, ...], limit: int, seed: int) -> None:
    run = Model(fixed(limit), LATENCY, clients, seed).run(120)
    fair = limit / LATENCY / len(clients)
    assert run.rate(60, 120) >= 0.95 * limit / LATENCY
    for client in range(len(clients)):
        assert 0.4 * fair <= run.rate(60, 120, client) <= 2 * fair
    assert run.share_throttled(10) <= 0.02


@pytest.mark.parametrize(("per_second", "latency"), [(100, 0.02), (500, 0.1), (50, 0.3)])
def test_a_limit_per_second_is_lived_with(per_second: int, latency: float) -> None:
    run = Model(rated(per_second), latency).run(60)
    assert run.rate(5, 60) >= 0.6 * per_second
    assert run.share_throttled(5) <= 0.1


def test_the_models_count_what_they_should() -> None:
    def told(limit: int) -> Callable[[], AdaptiveLimit]:
        def make() -> AdaptiveLimit:
            adaptive = AdaptiveLimit()
            adaptive.limit, adaptive.ceiling = float(limit), limit + 1
            adaptive._probe_at, adaptive._confirmed = float("inf"), True
            return adaptive

        return make

    def run(admit: Admit) -> Run:
        return Model(admit, LATENCY, (64,), limit_of=told(5)).run(20)

    assert run(fixed(5)).rate(1, 20) == pytest.approx(5 / LATENCY, rel=0.02)
    assert run(fixed(5)).share_throttled() == 0
    assert run(fixed(4)).share_throttled() > 0
