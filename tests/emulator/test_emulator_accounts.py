"""The emulator's accounts, over plain HTTP."""

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


class Http:
    """Sends requests to one emulator, as any account."""

    def __init__(self, session: aiohttp.ClientSession, emulator: Emulator) -> None:
        self._session = session
        self.emulator = emulator

    async def __call__(
        self, method: str, path: str, user: str = PARENT, secret: str = "x", **options: Any
    ) -> tuple[int, Any]:
        basic = "Basic " + b64encode(f"{user}:{secret}".encode()).decode()
        async with self._session.request(
            method, self.emulator.url + path, headers={"Authorization": basic}, **options
        ) as response:
            return response.status, await response.json()


@pytest.fixture
async def http(marketplace_emulator: Emulator) -> AsyncIterator[Http]:
    async with aiohttp.ClientSession() as session:
        yield Http(session, marketplace_emulator)


def path_of(sid: str) -> str:
    return f"/2010-04-01/Accounts/{sid}.json"


async def test_a_new_account_is_a_parent_without_subaccounts(http: Http) -> None:
    status, page = await http("GET", ACCOUNTS)
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
    assert (await http("GET", path_of(PARENT)))[1] == account


async def test_a_created_subaccount_authenticates_with_its_own_token_only(http: Http) -> None:
    status, created = await http("POST", ACCOUNTS, data={"FriendlyName": "Shop"})
    assert status == 201
    assert (created["friendly_name"], created["owner_account_sid"]) == ("Shop", PARENT)
    sid, token = created["sid"], created["auth_token"]
    key, app = f"SK{sid[2:]}", f"OQ{sid[2:]}"
    for user, secret, expected in (
        (sid, token, 200),
        (sid, "x", 401),
        (key, token, 200),
        (key, "x", 401),
    ):
        assert (await http("GET", "/v1/InstalledAddOns", user, secret))[0] == expected
    grant = {"grant_type": "client_credentials", "client_id": app}
    for secret, expected in ((token, 200), ("x", 401)):
        response = await http("POST", "/v2/token", data={**grant, "client_secret": secret})
        assert response[0] == expected
    _, page = await http("GET", ACCOUNTS)
    assert [one["sid"] for one in page["accounts"]] == [PARENT, sid]
    assert (await http("GET", path_of(sid)))[1] == created


async def test_a_subaccount_without_a_name_is_named_after_the_time(http: Http) -> None:
    _, created = await http("POST", ACCOUNTS)
    assert created["friendly_name"].startswith("SubAccount Created at 20")
    assert parsedate_to_datetime(created["date_created"]).tzinfo is not None


async def test_a_subaccount_sees_only_itself_and_cannot_have_subaccounts(http: Http) -> None:
    (one, token), (other, _) = http.emulator.add_subaccounts(PARENT, 2)
    _, page = await http("GET", ACCOUNTS, one, token)
    assert [account["sid"] for account in page["accounts"]] == [one]
    assert (await http("GET", path_of(one), one, token))[0] == 200
    assert (await http("POST", ACCOUNTS, one, token))[1]["code"] == 20403
    for sid in (other, PARENT, STRANGER, "nonsense"):
        assert (await http("GET", path_of(sid), one, token))[0] == 404


async def test_an_account_of_another_parent_is_not_found(http: Http) -> None:
    ((sid, _),) = http.emulator.add_subaccounts(PARENT)
    for method in ("GET", "POST"):
        status, body = await http(method, path_of(sid), STRANGER)
        assert (status, body["code"]) == (404, 20404)
        assert body["message"] == f"The requested resource {path_of(sid)} was not found"
    assert (await http("GET", path_of(STRANGER)))[0] == 404


