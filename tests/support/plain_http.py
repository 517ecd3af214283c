"""Plain HTTP requests to an emulator, without the client."""

import base64
import json
from typing import Any

import aiohttp

from marketplace_async.emulator import AddOn, Catalogue, Emulator

AC = "AC" + "1" * 32
XE = "XE" + "a" * 32
BI = "BI" + "a" * 32
SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
INSTALL = {"AvailableAddOnSid": SPAM_SCORE, "AcceptTermsOfService": "true"}
FORM = "application/x-www-form-urlencoded"


def basic(user: str = AC, secret: str = "x") -> dict[str, str]:
    encoded = base64.b64encode(f"{user}:{secret}".encode()).decode()
    return {"Authorization": f"Basic {encoded}"}


class Http:
    """Sends requests to one emulator and returns the status, JSON body and headers."""

    def __init__(self, session: aiohttp.ClientSession, emulator: Emulator) -> None:
        self._session = session
        self.emulator = emulator

    async def __call__(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any
    ) -> tuple[int, Any, Any]:
        async with self._session.request(
            method, self.emulator.url + path, headers={**basic(), **(headers or {})}, **options
        ) as response:
            text = await response.text()
            return response.status, json.loads(text) if text else None, response.headers


async def send(
    session: aiohttp.ClientSession, emulator: Emulator, *args: Any, **options: Any
) -> Any:
    return await Http(session, emulator)(*args, **options)


def restricted(**changes: Any) -> Catalogue:
    return Catalogue([AddOn(unique_name="a", friendly_name="A", sid="XB" + "c" * 32, **changes)])


async def report(emulator: Emulator, xe: str, user: str = AC) -> tuple[int, Any]:
    body = {"billable_items": [{"sid": BI, "quantity": 1.5}, {"sid": BI[:-1] + "b", "quantity": 2}]}
    async with aiohttp.ClientSession() as session:
        status, response, _ = await send(
            session,
            emulator,
            "POST",
            f"/v1/InstalledAddOns/{xe}/Usage",
            json=body,
            headers=basic(user),
        )
    return status, response
