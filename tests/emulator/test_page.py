"""The inspector page in a real browser: chromium, driven by playwright.

The tests are skipped without them: `pip install playwright`, and `apt-get install chromium` or
another chromium whose path is in MARKETPLACE_CHROMIUM.
"""

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from support.plain_http import AC, INSTALL, SPAM_SCORE

from marketplace_async.emulator import Emulator, page
from marketplace_async.emulator.page import _FOLDER

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect

CHROMIUM = os.environ.get("MARKETPLACE_CHROMIUM") or shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("no chromium on this machine", allow_module_level=True)

INSTALLATIONS = "/v1/InstalledAddOns"
HOSTILE = [
    "<img src=x onerror=\"document.title='hacked'\">",
    "</script><script>document.title='hacked'</script>",
    '\'; touch /tmp/hacked; echo "$(id)" `id` \\',
    "\u202etxt.exe\u202c \u0000\u001b[31mred\u200b\ufeff",
    "{{constructor.constructor('document.title=1')()}}",
    "x" * 400,
    "नमस्ते مرحبا 😀 é",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--host-resolver-rules=MAP evil.example 127.0.0.1"],
        )
        yield browser
        browser.close()


@contextmanager
def running(**options: Any) -> Iterator[Emulator]:
    """Run an emulator. It is started and stopped outside of playwright's event loop."""
    emulator = Emulator(**options)
    with ThreadPoolExecutor(1) as outside:
        outside.submit(emulator.__enter__).result()
        try:
            yield emulator
        finally:
            outside.submit(emulator.__exit__, None, None, None).result()


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with running() as emulator:
        yield emulator


@contextmanager
def opened(browser: Any, emulator: Emulator, **options: Any) -> Iterator[Any]:
    """Open the page. At the end, check that the browser reported no problem."""
    options = {"viewport": {"width": 1600, "height": 1000}, **options}
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"], **options)
    context.set_default_timeout(10_000)
    tab = context.new_page()
    problems: list[str] = []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("console", lambda message: problems.append(message.text))
    tab.on("dialog", lambda dialog: problems.append(dialog.message))
    try:
        tab.goto(f"{emulator.url}/")
        expect(tab.locator("#link")).to_have_text("live")
        yield tab
        assert tab.title() == "Marketplace emulator"
    finally:
        context.close()
    ignored = ("the server responded with a status of", "ERR_", "net::")
    assert [text for text in problems if not any(part in text for part in ignored)] == []


@pytest.fixture
def tab(browser: Any, emulator: Emulator) -> Iterator[Any]:
    with opened(browser, emulator) as tab:
        yield tab


def call(emulator: Emulator, method: str, path: str, **options: Any) -> Any:
    options = {"auth": (AC, "x"), "timeout": 10, **options}
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, emulator.url + path, **options)


def copied(tab: Any, button: Any) -> str:
    button.click()
    expect(button).to_have_text("Copied")
    text: str = tab.evaluate("navigator.clipboard.readText()")
    return text


def test_requests_appear_as_they_come_with_their_bodies(tab: Any, emulator: Emulator) -> None:
    rows = tab.locator("#requests > li")
    expect(tab.locator("#no-requests")).to_be_visible()
    installed = call(emulator, "POST", INSTALLATIONS, data=INSTALL).json()
    call(emulator, "GET", f"{INSTALLATIONS}?PageSize=5")
    expect(rows).to_have_count(2)
    expect(rows.nth(0).locator(".path")).to_have_text(f"{INSTALLATIONS}?PageSize=5")
    expect(rows.nth(1).locator(".status")).to_have_text("201")
    rows.nth(1).locator(".row").click()
    detail = rows.nth(1).locator(".detail")
    expect(detail).to_contain_text(f"AvailableAddOnSid = {SPAM_SCORE}")
    expect(detail).to_contain_text(f'"sid": "{installed["sid"]}"')
    expect(detail).to_contain_text("Authorization: Basic ***")
    call(emulator, "GET", INSTALLATIONS, auth=None)
    expect(rows).to_have_count(3)
    expect(rows.nth(0).locator(".status")).to_have_text("401")
    expect(rows.nth(2).locator(".detail")).to_be_visible()
    rows.nth(2).locator(".row").click()
    expect(rows.nth(2).locator(".detail")).to_have_count(0)


