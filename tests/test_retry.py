"""When to try again: a table, without a clock and without jitter."""

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
from marketplace_async._core.codec import api_error
from marketplace_async.retry import Verdict, verdict_on

REQUEST = Request("POST", "/v1/X")


def answered(status: int, body: bytes = b"") -> MarketplaceError:
    return api_error(REQUEST, Response(status, {}, body))


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (answered(400), Verdict.RESPONSE),
        (answered(401), Verdict.RESPONSE),
        (answered(404), Verdict.RESPONSE),
        (answered(409), Verdict.RESPONSE),
        (answered(302), Verdict.RESPONSE),
        (ClientClosedError("closed"), Verdict.RESPONSE),
        (answered(429), Verdict.REJECTED),
        (answered(429, b'{"code":20429}'), Verdict.REJECTED),
        (answered(503, b'{"code":20503}'), Verdict.REJECTED),
        (ConnectError(REQUEST, "refused"), Verdict.REJECTED),
        (answered(503), Verdict.UNKNOWN),
        (answered(503, b"<html>"), Verdict.UNKNOWN),
        (answered(503, b'{"code":20500}'), Verdict.UNKNOWN),
        (answered(500, b'{"code":20503}'), Verdict.UNKNOWN),
        (answered(500), Verdict.UNKNOWN),
        (answered(502), Verdict.UNKNOWN),
        (TransportError(REQUEST, "reset"), Verdict.UNKNOWN),
        (RequestTimeoutError(REQUEST, "late"), Verdict.UNKNOWN),
        (ResponseError(REQUEST, Response(200, {}, b""), "no JSON"), Verdict.UNKNOWN),
    ],
    ids=str,
)
def test_what_is_known_of_a_try(error: MarketplaceError, outcome: Verdict) -> None:
    assert verdict_on(error) is outcome


@pytest.mark.parametrize(
    ("attempt", "spent", "jitter", "retry_after", "expected"),
    [
        # By default: attempts=4, max_elapsed=30, initial_backoff=0.5, max_backoff=8.
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
    attempt: int, spent: float, jitter: float, retry_after: float | None, expected: float | None
) -> None:
    delay = Retry().delay(attempt, spent=spent, jitter=jitter, retry_after=retry_after)
    assert delay == expected


def test_the_wait_is_never_longer_than_the_longest() -> None:
    assert Retry(attempts=100).delay(99, spent=0, jitter=1.0) == 8.0


def test_one_attempt_turns_it_off() -> None:
    assert Retry(attempts=1).delay(1, spent=0, jitter=0.0) is None


@given(
    attempt=st.integers(1, 10_000),
    spent=st.floats(0, 1e6),
    jitter=st.floats(0, 1, exclude_max=True),
    retry_after=st.none() | st.floats(0, 1e9),
)
def test_a_wait_never_outlives_the_budget(
    attempt: int, spent: float, jitter: float, retry_after: float | None
) -> None:
    policy = Retry(attempts=10_001, max_elapsed=20.0)
    delay = policy.delay(attempt, spent=spent, jitter=jitter, retry_after=retry_after)
    assert delay is None or (delay >= 0 and spent + delay <= 20.0)
    if delay is not None and retry_after is not None:
        assert delay >= retry_after


@pytest.mark.parametrize(
    "arguments",
    [
        {"attempts": 0},
        {"attempts": 1.5},
        {"max_elapsed": -1},
        {"initial_backoff": -1},
        {"max_backoff": -1},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(arguments))}: must be"):
        Retry(**arguments)  # type: ignore[arg-type]
