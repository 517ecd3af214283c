"""Pages of the emulator's lists, over plain HTTP."""

import pytest
from support.plain_http import AC, SPAM_SCORE, XE, Http

from marketplace_async.emulator import store


async def test_pages_link_in_both_directions_on_the_host_of_the_request(http: Http) -> None:
    sids = http.emulator.install(AC, SPAM_SCORE, times=5)
    base = f"{http.emulator.url}/v1/InstalledAddOns"
    _, first, _ = await http("GET", "/v1/InstalledAddOns?PageSize=2")
    assert [item["sid"] for item in first["installed_add_ons"]] == sids[:2]
    assert first["meta"] == {
        "page": 0,
        "page_size": 2,
        "first_page_url": f"{base}?PageSize=2&Page=0",
        "previous_page_url": None,
        "url": f"{base}?PageSize=2&Page=0",
        "next_page_url": f"{base}?PageSize=2&Page=1&PageToken=PA{sids[1]}",
        "key": "installed_add_ons",
    }
    _, second, _ = await http("GET", first["meta"]["next_page_url"].removeprefix(http.emulator.url))
    assert [item["sid"] for item in second["installed_add_ons"]] == sids[2:4]
    assert second["meta"]["previous_page_url"] == f"{base}?PageSize=2&Page=0&PageToken=PB{sids[2]}"
    _, third, _ = await http("GET", second["meta"]["next_page_url"].removeprefix(http.emulator.url))
    assert [item["sid"] for item in third["installed_add_ons"]] == sids[4:]
    assert third["meta"]["next_page_url"] is None
    _, back, _ = await http(
        "GET", third["meta"]["previous_page_url"].removeprefix(http.emulator.url)
    )
    assert back["installed_add_ons"] == second["installed_add_ons"]
    assert back["meta"]["next_page_url"] is not None
    _, start, _ = await http(
        "GET", back["meta"]["previous_page_url"].removeprefix(http.emulator.url)
    )
    assert start["installed_add_ons"] == first["installed_add_ons"]
    assert start["meta"]["previous_page_url"] is None


async def test_catalogue_lists_are_paginated_in_the_same_way(http: Http) -> None:
    _, whole, _ = await http("GET", "/v1/AvailableAddOns")
    sids = [item["sid"] for item in whole["available_add_ons"]]
    assert whole["meta"]["page_size"] == 50
    seen: list[str] = []
    path: str | None = "/v1/AvailableAddOns?PageSize=7"
    while path:
        _, page, _ = await http("GET", path)
        seen += [item["sid"] for item in page["available_add_ons"]]
        previous, path = path, (page["meta"]["next_page_url"] or "").removeprefix(http.emulator.url)
    assert seen == sids
    _, back, _ = await http(
        "GET", page["meta"]["previous_page_url"].removeprefix(http.emulator.url)
    )
    assert [item["sid"] for item in back["available_add_ons"]] == sids[7:14]
    assert "Page=2" in previous


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("PageSize=0", 400, 20007),
        ("PageSize=1001", 400, 20007),
        ("PageSize=x", 400, 20001),
        ("PageSize=-1", 400, 20001),
        ("Page=x", 400, 20001),
        ("Page=1", 400, 70002),
        ("PageToken=x", 400, 21481),
        (f"PageToken=PA{XE}", 400, 21481),
        (f"PageToken=PB{XE}", 400, 21481),
        ("PageSize=", 200, None),
        ("PageSize=1000", 200, None),
        ("Page=0", 200, None),
        ("Unknown=1", 200, None),
    ],
)
@pytest.mark.parametrize("path", ["/v1/InstalledAddOns", "/v1/AvailableAddOns"])
async def test_paging_parameters_are_validated(
    http: Http, path: str, query: str, status: int, code: int | None
) -> None:
    actual, body, _ = await http("GET", f"{path}?{query}")
    assert (actual, body.get("code")) == (status, code)


async def test_a_page_token_of_another_account_is_invalid(http: Http) -> None:
    sids = http.emulator.install("AC" + "2" * 32, SPAM_SCORE, times=2)
    status, body, _ = await http("GET", f"/v1/InstalledAddOns?PageToken=PA{sids[0]}")
    assert (status, body["code"]) == (400, 21481)


async def test_deleted_records_are_forgotten_and_no_page_skips_a_record(
    http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_MAX_DELETED", 2)
    sids = http.emulator.install(AC, SPAM_SCORE, times=6)
    _, page, _ = await http("GET", "/v1/InstalledAddOns?PageSize=6")
    assert page["meta"]["next_page_url"] is None
    # The newest go first: their numbers must not be given again.
    for sid in reversed(sids):
        await http("DELETE", f"/v1/InstalledAddOns/{sid}")
    (new,) = http.emulator.install(AC, SPAM_SCORE)
    statuses = {}
    for sid in sids:
        path = f"/v1/InstalledAddOns?PageSize=6&Page=1&PageToken=PA{sid}"
        statuses[sid], page, _ = await http("GET", path)
        if statuses[sid] == 200:
            assert [item["sid"] for item in page["installed_add_ons"]] == [new]
    assert [sid for sid, status in statuses.items() if status == 200] == [*sids[:2], sids[-1]]
    assert set(statuses.values()) == {200, 400}
