"""A server that replays recorded responses of the emulator, so that clients are the bottleneck.

    python -m benchmarks.replay_server

At startup, the server records 10,000 installed Add-ons, the response headers and a 429 from an
emulator. It then sends those bytes:

- It supports `PageSize`, `Page` and keep-alive, and generates the same `meta` as the emulator
  (`tests/docs/test_benchmarks.py` compares them). Longer lists repeat the records.
- Every account, identified by its `Authorization` header, has the same records. `account_sid` is
  that of the recorded account.
- Each response takes `latency` seconds. Requests of an account beyond `limit` concurrent requests
  are throttled.

The server prints its URL. `GET /_bench/set?records=10000&latency=0.05&limit=5` configures the next
run. `GET /_bench/counts` returns request counts and CPU time since the start.
"""

import asyncio
import json
import re
import time
from collections import Counter
from functools import cache
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import attrs
import msgspec

from marketplace_async.emulator import Emulator

from .clients import ACCOUNT, LIST, authorization

RECORDED: Final = 10_000
SPEECH_TO_TEXT: Final = "XB85b56ed9ce713e0ac62342b901233193"
CONFIGURATION: Final = {
    "callback_url": "https://example.com/transcripts",
    "callback_method": "POST",
}
# Headers that differ between responses and are generated.
_VARYING: Final = re.compile(rb"(?im)^(?:content-length|twilio-concurrent-requests):[^\r]*\r\n")


class _Page(msgspec.Struct):
    installed_add_ons: list[msgspec.Raw]
    meta: dict[str, Any]


@attrs.frozen
class Recording:
    """Recorded responses: headers without the varying ones, records, and a 429."""

    url: str
    head: bytes
    records: list[bytes]
    throttled_head: bytes
    throttled_body: bytes


