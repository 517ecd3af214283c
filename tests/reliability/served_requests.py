"""The memory of an emulator over many requests."""

import asyncio
import re
from pathlib import Path

from reliability.emulators import emulator

from marketplace_async import MarketplaceClient
from marketplace_async.testing import account

SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
ROUND = 10  # requests
WORKERS = 16


async def memory_of_emulator(requests: int) -> tuple[list[float], int]:
    """Send that many requests. Return the server's memory in MB after each tenth, and how many.

    Each worker installs an Add-on, fetches it, renames it, lists and deletes it, over and over. The
    state stays small, so that everything that grows is a leak.
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

        memory = []
        for tenth in range(1, 11):
            await asyncio.gather(*(work(requests * tenth // 10) for _ in range(WORKERS)))
            memory.append(_resident(process.pid))
    return memory, sent


def _resident(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    (kilobytes,) = re.findall(r"VmRSS:\s+(\d+) kB", status)
    return int(kilobytes) / 1024
