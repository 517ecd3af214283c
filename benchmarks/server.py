"""A server that replays the emulator's answers, so that it is the client that is measured.

    python -m benchmarks.server

The emulator itself answers some 6,000 fetches and 124 pages of 1,000 records a second on one core:
a client would mostly wait for it. So 10,000 installed add-ons are recorded from a real emulator
once, byte for byte, with the head of its answers and its 429, and this server sends those bytes. It
does only as much as the clients can see:

- It honours `PageSize` and `Page`, keeps connections alive, and gives each page a `meta` as the
  emulator writes it (`tests/test_benchmarks.py` compares the two). A list of more than 10,000
  records begins again with the first.
- Every account, known by its `Authorization`, has the same records. `account_sid` is that of the
  account that was recorded.
- It takes `latency` seconds for each answer, and refuses what an account asks beyond `limit` at
  once.

It prints its URL. `GET /_bench/set?records=10000&latency=0.05&limit=5` sets what the next run
meets; `GET /_bench/counts` tells what was asked since the start, and the CPU that it took.
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

from .peers import ACCOUNT, LIST, authorization

RECORDED: Final = 10_000
SPEECH_TO_TEXT: Final = "XB85b56ed9ce713e0ac62342b901233193"
CONFIGURATION: Final = {
    "callback_url": "https://example.com/transcripts",
    "callback_method": "POST",
}
# What differs from one answer to the next, and is written anew.
_VARYING: Final = re.compile(rb"(?im)^(?:content-length|twilio-concurrent-requests):[^\r]*\r\n")


class _Page(msgspec.Struct):
    installed_add_ons: list[msgspec.Raw]
    meta: dict[str, Any]


@attrs.frozen
class Recording:
    """What an emulator answered: heads without what varies, each record, and a refusal."""

    url: str
    head: bytes
    records: list[bytes]
    refused_head: bytes
    refused_body: bytes


async def ask(emulator: Emulator, url: str, path: str) -> tuple[bytes, bytes]:
    """Return head and body of what the emulator answers to somebody who calls it `url`."""
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
    """Record what an emulator that allows one request at once answers to who calls it `url`."""
    records: list[bytes] = []
    path: str | None = f"{LIST}?PageSize=1000"
    while path:
        head, body = await ask(emulator, url, path)
        page = msgspec.json.decode(body, type=_Page)
        records += map(bytes, page.installed_add_ons)
        following = page.meta["next_page_url"]
        path = following and following.removeprefix(url)
    # The second of two at once is one too many.
    answers = await asyncio.gather(*(ask(emulator, url, LIST) for _ in range(2)))
    (refused,) = (answer for answer in answers if b" 429 " in answer[0].split(b"\r\n")[0])
    return Recording(url, head, records, *refused)


class Replay:
    """What all connections share: the recording, what this run meets, and what was counted."""

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
        self.answered = self.refused = 0

    def _slice_of(self, start: int, size: int) -> bytes:
        records = self._recording.records
        return b",".join(records[(start + index) % self._length] for index in range(size))

    def page(self, query: bytes) -> list[bytes]:
        """Return one page, in pieces."""
        asked = parse_qs(query.decode())
        size = int(asked.get("PageSize", ["50"])[0])
        number = int(asked.get("Page", ["0"])[0])
        start = size * number
        held = max(0, min(size, self.records - start))
        url = f"{self._recording.url}{LIST}?PageSize={size}&Page="
        first, last = (self._sids[index % self._length] for index in (start, start + held - 1))
        meta = {
            "page": number,
            "page_size": size,
            "first_page_url": f"{url}0",
            "previous_page_url": f"{url}{number - 1}&PageToken=PB{first}" if number else None,
            "url": f"{url}{number}"
            + (f"&PageToken={asked['PageToken'][0]}" if "PageToken" in asked else ""),
            "next_page_url": f"{url}{number + 1}&PageToken=PA{last}"
            if start + held < self.records
            else None,
            "key": "installed_add_ons",
        }
        records = self._slice(start % self._length, held)
        return [b'{"installed_add_ons":[', records, b'],"meta":', msgspec.json.encode(meta), b"}"]

    def answer(self, target: bytes, at_once: int) -> list[bytes]:
        """Return the answer to a GET, in pieces."""
        record = self._by_path.get(target)
        if record is not None:
            body = [record]
        else:
            path, _, query = target.partition(b"?")
            if path != LIST.encode():
                return [b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"]
            body = self.page(query)
        return [self._head(self._recording.head, at_once, sum(map(len, body))), *body]

    def refusal(self) -> list[bytes]:
        """Return the answer to one request too many."""
        body = self._recording.refused_body
        return [self._head(self._recording.refused_head, None, len(body)), body]

    def _head(self, head: bytes, at_once: int | None, length: int) -> bytes:
        concurrent = b"" if at_once is None else b"Twilio-Concurrent-Requests: %d\r\n" % at_once
        return b"%s%sContent-Length: %d\r\n\r\n" % (head, concurrent, length)

    def control(self, target: bytes) -> list[bytes]:
        """Set what comes, where it says so, and tell what was."""
        asked = parse_qs(urlsplit(target.decode()).query)
        if asked:
            # Without a limit, none is refused.
            self.records = int(asked.get("records", [self._length])[0])
            self.latency = float(asked.get("latency", [0.0])[0])
            self.limit = int(asked.get("limit", [0])[0])
        counts = {"answered": self.answered, "refused": self.refused, "cpu": time.process_time()}
        body = json.dumps(counts).encode()
        return [self._head(b"HTTP/1.1 200 OK\r\n", None, len(body)), body]


class Connection(asyncio.Protocol):
    """One kept-alive connection: one request after another, none with a body."""

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
        # Header names come in any case; base64 minds it.
        begin = head.lower().find(b"\r\nauthorization: ") + 17
        account = head[begin : head.find(b"\r\n", begin)]
        at_once = replay.in_flight[account] + 1
        if replay.limit and at_once > replay.limit:
            replay.refused += 1
            self._transport.writelines(replay.refusal())
            return
        replay.in_flight[account] = at_once
        if replay.latency:
            loop = asyncio.get_running_loop()
            loop.call_later(replay.latency, self._finish, target, account, at_once)
        else:
            self._finish(target, account, at_once)

    def _finish(self, target: bytes, account: bytes, at_once: int) -> None:
        replay = self._replay
        replay.answered += 1
        replay.in_flight[account] -= 1
        if not replay.in_flight[account]:
            del replay.in_flight[account]
        self._transport.writelines(replay.answer(target, at_once))


async def serve() -> None:
    """Record, print the URL, and replay until the process is ended."""
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
