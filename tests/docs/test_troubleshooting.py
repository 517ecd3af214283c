"""Each message on the page about troubleshooting is raised here, and is the one on the page."""

import asyncio
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import pytest
from aiohttp import web
from support.certificates import Authority, tls_server
from support.command_line import Cli
from support.manual import DOCS
from support.paths import PROJECT
from support.proxies import proxy
from support.raw_servers import free_port, web_server

from marketplace_async import (
    AccountToken,
    ApiKey,
    MarketplaceClient,
    MarketplaceError,
    Retry,
    configuration_errors,
    webhooks,
)
from marketplace_async.emulator import Emulator
from marketplace_async.testing import account

PAGE = (DOCS / "how-to" / "troubleshooting.md").read_text()
SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
VOICE_BASE = "XB7afe11af3e292cadb03248e0066b8c1e"  # it requires a `callback_url`
WATSON = "XB85b56ed9ce713e0ac62342b901233193"
XE = "XE" + "a" * 32
DESIRED = f"""
[[add_ons]]
unique_name = "spam-score"
available_add_on_sid = "{SPAM_SCORE}"
accept_terms_of_service = true
accounts = "all"
"""
ONCE = Retry(attempts=1)
AT_ONCE = Retry(initial_backoff=0)


@attrs.frozen
class Scene:
    """What a symptom can use: an emulator with a client, the command line, and a folder."""

    emulator: Emulator
    client: MarketplaceClient
    cli: Cli
    folder: Path
    patch: pytest.MonkeyPatch

    async def install(self, **more: Any) -> str:
        installed = await self.client.installed_add_ons.create(
            available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True, **more
        )
        return installed.sid


Symptom: TypeAlias = Callable[[Scene], Awaitable[object] | str]
SYMPTOMS: dict[str, Symptom] = {}


def message(text: str) -> Callable[[Symptom], Symptom]:
    """Register a symptom under a message of the page. It raises the error, or returns its text."""

    def register(symptom: Symptom) -> Symptom:
        SYMPTOMS[text] = symptom
        return symptom

    return register


# -- install and start


@message("needs an extra: install marketplace_async[schema]")
async def _(scene: Scene) -> None:
    scene.patch.setitem(sys.modules, "jsonschema_rs", None)
    configuration_errors(await scene.client.available_add_ons.fetch(WATSON), {})


@message("no credentials found")
def _(scene: Scene) -> str:
    scene.patch.delenv("TWILIO_ACCOUNT_SID")
    scene.patch.delenv("TWILIO_AUTH_TOKEN")
    return scene.cli("installed", "list").err


@message("missing from the environment: set TWILIO_API_KEY and TWILIO_API_SECRET, or")
async def _(scene: Scene) -> None:
    scene.patch.delenv("TWILIO_AUTH_TOKEN")
    MarketplaceClient.from_env()


@message("is not the SID of ...")
async def _(scene: Scene) -> None:
    await scene.client.installed_add_ons.fetch("XE1")


@message("base_url: leave out /v1, the client adds it")
async def _(scene: Scene) -> None:
    MarketplaceClient(account(), base_url=f"{scene.emulator.url}/v1")


@message("plain http would send the credentials to ... unencrypted")
async def _(scene: Scene) -> None:
    MarketplaceClient(account(), base_url="http://marketplace.example.com")


@message("this client is bound to another event loop that is still running")
async def _(scene: Scene) -> None:
    async with MarketplaceClient(account(), base_url=scene.emulator.url) as client:
        await client.available_add_ons.list(limit=1).first()

        def in_another_loop() -> None:
            asyncio.run(client.available_add_ons.fetch(WATSON))

        await asyncio.to_thread(in_another_loop)


@message("this client is closed")
async def _(scene: Scene) -> None:
    client = MarketplaceClient(account(), base_url=scene.emulator.url)
    await client.aclose()
    await client.available_add_ons.fetch(WATSON)


# -- connect


@message("cannot connect to ...: ...")
async def _(scene: Scene) -> None:
    base_url = f"http://127.0.0.1:{free_port()}"
    async with MarketplaceClient(account(), base_url=base_url, retry=ONCE) as client:
        await client.available_add_ons.fetch(WATSON)


@message("the certificate of ... cannot be verified: ...; to trust its CA, set SSL_CERT_FILE")
async def _(scene: Scene) -> None:
    context = Authority(scene.folder).server()
    async with tls_server(context) as url, MarketplaceClient(account(), base_url=url) as client:
        await client.installed_add_ons.fetch(XE)


