"""The executor that runs a job on the workers of a Dask cluster."""

import asyncio
import contextlib
import math
import sys
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any, Final

import attrs

from ..._core.arguments import check_positive
from ..._core.clocks import monotonic
from ..._core.tasks import cancelled, create_task
from ...errors import MissingExtraError
from .._engine.entries import JobError
from ..connections import Connection
from .links import Link, WorkerLostError
from .messages import encode
from .processes import check_lease, check_shard_size
from .sessions import RemoteSession

_POLL: Final = 0.5
# Seconds: to connect, for one poll, and until a scheduler that does not respond counts as lost.
_CONNECT: Final = 10.0
_RESPONSE: Final = 10.0
_SILENCE: Final = 30.0


@attrs.frozen
class DaskExecutor:
    """Processes accounts on the workers of a Dask cluster (dask.distributed).

    Workers need the same version of this package. They open the source themselves. They read
    credentials from their own profile, environment, accounts file or vault, and the values of
    secret keys from their environment. The limits of the client are split among them.

    Args:
        address: The scheduler: `tls://HOST:PORT`, or `dask://HOST:PORT`, which uses TLS if Dask's
            configuration has certificates.
        security: A `distributed.Security`. Defaults to the certificates in Dask's configuration.
        allow_unencrypted: Whether to connect to another machine without TLS. Anyone who can reach
            such a cluster can run programs on its workers.
        shard_size: Number of accounts in a shard, 1 to 1,000. Also the page size for the list of
            accounts.
        lease: Seconds after which a worker that does not respond stops writing. More than 0.
        patience: Seconds to wait for a worker. More than 0.

    Raises:
        ValueError, TypeError: An argument is invalid.
    """

    address: str
    security: Any = attrs.field(default=None, repr=False, kw_only=True)
    allow_unencrypted: bool = attrs.field(default=False, kw_only=True)
    shard_size: int = attrs.field(
        default=250, kw_only=True, validator=lambda _, __, value: check_shard_size(value)
    )
    lease: float = attrs.field(
        default=30.0, kw_only=True, validator=lambda _, __, value: check_lease(value)
    )
    patience: float = attrs.field(
        default=60.0,
        kw_only=True,
        validator=lambda _, __, value: check_positive(value, "patience", "seconds"),
    )

    @property
    def is_remote(self) -> bool:
        """True."""
        return True

    @property
    def orphan_lease(self) -> float:
        """The lease."""
        return self.lease

    def __attrs_post_init__(self) -> None:
        scheme, _, host = self.address.partition("://")
        if scheme not in ("dask", "tls", "tcp") or not host.rpartition(":")[2].isdecimal():
            raise ValueError(
                f"address: expected dask://HOST:PORT or tls://HOST:PORT, got {self.address!r}"
            )

    @asynccontextmanager
    async def open(self, connection: Connection) -> AsyncIterator[RemoteSession]:
        """Connect to the cluster.

        Raises:
            JobError: The cluster cannot be reached, or is on another machine without TLS.
            MissingExtraError: Dask is not installed.
        """
        async with _connected(self) as client:
            cluster = _Cluster(client, self.address)
            async with cluster.watched():
                yield RemoteSession(connection, cluster, self.lease, self.patience)


@asynccontextmanager
async def _connected(executor: DaskExecutor) -> AsyncIterator[Any]:
    # Importing Dask takes a second, and reads its configuration.
    distributed = await asyncio.to_thread(_distributed)
    security = executor.security or distributed.Security()
    scheme, _, host = executor.address.partition("://")
    if scheme == "dask":
        scheme = "tcp" if security.tls_client_cert is None else "tls"
    if scheme == "tcp" and not (executor.allow_unencrypted or _is_this_machine(host)):
        raise JobError(
            f"{executor.address} is on another machine, and the connection is not encrypted: "
            "anyone who can reach it can run programs on the workers. Configure certificates "
            "(docs/how-to/several-machines.md), or allow it with dask+unencrypted://HOST:PORT"
        )
    client = distributed.Client(
        f"{scheme}://{host}",
        asynchronous=True,
        set_as_default=False,
        security=security if scheme == "tls" else None,
        timeout=_CONNECT,
    )
    try:
        try:
            await client
        except (OSError, TypeError, ValueError, RuntimeError) as error:
            raise JobError(f"the scheduler {executor.address} cannot be reached: {error}") from None
        yield client
    finally:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_RESPONSE):
                await client.close()


