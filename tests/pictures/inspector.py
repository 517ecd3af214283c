"""Takes pictures of the page of the emulator, after a program has used it."""

import contextlib
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from support.fleet import PARENT, SPAM_SCORE, VOICEBASE
from support.fleet_workers import connect

from marketplace_async import (
    BadRequestError,
    BillableItem,
    NotFoundError,
)
from marketplace_async.emulator import Emulator

_CONFIGURATION: Final = {
    "callback_url": "https://example.com/transcripts",
    "callback_method": "POST",
    "include-keywords": True,
}
# What a narrow window shows: the tab, and the color scheme.
_NARROW: Final = {
    "requests": "light",
    "state": "light",
    "faults": "dark",
    "connect": "dark",
}


async def use(emulator: Emulator) -> None:
    """Use most of what the page shows: records of every kind, faults, and errors."""
    emulator.add_subaccounts(PARENT, 2, friendly_name="Shop")
    emulator.faults.add("POST", "/v1/InstalledAddOns", status=429, retry_after="0.2", times=2)
    async with connect(emulator.url) as client:
        async for _ in client.available_add_ons.list():
            pass
        installed = await client.installed_add_ons.create(
            available_add_on_sid=VOICEBASE,
            accept_terms_of_service=True,
            configuration=_CONFIGURATION,
            unique_name="transcription",
        )
        extensions = client.installed_add_ons.extensions(installed.sid)
        async for extension in extensions.list():
            await extensions.update(extension.sid, enabled=True)
        item = BillableItem("BI" + "a" * 32, Decimal("2.5"))
        await client.installed_add_ons.usage(installed.sid).create([item])
        with contextlib.suppress(BadRequestError):
            await client.installed_add_ons.create(
                available_add_on_sid=SPAM_SCORE,
                accept_terms_of_service=True,
                configuration={"x": 1},
                unique_name="spam",
            )
        emulator.faults.add("GET", "/v1/InstalledAddOns/*", delay=0.25)
        with contextlib.suppress(NotFoundError):
            await client.installed_add_ons.fetch("XE" + "0" * 32)
        await client.listings.create(module_info={"name": "My Add-on"})
        async for account in client.accounts.list():
            async for _ in client.with_account(account).installed_add_ons.list():
                pass


def take(browser: Any, emulator: Emulator, to: Path) -> None:
    """Save pictures of the page: wide ones in both color schemes, and each tab of a narrow one."""
    for scheme in ("light", "dark"):
        tab = _opened(browser, emulator, scheme, 1600, 1000)
        tab.locator("#requests > li", has_text="400").locator(".row").click()
        _open_the_account(tab)
        tab.screenshot(path=to / f"emulator-{scheme}-1600.png")
        tab.context.close()
    for name, scheme in _NARROW.items():
        tab = _opened(browser, emulator, scheme, 400, 800)
        tab.click(f"nav button[data-show={name}]")
        if name == "state":
            _open_the_account(tab)
        tab.screenshot(path=to / f"emulator-{scheme}-400-{name}.png")
        tab.context.close()


def _opened(browser: Any, emulator: Emulator, scheme: str, width: int, height: int) -> Any:
    viewport = {"width": width, "height": height}
    tab = browser.new_context(viewport=viewport, color_scheme=scheme).new_page()
    tab.goto(f"{emulator.url}/")
    tab.locator("#requests > li").nth(5).wait_for(state="attached")
    return tab


def _open_the_account(tab: Any) -> None:
    tab.locator(f"#accounts details[data-sid={PARENT}] summary").click()
