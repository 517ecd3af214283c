"""Measures the throughput of the emulator and of Prism on one core.

The load generator is minimal, so that it does not become the bottleneck.
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

from .clients import ACCOUNT, SECRET, authorization
from .harness import BenchmarkFailed, cores, first_line, on_core, server_process
from .replay_server import CONFIGURATION, SPEECH_TO_TEXT

CONNECTIONS = 16


async def fill(url: str) -> str:
    """Install an Add-on 1,000 times and return the SID of one installation."""
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
    """Run the emulator with default options in a separate process. Yields its URL."""
    command = (sys.executable, "-m", "marketplace_async", "emulator", "--quiet")
    with server_process(*command) as process:
        yield first_line(process)


@contextmanager
def prism(command: str, description: Path) -> Iterator[str]:
    """Run Prism on an OpenAPI description in a separate process. Yields its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    options = ("mock", "-h", "127.0.0.1", "-p", str(port), "-v", "silent", str(description))
    with server_process(command, *options) as process:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise BenchmarkFailed(f"{command} did not start") from None
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"


async def repeat(host: str, port: int, request: bytes, deadline: float) -> int:
    """Repeat a request over one connection until the deadline. Return the number of responses."""
    reader, writer = await asyncio.open_connection(host, port, limit=2**21)
    count = 0
    while time.perf_counter() < deadline:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        assert head.startswith(b"HTTP/1.1 200 "), head
        count += 1
    writer.close()
    await writer.wait_closed()
    return count


async def total_rate(url: str, path: str, seconds: float) -> float:
    """Return the requests per second over all connections."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    headers = f"Host: {parts.netloc}\r\nAuthorization: {authorization(ACCOUNT)}"
    request = f"GET {path} HTTP/1.1\r\n{headers}\r\n\r\n".encode()
    deadline = time.perf_counter() + seconds
    workers = (repeat(parts.hostname, parts.port, request, deadline) for _ in range(CONNECTIONS))
    return sum(await asyncio.gather(*workers)) / seconds


def rate(url: str, path: str, seconds: float) -> float:
    """Measure requests per second, with the load generator on the client core."""
    with on_core(cores()[1]):
        return asyncio.run(total_rate(url, path, seconds))


async def startup_time(times: int) -> float:
    """Return the median time to start an emulator in seconds, without imports."""
    durations = []
    for _ in range(times):
        started = time.perf_counter()
        async with Emulator():
            durations.append(time.perf_counter() - started)
    return statistics.median(durations)
