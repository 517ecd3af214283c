"""Makes the pictures in docs/images: `nox -s pictures`."""

import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from marketplace_async.emulator import Emulator

from . import inspector, pages, terminal

IMAGES = Path(__file__).parents[2] / "docs" / "images"


def main(to: Path = IMAGES) -> None:
    """Make all pictures."""
    chromium = os.environ.get("MARKETPLACE_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        sys.exit("no chromium on this machine: install it, or set MARKETPLACE_CHROMIUM to its path")
    with tempfile.TemporaryDirectory() as name, Emulator(port=8912) as emulator:
        folder = Path(name)
        terminal.take(folder, to)
        asyncio.run(pages.write_pages(folder))
        asyncio.run(inspector.use(emulator))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            pages.take(browser, folder, to)
            inspector.take(browser, emulator, to)
            browser.close()


if __name__ == "__main__":
    main()
