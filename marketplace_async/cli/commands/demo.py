"""`marketplace-async demo`: a tour of the client against an emulator."""

import asyncio
import uuid
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.syntax import Syntax
from rich.table import Table

from ... import (
    AccountToken,
    BadRequestError,
    ConflictError,
    InstalledAddOn,
    MarketplaceClient,
    MarketplaceError,
    bulk,
)
from ..._core.clocks import monotonic
from ...testing import emulated
from ..streams import output_console

if TYPE_CHECKING:
    from ...emulator import Emulator

TRANSCRIPTION = "XB85b56ed9ce713e0ac62342b901233193"
SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
CONFIGURATION = {"callback_url": "https://example.com/done", "callback_method": "POST"}

NAME = "marketplace_async"
READING = 500  # accounts of the last scene
LATENCY = 0.002  # seconds per response in it

NEXT_STEPS = """\
What next?

{install}  marketplace-async emulator --port 8912     an emulator to develop against

and in another terminal:

  export MARKETPLACE_BASE_URL=http://127.0.0.1:8912
  export TWILIO_ACCOUNT_SID=AC00000000000000000000000000000001
  export TWILIO_AUTH_TOKEN=made-up
  python -m asyncio                          a prompt that supports `await`
  >>> from marketplace_async import MarketplaceClient
  >>> client = MarketplaceClient.from_env()
  >>> await client.available_add_ons.list().collect()

The documentation covers the rest.
"""


def next_steps(path: str = __file__) -> str:
    """Return what to do next. It fits how the package was installed, which its path tells."""
    folders = Path(path).parts
    if "pipx" in folders or {"uv", "tools"} <= {*folders}:  # in an environment of its own
        install = f"pip install '{NAME}'           in the environment of your project"
    elif "uv" in folders:  # uvx: in a cache
        install = f"uv tool install '{NAME}[cli]'"
    elif ".nox" in folders:
        install = "pip install '.[cli]'                       in an environment of your own"
    else:
        install = ""
    return NEXT_STEPS.format(install=f"  {install}\n" if install else "")


class Unexpected(Exception):
    """A step had an unexpected result."""


def expect(condition: bool, problem: str) -> None:
    if not condition:
        raise Unexpected(problem)


async def run(base_url: str | None, console: Console | None = None) -> int:
    """Run the demo and return its exit status."""
    console = console or output_console(soft_wrap=False)
    started = monotonic()
    accounts = [AccountToken(f"AC{uuid.uuid4().hex}", "made-up") for _ in range(3)]
    demo = Demo(console)
    emulator: Emulator | None = None
    try:
        async with AsyncExitStack() as stack:
            if base_url is None:
                client, own = await stack.enter_async_context(emulated())
                emulator = own
                where = f"an emulator at {own.url}"
            else:
                client = await stack.enter_async_context(
                    MarketplaceClient(accounts[0], base_url=base_url)
                )
                where = base_url
            console.print(f"[bold]marketplace_async[/]: three made-up accounts on {escape(where)}")
            await demo.run([client.with_credentials(account) for account in accounts])
            if emulator is not None:
                await demo.read_many(emulator)
    except (Unexpected, MarketplaceError, ValueError) as error:
        demo.failed(str(error))
        return 1
    seconds = monotonic() - started
    console.print(f"\n[bold green]Every step succeeded[/] in {seconds:.1f} s.\n")
    console.print(next_steps(), markup=False, soft_wrap=True)
    return 0