def test_requests_are_filtered_paused_and_cleared(tab: Any, emulator: Emulator) -> None:
    rows = tab.locator("#requests > li")
    for path in (INSTALLATIONS, "/v1/Listings", "/v1/nowhere"):
        call(emulator, "GET", path)
    expect(rows).to_have_count(3)
    tab.fill("#filter", "get listings")
    expect(rows).to_have_count(1)
    expect(tab.locator("#shown")).to_have_text("1 of 3")
    tab.fill("#filter", "404")
    expect(rows.locator(".path")).to_have_text(["/v1/nowhere"])
    tab.fill("#filter", "")
    tab.click("#pause")
    call(emulator, "GET", INSTALLATIONS)
    expect(tab.locator("#pause")).to_have_text("Resume (1)")
    expect(rows).to_have_count(3)
    tab.click("#pause")
    expect(rows).to_have_count(4)
    tab.click("#clear-log")
    expect(rows).to_have_count(0)
    assert len(emulator.log) == 0
    call(emulator, "GET", INSTALLATIONS)
    expect(rows).to_have_count(1)
    emulator.log.clear()
    expect(rows).to_have_count(0)


def test_the_state_is_shown_by_account(tab: Any, emulator: Emulator) -> None:
    installed = call(emulator, "POST", INSTALLATIONS, data=INSTALL).json()["sid"]
    emulator.enable(installed, "lookup-api")
    usage = {"billable_items": [{"sid": "BI" + "a" * 32, "quantity": 2.5}]}
    call(emulator, "POST", f"{INSTALLATIONS}/{installed}/Usage", json=usage)
    ((shop, token),) = emulator.add_subaccounts(AC, friendly_name="Shop")
    call(emulator, "GET", INSTALLATIONS, auth=(shop, token))
    accounts = tab.locator("#accounts details")
    expect(accounts).to_have_count(2)
    own = tab.locator(f"#accounts details[data-sid={AC}]")
    expect(own.locator("summary")).to_contain_text("1 installation, 1 usage item")
    own.locator("summary").click()
    expect(own.locator(".installation .name")).to_have_text("nomorobo_spamscore")
    expect(own.locator(".tag.on")).to_have_text("lookup-api: on")
    expect(own).to_contain_text("2.5 × BIaaaa")
    path = f"{INSTALLATIONS}/{installed}"
    call(emulator, "POST", path, data={"UniqueName": "renamed"})
    expect(own.locator(".installation .name")).to_have_text("renamed")
    shown = tab.locator(f"#accounts details[data-sid={shop}]")
    expect(shown.locator("summary")).to_contain_text("Shop")
    expect(shown.locator("summary")).to_contain_text("subaccount of AC11…1111")
    shown.locator("summary").click()
    shown.get_by_text("Connect as this account").click()
    expect(tab.locator("#snippets")).to_contain_text(f"TWILIO_AUTH_TOKEN={token}")


def test_a_fault_is_added_injected_and_removed(tab: Any, emulator: Emulator) -> None:
    tab.fill("#fault-form [name=path]", INSTALLATIONS)
    tab.fill("#fault-form [name=value]", "503")
    tab.fill("#fault-form [name=times]", "2")
    tab.fill("#fault-form [name=retry_after]", "7")
    tab.click("#fault-form button")
    fault = tab.locator("#faults > li")
    expect(fault.locator(".hits")).to_have_text("0 of 2 injected")
    response = call(emulator, "GET", INSTALLATIONS)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "7")
    expect(fault.locator(".hits")).to_have_text("1 of 2 injected")
    expect(fault).to_contain_text("status 503, Retry-After 7")
    expect(tab.locator("#requests .tag.fault")).to_have_count(1)
    tab.click("#clear-faults")
    expect(fault).to_have_count(0)
    assert call(emulator, "GET", INSTALLATIONS).status_code == 200


@pytest.mark.parametrize(
    ("effect", "attributes"),
    [
        ("drop", {"drop": True}),
        ("delay", {"delay": 1.5}),
        ("cut", {"body": "cut"}),
        ("garbled", {"body": "garbled"}),
        ("repeated", {"next_link": "repeated"}),
        ("cyclic", {"next_link": "cyclic"}),
        ("foreign", {"next_link": "foreign"}),
        ("drip", {"drip": 0.01}),
    ],
)
def test_every_effect_can_be_chosen(
    tab: Any, emulator: Emulator, effect: str, attributes: dict[str, Any]
) -> None:
    tab.select_option("#fault-form [name=effect]", effect)
    tab.select_option("#fault-form [name=when]", "after")
    tab.fill("#fault-form [name=times]", "")
    tab.click("#fault-form button")
    expect(tab.locator("#faults > li")).to_have_count(1)
    (fault,) = emulator.faults
    assert {name: getattr(fault, name) for name in attributes} == attributes
    assert (fault.times, fault.when, fault.status) == (None, "after", None)


