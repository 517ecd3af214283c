"""A fleet of which some accounts are trouble, and which somebody changes during every run."""

import asyncio
import base64
import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web
from reliability.emulators import emulator
from support.fleet import SPAM_SCORE, SPAM_SCORE_FOR_ALL, VOICEBASE

from marketplace_async import AccountToken, MarketplaceClient, bulk

KILLS = 12
TIMEOUT = 5  # seconds for one account

DESIRED = f"""
{SPAM_SCORE_FOR_ALL}
[[add_ons]]
unique_name = "old"
available_add_on_sid = "{SPAM_SCORE}"
state = "absent"
accounts = "all"
"""


class Front:
    """Passes requests on to an emulator, except those of troubled accounts.

    Args:
        target: The URL of the emulator.
        hang: The accounts whose requests are never answered.
        endless: The accounts whose list of installed Add-ons never ends.
        suspended: The accounts whose requests are rejected.
    """

    def __init__(self, target: str, hang: set[str], endless: set[str], suspended: set[str]) -> None:
        self.url = ""
        self.created: Counter[str] = Counter()
        self._target = target
        self._hang, self._endless, self._suspended = hang, endless, suspended

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        connector = aiohttp.TCPConnector(limit=0)
        try:
            async with aiohttp.ClientSession(connector=connector) as self._session:
                yield
        finally:
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        user = base64.b64decode(request.headers["Authorization"][6:]).decode().partition(":")[0]
        account = f"AC{user[2:]}"
        is_list = request.path == "/v1/InstalledAddOns" and request.method == "GET"
        if account in self._hang:
            await asyncio.sleep(3600)
        if account in self._suspended:
            return web.json_response({"code": 20003, "message": "Suspended"}, status=403)
        if account in self._endless and is_list:
            await asyncio.sleep(0.05)
            number = int(request.query.get("PageToken", "PA0")[2:]) + 1
            more = f"{self.url}/v1/InstalledAddOns?PageSize=50&PageToken=PA{number}"
            record = {"sid": f"XE{number:032x}", "account_sid": account}
            meta = {"key": "installed_add_ons", "next_page_url": more}
            return web.json_response({"installed_add_ons": [record], "meta": meta})
        async with self._session.request(
            request.method,
            f"{self._target}{request.path_qs}",
            headers={
                name: value
                for name, value in request.headers.items()
                if name in ("Authorization", "Content-Type")
            },
            data=await request.read(),
        ) as response:
            body = (await response.read()).replace(self._target.encode(), self.url.encode())
            if response.status == 201 and request.path == "/v1/InstalledAddOns":
                self.created[json.loads(body)["account_sid"]] += 1
            return web.Response(
                status=response.status, body=body, content_type=response.content_type
            )


class Fleet:
    """The accounts, their file, and the command that is killed."""

    def __init__(self, folder: Path, total: int) -> None:
        self.folder = folder
        sids = [f"AC{number:032x}" for number in range(1, total + 1)]
        share = total // 100
        random.Random(1).shuffle(sids)
        self.hang, self.endless, self.suspended, self.mistaken = (
            set(sids[share * part : share * (part + 1)]) for part in range(4)
        )
        sound = sids[share * 4 :]
        self.sabotaged, self.sound = sound[: total // 20], sound
        self.sids = sids
        self.replaced: dict[str, str] = {}
        (folder / "fleet.toml").write_text(DESIRED)
        file = folder / "accounts.csv"
        file.touch(mode=0o600)
        rows = []
        others = iter(sound)
        for sid in sorted(sids):  # troubled accounts are anywhere in the file
            if sid in self.mistaken:  # the key of another account
                rows.append(f"{sid},,SK{next(others)[2:]},x")
            else:
                rows.append(f"{sid},x,,")
        file.write_text("account_sid,auth_token,api_key,api_secret\n" + "\n".join(rows) + "\n")

    def start(self, url: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "marketplace_async", "apply", "fleet.toml", "--yes"),
                *("--accounts", "accounts.csv", "-o", "json", "--account-timeout", str(TIMEOUT)),
            ],
            env={
                **os.environ,
                "MARKETPLACE_BASE_URL": url,
                "MARKETPLACE_PROFILES": str(self.folder / "profiles.toml"),
            },
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    async def fill(self, url: str) -> None:
        """Install an Add-on that is to be removed."""

        async def install(sid: str) -> None:
            await client.with_credentials(AccountToken(sid, "x")).installed_add_ons.create(
                available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True, unique_name="old"
            )

        async with MarketplaceClient(AccountToken(self.sids[0], "x"), base_url=url) as client:
            await bulk.gather(install, self.sids)

    async def sabotage(self, url: str, chance: random.Random) -> None:
        """Replace the Add-on of some accounts by another one of the same name, now and then."""
        async with MarketplaceClient(AccountToken(self.sids[0], "x"), base_url=url) as client:
            for sid in self.sabotaged:
                await asyncio.sleep(chance.expovariate(1.0))
                add_ons = client.with_credentials(AccountToken(sid, "x")).installed_add_ons
                async for one in add_ons.list():
                    if one.unique_name == "old":
                        await add_ons.delete(one.sid)
                installed = await add_ons.create(
                    available_add_on_sid=VOICEBASE,
                    accept_terms_of_service=True,
                    configuration={"callback_url": "https://example.com"},
                    unique_name="old",
                )
                self.replaced[sid] = installed.sid

    async def state(self, url: str) -> dict[str, dict[str, str]]:
        """Return, by account, the SID by unique name, with * per enabled extension."""

        async def read(sid: str) -> tuple[str, dict[str, str]]:
            add_ons = client.with_credentials(AccountToken(sid, "x")).installed_add_ons
            found: dict[str, str] = {}
            async for one in add_ons.list():
                extensions = await add_ons.extensions(one.sid).list().collect()
                stars = "*" * sum(extension.enabled is True for extension in extensions)
                name = f"{one.unique_name}{stars}"
                assert name not in found
                found[name] = one.sid
            return sid, found

        async with MarketplaceClient(AccountToken(self.sids[0], "x"), base_url=url) as client:
            return dict(await bulk.gather(read, self.sids))