class Demo:
    """The steps. Each shows a call, makes it, checks the result and reports it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._clients: list[MarketplaceClient] = []
        self._steps = 0
        self._marks = ("✓", "✗") if console.encoding.startswith("utf") else ("ok", "FAILED")

    async def run(self, clients: list[MarketplaceClient]) -> None:
        self._clients = clients
        await self._browse()
        installed = await self._install()
        await self._invalid_configuration()
        await self._taken_name()
        await self._enable_extension(installed)
        await self._list_all_accounts()
        await self._update(installed)
        await self._delete()

    def _step(self, title: str, code: str) -> None:
        self._steps += 1
        self._console.print(f"\n[bold cyan]{self._steps}. {title}[/]")
        syntax = Syntax(code, "python", theme="ansi_dark", background_color="default")
        self._console.print(Padding(syntax, (0, 3), expand=False))

    def _done(self, text: str) -> None:
        self._say(f"[bold green]{self._marks[0]}[/]", text)

    def failed(self, text: str) -> None:
        self._say(f"[bold red]{self._marks[1]}[/]", text)

    def _say(self, mark: str, text: str) -> None:
        grid = Table.grid(padding=(0, 1))
        grid.add_row(mark, escape(text))
        self._console.print(Padding(grid, (0, 3), expand=False))

    def _table(self, *columns: str, rows: list[tuple[str, ...]]) -> None:
        table = Table(box=None, header_style="dim", pad_edge=False)
        for column in columns:
            # Names are folded on a narrow terminal; SIDs stay in one piece.
            sid = "SID" in column
            table.add_column(column, no_wrap=sid, min_width=34 if sid else None)
        for row in rows:
            table.add_row(*(escape(cell) for cell in row))
        self._console.print(Padding(table, (0, 5), expand=False))

    async def _browse(self) -> None:
        self._step("Browse the catalogue", "await client.available_add_ons.list().collect()")
        add_ons = await self._clients[0].available_add_ons.list().collect()
        by_sid = {add_on.sid: add_on for add_on in add_ons}
        expect({TRANSCRIPTION, SPAM_SCORE} <= by_sid.keys(), "the catalogue lacks known Add-ons")
        self._done(f"{len(add_ons)} Add-ons are available, such as")
        self._table(
            "SID",
            "Add-on",
            rows=[(add_on.sid, add_on.friendly_name or "") for add_on in add_ons[:4]],
        )

    async def _install(self) -> InstalledAddOn:
        self._step(
            "Install and configure",
            f"""\
for client in clients:
    await client.installed_add_ons.create(
        available_add_on_sid="{TRANSCRIPTION}",
        accept_terms_of_service=True,
        configuration={{
            "callback_url": "{CONFIGURATION["callback_url"]}",
            "callback_method": "{CONFIGURATION["callback_method"]}",
        }},
        unique_name="transcription",
    )
await clients[0].installed_add_ons.create(
    available_add_on_sid="{SPAM_SCORE}",
    accept_terms_of_service=True,
)""",
        )
        first, *_ = installed = [
            await client.installed_add_ons.create(
                available_add_on_sid=TRANSCRIPTION,
                accept_terms_of_service=True,
                configuration=CONFIGURATION,
                unique_name="transcription",
            )
            for client in self._clients
        ]
        spam_score = await self._clients[0].installed_add_ons.create(
            available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True
        )
        expect(first.configuration == CONFIGURATION, "the configuration was not kept")
        expect(spam_score.unique_name == "nomorobo_spamscore", "the unique name is not the default")
        self._done(f"{first.friendly_name} is installed on {len(installed)} accounts:")
        self._table(
            "installed SID",
            "account SID",
            rows=[(one.sid, one.account_sid or "") for one in installed],
        )
        self._done(f"{spam_score.friendly_name} is installed on one, as {spam_score.unique_name}")
        return first

    async def _invalid_configuration(self) -> None:
        self._step(
            "A configuration that does not match the schema",
            """\
try:
    await client.installed_add_ons.create(
        ..., configuration={"callback_url": 42})
except BadRequestError as error: ...""",
        )
        try:
            await self._clients[0].installed_add_ons.create(
                available_add_on_sid=TRANSCRIPTION,
                accept_terms_of_service=True,
                configuration={"callback_url": 42},
            )
        except BadRequestError as error:
            self._done(f"rejected: {error}")
        else:
            raise Unexpected("a configuration that does not match the schema was accepted")

    async def _taken_name(self) -> None:
        self._step(
            "A unique name that is taken",
            """\
try:
    await client.installed_add_ons.create(
        ..., unique_name="transcription")
except ConflictError as error: ...""",
        )
        try:
            await self._clients[0].installed_add_ons.create(
                available_add_on_sid=TRANSCRIPTION,
                accept_terms_of_service=True,
                unique_name="transcription",
            )
        except ConflictError as error:
            self._done(f"rejected: {error}")
        else:
            raise Unexpected("a unique name was accepted twice")

    async def _enable_extension(self, installed: InstalledAddOn) -> None:
        self._step(
            "Enable an extension",
            """\
