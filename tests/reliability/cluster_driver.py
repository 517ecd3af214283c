"""The job that the proofs of clusters run, in a process that can be killed.

    PYTHONPATH=tests python -m reliability.cluster_driver '{"kind": "inventory", ...}'

It prints its report as JSON.
"""

import asyncio
import functools
import json
import sys
from pathlib import Path
from typing import Any

from reliability.cluster_client import connect
from support.fleet import WITH_VARIABLE

from marketplace_async import fleet, to_dict
from marketplace_async.fleet import DaskExecutor, JobEndedError

LEASE = 2.0  # seconds


async def run(options: dict[str, Any]) -> dict[str, Any]:
    source = fleet.Subaccounts(functools.partial(connect, options["url"]))
    executor = DaskExecutor(
        options["address"], allow_unencrypted=True, lease=LEASE, shard_size=20, patience=20.0
    )
    file = Path(options["file"])
    report: Any
    error = None
    try:
        if options["kind"] == "inventory":
            report = await fleet.inventory(
                source, file, resume=options["resume"], executor=executor, secret=["api_token"]
            )
        else:
            report = await fleet.apply(
                *(source, fleet.parse(WITH_VARIABLE)),
                journal=file,
                approve=lambda _: True,
                executor=executor,
            )
    except JobEndedError as ended:
        report, error = ended.report, str(ended)
    return {"report": to_dict(report), "error": error}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run(json.loads(sys.argv[1])))))