def test_an_invalid_fault_is_explained(tab: Any, emulator: Emulator) -> None:
    problem = tab.locator("#fault-problem")
    tab.fill("#fault-form [name=value]", "99")
    tab.click("#fault-form button")
    expect(problem).to_have_text("status: must be from 200 to 599, got 99")
    tab.fill("#fault-form [name=value]", "a lot")
    tab.click("#fault-form button")
    expect(problem).to_contain_text("Expected `int | null`, got `str` - at `$.status`")
    tab.fill("#fault-form [name=value]", "500")
    tab.click("#fault-form button")
    expect(problem).to_be_hidden()
    assert len(list(emulator.faults)) == 1


def test_a_reset_is_confirmed(tab: Any, emulator: Emulator) -> None:
    call(emulator, "POST", INSTALLATIONS, data=INSTALL)
    expect(tab.locator("#accounts details")).to_have_count(1)
    tab.click("#reset")
    tab.get_by_text("Cancel").click()
    assert emulator.state().installations
    tab.click("#reset")
    tab.locator("#confirm .danger").click()
    expect(tab.locator("#accounts details")).to_have_count(0)
    expect(tab.locator("#requests > li")).to_have_count(0)
    assert not emulator.state().installations


def test_the_page_follows_an_emulator_that_is_restarted(browser: Any) -> None:
    with ExitStack() as first, ExitStack() as rest:
        emulator = first.enter_context(running())
        tab = rest.enter_context(opened(browser, emulator))
        for _ in range(3):
            call(emulator, "POST", INSTALLATIONS, data=INSTALL)
        expect(tab.locator("#requests > li")).to_have_count(3)
        port = urlsplit(emulator.url).port
        first.close()
        expect(tab.locator("#link")).to_have_text("disconnected")
        other = rest.enter_context(running(port=port))
        call(other, "GET", "/v1/Listings")
        expect(tab.locator("#link")).to_have_text("live", timeout=20_000)
        expect(tab.locator("#requests .path")).to_have_text(["/v1/Listings"])
        expect(tab.locator("#accounts details")).to_have_count(0)


# -- lines to copy


