"""A server that replays recorded responses of the emulator, so that clients are the bottleneck.

    python -m benchmarks.replay_server [--poll] [--certificate FILE]

At startup, the server records 10,000 installed Add-ons, the response headers and a 429 from an
emulator. It then sends those bytes, over TLS if there is a certificate.

- The heads of the responses have the header lines of the service, in its order: those of the
  emulator, and `Connection: keep-alive` after `Content-Length`.
- It supports `PageSize`, `Page` and keep-alive, and generates the same `meta` as the emulator
  (`tests/docs/test_benchmarks.py` compares them). Longer lists repeat the records.
- Every account, identified by its `Authorization` header, has the same records, under its own
  `account_sid`.
- It accepts every DELETE, and deletes nothing.
- Each response takes `latency` seconds. Requests of an account beyond `limit` concurrent requests
  are throttled.
- With `--poll`, it never sleeps while a client is connected. Otherwise sending a request would
  include waking the server up: a cost that a real service, on another machine, does not cause, and
  that grows with the server's idle time, so that slower clients would pay more.

The server prints its URL. `GET /_bench/set?records=10000&latency=0.05&limit=5` configures the next
run. `GET /_bench/counts` returns request counts and CPU time since the start, without idle polling.
"""

import argparse
import asyncio
import json
import re
import ssl
import time
from base64 import b64decode
from collections import Counter
from functools import cache
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import attrs
import msgspec

from marketplace_async.emulator import Emulator

from .clients import ACCOUNT, LIST, authorization

RECORDED: Final = 10_000
_RECORDED_SID: Final = ACCOUNT.encode()
SPEECH_TO_TEXT: Final = "XB85b56ed9ce713e0ac62342b901233193"
CONFIGURATION: Final = {
    "callback_url": "https://example.com/transcripts",
    "callback_method": "POST",
}


class _Page(msgspec.Struct):
    installed_add_ons: list[msgspec.Raw]
    meta: dict[str, Any]


@attrs.frozen
class Head:
    """The head of a response, as the service sends it. Two lines of it differ between responses.

    Attributes:
        first: The lines up to `Content-Length`.
        rest: The lines after `Connection`, without `Twilio-Concurrent-Requests`.
    """

    first: bytes
    rest: bytes

    @classmethod
    def of(cls, head: bytes) -> "Head":
        """Return the head of the service that corresponds to one of the emulator."""
        status, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines)
        date = headers.pop(b"Date")
        # The service does not send these, or sends other values.
        for name in (b"Server", b"Content-Type", b"Content-Length", b"Twilio-Concurrent-Requests"):
            headers.pop(name, None)
        return cls(
            b"%s\r\nDate: %s\r\nContent-Type: application/json\r\n" % (status, date),
            b"".join(b"%s: %s\r\n" % header for header in headers.items()),
        )

    def encode(self, length: int, in_flight: int | None = None) -> bytes:
        concurrent = b"" if in_flight is None else b"Twilio-Concurrent-Requests: %d\r\n" % in_flight
        return b"%sContent-Length: %d\r\nConnection: keep-alive\r\n%s%s\r\n" % (
            *(self.first, length),
            *(concurrent, self.rest),
        )


@attrs.frozen
class Recording:
    """Recorded responses: a head, records, and a 429."""

    url: str
    head: Head
    records: list[bytes]
    throttled_head: Head
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
    # The emulator does not speak TLS.
    return head, body.replace(f"http://{urlsplit(url).netloc}".encode(), url.encode())


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
    return Recording(url, Head.of(head), records, Head.of(throttled[0]), throttled[1])


