"""The request log as server-sent events."""

import asyncio
from typing import Final

import msgspec
from aiohttp import web

from .control_records import LogRecord
from .request_log import LogEntry, RequestLog

_BATCH: Final = 100
_PAUSE: Final = 0.05  # collect events, so that a busy emulator writes often but not always
_KEEP_ALIVE: Final = 5.0  # a comment shows that the client is still there
_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Accel-Buffering": "no",  # nginx forwards each event at once
    "X-Content-Type-Options": "nosniff",
}

_encode = msgspec.json.Encoder(decimal_format="number").encode


class LogStreams:
    """Sends log entries to clients as they are added.

    A stream reads from the log itself and holds no entries. A client that reads more slowly than
    the log turns over misses entries, which the numbers show.

    Events are `request`, with a `LogRecord` and its number as ID, `cleared` when the log was
    cleared, and `emulator` at the start, with the ID of the emulator.

    Args:
        log: The request log.
        emulator: The ID of the emulator, which differs after a restart.
    """

    def __init__(self, log: RequestLog, emulator: str) -> None:
        self._log = log
        self._emulator = emulator
        self._closed = False
        self._changed: set[asyncio.Event] = set()

    def close(self) -> None:
        """End all streams."""
        self._closed = True
        for changed in self._changed:
            changed.set()

    async def serve(
        self, request: web.BaseRequest, after: int, *, summary: bool
    ) -> web.StreamResponse:
        """Send the entries after a number, and then each new one, until the client disconnects."""
        last_id = request.headers.get("Last-Event-ID", "")  # set by a browser that reconnects
        if last_id.isascii() and last_id.isdecimal():
            after = int(last_id)
        response = web.StreamResponse(headers=_HEADERS)
        loop, changed = asyncio.get_running_loop(), asyncio.Event()

        def notify() -> None:
            if not changed.is_set():
                loop.call_soon_threadsafe(changed.set)

        await response.prepare(request)
        self._changed.add(changed)
        end_watch = self._log.watch(notify)
        try:
            await response.write(_event("emulator", _encode({"emulator": self._emulator})))
            await self._send(response, changed, after, summary)
        except ConnectionError:
            pass  # the client disconnected
        finally:
            end_watch()
            self._changed.discard(changed)
        return response

    async def _send(
        self, response: web.StreamResponse, changed: asyncio.Event, after: int, summary: bool
    ) -> None:
        clearances = self._log.clearances
        while not self._closed:
            changed.clear()
            if clearances != (clearances := self._log.clearances):
                await response.write(_event("cleared", b"{}"))
            if after > self._log.last_number:
                after = 0  # a number of an emulator before a restart
            entries = self._log.after(after, _BATCH)
            if entries:
                await response.write(b"".join(_request(*each, summary) for each in entries))
                after = entries[-1][0]
                await asyncio.sleep(0 if len(entries) == _BATCH else _PAUSE)
                continue
            try:
                async with asyncio.timeout(_KEEP_ALIVE):
                    await changed.wait()
            except TimeoutError:
                await response.write(b":\n\n")


def _request(number: int, entry: LogEntry, summary: bool) -> bytes:
    record = _encode(LogRecord.of(number, entry, summary=summary))
    return _event("request", record, b"id: %d\n" % number)


def _event(name: str, data: bytes, id_line: bytes = b"") -> bytes:
    return b"%sevent: %s\ndata: %s\n\n" % (id_line, name.encode(), data)
