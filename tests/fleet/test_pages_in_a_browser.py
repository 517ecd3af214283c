"""The pages of an inventory and a plan in a real browser, from files without a server.

The tests are skipped without chromium and playwright, like those of the emulator's page.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from marketplace_async.fleet import (
    AccountPlan,
    Change,
    ExtensionRecord,
    Failure,
    Html,
    InventoryRecord,
    Offer,
    PlanHtml,
    Step,
)

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect

CHROMIUM = os.environ.get("MARKETPLACE_CHROMIUM") or shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("no chromium on this machine", allow_module_level=True)

HOSTILE = [
    "<img src=x onerror=\"document.title='hacked'\">",
    "</script><script>document.title='hacked'</script>",
    "<!--<script>",
    "\u202etxt.exe\u202c \u0000\u001b[31mred\u200b\ufeff",
    "x" * 400,
    "नमस्ते مرحبا 😀 é",
    "   ",
]


def sid(kind: str, number: int) -> str:
    return f"{kind}{number:032x}"


def record(number: int, name: str, add_on: int = 1, url: str = "https://a") -> InventoryRecord:
    return InventoryRecord(
        account_sid=sid("AC", number),
        account_friendly_name=name,
        sid=sid("XE", number * 10 + add_on),
        unique_name=f"add-on-{add_on}",
        friendly_name=f"Add-on {add_on}",
        available_add_on_sid=sid("XB", add_on),
        configuration={"url": url, "token": "***"},
        date_created=None,
        date_updated=None,
        extensions=(
            ExtensionRecord(
                sid=sid("XF", 1),
                unique_name="voice-incoming",
                friendly_name=None,
                product_name=None,
                enabled=True,
            ),
        ),
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(
    browser: Any, page: Path, title: str, width: int = 1600, **options: Any
) -> Iterator[Any]:
    """Open a page. At the end, check that it requested nothing and the browser had no problem."""
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    context.set_default_timeout(20_000)
    tab = context.new_page()
    problems: list[str] = []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("console", lambda message: problems.append(message.text))
    tab.on("dialog", lambda dialog: problems.append(dialog.message))
    tab.on("request", lambda request: problems.append(request.url))
    try:
        tab.goto(page.as_uri())
        yield tab
        assert tab.title() == title
    finally:
        context.close()
    assert problems == [page.as_uri()]


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of 10,000 accounts: hostile names first, one failed account, one without Add-ons."""
    page = tmp_path_factory.mktemp("pages") / "fleet.html"
    output = Html(page)
    output.begin()
    for number in range(10_000):
        name = HOSTILE[number] if number < len(HOSTILE) else f"Shop {number}"
        if number in (100, 101):
            output.write(sid("AC", number), ())
            continue
        url = "https://b" if number == 50 else "https://a"
        both = number % 2 == 0
        records = [record(number, name, url=url), *([record(number, name, 2)] if both else [])]
        output.write(sid("AC", number), records)
    output.fail(Failure(sid("AC", 100), "Shop 100", "AuthenticationError", "401 <b>no</b>"))
    output.sync()
    output.close()
    return page


def names(tab: Any) -> list[str]:
    found: list[str] = tab.locator("#rows .name").all_inner_texts()
    return found


def test_ten_thousand_accounts_are_shown_searched_and_filtered(
    browser: Any, inventory: Path
) -> None:
    with opened(browser, inventory, "Marketplace inventory") as tab:
        shown = tab.locator("#shown")
        expect(shown).to_have_text("10,000 accounts")
        expect(tab.locator("#totals")).to_contain_text("1 failed")
        assert tab.locator("#rows .row").count() < 60

        tab.keyboard.press("/")
        tab.keyboard.type("shop 9876")
        expect(shown).to_have_text("1 of 10,000 accounts")
        assert names(tab) == ["Shop 9876"]
        tab.keyboard.press("Escape")

        tab.locator("[data-state=failed]").click()
        message = tab.locator("#rows .wide span")
        expect(message).to_have_text("AuthenticationError: 401 <b>no</b>")
        beside = tab.locator("#head > div").nth(1).bounding_box()["x"]
        assert message.bounding_box()["x"] == beside + 10
        for state, name in (("differs", "Shop 50"), ("failed", "Shop 100"), ("empty", "(no name)")):
            tab.locator(f"[data-state={state}]").click()
            expect(shown).to_have_text("1 of 10,000 accounts")
            assert names(tab) == [name]
        tab.locator("[data-state=all]").click()
        tab.locator("#add-on").select_option(label="Add-on 2")
        expect(shown).to_have_text("4,999 of 10,000 accounts")
        tab.locator("#search").fill("no such account")
        tab.locator("#reset").click()
        expect(shown).to_have_text("10,000 accounts")


def test_the_page_is_used_with_the_keyboard_alone(browser: Any, inventory: Path) -> None:
    with opened(browser, inventory, "Marketplace inventory") as tab:
        grid = tab.locator("#grid")
        tab.locator("#search").press("ArrowDown")
        expect(grid).to_be_focused()
        tab.keyboard.press("End")
        expect(tab.locator(".row.active")).to_have_attribute("aria-rowindex", "10001")
        expect(tab.locator(".row.active")).to_be_in_viewport()
        tab.keyboard.press("Home")
        expect(tab.locator(".row.active")).to_have_attribute("aria-rowindex", "2")
        tab.keyboard.press("PageDown")
        tab.keyboard.press("ArrowUp")
        tab.keyboard.press("ArrowRight")
        expect(tab.locator("#current")).to_have_attribute("aria-colindex", "2")
        expect(grid).to_have_attribute("aria-activedescendant", "current")
        tab.keyboard.press("Enter")
        expect(tab.locator("#detail")).to_be_visible()
        expect(tab.locator("#detail pre").first).to_contain_text('"token": "***"')
        tab.keyboard.press("Escape")
        expect(tab.locator("#detail")).to_be_hidden()
        expect(grid).to_be_focused()


