"""If the service sends an odd response for one account, only that account fails."""

import base64
import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web
from support.fleet import SPAM_SCORE, lines

from marketplace_async import (
    AccountToken,
    InstalledAddOn,
    InstalledAddOnExtension,
    MarketplaceClient,
    Retry,
    UnreadableFieldError,
    fleet,
)
from marketplace_async.emulator import Emulator
from marketplace_async.fleet.desired import Wanted
from marketplace_async.fleet.digests import Digests
from marketplace_async.fleet.steps import Observed, steps_for

GOOD, ODD = "AC" + "1" * 32, "AC" + "2" * 32
XE, XF = "XE" + "1" * 32, "XF" + "1" * 32
DESIRED = f"""
[[add_ons]]
unique_name = "spam"
available_add_on_sid = "{SPAM_SCORE}"
accept_terms_of_service = true
accounts = "all"
configuration = {{ threshold = 1 }}
"""


class Odd:
    """A service whose responses about the account ODD can be changed."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.url = ""
        self.writes: Counter[str] = Counter()
        self.change: Callable[[dict[str, Any]], dict[str, Any]] = lambda document: document
        self.page: Callable[[dict[str, Any]], dict[str, Any]] = lambda page: page
        self.reply: Callable[[dict[str, Any]], Any] = lambda document: document
        self.configurations = {GOOD: {"threshold": 0}, ODD: {"threshold": 0}}

    @property
    def source(self) -> fleet.AccountsFile:
        self.file.touch(mode=0o600)
        self.file.write_text(f"account_sid,auth_token\n{GOOD},x\n{ODD},x\n")
        return fleet.AccountsFile(
            self.file, {"base_url": self.url, "retry": Retry(attempts=2, initial_backoff=0.001)}
        )

    def document(self, sid: str) -> dict[str, Any]:
        return {
            "sid": f"XE{sid[2:]}",
            "account_sid": sid,
            "friendly_name": "Spam Score",
            "description": "Scores spam",
            "configuration": self.configurations[sid],
            "unique_name": "spam",
            "date_created": "2016-04-07T23:52:28Z",
            "date_updated": "2016-04-07T23:52:28Z",
            "url": "https://x.example",
            "links": {"available_add_on": f"https://x.example/v1/AvailableAddOns/{SPAM_SCORE}"},
        }

    async def handle(self, request: web.Request) -> web.Response:
        sid = base64.b64decode(request.headers["Authorization"][6:]).decode().partition(":")[0]
        odd = sid == ODD
        if "AvailableAddOns" in request.path:
            add_on = {"sid": SPAM_SCORE, "configuration_schema": None}
            return web.json_response(add_on)
        if request.method == "POST":
            self.writes[sid] += 1
            form = parse_qs(await request.text())
            self.configurations[sid] = json.loads(form["Configuration"][0])
            document = self.document(sid)
            return web.json_response(self.reply(document) if odd else document)
        document = self.change(self.document(sid)) if odd else self.document(sid)
        meta = {"key": "installed_add_ons", "next_page_url": None}
        page = {"installed_add_ons": [document], "meta": meta}
        return web.json_response(self.page(page) if odd else page)


@pytest.fixture
async def odd(tmp_path: Path) -> AsyncIterator[Odd]:
    service = Odd(tmp_path / "accounts.csv")
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", service.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    service.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield service
    finally:
        await runner.cleanup()


def without(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda document: {key: value for key, value in document.items() if key != name}


async def apply(odd: Odd, folder: Path) -> tuple[fleet.ApplyReport, list[Any]]:
    """Apply the desired state. Return the report, and the failures as (account, error, message)."""
    journal = folder / "journal"
    report = await fleet.apply(
        odd.source, fleet.parse(DESIRED), journal=journal, approve=lambda _: True
    )
    failures = report.failures.first
    return report, [(one.account_sid, one.error, one.message) for one in failures]


@pytest.mark.parametrize("name", ["unique_name", "configuration", "links", "account_sid"])
async def test_an_account_whose_state_is_unknown_is_reported_and_left_unchanged(
    odd: Odd, tmp_path: Path, name: str
) -> None:
    odd.change = without(name)
    report, failures = await apply(odd, tmp_path)
    ((account, error, message),) = failures
    assert (account, error) == (ODD, "UnreadableFieldError")
    assert f"readable {name}," in message
    assert odd.writes == {GOOD: 1}
    assert report.writes == {"done": 1}


async def test_an_account_whose_list_may_go_on_is_reported_by_every_job(
    odd: Odd, tmp_path: Path
) -> None:
    odd.page = without("meta")
    _, failures = await apply(odd, tmp_path)
    assert [(account, error) for account, error, _ in failures] == [(ODD, "IncompleteListError")]
    assert odd.writes == {GOOD: 1}
    inventory = await fleet.inventory(odd.source, tmp_path / "all.jsonl")
    assert (inventory.records, inventory.failures.count) == (1, 1)


async def test_an_odd_field_costs_an_inventory_only_itself(odd: Odd, tmp_path: Path) -> None:
    odd.change = lambda document: {**document, "configuration": "text", "date_created": ""}
    inventory = await fleet.inventory(odd.source, tmp_path / "all.jsonl")
    assert (inventory.records, inventory.failures.count) == (2, 0)
    records = {one["account_sid"]: one for one in lines(tmp_path / "all.jsonl")}
    assert records[ODD]["configuration"] is None
    assert records[ODD]["date_created"] is None
    odd.change = without("account_sid")
    await fleet.inventory(odd.source, tmp_path / "all.jsonl", overwrite=True)
    assert {one["account_sid"] for one in lines(tmp_path / "all.jsonl")} == {GOOD, ODD}


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (lambda _: [], "UnusableResponseError"),
        (lambda document: {**document, "sid": "XE" + "9" * 32}, "UnusableResponseError"),
        (lambda document: {**document, "unique_name": "renamed"}, "NotEnsuredError"),
        (without("configuration"), "NotEnsuredError"),
    ],
)
async def test_a_write_that_was_accepted_and_not_confirmed_is_neither_done_nor_failed(
    odd: Odd, tmp_path: Path, reply: Callable[[dict[str, Any]], Any], error: str
) -> None:
    odd.reply = reply
    report, failures = await apply(odd, tmp_path)
    assert report.writes == {"done": 1, "unknown": 1}
    assert [(account, name) for account, name, _ in failures] == [(ODD, error)]
    assert odd.writes == {GOOD: 1, ODD: 1}


async def test_credentials_of_another_account_are_noticed_before_anything_is_changed(
    marketplace_emulator: Emulator, tmp_path: Path
) -> None:
    key = "SK" + "2" * 32  # the emulator's key of the account ODD
    file = tmp_path / "accounts.csv"
    file.touch(mode=0o600)
    file.write_text(f"account_sid,api_key,api_secret\n{GOOD},{key},x\n")
    source = fleet.AccountsFile(file, {"base_url": marketplace_emulator.url})
    url = marketplace_emulator.url
    async with MarketplaceClient(AccountToken(ODD, "x"), base_url=url) as client:
        await client.installed_add_ons.create(
            available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True, unique_name="spam"
        )
        before = await client.installed_add_ons.list().collect()
        for state in ("", 'state = "absent"\n'):
            desired = fleet.parse(
                f'[[add_ons]]\nunique_name = "spam"\n{state}accounts = "all"\n'
                + ("" if state else f'available_add_on_sid = "{SPAM_SCORE}"\n')
                + ("" if state else "accept_terms_of_service = true\n")
            )
            report = await fleet.apply(
                source, desired, journal=tmp_path / "journal", approve=lambda _: True
            )
            assert not report.writes
            (failure,) = report.failures.first
            assert failure.error == "CredentialsError"
            assert ODD in failure.message
        inventory = await fleet.inventory(source, tmp_path / "all.jsonl")
        assert (inventory.records, inventory.failures.count) == (0, 1)
        assert await client.installed_add_ons.list().collect() == before
    with closing(sqlite3.connect(tmp_path / "journal")) as journal:
        assert journal.execute("SELECT count(*) FROM writes").fetchone() == (0,)


# -- steps


WANTED = Wanted(
    path="add_ons[0]",
    unique_name="spam",
    state="present",
    available_add_on_sid=SPAM_SCORE,
    extensions={"voice": True},
)
INSTALLED = InstalledAddOn(
    sid=XE, unique_name="spam", links={"available_add_on": f"/v1/AvailableAddOns/{SPAM_SCORE}"}
)


def test_an_extension_whose_state_is_unknown_is_not_switched() -> None:
    extension = InstalledAddOnExtension(sid=XF, unique_name="voice", enabled=None)
    with pytest.raises(UnreadableFieldError, match=f"{XF}: .* enabled"):
        steps_for(
            [WANTED], Observed((INSTALLED,), extensions={XE: (extension,)}), (), Digests(None)
        )


def test_a_target_whose_name_is_unknown_is_not_selected_by_name() -> None:
    fleet.Target(GOOD, "One").check_name()
    with pytest.raises(UnreadableFieldError, match=f"{GOOD}: .* friendly_name"):
        fleet.Target(GOOD, None, ("friendly_name",)).check_name()