def _distributed() -> Any:
    try:
        import distributed
    except ModuleNotFoundError:
        raise MissingExtraError("Dask", "dask") from None
    return distributed


def _is_this_machine(host: str) -> bool:
    name = host.rpartition(":")[0].strip("[]")
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


class _Cluster:
    """The workers of a cluster, as its scheduler reports them."""

    def __init__(self, client: Any, address: str) -> None:
        from .dask_worker import functions

        self.links: dict[str, Link] = {}
        self.client = client
        self.topic = f"marketplace_async-{uuid.uuid4().hex}"
        self.tell, self.work = functions()
        self.exchanges: dict[int, asyncio.Queue[bytes]] = {}
        self._address = address
        self._number = 0
        self._seen: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._error: JobError | None = None
        self._scheduler: str | None = None
        self._returning: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Keep track of the workers while the block runs."""
        self.client.subscribe_topic(self.topic, self._on_event)
        await self._poll()
        task = create_task(self._watch())
        try:
            yield
        finally:
            await cancelled(task, *self._returning)
            with contextlib.suppress(Exception):
                self.client.unsubscribe_topic(self.topic)

    def next_number(self) -> int:
        """Return the number of a new exchange."""
        self._number += 1
        return self._number

    async def changed(self) -> None:
        await self._changed.wait()
        self._changed.clear()
        if self._error is not None:
            raise self._error

    async def _on_event(self, event: tuple[float, Any]) -> None:
        number, message = event[1]
        if (exchange := self.exchanges.get(number)) is not None:
            exchange.put_nowait(bytes(message))

    async def _watch(self) -> None:
        heard = monotonic()
        while True:
            await asyncio.sleep(_POLL)
            try:
                async with asyncio.timeout(_RESPONSE):
                    await self._poll()
                heard = monotonic()
            except Exception as error:  # noqa: BLE001 - Dask raises many kinds
                is_closed = self.client.status not in ("running", "connecting")
                if is_closed or isinstance(error, JobError) or monotonic() - heard > _SILENCE:
                    reason = str(error) or type(error).__name__
                    self._lose(f"the scheduler {self._address} was lost: {reason}")
                    return
            if self.client.status not in ("running", "connecting"):
                self._lose(f"the scheduler {self._address} was lost")
                return

    def _lose(self, reason: str) -> None:
        for link in list(self.links.values()):
            assert isinstance(link, DaskLink)
            link.lose("its scheduler was lost")
        self._error = JobError(reason)
        self._changed.set()

    async def _poll(self) -> None:
        """Ask the scheduler for its current workers."""
        identity = await self.client.scheduler.identity(n_workers=-1)
        if self._scheduler not in (None, identity["id"]):
            # The new scheduler does not know this job, and would not pass on its results.
            raise JobError("it was restarted")
        self._scheduler = identity["id"]
        workers: dict[str, Any] = identity["workers"]
        for link in list(self.links.values()):
            assert isinstance(link, DaskLink)
            if link.address not in workers:
                link.lose("the scheduler lost it, or it was stopped")
        known = {link.address for link in self.links.values() if isinstance(link, DaskLink)}
        suspected = {task.get_name() for task in self._returning}
        new = {
            address: worker
            for address, worker in workers.items()
            if address not in known | suspected and worker["status"] == "running"
        }
        if new:
            pythons = await self._pythons()
            for address, worker in new.items():
                self._add(address, worker["nthreads"], pythons.get(address))

    async def _pythons(self) -> dict[str, str]:
        """Return the Python version of each worker.

        Raises:
            JobError: The scheduler has a different version, and could not read the job's functions.
        """
        versions = await self.client.get_versions()
        here = _python(sys.version)
        scheduler = _python(versions["scheduler"]["host"]["python"])
        if scheduler != here:
            raise JobError(f"the scheduler has Python {scheduler}, but this process has {here}")
        return {
            address: _python(one["host"]["python"])
            for address, one in versions["workers"].items()
            if one and "host" in one
        }

    def _add(self, address: str, threads: int, python: str | None) -> None:
        self._seen[address] = count = self._seen.get(address, 0) + 1
        name = address if count == 1 else f"{address} ({count})"
        self.links[name] = DaskLink(name, address, threads, self, python)
        self._changed.set()

    def remove(self, link: "DaskLink", *, may_return: bool) -> None:
        """Remove a link. A worker that responds again gets a new one."""
        self.links.pop(link.name, None)
        if may_return:
            task = asyncio.create_task(self._response_of(link.address), name=link.address)
            self._returning.add(task)
            task.add_done_callback(self._returning.discard)
        self._changed.set()

    async def _response_of(self, address: str) -> None:
        with contextlib.suppress(Exception):
            await self.client.run(self.tell, encode({"op": "ping"}), workers=[address])


class DaskLink:
    """A link to a worker of a cluster.

    Attributes:
        name: Its name in reports.
        address: Its address.
        capacity: Maximum number of shards at once.
        lost: Why it was lost. None if it was not.
    """

    def __init__(
        self, name: str, address: str, threads: int, cluster: _Cluster, python: str | None
    ) -> None:
        self.name: str = name
        self.address: str = address
        # As many shards as it runs at once, and a few more that wait for them to finish.
        self.capacity: int = max(2, math.ceil(1.25 * threads))
        self.lost: WorkerLostError | None = None
        self._cluster = cluster
        self._python = python
        self._losing = asyncio.Event()

    def lose(self, reason: str, *, may_return: bool = False) -> None:
        """Mark the worker as lost."""
        if self.lost is None:
            self.lost = WorkerLostError(reason)
            self._losing.set()
            self._cluster.remove(self, may_return=may_return)

    def suspect(self) -> None:
        """Mark the worker as lost until it responds again."""
        self.lose("it does not respond", may_return=True)

    async def tell(self, message: bytes) -> bytes:
        """Send an instruction and return the response."""
        if self._python not in (None, _python(sys.version)):
            # Another version of Python cannot read functions that are pickled by value.
            return encode(
                {"unfit": f"it has Python {self._python}, but the job has {_python(sys.version)}"}
            )
        cluster = self._cluster
        try:
            responses = await self._unless_lost(
                cluster.client.run(cluster.tell, message, workers=[self.address])
            )
            response: bytes = responses[self.address]
            return response
        except WorkerLostError:
            raise
        except Exception as error:  # noqa: BLE001 - Dask raises many kinds
            raise WorkerLostError(
                f"it cannot be reached: {str(error) or type(error).__name__}"
            ) from None

    async def work(self, message: bytes) -> AsyncGenerator[bytes, None]:
        """Send a shard and yield the messages about it."""
        if self.lost is not None:
            raise self.lost
        cluster = self._cluster
        number = cluster.next_number()
        messages = cluster.exchanges[number] = asyncio.Queue()
        future = cluster.client.submit(
            *(cluster.work, message, cluster.topic, number),
            key=f"{cluster.topic}-{number}",
            workers=[self.address],
            allow_other_workers=False,
            pure=False,
            retries=0,
        )
        ended = create_task(_result(future))
        try:
            while not (ended.done() and messages.empty()):
                following = create_task(messages.get())
                await self._unless_lost(_first(following, ended))
                if not following.done():
                    await cancelled(following)
                    continue
                yield following.result()
            # Messages arrive before the task's result, over the same connection. If one is missing
            # anyway, its accounts have no result and are handed out again.
            if (error := ended.exception()) is not None:
                raise WorkerLostError(_in_words(error))
        finally:
            del cluster.exchanges[number]
            await cancelled(ended)
            future.release()

    async def _unless_lost(self, awaitable: Any) -> Any:
        """Wait for a response, unless the worker is lost."""
        losing = create_task(self._losing.wait())
        task = asyncio.ensure_future(awaitable)
        try:
            await asyncio.wait([task, losing], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            assert self.lost is not None
            raise self.lost
        finally:
            await cancelled(losing, task)


async def _first(*tasks: "asyncio.Task[Any]") -> None:
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


async def _result(future: Any) -> None:
    await future


def _in_words(error: BaseException) -> str:
    """Return why a task of Dask failed."""
    if "scheduler-connection-lost" in str(error):
        return "its scheduler was lost"
    return f"its task failed: {type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _python(version: str) -> str:
    """Return the Python version that pickled functions depend on, such as 3.11 for 3.11.7."""
    return ".".join(version.split()[0].split(".")[:2])
