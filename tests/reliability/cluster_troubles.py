"""What happens to the clusters of `reliability.cluster_proofs`, and what has to come of it."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import attrs
from support.dask import Cluster, free_port, kill
from support.halting_relay import HaltingRelay
from support.namespaces import Namespace
from support.paths import PROJECT

from marketplace_async import fleet
from marketplace_async.emulator import Emulator

WORKER: Final = {"TEST_API_TOKEN": "very-secret"}


@attrs.define
class Trial:
    """A job on a cluster.

    Attributes:
        folder: The folder of its files.
        cluster: The cluster.
        emulator: The service.
        kind: "inventory" or "apply".
        accounts: The subaccounts.
        namespace: Where the worker runs that is cut off. None if a relay stands in.
        disturbed: Whether it was disturbed.
    """

    folder: Path
    cluster: Cluster
    emulator: Emulator
    kind: str
    accounts: list[str]
    namespace: Namespace | None = None
    disturbed: bool = False
    job: asyncio.subprocess.Process | None = None
    relays: list[HaltingRelay] = attrs.field(factory=list)

    @property
    def file(self) -> Path:
        suffix = "jsonl" if self.kind == "inventory" else "journal"
        return self.folder / f"fleet.{suffix}"

    def created(self) -> Counter[str]:
        """Return how often an Add-on was installed on each account during the job."""
        return Counter(
            entry.account_sid or ""
            for entry in self.emulator.log
            if (entry.method, entry.path, entry.status) == ("POST", "/v1/InstalledAddOns", 201)
        )

    def share_done(self) -> float:
        """Return the share of accounts that are done."""
        if self.kind == "apply":
            return len(self.created()) / len(self.accounts)
        read = {
            entry.account_sid for entry in self.emulator.log if entry.path == "/v1/InstalledAddOns"
        }
        return len(read) / len(self.accounts)

    async def run_until_complete(self, runs: int) -> list[dict[str, Any]]:
        """Run the job, again if it was killed. Return what the runs have printed."""
        outputs: list[dict[str, Any]] = []
        for number in range(runs):
            options = {
                "kind": self.kind,
                "url": self.emulator.url,
                "address": self.cluster.address,
                "file": str(self.file),
                "resume": number > 0,
            }
            paths = os.pathsep.join([str(PROJECT), str(PROJECT / "tests")])
            self.job = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "reliability.cluster_driver", json.dumps(options)),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": paths},
            )
            async with asyncio.timeout(240):
                output, errors = await self.job.communicate()
            if output:
                outputs.append(json.loads(output))
            elif number == runs - 1:
                outputs.append({"error": errors.decode()[-500:], "report": None})
            if number < runs - 1:
                await asyncio.sleep(1.0)
        return outputs

    def violations(self, outputs: list[dict[str, Any]], trouble: "Trouble") -> list[str]:
        """Return what was lost, doubled or misreported."""
        last = outputs[-1]
        report = last["report"]
        if report is None or last["error"] is not None:
            return [f"the job ended with {last['error']}"]
        found = []
        expected = len(self.accounts) + 1 - len(trouble.failing)
        counts = report["counts"]
        if (counts["done"], counts["failed"]) != (expected, len(trouble.failing)):
            found.append(f"counts are {counts}")
        if self.kind == "inventory":
            records = [json.loads(line) for line in self.file.read_text().splitlines()]
            times = Counter(one["account_sid"] for one in records)
            lost = len(self.accounts) - len(trouble.failing) - len(times)
        else:
            times = self.created()
            lost = expected - len(times)
            if trouble.runs == 1 and report["writes"] != {"done": report["plan"]["steps"]}:
                found.append(f"writes are {report['writes']}, steps {report['plan']['steps']}")
            outcomes = Counter(one.outcome for one in fleet.read_journal(self.file))
            if set(outcomes) - {"done", "failed"} or outcomes["done"] != expected:
                found.append(f"the journal has {outcomes}")
        doubled = [sid for sid, count in times.items() if count > 1]
        if lost or doubled:
            found.append(f"{lost} accounts are lost, {len(doubled)} doubled")
        if trouble.lost and not any(one["lost"] for one in report["workers"]):
            found.append("no worker was lost")
        working = [one for one in report["workers"] if one["accounts"]]
        if trouble.runs == 1 and len(working) < trouble.working:
            found.append(f"{len(working)} workers have processed accounts")
        unfit = [one["unfit"] for one in report["workers"] if one["unfit"]]
        if trouble.unfit and not any(part in one for one in unfit for part in trouble.unfit):
            found.append(f"unfit workers are {unfit}, expected {' or '.join(trouble.unfit)}")
        return found


Act = Callable[[Trial], Awaitable[None]]


async def two_workers(trial: Trial) -> None:
    for _ in range(2):
        await trial.cluster.start_worker(env=WORKER)


@attrs.frozen
class Trouble:
    """One row.

    Attributes:
        name: Its name.
        act: Disturbs the cluster when 40 % of the accounts are done.
        begin: Starts the workers.
        runs: How often the job is run.
        unfit: Parts of reasons why a worker is unfit; one of them has to be found.
        failing: The accounts that fail.
        lost: Whether a worker has to be lost.
        working: How many workers process accounts.
        is_cut: Whether a worker is cut off from the scheduler.
        latency: Seconds that a request takes.
    """

    name: str
    act: Act | None = None
    begin: Act = two_workers
    runs: int = 1
    unfit: tuple[str, ...] = ()
    failing: tuple[str, ...] = ()
    lost: bool = False
    working: int = 2
    is_cut: bool = False
    latency: float = 0.1


async def kill_a_worker(trial: Trial) -> None:
    kill(trial.cluster.workers[0])


async def one_worker(trial: Trial) -> None:
    await trial.cluster.start_worker(env=WORKER)


async def stop_a_worker(trial: Trial) -> None:
    kill(trial.cluster.workers[0], signal.SIGSTOP)
    await asyncio.sleep(8)
    kill(trial.cluster.workers[0], signal.SIGCONT)


async def retire_a_worker(trial: Trial) -> None:
    from distributed import Client

    async with Client(trial.cluster.address, asynchronous=True, set_as_default=False) as client:
        workers = list((await client.scheduler.identity(n_workers=-1))["workers"])
        await client.retire_workers([workers[0]])


async def kill_the_job(trial: Trial) -> None:
    assert trial.job is not None
    trial.job.kill()


async def kill_the_scheduler(trial: Trial) -> None:
    assert trial.cluster.scheduler is not None
    kill(trial.cluster.scheduler)
    await trial.cluster.scheduler.wait()
    for worker in trial.cluster.workers:
        kill(worker)
    await trial.cluster.start_scheduler()
    await two_workers(trial)


async def behind_a_cut(trial: Trial) -> None:
    """Start a worker whose connections with the scheduler can be cut, both ways.

    It always reaches the service, so it could repeat what others write.
    """
    await one_worker(trial)
    if trial.namespace is not None:
        await trial.cluster.start_worker(
            *("--host", trial.namespace.inner_host),
            env=WORKER,
            command=("ip", "netns", "exec", trial.namespace.name, sys.executable),
        )
        return
    port = free_port()
    out, back = HaltingRelay(trial.cluster.port), HaltingRelay(port)
    trial.relays = [out, back]
    await out.start()
    await back.start()
    await trial.cluster.start_worker(
        *("--listen-address", f"tcp://127.0.0.1:{port}"),
        *("--contact-address", f"tcp://127.0.0.1:{back.port}"),
        env=WORKER,
        address=f"tcp://127.0.0.1:{out.port}",
    )


async def cut_off(trial: Trial) -> None:
    if trial.namespace is not None:
        await trial.namespace.cut()
    for relay in trial.relays:
        relay.halt()
    try:
        await asyncio.sleep(10)
    finally:
        for relay in trial.relays:
            relay.go_on()
        if trial.namespace is not None:
            await trial.namespace.heal()


def with_second(env: dict[str, str]) -> Act:
    async def begin(trial: Trial) -> None:
        await one_worker(trial)
        await trial.cluster.start_worker(env={**WORKER, **env})

    return begin


async def with_missing_variable(trial: Trial) -> None:
    name = "TWILIO_AUTH_TOKEN" if trial.kind == "inventory" else "TEST_API_TOKEN"
    await with_second({name: ""})(trial)


async def with_other_version(trial: Trial) -> None:
    """Start a worker with a wheel of another version."""
    sources, installed = trial.folder / "sources", trial.folder / "installed"
    shutil.copytree(PROJECT / "marketplace_async", sources / "marketplace_async")
    (sources / "marketplace_async" / "_version.py").write_text('__version__ = "0.0.1"\n')
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, sources)
    await run("pip", "wheel", "--no-deps", "--wheel-dir", str(trial.folder), str(sources))
    (wheel,) = trial.folder.glob("marketplace_async-0.0.1-*.whl")
    await run("pip", "install", "--no-deps", "--target", str(installed), str(wheel))
    paths = os.pathsep.join([str(installed), str(PROJECT / "tests")])
    await with_second({"PYTHONPATH": paths})(trial)


async def with_bare_worker(trial: Trial) -> None:
    """Start a worker whose Python has Dask and not this package."""
    import distributed

    bare = trial.folder / "bare"
    python = str(bare / "bin" / "python")
    await run("venv", str(bare))
    await run("pip", "install", f"distributed=={distributed.__version__}", python=python)
    await one_worker(trial)
    await trial.cluster.start_worker(env={**WORKER, "PYTHONPATH": ""}, command=(python,))


async def run(module: str, *arguments: str, python: str = sys.executable) -> None:
    """Run a module of Python, or raise with what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(python, "-m", module, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{module} {' '.join(arguments)}: {output.decode()[-2000:]}")


POISON: Final = f"AC{3:032x}"


def two_nannies(variables: Callable[[Trial], dict[str, str]], *options: str) -> Act:
    async def begin(trial: Trial) -> None:
        for _ in range(2):
            env = {**WORKER, **variables(trial)}
            await trial.cluster.start_worker("--nanny", *options, env=env)

    return begin


def poison(trial: Trial) -> dict[str, str]:
    return {"TEST_POISON": trial.accounts[2]}


def hog(trial: Trial) -> dict[str, str]:
    return {"TEST_HOG": trial.accounts[150], "TEST_HOG_ONCE": str(trial.folder / "hogged")}


ROWS: Final = (
    Trouble("nothing happens"),
    Trouble("a worker is killed (SIGKILL)", kill_a_worker, lost=True),
    # Slow enough that the worker has started before the job ends.
    Trouble("a worker joins late", one_worker, one_worker, latency=0.6),
    Trouble("a worker is retired", retire_a_worker, lost=True),
    Trouble("a worker is stopped for 8 s (SIGSTOP)", stop_a_worker, lost=True),
    Trouble("the job is killed (SIGKILL), and run again", kill_the_job, runs=2),
    Trouble("the scheduler is killed, and the job run again", kill_the_scheduler, runs=2),
    Trouble("a worker is cut off for 10 s", cut_off, behind_a_cut, lost=True, is_cut=True),
    Trouble(
        "a worker has a wrong secret",
        begin=with_second({"TWILIO_AUTH_TOKEN": "wrong"}),
        unfit=("AuthenticationError",),
        working=1,
    ),
    Trouble(
        "a worker lacks a variable",
        begin=with_missing_variable,
        unfit=(
            "TWILIO_AUTH_TOKEN missing from the environment",
            "environment variable TEST_API_TOKEN is not set",
        ),
        working=1,
    ),
    Trouble(
        "a worker has another version",
        begin=with_other_version,
        unfit=("version 0.0.1",),
        working=1,
    ),
    Trouble(
        "a worker lacks the package",
        begin=with_bare_worker,
        unfit=("ModuleNotFoundError",),
        working=1,
    ),
    Trouble(
        "an account ends its workers",
        begin=two_nannies(poison),
        failing=("poison",),
        lost=True,
    ),
    Trouble(
        "a worker is killed at its memory limit",
        begin=two_nannies(hog, "--memory-limit", "500MB"),
        lost=True,
    ),
)
