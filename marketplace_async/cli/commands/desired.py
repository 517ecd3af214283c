"""`marketplace-async desired`: write a first desired state from what is installed."""

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import attrs
from cyclopts import App, Parameter

from ..connection import GROUP as CONNECTION
from ..displays import Display
from ..fleet_accounts import Accounts
from ..options import Flag
from ..status import CommandError, Status, note, usage_error, warn

if TYPE_CHECKING:
    from ... import fleet

app: App = App(
    name="desired",
    help_epilogue="""\
Examples:
  marketplace-async desired import --subaccounts --to fleet.toml
  marketplace-async desired import inventory.jsonl --to fleet.toml
  marketplace-async plan fleet.toml --subaccounts""",
)


@Parameter(name="*", group=CONNECTION)
@attrs.frozen(kw_only=True)
class _Accounts(Accounts):
    __doc__ = Accounts.__doc__

    def needs_access(self) -> bool:
        """Return whether the command needs `access`. With an inventory, there are no accounts."""
        return self.is_given() and super().needs_access()

    def is_given(self) -> bool:
        """Return whether any accounts are selected."""
        return self.subaccounts or self.accounts is not None


class _Records(Display):
    """Collects what is installed, and prints nothing."""

    def __init__(self) -> None:
        self.records: list[fleet.InventoryRecord] = []
        self.accounts: set[str] = set()

    def write(self, account_sid: str, records: "Sequence[fleet.InventoryRecord]") -> None:
        """Keep the records of an account."""
        self.accounts.add(account_sid)
        self.records += records


@app.command(name="import", usage="Usage: marketplace-async desired import [OPTIONS] [INVENTORY]")
async def import_(
    inventory: Path | None = None,
    /,
    *,
    to: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    secret: Annotated[list[str] | None, Parameter(negative=())] = None,
    overwrite: Flag = False,
    accounts: _Accounts = _Accounts(),
) -> int:
    """Write a desired state of what is installed. A plan of it changes nothing.

    Reads all accounts, or an inventory. What accounts have in common is written once.

    Values of secret keys, such as api_token, become environment variables.

    Parameters
    ----------
    inventory
        An inventory (JSON Lines, CSV or SQLite), made with --extensions. Entries select its
        accounts by SID, since it does not list accounts without Add-ons.
    to
        The file to write. Default: standard output.
    secret
        Take the values of this configuration key from environment variables. Can be repeated.
    overwrite
        Replace the file.
    """
    from ... import fleet
    from ..._core.threads import to_daemon_thread
    from .. import jobs

    if inventory is not None and accounts.is_given():
        raise usage_error("pass either an inventory, or --subaccounts or --accounts FILE")
    if overwrite and to is None:
        raise usage_error("--overwrite requires --to FILE")
    if to is not None:
        await to_daemon_thread(_check, to, overwrite, inventory)
    if inventory is not None:
        records = await to_daemon_thread(lambda: list(fleet.read_inventory(inventory)))
        await _write(records, None, secret or (), to)
        return Status.DONE
    if not accounts.is_given():
        raise usage_error(
            "nothing to import: pass an inventory, or --subaccounts or --accounts FILE"
        )
    found = _Records()
    with jobs.running() as job:
        report = await job.report_of(
            fleet.inventory(
                accounts.source(),
                found,
                extensions=True,
                progress=job.bar,
                stop=job.stop,
                abort=job.abort,
                **accounts.options(),
            )
        )
    result = f"{report.records:,} installed Add-ons of {jobs.count_accounts(report.counts.done)}"
    if report.complete:
        is_whole = not jobs.not_done(report.counts)
        await _write(found.records, found.accounts if is_whole else None, secret or (), to)
    hint = "" if report.complete else "Nothing was written."
    await to_daemon_thread(job.end, report, result, hint)
    return Status.DONE


def _check(to: Path, overwrite: bool, inventory: Path | None) -> None:
    from ..._core.files import check_distinct
    from ..jobs import check_file

    check_file(to, "--to")
    if inventory is not None:
        check_distinct([to], [inventory])
    if to.exists() and not overwrite:
        raise CommandError(f"{to} already exists", "Use --overwrite to replace it.")


async def _write(
    records: "Sequence[fleet.InventoryRecord]",
    accounts: set[str] | None,
    secret: Sequence[str],
    to: Path | None,
) -> None:
    from ... import fleet
    from ..._core.threads import to_daemon_thread

    draft = await to_daemon_thread(lambda: fleet.draft(records, accounts=accounts, secret=secret))
    await to_daemon_thread(_save, draft, to)


def _save(draft: "fleet.Draft", to: Path | None) -> None:
    from ..._core.files import replacing

    for message in draft.warnings:
        warn(message)
    if to is not None:
        with replacing(to) as stream:
            stream.write(draft.text.encode())
    else:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", newline="")  # as TOML is
        sys.stdout.write(draft.text)
        sys.stdout.flush()
    if draft.variables:
        note(f"before you plan, set the secret values in use: {', '.join(draft.variables)}")
