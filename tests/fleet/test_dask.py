"""Jobs on a Dask cluster: a real scheduler and real workers, against an emulator."""

import asyncio
import sys
from pathlib import Path

import pytest
from support.dask import Cluster
from support.fleet import DESIRED, Fleet, lines

from marketplace_async import MissingExtraError, fleet
from marketplace_async.fleet import DaskExecutor, JobError
from marketplace_async.fleet._executors import dask
from marketplace_async.testing import account

pytest.importorskip("distributed")

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
    for address in ("scheduler:8786", "dask://scheduler", "http://scheduler:8786"):
        with pytest.raises(ValueError, match=r"expected dask://HOST:PORT or tls://HOST:PORT"):
            DaskExecutor(address)
    for option in ({"patience": 0}, {"lease": -1.0}, {"shard_size": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(option))}: must be"):
            DaskExecutor("dask://127.0.0.1:8786", **option)


async def test_without_dask_the_message_names_the_extra(
    shops: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"install marketplace_async\[dask\]"):
        await fleet.inventory(
            shops.source, tmp_path / "x.jsonl", executor=DaskExecutor("dask://127.0.0.1:8786")
        )