class Polling:
    """Keeps the event loop from sleeping while there are connections, if enabled.

    Attributes:
        connections: The number of open connections.
        worked: Whether a request was handled in this round of the event loop.
        idle: CPU time of all rounds without requests, in seconds.
    """

    def __init__(self, *, enabled: bool) -> None:
        self.connections = 0
        self.worked = False
        self.idle = 0.0
        self._enabled = enabled
        self._polls = False
        self._latest = 0.0

    def begin(self) -> None:
        """Start to poll, if enabled."""
        if self._enabled and not self._polls:
            self._polls = True
            self._latest = time.process_time()
            asyncio.get_running_loop().call_soon(self._poll)

    def _poll(self) -> None:
        now = time.process_time()
        if not self.worked:
            self.idle += now - self._latest
        self.worked, self._latest = False, now
        self._polls = self.connections > 0
        if self._polls:
            asyncio.get_running_loop().call_soon(self._poll)


class Replay:
    """The state shared by all connections: the recording, the settings and the counters."""

    def __init__(self, recording: Recording, *, poll: bool = False) -> None:
        self.polling = Polling(enabled=poll)
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

    def response(
        self, method: bytes, target: bytes, authorization: bytes, in_flight: int
    ) -> list[bytes]:
        """Return the response as a list of chunks. A DELETE changes nothing."""
        if method == b"DELETE":
            return [b"HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n"]
        record = self._by_path.get(target)
        if record is not None:
            body = [record]
        else:
            path, _, query = target.partition(b"?")
            if path != LIST.encode():
                return [b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"]
            body = self.page(query)
        account_sid = b64decode(authorization[6:]).partition(b":")[0]
        if account_sid != _RECORDED_SID:
            body = [chunk.replace(_RECORDED_SID, account_sid) for chunk in body]
        return [self._recording.head.encode(sum(map(len, body)), in_flight), *body]

    def throttled_response(self) -> list[bytes]:
        """Return the 429 as a list of chunks."""
        body = self._recording.throttled_body
        return [self._recording.throttled_head.encode(len(body)), body]

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
            "cpu": time.process_time() - self.polling.idle,
        }
        body = json.dumps(counts).encode()
        return [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body), body]


class Connection(asyncio.Protocol):
    """A keep-alive connection. Requests are sequential and have no body."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._replay.polling.connections += 1
        self._replay.polling.begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self._replay.polling.connections -= 1

    def data_received(self, data: bytes) -> None:
        self._replay.polling.worked = True
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head, self._received = self._received[: end + 2], self._received[end + 4 :]
            self._serve(head)

    def _serve(self, head: bytes) -> None:
        replay = self._replay
        method, target, _ = head.split(b" ", 2)
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
            loop.call_later(replay.latency, self._finish, method, target, account, in_flight)
        else:
            self._finish(method, target, account, in_flight)

    def _finish(self, method: bytes, target: bytes, account: bytes, in_flight: int) -> None:
        replay = self._replay
        replay.polling.worked = True
        replay.processed += 1
        replay.in_flight[account] -= 1
        if not replay.in_flight[account]:
            del replay.in_flight[account]
        self._transport.writelines(replay.response(method, target, account, in_flight))


async def serve(certificate: str | None, *, poll: bool) -> None:
    """Record, print the URL and serve until the process is terminated."""
    tls = None
    if certificate is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate)
    replay: Replay | None = None

    def connection() -> Connection:
        assert replay is not None
        return Connection(replay)

    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        connection, "127.0.0.1", 0, backlog=2048, ssl=tls, start_serving=False
    )
    scheme = "http" if tls is None else "https"
    url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with Emulator(concurrency=1, latency=0.005) as emulator:
        emulator.install(ACCOUNT, SPEECH_TO_TEXT, CONFIGURATION, times=RECORDED)
        replay = Replay(await record(emulator, url), poll=poll)
    await server.start_serving()
    print(url, flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(prog="replay_server", description="Replay responses.")
    parser.add_argument("--poll", action="store_true", help="never sleep while a client connects")
    parser.add_argument("--certificate", help="file with the private key and the certificate chain")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.certificate, poll=arguments.poll))


if __name__ == "__main__":
    main()
