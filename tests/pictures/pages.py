"""Makes the pictures of the pages in docs/images: `nox -s pictures`."""

import asyncio
import functools
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright
from support.fleet import PARENT, SPAM_SCORE, TRANSCRIPTION, VOICEBASE
from support.fleet_workers import connect

from marketplace_async import fleet
from marketplace_async.emulator import Emulator

IMAGES = Path(__file__).parent.parent / "docs" / "images"
COMPANIES = [
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
UNITS = ["Berlin", "Dental Clinic", "Logistics", "Support Line", "Sales EMEA"]
HOOK = {"callback_url": "https://hooks.example.com/voicebase"}
DESIRED = f"""
secret = ["api_token"]

[[add_ons]]
unique_name = "spam-score"
available_add_on_sid = "{SPAM_SCORE}"
accept_terms_of_service = true
accounts = "all"
extensions = {{ voice-incoming = true }}

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


async def make_pages(folder: Path) -> None:
    """Run an inventory and a plan of 51 accounts, some of which fail."""
    choice = random.Random(17)
    async with Emulator() as emulator:
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
        source = fleet.Subaccounts(functools.partial(connect, emulator.url))
        emulator.faults.add("GET", "/v1/InstalledAddOns", status=403, times=2)
        await fleet.inventory(
            source, folder / "inventory.html", extensions=True, secret=["api_token"]
        )
        emulator.faults.add("GET", "/v1/InstalledAddOns", status=403, times=2)
        await fleet.plan(source, fleet.parse(DESIRED), to=folder / "plan.html")


def take(browser: Any, page: Path, scheme: str, width: int, to: Path) -> None:
    """Save pictures of a page, and of its details for a wide one in light colors."""
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


def main(to: Path = IMAGES) -> None:
    """Make all pictures."""
    chromium = os.environ.get("MARKETPLACE_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        sys.exit("no chromium on this machine: install it, or set MARKETPLACE_CHROMIUM to its path")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(make_pages(Path(folder)))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            for page in sorted(Path(folder).glob("*.html")):
                for scheme in ("light", "dark"):
                    for width in (1600, 400):
                        take(browser, page, scheme, width, to)
            browser.close()


if __name__ == "__main__":
    main()
