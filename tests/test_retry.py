"""When to try again: a table, without a clock and without chance."""

import pytest
from hypothesis import given, strategies as st

from marketplace_async import Retry


@pytest.mark.parametrize(
    ("attempt", "elapsed", "chance", "retry_after", "expected"),
    [
        # By default: attempts=4, budget=30, backoff=0.5, longest=8.
        (1, 0.0, 1.0, None, 0.5),
        (2, 0.0, 1.0, None, 1.0),
        (3, 0.0, 1.0, None, 2.0),
        (4, 0.0, 1.0, None, None),
        (1, 0.0, 0.0, None, 0.0),
        (1, 0.0, 0.5, None, 0.25),
        (1, 0.0, 0.0, 3.0, 3.0),
        (3, 0.0, 1.0, 1.0, 2.0),
        (1, 29.5, 1.0, None, 0.5),
        (1, 29.6, 1.0, None, None),
        (1, 0.0, 0.0, 30.0, 30.0),
        (1, 0.0, 0.0, 31.0, None),
        (1, 31.0, 0.0, None, None),
    ],
)
def test_the_wait_after_a_refusal(
    attempt: int, elapsed: float, chance: float, retry_after: float | None, expected: float | None
) -> None:
    delay = Retry().delay(attempt, elapsed=elapsed, chance=chance, retry_after=retry_after)
    assert delay == expected


def test_the_wait_is_never_longer_than_the_longest() -> None:
    assert Retry(attempts=100).delay(99, elapsed=0, chance=1.0) == 8.0


def test_one_attempt_turns_it_off() -> None:
    assert Retry(attempts=1).delay(1, elapsed=0, chance=0.0) is None


@given(
    attempt=st.integers(1, 10_000),
    elapsed=st.floats(0, 1e6),
    chance=st.floats(0, 1, exclude_max=True),
    retry_after=st.none() | st.floats(0, 1e9),
)
def test_a_wait_never_outlives_the_budget(
    attempt: int, elapsed: float, chance: float, retry_after: float | None
) -> None:
    policy = Retry(attempts=10_001, budget=20.0)
    delay = policy.delay(attempt, elapsed=elapsed, chance=chance, retry_after=retry_after)
    assert delay is None or (delay >= 0 and elapsed + delay <= 20.0)
    if delay is not None and retry_after is not None:
        assert delay >= retry_after


@pytest.mark.parametrize(
    "arguments",
    [{"attempts": 0}, {"attempts": 1.5}, {"budget": -1}, {"backoff": -1}, {"longest": -1}],
)
def test_a_policy_that_makes_no_sense_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(arguments))}: expected"):
        Retry(**arguments)  # type: ignore[arg-type]
