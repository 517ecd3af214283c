"""An engine whose workers are in this process, for the tests of executors."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import attrs

from marketplace_async.fleet import Connection, WorkerLostError
from marketplace_async.fleet._executors.sessions import RemoteSession
from marketplace_async.fleet._executors.worker import Worker


@attrs.define(eq=False)
class LocalLink:
    """A link to a worker in this process, which can be lost."""

    name: str
    engine: "LocalEngine"
    capacity: ClassVar[int] = 2
    lost: WorkerLostError | None = None
    worker: Worker = attrs.field(factory=Worker)

    async def tell(self, message: bytes) -> bytes:
        if self.lost is not None:
            raise self.lost
        message = self.engine.changed_message(message)
        reply = await self.worker.tell(message)
        self.engine.messages += [message, reply]
        return reply

    async def work(self, message: bytes) -> AsyncGenerator[bytes, None]:
        self.engine.messages.append(message)
        sids = [one["account_sid"] for one in json.loads(message)["targets"]]
        self.engine.handed_out.update(sids)
        if self.engine.poison in sids:
            self.lose(is_certain=True)
        async for reply in self.worker.work(message):
            if self.lost is not None:
                raise self.lost
            if self.engine.lose_results and b'"results"' in reply:
                self.engine.lose_results = False
                self.lose(is_certain=False)
                raise WorkerLostError(f"{self.name} was lost")
            self.engine.messages.append(reply)
            yield reply
            self.engine.replies += 1
            if self.engine.replies == self.engine.lose_after:
                self.lose(is_certain=False)

    def lose(self, *, is_certain: bool) -> None:
        self.lost = WorkerLostError(f"{self.name} was lost", is_certain=is_certain)
        self.engine.links.pop(self.name, None)
        self.engine.add_worker()

    def suspect(self) -> None: ...


class LocalEngine:
    """Workers in this process."""

    is_remote: ClassVar[bool] = True
    link: ClassVar[type[LocalLink]] = LocalLink
    orphan_lease: ClassVar[float | None] = 1.5

    def __init__(self, workers: int = 2, shard_size: int = 10) -> None:
        self.shard_size = shard_size
        self.links: dict[str, Any] = {}
        self.all: list[LocalLink] = []
        self.messages: list[bytes] = []
        self.event = asyncio.Event()
        self.handed_out: Counter[str] = Counter()
        self.poison: str | None = None
        self.replies = 0
        self.lose_after = -1
        self.busy: set[str] = set()
        self.lose_results = False  # the next results are lost together with their worker
        self.version: str | None = None
        self.patience = 60.0
        self.lease = 1.5
        for _ in range(workers):
            self.add_worker()

    def add_worker(self) -> None:
        link = self.link(f"worker {len(self.all)}", self)
        self.all.append(link)
        self.links[link.name] = link
        self.event.set()

    async def changed(self) -> None:
        await self.event.wait()
        self.event.clear()

    def changed_message(self, message: bytes) -> bytes:
        if self.version is None:
            return message
        return json.dumps({**json.loads(message), "version": self.version}).encode()

    @asynccontextmanager
    async def open(self, connection: Connection) -> AsyncIterator[RemoteSession]:
        try:
            yield RemoteSession(connection, self, self.lease, self.patience)
        finally:
            for link in self.all:
                await link.worker.aclose()
