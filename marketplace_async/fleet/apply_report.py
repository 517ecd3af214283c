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
        counts: The number of accounts, by outcome. Without approval, accounts with steps count as
            not begun.
        changed: Number of accounts that were changed.
        writes: Number of steps by outcome: "done", "unchanged" (already done), "failed", "unknown"
            (may have taken effect; the next run checks) and "skipped".
        interrupted: Number of writes that earlier runs started and did not finish. A new plan finds
            their outcomes on the accounts and records them in the journal. A saved plan does not.
        notes: How the service stored configurations differently from how they were sent: one
            message for each such configuration, at most 100.
        failures: Accounts that failed, in the plan or in a write, or that changed since the plan.
        complete: Whether apply finished. If not, run it again.
        workers: A report of each worker, for the plan and for its steps. Empty if all accounts were
            processed in this process.
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
