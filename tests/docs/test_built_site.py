"""The built site in a real browser, opened from its files. `nox -s docs` builds and tests it."""

import os
import shutil

import pytest
from support.paths import PROJECT

SITE = PROJECT / "site"
if not (SITE / "index.html").exists():
    pytest.skip("the site is not built: run `nox -s docs`", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = os.environ.get("MARKETPLACE_CHROMIUM") or shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("no chromium on this machine", allow_module_level=True)


@pytest.mark.parametrize("width", [400, 1400])
def test_the_search_needs_no_server_and_no_network(width: int) -> None:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": width, "height": 800})
        problems: list[str] = []
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.on("console", lambda message: problems.append(message.text))
        tab.on("request", lambda request: problems.append(request.url))
        tab.goto((SITE / "how-to" / "jobs.html").as_uri())
        if width < 1000:
            tab.locator("label[for=__search]").first.click()
        tab.locator("input[name=query]").click()
        tab.keyboard.type("exit statuses")
        first = tab.locator(".md-search-result__item h1").first
        sync_api.expect(first).to_have_text("Exit statuses")
        first.click()
        sync_api.expect(tab.locator("article h1")).to_contain_text("Exit statuses")
        browser.close()
    assert [text for text in problems if not text.startswith(("file:", "data:"))] == []
