"""The proofs of `nox -s cluster`: whatever happens to a cluster, nothing is lost or doubled.

    PYTHONPATH=tests python -m reliability.cluster_proofs [--accounts 300] [NAME ...]

Each row runs an inventory and an apply on a real scheduler and real workers, and disturbs them when
40 % of the accounts are done. It prints a line of a Markdown table. The exit status is 0 only if
every row holds. An emulator in this process is the service.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import attrs
from reliability.cluster_troubles import ROWS, Trial, Trouble
from support.dask import Cluster
from support.namespaces import Namespace, can_be_made

from marketplace_async.emulator import Emulator
from marketplace_async.testing import account

PARENT = account().account_sid
SECRET = "made-up-parent-secret"
VOICEBASE = "XB7afe11af3e292cadb03248e0066b8c1e"
KINDS: Final = ("inventory", "apply")


@attrs.define
class Result:
    """What became of a row for one kind of job."""

    violations: list[str]
    requests: int
    seconds: float


async def run(trouble: Trouble, kind: str, accounts: int, namespaces: bool) -> Result:
    """Run a job on a troubled cluster, and check what became of it."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        namespace = None
        service, host = "127.0.0.1", "127.0.0.1"
        if trouble.is_cut and namespaces:
            namespace = await stack.enter_async_context(Namespace())
            service, host = namespace.service_host, namespace.host
        os.environ.update(
            TWILIO_ACCOUNT_SID=PARENT,
            TWILIO_AUTH_TOKEN=SECRET,
            TEST_API_TOKEN="very-secret",
        )
        emulator = Emulator(host=service, accounts={PARENT: SECRET}, latency=trouble.latency)
        async with emulator:
            shops = emulator.add_subaccounts(PARENT, accounts)
            for sid, _ in shops:
                emulator.install(sid, VOICEBASE, {"callback_url": "https://example.com"})
            async with Cluster(folder, workers=0, host=host) as cluster:
                sids = [sid for sid, _ in shops]
                trial = Trial(folder, cluster, emulator, kind, sids, namespace)
                await trouble.begin(trial)
                await cluster.wait_for_workers(len(cluster.workers))
                start = asyncio.get_running_loop().time()
                disturbing = asyncio.create_task(_disturb(trouble, trial))
                try:
                    outputs = await trial.run_until_complete(trouble.runs)
                    if trial.disturbed:
                        # A worker that was stopped or cut off returns, and must not write then.
                        await disturbing
                        await asyncio.sleep(1.0)
                finally:
                    disturbing.cancel()
                    await asyncio.gather(disturbing, return_exceptions=True)
                seconds = asyncio.get_running_loop().time() - start
                memory = b""
                if cluster.scheduler is not None and cluster.scheduler.returncode is None:
                    memory = await cluster.scheduler_memory()
                secrets = [SECRET, "very-secret", shops[0][1]]
            requests = sum(1 for _ in emulator.log)
            violations = [
                *trial.violations(outputs, trouble),
                *_leaks(memory + cluster.logs(), secrets),
            ]
    if not trial.disturbed and trouble.act is not None:
        violations.append("the job ended before it was disturbed")
    if os.environ.get("TEST_VERBOSE"):
        print(json.dumps(outputs, indent=1), file=sys.stderr)
    return Result(violations, requests, seconds)


async def _disturb(trouble: Trouble, trial: Trial) -> None:
    if trouble.act is None:
        return
    while trial.share_done() < 0.4:
        await asyncio.sleep(0.05)
    trial.disturbed = True
    await trouble.act(trial)


def _leaks(text: bytes, secrets: list[str]) -> list[str]:
    return [f"the cluster has the secret {one}" for one in secrets if one.encode() in text]


async def main(names: list[str], accounts: int) -> int:
    print("| event | inventory: calls repeated | apply: calls repeated | violations |")
    print("| --- | --: | --: | --- |", flush=True)
    usual: dict[str, int] = {}
    total = 0
    namespaces = await can_be_made()
    for trouble in ROWS:
        if names and trouble.name not in names and trouble is not ROWS[0]:
            continue
        cells, violations = [], []
        for kind in KINDS:
            result = await run(trouble, kind, accounts, namespaces)
            usual.setdefault(kind, result.requests)
            cells.append(f"{max(0, result.requests - usual[kind]):,} in {result.seconds:.0f} s")
            violations += [f"{kind}: {one}" for one in result.violations]
        total += len(violations)
        verdict = "; ".join(violations[:5]) or "none"
        how = ""
        if trouble.is_cut:
            how = " (network namespaces)" if namespaces else " (a relay; no network namespaces)"
        print(f"| {trouble.name}{how} | {' | '.join(cells)} | {verdict} |", flush=True)
    return total


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--accounts", type=int, default=300)
    arguments = parser.parse_args()
    sys.exit(asyncio.run(main(arguments.names, arguments.accounts)) > 0)
