"""Runs each measurement in a new process, on a different core than the server."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import attrs

PROJECT: Final = Path(__file__).parents[1]

Values: TypeAlias = dict[str, float]


class BenchmarkFailed(Exception):
    """A benchmark could not be completed."""


def is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def cores() -> tuple[int, int]:
    """Return the core for servers and the core for clients. They differ if possible."""
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
    """Run a server on the server core until the block ends."""
    with (
        on_core(cores()[0]),
        subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process,
    ):
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


def python(*arguments: str, stdin: str = "") -> str:
    """Run Python on the client core and return its standard output."""
    with on_core(cores()[1]):
        process = subprocess.run(
            [sys.executable, *arguments],
            cwd=PROJECT,
            # Imports use cached bytecode, as those of an installed package do.
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    if process.returncode:
        raise BenchmarkFailed(process.stderr.strip() or f"exit status {process.returncode}")
    return process.stdout


@attrs.frozen
class Bench:
    """The settings of a run, and methods that measure.

    Attributes:
        url: The URL of the replay server.
        sids: The SIDs of the records on the server.
        rounds: The number of rounds, or None for the default of each row.
        quick: Whether to run one short round.
        prism: The path of the Prism executable, if it is installed.
    """

    url: str
    sids: list[str]
    rounds: int | None
    quick: bool
    prism: str | None

    def round_count(self, default: int) -> int:
        return 1 if self.quick else self.rounds or default

    def size(self, default: int, *, quick: int) -> int:
        """Return the size of the workload in one round."""
        return quick if self.quick else default

    def configure(self, **settings: float) -> None:
        """Set `records`, `latency` and `limit` of the replay server for the next run."""
        query = "&".join(f"{name}={value}" for name, value in settings.items())
        get_json(self.url, f"/_bench/set?{query}")

    def run(self, work: str, client: str, **options: Any) -> Values:
        """Run a workload with one client in a new process."""
        task = {"url": self.url, "work": work, "client": client, "sids": self.sids, **options}
        try:
            values: Values = json.loads(python("-m", "benchmarks.worker", stdin=json.dumps(task)))
        except (BenchmarkFailed, subprocess.TimeoutExpired) as error:
            raise BenchmarkFailed(f"{work} with {client}: {error}") from error
        return values

    def interleaved(
        self, rounds: int, tasks: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, list[Values]]:
        """Run every task once per round, in turn. Return the values of all rounds by name."""
        values: dict[str, list[Values]] = {name: [] for name in tasks}
        for _ in range(rounds):
            for name, task in tasks.items():
                values[name].append(self.run(**task))
        return values


def get_json(url: str, path: str) -> Any:
    connection = HTTPConnection(urlsplit(url).netloc)
    try:
        connection.request("GET", path)
        return json.load(connection.getresponse())
    finally:
        connection.close()
