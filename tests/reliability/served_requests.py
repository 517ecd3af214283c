"""The memory of an emulator over many requests."""

import asyncio
import re
from pathlib import Path

from reliability.emulators import emulator
from support.plain_http import SPAM_SCORE

from marketplace_async import MarketplaceClient
from marketplace_async.testing import account

ROUND = 10  # requests
FULL_LOG = 20_000  # requests after which the request log has grown to its bounds
WORKERS = 16


async def memory_of_emulator(requests: int) -> tuple[list[float], int]:
    """Send that many requests. Return the server's memory in MB after each tenth, and how many.

    Each worker installs an Add-on, fetches it, renames it, lists and deletes it, over and over. The
    request log is full before that, and the state stays small: everything that grows is a leak.
    """
    async with (
        emulator() as process,
        MarketplaceClient(account(), base_url=process.url) as client,
    ):
        sent = 0

        async def work(until: int) -> None:
            nonlocal sent
            while sent < until:
                sent += ROUND
                installed = await client.installed_add_ons.create(
                    available_add_on_sid=SPAM_SCORE, accept_terms_of_service=True
                )
                for _ in range(ROUND - 4):
                    await client.installed_add_ons.fetch(installed.sid)
                await client.installed_add_ons.update(installed.sid, unique_name=installed.sid)
                await client.installed_add_ons.list(limit=10).collect()
                await client.installed_add_ons.delete(installed.sid)

        async def send(until: int) -> None:
            await asyncio.gather(*(work(until) for _ in range(WORKERS)))

        await send(FULL_LOG)
        memory = []
        for tenth in range(1, 11):
            await send(FULL_LOG + requests * tenth // 10)
            memory.append(resident_memory(process.pid))
    return memory, sent


def resident_memory(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    (kilobytes,) = re.findall(r"VmRSS:\s+(\d+) kB", status)
    return int(kilobytes) / 1024
