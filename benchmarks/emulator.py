"""How many requests a second a server of the API answers on one core: the emulator, and Prism.

The load comes over kept-alive connections from as little code as possible, so that it is not the
load that is measured.
"""

import asyncio
import socket
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from marketplace_async import AccountToken, InstalledAddOn, MarketplaceClient, bulk
from marketplace_async.emulator import Emulator

from .harness import Broken, cores, first_line, on_core, server_process
from .peers import ACCOUNT, SECRET, authorization
from .server import CONFIGURATION, SPEECH_TO_TEXT

CONNECTIONS = 16


async def fill(url: str) -> str:
    """Install an add-on 1,000 times, and return the SID of one."""
    async with MarketplaceClient(AccountToken(ACCOUNT, SECRET), base_url=url) as client:

        async def install(number: int) -> InstalledAddOn:
            return await client.installed_add_ons.create(
                available_add_on_sid=SPEECH_TO_TEXT,
                accept_terms_of_service=True,
                configuration=CONFIGURATION,
                unique_name=f"transcription-{number}",
            )

        return (await bulk.gather(install, range(1000)))[0].sid


@contextmanager
def emulator() -> Iterator[str]:
    """Run the emulator as it comes, with its state in memory, in a process of its own."""
    with server_process(sys.executable, "-m", "marketplace_async", "emulator") as process:
        yield first_line(process)


@contextmanager
def prism(command: str, description: Path) -> Iterator[str]:
    """Run Prism on a description of the API, in a process of its own, logging nothing."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    options = ("mock", "-h", "127.0.0.1", "-p", str(port), "-v", "silent", str(description))
    with server_process(command, *options) as process:
        until = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    raise Broken(f"{command} did not start") from None
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"


async def ask(host: str, port: int, request: bytes, until: float) -> int:
    """Send a request again and again over one connection; return how often it was answered 200."""
    reader, writer = await asyncio.open_connection(host, port, limit=2**21)
    answered = 0
    while time.perf_counter() < until:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        assert head.startswith(b"HTTP/1.1 200 "), head
        answered += 1
    writer.close()
    await writer.wait_closed()
    return answered


async def load(url: str, path: str, seconds: float) -> float:
    """Return requests a second over all connections."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    headers = f"Host: {parts.netloc}\r\nAuthorization: {authorization(ACCOUNT)}"
    request = f"GET {path} HTTP/1.1\r\n{headers}\r\n\r\n".encode()
    until = time.perf_counter() + seconds
    asking = (ask(parts.hostname, parts.port, request, until) for _ in range(CONNECTIONS))
    return sum(await asyncio.gather(*asking)) / seconds


def rate(url: str, path: str, seconds: float) -> float:
    """Return requests a second, asked for from the core for clients."""
    with on_core(cores()[1]):
        return asyncio.run(load(url, path, seconds))


async def start(times: int) -> float:
    """Return the seconds that it takes to start an emulator, imports aside."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        async with Emulator():
            taken.append(time.perf_counter() - started)
    return statistics.median(taken)
