"""The test support under every framework and setting of the table in `docs/how-to/testing.md`.

Each row runs in a real test session, in a process of its own, with no plugins but its own.
"""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs
import pytest
from support.paths import PROJECT

SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
PAGE = PROJECT / "docs" / "how-to" / "testing.md"
TRIO = "marketplace_client needs asyncio, and this test runs on trio"

ASYNC_TESTS = f"""
import pytest

pytestmark = [MARKS]


class TestInstalling:
    @pytest.mark.parametrize("again", [1, 2])
    async def test_client(self, marketplace_client, marketplace_emulator, again):
        await marketplace_client.installed_add_ons.create(
            available_add_on_sid="{SPAM_SCORE}", accept_terms_of_service=True
        )
        assert len(await marketplace_client.installed_add_ons.list().collect()) == 1
        assert len(marketplace_emulator.state().installations) == 1
        assert len(marketplace_emulator.log) == 2

    @pytest.mark.parametrize("again", [1, 2])
    async def test_emulator(self, marketplace_emulator, again):
        assert marketplace_emulator.state().installations == ()
        marketplace_emulator.install("AC" + "1" * 32, "{SPAM_SCORE}")
        assert len(marketplace_emulator.state().installations) == 1
"""
SYNCHRONOUS_TESTS = f"""
import asyncio

import pytest
from twilio.rest import Client


@pytest.fixture
def twilio(marketplace_emulator):
    client = Client("AC" + "1" * 32, "made-up")
    client.marketplace.base_url = marketplace_emulator.url
    return client


@pytest.mark.parametrize("again", [1, 2])
def test_emulator(twilio, marketplace_emulator, again):
    installed = twilio.marketplace.v1.installed_add_ons
    sid = installed.create("{SPAM_SCORE}", accept_terms_of_service=True).sid
    assert [one.sid for one in installed.list()] == [sid]
    assert [one.sid for one in marketplace_emulator.state().installations] == [sid]


@pytest.mark.parametrize("again", [1, 2])
def test_client(marketplace_client, again):
    async def count():
        return len(await marketplace_client.installed_add_ons.list().collect())

    assert [asyncio.run(count()), asyncio.run(count())] == [0, 0]
"""
STARLETTE_TESTS = f"""
import contextlib

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from marketplace_async import MarketplaceClient
from marketplace_async.testing import account


async def listed(request):
    client = request.app.state.client
    return JSONResponse([one.sid async for one in client.installed_add_ons.list()])


@pytest.mark.parametrize("again", [1, 2])
def test_emulator(marketplace_emulator, again):
    @contextlib.asynccontextmanager
    async def lifespan(app):
        async with MarketplaceClient(account(), base_url=marketplace_emulator.url) as client:
            app.state.client = client
            yield

    (sid,) = marketplace_emulator.install(account().account_sid, "{SPAM_SCORE}")
    with TestClient(Starlette(routes=[Route("/", listed)], lifespan=lifespan)) as http:
        assert http.get("/").json() == [sid]


@pytest.mark.parametrize("again", [1, 2])
def test_client(marketplace_client, marketplace_emulator, again):
    app = Starlette(routes=[Route("/", listed)])
    app.state.client = marketplace_client
    marketplace_emulator.install(account().account_sid, "{SPAM_SCORE}")
    with TestClient(app) as http:
        assert len(http.get("/").json()) == 1
"""
ASYNC_UNITTESTS = f"""
import unittest

from marketplace_async.testing import account, emulated


class Tests(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.client, self.emulator = await self.enterAsyncContext(emulated())

    async def test_client(self):
        self.emulator.install(account().account_sid, "{SPAM_SCORE}")
        self.assertEqual(len(await self.client.installed_add_ons.list().collect()), 1)

    async def test_client_again(self):
        self.assertEqual(await self.client.installed_add_ons.list().collect(), [])

    async def test_emulator(self):
        self.emulator.install(account().account_sid, "{SPAM_SCORE}")
        self.assertEqual(len(self.emulator.state().installations), 1)

    async def test_emulator_again(self):
        self.assertEqual(self.emulator.state().installations, ())
"""
UNITTESTS = f"""
import asyncio
import unittest

from twilio.rest import Client

from marketplace_async import MarketplaceClient
from marketplace_async.testing import account, emulated_sync


class Tests(unittest.TestCase):
    def setUp(self):
        self.url, self.emulator = self.enterContext(emulated_sync())
        self.twilio = Client(account().account_sid, "made-up")
        self.twilio.marketplace.base_url = self.url

    def list(self):
        async def run():
            async with MarketplaceClient(account(), base_url=self.url) as client:
                return await client.installed_add_ons.list().collect()

        return asyncio.run(run())

    def test_client(self):
        self.emulator.install(account().account_sid, "{SPAM_SCORE}")
        self.assertEqual(len(self.list()), 1)

    def test_client_again(self):
        self.assertEqual(self.list(), [])

    def test_emulator(self):
        self.emulator.install(account().account_sid, "{SPAM_SCORE}")
        self.assertEqual(len(self.twilio.marketplace.v1.installed_add_ons.list()), 1)

    def test_emulator_again(self):
        self.assertEqual(self.twilio.marketplace.v1.installed_add_ons.list(), [])
"""


