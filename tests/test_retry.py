"""The retry policy: verdicts and waits, without a clock or random numbers."""

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
from marketplace_async._core.error_documents import api_error
from marketplace_async.retry import Verdict, verdict_on

REQUEST = Request("POST", "/v1/X")


def failed(status: int, body: bytes = b"") -> MarketplaceError:
    return api_error(REQUEST, Response(status, {}, body))


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (failed(400), Verdict.RESPONSE),
        (failed(401), Verdict.RESPONSE),
        (failed(404), Verdict.RESPONSE),
        (failed(409), Verdict.RESPONSE),
        (failed(302), Verdict.RESPONSE),
        (failed(408), Verdict.RESPONSE),
        (failed(499), Verdict.RESPONSE),
        (failed(101), Verdict.UNKNOWN),
        (failed(600), Verdict.UNKNOWN),
        (ClientClosedError("closed"), Verdict.RESPONSE),
        (failed(429), Verdict.REJECTED),
        (failed(429, b'{"code":20429}'), Verdict.REJECTED),
        (failed(503, b'{"code":20503}'), Verdict.REJECTED),
        (ConnectError(REQUEST, "connection refused"), Verdict.REJECTED),
        (failed(503), Verdict.UNKNOWN),
        (failed(503, b"<html>"), Verdict.UNKNOWN),
        (failed(503, b'{"code":20500}'), Verdict.UNKNOWN),
        (failed(500, b'{"code":20503}'), Verdict.UNKNOWN),
        (failed(500), Verdict.UNKNOWN),
        (failed(502), Verdict.UNKNOWN),
        (TransportError(REQUEST, "reset"), Verdict.UNKNOWN),
        (RequestTimeoutError(REQUEST, "late"), Verdict.UNKNOWN),
        (ResponseError(REQUEST, Response(200, {}, b""), "not JSON"), Verdict.UNKNOWN),
    ],
    ids=str,
)
def test_the_verdict_on_an_attempt(error: MarketplaceError, verdict: Verdict) -> None:
    assert verdict_on(error) is verdict


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
def test_the_wait_after_a_failed_attempt(
    attempt: int, spent: float, jitter: float, retry_after: float | None, expected: float | None
) -> None:
    delay = Retry().delay(attempt, spent=spent, jitter=jitter, retry_after=retry_after)
    assert delay == expected


def test_no_wait_exceeds_max_backoff() -> None:
    assert Retry(attempts=100).delay(99, spent=0, jitter=1.0) == 8.0


def test_one_attempt_disables_retries() -> None:
    assert Retry(attempts=1).delay(1, spent=0, jitter=0.0) is None


@given(
    attempt=st.integers(1, 10_000),
    spent=st.floats(0, 1e6),
    jitter=st.floats(0, 1, exclude_max=True),
    retry_after=st.none() | st.floats(0, 1e9),
)
def test_no_wait_exceeds_max_elapsed(
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
def test_an_invalid_policy_raises(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(arguments))}: must be"):
        Retry(**arguments)  # type: ignore[arg-type]