async def test_suspended_and_closed_accounts_are_rejected_everywhere(http: Http) -> None:
    ((sid, token),) = http.emulator.add_subaccounts(PARENT)
    bearer = {"grant_type": "client_credentials", "client_id": f"OQ{sid[2:]}"}
    for new_status in ("suspended", "closed"):
        status, changed = await http("POST", path_of(sid), data={"Status": new_status})
        assert (status, changed["status"]) == (200, new_status)
        for path in ("/v1/AvailableAddOns", "/v1/InstalledAddOns", ACCOUNTS, "/nowhere"):
            assert await http("GET", path, sid, token) == (
                403,
                {
                    "code": 20403,
                    "message": f"The account is {new_status}",
                    "more_info": "https://www.twilio.com/docs/errors/20403",
                    "status": 403,
                },
            )
        response = await http("POST", "/v2/token", data={**bearer, "client_secret": token})
        assert response[0] == 403
        assert (await http("GET", "/v1/AvailableAddOns", sid, "wrong"))[0] == 401


async def test_an_access_token_stops_working_when_its_account_is_suspended(http: Http) -> None:
    ((sid, token),) = http.emulator.add_subaccounts(PARENT)
    grant = {"grant_type": "client_credentials", "client_id": f"OQ{sid[2:]}"}
    _, issued = await http("POST", "/v2/token", data={**grant, "client_secret": token})
    headers = {"Authorization": f"Bearer {issued['access_token']}"}
    async with aiohttp.ClientSession(http.emulator.url, headers=headers) as session:
        for new_status, expected in (("active", 200), ("suspended", 403), ("active", 200)):
            await http("POST", path_of(sid), data={"Status": new_status})
            async with session.get("/v1/InstalledAddOns") as response:
                assert response.status == expected


async def test_a_closed_account_cannot_be_reopened(http: Http) -> None:
    ((sid, _),) = http.emulator.add_subaccounts(PARENT, status="closed")
    for new_status in ("active", "suspended"):
        status, body = await http("POST", path_of(sid), data={"Status": new_status})
        assert (status, body["message"]) == (400, f"Account {sid} is closed and cannot be reopened")
    assert (await http("POST", path_of(sid), data={"Status": "closed"}))[0] == 200


async def test_a_parent_can_change_its_name_but_not_its_status(http: Http) -> None:
    _, renamed = await http("POST", path_of(PARENT), data={"FriendlyName": "Head"})
    assert renamed["friendly_name"] == "Head"
    for path, fields, status in (
        (path_of(PARENT), {"Status": "closed"}, 403),
        (path_of(PARENT), {"Status": "gone"}, 400),
        (path_of(PARENT), {"FriendlyName": "x" * 65}, 400),
        (ACCOUNTS, {"FriendlyName": "x" * 65}, 400),
    ):
        assert (await http("POST", path, data=fields))[0] == status
    assert (await http("GET", path_of(PARENT)))[1]["friendly_name"] == "Head"
    assert (await http("DELETE", path_of(PARENT)))[0] == 405


async def test_accounts_are_filtered_and_the_links_keep_the_filters(http: Http) -> None:
    http.emulator.add_subaccounts(PARENT, 3, friendly_name="Even & odd", status="suspended")
    http.emulator.add_subaccounts(PARENT, 2)
    query = "?FriendlyName=Even+%26+odd&Status=suspended&PageSize=2"
    _, page = await http("GET", ACCOUNTS + query)
    assert len(page["accounts"]) == 2
    assert page["uri"] == f"{ACCOUNTS}{query}&Page=0"
    assert page["next_page_uri"].startswith(f"{ACCOUNTS}{query}&Page=1&PageToken=PAAC")
    _, following = await http("GET", page["next_page_uri"])
    assert [one["status"] for one in following["accounts"]] == ["suspended"]
    assert following["next_page_uri"] is None
    assert (following["start"], following["end"]) == (2, 2)
    assert (await http("GET", following["previous_page_uri"]))[1]["accounts"] == page["accounts"]
    for query, count in (("Status=active", 3), ("FriendlyName=Subaccount+2", 1), ("Status=", 6)):
        assert len((await http("GET", f"{ACCOUNTS}?{query}"))[1]["accounts"]) == count
    for query in ("Status=gone", "PageSize=1001", "Page=1", "PageToken=PA" + STRANGER):
        assert (await http("GET", f"{ACCOUNTS}?{query}"))[0] == 400


