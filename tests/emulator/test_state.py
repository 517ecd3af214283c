"""The state of an emulator as values, and the methods that set it up."""

from decimal import Decimal
from pathlib import Path

import aiohttp
import msgspec
import pytest
from support.plain_http import AC, BI, INSTALL, SPAM_SCORE, Http, report, send

from marketplace_async.emulator import AccountState, Emulator, State, UsageItem

EMPTY = State()
OTHER = "AC" + "2" * 32


async def test_the_state_holds_what_requests_and_methods_created(http: Http) -> None:
    emulator = http.emulator
    assert emulator.state() == EMPTY
    ((subaccount, _),) = emulator.add_subaccounts(AC, friendly_name="Shop")
    (sid,) = emulator.install(subaccount, SPAM_SCORE, unique_name="spam")
    emulator.enable(sid, "voice-incoming")
    _, requested, _ = await http("POST", "/v1/InstalledAddOns", data=INSTALL)
    await report(emulator, requested["sid"])
    _, listing, _ = await http("POST", "/v1/Listings", data={"ModuleInfo": '{"a": 1}'})
    state = emulator.state()
    assert state.accounts == (
        AccountState(AC, AC, AC, "active"),
        AccountState(subaccount, AC, "Shop", "active"),
    )
    assert [(each.sid, each.unique_name, each.configuration) for each in state.installations] == [
        (sid, "spam", {}),
        (requested["sid"], "nomorobo_spamscore", {}),
    ]
    assert [
        (each.installed_add_on_sid, each.unique_name, each.enabled) for each in state.extensions
    ] == [
        (sid, "lookup-api", False),
        (sid, "voice-incoming", True),
        (requested["sid"], "lookup-api", False),
        (requested["sid"], "voice-incoming", False),
    ]
    assert state.usage[0] == UsageItem(AC, requested["sid"], BI, Decimal("1.5"))
    assert [(each.sid, each.account_sid) for each in state.listings] == [(listing["sid"], AC)]
    assert state.listings[0].document["module_info"] == {"a": 1}


async def test_an_account_that_was_never_listed_is_in_the_state_without_being_stored(
    http: Http,
) -> None:
    http.emulator.install(OTHER, SPAM_SCORE)
    state = http.emulator.state()
    assert state.accounts == (AccountState(OTHER, OTHER, OTHER, "active"),)
    assert http.emulator.state() == state


async def test_a_state_has_no_auth_tokens_and_becomes_json(http: Http) -> None:
    ((sid, token),) = http.emulator.add_subaccounts(AC)
    http.emulator.install(sid, SPAM_SCORE)
    state = http.emulator.state()
    text = msgspec.json.encode(state).decode()
    assert sid in text
    assert token not in text + repr(state)


@pytest.mark.parametrize("with_file", [False, True])
async def test_reset_leaves_the_state_of_a_new_emulator(tmp_path: Path, with_file: bool) -> None:
    file = tmp_path / "state.db" if with_file else None
    async with Emulator(db=file) as emulator, aiohttp.ClientSession() as session:
        for _ in range(2):
            (first, second) = emulator.install(AC, SPAM_SCORE, times=2)
            emulator.enable(first, "lookup-api")
            emulator.add_subaccounts(AC, 2)
            await send(session, emulator, "DELETE", f"/v1/InstalledAddOns/{second}")
            await send(session, emulator, "POST", "/v1/Listings", data={"ModuleInfo": "{}"})
            await report(emulator, first)
            emulator.faults.add("GET", "*", status=500)
            assert emulator.state().installations[0].unique_name == "nomorobo_spamscore"
            emulator.reset()
            assert emulator.state() == EMPTY
            assert len(emulator.log) == 0
            assert list(emulator.faults) == []
            _, page, _ = await send(session, emulator, "GET", "/v1/InstalledAddOns")
            assert page["installed_add_ons"] == []
    async with Emulator(db=file) as emulator:
        assert emulator.state() == EMPTY


async def test_reset_revokes_access_tokens(http: Http) -> None:
    data = {"grant_type": "client_credentials", "client_id": "OQ" + "1" * 32, "client_secret": "x"}
    _, token, _ = await http("POST", "/v2/token", data=data)
    headers = {"Authorization": f"Bearer {token['access_token']}"}
    assert (await http("GET", "/v1/InstalledAddOns", headers=headers))[0] == 200
    http.emulator.reset()
    assert (await http("GET", "/v1/InstalledAddOns", headers=headers))[0] == 401


async def test_an_extension_is_enabled_by_its_name_or_sid(http: Http) -> None:
    emulator = http.emulator
    (sid,) = emulator.install(AC, SPAM_SCORE)
    lookup, voice = emulator.state().extensions
    for extension in (lookup.sid, voice.unique_name):
        emulator.enable(sid, extension)
    assert [each.enabled for each in emulator.state().extensions] == [True, True]
    emulator.enable(sid, voice.sid, enabled=False)
    _, page, _ = await http("GET", f"/v1/InstalledAddOns/{sid}/Extensions")
    assert [each["enabled"] for each in page["extensions"]] == [True, False]


async def test_setting_up_accepts_only_valid_arguments(http: Http) -> None:
    emulator = http.emulator
    (sid,) = emulator.install(AC, SPAM_SCORE, unique_name="spam")
    with pytest.raises(ValueError, match="UniqueName spam is already in use"):
        emulator.install(AC, SPAM_SCORE, unique_name="spam")
    with pytest.raises(ValueError, match="unique_name: must be a name that is not empty"):
        emulator.install(AC, SPAM_SCORE, unique_name="other", times=2)
    with pytest.raises(ValueError, match="times: must be a whole number of at least 0, got -1"):
        emulator.install(AC, SPAM_SCORE, times=-1)
    with pytest.raises(ValueError, match="count: must be a whole number of at least 0, got True"):
        emulator.add_subaccounts(AC, True)
    with pytest.raises(ValueError, match="extension: must be one of lookup-api, voice-incoming"):
        emulator.enable(sid, "voice-outgoing")
    with pytest.raises(ValueError, match="is not installed"):
        emulator.enable("XE" + "0" * 32, "lookup-api")
    assert len(emulator.state().installations) == 1


def test_without_a_start_there_is_no_state() -> None:
    emulator = Emulator()
    for method in (emulator.state, emulator.reset):
        with pytest.raises(RuntimeError, match="the emulator is not running"):
            method()