def test_hostile_names_are_only_text(browser: Any, inventory: Path) -> None:
    with opened(browser, inventory, "Marketplace inventory") as tab:
        for number, name in enumerate(HOSTILE):
            tab.locator("#search").fill(sid("AC", number))
            expect(tab.locator("#rows .row")).to_have_count(1)
            tab.locator("#rows .row").click()
            shown = tab.locator("#detail-name").text_content()
            if number == 3:
                assert shown == r"\u202etxt.exe\u202c \u0000\u001b[31mred\u200b\ufeff"
            else:
                assert shown == (name if name.strip() else "(no name)")
            tab.keyboard.press("Escape")
        assert tab.locator("img, script[src], b[onerror]").count() == 0


def test_a_file_that_a_killed_job_left_is_a_page(
    browser: Any, inventory: Path, tmp_path: Path
) -> None:
    page = tmp_path / "killed.html"
    page.write_bytes(inventory.read_bytes()[:500_000])
    with opened(browser, page, "Marketplace inventory") as tab:
        expect(tab.locator("#rows .row").first).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1600, 400])
def test_columns_are_aligned_and_nothing_is_wider_than_the_window(
    browser: Any, inventory: Path, width: int, scheme: str
) -> None:
    with opened(browser, inventory, "Marketplace inventory", width, color_scheme=scheme) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") == width
        head = [box.bounding_box()["x"] for box in tab.locator("#head > div").all()]
        tab.locator("#search").fill("shop 20")
        row = tab.locator("#rows .row").first.locator("> div").all()
        assert [box.bounding_box()["x"] for box in row] == head
        dark = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (dark == "rgb(18, 21, 26)") is (scheme == "dark")


def test_the_page_of_a_plan_shows_steps_drift_problems_and_failures(
    browser: Any, tmp_path: Path
) -> None:
    page = tmp_path / "plan.html"
    output = PlanHtml(page)
    output.begin()
    drift = Step(
        action="update",
        unique_name="spam",
        sid=sid("XE", 1),
        changes=(Change("url", '"<i>"', '"new"'), Change("token", None, "***")),
    )
    remove = Step(action="remove", unique_name="old", sid=sid("XE", 2))
    changed = AccountPlan(sid("AC", 1), "Changed", (drift, remove), (), ("spam", "old"))
    output.write(changed.account_sid, [changed])
    same = AccountPlan(sid("AC", 2), "Same", (), (), ("spam",))
    output.write(same.account_sid, [same])
    unclear = AccountPlan(sid("AC", 3), "Unclear", (), ("taken",), (), ("spam",))
    output.write(unclear.account_sid, [unclear])
    output.fail(Failure(unclear.account_sid, "Unclear", "ConflictError", "taken"))
    output.close()
    with opened(browser, page, "Marketplace plan") as tab:
        expect(tab.locator("#totals")).to_have_text("3 accounts2 steps2 Add-ons1 failed")
        for state, name in (("changes", "Changed"), ("unchanged", "Same"), ("failed", "Unclear")):
            tab.locator(f"[data-state={state}]").click()
            expect(tab.locator("#shown")).to_have_text("1 of 3 accounts")
            assert names(tab) == [name]
        tab.locator("#rows .row").click()
        expect(tab.locator("#detail")).to_contain_text("ConflictError")
        tab.keyboard.press("Escape")
        tab.locator("[data-state=changes]").click()
        marks = tab.locator("#rows .mark").all_inner_texts()
        assert [text.split()[-1] for text in marks] == ["update", "remove"]
        tab.locator("#rows .row").click()
        expect(tab.locator("#detail pre")).to_contain_text('~ url = "<i>" → "new"')


def test_the_page_of_a_plan_shows_prices_terms_and_what_several_steps_are(
    browser: Any, tmp_path: Path
) -> None:
    page = tmp_path / "plan.html"
    output = PlanHtml(page)
    output.begin()
    hostile = HOSTILE[0]
    offers = (
        Offer(pricing_type="per minute", pricing="$1", terms=hostile, digest="sha256:1"),
        Offer(digest="sha256:2"),
    )
    for number in (1, 2, 3):
        add_on = sid("XB", number // 3)
        remove = Step(action="remove", unique_name="spam", sid=sid("XE", number))
        install = Step(
            action="install",
            unique_name="spam",
            available_add_on_sid=add_on,
            offer=offers[number // 3],
        )
        rename = Step(action="rename", unique_name="new", previous_name="old", sid=sid("XE", 9))
        plan = AccountPlan(sid("AC", number), f"Shop {number}", (remove, install, rename))
        output.write(plan.account_sid, [plan])
    output.close()
    with opened(browser, page, "Marketplace plan") as tab:
        marks = tab.locator("#rows .row").first.locator(".mark").all_inner_texts()
        assert sorted(" ".join(text.split()) for text in marks) == ["→ rename", "− + 2 steps"]
        assert tab.locator("#rows .mark.bad").count() == 3
        tab.locator("#offers").click()
        sections = tab.locator("#detail section")
        expect(sections).to_have_count(2)
        expect(sections.first).to_contain_text("2 accounts")
        expect(sections.first).to_contain_text("Price: per minute; $1")
        expect(sections.first).to_contain_text(f"Terms: {hostile}")
        expect(sections.last).to_contain_text("Price: not stated by the service")
        tab.keyboard.press("Escape")
        tab.locator("#rows .row").first.click()
        expect(tab.locator("#detail")).to_contain_text("old → new")
        expect(tab.locator("#detail")).to_contain_text("Terms: <img")
        tab.keyboard.press("Escape")
