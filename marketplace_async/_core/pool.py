"""The connections of a client, and the event loop that they belong to."""

import asyncio
import os
import ssl as tls
from collections.abc import AsyncGenerator, Awaitable
from contextlib import suppress
from typing import Final

import aiohttp
from yarl import URL

from ..errors import ClientClosedError
from .connection import Origin
from .loops import check_closed

_FORKED: Final = (
    "this client was used before the process forked, and its connections belong to the parent; "
    "create the client after the fork"
)
_BORROWED_LOOP: Final = (
    "the session that this client borrowed belongs to another event loop; "
    "create the session and the client in the event loop that uses them"
)


class Pool:
    """The connections that a client shares with its derived clients.

    Its own session opens on first use, so a client can be created outside an event loop. When the
    loop is closed, the next one gets a new session. A borrowed session is never closed.
    """

    def __init__(
        self, borrowed: aiohttp.ClientSession | None = None, *, keep_alive: bool = True
    ) -> None:
        if borrowed is not None:
            _check_borrowed(borrowed)
        self.direct = borrowed is None
        self._session = borrowed
        self._keep_alive = keep_alive
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = 0
        self._origins: dict[object, Origin] = {}
        self._lifetime: AsyncGenerator[None, None] | None = None
        self._closed = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop that last used the pool."""
        return self._loop

    def session(self) -> aiohttp.ClientSession:
        """Return the open session, or raise ClientClosedError."""
        if self._closed:
            raise ClientClosedError("this client is closed")
        loop = asyncio.get_running_loop()
        if self._loop is not loop or self._process != os.getpid():
            self._bind(loop)
        session = self._session
        if session is None or (self.direct and session.closed):
            return self._open()
        if session.closed:
            raise ClientClosedError("the session that this client borrowed is closed")
        return session

    def origin(
        self,
        url: URL,
        ssl: tls.SSLContext | bool | aiohttp.Fingerprint,
        proxy: URL | None,
    ) -> Origin:
        """Return the connections to the origin of this URL, with these settings."""
        session = self.session()
        key = url, ssl, proxy
        origin = self._origins.get(key)
        if origin is None:
            origin = self._origins[key] = Origin(session, url, ssl, proxy)
        return origin

    async def close(self) -> None:
        """Close the own session. A borrowed one stays open."""
        self._closed = True
        if self._loop is not None and self._loop.is_closed():
            self._abandon()
        lifetime, self._lifetime = self._lifetime, None
        if lifetime is not None:
            await lifetime.aclose()

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Bind the pool to an event loop. It must not be bound to another one that is alive."""
        process = os.getpid()
        if self._loop is not None:
            is_open = self._session is not None and not self._session.closed
            if is_open and self._process != process:
                # The two processes share sockets, and the selector of the loop.
                raise ClientClosedError(_FORKED)
            if self._loop is not loop:
                check_closed(self._loop)
                self._abandon()
        if getattr(self._session, "_loop", loop) is not loop:
            raise ClientClosedError(_BORROWED_LOOP)
        self._loop, self._process = loop, process

    def _open(self) -> aiohttp.ClientSession:
        session = self._session = aiohttp.ClientSession(
            # The limiter bounds concurrency. A pool limit would make a request wait while it
            # holds a permit.
            connector=aiohttp.TCPConnector(limit=0, force_close=not self._keep_alive),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        self._origins = {}
        self._lifetime = _lifetime(session, self._origins)
        _run_without_waiting(self._lifetime.__anext__())
        return session

    def _abandon(self) -> None:
        """Forget the own session, whose event loop is closed. There is nothing to wait for."""
        lifetime, self._lifetime = self._lifetime, None
        if lifetime is not None:
            _run_without_waiting(lifetime.aclose())
        if self.direct:
            self._session, self._origins = None, {}


async def _lifetime(
    session: aiohttp.ClientSession, origins: dict[object, Origin]
) -> AsyncGenerator[None, None]:
    """Close a session when this generator is closed.

    `asyncio.run` closes all async generators before it closes the event loop.
    """
    try:
        yield
    finally:
        try:
            await session.close()
        finally:
            for origin in origins.values():
                origin.close()


def _run_without_waiting(step: Awaitable[None]) -> None:
    with suppress(StopIteration):
        next(iter(step.__await__()))


def _check_borrowed(session: aiohttp.ClientSession) -> None:
    if not isinstance(session, aiohttp.ClientSession):
        raise TypeError(f"session: expected an aiohttp.ClientSession, got {session!r}")
    if session.auth is not None:
        raise ValueError(
            "session: it has credentials of its own (auth=), which collide with those of the "
            "client; pass a session without them"
        )
    if not session.auto_decompress:
        raise ValueError(
            "session: it does not decompress responses (auto_decompress=False), so that the "
            "client could not read them; pass a session that does"
        )
