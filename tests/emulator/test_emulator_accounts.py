"""Accounts of the emulator on the wire, asked by plain aiohttp without the client."""

import asyncio
import re
from base64 import b64encode
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from marketplace_async.emulator import Emulator

PARENT = "AC" + "1" * 32
STRANGER = "AC" + "2" * 32
ACCOUNTS = "/2010-04-01/Accounts.json"
SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"


class Wire:
    """Plain HTTP to one emulator, as any account."""

    def __init__(self, session: aiohttp.ClientSession, emulator: Emulator) -> None:
        self._session = session
        self.emulator = emulator

    async def __call__(
        self, method: str, path: str, user: str = PARENT, secret: str = "x", **options: Any
    ) -> tuple[int, Any]:
        basic = "Basic " + b64encode(f"{user}:{secret}".encode()).decode()
        async with self._session.request(
            method, self.emulator.url + path, headers={"Authorization": basic}, **options
        ) as answer:
            return answer.status, await answer.json()


@pytest.fixture
async def wire(marketplace_emulator: Emulator) -> AsyncIterator[Wire]:
    async with aiohttp.ClientSession() as session:
        yield Wire(session, marketplace_emulator)


def path_of(sid: str) -> str:
    return f"/2010-04-01/Accounts/{sid}.json"


async def test_whoever_asks_is_a_parent_without_subaccounts(wire: Wire) -> None:
    status, page = await wire("GET", ACCOUNTS)
    (account,) = page.pop("accounts")
    assert status == 200
    assert page == {
        "page": 0,
        "page_size": 50,
        "start": 0,
        "end": 0,
        "uri": f"{ACCOUNTS}?PageSize=50&Page=0",
        "first_page_uri": f"{ACCOUNTS}?PageSize=50&Page=0",
        "previous_page_uri": None,
        "next_page_uri": None,
    }
    assert (account["sid"], account["owner_account_sid"]) == (PARENT, PARENT)
    assert (account["status"], account["type"]) == ("active", "Full")
    assert account["uri"] == path_of(PARENT)
    assert account["subresource_uris"]["calls"] == f"/2010-04-01/Accounts/{PARENT}/Calls.json"
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000", account["date_created"])
    assert (await wire("GET", path_of(PARENT)))[1] == account


async def test_a_subaccount_is_made_and_let_in_with_its_own_token_only(wire: Wire) -> None:
    status, made = await wire("POST", ACCOUNTS, data={"FriendlyName": "Shop"})
    assert status == 201
    assert (made["friendly_name"], made["owner_account_sid"]) == ("Shop", PARENT)
    sid, token = made["sid"], made["auth_token"]
    key, app = f"SK{sid[2:]}", f"OQ{sid[2:]}"
    for user, secret, expected in (
        (sid, token, 200),
        (sid, "x", 401),
        (key, token, 200),
        (key, "x", 401),
    ):
        assert (await wire("GET", "/v1/InstalledAddOns", user, secret))[0] == expected
    grant = {"grant_type": "client_credentials", "client_id": app}
    for secret, expected in ((token, 200), ("x", 401)):
        got = await wire("POST", "/v2/token", data={**grant, "client_secret": secret})
        assert got[0] == expected
    _, page = await wire("GET", ACCOUNTS)
    assert [one["sid"] for one in page["accounts"]] == [PARENT, sid]
    assert (await wire("GET", path_of(sid)))[1] == made


async def test_without_a_name_it_is_called_after_the_time(wire: Wire) -> None:
    _, made = await wire("POST", ACCOUNTS)
    assert made["friendly_name"].startswith("SubAccount Created at 20")
    assert parsedate_to_datetime(made["date_created"]).tzinfo is not None


async def test_a_subaccount_sees_itself_alone_and_has_none_of_its_own(wire: Wire) -> None:
    (one, token), (other, _) = wire.emulator.add_subaccounts(PARENT, 2)
    _, page = await wire("GET", ACCOUNTS, one, token)
    assert [account["sid"] for account in page["accounts"]] == [one]
    assert (await wire("GET", path_of(one), one, token))[0] == 200
    assert (await wire("POST", ACCOUNTS, one, token))[1]["code"] == 20403
    for sid in (other, PARENT, STRANGER, "nonsense"):
        assert (await wire("GET", path_of(sid), one, token))[0] == 404


async def test_another_accounts_account_is_not_found(wire: Wire) -> None:
    ((sid, _),) = wire.emulator.add_subaccounts(PARENT)
    for method in ("GET", "POST"):
        status, body = await wire(method, path_of(sid), STRANGER)
        assert (status, body["code"]) == (404, 20404)
        assert body["message"] == f"The requested resource {path_of(sid)} was not found"
    assert (await wire("GET", path_of(STRANGER)))[0] == 404


