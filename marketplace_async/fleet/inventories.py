"""The inventory: every installed add-on of every account, in one file."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, cast

import attrs

from .. import bulk
from ._engine.checkpoint import Checkpoint
from ._engine.driver import Driver, done_of
from ._engine.journal import Failures
from ._engine.shards import AccountResult, ReadAddOns, Shard
from .executors import EmbeddedExecutor, Executor
from .outputs import InventoryRecord, JsonLines, Output, output_of
from .sources import Source, Target


@attrs.frozen(kw_only=True)
class InventoryReport:
    """What came of an inventory, of all its runs together.

    Attributes:
        accounts: Accounts that were read, or failed.
        records: Installed add-ons.
        failures: The accounts that failed.
        complete: Whether it came to its end; else `resume=True` goes on.
    """

    accounts: int
    records: int
    failures: Failures
    complete: bool


async def inventory(
    source: Source,
    to: str | os.PathLike[str] | Output[InventoryRecord] | BinaryIO,
    *,
    extensions: bool = False,
    secret: Sequence[str] = (),
    resume: bool = False,
    overwrite: bool = False,
    executor: Executor = EmbeddedExecutor(),  # noqa: B008 - frozen
    progress: bulk.Progress | None = None,
    stop: asyncio.Event | None = None,
) -> InventoryReport:
    """Write every installed add-on of every account to a file.

    An account that fails stops no other. What is certain is in `FILE.journal` beside the output:
    however the job ends, a `kill -9` included, `resume=True` goes on, tries those that failed
    again, and the output holds each record once.

    Args:
        source: Where the accounts come from.
        to: A file, as JSON lines (.jsonl, .ndjson), CSV (.csv) or SQLite (.db, .sqlite, .sqlite3);
            or a binary stream for JSON lines, or an output, neither of which can be resumed.
        extensions: Whether to read the extensions of each add-on, too; a request more for each.
        secret: Keys of configurations, at any depth, whose values are masked.
        resume: Whether to go on with what is in the file; it begins where there is nothing.
        overwrite: Whether to begin anew where there is something.
        executor: What runs the shards.
        progress: What is told how it goes.
        stop: Set it to end early: what is in flight is finished and written.

    Returns:
        The figures, and the failures.

    Raises:
        ValueError, TypeError: An argument cannot be right.
        JobError: The file is there already, is not what this job would go on with, or is in use.
        MarketplaceError: The accounts cannot be listed.
        OSError: The file cannot be written.
    """
    file = Path(to) if isinstance(to, str | os.PathLike) else None
    output = _output(to)
    if resume and (file is None or overwrite):
        raise ValueError("resume: expected a file, and not overwrite with it")
    task = ReadAddOns(extensions, tuple(secret))
    facts = {"job": "inventory", "extensions": extensions, "secret": sorted(secret)}
    async with Driver(source, executor, progress, stop) as driver:
        disk = driver.disk
        checkpoint = await disk.open(
            Checkpoint[InventoryRecord], output, file, facts, resume=resume, overwrite=overwrite
        )

        async def shard_of(targets: list[Target]) -> Shard | None:
            known = await disk(checkpoint.known, [target.account_sid for target in targets])
            left = tuple(one for one in targets if one.account_sid not in known)
            return Shard(left, task) if left else None

        async def save(results: Sequence[AccountResult]) -> int:
            done = []
            for one in results:
                records = cast(tuple[InventoryRecord, ...], one.value)
                done.append((done_of(one, len(records)), records))
            await disk(checkpoint.write, done)
            return sum(one.records for one, _ in done)

        async with driver.counting("inventory"):
            await driver.run(shard_of, save)
        accounts, records, _ = await disk(checkpoint.totals)
        failures = await disk(checkpoint.failures)
    return InventoryReport(
        accounts=accounts, records=records, failures=failures, complete=not driver.stopped
    )


def _output(
    to: str | os.PathLike[str] | Output[InventoryRecord] | BinaryIO,
) -> Output[InventoryRecord]:
    if isinstance(to, str | os.PathLike):
        return output_of(Path(to))
    return to if isinstance(to, Output) else JsonLines(to)
