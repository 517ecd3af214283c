"""Workers of `apply` that outlive the process of their job.

They write until their lease ends. A run that plans before that would miss their writes, and an
account would be in two live jobs.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from ..._core.tasks import cancelled, create_task
from .driver import Driver
from .entries import JobError
from .journal import Journal

# How often per lease a run is recorded as alive. A record may be one interval late.
_BEATS: Final = 6


async def wait_for_orphans(driver: Driver, journal: Journal) -> None:
    """Wait until no worker of an earlier run can write, or the job is stopped."""
    seconds = await driver.disk(journal.workers_write_for)
    if seconds <= 0 or driver.stopped:
        return
    driver.notifier.waiting(seconds)
    events = [event for event in (driver.stop, driver.abort) if event is not None]
    waits = [create_task(asyncio.sleep(seconds)), *(create_task(one.wait()) for one in events)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancelled(*waits)


@asynccontextmanager
async def recorded_alive(driver: Driver, journal: Journal, run: str) -> AsyncIterator[None]:
    """Record in the block that the run is alive, if its workers could outlive this process."""
    lease = driver.executor.orphan_lease
    if lease is None:
        yield
        return
    write_for = lease + driver.connection.attempt_timeout
    interval = lease / _BEATS

    async def beat() -> None:
        await driver.disk(journal.keep_alive, run, write_for, 2 * interval)

    async def beats() -> None:
        while True:
            await asyncio.sleep(interval)
            with suppress(OSError, JobError):  # the run's own writes to the disk report it
                await beat()

    await beat()  # before any worker can write
    task = create_task(beats())
    try:
        yield
    finally:
        await cancelled(task)


async def record_no_orphans(driver: Driver, journal: Journal, run: str) -> None:
    """Record that no worker of the run can still write, if that is certain."""
    if driver.executor.orphan_lease is None or driver.in_flight:
        return
    # The accounts of a lost worker may have failed before its lease has ended.
    if all(worker.lost is None for worker in driver.workers):
        await driver.disk(journal.clear_workers_write_for, run)
