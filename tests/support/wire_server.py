"""Servers that send raw bytes: broken, late or hostile responses."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from marketplace_async import MarketplaceClient, Retry
from marketplace_async.testing import account

ONCE = Retry(attempts=1)

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def talking(talk: Talk, **options: Any) -> AsyncIterator[MarketplaceClient]:
    """A client of a server that reads a request and then says what it likes."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await talk(reader, writer)
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


def saying(*pieces: bytes, every: float = 0.0, forever: bytes = b"") -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(every)
        while forever:
            writer.write(forever)
            await writer.drain()
            await asyncio.sleep(every)

    return talk


def answer(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Twilio-Request-Id: RQ1"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
