"""An emulated fleet of accounts for the tests of jobs."""

import asyncio
import functools
import json
from pathlib import Path
from typing import Any

from marketplace_async import MarketplaceClient, fleet
from marketplace_async.emulator import Emulator
from marketplace_async.testing import account
from support.fleet_workers import connect

SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
TRANSCRIPTION = "XB85b56ed9ce713e0ac62342b901233193"
VOICEBASE = "XB7afe11af3e292cadb03248e0066b8c1e"
PARENT = account().account_sid

# An Add-on on all accounts that needs no configuration.
INSTALL = f"""
[[add_ons]]
unique_name = "spam-score"
available_add_on_sid = "{SPAM_SCORE}"
accept_terms_of_service = true
accounts = "all"
"""
# An entry of several desired states.
SPAM_SCORE_FOR_ALL = f"{INSTALL}extensions = {{ voice-incoming = true }}\n"
DESIRED = f"""
secret = ["api_token"]
{SPAM_SCORE_FOR_ALL}
[[add_ons]]
unique_name = "transcription"
available_add_on_sid = "{TRANSCRIPTION}"
accept_terms_of_service = true
accounts = {{ friendly_names = ["Shop *"] }}
configuration = {{ callback_url = "https://example.com/done", api_token = "very-secret" }}

[[add_ons.overrides]]
accounts = {{ friendly_names = ["Shop 1*"] }}
configuration = {{ callback_url = "https://one.example.com/done" }}

[[add_ons]]
unique_name = "voicebase_transcription"
accounts = {{ except_friendly_names = ["Shop 2*"] }}
state = "absent"
"""


# A secret that comes from the environment.
WITH_VARIABLE = f"""
secret = ["api_token"]

[[add_ons]]
unique_name = "transcription"
available_add_on_sid = "{TRANSCRIPTION}"
accept_terms_of_service = true
accounts = "all"
configuration = {{ callback_url = "https://example.com", api_token = {{ env = "TEST_API_TOKEN" }} }}
"""


class StopAtOnce:
    """A progress that stops the job when the first account is done."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop

    def started(self, total: int | None) -> None: ...

    def advanced(self, count: int = 1) -> None:
        self._stop.set()

    def failed(self, item: object, error: Exception) -> None: ...


class Fleet:
    """An emulator with a parent account and 40 shops, each with one installed Add-on."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.shops = emulator.add_subaccounts(PARENT, 40, friendly_name="Shop {number}")
        for sid, _ in self.shops:
            emulator.install(sid, VOICEBASE, {"callback_url": "https://example.com"})
        self.source = fleet.Subaccounts(functools.partial(connect, emulator.url))
        self.desired = fleet.parse(DESIRED)

    async def state(self) -> dict[str, dict[str, Any]]:
        """Return configuration and enabled extensions, by account name and unique name."""
        state: dict[str, dict[str, Any]] = {}
        async with MarketplaceClient(account(), base_url=self.emulator.url) as client:
            async for each in client.accounts.list():
                assert each.credentials is not None
                add_ons = client.with_credentials(each.credentials).installed_add_ons
                state[each.friendly_name or ""] = {
                    str(one.unique_name): (
                        one.configuration,
                        {
                            extension.unique_name
                            async for extension in add_ons.extensions(one.sid).list()
                            if extension.enabled
                        },
                    )
                    async for one in add_ons.list()
                }
        return state

    def writes(self) -> list[str]:
        """Return the requests that changed state."""
        return [
            f"{entry.method} {entry.path}"
            for entry in self.emulator.log
            if entry.method != "GET" and entry.status is not None and entry.status < 300
        ]


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def tasks() -> set[str]:
    """Return the coroutines that run in the loop, except those of the emulator."""
    coroutines = {task.get_coro() for task in asyncio.all_tasks()}
    return {str(one) for one in coroutines if "RequestHandler" not in str(one)}