FIXTURE_SCOPE = "asyncio_default_fixture_loop_scope = function"


@attrs.frozen
class Row:
    """One row of the table, and the tests that prove it.

    Rows with the same plugins and settings share a session.
    """

    name: str
    tests: str
    plugins: tuple[str, ...] = ("pytest_asyncio.plugin",)
    ini: str = FIXTURE_SCOPE
    needs: tuple[str, ...] = ()
    client_fails: str | None = None


def marked(marks: str) -> str:
    return ASYNC_TESTS.replace("MARKS", marks)


def anyio(name: str, backend: str, **more: Any) -> Row:
    fixture = f"\n\n@pytest.fixture\ndef anyio_backend():\n    return {backend}\n"
    return Row(f"anyio: {name}", marked("pytest.mark.anyio") + fixture, ("anyio",), "", **more)


ROWS = [
    *(
        Row(
            f'pytest-asyncio: `loop_scope="{scope}"`',
            marked(f'pytest.mark.asyncio(loop_scope="{scope}")'),
        )
        for scope in ("function", "class", "module", "package", "session")
    ),
    *(
        Row(
            f"pytest-asyncio: `{setting}`",
            marked(""),
            ini=f"asyncio_mode = auto\n{setting}\n{more}",
        )
        for setting, more in (
            ("asyncio_default_test_loop_scope = module", FIXTURE_SCOPE),
            ("asyncio_default_test_loop_scope = session", FIXTURE_SCOPE),
            (
                "asyncio_default_fixture_loop_scope = session",
                "asyncio_default_test_loop_scope = function",
            ),
        )
    ),
    anyio("asyncio", '"asyncio"'),
    anyio("asyncio on uvloop", '("asyncio", {"use_uvloop": True})', needs=("uvloop",)),
    anyio("trio", '"trio"', needs=("trio",), client_fails=TRIO),
    Row("plain `def test`, with a synchronous client", SYNCHRONOUS_TESTS, needs=("twilio",)),
    Row("Starlette and FastAPI: `TestClient`", STARLETTE_TESTS, needs=("starlette", "httpx")),
    Row("`unittest.IsolatedAsyncioTestCase`: `emulated`", ASYNC_UNITTESTS),
    Row("`unittest.TestCase`: `emulated_sync`", UNITTESTS, needs=("twilio",)),
    Row(
        "pytest-xdist: `-n 2`",
        marked("pytest.mark.asyncio"),
        ("pytest_asyncio.plugin", "xdist"),
        needs=("xdist",),
    ),
]
# Starlette warns of a version of httpx.
INI = "[pytest]\nfilterwarnings =\n    error\n    ignore:Using `httpx`\n"


def is_installed(row: Row) -> bool:
    return all(find_spec(package) for package in row.needs)


class Sessions:
    """Runs a test session for each combination of plugins and settings, once."""

    def __init__(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self._tmp_path_factory = tmp_path_factory
        self._outputs: dict[tuple[object, ...], str] = {}

    def output(self, row: Row) -> str:
        key = row.plugins, row.ini
        if key not in self._outputs:
            self._outputs[key] = self._run(*key)
        return self._outputs[key]

    def _run(self, plugins: tuple[str, ...], ini: str) -> str:
        folder = self._tmp_path_factory.mktemp("session")
        (folder / "pytest.ini").write_text(f"{INI}{ini}\n")
        (folder / "conftest.py").write_text('pytest_plugins = ["marketplace_async.testing"]')
        for row in ROWS:
            if (row.plugins, row.ini) == (plugins, ini) and is_installed(row):
                (folder / f"{file_of(row)}").write_text(row.tests)
        options = [option for plugin in plugins for option in ("-p", plugin)]
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", *options),
                *(["-n", "2"] if "xdist" in plugins else []),
            ],
            cwd=folder,
            env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return done.stdout + done.stderr


def file_of(row: Row) -> str:
    return f"test_{ROWS.index(row)}.py"


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Sessions:
    return Sessions(tmp_path_factory)


@pytest.mark.parametrize("of", ["emulator", "client"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_table_is_true(row: Row, of: str, sessions: Sessions) -> None:
    if not is_installed(row):
        pytest.skip(f"{row.needs} are not installed")
    output = sessions.output(row)
    results = re.findall(rf"^(\w+) {file_of(row)}::\S*test_{of}", output, re.MULTILINE)
    if of == "client" and row.client_fails is not None:
        assert results == ["ERROR", "ERROR"], output
        assert row.client_fails in output
    else:
        assert results == ["PASSED", "PASSED"], output


def test_unittest_needs_no_pytest(tmp_path: Path) -> None:
    pytest.importorskip("twilio")
    (tmp_path / "test_async.py").write_text(ASYNC_UNITTESTS)
    (tmp_path / "test_sync.py").write_text(UNITTESTS)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "unittest"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "Ran 8 tests" in done.stderr


def test_the_documentation_has_this_table() -> None:
    documented = re.findall(
        r"^\| (.+?) \| (works) \| (works|fails, and says why) \|$", PAGE.read_text(), re.MULTILINE
    )
    assert documented == [
        (row.name, "works", "works" if row.client_fails is None else "fails, and says why")
        for row in ROWS
    ]
