"""Jobs over many accounts: an inventory of what is installed, and a desired state made so.

    from marketplace_async import fleet

    source = fleet.Subaccounts()                                 the environment's
    report = await fleet.inventory(source, "inventory.jsonl")    every installed add-on of each
    desired = fleet.load("fleet.toml")                           what belongs on which accounts
    report = await fleet.plan(source, desired)                   what would be done
    report = await fleet.apply(
        source, desired, journal="fleet.journal", approve=lambda plan: True
    )

A job can be killed at any moment: run again, it goes on. It works through shards of accounts, with
an executor of yours if you like; the shards hold no credentials, but the name of where they are.
"""

from ._apply import ApplyReport, apply
from ._desired import Desired, DesiredStateError, from_document, load, parse, schema
from ._driver import SHARD_SIZE, AccountError
from ._inventory import InventoryReport, inventory
from ._journal import Failure, Failures, JobError
from ._outputs import Csv, ExtensionRecord, InventoryRecord, JsonLines, Output, Sqlite
from ._plan import Group, PlanReport, plan
from ._progress import Progress
from ._shards import AccountResult, Shard
from ._sources import AccountsFile, Connection, Source, Subaccounts, Target, Vault
from ._steps import AccountPlan, Change, Step
from .executors import EmbeddedExecutor, Executor, ShardOutcome, Work

__all__ = [
    "SHARD_SIZE",
    "AccountError",
    "AccountPlan",
    "AccountResult",
    "AccountsFile",
    "ApplyReport",
    "Change",
    "Connection",
    "Csv",
    "Desired",
    "DesiredStateError",
    "EmbeddedExecutor",
    "Executor",
    "ExtensionRecord",
    "Failure",
    "Failures",
    "Group",
    "InventoryRecord",
    "InventoryReport",
    "JobError",
    "JsonLines",
    "Output",
    "PlanReport",
    "Progress",
    "Shard",
    "ShardOutcome",
    "Source",
    "Sqlite",
    "Step",
    "Subaccounts",
    "Target",
    "Vault",
    "Work",
    "apply",
    "from_document",
    "inventory",
    "load",
    "parse",
    "plan",
    "schema",
]
