"""Takes pictures of the pages of an inventory and of a plan."""

import functools
import random
from pathlib import Path
from typing import Any, Final

from support.fleet import PARENT, SPAM_SCORE, SPAM_SCORE_FOR_ALL, TRANSCRIPTION, VOICEBASE
from support.fleet_workers import connect

from marketplace_async import fleet
from marketplace_async.emulator import Emulator

COMPANIES: Final = [
    "Acme",
    "Contoso",
    "Fabrikam",
    "Globex",
    "Hooli",
    "Initech",
    "Northwind",
    "Tailspin",
    "Umbrella",
    "Wingtip",
]
UNITS: Final = ["Berlin", "Dental Clinic", "Logistics", "Support Line", "Sales EMEA"]
HOOK: Final = {"callback_url": "https://hooks.example.com/voicebase"}
DESIRED: Final = f"""
secret = ["api_token"]
{SPAM_SCORE_FOR_ALL}
[[add_ons]]
unique_name = "transcription"
available_add_on_sid = "{TRANSCRIPTION}"
accept_terms_of_service = true
accounts = {{ except_friendly_names = ["*Berlin"] }}
configuration = {{ callback_url = "https://hooks.example.com/done", api_token = "made-up" }}

[[add_ons]]
unique_name = "voicebase_transcription"
accounts = {{ friendly_names = ["*Berlin", "*Logistics"] }}
state = "absent"
"""


def fill(emulator: Emulator) -> None:
    """Create 51 accounts whose Add-ons differ from each other."""
    choice = random.Random(17)
    for company in COMPANIES:
        for unit in UNITS:
            name = f"{company} {unit}"
            ((sid, _),) = emulator.add_subaccounts(PARENT, 1, friendly_name=name)
            if choice.random() < 0.8:
                (spam,) = emulator.install(sid, SPAM_SCORE, unique_name="spam-score")
                if choice.random() < 0.85:
                    emulator.enable(spam, "voice-incoming")
            if choice.random() < 0.6:
                old = choice.random() < 0.1
                hook = {"callback_url": "https://old.example.net/"} if old else HOOK
                emulator.install(sid, VOICEBASE, hook)
            if choice.random() < 0.5:
                url = choice.choice(["done", "done", "done", "old"])
                configuration = {
                    "callback_url": f"https://hooks.example.com/{url}",
                    "api_token": "made-up",
                }
                emulator.install(sid, TRANSCRIPTION, configuration, unique_name="transcription")


async def write_pages(folder: Path) -> None:
    """Run an inventory and a plan of these accounts, two of which fail."""
    async with Emulator() as emulator:
        fill(emulator)
        source = fleet.Subaccounts(functools.partial(connect, emulator.url))
        emulator.faults.add("GET", "/v1/InstalledAddOns", status=403, times=2)
        await fleet.inventory(
            source, folder / "inventory.html", extensions=True, secret=["api_token"]
        )
        emulator.faults.add("GET", "/v1/InstalledAddOns", status=403, times=2)
        await fleet.plan(source, fleet.parse(DESIRED), to=folder / "plan.html")


def take(browser: Any, folder: Path, to: Path) -> None:
    """Save pictures of every page in the folder: wide and narrow, light and dark."""
    for page in sorted(folder.glob("*.html")):
        for scheme in ("light", "dark"):
            for width in (1600, 400):
                _take(browser, page, scheme, width, to)


def _take(browser: Any, page: Path, scheme: str, width: int, to: Path) -> None:
    height = 900 if width > 1000 else 800
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    tab = context.new_page()
    tab.goto(page.as_uri())
    tab.locator("#rows .row").first.wait_for()
    tab.screenshot(path=to / f"{page.stem}-{scheme}-{width}.png")
    if (scheme, width) == ("light", 1600):
        drift = "differs" if page.stem == "inventory" else "update"
        tab.locator("#rows .row", has_text=drift).first.click()
        tab.screenshot(path=to / f"{page.stem}-detail-{width}.png")
    context.close()
