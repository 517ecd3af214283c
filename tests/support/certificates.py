"""TLS servers with certificates of a CA of their own."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trustme
from aiohttp import web

from support.raw_servers import web_server

XE = "XE" + "a" * 32


class Authority:
    """A CA, and the file that holds its certificate."""

    def __init__(self, directory: Path) -> None:
        self._ca = trustme.CA()
        self.file = directory / "ca.pem"
        self._ca.cert_pem.write_to_path(self.file)

    @property
    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.file)

    def server(self, name: str = "127.0.0.1", *, expired: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        end = datetime.now(UTC) - timedelta(days=1) if expired else None
        self._ca.issue_cert(name, not_after=end).configure_cert(context)
        return context


async def respond(request: web.Request) -> web.Response:
    """Respond as the service does to a request for an installed Add-on."""
    document: dict[str, Any] = {"sid": request.path.rpartition("/")[2]}
    return web.json_response(document)


@asynccontextmanager
async def tls_server(
    context: ssl.SSLContext,
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]] = respond,
) -> AsyncIterator[str]:
    async with web_server(handler, context) as url:
        yield url