def run(line: str, **environ: str) -> str:
    finished = subprocess.run(
        ["bash", "-c", line],
        env={**os.environ, "NO_PROXY": "*", **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def snippet(tab: Any, name: str) -> str:
    part = tab.locator(".snippet", has=tab.get_by_text(name, exact=True))
    return copied(tab, part.locator("button"))


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
@pytest.mark.parametrize("name", [*HOSTILE, "two\nlines\t'quoted'"])
def test_a_copied_curl_command_repeats_the_request(tab: Any, emulator: Emulator, name: str) -> None:
    data = {**INSTALL, "UniqueName": name[:64]}
    assert call(emulator, "POST", f"{INSTALLATIONS}?a=b'c", data=data).status_code == 201
    row = tab.locator("#requests > li").first
    row.locator(".row").click()
    line = copied(tab, row.locator(".actions button").first)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", line)
    emulator.reset()
    assert json.loads(run(f"{line} --silent"))["unique_name"] == name[:64]
    (entry,) = emulator.log
    assert (entry.status, entry.account_sid) == (201, AC)


def test_a_copied_curl_command_repeats_a_hostile_path(tab: Any, emulator: Emulator) -> None:
    path = f"{INSTALLATIONS}/%27%3B%20id%3B%0A%1b%5B31m%C3%A9%3Fx"
    call(emulator, "GET", path)
    row = tab.locator("#requests > li").first
    expect(row.locator(".path")).to_contain_text("\\u001b[31m")
    row.locator(".row").click()
    run(copied(tab, row.locator(".actions button").first) + " --silent")
    first, second = emulator.log
    assert (second.path, second.status) == (first.path, 404)


def test_the_lines_to_connect_work(tab: Any, emulator: Emulator) -> None:
    ((shop, token),) = emulator.add_subaccounts(AC, friendly_name=HOSTILE[0][:64])
    emulator.install(shop, SPAM_SCORE, times=3)
    call(emulator, "GET", INSTALLATIONS)
    expect(tab.locator("#account option")).to_have_count(3)
    tab.select_option("#account", shop)
    export = snippet(tab, "Shell")
    assert f"TWILIO_AUTH_TOKEN={token}" in export
    program = "from marketplace_async import MarketplaceClient; import asyncio\n" + COUNT.format(
        client="client = MarketplaceClient.from_env()"
    )
    assert run(f'{export}\nexec "$PYTHON" -c "$PROGRAM"', **python(program)) == "3\n"
    own = snippet(tab, "Python: marketplace_async")
    program = "from marketplace_async import *; import asyncio\n" + COUNT.format(client=own)
    assert run('exec "$PYTHON" -c "$PROGRAM"', **python(program)) == "3\n"
    if shutil.which("curl"):
        page = json.loads(run(snippet(tab, "curl") + " --silent"))
        assert len(page["available_add_ons"]) == 3


COUNT = """
async def main():
    {client}
    async with client:
        print(len(await client.installed_add_ons.list().collect()))
asyncio.run(main())
"""


def python(program: str) -> dict[str, str]:
    return {"PYTHON": sys.executable, "PROGRAM": program}


def test_twilios_own_client_connects_by_the_copied_lines(tab: Any, emulator: Emulator) -> None:
    twilio = pytest.importorskip("twilio.rest")
    emulator.install("AC" + "1".rjust(32, "0"), SPAM_SCORE, times=60)
    scope: dict[str, Any] = {"twilio": __import__("twilio.rest")}
    exec(snippet(tab, "Python: twilio"), scope)
    assert isinstance(scope["client"], twilio.Client)
    assert len(scope["client"].marketplace.v1.installed_add_ons.list()) == 60


# -- looks


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 700, 1000, 1600])
def test_the_page_fits_its_window_even_with_hostile_names(
    browser: Any, emulator: Emulator, width: int, scheme: str
) -> None:
    for number, name in enumerate(HOSTILE):
        emulator.add_subaccounts(AC, friendly_name=name[:64])
        call(emulator, "POST", INSTALLATIONS, data={**INSTALL, "UniqueName": f"{number}{name}"})
        call(emulator, "GET", f"{INSTALLATIONS}/{name}", params={"Name": name})
        call(emulator, "POST", "/v1/Listings", data={"ModuleInfo": json.dumps({name: name})})
    emulator.faults.add("GET", "/v1/InstalledAddOns*", delay=0.1, retry_after="<b>x</b>" * 30)
    viewport = {"width": width, "height": 900}
    with opened(browser, emulator, viewport=viewport, color_scheme=scheme) as tab:
        for name in ("requests", "state", "faults", "connect"):
            if width < 1000:
                tab.click(f"nav button[data-show={name}]")
            if name == "requests":
                expect(tab.locator("#requests > li")).to_have_count(3 * len(HOSTILE))
                for row in tab.locator(".row").all()[:6]:
                    row.click()
                expect(tab.locator(".detail")).to_have_count(6)
            if name == "state":
                details = tab.locator(f"#accounts details[data-sid={AC}]")
                details.locator("summary").click()
                expect(details.locator(".installation")).to_have_count(len(HOSTILE))
                expect(details.locator(".installation .name").nth(3)).to_contain_text(
                    "3\\u202etxt.exe\\u202c \\u0000\\u001b[31mred\\u200b\\ufeff"
                )
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            wide = tab.evaluate(TOO_WIDE)
            assert wide == []
        assert tab.locator("main img, main script").count() == 0


# Elements that reach beyond the window, and are not in a box that scrolls.
TOO_WIDE = """
[...document.querySelectorAll("main *")]
  .filter((each) => each.getBoundingClientRect().right > innerWidth + 1 && !each.closest("pre"))
  .map((each) => each.outerHTML.slice(0, 80))
"""


def colors(scheme: str) -> dict[str, str]:
    css = (_FOLDER / "page.css").read_text()
    light, dark = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    return dict(re.findall(r"--([\w-]+): (#\w+);", light if scheme == "light" else dark))