installed = await client.installed_add_ons.list().first()
extensions = client.installed_add_ons.extensions(installed.sid)
extension = await extensions.list().first()
await extensions.update(extension.sid, enabled=True)""",
        )
        extensions = self._clients[0].installed_add_ons.extensions(installed.sid)
        extension = await extensions.list().first()
        if extension is None:
            raise Unexpected("the Add-on has no extension")
        expect(extension.enabled is False, "an extension was enabled initially")
        extension = await extensions.update(extension.sid, enabled=True)
        expect(extension.enabled is True, "the extension was not enabled")
        self._done(f"{extension.friendly_name} ({extension.product_name}) is enabled")

    async def _list_all_accounts(self) -> None:
        self._step(
            "List all accounts at once",
            """\
clients = [client.with_credentials(account) for account in accounts]
lists = [client.installed_add_ons.list() for client in clients]
await asyncio.gather(*(installed.collect() for installed in lists))""",
        )
        lists = await asyncio.gather(
            *(client.installed_add_ons.list().collect() for client in self._clients)
        )
        expect(
            [len(items) for items in lists] == [2, 1, 1],
            "the lists do not match what was installed",
        )
        self._done("each account lists only its own Add-ons:")
        self._table(
            "account SID",
            "unique name",
            rows=[
                (item.account_sid or "", item.unique_name or "")
                for items in lists
                for item in items
            ],
        )

    async def _update(self, installed: InstalledAddOn) -> None:
        self._step(
            "Update",
            """\
await client.installed_add_ons.update(
    installed.sid, unique_name="transcription-eu")""",
        )
        updated = await self._clients[0].installed_add_ons.update(
            installed.sid, unique_name="transcription-eu"
        )
        expect(updated.unique_name == "transcription-eu", "the unique name was not changed")
        expect(updated.configuration == CONFIGURATION, "the configuration was changed as well")
        self._done(f"{installed.unique_name} is now {updated.unique_name}")

    async def _delete(self) -> None:
        self._step(
            "Delete from all accounts",
            """\
for client in clients:
    async for installed in client.installed_add_ons.list():
        await client.installed_add_ons.delete(installed.sid)""",
        )
        deleted = 0
        for client in self._clients:
            async for installed in client.installed_add_ons.list():
                await client.installed_add_ons.delete(installed.sid)
                deleted += 1
            expect(await client.installed_add_ons.list().first() is None, "an Add-on is left")
        self._done(f"{deleted} deleted, none left")

    async def read_many(self, emulator: "Emulator") -> None:
        """Read many accounts one at a time, then at once, and compare the times."""
        self._step(
            f"Read {READING} accounts at once",
            """\
outcomes = await bulk.settle(read, accounts)""",
        )
        accounts = [AccountToken(f"AC{uuid.uuid4().hex}", "made-up") for _ in range(READING)]
        for account in accounts:
            emulator.install(account.account_sid, SPAM_SCORE)
        emulator.faults.add("GET", "*", delay=LATENCY, times=None)
        (client,) = self._clients[:1]
        with self._progress() as progress:

            async def read(account: AccountToken) -> int:
                found = await client.with_credentials(account).installed_add_ons.list().collect()
                progress.advance(task)
                return len(found)

            task = progress.add_task("one at a time", total=READING)
            started = monotonic()
            for account in accounts:
                await read(account)
            one_at_a_time = monotonic() - started
            task = progress.add_task("at once", total=READING)
            started = monotonic()
            outcomes = await bulk.settle(read, accounts)
            at_once = monotonic() - started
        expect(sum(o.value for o in outcomes if o.ok) == READING, "an account was not read")
        self._done(
            f"{READING} accounts in {at_once:.1f} s; one at a time, in {one_at_a_time:.1f} s, "
            f"with {LATENCY * 1000:.0f} ms per response. Responses of Twilio take longer."
        )

    def _progress(self) -> Progress:
        return Progress(
            TextColumn("   {task.description:13}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            console=self._console,
        )
