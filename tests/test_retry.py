"""When to try again: a table, without a clock and without chance."""

import pytest
from hypothesis import given, strategies as st

from marketplace_async import (
    ClientClosedError,
    ConnectError,
    MarketplaceError,
    Request,
    RequestTimeoutError,
    Response,
    ResponseError,
    Retry,
    TransportError,
)
from marketplace_async._codec import api_error
from marketplace_async.retry import Outcome, outcome_of

REQUEST = Request("POST", "/v1/X")


def answered(status: int, body: bytes = b"") -> MarketplaceError:
    return api_error(REQUEST, Response(status, {}, body))


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (answered(400), Outcome.ANSWERED),
        (answered(401), Outcome.ANSWERED),
        (answered(404), Outcome.ANSWERED),
        (answered(409), Outcome.ANSWERED),
        (answered(302), Outcome.ANSWERED),
        (ClientClosedError("closed"), Outcome.ANSWERED),
        (answered(429), Outcome.REFUSED),
        (answered(429, b'{"code":20429}'), Outcome.REFUSED),
        (answered(503, b'{"code":20503}'), Outcome.REFUSED),
        (ConnectError(REQUEST, "refused"), Outcome.REFUSED),
        (answered(503), Outcome.UNKNOWN),
        (answered(503, b"<html>"), Outcome.UNKNOWN),
        (answered(503, b'{"code":20500}'), Outcome.UNKNOWN),
        (answered(500, b'{"code":20503}'), Outcome.UNKNOWN),
        (answered(500), Outcome.UNKNOWN),
        (answered(502), Outcome.UNKNOWN),
        (TransportError(REQUEST, "reset"), Outcome.UNKNOWN),
        (RequestTimeoutError(REQUEST, "late"), Outcome.UNKNOWN),
        (ResponseError(REQUEST, Response(200, {}, b""), "no JSON"), Outcome.UNKNOWN),
    ],
    ids=str,
)
def test_what_is_known_of_a_try(error: MarketplaceError, outcome: Outcome) -> None:
    assert outcome_of(error) is outcome


@pytest.mark.parametrize(
    ("attempt", "spent", "chance", "retry_after", "expected"),
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
    attempt: int, spent: float, chance: float, retry_after: float | None, expected: float | None
) -> None:
    delay = Retry().delay(attempt, spent=spent, chance=chance, retry_after=retry_after)
    assert delay == expected


def test_the_wait_is_never_longer_than_the_longest() -> None:
    assert Retry(attempts=100).delay(99, spent=0, chance=1.0) == 8.0


def test_one_attempt_turns_it_off() -> None:
    assert Retry(attempts=1).delay(1, spent=0, chance=0.0) is None


@given(
    attempt=st.integers(1, 10_000),
    spent=st.floats(0, 1e6),
    chance=st.floats(0, 1, exclude_max=True),
    retry_after=st.none() | st.floats(0, 1e9),
)
def test_a_wait_never_outlives_the_budget(
    attempt: int, spent: float, chance: float, retry_after: float | None
) -> None:
    policy = Retry(attempts=10_001, budget=20.0)
    delay = policy.delay(attempt, spent=spent, chance=chance, retry_after=retry_after)
    assert delay is None or (delay >= 0 and spent + delay <= 20.0)
    if delay is not None and retry_after is not None:
        assert delay >= retry_after


@pytest.mark.parametrize(
    "arguments",
    [{"attempts": 0}, {"attempts": 1.5}, {"budget": -1}, {"backoff": -1}, {"longest": -1}],
)
def test_a_policy_that_makes_no_sense_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(arguments))}: expected"):
        Retry(**arguments)  # type: ignore[arg-type]