async def troubled_fleet(total: int, chance: random.Random) -> tuple[str, int]:
    """Apply, killed at random, until it ends. Return a summary and the number of violations."""
    with tempfile.TemporaryDirectory() as folder:
        fleet = Fleet(Path(folder), total)
        async with emulator() as process:
            await fleet.fill(process.url)
            front = Front(process.url, fleet.hang, fleet.endless, fleet.suspended)
            kills = 0
            async with front.served():
                saboteur = asyncio.create_task(fleet.sabotage(process.url, chance))
                while kills < KILLS:
                    job = fleet.start(front.url)
                    await asyncio.to_thread(time.sleep, chance.uniform(1, TIMEOUT + 3))
                    job.kill()
                    await asyncio.to_thread(job.communicate)
                    kills += job.returncode == -signal.SIGKILL
                await saboteur
                job = fleet.start(front.url)
                output, errors = await asyncio.to_thread(job.communicate)
            state = await fleet.state(process.url)
        if not output:
            return f"apply ended with status {job.returncode}: {errors}", 1
        wrong = _violations(fleet, front, state, json.loads(output), job.returncode)
    text = (
        f"apply to {total:,} accounts, killed {kills} times; {4 * len(fleet.hang)} are trouble, "
        f"{len(fleet.replaced)} were changed meanwhile: {len(wrong)} violations"
    )
    for line in wrong[:10]:
        print(line, file=sys.stderr)
    return text, len(wrong)


def _violations(
    fleet: Fleet,
    front: Front,
    state: dict[str, dict[str, str]],
    report: dict[str, object],
    status: int,
) -> list[str]:
    wrong: list[str] = []
    troubled = fleet.hang | fleet.endless | fleet.suspended | fleet.mistaken
    for sid, names in state.items():
        expected = {"old"} if sid in troubled else {"spam-score*"}
        if sid in fleet.replaced:
            expected = {"old", "spam-score*"}
            if names.get("old") != fleet.replaced[sid]:
                wrong.append(f"{sid}: what the saboteur installed is gone")
        if set(names) != expected:
            wrong.append(f"{sid}: has {sorted(names)}, expected {sorted(expected)}")
    wrong += [
        f"{sid}: installed {count} times" for sid, count in front.created.items() if count > 1
    ]
    wrong += [f"{sid}: was changed" for sid in troubled & front.created.keys()]
    failures = {one["account_sid"]: one["error"] for one in report["failures"]}  # type: ignore[attr-defined]
    kinds = {
        "AccountTimeoutError": fleet.hang | fleet.endless,
        "PermissionDeniedError": fleet.suspended,
        "CredentialsError": fleet.mistaken,
        "ConflictError": fleet.replaced.keys(),
    }
    for error, sids in kinds.items():
        wrong += [
            f"{sid}: reported as {failures.get(sid)}, expected {error}"
            for sid in sids
            if failures.get(sid) != error
        ]
    counts = report["counts"]
    assert isinstance(counts, dict)
    expected_failures = len(troubled) + len(fleet.replaced)
    if (counts["failed"], counts["accounts"], counts["done"]) != (
        expected_failures,
        len(fleet.sids),
        len(fleet.sids) - expected_failures,
    ):
        wrong.append(f"the counts are wrong: {counts}")
    if status != 3:
        wrong.append(f"the exit status is {status}")
    with contextlib.closing(sqlite3.connect(fleet.folder / "fleet.journal")) as journal:
        query = "SELECT count(*) FROM writes WHERE outcome IN ('begun', 'unknown')"
        (left,) = journal.execute(query).fetchone()
    if left:
        wrong.append(f"{left} writes are unknown for ever")
    return wrong
