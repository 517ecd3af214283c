"""The HTML pages of inventories and plans, as jobs write them, against an emulator."""

import asyncio
import functools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.fleet import PARENT, SPAM_SCORE, Fleet, StopAtOnce
from support.fleet_workers import connect

from marketplace_async import fleet
from marketplace_async.emulator import Emulator
from marketplace_async.fleet import JobError
from marketplace_async.testing import account

END = "</script><img src=x onerror=alert(1)><!--<script>"


def values(page: Path) -> list[dict[str, Any]]:
    """Return the JSON values in a page."""
    _, _, data = page.read_text().partition('<script type="application/json" id="data">\n')
    return [json.loads(line) for line in data.splitlines()]


async def test_a_page_of_the_inventory_contains_every_account_and_add_on(
    shops: Fleet, tmp_path: Path
) -> None:
    page, other = tmp_path / "fleet.html", tmp_path / "fleet.jsonl"
    report = await fleet.inventory(shops.source, page, extensions=True, secret=["callback_url"])
    await fleet.inventory(shops.source, other, extensions=True, secret=["callback_url"])
    assert (report.records, report.complete) == (40, True)
    found = values(page)
    assert {"finished": PARENT} in found
    records = [one for one in found if "finished" not in one]
    expected = [json.loads(line) for line in other.read_text().splitlines()]
    assert sorted(records, key=lambda one: one["sid"]) == sorted(expected, key=lambda o: o["sid"])
    assert all(one["configuration"] == {"callback_url": "***"} for one in records)
    assert page.stat().st_mode & 0o777 == 0o600


async def test_nothing_in_a_name_ends_the_data_of_a_page(
    marketplace_emulator: Emulator, tmp_path: Path
) -> None:
    shops = marketplace_emulator.add_subaccounts(PARENT, 2, friendly_name=END + "{number}")
    for sid, _ in shops:
        marketplace_emulator.install(sid, SPAM_SCORE, unique_name="<b>" + sid[-4:])
    source = fleet.Subaccounts(functools.partial(connect, marketplace_emulator.url))
    page = tmp_path / "fleet.html"
    await fleet.inventory(source, page)
    _, _, data = page.read_text().partition('id="data">\n')
    assert "<" not in data
    names = {one.get("account_friendly_name") for one in values(page)}
    assert names >= {END + "1", END + "2"}


def test_a_page_permits_no_request_and_no_script_but_its_own(tmp_path: Path) -> None:
    page = tmp_path / "fleet.html"
    output = fleet.Html(page)
    output.begin()
    output.close()
    text = page.read_text()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert not re.search(r"\b(?:src|href)=|url\(|@import|fetch\(|innerHTML|https?://", text)
    assert "{{" not in text


async def test_a_page_is_resumed_and_a_failure_is_retried(tmp_path: Path) -> None:
    accounts = {account(number).account_sid: "made-up" for number in range(1, 8)}
    good = dict(accounts)
    accounts[account(3).account_sid] = "another token"
    rows = "".join(f"{sid},made-up\n" for sid in good)
    listed = tmp_path / "accounts.csv"
    listed.write_text("account_sid,auth_token\n" + rows)
    listed.chmod(0o600)
    page = tmp_path / "fleet.html"
    async with Emulator(accounts=accounts) as emulator:
        for sid in accounts:
            emulator.install(sid, SPAM_SCORE)
        source = fleet.AccountsFile(listed, {"base_url": emulator.url})
        report = await fleet.inventory(source, page)
        (failure,) = (one["failure"] for one in values(page) if "failure" in one)
        assert (report.failures.count, failure["error"]) == (1, "AuthenticationError")
        accounts[account(3).account_sid] = "made-up"
        report = await fleet.inventory(source, page, resume=True)
    assert (report.failures.count, report.records) == (0, 7)
    found = values(page)
    assert not [one for one in found if "failure" in one]
    assert {one["account_sid"] for one in found if "sid" in one} == set(accounts)
    with pytest.raises(JobError, match="already exists"):
        await fleet.inventory(source, page)


async def test_a_page_of_a_plan_also_shows_what_is_as_desired(shops: Fleet, tmp_path: Path) -> None:
    page = tmp_path / "plan.html"
    report = await fleet.plan(shops.source, shops.desired, to=page)
    found = [one for one in values(page) if "steps" in one]
    assert (report.steps, sum(len(one["steps"]) for one in found)) == (151, 151)
    assert "very-secret" not in page.read_text()
    journal = tmp_path / "fleet.journal"
    await fleet.apply(shops.source, shops.desired, journal=journal, approve=lambda _: True)
    report = await fleet.plan(shops.source, shops.desired, to=page, overwrite=True)
    assert report.steps == 0
    found = [one for one in values(page) if "steps" in one]
    assert len(found) == 41
    assert all("spam-score" in one["compared"] for one in found)


async def test_a_plan_that_was_stopped_continues_in_its_page(shops: Fleet, tmp_path: Path) -> None:
    page = tmp_path / "plan.html"
    stop = asyncio.Event()
    first = await fleet.plan(
        shops.source, shops.desired, to=page, stop=stop, progress=StopAtOnce(stop)
    )
    report = await fleet.plan(shops.source, shops.desired, to=page, resume=True)
    assert not first.complete
    assert (report.complete, report.steps, report.to_change) == (True, 151, 41)
    assert len({one["account_sid"] for one in values(page) if "steps" in one}) == 41
