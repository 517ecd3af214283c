"""Jobs on a Dask cluster: a real scheduler and real workers, against an emulator."""

import asyncio
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.dask import Cluster, free_port, kill
from support.fleet import DESIRED, Fleet, lines
from support.paths import PROJECT

from marketplace_async import MissingExtraError, fleet
from marketplace_async.fleet import DaskExecutor, JobError
from marketplace_async.fleet._executors import dask, dask_links
from marketplace_async.testing import account

distributed: Any = pytest.importorskip("distributed")
psutil: Any = pytest.importorskip("psutil")

# Secret values must not be in the file: they would be sent to the workers.
WRITTEN = DESIRED.replace('"very-secret"', '{ env = "TEST_API_TOKEN" }')


async def test_jobs_run_on_a_cluster(
    shops: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_API_TOKEN", "very-secret")
    desired = fleet.parse(WRITTEN)
    async with Cluster(tmp_path, workers=1) as cluster:
        executor = DaskExecutor(cluster.address, shard_size=10)
        file = tmp_path / "inventory.jsonl"
        report = await fleet.inventory(shops.source, file, executor=executor)
        assert (report.accounts, report.records, len(lines(file))) == (41, 40, 40)
        (worker,) = report.workers
        assert (worker.accounts, worker.lost, worker.unfit) == (41, None, None)
        applied = await fleet.apply(
            *(shops.source, desired),
            journal=tmp_path / "journal",
            approve=lambda _: True,
            executor=executor,
        )
        assert applied.writes == {"done": applied.plan.steps}
        memory = await cluster.scheduler_memory()
    assert (await fleet.plan(shops.source, desired)).steps == 0
    text = memory + await asyncio.to_thread(cluster.logs)
    assert len(memory) > 1000
    for secret in ("very-secret", account().auth_token.reveal(), shops.shops[0][1]):
        assert secret.encode() not in text, secret


async def test_a_cluster_that_cannot_be_reached_is_an_error(
    shops: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask, "_CONNECT", 0.3)
    file = tmp_path / "x.jsonl"
    # Nothing listens on port 1.
    with pytest.raises(JobError, match=r"the scheduler tcp://127\.0\.0\.1:1 cannot be reached"):
        await fleet.inventory(shops.source, file, executor=DaskExecutor("tcp://127.0.0.1:1"))
    for address in ("dask://192.0.2.1:8786", "tcp://192.0.2.1:8786"):
        with pytest.raises(JobError, match="is on another machine, and the connection is not encr"):
            await fleet.inventory(shops.source, file, executor=DaskExecutor(address))
    for address in (
        *("scheduler:8786", "dask://scheduler", "http://scheduler:8786"),
        *("dask://:8786", "dask://scheduler:0", "dask://scheduler:99999"),
    ):
        with pytest.raises(ValueError, match=r"expected dask://HOST:PORT or tls://HOST:PORT"):
            DaskExecutor(address)
    for option in ({"patience": 0}, {"lease": -1.0}, {"shard_size": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(option))}: must be"):
            DaskExecutor("dask://127.0.0.1:8786", **option)


async def test_the_scheduler_keeps_no_results_of_jobs_that_have_ended(
    shops: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kept(dask_scheduler: Any) -> int:
        topics = dask_scheduler.get_events()
        return sum(not isinstance(event, dict) for each in topics.values() for _, event in each)

    async def run(executor: DaskExecutor) -> None:
        await fleet.inventory(shops.source, tmp_path / "x.jsonl", executor=executor, overwrite=True)

    # Dask itself deletes the events of a client an hour after it has ended.
    delay = {"DASK_DISTRIBUTED__SCHEDULER__EVENTS_CLEANUP_DELAY": "1s"}
    async with (
        Cluster(tmp_path, workers=1, env=delay) as cluster,
        distributed.Client(cluster.address, asynchronous=True, set_as_default=False) as client,
    ):
        executor = DaskExecutor(cluster.address, shard_size=10)
        await run(executor)
        assert await client.run_on_scheduler(kept) == 0
        # As if the job had been killed.
        monkeypatch.setattr(dask_links.Cluster, "_delete_events", lambda _: asyncio.sleep(0))
        await run(executor)
        assert await client.run_on_scheduler(kept) >= 10
        async with asyncio.timeout(10):
            while await client.run_on_scheduler(kept):
                await asyncio.sleep(0.2)


async def test_certificates_that_cannot_be_used_are_an_error_that_names_them(
    shops: Fleet, tmp_path: Path
) -> None:
    junk, missing = tmp_path / "junk.pem", tmp_path / "missing.pem"
    junk.write_text("junk")
    key = "-----BEGIN PRIVATE KEY-----\nvery-secret\n-----END PRIVATE KEY-----\n"
    address = "tls://127.0.0.1:1"
    for files, expected in (
        ({}, f"{address} needs certificates: tls_ca_file, tls_client_cert not set"),
        ({"tls_ca_file": junk}, f"{address} needs certificates: tls_client_cert not set"),
        ({"tls_ca_file": missing, "tls_client_cert": missing}, f"tls_client_cert {missing}"),
        ({"tls_ca_file": junk, "tls_client_cert": junk}, f"cannot be used: .*tls_ca_file {junk}"),
        (
            {"tls_ca_file": missing, "tls_client_cert": junk, "tls_client_key": key},
            r"tls_client_key \(not a file\)",
        ),
    ):
        security = distributed.Security(**{name: str(file) for name, file in files.items()})
        executor = DaskExecutor(address, security=security)
        with pytest.raises(JobError, match=expected) as raised:
            await fleet.inventory(shops.source, tmp_path / "x.jsonl", executor=executor)
        assert "Configure certificates (docs/how-to/several-machines.md)" in str(raised.value)
        assert "very-secret" not in str(raised.value)


async def test_the_documented_cluster_listens_on_this_machine_only(tmp_path: Path) -> None:
    page = (PROJECT / "docs" / "how-to" / "several-machines.md").read_text()
    line = next(one for one in page.splitlines() if one.startswith("dask scheduler --host"))
    port = free_port()
    # Another port, so that another cluster may run on this machine.
    line = line.replace("127.0.0.1:8786", f"127.0.0.1:{port}")
    line = line.replace("dask scheduler", f"dask scheduler --port {port}")
    commands = [shlex.split(part) for part in line.split("&") if part.strip()]
    assert [command[:2] for command in commands] == [["dask", "scheduler"], ["dask", "worker"]]
    log = tmp_path / "log"
    with log.open("ab") as stream:
        processes = [
            await asyncio.create_subprocess_exec(
                *(str(Path(sys.executable).with_name("dask")), *command[1:]),
                stdout=stream,
                stderr=stream,
                cwd=tmp_path,
                start_new_session=True,
            )
            for command in commands
        ]
    try:
        async with distributed.Client(
            f"tcp://127.0.0.1:{port}", asynchronous=True, set_as_default=False, timeout=30
        ) as client:
            await client.wait_for_workers(1)
            roots = [psutil.Process(one.pid) for one in processes]
            listening = [
                connection.laddr.ip
                for root in roots
                for process in (root, *root.children(recursive=True))
                for connection in process.net_connections("inet")
                if connection.status == psutil.CONN_LISTEN
            ]
    finally:
        for process in processes:
            kill(process)
            await process.wait()
    # The scheduler, the worker, the process that watches it, and two dashboards.
    assert len(listening) >= 5, log.read_text()
    assert {*listening} == {"127.0.0.1"}


def test_dask_does_not_write_its_log_to_the_terminal() -> None:
    program = """
import logging, sys
if sys.argv[1] == "imported":
    import distributed
from marketplace_async.fleet._executors import dask
dask._distributed()
if sys.argv[1] == "configured":
    logging.basicConfig(format="%(name)s: %(message)s")
for name in ("distributed.client", "distributed.core"):
    logging.getLogger(name).error("lost")
"""

    def errors(case: str, **env: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", program, case],
            capture_output=True,
            check=True,
            text=True,
            env={**os.environ, **env},
        ).stderr

    assert errors("alone") == ""
    # The program decides, or the user.
    assert errors("configured") == "distributed.client: lost\ndistributed.core: lost\n"
    assert errors("imported").count("lost") == 2
    assert errors("alone", DASK_DISTRIBUTED__LOGGING__DISTRIBUTED="error").count("lost") == 2


async def test_without_dask_the_message_names_the_extra(
    shops: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"install marketplace_async\[dask\]"):
        await fleet.inventory(
            shops.source, tmp_path / "x.jsonl", executor=DaskExecutor("dask://127.0.0.1:8786")
        )