async def test_a_page_token_stays_valid_when_its_account_leaves_the_filter(http: Http) -> None:
    http.emulator.add_subaccounts(PARENT, 4)
    _, page = await http("GET", f"{ACCOUNTS}?Status=active&PageSize=2")
    await http("POST", path_of(page["accounts"][-1]["sid"]), data={"Status": "suspended"})
    _, following = await http("GET", page["next_page_uri"])
    assert [one["friendly_name"] for one in following["accounts"]] == [
        "Subaccount 2",
        "Subaccount 3",
    ]


async def test_subaccounts_of_configured_accounts_are_authenticated() -> None:
    key = "SK" + "2" * 32
    async with (
        Emulator(accounts={PARENT: "secret", key: "key-secret"}) as emulator,
        aiohttp.ClientSession() as session,
    ):
        http = Http(session, emulator)
        assert (await http("GET", ACCOUNTS, PARENT, "wrong"))[0] == 401
        _, page = await http("GET", ACCOUNTS, PARENT, "secret")
        assert page["accounts"][0]["auth_token"] == "secret"
        _, created = await http("POST", ACCOUNTS, PARENT, "secret")
        assert (await http("GET", ACCOUNTS, created["sid"], created["auth_token"]))[0] == 200
        assert (await http("GET", ACCOUNTS, created["sid"], "secret"))[0] == 401
        # A parent that is configured only by its key gets an auth token when it is listed.
        _, page = await http("GET", ACCOUNTS, key, "key-secret")
        (parent,) = page["accounts"]
        assert (await http("GET", ACCOUNTS, parent["sid"], parent["auth_token"]))[0] == 200
        assert (await http("GET", ACCOUNTS, parent["sid"], "key-secret"))[0] == 401


async def test_accounts_survive_a_restart(tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as session:
        async with Emulator(db=tmp_path / "db") as emulator:
            ((sid, token),) = emulator.add_subaccounts(PARENT)
            emulator.install(sid, SPAM_SCORE)
        async with Emulator(db=tmp_path / "db") as emulator:
            http = Http(session, emulator)
            _, page = await http("GET", "/v1/InstalledAddOns", sid, token)
            assert len(page["installed_add_ons"]) == 1
            assert (await http("GET", "/v1/InstalledAddOns", sid, "x"))[0] == 401


async def test_twenty_thousand_subaccounts_are_created_at_once(http: Http) -> None:
    created = http.emulator.add_subaccounts(PARENT, 20_000, friendly_name="Shop {number}")
    assert len({sid for sid, _ in created}) == len({token for _, token in created}) == 20_000
    names, link = [], f"{ACCOUNTS}?PageSize=1000"
    while link:
        _, page = await http("GET", link)
        names += [one["friendly_name"] for one in page["accounts"]]
        link = page["next_page_uri"]
    assert names == [PARENT, *(f"Shop {number}" for number in range(1, 20_001))]


async def test_invalid_arguments_create_no_subaccounts(http: Http) -> None:
    ((sid, _),) = http.emulator.add_subaccounts(PARENT)
    for owner, status, message in (
        ("me", "active", "owner_account_sid: must be AC and 32 hex digits, got 'me'"),
        (PARENT, "gone", "status: must be one of"),
        (sid, "active", "A subaccount cannot have subaccounts"),
    ):
        with pytest.raises(ValueError, match=message):
            http.emulator.add_subaccounts(owner, status=status)
    assert len((await http("GET", ACCOUNTS))[1]["accounts"]) == 2
    with pytest.raises(RuntimeError, match="not running"):
        Emulator().add_subaccounts(PARENT)


async def test_subaccounts_have_separate_limits_and_the_api_host() -> None:
    async with (
        Emulator(concurrency=1, latency=0.1) as emulator,
        aiohttp.ClientSession() as session,
    ):
        http = Http(session, emulator)
        subaccounts = emulator.add_subaccounts(PARENT, 3)
        responses = await asyncio.gather(
            *(http("GET", "/v1/InstalledAddOns", *one) for one in subaccounts),
            *(http("GET", ACCOUNTS) for _ in range(2)),
        )
        assert sorted(status for status, _ in responses) == [200, 200, 200, 200, 429]
        async with session.get(emulator.url + ACCOUNTS) as response:
            assert response.headers["X-Api-Domain"] == "api.twilio.com"
