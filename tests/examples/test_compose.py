"""The commands of examples/compose.yaml form a cluster with TLS that runs jobs."""

import asyncio
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.dask import free_port, kill
from support.fleet import Fleet, lines
from support.paths import PROJECT

from marketplace_async import fleet
from marketplace_async.emulator import Emulator

distributed: Any = pytest.importorskip("distributed")

FILE = PROJECT / "examples" / "compose.yaml"


async def start(command: str, folder: Path, port: int, log: Path) -> asyncio.subprocess.Process:
    here = command.replace("tls://scheduler:8786", f"tls://127.0.0.1:{port}")
    here = here.replace("--port 8786", f"--port {port} --host 127.0.0.1")
    program, *arguments = shlex.split(here.replace("/tls/", f"{folder}/"))
    assert program == "dask"
    paths = os.pathsep.join([str(PROJECT), str(PROJECT / "tests")])
    with log.open("ab") as stream:
        return await asyncio.create_subprocess_exec(
            *(str(Path(sys.executable).with_name("dask")), *arguments),
            stdout=stream,
            stderr=stream,
            env={**os.environ, "PYTHONPATH": paths},
            cwd=folder,
            start_new_session=True,
        )


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
async def test_the_services_run_a_job_over_tls(tmp_path: Path) -> None:
    text = FILE.read_text()
    services = yaml.safe_load(text)["services"]
    assert {one["restart"] for one in services.values()} == {"always"}
    made = next(line for line in text.splitlines() if "openssl req" in line)
    certificate = await asyncio.create_subprocess_exec(
        *shlex.split(made.lstrip("# ")), cwd=tmp_path, stderr=asyncio.subprocess.DEVNULL
    )
    assert await certificate.wait() == 0
    port, log = free_port(), tmp_path / "log"
    processes = [
        await start(services[name]["command"], tmp_path, port, log)
        for name in ("scheduler", "worker")
    ]
    try:
        async with Emulator() as emulator:
            shops = Fleet(emulator)
            security = distributed.Security(
                tls_ca_file=str(tmp_path / "dask.pem"),
                tls_client_cert=str(tmp_path / "dask.pem"),
                tls_client_key=str(tmp_path / "dask.key"),
                require_encryption=True,
            )
            executor = fleet.DaskExecutor(
                f"tls://127.0.0.1:{port}", security=security, patience=20.0
            )
            file = tmp_path / "x.jsonl"
            report = await fleet.inventory(shops.source, file, executor=executor)
            assert (report.accounts, report.records, len(lines(file))) == (41, 40, 40), (
                log.read_text()
            )
            assert [one.name.partition("://")[0] for one in report.workers] == ["tls"]
    finally:
        for process in processes:
            kill(process)
            await process.wait()