@message("does this port speak TLS?")
async def _(scene: Scene) -> None:
    base_url = scene.emulator.url.replace("http:", "https:")
    async with MarketplaceClient(account(), base_url=base_url) as client:
        await client.installed_add_ons.fetch(XE)


@message("the proxy ... refused to connect: 407 ...; set the user name and password in its URL")
async def _(scene: Scene) -> None:
    async with proxy(password="made-up") as running:
        address = f"http://{running.address}"
        async with MarketplaceClient(account(), proxy=address) as client:
            await client.installed_add_ons.fetch(XE)


@message("no response within ... s")
async def _(scene: Scene) -> None:
    scene.emulator.faults.add("GET", "*", delay=5.0)
    await scene.client.with_options(timeout=0.05, retry=ONCE).installed_add_ons.fetch(XE)


@message("the deadline of ... s has passed")
async def _(scene: Scene) -> None:
    scene.emulator.faults.add("GET", "*", delay=5.0)
    await scene.client.with_options(deadline=0.05).installed_add_ons.fetch(XE)


@message("the server closed the connection before it responded")
async def _(scene: Scene) -> None:
    scene.emulator.faults.add("GET", "*", drop=True)
    await scene.client.with_options(retry=ONCE).installed_add_ons.fetch(XE)


@message("after 4 attempts in ... s")
async def _(scene: Scene) -> None:
    scene.emulator.faults.add("GET", "*", status=500, times=None)
    await scene.client.with_options(retry=AT_ONCE).installed_add_ons.fetch(XE)


# -- errors of the service


@message("401 20003")
async def _(scene: Scene) -> None:
    async with Emulator(accounts={account().account_sid: "made-up"}) as emulator:
        wrong = AccountToken(account().account_sid, "wrong")
        async with MarketplaceClient(wrong, base_url=emulator.url) as client:
            await client.available_add_ons.fetch(WATSON)


@message("403 20403")
async def _(scene: Scene) -> None:
    ((sid, token),) = scene.emulator.add_subaccounts(account().account_sid, 1, status="suspended")
    suspended = scene.client.with_credentials(AccountToken(sid, token))
    await suspended.available_add_ons.fetch(WATSON)


@message("404 20404")
async def _(scene: Scene) -> None:
    await scene.client.installed_add_ons.fetch(XE)


@message("400 20001: ...onfiguration...")
async def _(scene: Scene) -> None:
    await scene.client.installed_add_ons.create(
        available_add_on_sid=VOICE_BASE, accept_terms_of_service=True
    )


@message("409 20409")
async def _(scene: Scene) -> None:
    await scene.install(unique_name="spam")
    await scene.install(unique_name="spam")


@message("429 20429")
async def _(scene: Scene) -> None:
    scene.emulator.faults.add("GET", "*", status=429)
    await scene.client.with_options(retry=ONCE).installed_add_ons.fetch(XE)


@message("not sent: the account is paused for ... s more")
async def _(scene: Scene) -> None:
    scene.emulator.faults.add("GET", "*", status=429, retry_after=60)
    with suppress(MarketplaceError):
        await scene.client.installed_add_ons.fetch(XE)
    await scene.client.installed_add_ons.fetch(XE)


@message("not retried: the retry quota of this account is used up")
async def _(scene: Scene) -> None:
    scene.emulator.faults.add("GET", "*", status=500, times=None)
    client = scene.client.with_options(retry=AT_ONCE)
    errors = [await _error_of(client.installed_add_ons.fetch(XE)) for _ in range(20)]
    raise errors[-1]


@message("redirected to ..., which is not followed")
async def _(scene: Scene) -> None:
    async def redirect(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "https://login.example.com/"})

    async with web_server(redirect) as url, MarketplaceClient(account(), base_url=url) as client:
        await client.with_options(retry=ONCE).installed_add_ons.fetch(XE)


@message("a page with the title ...")
async def _(scene: Scene) -> None:
    async def page(request: web.Request) -> web.Response:
        return web.Response(status=502, text="<title>Bad gateway</title>", content_type="text/html")

    async with web_server(page) as url, MarketplaceClient(account(), base_url=url) as client:
        await client.with_options(retry=ONCE).installed_add_ons.fetch(XE)


# -- writes


@message("... may or may not have taken effect: ...")
async def _(scene: Scene) -> None:
    scene.emulator.faults.add("POST", "*", drop=True, when="after")
    await scene.install()