async def test_suspended_and_closed_accounts_are_refused_wherever_they_ask(wire: Wire) -> None:
    ((sid, token),) = wire.emulator.add_subaccounts(PARENT)
    bearer = {"grant_type": "client_credentials", "client_id": f"OQ{sid[2:]}"}
    for wanted in ("suspended", "closed"):
        status, changed = await wire("POST", path_of(sid), data={"Status": wanted})
        assert (status, changed["status"]) == (200, wanted)
        for path in ("/v1/AvailableAddOns", "/v1/InstalledAddOns", ACCOUNTS, "/nowhere"):
            assert await wire("GET", path, sid, token) == (
                403,
                {
                    "code": 20403,
                    "message": f"The Account is {wanted}",
                    "more_info": "https://www.twilio.com/docs/errors/20403",
                    "status": 403,
                },
            )
        got = await wire("POST", "/v2/token", data={**bearer, "client_secret": token})
        assert got[0] == 403
        assert (await wire("GET", "/v1/AvailableAddOns", sid, "wrong"))[0] == 401


async def test_a_token_that_was_issued_before_does_not_outlive_a_suspension(wire: Wire) -> None:
    ((sid, token),) = wire.emulator.add_subaccounts(PARENT)
    grant = {"grant_type": "client_credentials", "client_id": f"OQ{sid[2:]}"}
    _, issued = await wire("POST", "/v2/token", data={**grant, "client_secret": token})
    headers = {"Authorization": f"Bearer {issued['access_token']}"}
    async with aiohttp.ClientSession(wire.emulator.url, headers=headers) as session:
        for wanted, expected in (("active", 200), ("suspended", 403), ("active", 200)):
            await wire("POST", path_of(sid), data={"Status": wanted})
            async with session.get("/v1/InstalledAddOns") as answer:
                assert answer.status == expected


async def test_closed_is_final(wire: Wire) -> None:
    ((sid, _),) = wire.emulator.add_subaccounts(PARENT, status="closed")
    for wanted in ("active", "suspended"):
        status, body = await wire("POST", path_of(sid), data={"Status": wanted})
        assert (status, body["message"]) == (400, f"The Account {sid} is closed, which is final")
    assert (await wire("POST", path_of(sid), data={"Status": "closed"}))[0] == 200


async def test_accounts_are_renamed_and_a_parent_keeps_its_status(wire: Wire) -> None:
    _, renamed = await wire("POST", path_of(PARENT), data={"FriendlyName": "Head"})
    assert renamed["friendly_name"] == "Head"
    for path, fields, status in (
        (path_of(PARENT), {"Status": "closed"}, 403),
        (path_of(PARENT), {"Status": "gone"}, 400),
        (path_of(PARENT), {"FriendlyName": "x" * 65}, 400),
        (ACCOUNTS, {"FriendlyName": "x" * 65}, 400),
    ):
        assert (await wire("POST", path, data=fields))[0] == status
    assert (await wire("GET", path_of(PARENT)))[1]["friendly_name"] == "Head"
    assert (await wire("DELETE", path_of(PARENT)))[0] == 405


async def test_accounts_are_filtered_and_the_links_keep_the_filters(wire: Wire) -> None:
    wire.emulator.add_subaccounts(PARENT, 3, friendly_name="Even & odd", status="suspended")
    wire.emulator.add_subaccounts(PARENT, 2)
    query = "?FriendlyName=Even+%26+odd&Status=suspended&PageSize=2"
    _, page = await wire("GET", ACCOUNTS + query)
    assert len(page["accounts"]) == 2
    assert page["uri"] == f"{ACCOUNTS}{query}&Page=0"
    assert page["next_page_uri"].startswith(f"{ACCOUNTS}{query}&Page=1&PageToken=PAAC")
    _, following = await wire("GET", page["next_page_uri"])
    assert [one["status"] for one in following["accounts"]] == ["suspended"]
    assert following["next_page_uri"] is None
    assert (following["start"], following["end"]) == (2, 2)
    assert (await wire("GET", following["previous_page_uri"]))[1]["accounts"] == page["accounts"]
    for query, count in (("Status=active", 3), ("FriendlyName=Subaccount+2", 1), ("Status=", 6)):
        assert len((await wire("GET", f"{ACCOUNTS}?{query}"))[1]["accounts"]) == count
    for query in ("Status=gone", "PageSize=1001", "Page=1", "PageToken=PA" + STRANGER):
        assert (await wire("GET", f"{ACCOUNTS}?{query}"))[0] == 400


