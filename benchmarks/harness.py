"""Runs what is measured: each run in a fresh process, on a core that the server does not use."""

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

Figures: TypeAlias = dict[str, float]


class Broken(Exception):
    """Something that was to be measured failed."""


def is_installed(package: str) -> bool:
    """Tell whether a peer can be measured."""
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def cores() -> tuple[int, int]:
    """Return the core for servers and the one for clients; the same if there is only one."""
    if not hasattr(os, "sched_getaffinity"):  # outside Linux the system decides
        return 0, 0
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Let what this block does and starts run on one core."""
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
    """Run a server on its core for as long as the block lasts."""
    with (
        on_core(cores()[0]),
        subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()


def first_line(process: "subprocess.Popen[str]") -> str:
    """Return the first line that a server prints: where it listens."""
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        raise Broken(f"{process.args!r} did not start")
    return line


def python(*arguments: str, stdin: str = "") -> str:
    """Run Python on the core for clients and return what it prints."""
    with on_core(cores()[1]):
        process = subprocess.run(
            [sys.executable, *arguments],
            cwd=PROJECT,
            # Whoever has a package installed has its bytecode, too.
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    if process.returncode:
        raise Broken(process.stderr.strip() or f"exit status {process.returncode}")
    return process.stdout


@attrs.frozen
class Bench:
    """What the rows run with.

    Attributes:
        url: Where the replaying server listens.
        sids: The SIDs of the records that it has.
        rounds: How many rounds, instead of as many as suit a row.
        quick: Whether to do little, once: to see that everything runs.
        prism: The command that starts Prism, if it is installed.
    """

    url: str
    sids: list[str]
    rounds: int | None
    quick: bool
    prism: str | None

    def times(self, usual: int) -> int:
        """Return how many rounds to run."""
        return 1 if self.quick else self.rounds or usual

    def much(self, usual: int, *, quick: int) -> int:
        """Return how much to do in a round."""
        return quick if self.quick else usual

    def set(self, **settings: float) -> None:
        """Tell the server what the next run meets: `records`, `latency` and `limit`."""
        query = "&".join(f"{name}={value}" for name, value in settings.items())
        ask(self.url, f"/_bench/set?{query}")

    def run(self, work: str, peer: str, **options: Any) -> Figures:
        """Let a fresh process do some work with one client."""
        task = {"url": self.url, "work": work, "peer": peer, "sids": self.sids, **options}
        try:
            figures: Figures = json.loads(python("-m", "benchmarks.work", stdin=json.dumps(task)))
        except (Broken, subprocess.TimeoutExpired) as error:
            raise Broken(f"{work} with {peer}: {error}") from error
        return figures

    def interleaved(
        self, rounds: int, tasks: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, list[Figures]]:
        """Run each task once a round, one after another, and return the figures of all rounds."""
        figures: dict[str, list[Figures]] = {name: [] for name in tasks}
        for _ in range(rounds):
            for name, task in tasks.items():
                figures[name].append(self.run(**task))
        return figures


def ask(url: str, path: str) -> Any:
    """Return the JSON that the replaying server answers with."""
    connection = HTTPConnection(urlsplit(url).netloc)
    try:
        connection.request("GET", path)
        return json.load(connection.getresponse())
    finally:
        connection.close()
