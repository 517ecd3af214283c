"""How many requests a second the emulator answers on one core: a fetch, and a page of 1,000.

    python benchmarks/emulator.py [--seconds 3] [--rounds 5]

The emulator runs in a process of its own, on a core of its own. The load comes over kept-alive
connections from as little code as possible, so that it is not the load that is measured.
"""

import argparse
import asyncio
import base64
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from marketplace_async.emulator import Emulator

AC = "AC" + "1" * 32
SPEECH_TO_TEXT = "XB85b56ed9ce713e0ac62342b901233193"
CONFIGURATION = {"callback_url": "https://example.com/transcripts", "callback_method": "POST"}
CONNECTIONS = 16


async def fill(db: Path) -> str:
    """Put 1,000 installations into a state file and return the SID of one."""
    async with Emulator(db=db) as emulator:
        return emulator.install(AC, SPEECH_TO_TEXT, CONFIGURATION, times=1000)[0]


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
    authorization = base64.b64encode(f"{AC}:x".encode()).decode()
    headers = f"Host: {parts.netloc}\r\nAuthorization: Basic {authorization}"
    request = f"GET {path} HTTP/1.1\r\n{headers}\r\n\r\n".encode()
    until = time.perf_counter() + seconds
    asking = (ask(parts.hostname, parts.port, request, until) for _ in range(CONNECTIONS))
    return sum(await asyncio.gather(*asking)) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        db = Path(folder) / "state.db"
        sid = asyncio.run(fill(db))
        started = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-m", "marketplace_async", "emulator", "--db", str(db)],
            stdout=subprocess.PIPE,
            text=True,
        ) as server:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            print(f"a process of its own is ready after {time.perf_counter() - started:.2f} s")
            if len(cores) > 1:
                os.sched_setaffinity(server.pid, {cores[0]})
                os.sched_setaffinity(0, set(cores[1:]))
            paths = {
                "fetch": f"/v1/InstalledAddOns/{sid}",
                "page of 1000": "/v1/InstalledAddOns?PageSize=1000",
            }
            rates: dict[str, list[float]] = {name: [] for name in paths}
            for _ in range(arguments.rounds):
                for name, path in paths.items():
                    rates[name].append(asyncio.run(load(url, path, arguments.seconds)))
            server.terminate()
        for name, values in rates.items():
            spread = f"{min(values):.0f} to {max(values):.0f}"
            print(f"{name}: {statistics.median(values):.0f} a second, median of {spread}")
    print(f"started in this process in {asyncio.run(start()) * 1000:.1f} ms, median of 20")


async def start() -> float:
    """Return the seconds that it takes to start an emulator, imports aside."""
    times = []
    for _ in range(20):
        started = time.perf_counter()
        async with Emulator():
            times.append(time.perf_counter() - started)
    return statistics.median(times)


if __name__ == "__main__":
    main()
