"""Patterns of paths in faults: what they match, and which ones no request can match."""

import re

import pytest
from hypothesis import given, strategies as st
from support.plain_http import AC, XE, Http

from marketplace_async.emulator import Emulator
from marketplace_async.emulator.patterns import check_served, matcher

ROUTES = [
    ("GET", "/v1/AvailableAddOns"),
    ("GET", "/v1/AvailableAddOns/{xb}"),
    ("GET", "/v1/InstalledAddOns"),
    ("POST", "/v1/InstalledAddOns"),
    ("DELETE", "/v1/InstalledAddOns/{xe}"),
    ("GET", "/v1/InstalledAddOns/{xe}/Extensions/{xf}"),
    ("POST", "/v1/InstalledAddOns/{xe}/Usage"),
    ("GET", "/2010-04-01/Accounts/{ac}.json"),
]


def test_a_star_matches_any_characters_and_all_else_matches_itself() -> None:
    assert matcher("/v1/*")("/v1/InstalledAddOns/XE1")
    assert matcher("/v1/*/Usage")("/v1/InstalledAddOns/XE1/Usage")
    assert not matcher("/v1/*")("/v2/token")
    for special in ("[12]", "?", ".", "a|b", "$", "\\"):
        assert matcher(f"/v1/{special}")(f"/v1/{special}")
        assert not matcher(f"/v1/{special}")("/v1/1")
    assert matcher("*")("/a\nb")


@pytest.mark.parametrize(
    ("method", "pattern"),
    [
        ("*", "*"),
        ("GET", "*"),
        ("*", "/v1/*"),
        ("GET", "/v1/*Add*"),
        ("DELETE", "/v1/InstalledAddOns/XE1"),
        ("DELETE", "/v1/InstalledAddOns/XE*"),
        ("GET", "/v1/InstalledAddOns/*/Extensions/*"),
        ("POST", "/v1/InstalledAddOns/*/Usage"),
        ("POST", "*/Usage"),
        ("GET", f"/2010-04-01/Accounts/{AC}.json"),
        ("GET", "/2010-04-01/*.json"),
    ],
)
def test_a_pattern_that_some_request_matches_is_accepted(method: str, pattern: str) -> None:
    check_served(method, pattern, ROUTES)


@pytest.mark.parametrize(
    ("method", "pattern", "message"),
    [
        ("*", "/v1/InstaledAddOns", "matches no route; the closest is /v1/InstalledAddOns"),
        ("*", "/v1/installedaddons", "matches no route"),
        ("*", "/v1/InstalledAddOns/", "matches no route"),
        ("*", "/InstalledAddOns", "matches no route"),
        ("*", "/v1/InstalledAddOns/XB1", "matches no route"),
        ("*", "/v1/InstalledAddOns/*/Extension", "matches no route"),
        ("*", "/v1/InstalledAddOns/XE1/Extensions/XF1/", "matches no route"),
        ("*", "/v1/InstalledAddOns?PageSize=5", "matches no route"),
        ("*", "/v1/InstalledAddOns/{xe}", "matches no route"),
        ("*", "/v1/[IA]*", "matches no route"),
        ("*", "/_emulator/*", "matches no route"),
        ("*", "/v1", "matches no route"),
        ("POST", "/v1/AvailableAddOns", "method: must be GET for /v1/AvailableAddOns, got 'POST'"),
        ("PUT", "/v1/InstalledAddOns", "method: must be GET or POST for"),
        ("PATCH", "*", "method: must be DELETE or GET or POST for"),
    ],
)
def test_a_pattern_that_no_request_can_match_is_rejected(
    method: str, pattern: str, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        check_served(method, pattern, ROUTES)


@given(st.sampled_from(ROUTES), st.data())
def test_a_path_with_any_part_replaced_by_a_star_is_accepted(
    route: tuple[str, str], data: st.DataObject
) -> None:
    method, path = route
    path = re.sub(r"\{(\w+)\}", lambda name: name[1].upper() + "0aF9", path)
    pattern = path
    for _ in range(data.draw(st.integers(0, 3))):
        start = data.draw(st.integers(0, len(pattern)))
        stop = data.draw(st.integers(start, len(pattern)))
        pattern = f"{pattern[:start]}*{pattern[stop:]}"
    assert matcher(pattern)(path)
    check_served(method, pattern, ROUTES)


async def test_a_fault_that_no_request_can_match_is_rejected_when_it_is_added(http: Http) -> None:
    for add in ("/v1/Nothing", "/v1/InstalledAddOns/XB1"):
        with pytest.raises(ValueError, match="matches no route"):
            http.emulator.faults.add("GET", add, status=500)
    fault = b'{"method": "POST", "path": "/v1/AvailableAddOns", "status": 500}'
    headers = {"Content-Type": "application/json"}
    status, body, _ = await http("POST", "/_emulator/faults", data=fault, headers=headers)
    assert (status, body["message"][:17]) == (400, "method: must be G")
    assert list(http.emulator.faults) == []
    for method, path in (("POST", "/v2/token"), ("GET", "/2010-04-01/Accounts.json")):
        http.emulator.faults.add(method, path, status=500, times=0)


def test_a_fault_added_before_the_start_is_checked_at_the_start() -> None:
    emulator = Emulator()
    emulator.faults.add("GET", "/v1/Nothing", status=500)
    with pytest.raises(ValueError, match="'/v1/Nothing' matches no route"), emulator:
        pass
    emulator.faults.clear()
    with emulator:
        assert emulator.url


async def test_a_fault_is_unmatched_until_a_request_matches_it(http: Http) -> None:
    faults = http.emulator.faults
    listing = faults.add("GET", "/v1/InstalledAddOns", status=500)
    fetching = faults.add("GET", f"/v1/InstalledAddOns/{XE}", status=500)
    unlikely = faults.add("POST", "/v1/Listings", status=500, probability=0.0)
    faults.add("DELETE", "*", status=500, times=0)  # never applies
    assert faults.unmatched() == [listing, fetching, unlikely]
    await http("GET", "/v1/InstalledAddOns")
    assert faults.unmatched() == [fetching, unlikely]
    await http("POST", "/v1/Listings")
    assert unlikely.hits == 0
    assert faults.unmatched() == [fetching]
    faults.clear()
    assert faults.unmatched() == []
    assert len(faults) == 0