async def test_a_page_token_outlives_that_its_account_drops_out_of_the_filter(wire: Wire) -> None:
    wire.emulator.add_subaccounts(PARENT, 4)
    _, page = await wire("GET", f"{ACCOUNTS}?Status=active&PageSize=2")
    await wire("POST", path_of(page["accounts"][-1]["sid"]), data={"Status": "suspended"})
    _, following = await wire("GET", page["next_page_uri"])
    assert [one["friendly_name"] for one in following["accounts"]] == [
        "Subaccount 2",
        "Subaccount 3",
    ]


async def test_with_accounts_given_what_they_make_is_let_in_too() -> None:
    key = "SK" + "2" * 32
    async with (
        Emulator(accounts={PARENT: "secret", key: "key-secret"}) as emulator,
        aiohttp.ClientSession() as session,
    ):
        wire = Wire(session, emulator)
        assert (await wire("GET", ACCOUNTS, PARENT, "wrong"))[0] == 401
        _, page = await wire("GET", ACCOUNTS, PARENT, "secret")
        assert page["accounts"][0]["auth_token"] == "secret"
        _, made = await wire("POST", ACCOUNTS, PARENT, "secret")
        assert (await wire("GET", ACCOUNTS, made["sid"], made["auth_token"]))[0] == 200
        assert (await wire("GET", ACCOUNTS, made["sid"], "secret"))[0] == 401
        # The parent that is known by its key only has a token, too, once it was listed.
        _, page = await wire("GET", ACCOUNTS, key, "key-secret")
        (parent,) = page["accounts"]
        assert (await wire("GET", ACCOUNTS, parent["sid"], parent["auth_token"]))[0] == 200
        assert (await wire("GET", ACCOUNTS, parent["sid"], "key-secret"))[0] == 401


async def test_accounts_survive_a_restart(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as session:
        async with Emulator(db=tmp_path / "db") as emulator:
            ((sid, token),) = emulator.add_subaccounts(PARENT)
            emulator.install(sid, SPAM_SCORE)
        async with Emulator(db=tmp_path / "db") as emulator:
            wire = Wire(session, emulator)
            _, page = await wire("GET", "/v1/InstalledAddOns", sid, token)
            assert len(page["installed_add_ons"]) == 1
            assert (await wire("GET", "/v1/InstalledAddOns", sid, "x"))[0] == 401


async def test_twenty_thousand_are_made_in_one_go(wire: Wire) -> None:
    made = wire.emulator.add_subaccounts(PARENT, 20_000, friendly_name="Shop {number}")
    assert len({sid for sid, _ in made}) == len({token for _, token in made}) == 20_000
    names, link = [], f"{ACCOUNTS}?PageSize=1000"
    while link:
        _, page = await wire("GET", link)
        names += [one["friendly_name"] for one in page["accounts"]]
        link = page["next_page_uri"]
    assert names == [PARENT, *(f"Shop {number}" for number in range(1, 20_001))]


async def test_what_makes_no_sense_is_refused_and_makes_nothing(wire: Wire) -> None:
    ((sid, _),) = wire.emulator.add_subaccounts(PARENT)
    for owner, status, message in (
        ("me", "active", "owner_account_sid: expected AC and 32 hex digits, got 'me'"),
        (PARENT, "gone", "status: expected one of"),
        (sid, "active", "A subaccount cannot have subaccounts"),
    ):
        with pytest.raises(ValueError, match=message):
            wire.emulator.add_subaccounts(owner, status=status)
    assert len((await wire("GET", ACCOUNTS))[1]["accounts"]) == 2
    with pytest.raises(RuntimeError, match="not running"):
        Emulator().add_subaccounts(PARENT)


async def test_subaccounts_have_slots_of_their_own_and_a_host_of_their_own() -> None:
    async with (
        Emulator(concurrency=1, latency=0.1) as emulator,
        aiohttp.ClientSession() as session,
    ):
        wire = Wire(session, emulator)
        made = emulator.add_subaccounts(PARENT, 3)
        answers = await asyncio.gather(
            *(wire("GET", "/v1/InstalledAddOns", *one) for one in made),
            *(wire("GET", ACCOUNTS) for _ in range(2)),
        )
        assert sorted(status for status, _ in answers) == [200, 200, 200, 200, 429]
        async with session.get(emulator.url + ACCOUNTS) as answer:
            assert answer.headers["X-Api-Domain"] == "api.twilio.com"
