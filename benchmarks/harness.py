"""Runs each measurement in a new process, on a different core than the server."""

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from http.client import HTTPConnection, HTTPSConnection
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Self, TypeAlias
from urllib.parse import urlsplit

import attrs

from .clients import ACCOUNT, LIST, authorization
from .profiling import Profile

PROJECT: Final = Path(__file__).parents[1]

# A short run would give the profiler too few samples.
PROFILED_TIMES: Final = 20

Values: TypeAlias = dict[str, float]


class BenchmarkFailed(Exception):
    """A benchmark could not be completed."""


def is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


@cache
def cores() -> tuple[int, int]:
    """Return the core for servers and the core for clients. They differ if possible.

    The result is that of the first call, because `on_core()` changes what is usable.
    """
    if not hasattr(os, "sched_getaffinity"):  # only Linux supports CPU affinity
        return 0, 0
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Pin this process, and processes started in the block, to one core."""
    if not hasattr(os, "sched_getaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def server_process(*command: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a server on the server core until the block ends. The block itself is not pinned."""
    with on_core(cores()[0]):
        process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            yield process
        finally:
            process.terminate()


def first_line(process: "subprocess.Popen[str]") -> str:
    """Return the first line that a server prints, which is its URL."""
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        raise BenchmarkFailed(f"{process.args!r} did not start")
    return line


def python(*arguments: str, stdin: str = "", **environment: str) -> str:
    """Run Python on the client core and return its standard output."""
    with on_core(cores()[1]):
        process = subprocess.run(
            [sys.executable, *arguments],
            cwd=PROJECT,
            # Imports use cached bytecode, as those of an installed package do.
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "", **environment},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    if process.returncode:
        raise BenchmarkFailed(process.stderr.strip() or f"exit status {process.returncode}")
    return process.stdout


def _replay_server(*options: str) -> AbstractContextManager["subprocess.Popen[str]"]:
    server, client = cores()
    # On the core of the clients, polling would slow them down.
    poll = ["--poll"] if server != client else []
    return server_process(sys.executable, "-m", "benchmarks.replay_server", *poll, *options)


@attrs.frozen
class Server:
    """A running replay server.

    Attributes:
        url: Its URL.
        sids: The SIDs of its records.
        ca: The file with the certificate authority that issued its certificate. None without TLS.
    """

    url: str
    sids: list[str]
    ca: Path | None = None

    @classmethod
    @contextmanager
    def start(cls) -> Iterator[Self]:
        """Run a replay server without TLS until the block ends."""
        with _replay_server() as process:
            yield cls._of(first_line(process))

    @classmethod
    @contextmanager
    def start_with_tls(cls) -> Iterator[Self]:
        """Run a replay server with a new certificate until the block ends. Needs trustme."""
        import trustme

        with TemporaryDirectory() as name:
            folder = Path(name)
            authority, certificate = folder / "authority.pem", folder / "certificate.pem"
            ca = trustme.CA()
            ca.cert_pem.write_to_path(authority)
            issued = ca.issue_cert("127.0.0.1")
            issued.private_key_and_cert_chain_pem.write_to_path(certificate)
            with _replay_server("--certificate", str(certificate)) as process:
                yield cls._of(first_line(process), authority)

    @classmethod
    def _of(cls, url: str, ca: Path | None = None) -> Self:
        page = get_json(url, f"{LIST}?PageSize=1000", ca)
        return cls(url, [one["sid"] for one in page["installed_add_ons"]], ca)


@attrs.frozen
class Bench:
    """The settings of a run, and methods that measure.

    Attributes:
        server: The replay server.
        rounds: The number of rounds, or None for the default of each row.
        quick: Whether to run one short round.
        prism: The path of the Prism executable, if it is installed.
        profiles: Where the CPU time of each run went, or None to run without a profiler.
    """

    server: Server
    rounds: int | None
    quick: bool
    prism: str | None
    profiles: list[Profile] | None = None

    def round_count(self, default: int) -> int:
        return 1 if self.quick or self.profiles is not None else self.rounds or default

    def size(self, default: int, *, quick: int) -> int:
        """Return the size of the workload in one round."""
        return quick if self.quick else default

    def configure(self, **settings: float) -> None:
        """Set `records`, `latency` and `limit` of the replay server for the next run."""
        query = "&".join(f"{name}={value}" for name, value in settings.items())
        get_json(self.server.url, f"/_bench/set?{query}", self.server.ca)

    def run(self, work: str, client: str, **options: Any) -> Values:
        """Run a workload with one client in a new process."""
        server = self.server
        task = {"url": server.url, "work": work, "client": client, "sids": server.sids, **options}
        if self.profiles is not None:
            task |= {"profile": True, "times": options.get("times", 1) * PROFILED_TIMES}
        # The default certificate authorities of OpenSSL, and so of every client.
        trusted = {} if server.ca is None else {"SSL_CERT_FILE": str(server.ca)}
        try:
            output = python("-m", "benchmarks.worker", stdin=json.dumps(task), **trusted)
            values: dict[str, Any] = json.loads(output)
        except (BenchmarkFailed, subprocess.TimeoutExpired) as error:
            raise BenchmarkFailed(f"{work} with {client}: {error}") from error
        shares = values.pop("samples")
        if self.profiles is not None:
            cpu, responses = values["cpu"], values["processed"]
            self.profiles.append(Profile(work, client, cpu, responses, shares))
        return values

    def interleaved(
        self, rounds: int, tasks: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, list[Values]]:
        """Run every task once per round. Return the values of all rounds by name.

        Every other round runs in reverse order, so that a drift of the machine's speed favors none.
        """
        values: dict[str, list[Values]] = {name: [] for name in tasks}
        for number in range(rounds):
            for name in list(tasks)[:: -1 if number % 2 else 1]:
                values[name].append(self.run(**tasks[name]))
        return values


def get_json(url: str, path: str, ca: Path | None = None) -> Any:
    """GET from the replay server. `ca` is not needed if it is a default certificate authority."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc)
    if parts.scheme == "https":
        connection = HTTPSConnection(parts.netloc, context=ssl.create_default_context(cafile=ca))
    try:
        connection.request("GET", path, headers={"Authorization": authorization(ACCOUNT)})
        return json.load(connection.getresponse())
    except OSError as error:
        raise BenchmarkFailed(f"the replay server does not respond: {error}") from error
    finally:
        connection.close()
