"""A forward proxy, as tinyproxy and squid are: tunnels for https, and requests for http."""

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import attrs


@attrs.define
class Proxy:
    """A running proxy.

    Attributes:
        port: Its port.
        response: The status line of its response to every request, if it forwards none.
        password: The password of "user" that it requires, if it does.
        requests: The first lines of the requests that it received.
        heads: The requests, to the end of their headers.
        hosts: Where to connect for other names, as `/etc/hosts` does.
    """

    port: int
    response: str | None = None
    password: str | None = None
    requests: list[str] = attrs.field(factory=list)
    heads: list[str] = attrs.field(factory=list)
    hosts: dict[str, str] = attrs.field(factory=dict)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        user = f"user:{self.password}@" if self.password else ""
        return f"http://{user}{self.address}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, _, rest = head.partition("\r\n")
        self.requests.append(first)
        self.heads.append(head)
        method, target, _ = first.split()
        rejection = self.response
        if self.password is not None:
            expected = b64encode(f"user:{self.password}".encode()).decode()
            if f"Proxy-Authorization: Basic {expected}\r\n" not in head:
                rejection = "407 Proxy Authentication Required"
        if rejection is not None:
            writer.write(f"HTTP/1.1 {rejection}\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
            return
        authority = target if method == "CONNECT" else target.split("/")[2]
        host, _, port = authority.rpartition(":")
        upstream, to_upstream = await asyncio.open_connection(
            self.hosts.get(host, host.strip("[]")), int(port)
        )
        try:
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                path = target.partition(authority)[2]
                kept = [line for line in rest.split("\r\n") if not line.startswith("Proxy-")]
                lines = f"{method} {path} HTTP/1.1", "Connection: close", *kept
                to_upstream.write("\r\n".join(lines).encode())
            await asyncio.gather(_copy(reader, to_upstream), _copy(upstream, writer))
        finally:
            to_upstream.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def proxy(
    *,
    response: str | None = None,
    password: str | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncIterator[Proxy]:
    running = Proxy(0, response, password)
    handlers: set[asyncio.Task[object]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await running.serve(reader, writer)
        finally:
            handlers.discard(task)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", ssl=ssl_context)
    running.port = server.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        server.close()
        # A handler that outlives the event loop would leave its connection to be collected later.
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
