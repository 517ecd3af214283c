"""Usage reports through real proxies that are reloaded all the time.

A proxy that reloads closes its idle connections. A request that crosses such a close on the wire is
lost, and the client cannot tell it from one whose response was lost.
"""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs

from marketplace_async import (
    AmbiguousOutcomeError,
    BillableItem,
    MarketplaceClient,
    MarketplaceError,
    Retry,
)
from marketplace_async.testing import account

XE = "XE" + "a" * 32
IN_FLIGHT = 500
# Of the reports, how many may be ambiguous though the server never saw them.
MOST_UNSEEN = 0.002

NGINX = """
worker_processes 2;
error_log {folder}/error.log;
pid {folder}/pid;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 100000;
    upstream service {{ server 127.0.0.1:{backend}; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://service; }}
    }}
}}
"""
HAPROXY = """
global
    maxconn 8192
    stats socket {folder}/socket mode 600 level admin expose-fd listeners
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend marketplace
    bind 127.0.0.1:{port}
    default_backend service
backend service
    server service 127.0.0.1:{backend}
"""


@attrs.define
class Result:
    """What became of the reports, by their number."""

    total: int
    confirmed: set[int] = attrs.field(factory=set)
    ambiguous: set[int] = attrs.field(factory=set)
    not_sent: set[int] = attrs.field(factory=set)
    seen: "Counter[int]" = attrs.field(factory=Counter)
    reloads: int = 0

    @property
    def lost(self) -> int:
        """Confirmed, but the server never saw them; or without any outcome."""
        told = len(self.confirmed) + len(self.ambiguous) + len(self.not_sent)
        return sum(not self.seen[number] for number in self.confirmed) + self.total - told

    @property
    def twice(self) -> int:
        return sum(count > 1 for count in self.seen.values())

    @property
    def denied(self) -> int:
        """Reported as not sent, but the server saw them."""
        return sum(self.seen[number] > 0 for number in self.not_sent)

    @property
    def unseen(self) -> int:
        """Ambiguous, but the server never saw them."""
        return sum(not self.seen[number] for number in self.ambiguous)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A server in a process of its own that counts the reports it saw."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(self.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def stop(self) -> "Counter[int]":
        """Stop the server. Return how often it saw each report."""
        seen, _ = self._process.communicate()
        return Counter(int(number) for number in seen.split())


class Proxy:
    """nginx or haproxy in front of a server."""

    def __init__(self, program: str, folder: Path, backend: int) -> None:
        self.port = free_port()
        self._program = program
        self._folder = folder
        self._config = folder / "config"
        template = NGINX if program == "nginx" else HAPROXY
        text = template.format(folder=folder, port=self.port, backend=backend)
        self._config.write_text(text)
        self._processes: list[subprocess.Popen[bytes]] = []

    async def start(self) -> None:
        await self._run()
        for _ in range(500):
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return
            await asyncio.sleep(0.01)
        raise RuntimeError(f"{self._program} did not start")

    async def reload(self) -> None:
        if self._program == "nginx":
            self._processes[0].send_signal(signal.SIGHUP)
        else:
            # The new process takes over the listener: a queue of connections is not dropped.
            running = [str(process.pid) for process in self._processes if process.poll() is None]
            await self._run("-x", str(self._folder / "socket"), "-sf", *running)

    async def _run(self, *options: str) -> None:
        if self._program == "nginx":
            command = ["nginx", "-c", str(self._config), "-p", str(self._folder)]
            command += ["-e", str(self._folder / "error.log"), "-g", "daemon off;"]
        else:
            command = ["haproxy", "-db", "-f", str(self._config), *options]
        log = (self._folder / "log").open("ab")
        with log:
            self._processes.append(
                await asyncio.to_thread(
                    subprocess.Popen, command, stdout=log, stderr=subprocess.STDOUT
                )
            )

    async def stop(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(process.wait)


@asynccontextmanager
async def proxied(program: str) -> AsyncIterator[tuple[Proxy, Server]]:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # nginx's workers are another user's
        server = await asyncio.to_thread(Server)
        proxy = Proxy(program, Path(folder), server.port)
        try:
            await proxy.start()
            yield proxy, server
        finally:
            await proxy.stop()
            await asyncio.to_thread(server.stop)


def is_installed(program: str) -> bool:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin") is not None


async def report_under_reloads(program: str, total: int, **options: Any) -> Result:
    """Send reports, 500 in flight, through a proxy that is reloaded every second."""
    result = Result(total)
    async with proxied(program) as (proxy, server):
        client = MarketplaceClient(
            account(),
            base_url=f"http://127.0.0.1:{proxy.port}",
            concurrency=IN_FLIGHT,
            retry=Retry(attempts=20, initial_backoff=0.05, max_backoff=0.5),
            **options,
        )

        async def reload() -> None:
            while True:
                await asyncio.sleep(1)
                await proxy.reload()
                result.reloads += 1

        async with client:
            # Accounts have adaptive limits that start low, so there are many.
            clients = [client.with_credentials(account(number)) for number in range(IN_FLIGHT)]

            async def report(number: int) -> None:
                item = BillableItem(f"BI{number:032x}", Decimal(1))
                usage = clients[number % IN_FLIGHT].installed_add_ons.usage(XE)
                try:
                    await usage.create([item])
                except AmbiguousOutcomeError:
                    result.ambiguous.add(number)
                except MarketplaceError:
                    result.not_sent.add(number)
                else:
                    result.confirmed.add(number)

            reloading = asyncio.ensure_future(reload())
            try:
                await _in_flight(report, total)
            finally:
                reloading.cancel()
        result.seen = await asyncio.to_thread(server.stop)
    return result


async def _in_flight(report: Callable[[int], Awaitable[None]], total: int) -> None:
    numbers = iter(range(total))

    async def worker() -> None:
        for number in numbers:
            await report(number)

    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))


# -- the server


async def serve(port: int) -> None:
    """Accept usage reports until standard input ends. Then print the number of each, as seen."""
    seen: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                size = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
                body = await reader.readexactly(size)
                sid = body.partition(b"BI")[2][:32]
                seen.append(str(int(sid, 16)))
                await asyncio.sleep(random.uniform(0.0, 2.0))
                text = b'{"billable_items":[{"sid":"BI%b","quantity":1}]}' % sid
                writer.write(
                    b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\n"
                    b"Content-Length: %d\r\n\r\n%b" % (len(text), text)
                )
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", port, backlog=1000):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        print(*seen, flush=True)
        os._exit(0)  # the proxy still has connections open


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
