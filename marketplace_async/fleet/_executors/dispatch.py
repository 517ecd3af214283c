"""Hands the shards of a job to workers in other processes. Independent of the engine."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import aclosing, asynccontextmanager
from typing import Any, Self, TypeVarTuple, Unpack

import attrs
import msgspec

from ..._core.clocks import monotonic
from ..._core.tasks import Tasks, cancelled, create_task
from .._engine.entries import JobError
from .._engine.shards import Job, NotBegun, Shard, ShardFailure
from . import tasks
from .base import Outcome
from .links import Engine, NotBegunError, WorkerLostError
from .members import Member
from .messages import Message, decode, encode
from .pieces import Piece, Waiting
from .shares import Limits

Ts = TypeVarTuple("Ts")

_END = 10.0
_CHECK = 0.1  # seconds between checks for a stop


class Dispatcher:
    """Runs a job on the workers. Iterate it to get the results.

    Args:
        engine: The workers.
        job: The job.
        message: The message that opens the job on a worker.
        limits: The limits of the job.
        lease: Seconds for which a worker may write after the job last heard from it.
        patience: Seconds to wait for a worker.
        attempt_timeout: Seconds after which no request of a lost worker can still be in flight.

    Attributes:
        members: All workers of the run, including lost ones.
    """

    def __init__(
        self,
        engine: Engine,
        job: Job,
        message: Message,
        limits: Limits,
        lease: float,
        patience: float,
        attempt_timeout: float,
    ) -> None:
        self.members: dict[str, Member] = {}
        self._engine = engine
        self._job = job
        self._message = message
        self._name: str = message["job"]
        self._limits = limits
        self._lease = lease
        self._patience = patience
        self._attempt_timeout = attempt_timeout
        self._waiting = Waiting()
        self._outcomes: deque[Outcome] = deque()
        self._arrived = asyncio.Event()
        self._wake = asyncio.Event()
        self._balancing = asyncio.Lock()
        self._error: Exception | None = None
        self._is_listed = False
        self._is_done = False
        self._is_stopping = False
        self._tasks = Tasks()
        self._since = monotonic()  # when a worker was last available
        self._has_failed_to_open = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Outcome:
        while not self._outcomes:
            if self._error is not None:
                raise self._error
            if self._is_done:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        return self._outcomes.popleft()

    @asynccontextmanager
    async def running(self, shards: AsyncIterator[Shard]) -> AsyncIterator[None]:
        """Hand out the shards while the block runs. Then end the job on all workers."""
        self._start(self._watch_workers)
        self._start(self._hand_out, shards)
        try:
            yield
        finally:
            await self._tasks.aclose()
            members = [one for one in self.members.values() if one.lost is None]
            await asyncio.gather(*(one.end(self._name, _END) for one in members))

    def _start(
        self, function: Callable[[Unpack[Ts]], Coroutine[Any, Any, None]], *args: *Ts
    ) -> None:
        self._tasks.start(self._guarded(function, *args))

    async def _guarded(
        self, function: Callable[[Unpack[Ts]], Coroutine[Any, Any, None]], *args: *Ts
    ) -> None:
        """Run a function. The iterator of the results raises its error.

        A task can be cancelled before it begins: the coroutine must not exist by then.
        """
        try:
            await function(*args)
        except Exception as error:  # noqa: BLE001 - the iterator raises it
            self._emit_not_begun(self._waiting.take_unstarted())
            self._error = self._error or error
            self._arrived.set()

    # -- workers

    async def _watch_workers(self) -> None:
        """Open the job on new workers, and mark the lost ones."""
        while True:
            links = self._engine.links
            for key, link in links.items():
                if key not in self.members:
                    member = self.members[key] = Member(key, link)
                    self._start(self._serve, member)
            for member in self.members.values():
                if member.lost is None and member.link.lost is not None:
                    member.lost = member.link.lost
            self._wake.set()
            await self._engine.changed()

    async def _serve(self, member: Member) -> None:
        """Keep the job open on a worker until the worker is lost."""
        while True:
            await self._keep_open(member)
            if member.running:
                member.link.suspect()  # no message about its pieces may ever arrive
            if member.lost is not None and not member.lost.is_certain:
                still = max(0.0, member.lease_until - monotonic())
                await asyncio.sleep(still + self._attempt_timeout)
            member.share = 0
            self._wake.set()
            if member.link.lost is not None or member.unfit is not None:
                break
            # The worker responds, but no longer has the job open.
            member.is_fit, member.lost = False, None
        await self._balance()

    async def _keep_open(self, member: Member) -> None:
        """Open the job on a worker, and extend its lease until the worker is lost or unfit."""
        while member.is_usable and not member.share:
            await self._balance()
            if not member.share:
                await asyncio.sleep(min(1.0, self._lease / 4))
        if member.is_usable:
            await member.open(self._message, self._limits, max(self._lease, self._patience))
            if member.lost is not None:
                self._has_failed_to_open = True
            elif self._is_stopping and member.is_fit:
                await member.stop(self._name)
        self._wake.set()
        while member.is_usable:
            if not self._balancing.locked():
                # Another worker may not respond: that must not delay this lease.
                self._start(self._balance)
            await asyncio.sleep(self._lease / 4)
            if not member.is_usable:
                return  # an extended lease would outlast the wait for its requests
            try:
                async with asyncio.timeout(self._lease):
                    await member.renew(self._name, self._limits, self._lease)
            except TimeoutError:
                member.link.suspect()
            if member.link.lost is not None:
                member.lost = member.lost or member.link.lost

    async def _balance(self) -> None:
        """Split the limits among the workers. Lower some shares before raising others."""
        async with self._balancing:
            granted = {key: one.share for key, one in self.members.items() if one.is_usable}
            gone = [one.share for one in self.members.values() if not one.is_usable]
            for key, share in self._limits.lowered(granted).items():
                member = self.members[key]
                if not (member.is_fit and member.is_usable):
                    continue  # the worker is still opening the job with the higher share, or lost
                before, member.share = member.share, share
                is_lowered = False
                try:
                    async with asyncio.timeout(self._lease / 2):
                        await member.renew(self._name, self._limits, self._lease)
                    is_lowered = member.is_usable
                except TimeoutError:
                    pass
                if not is_lowered:
                    member.share = before  # the worker may still use the higher share
                granted[key] = member.share
            for key, share in self._limits.raised(granted, gone).items():
                member = self.members[key]
                member.share = share  # sent with the next extension of the lease

    # -- shards

    async def _hand_out(self, shards: AsyncIterator[Shard]) -> None:
        """Hand out shards as workers have capacity, until all shards are finished."""
        following: asyncio.Task[Shard] | None = None
        try:
            while True:
                self._wake.clear()
                if self._job.is_stopped():
                    self._stop()
                if following is not None and following.done():
                    try:
                        self._waiting.add(Piece.of(following.result()).split(self._room()))
                    except StopAsyncIteration:
                        self._is_listed = True
                    following = None
                busy = any(member.running for member in self.members.values())
                if self._is_listed and not self._waiting and not busy:
                    self._is_done = True
                    self._arrived.set()
                    return
                self._check_workers()
                # Assign last: if an error came next, accounts that got no message would be unknown.
                self._assign()
                if following is None and not self._is_listed and self._needs_shard():
                    following = create_task(_next(shards))
                    following.add_done_callback(lambda _: self._wake.set())
                await self._woken()
        finally:
            if following is not None:
                await cancelled(following)

    def _needs_shard(self) -> bool:
        """Return whether a new shard could be handed out now."""
        if self._is_stopping:
            return True  # there is none: the list of shards ends
        has_capacity = any(one.has_capacity for one in self.members.values())
        return has_capacity and not self._waiting.has_due(monotonic())

    def _room(self) -> int:
        """Return how many pieces the workers could process in addition to those they have."""
        usable = (one for one in self.members.values() if one.is_usable)
        return max(1, sum(one.link.capacity - len(one.running) for one in usable))

    def _stop(self) -> None:
        """Start no more accounts."""
        self._emit_not_begun(self._waiting.take_unstarted())
        if not self._is_stopping:
            self._is_stopping = True
            for member in self.members.values():
                if member.is_fit and member.is_usable:
                    self._start(member.stop, self._name)

    def _assign(self) -> None:
        now = monotonic()
        members = sorted(self.members.values(), key=lambda one: len(one.running))
        free = [member for member in members if member.has_capacity]
        alone = any(piece.is_alone for one in members for piece in one.running)
        if self._waiting.has_alone(now) and not alone and free:
            # Reserve a worker for the account that must run alone.
            kept = free.pop(0)
            if not kept.running:
                piece = self._waiting.next(now, alone=True)
                assert piece is not None
                self._begin(kept, piece)
        while free and (piece := self._waiting.next(now, alone=False)) is not None:
            member = min(free, key=lambda one: len(one.running))
            self._begin(member, piece)
            if not member.has_capacity:
                free.remove(member)

    def _begin(self, member: Member, piece: Piece) -> None:
        member.running.add(piece)
        self._start(self._work, member, piece)

    async def _work(self, member: Member, piece: Piece) -> None:
        """Process a piece on a worker. Accounts without a result wait for another worker."""
        piece.handouts += 1
        piece.has_begun = False
        message = {
            "job": self._name,
            "clock": member.lease(self._lease),
            "is_new": piece.handouts == 1,
            **tasks.describe_shard(piece.shard),
        }
        is_late = False
        try:
            async with aclosing(member.link.work(encode(message))) as replies:
                async for reply in replies:
                    member.busy, piece.has_begun = None, True
                    with member.reading():
                        is_late = self._receive(member, piece, reply)
                    if member.unfit is not None:
                        break
        except NotBegunError as error:
            if member.lost is None:
                member.rest(str(error), min(self._lease, self._patience / 2))
            piece.handouts -= 1
            self._waiting.add([piece])
            return
        except WorkerLostError as error:
            member.lost = member.lost or error
        finally:
            member.running.discard(piece)
            self._wake.set()
        if member.lost is None:
            member.shards += 1
        if not piece.targets:
            return
        piece.not_before = monotonic() + self._delay_after(member)
        if member.lost is None and is_late:
            self._waiting.add([piece])
            return
        last = "it sent no result" if member.lost is None else member.lost.reason
        for part in piece.after_loss():
            if part.has_failed:
                reason = WorkerLostError(
                    f"{part.lost} workers were lost while processing this account; the last one: "
                    f"{member.link.name}: {last}"
                )
                self._emit(ShardFailure(tuple(part.targets.values()), reason))
            else:
                self._waiting.add([part])

    def _receive(self, member: Member, piece: Piece, reply: bytes) -> bool:
        """Process a message about a piece. Return whether the lease ended before the piece did."""
        message = msgspec.json.decode(reply, type=dict[str, msgspec.Raw])
        if "results" not in message:
            last = decode(reply)
            member.update(last)
            if "gone" in last:
                raise NotBegunError("it was restarted")
            not_begun = {
                sid: piece.targets.pop(sid)
                for sid in last.get("not_begun", ())
                if sid in piece.targets
            }
            self._emit_not_begun([attrs.evolve(piece, targets=not_begun)])
            return bool(last.get("late"))
        for data in msgspec.json.decode(message["results"], type=list[msgspec.Raw]):
            result = tasks.decode_result(self._job.task, bytes(data), piece.targets)
            if result is not None:
                del piece.targets[result.target.account_sid]
                member.accounts += 1
                self._emit(attrs.evolve(result, handouts=piece.handouts))
        return False

    def _delay_after(self, member: Member) -> float:
        """Return the seconds to wait before accounts without a result are handed out again."""
        if not self._job.task.writes:
            return 0.0 if member.lost is not None else 1.0  # its lease ended, and will be extended
        delay = self._attempt_timeout
        if member.lost is not None and not member.lost.is_certain:
            delay += max(0.0, member.lease_until - monotonic())
        return delay

    def _emit(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        self._arrived.set()

    def _emit_not_begun(self, pieces: Iterable[Piece]) -> None:
        if targets := tuple(target for one in pieces for target in one.targets.values()):
            self._emit(NotBegun(targets))

    def _check_workers(self) -> None:
        """Raise JobError if there is no worker to wait for."""
        now = monotonic()
        members = list(self.members.values())
        # The first attempt to open the job has a limit of its own.
        is_opening = not self._has_failed_to_open and any(
            member.is_usable and not member.is_fit and member.share for member in members
        )
        if is_opening or any(member.is_available for member in members):
            self._since = now
            return
        present = [self.members.get(key) for key in self._engine.links]
        unfit = [one for one in present if one is not None and one.unfit is not None]
        if unfit and len(unfit) == len(present):
            reasons = "; ".join(f"{one.link.name}: {one.unfit}" for one in unfit[:5])
            raise JobError(f"no worker can do this job: {reasons}")
        if now - self._since >= self._patience:
            lost = [one for one in members if one.lost is not None]
            last = f"; the last one was lost: {lost[-1].lost}" if lost else ""
            if busy_reasons := [one.busy for one in members if one.busy is not None]:
                last = f"; {busy_reasons[-1]}"
            raise JobError(f"no worker has been available for {self._patience:g} seconds{last}")

    async def _woken(self) -> None:
        seconds = self._waiting.due(monotonic())
        try:
            async with asyncio.timeout(_CHECK if seconds is None else min(_CHECK, seconds)):
                await self._wake.wait()
        except TimeoutError:
            return


async def _next(shards: AsyncIterator[Shard]) -> Shard:
    return await anext(shards)
