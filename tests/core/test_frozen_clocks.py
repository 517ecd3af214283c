"""The client works under freezegun and time-machine, also if it is imported inside one."""

import subprocess
import sys

import pytest

USE = """
import asyncio

from marketplace_async import ClientCredentials
from marketplace_async._core.codec import encode
from marketplace_async.testing import emulated

SPEECH_TO_TEXT = "XB85b56ed9ce713e0ac62342b901233193"


async def use(frozen):
    from datetime import UTC, datetime  # the class of this moment

    async with emulated(requests_per_second=20) as (client, emulator):
        installed = await client.installed_add_ons.create(
            available_add_on_sid=SPEECH_TO_TEXT, accept_terms_of_service=True
        )
        assert isinstance(installed.date_created, datetime)
        assert (installed.date_created.year == 2031) is frozen
        assert abs((datetime.now(UTC) - installed.date_created).total_seconds()) < 60
        assert await client.installed_add_ons.list().collect() == [installed]
        assert b"date_created" in encode(installed)
        (parent, *_) = await client.accounts.list().collect()
        assert isinstance(parent.date_created, datetime)
        app = client.with_credentials(ClientCredentials("OQ" + "1" * 32, "made-up"))
        assert await app.installed_add_ons.list().collect() == []
        # A pause ends, although the client was created before the clock changed.
        emulator.faults.add("GET", "*", status=429, retry_after=int(frozen))
        assert await client.installed_add_ons.fetch(installed.sid) == installed
"""

FREEZERS = {
    "freezegun without tick": (
        "import freezegun; frozen = freezegun.freeze_time('2031-05-06', real_asyncio=True)"
    ),
    "freezegun": "import freezegun; frozen = freezegun.freeze_time('2031-05-06', tick=True)",
    "time_machine": "import time_machine; frozen = time_machine.travel('2031-05-06T00:00:00Z')",
}


@pytest.mark.parametrize("imported", ["before", "inside"])
@pytest.mark.parametrize("freezer", FREEZERS)
def test_a_frozen_clock_breaks_nothing(freezer: str, imported: str) -> None:
    pytest.importorskip(freezer.split()[0])
    start = "import marketplace_async.testing\n" if imported == "before" else ""
    program = (
        f"{start}{FREEZERS[freezer]}\n"
        f"with frozen:\n    exec({USE!r})\n    asyncio.run(use(True))\n"
        "asyncio.run(use(False))\n"
        "with frozen:\n    asyncio.run(use(True))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
