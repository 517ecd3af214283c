"""Jobs over many accounts: inventory, plan and apply.

    from marketplace_async import fleet

    source = fleet.Subaccounts()  # credentials from environment variables
    report = await fleet.inventory(source, "inventory.jsonl")
    desired = fleet.load("fleet.toml")
    report = await fleet.plan(source, desired)  # a preview, changes nothing
    report = await fleet.apply(
        source, desired, journal="fleet.journal", approve=lambda plan: True
    )

Interrupted jobs can be resumed. An executor processes the accounts in shards. Shards contain no
credentials: each worker looks them up through the source.
"""

from ._engine.driver import ACCOUNT_TIMEOUT
from ._engine.ending import JobEndedError
from ._engine.entries import Failure, Failures, JobError
from ._engine.notifier import AccountError
from ._engine.shards import (
    AccountResult,
    AccountTimeoutError,
    Approved,
    Job,
    NotBegun,
    Shard,
    ShardFailure,
)
from ._engine.tally import Counts
from ._executors.base import Executor, ExecutorSession
from ._executors.dask import DaskExecutor
from ._executors.embedded import EmbeddedExecutor
from ._executors.links import WorkerLostError
from ._executors.processes import ProcessExecutor
from ._executors.reports import WorkerReport
from .apply_report import ApplyReport
from .applying import apply
from .comparison import Change
from .connections import Connection, Source, Target
from .desired import Desired
from .desired_file import schema
from .digests import PlanKey
from .history import JournalWrite, read_journal
from .importing import Draft, draft
from .inventories import InventoryReport, inventory
from .inventory_diff import InventoryChange, InventoryDiff, diff_inventories
from .inventory_files import read_inventory
from .loading import from_document, load, parse
from .markdown_text import plan_markdown
from .offers import Offer
from .outputs import (
    Csv,
    ExtensionRecord,
    FailureOutput,
    Html,
    InventoryRecord,
    JsonLines,
    Output,
    PlanHtml,
    Sqlite,
)
from .parts import Part
from .plan_report import Acceptance, Group, PlanReport, Removal, UnmanagedGroup
from .planning import plan
from .problems import DesiredStateError
from .progress import Progress, WorkerProgress
from .sources import AccountsFile, Subaccounts, Vault
from .steps import AccountPlan, Step, UnmanagedAddOn
from .undoing import Undo, undo_of

__all__ = [
    "ACCOUNT_TIMEOUT",
    "Acceptance",
    "AccountError",
    "AccountPlan",
    "AccountResult",
    "AccountTimeoutError",
    "AccountsFile",
    "ApplyReport",
    "Approved",
    "Change",
    "Connection",
    "Counts",
    "Csv",
    "DaskExecutor",
    "Desired",
    "DesiredStateError",
    "Draft",
    "EmbeddedExecutor",
    "Executor",
    "ExecutorSession",
    "ExtensionRecord",
    "Failure",
    "FailureOutput",
    "Failures",
    "Group",
    "Html",
    "InventoryChange",
    "InventoryDiff",
    "InventoryRecord",
    "InventoryReport",
    "Job",
    "JobEndedError",
    "JobError",
    "JournalWrite",
    "JsonLines",
    "NotBegun",
    "Offer",
    "Output",
    "Part",
    "PlanHtml",
    "PlanKey",
    "PlanReport",
    "ProcessExecutor",
    "Progress",
    "Removal",
    "Shard",
    "ShardFailure",
    "Source",
    "Sqlite",
    "Step",
    "Subaccounts",
    "Target",
    "Undo",
    "UnmanagedAddOn",
    "UnmanagedGroup",
    "Vault",
    "WorkerLostError",
    "WorkerProgress",
    "WorkerReport",
    "apply",
    "diff_inventories",
    "draft",
    "from_document",
    "inventory",
    "load",
    "parse",
    "plan",
    "plan_markdown",
    "read_inventory",
    "read_journal",
    "schema",
    "undo_of",
]

for _name in __all__:
    if isinstance(_class := globals()[_name], type):
        _class.__module__ = __name__
