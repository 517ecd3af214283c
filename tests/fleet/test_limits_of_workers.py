"""The limits of a job are split among its workers, even as workers join and leave."""

import pytest
from hypothesis import given, strategies as st

from marketplace_async.fleet import JobError
from marketplace_async.fleet._executors.shares import Limits

EVENTS = st.lists(
    st.tuples(st.sampled_from(["join", "leave", "deaf"]), st.integers(0, 9)), max_size=30
)


@given(st.integers(2, 2000), EVENTS)
def test_the_shares_never_exceed_the_limit(total: int, events: list[tuple[str, int]]) -> None:
    limits = Limits(total, 100.0)
    granted: dict[str, int] = {}
    deaf: set[str] = set()  # workers that do not confirm a lower share
    for event, number in events:
        name = str(number)
        match event:
            case "join":
                granted.setdefault(name, 0)
            case "leave":
                granted.pop(name, None)
                deaf.discard(name)
            case "deaf":
                deaf.add(name)
        for one, share in limits.lowered(granted).items():
            assert share < granted[one]
            if one not in deaf:
                granted[one] = share
        for one, share in limits.raised(granted).items():
            assert share > granted[one]
            granted[one] = share
        assert limits.of_driver + sum(granted.values()) <= total
        rates = [limits.rate_of(share) or 0 for share in (limits.of_driver, *granted.values())]
        assert sum(rates) <= 100.0001
        if granted and not deaf:
            fair = (total - limits.of_driver) // len(granted)
            assert all(share >= fair for share in granted.values())


def test_a_share_that_may_still_be_used_is_not_given_away() -> None:
    limits = Limits(64)
    assert limits.raised({"new": 0}, reserved=[50]) == {"new": 10}
    assert limits.raised({"new": 0}, reserved=[60]) == {}
    with pytest.raises(JobError, match="must be at least 2 with workers in other processes"):
        Limits(1)
