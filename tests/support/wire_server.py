"""Servers that send raw bytes: broken, slow or hostile responses."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from marketplace_async import MarketplaceClient, Retry
from marketplace_async.testing import account

ONCE = Retry(attempts=1)

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler, **options: Any) -> AsyncIterator[MarketplaceClient]:
    """Run a server that calls `handler` after each request, and yield a client of it."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1")
    host, port = server.sockets[0].getsockname()
    try:
        async with MarketplaceClient(
            account(), base_url=f"http://{host}:{port}", **{"retry": ONCE, **options}
        ) as client:
            yield client
    finally:
        server.close()


def sending(*chunks: bytes, interval: float = 0.0, forever: bytes = b"") -> Handler:
    """Return a handler that sends chunks, then `forever` in a loop, with pauses in seconds."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(interval)
        while forever:
            writer.write(forever)
            await writer.drain()
            await asyncio.sleep(interval)

    return handler


def http_response(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Twilio-Request-Id: RQ1"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
