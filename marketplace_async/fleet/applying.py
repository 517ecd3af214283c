"""Apply: perform the planned steps, with a journal entry before and after each write."""

import asyncio
import inspect
import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from .. import bulk
from .._core.arguments import check_positive_int
from .._core.threads import to_daemon_thread
from ._engine.checkpoint import open_for_apply
from ._engine.driver import ACCOUNT_TIMEOUT, Driver
from ._executors.base import Executor
from ._executors.embedded import EmbeddedExecutor
from .apply_report import ApplyReport
from .apply_runs import Run
from .catalogue import read_catalogue
from .connections import Source
from .desired import Desired
from .digests import Digests, PlanKey
from .parts import Part
from .plan_report import PlanReport
from .saved_plans import SavedPlan

Approve: TypeAlias = Callable[[PlanReport], bool | Awaitable[bool]]

# One day, in seconds: enough to respond the next morning.
APPROVE_TIMEOUT: Final = 86_400.0


async def apply(
    source: Source,
    desired: Desired,
    *,
    journal: str | os.PathLike[str],
    approve: Approve,
    plan: str | os.PathLike[str] | None = None,
    accept_secret_changes: bool = False,
    part: Part = Part(),  # noqa: B008 - frozen
    max_removals: int | None = None,
    max_failures: int | None = None,
    approve_timeout: float | None = APPROVE_TIMEOUT,
    key: PlanKey | None = None,
    credentials: str | None = None,
    account_timeout: float | None = ACCOUNT_TIMEOUT,
    executor: Executor = EmbeddedExecutor(),  # noqa: B008 - frozen
    progress: bulk.Progress | None = None,
    stop: asyncio.Event | None = None,
    abort: asyncio.Event | None = None,
) -> ApplyReport:
    """Bring every account to the desired state.

    `apply` makes a plan, asks for approval, and performs only the approved steps. It reads each
    account again before it writes. It skips a step whose subject has changed since the plan: the
    installation, the Add-on, its configuration, or the state of the extension. The journal records
    each write before and after, as an audit log.

    Before the first write to an account, a response must show that the credentials belong to it. If
    nothing is installed on the account and its API key may not read accounts, only the response to
    the first installation can show that. If it does not, no second write is sent.

    After any interruption, including `kill -9`, run it again: it reads the accounts and performs
    the remaining steps. Nothing is installed twice.

    Args:
        source: Where the accounts come from.
        desired: The desired state, from `load`.
        journal: The journal's SQLite file. Created if it does not exist.
        approve: Receives the plan and returns whether to apply it. May be async. If it is not, it
            runs in its own thread and may block.
        plan: A plan that `plan(out=)` saved. Its steps are approved and performed, instead of those
            of a new plan. Accounts that it does not name are left unchanged. Secret values come
            from `desired`; a step is skipped if they have changed since the plan.
        accept_secret_changes: Perform a plan that was saved without a key, which cannot detect
            changes of secret values.
        part: Change only this part of the fleet, or of the saved plan.
        max_removals: Reject a plan that removes more installed Add-ons than this (0 or more),
            without asking for approval. None sets no limit.
        max_failures: Maximum number of accounts that may fail (0 or more), in the plan or while it
            is applied. If more fail, the job starts no further accounts and ends with a
            JobEndedError. Run it again to continue. None sets no limit.
        approve_timeout: How long to wait for the approval, in seconds. None sets no limit.
        key: The key of the digests in the plan. Defaults to a new one. A saved plan needs the key
            that it was made with.
        credentials: What the journal records as the credentials of the run, such as the name of a
            profile. It must not be a secret. The journal also has the user and the host.
        account_timeout: Seconds after which an account fails. The others continue. None sets no
            limit.
        executor: Runs the shards.
        progress: Receives progress updates. Its errors are logged, and the job continues.
        stop: Set this event to stop early. Requests in flight finish and are recorded.
        abort: Set this event to stop at once. Requests in flight are cancelled, and the outcome of
            their writes is unknown. The next run checks.

    Returns:
        The plan and the results of its steps.

    Raises:
        ValueError, TypeError: An argument is invalid.
        TimeoutError: `approve` did not return in time. Nothing was changed.
        DesiredStateError: An Add-on or an extension does not exist in the catalogue, or a
            configuration does not match the schema of its Add-on.
        JobError: The journal is in use, belongs to another job or fleet, is damaged, or is not a
            journal. Or the saved plan is for another fleet or desired state, was edited, or needs
            another key. Or the plan has too many removals.
        JobEndedError: An error ended the job early. Its `report` says what was done.
        MarketplaceError: The accounts cannot be listed, or the catalogue cannot be read.
        OSError: The journal cannot be written, or is a file that the job reads.
    """
    file = Path(journal)
    if accept_secret_changes and plan is None:
        raise ValueError("accept_secret_changes: requires a saved plan")
    if max_removals is not None and max_removals != 0:
        max_removals = check_positive_int(max_removals, "max_removals")
    part.check(desired)
    async with Driver(
        *(source, executor, progress, stop, abort),
        account_timeout=account_timeout,
        max_failures=max_failures,
    ) as driver:
        settings = {
            "job": "apply",
            **await driver.connection.identity(),
            "desired": desired.digest(),
        }
        inputs = [*driver.connection.files, *desired.files]
        saved: SavedPlan | None = None
        if plan is not None:
            saved = await driver.disk(SavedPlan, Path(plan), key)
            saved.check(settings, desired, accept_secret_changes=accept_secret_changes)
            inputs.append(saved.file)
        opened = await driver.disk.open(open_for_apply, file, settings, inputs)
        catalogue = await read_catalogue(driver, desired)
        if saved is not None:
            key = saved.key
        elif key is None:
            key = await driver.disk(PlanKey.derived, desired.secret_values())
        digests = Digests(key, desired.secret)
        run = Run(
            *(driver, desired, digests, opened, file, settings),
            *(credentials, saved, max_removals, part),
        )
        report = await run.run(catalogue, partial(_is_approved, approve, seconds=approve_timeout))
    return run.ending.report(report)


async def _is_approved(approve: Approve, plan: PlanReport, seconds: float | None) -> bool:
    """Ask for approval. A function that is not async may block: it runs in its own thread."""
    async with asyncio.timeout(seconds):
        if inspect.iscoroutinefunction(approve):
            return bool(await approve(plan))
        approval = await to_daemon_thread(approve, plan)
        return bool(await approval if inspect.isawaitable(approval) else approval)
