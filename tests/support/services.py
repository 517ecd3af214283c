"""Programs that run as processes of their own against an emulator, as users run them."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from marketplace_async.testing import account

from .paths import PROJECT

EXAMPLES = PROJECT / "examples"


def environ(base_url: str) -> dict[str, str]:
    """Return an environment in which `from_env()` connects to an emulator."""
    inherited = {name: value for name, value in os.environ.items() if "TWILIO_" not in name}
    path = os.pathsep.join(filter(None, [str(PROJECT), inherited.get("PYTHONPATH")]))
    return {
        **inherited,
        "MARKETPLACE_BASE_URL": base_url,
        "PYTHONPATH": path,
        "TWILIO_ACCOUNT_SID": account().account_sid,
        "TWILIO_AUTH_TOKEN": "made-up",
    }


async def output_of(*arguments: str, base_url: str, **more: str) -> str:
    """Run Python with arguments and return what it printed, or fail with its errors."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=EXAMPLES,
        env={**environ(base_url), **more},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(120):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, errors.decode()
    return output.decode()


@asynccontextmanager
async def service(
    *arguments: str, base_url: str, port: int
) -> AsyncIterator[tuple[aiohttp.ClientSession, asyncio.subprocess.Process]]:
    """Run Python with arguments until it listens. Yields a session that is connected to it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=EXAMPLES,
        env={**environ(base_url), "PORT": str(port)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            async with asyncio.timeout(60):
                while True:
                    try:
                        async with session.get("/"):
                            break
                    except aiohttp.ClientConnectionError:
                        assert process.returncode is None, await output_so_far(process)
                        await asyncio.sleep(0.05)
            yield session, process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def output_so_far(process: asyncio.subprocess.Process) -> str:
    """Return the output of a process that has ended."""
    output, _ = await process.communicate()
    return output.decode()
