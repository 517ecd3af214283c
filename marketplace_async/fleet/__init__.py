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

from ._engine.driver import SHARD_SIZE, AccountError
from ._engine.journal import Failure, Failures, JobError
from ._engine.shards import AccountResult, Shard
from .applying import ApplyReport, apply
from .desired import Desired, DesiredStateError, from_document, load, parse, schema
from .executors import EmbeddedExecutor, Executor, ShardOutcome, Work
from .inventories import InventoryReport, inventory
from .outputs import Csv, ExtensionRecord, InventoryRecord, JsonLines, Output, Sqlite
from .planning import Group, PlanReport, plan
from .progress import Progress
from .sources import AccountsFile, Connection, Source, Subaccounts, Target, Vault
from .steps import AccountPlan, Change, Step

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