async def request(emulator: Emulator, url: str, path: str) -> tuple[bytes, bytes]:
    """Return the head and body of the emulator's response to a GET with the host of `url`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(emulator.url).port)
    headers = f"Host: {urlsplit(url).netloc}\r\nAuthorization: {authorization(ACCOUNT)}"
    writer.write(f"GET {path} HTTP/1.1\r\n{headers}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    assert length is not None, head
    body = await reader.readexactly(int(length[1]))
    writer.close()
    await writer.wait_closed()
    return _VARYING.sub(b"", head).removesuffix(b"\r\n"), body


async def record(emulator: Emulator, url: str) -> Recording:
    """Record the responses of an emulator with `concurrency=1`. Their links start with `url`."""
    records: list[bytes] = []
    path: str | None = f"{LIST}?PageSize=1000"
    while path:
        head, body = await request(emulator, url, path)
        page = msgspec.json.decode(body, type=_Page)
        records += map(bytes, page.installed_add_ons)
        following = page.meta["next_page_url"]
        path = following and following.removeprefix(url)
    # The second of two concurrent requests exceeds the limit.
    responses = await asyncio.gather(*(request(emulator, url, LIST) for _ in range(2)))
    (throttled,) = (one for one in responses if b" 429 " in one[0].split(b"\r\n")[0])
    return Recording(url, head, records, *throttled)


class Replay:
    """The state shared by all connections: the recording, the settings and the counters."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._length = len(recording.records)
        self._sids = [json.loads(one)["sid"] for one in recording.records]
        self._by_path = {
            f"{LIST}/{sid}".encode(): one
            for sid, one in zip(self._sids, recording.records, strict=True)
        }
        self._slice = cache(self._slice_of)
        self.in_flight: Counter[bytes] = Counter()
        self.records, self.latency, self.limit = self._length, 0.0, 0
        self.processed = self.throttled = 0

    def _slice_of(self, start: int, size: int) -> bytes:
        records = self._recording.records
        return b",".join(records[(start + index) % self._length] for index in range(size))

    def page(self, query: bytes) -> list[bytes]:
        """Return one page as a list of chunks."""
        fields = parse_qs(query.decode())
        size = int(fields.get("PageSize", ["50"])[0])
        number = int(fields.get("Page", ["0"])[0])
        start = size * number
        count = max(0, min(size, self.records - start))
        url = f"{self._recording.url}{LIST}?PageSize={size}&Page="
        first, last = (self._sids[index % self._length] for index in (start, start + count - 1))
        meta = {
            "page": number,
            "page_size": size,
            "first_page_url": f"{url}0",
            "previous_page_url": f"{url}{number - 1}&PageToken=PB{first}" if number else None,
            "url": f"{url}{number}"
            + (f"&PageToken={fields['PageToken'][0]}" if "PageToken" in fields else ""),
            "next_page_url": f"{url}{number + 1}&PageToken=PA{last}"
            if start + count < self.records
            else None,
            "key": "installed_add_ons",
        }
        records = self._slice(start % self._length, count)
        return [b'{"installed_add_ons":[', records, b'],"meta":', msgspec.json.encode(meta), b"}"]

    def response(self, target: bytes, in_flight: int) -> list[bytes]:
        """Return the response to a GET as a list of chunks."""
        record = self._by_path.get(target)
        if record is not None:
            body = [record]
        else:
            path, _, query = target.partition(b"?")
            if path != LIST.encode():
                return [b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"]
            body = self.page(query)
        return [self._head(self._recording.head, in_flight, sum(map(len, body))), *body]

    def throttled_response(self) -> list[bytes]:
        """Return the 429 as a list of chunks."""
        body = self._recording.throttled_body
        return [self._head(self._recording.throttled_head, None, len(body)), body]

    def _head(self, head: bytes, in_flight: int | None, length: int) -> bytes:
        concurrent = b"" if in_flight is None else b"Twilio-Concurrent-Requests: %d\r\n" % in_flight
        return b"%s%sContent-Length: %d\r\n\r\n" % (head, concurrent, length)

    def control(self, target: bytes) -> list[bytes]:
        """Apply the settings in the query, if any, and return the counters."""
        fields = parse_qs(urlsplit(target.decode()).query)
        if fields:
            # 0 means no limit.
            self.records = int(fields.get("records", [self._length])[0])
            self.latency = float(fields.get("latency", [0.0])[0])
            self.limit = int(fields.get("limit", [0])[0])
        counts = {
            "processed": self.processed,
            "throttled": self.throttled,
            "cpu": time.process_time(),
        }
        body = json.dumps(counts).encode()
        return [self._head(b"HTTP/1.1 200 OK\r\n", None, len(body)), body]


class Connection(asyncio.Protocol):
    """A keep-alive connection. Requests are sequential and have no body."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head, self._received = self._received[:end], self._received[end + 4 :]
            self._serve(head)

    def _serve(self, head: bytes) -> None:
        replay = self._replay
        target = head.split(b" ", 2)[1]
        if target.startswith(b"/_bench/"):
            self._transport.writelines(replay.control(target))
            return
        # Header names are case-insensitive, base64 is not.
        start = head.lower().find(b"\r\nauthorization: ") + 17
        account = head[start : head.find(b"\r\n", start)]
        in_flight = replay.in_flight[account] + 1
        if replay.limit and in_flight > replay.limit:
            replay.throttled += 1
            self._transport.writelines(replay.throttled_response())
            return
        replay.in_flight[account] = in_flight
        if replay.latency:
            loop = asyncio.get_running_loop()
            loop.call_later(replay.latency, self._finish, target, account, in_flight)
        else:
            self._finish(target, account, in_flight)

    def _finish(self, target: bytes, account: bytes, in_flight: int) -> None:
        replay = self._replay
        replay.processed += 1
        replay.in_flight[account] -= 1
        if not replay.in_flight[account]:
            del replay.in_flight[account]
        self._transport.writelines(replay.response(target, in_flight))


async def serve() -> None:
    """Record, print the URL and serve until the process is terminated."""
    replay: Replay | None = None

    def connection() -> Connection:
        assert replay is not None
        return Connection(replay)

    loop = asyncio.get_running_loop()
    server = await loop.create_server(connection, "127.0.0.1", 0, backlog=2048, start_serving=False)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with Emulator(concurrency=1, latency=0.005) as emulator:
        emulator.install(ACCOUNT, SPEECH_TO_TEXT, CONFIGURATION, times=RECORDED)
        replay = Replay(await record(emulator, url))
    await server.start_serving()
    print(url, flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
