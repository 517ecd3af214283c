"""Waits until an emulator injects a fault."""

import asyncio

from marketplace_async.emulator import Fault


async def until_injected(fault: Fault) -> None:
    async with asyncio.timeout(10):
        while not fault.hits:
            await asyncio.sleep(0.005)