@message("; an earlier attempt may have taken effect")
async def _(scene: Scene) -> None:
    sid = await scene.install()
    scene.emulator.faults.add("POST", "*", drop=True, when="after")
    scene.emulator.faults.add("POST", "*", status=403)
    await scene.client.with_options(retry=AT_ONCE).installed_add_ons.update(
        sid, unique_name="other"
    )


@message("the request was accepted, but ...")
async def _(scene: Scene) -> None:
    async def accept(request: web.Request) -> web.Response:
        return web.json_response({"sid": XE, "account_sid": account(2).account_sid}, status=201)

    async with web_server(accept) as url, MarketplaceClient(account(), base_url=url) as client:
        await client.installed_add_ons.create(
            available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True
        )


@message("not as asked: ...")
async def _(scene: Scene) -> None:
    async def add_a_default(request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.json_response({"installed_add_ons": [], "meta": {"next_page_url": None}})
        document = {
            "sid": XE,
            "account_sid": account().account_sid,
            "available_add_on_sid": SPAM_SCORE,
            "unique_name": "spam",
            "configuration": {"level": 1},
            "links": {},
        }
        return web.json_response(document, status=201)

    async with (
        web_server(add_a_default) as url,
        MarketplaceClient(account(), base_url=url) as client,
    ):
        await client.installed_add_ons.ensure(
            unique_name="spam",
            available_add_on_sid=SPAM_SCORE,
            accept_terms_of_service=True,
            configuration={},
        )


@message("the service did not return a readable ...")
async def _(scene: Scene) -> None:
    async def without_configuration(request: web.Request) -> web.Response:
        record = {
            "sid": XE,
            "account_sid": account().account_sid,
            "available_add_on_sid": SPAM_SCORE,
            "unique_name": "spam",
            "links": {},
        }
        meta = {"key": "installed_add_ons", "next_page_url": None}
        return web.json_response({"installed_add_ons": [record], "meta": meta})

    async with (
        web_server(without_configuration) as url,
        MarketplaceClient(account(), base_url=url) as client,
    ):
        await client.installed_add_ons.ensure(
            unique_name="spam",
            available_add_on_sid=SPAM_SCORE,
            accept_terms_of_service=True,
            configuration={},
        )


# -- responses


@message("the body is not JSON: ...")
async def _(scene: Scene) -> None:
    scene.emulator.faults.add("GET", "*", body="garbled")
    await scene.client.with_options(retry=ONCE).available_add_ons.fetch(WATSON)


@message("the body is larger than ... bytes")
async def _(scene: Scene) -> None:
    async with MarketplaceClient(
        account(), base_url=scene.emulator.url, max_response_size=100
    ) as client:
        await client.available_add_ons.fetch(WATSON)


@message("... does not belong to this list: account_sid is ..., not ...")
async def _(scene: Scene) -> None:
    key = ApiKey("SK" + "2".zfill(32), "made-up", account_sid=account().account_sid)
    scene.emulator.install(account(2).account_sid, SPAM_SCORE)
    await scene.client.with_credentials(key).installed_add_ons.list().collect()


@message("the link to the next page: points back to a page already read, ...")
async def _(scene: Scene) -> None:
    scene.emulator.faults.add("GET", "/v1/AvailableAddOns", next_link="repeated")
    await scene.client.available_add_ons.list(page_size=5).collect()


@message("the page is full, and does not say whether there is another one")
async def _(scene: Scene) -> None:
    async def page(request: web.Request) -> web.Response:
        meta = {"key": "available_add_ons"}
        return web.json_response({"available_add_ons": [{"sid": SPAM_SCORE}], "meta": meta})

    async with web_server(page) as url, MarketplaceClient(account(), base_url=url) as client:
        await client.available_add_ons.list(page_size=1).collect()


# -- jobs and the command line


@message("it contains secrets, but other users have access: run chmod 600 ...")
def _(scene: Scene) -> str:
    file = scene.folder / "accounts.csv"
    file.write_text(f"account_sid,auth_token\n{account().account_sid},made-up\n")
    file.chmod(0o644)
    return scene.cli("inventory", "--accounts", str(file)).err


@message("... already exists")
def _(scene: Scene) -> str:
    file = scene.folder / "fleet.csv"
    assert scene.cli("inventory", "--subaccounts", "--to", str(file)).status == 0
    return scene.cli("inventory", "--subaccounts", "--to", str(file)).err


@message("... is a symbolic link")
def _(scene: Scene) -> str:
    file = scene.folder / "fleet.csv"
    file.symlink_to("elsewhere.csv")
    return scene.cli("inventory", "--subaccounts", "--to", str(file)).err


@message("... belongs to another fleet: ...")
def _(scene: Scene) -> str:
    desired, journal = scene.folder / "fleet.toml", scene.folder / "fleet.journal"
    desired.write_text(DESIRED)
    options = ("--journal", str(journal), "--yes")
    assert scene.cli("apply", str(desired), "--subaccounts", *options).status == 0
    accounts = scene.folder / "accounts.csv"
    accounts.touch(mode=0o600)
    accounts.write_text(f"account_sid,auth_token\n{account(2).account_sid},made-up\n")
    return scene.cli("apply", str(desired), "--accounts", str(accounts), *options).err


@message("changed since the plan")
def _(scene: Scene) -> str:
    desired, plan = scene.folder / "fleet.toml", scene.folder / "plan.jsonl"
    desired.write_text('[[add_ons]]\nunique_name = "old"\naccounts = "all"\nstate = "absent"\n')
    (sid,) = scene.emulator.install(account().account_sid, SPAM_SCORE, unique_name="old")
    scene.cli("plan", str(desired), "--subaccounts", "--out", str(plan))

    async def change() -> None:
        async with scene.client as client:
            await client.installed_add_ons.delete(sid)
        scene.emulator.install(account().account_sid, SPAM_SCORE, unique_name="old")

    asyncio.run(change())
    options = ("--journal", str(scene.folder / "fleet.journal"), "--yes")
    finished = scene.cli("apply", "--plan", str(plan), "--subaccounts", *options)
    return finished.out + finished.err


# -- webhooks


@message("the signature does not match the request")
async def _(scene: Scene) -> None:
    webhooks.verify(url="https://example.com/hooks", signature="forged", auth_token="made-up")


@message("the request has no X-Twilio-Signature header")
async def _(scene: Scene) -> None:
    webhooks.verify(url="https://example.com/hooks", signature=None, auth_token="made-up")


@message("the body does not match the bodySHA256 of the URL")
async def _(scene: Scene) -> None:
    url = f"https://example.com/hooks?bodySHA256={'0' * 64}"
    webhooks.verify(url=url, body=b"{}", signature="forged", auth_token="made-up")


# -- tests


@message("path: ... matches no route; the closest is ...")
async def _(scene: Scene) -> None:
    scene.emulator.faults.add("GET", "/v1/InstaledAddOns", status=500)


@message("no request matched 1 of the faults")
def _(scene: Scene) -> str:
    (scene.folder / "test_it.py").write_text(
        "pytest_plugins = ['marketplace_async.testing']\n"
        "def test_it(marketplace_emulator):\n"
        "    marketplace_emulator.faults.add('GET', '*', status=500)\n"
    )
    arguments = ("-m", "pytest", "-p", "no:cacheprovider", "--rootdir", ".", "test_it.py")
    scene.patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return run(scene, *arguments)


def run(scene: Scene, *arguments: str) -> str:
    """Run Python in the folder of the scene, and return what it prints."""
    finished = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        cwd=scene.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return finished.stdout + finished.stderr


async def _error_of(call: Awaitable[object]) -> MarketplaceError:
    with pytest.raises(MarketplaceError) as caught:
        await call
    return caught.value


@pytest.fixture
def scene(served: Emulator, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    client = MarketplaceClient(account(), base_url=served.url)
    return Scene(served, client, cli, tmp_path, monkeypatch)


@pytest.mark.parametrize("text", SYMPTOMS)
def test_a_message_on_the_page_is_the_real_one(text: str, scene: Scene) -> None:
    shown = raised(SYMPTOMS[text], scene)
    assert re.search(".*?".join(map(re.escape, text.split("..."))), shown, re.DOTALL), shown


def raised(symptom: Symptom, scene: Scene) -> str:
    async def in_a_loop() -> object:
        async with scene.client:
            result = symptom(scene)
            return result if isinstance(result, str) else await result

    try:
        # The command line has an event loop of its own.
        in_loop = inspect.iscoroutinefunction(symptom)
        return str(asyncio.run(in_a_loop()) if in_loop else symptom(scene))
    except (MarketplaceError, ValueError, TypeError) as error:
        return str(error)


def test_the_page_has_every_message_and_no_other() -> None:
    assert re.findall(r"^\| `(.+?)` \|", PAGE, re.MULTILINE) == [*SYMPTOMS]
