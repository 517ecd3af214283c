"""The executor that runs a job on the workers of a Dask cluster."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any, Final

import attrs

from ..._core.arguments import check_positive
from ...errors import MissingExtraError
from .._engine.entries import JobError
from ..connections import Connection
from .dask_links import Cluster
from .processes import check_lease, check_shard_size
from .sessions import RemoteSession

# Seconds to connect, and to disconnect.
_CONNECT: Final = 10.0
_CERTIFICATES: Final = "Configure certificates (docs/how-to/several-machines.md)"


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
        scheme, _, place = self.address.partition("://")
        host, _, port = place.rpartition(":")
        is_port = port.isdecimal() and 0 < int(port) < 65536
        if scheme not in ("dask", "tls", "tcp") or not host or not is_port:
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
            cluster = Cluster(client, self.address, self.lease)
            async with cluster.watched():
                yield RemoteSession(connection, cluster, self.lease, self.patience)


@asynccontextmanager
async def _connected(executor: DaskExecutor) -> AsyncIterator[Any]:
    # Importing Dask takes a second, and reads its configuration.
    distributed = await asyncio.to_thread(_distributed)
    scheme, _, host = executor.address.partition("://")
    security = await asyncio.to_thread(_security, executor, distributed)
    if scheme == "dask":
        scheme = "tcp" if security.tls_client_cert is None else "tls"
    if scheme == "tcp" and not (executor.allow_unencrypted or _is_this_machine(host)):
        raise JobError(
            f"{executor.address} is on another machine, and the connection is not encrypted: "
            f"anyone who can reach it can run programs on the workers. {_CERTIFICATES}, "
            "or allow it with dask+unencrypted://HOST:PORT"
        )
    if scheme == "tls":
        await asyncio.to_thread(_check_certificates, executor.address, security)
    try:
        client = distributed.Client(
            f"{scheme}://{host}",
            asynchronous=True,
            set_as_default=False,
            security=security if scheme == "tls" else None,
            timeout=_CONNECT,
        )
    except Exception as error:  # noqa: BLE001 - Dask raises many kinds
        raise JobError(f"the scheduler {executor.address} cannot be reached: {error}") from None
    try:
        try:
            await client
        except Exception as error:  # noqa: BLE001 - Dask raises many kinds
            raise JobError(f"the scheduler {executor.address} cannot be reached: {error}") from None
        yield client
    finally:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_CONNECT):
                await client.close()


def _distributed() -> Any:
    is_imported = "distributed" in sys.modules
    try:
        import distributed
    except ModuleNotFoundError:
        raise MissingExtraError("Dask", "dask") from None
    # The configuration of Dask, as a dictionary.
    config: dict[str, Any] = distributed.config
    configured = config.keys() | config.get("distributed", {}).keys()
    if not is_imported and not configured & {"logging", "logging-file-config"}:
        _leave_logging_to_the_program()
    return distributed


def _leave_logging_to_the_program() -> None:
    """Undo what the import of Dask does: it makes Dask's loggers write to the terminal."""
    for name in ("distributed", "distributed.client"):
        logger = logging.getLogger(name)
        for handler in tuple(logger.handlers):
            logger.removeHandler(handler)
        logger.propagate = True
    logging.getLogger("distributed").addHandler(logging.NullHandler())


def _security(executor: DaskExecutor, distributed: Any) -> Any:
    if executor.security is not None:
        return executor.security
    try:
        return distributed.Security()
    except Exception as error:  # noqa: BLE001 - Dask raises many kinds
        raise JobError(f"Dask's configuration of TLS is invalid: {error}") from None


def _check_certificates(address: str, security: Any) -> None:
    """Raise JobError if the certificates cannot be used."""
    names = ("tls_ca_file", "tls_client_cert", "tls_client_key")
    files = {name: getattr(security, name) for name in names}
    # The key may be in the file of the certificate.
    if missing := [name for name in names[:2] if files[name] is None]:
        raise JobError(
            f"{address} needs certificates: {', '.join(missing)} not set. {_CERTIFICATES}"
        )
    try:
        security.get_connection_args("client")
    except (OSError, ValueError) as error:
        # A value with several lines is not a path, but a certificate or a key itself.
        described = ", ".join(
            f"{name} {'(not a file)' if chr(10) in file else file}"
            for name, file in files.items()
            if file is not None
        )
        raise JobError(
            f"the certificates for {address} cannot be used: {error}. They are: {described}. "
            f"{_CERTIFICATES}"
        ) from None


def _is_this_machine(host: str) -> bool:
    name = host.rpartition(":")[0].strip("[]")
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
