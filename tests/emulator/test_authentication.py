"""Authentication and the settings of the emulator, over plain HTTP."""

import base64
from typing import Any

import aiohttp
import pytest
from support.plain_http import AC, INSTALL, Http, basic, send

from marketplace_async.emulator import Emulator


@pytest.mark.parametrize(
    ("authorization", "message"),
    [
        ("", "Authenticate"),
        ("Bearer abc", "Authenticate"),
        ("Basic !!!", "Authentication Error - invalid username"),
        (
            "Basic " + base64.b64encode(b"\xff:x").decode(),
            "Authentication Error - invalid username",
        ),
        (basic("me")["Authorization"], "Authentication Error - invalid username"),
        (basic("XB" + "1" * 32)["Authorization"], "Authentication Error - invalid username"),
    ],
)
async def test_credentials_without_a_well_formed_sid_are_rejected(
    http: Http, authorization: str, message: str
) -> None:
    status, body, headers = await http(
        "GET", "/v1/AvailableAddOns", headers={"Authorization": authorization}
    )
    assert status == 401
    assert body == {
        "code": 20003,
        "message": message,
        "more_info": "https://www.twilio.com/docs/errors/20003",
        "status": 401,
    }
    assert headers["WWW-Authenticate"] == 'Basic realm="Twilio API"'


async def test_only_configured_accounts_are_authenticated() -> None:
    key = "SK" + "2" * 32
    accounts = {AC: "secret", key: "key-secret"}
    async with Emulator(accounts=accounts) as emulator, aiohttp.ClientSession() as session:
        path = "/v1/InstalledAddOns"
        for user, secret, status in (
            (AC, "secret", 200),
            (AC, "wrong", 401),
            (key, "key-secret", 200),
            ("AC" + "3" * 32, "secret", 401),
        ):
            response = await send(session, emulator, "GET", path, headers=basic(user, secret))
            assert response[0] == status, (user, secret)
        _, body, _ = await send(
            session, emulator, "POST", path, headers=basic(key, "key-secret"), data=INSTALL
        )
        assert body["account_sid"] == "AC" + "2" * 32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accounts": {"me": "x"}}, "accounts: must be AC, SK or OQ"),
        ({"concurrency": 0}, "concurrency: must be at least 1"),
        ({"latency": -1.0}, "latency: must be at least 0 seconds"),
    ],
)
def test_invalid_settings_are_rejected(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Emulator(**options)
