"""Usage reports to the emulator, over plain HTTP."""

from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from support.plain_http import AC, BI, SPAM_SCORE, Http, basic, report, restricted

from marketplace_async.emulator import Emulator


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"billable_items=1", "Invalid request body"),
        (b"{}", "missing required field `billable_items`"),
        (b'{"billable_items":[]}', "Missing required parameter billable_items"),
        (b'{"billable_items":[{"quantity":1}]}', "missing required field `sid`"),
        (b'{"billable_items":[{"sid":"BI1","quantity":1}]}', "must be BI and 32 hex digits"),
        (f'{{"billable_items":[{{"sid":"{BI}"}}]}}'.encode(), "missing required field `quantity`"),
        (f'{{"billable_items":[{{"sid":"{BI}","quantity":null}}]}}'.encode(), "got `null`"),
        (f'{{"billable_items":[{{"sid":"{BI}","quantity":""}}]}}'.encode(), "Invalid request body"),
        (f'{{"billable_items":[{{"sid":"{BI}","quantity":0}}]}}'.encode(), "greater than 0"),
        (f'{{"billable_items":[{{"sid":"{BI}","quantity":-1}}]}}'.encode(), "greater than 0"),
        (f'{{"billable_items":[{{"sid":"{BI}","quantity":"NaN"}}]}}'.encode(), "greater than 0"),
        (f'{{"billable_items":[{{"sid":"{BI}","quantity":9e999999}}]}}'.encode(), "out of range"),
    ],
)
async def test_an_invalid_usage_report_is_a_bad_request_and_bills_nothing(
    http: Http, data: bytes, message: str
) -> None:
    (sid,) = http.emulator.install(AC, SPAM_SCORE)
    status, body, _ = await http(
        "POST",
        f"/v1/InstalledAddOns/{sid}/Usage",
        data=data,
        headers={"Content-Type": "application/json"},
    )
    assert (status, body["code"]) == (400, 20001)
    assert message in body["message"]
    assert http.emulator.usage() == []


async def test_usage_is_summed_exactly(http: Http) -> None:
    (sid,) = http.emulator.install(AC, SPAM_SCORE)
    quantity = "1.000000000000000000000000000001"
    body = f'{{"billable_items":[{{"sid":"{BI}","quantity":{quantity}}}]}}'
    async with aiohttp.ClientSession(headers=basic()) as session:
        url = f"{http.emulator.url}/v1/InstalledAddOns/{sid}/Usage"
        async with session.post(url, data=body) as response:
            assert f'"total_submitted":{quantity},' in await response.text()


async def test_a_failed_usage_report_is_rolled_back(
    http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sid,) = http.emulator.install(AC, SPAM_SCORE)
    with monkeypatch.context() as broken:
        broken.setattr("marketplace_async.emulator.store.str", lambda _: object(), raising=False)
        assert (await report(http.emulator, sid))[0] == 500
    assert (await report(http.emulator, sid))[0] == 202
    assert len(http.emulator.usage()) == 2


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({}, 202, None),
        ({"partner_account_sid": AC}, 202, None),
        ({"partner_account_sid": "AC" + "9" * 32}, 403, "not the partner"),
        ({"manual_usage": False}, 403, "not set up for manual usage"),
        ({"stage": "private_beta"}, 202, None),
        ({"stage": "coming_soon"}, 403, "not in Marketing Preview, Private Beta or Active"),
    ],
)
async def test_the_catalogue_defines_which_accounts_may_report_usage(
    changes: Any, status: int, message: str | None
) -> None:
    async with Emulator(catalogue=restricted(**changes)) as emulator:
        (sid,) = emulator.install(AC, "XB" + "c" * 32)
        actual, body = await report(emulator, sid)
        assert actual == status
        assert message is None or message in body["message"]
        assert len(emulator.usage()) == (2 if status == 202 else 0)


async def test_a_partner_reports_usage_for_the_installations_of_its_customers() -> None:
    partner = "AC" + "9" * 32
    async with Emulator(catalogue=restricted(partner_account_sid=partner)) as emulator:
        (sid,) = emulator.install(AC, "XB" + "c" * 32)
        assert (await report(emulator, sid, partner))[0] == 202
        assert [item.account_sid for item in emulator.usage()] == [partner, partner]


async def test_an_unknown_billing_item_does_not_affect_the_others() -> None:
    async with Emulator(catalogue=restricted(billing_items=(BI,))) as emulator:
        (sid,) = emulator.install(AC, "XB" + "c" * 32)
        status, body = await report(emulator, sid)
        assert status == 202
        assert [item["submitted"] for item in body["billable_items"]] == [True, False]
        assert body["total_submitted"] == 1.5
        assert [item.quantity for item in emulator.usage()] == [Decimal("1.5")]