def luminance(color: str) -> float:
    digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_contrasts_with_its_background(scheme: str) -> None:
    named = colors(scheme)
    pairs = [
        *((text, back) for text in ("text", "soft") for back in ("back", "card", "hover", "code")),
        *(("good", "good-back"), ("bad", "bad-back"), ("warn", "warn-back")),
        *(("accent", "info-back"), ("bad", "card"), ("card", "accent"), ("accent", "card")),
    ]
    for text, back in pairs:
        dark, light = sorted((luminance(named[text]), luminance(named[back])))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, back)


# -- other pages


@contextmanager
def site(html: str) -> Iterator[int]:
    """Serve a page on another port. Yields the port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = html.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


ATTACK = """
<form id="form" method="post" enctype="text/plain" target="frame" action="{url}/_emulator/faults">
<input name='{{"path": "*", "status": 500, "x": "' value='"}}'></form><iframe name="frame"></iframe>
<script>
const body = '{{"path": "*", "status": 500, "times": null}}';
const seen = [];
async function attack(method, path, options) {{
  try {{
    const response = await fetch("{url}/_emulator" + path, {{method, ...options}});
    seen.push([path, response.type, response.type === "opaque" ? "" : await response.text()]);
  }} catch (error) {{ seen.push([path, "error"]); }}
}}
(async () => {{
  await attack("POST", "/faults", {{mode: "no-cors", body}});
  await attack("POST", "/faults", {{body, headers: {{"Content-Type": "application/json"}}}});
  await attack("POST", "/faults", {{body, headers: {{"Content-Type": "text/plain"}}}});
  await attack("POST", "/reset", {{mode: "no-cors"}});
  await attack("DELETE", "/log", {{}});
  await attack("GET", "/log", {{}});
  document.getElementById("form").submit();
  await new Promise((resolve) => setTimeout(resolve, 500));
  document.title = JSON.stringify(seen);
}})();
</script>
"""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "evil.example"])
def test_a_page_of_another_origin_can_neither_drive_nor_read_the_emulator(
    browser: Any, emulator: Emulator, host: str
) -> None:
    emulator.install(AC, SPAM_SCORE)
    call(emulator, "GET", "/v1/Listings")
    with site(ATTACK.format(url=emulator.url)) as port:
        tab = browser.new_page()
        tab.goto(f"http://{host}:{port}/")
        tab.wait_for_function("document.title.startsWith('[')")
        seen = json.loads(tab.title())
        tab.close()
    assert len(seen) == 6
    assert {tuple(each[1:]) for each in seen} <= {("error",), ("opaque", "")}
    assert list(emulator.faults) == []
    assert len(emulator.log) == 1
    assert emulator.state().installations


def test_a_name_that_is_bound_to_this_machine_again_does_not_help(
    browser: Any, emulator: Emulator
) -> None:
    port = urlsplit(emulator.url).port
    tab = browser.new_page()
    response = tab.goto(f"http://evil.example:{port}/_emulator/")
    assert response.status == 403
    fetch = "fetch('/_emulator/reset', {method: 'POST'}).then((response) => response.status)"
    assert tab.evaluate(fetch) == 403
    tab.close()


def test_a_page_of_another_origin_may_use_the_api_as_it_announces(
    browser: Any, emulator: Emulator
) -> None:
    program = """([url, authorization]) =>
      fetch(url, {method: "DELETE", headers: {authorization}}).then((one) => one.status)"""
    (sid,) = emulator.install(AC, SPAM_SCORE)
    headers = requests.Request(auth=(AC, "x"), method="GET", url="http://x").prepare().headers
    with site("<p>An app") as port:
        tab = browser.new_page()
        tab.goto(f"http://localhost:{port}/")
        url = f"{emulator.url}{INSTALLATIONS}/{sid}"
        assert tab.evaluate(program, [url, headers["Authorization"]]) == 204
        tab.close()
    assert [entry.method for entry in emulator.log] == ["OPTIONS", "DELETE"]


def test_the_page_is_one_document_that_fetches_nothing_from_elsewhere(emulator: Emulator) -> None:
    response = call(emulator, "GET", "/", headers={"Accept": "text/html"}, auth=None)
    assert response.url == f"{emulator.url}/_emulator/"
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"(?:src|href)=\"(?!data:)", response.text)
    scripts = re.findall(r"<script>(.*?)</script>", response.text, re.DOTALL)
    assert [page._hash(script) in policy for script in scripts] == [True]
    assert "innerHTML" not in scripts[0]
    assert call(emulator, "GET", "/", headers={"Accept": "*/*"}).json()["code"] == 20404
