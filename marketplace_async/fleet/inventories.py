"""The inventory: every installed Add-on of every account in one file."""

import asyncio
import os
import re
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

import attrs

from .. import bulk
from .._core.pagination import complete
from .._core.serializable import Serializable
from ..client import MarketplaceClient
from ..errors import CredentialsError, NotFoundError, UnusableResponseError
from ..resources.installed_add_on import InstalledAddOn
from ..resources.installed_add_on_extensions import InstalledAddOnExtension
from ._engine.checkpoint import Checkpoint
from ._engine.driver import ACCOUNT_TIMEOUT, Driver, entry_of
from ._engine.ending import Ending
from ._engine.entries import Failures
from ._engine.shards import AccountResult, Approved, Shard, Task, TimeLimit
from ._engine.tally import Counts
from ._executors.base import Executor
from ._executors.embedded import EmbeddedExecutor
from ._executors.reports import WorkerReport
from .connections import Source, Target
from .masking import masked
from .ordering import key_order, sort_inventory
from .outputs import ExtensionRecord, InventoryRecord, JsonLines, Output, output_of
from .ownership import prove_owner

_ACCOUNT: Final = re.compile("AC[0-9a-fA-F]{32}")


@attrs.frozen(kw_only=True)
class InventoryReport(Serializable):
    """The result of an inventory, including the runs it resumed.

    Attributes:
        counts: The number of accounts, by outcome.
        records: Number of installed Add-ons.
        failures: The accounts that failed.
        complete: Whether the inventory finished. If not, continue with `resume=True`.
        workers: A report of each worker. Empty if all accounts were read in this process.
    """

    counts: Counts
    records: int
    failures: Failures
    complete: bool
    workers: tuple[WorkerReport, ...] = ()

    @property
    def accounts(self) -> int:
        """The number of accounts that were read or failed."""
        return self.counts.accounts - self.counts.not_begun


async def inventory(
    source: Source,
    to: str | os.PathLike[str] | Output[InventoryRecord] | BinaryIO,
    *,
    extensions: bool = False,
    secret: Sequence[str] = (),
    sort: bool | None = None,
    resume: bool = False,
    overwrite: bool = False,
    account_timeout: float | None = ACCOUNT_TIMEOUT,
    executor: Executor = EmbeddedExecutor(),  # noqa: B008 - frozen
    progress: bulk.Progress | None = None,
    stop: asyncio.Event | None = None,
    abort: asyncio.Event | None = None,
) -> InventoryReport:
    """Export every installed Add-on of every account.

    If an account fails, the others continue. Progress is saved in `FILE.journal` beside the output.
    After any interruption, including `kill -9`, `resume=True` continues and retries failed
    accounts. The output contains each record once. Files have mode 0600. If nothing was recorded,
    no new file remains, and no file is overwritten.

    Args:
        source: Where the accounts come from.
        to: A regular file: JSON Lines (.jsonl, .ndjson), CSV (.csv), SQLite (.db, .sqlite,
            .sqlite3) or a page (.html). Or a binary stream for JSON Lines, or an `Output`, which
            cannot be resumed.
        extensions: Also read the extensions of each Add-on, with one more request per Add-on.
        secret: Configuration keys, at any depth, whose values are masked.
        sort: Sort the records by account SID, unique name and SID once all accounts are read, so
            that two inventories of a fleet can be compared line by line. Defaults to True for JSON
            Lines and CSV files. Records of a stream or an `Output` cannot be sorted: True raises
            ValueError.
        resume: Continue the inventory in the file. Starts one if the file does not exist.
        overwrite: Start over, even if the file exists.
        account_timeout: Seconds after which an account fails. The others continue. None sets no
            limit.
        executor: Runs the shards.
        progress: Receives progress updates. Its errors are logged, and the job continues.
        stop: Set this event to stop early. Requests in flight finish and their results are written.
        abort: Set this event to stop at once. Requests in flight are cancelled.

    Returns:
        Counts and failures.

    Raises:
        ValueError, TypeError: An argument is invalid.
        JobError: The file exists, is complete, or belongs to another fleet or to a job with other
            options. Or a file is damaged, in use, or belongs to another program.
        JobEndedError: An error ended the job early. Its `report` says what was done.
        MarketplaceError: The accounts cannot be listed.
        OSError: The file cannot be created, is not a regular file, or is one that the job reads.
    """
    file = Path(to) if isinstance(to, str | os.PathLike) else None
    output = _output(to)
    if resume and (file is None or overwrite):
        raise ValueError("resume: requires a file and cannot be combined with overwrite")
    if sort and file is None:
        raise ValueError("sort: requires a file, because records of a stream cannot be reordered")
    arrange = None if file is None or sort is False else partial(sort_inventory, file)
    task = ReadAddOns(extensions, tuple(secret))
    async with Driver(
        source, executor, progress, stop, abort, account_timeout=account_timeout
    ) as driver:
        disk, tally = driver.disk, driver.tally
        settings = {
            "job": "inventory",
            **await driver.connection.identity(accounts=file is not None),
            "extensions": extensions,
            "secret": sorted(set(secret)),
        }
        checkpoint = await disk.open(
            Checkpoint[InventoryRecord],
            *(output, file, settings),
            resume=resume,
            overwrite=overwrite,
            inputs=driver.connection.files,
        )

        async def shard_of(targets: list[Target]) -> Shard | None:
            tally.listed += len(targets)
            targets = await driver.set_aside(targets, save)
            finished = await disk(checkpoint.finished, [target.account_sid for target in targets])
            tally.add("done", len(finished))
            driver.notifier.advanced(len(finished))
            remaining = tuple(one for one in targets if one.account_sid not in finished)
            return Shard(remaining) if remaining else None

        async def save(results: Sequence[AccountResult]) -> int:
            entries = [(entry_of(one, len(one.value)), one.value) for one in results]
            await disk(checkpoint.write, entries)
            for entry, _ in entries:
                tally.add("done" if entry.failure is None else "failed")
            return sum(entry.records for entry, _ in entries)

        ending = Ending()
        records = 0
        with ending.caught():
            async with driver.phase("inventory"):
                await driver.run(task, shard_of, save)
        with ending.caught():
            _, records, _ = await disk(checkpoint.totals)
        complete = not driver.stopped and ending.error is None
        failures = await driver.failures(
            partial(checkpoint.end, complete=complete, arrange=arrange),
            checkpoint.first_failures,
            ending,
        )
    report = InventoryReport(
        counts=driver.counts(),
        records=records,
        failures=failures,
        complete=complete and ending.error is None,
        workers=driver.workers,
    )
    return ending.report(report)


