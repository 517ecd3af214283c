"""The report of apply."""

from collections import Counter

import attrs

from .._core.serializable import Serializable
from ._engine.entries import Failures, WriteOutcome
from ._engine.tally import Counts
from ._executors.reports import WorkerReport
from .plan_report import PlanReport


@attrs.frozen(kw_only=True)
class ApplyReport(Serializable):
    """The result of applying a desired state.

    Attributes:
        plan: The plan.
        approved: Whether the plan was approved. If not, nothing was changed. A plan without steps
            needs no approval.
        counts: What became of the accounts. Without approval, those to change are not begun.
        changed: Number of accounts that were changed.
        writes: Number of steps by outcome: "done", "unchanged" (already done), "failed", "unknown"
            (may have taken effect; the next run checks) and "skipped".
        interrupted: Number of writes that an earlier run started and did not finish. This run read
            their effects from the accounts, and the journal has them.
        notes: What the service keeps instead of a configuration that was sent: one message for each
            such configuration, at most 100.
        failures: Accounts that failed, in the plan or in a write, or that changed since the plan.
        complete: Whether apply finished. If not, run it again.
        workers: What each worker did, for the plan and for its steps. Empty if all was done in this
            process.
    """

    plan: PlanReport
    approved: bool
    counts: Counts
    changed: int
    writes: Counter[WriteOutcome]
    interrupted: int
    notes: tuple[str, ...]
    failures: Failures
    complete: bool
    workers: tuple[WorkerReport, ...] = ()