def _output(
    to: str | os.PathLike[str] | Output[InventoryRecord] | BinaryIO,
) -> Output[InventoryRecord]:
    if isinstance(to, str | os.PathLike):
        return output_of(Path(to))
    return to if isinstance(to, Output) else JsonLines(to)


@attrs.frozen
class ReadAddOns(Task):
    """Reads the installed Add-ons of an account.

    Args:
        extensions: Also read the extensions of each Add-on.
        secret: Configuration keys whose values are masked.
    """

    extensions: bool = False
    secret: tuple[str, ...] = ()

    async def run(
        self, client: MarketplaceClient, target: Target, limit: TimeLimit, approved: Approved
    ) -> tuple[InventoryRecord, ...]:
        """Return a record of each installed Add-on."""
        async with limit.enforced():
            return await self._read(client, target)

    async def _read(self, client: MarketplaceClient, target: Target) -> tuple[InventoryRecord, ...]:
        records = []
        add_ons, _ = await read_installed(client, target)
        for installed in add_ons:
            extensions = None
            if self.extensions:
                extensions = _extension_records(await read_extensions(client, installed))
            record = _record(target, installed, extensions)
            if self.secret:
                configuration = masked(record.configuration, self.secret)
                record = attrs.evolve(record, configuration=configuration)
            records.append(record)
        return tuple(records)


async def read_installed(
    client: MarketplaceClient, target: Target
) -> tuple[tuple[InstalledAddOn, ...], bool]:
    """Return the installed Add-ons of an account, each once, and whether its identity is proven.

    It is not proven if nothing is installed and the credentials do not reveal their account.

    Raises:
        IncompleteListError: The list does not say that it is complete.
        CredentialsError: The credentials belong to another account.
    """
    try:
        # A record can appear on two pages if the list changes while it is read.
        installed = {one.sid: one async for one in complete(client.installed_add_ons.list())}
    except UnusableResponseError as error:
        # A client that knows the account of its API key detects the mismatch itself.
        if "account_sid" not in error.reason:
            raise
        _check_accounts(_ACCOUNT.findall(error.reason), target)
        raise
    _check_accounts([one.account_sid for one in installed.values()], target)
    is_proven = bool(installed) or await prove_owner(client, target.account_sid)
    return tuple(installed.values()), is_proven


def _check_accounts(sids: Iterable[str | None], target: Target) -> None:
    for sid in sids:
        if sid not in (None, target.account_sid):
            raise CredentialsError(f"the credentials of {target.account_sid} belong to {sid}")


async def read_extensions(
    client: MarketplaceClient, installed: InstalledAddOn
) -> list[InstalledAddOnExtension]:
    """Return the extensions of an installed Add-on. Empty if it was removed in the meantime."""
    try:
        extensions = client.installed_add_ons.extensions(installed.sid).list()
        return [one async for one in complete(extensions)]
    except NotFoundError:
        return []


def _record(
    target: Target, installed: InstalledAddOn, extensions: tuple[ExtensionRecord, ...] | None
) -> InventoryRecord:
    return InventoryRecord(
        account_sid=installed.account_sid or target.account_sid,
        account_friendly_name=target.friendly_name,
        sid=installed.sid,
        unique_name=installed.unique_name,
        friendly_name=installed.friendly_name,
        available_add_on_sid=installed.available_add_on_sid,
        configuration=key_order(installed.configuration),
        date_created=installed.date_created,
        date_updated=installed.date_updated,
        extensions=extensions,
    )


def _extension_records(
    extensions: Iterable[InstalledAddOnExtension],
) -> tuple[ExtensionRecord, ...]:
    records = map(_extension_record, extensions)
    return tuple(sorted(records, key=lambda one: (one.unique_name or "", one.sid)))


def _extension_record(extension: InstalledAddOnExtension) -> ExtensionRecord:
    return ExtensionRecord(
        sid=extension.sid,
        unique_name=extension.unique_name,
        friendly_name=extension.friendly_name,
        product_name=extension.product_name,
        enabled=extension.enabled,
    )
