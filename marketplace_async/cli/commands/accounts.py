"""`marketplace-async accounts`: the parent account and its subaccounts, and accounts files."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import attrs
from cyclopts import App, Parameter

import marketplace_async as sdk

from ..connection import Connection
from ..options import AccountsFormat, check_accounts_file
from ..output import Output
from ..paging import Paging
from ..status import CommandError, Status, note

app: App = App(
    name="accounts",
    help_epilogue="""\
Examples:
  marketplace-async accounts list --status active
  marketplace-async accounts list --output csv > subaccounts.csv
  marketplace-async accounts check accounts.csv""",
)

# As in `marketplace_async.accounts`, which help must not import.
AccountStatus: TypeAlias = Literal["active", "suspended", "closed"]

_BATCH_SIZE = 256
_PROBLEM = ("line", "account_sid", "problem")
_COLUMNS = ("sid", "friendly_name", "status", "date_created")


def _fields() -> tuple[str, ...]:
    """Return the fields that are shown. Auth tokens are not."""
    return tuple(field.name for field in attrs.fields(sdk.Account) if field.name != "credentials")


def _without_auth_token(account: "sdk.Account") -> Mapping[str, Any]:
    return {name: getattr(account, name) for name in _fields()}


@app.command(name="list")
async def list_(
    *,
    status: AccountStatus | None = None,
    friendly_name: str | None = None,
    paging: Paging = Paging(),
    connection: Connection = Connection(),
    output: Output = Output(),
) -> None:
    """List the account and its subaccounts, without their auth tokens.

    Parameters
    ----------
    status
        Only accounts with this status.
    friendly_name
        Only accounts with exactly this friendly name.
    """
    async with connection.client() as client:
        accounts = client.accounts.list(
            status=status, friendly_name=friendly_name, **paging.options
        )
        await output.pages(accounts, _fields(), _COLUMNS, convert=_without_auth_token)


@app.command
async def fetch(
    sid: str, /, *, connection: Connection = Connection(), output: Output = Output()
) -> None:
    """Show the account or one of its subaccounts, without its auth token.

    Parameters
    ----------
    sid
        The SID of the account, AC...
    """
    async with connection.client() as client:
        await output.record(_without_auth_token(await client.accounts.fetch(sid)))


@app.command
async def check(
    file: Annotated[Path, Parameter(allow_leading_hyphen=True, validator=check_accounts_file)],
    /,
    *,
    accounts_format: AccountsFormat | None = None,
    output: Output = Output(),
) -> int:
    """Check an accounts file, and show every row that a job cannot use. Sends nothing.

    The exit status is 0 if all rows can be used, 3 if only some can, and 1 if none.
    Secrets are not shown.

    Parameters
    ----------
    file
        The file to pass to --accounts, or - for standard input.
    accounts_format
        The format. Default: the suffix decides, or else JSON Lines if the file starts with {.
    """
    from ..._core.threads import to_daemon_thread
    from ...accounts.file import FileAccounts
    from ...accounts.rows import BadRow

    source = FileAccounts(file, format=accounts_format)
    statuses: Counter[str] = Counter()
    problems = 0
    batch: list[Mapping[str, Any]] = []
    async with output.listing(_PROBLEM, _PROBLEM) as show:
        async for row in source.rows():
            if not isinstance(row, BadRow):
                statuses[row.account.status or "active"] += 1
                continue
            problems += 1
            batch.append(dict(zip(_PROBLEM, (row.line, row.account_sid, row.reason), strict=True)))
            if len(batch) == _BATCH_SIZE:
                await show(batch)
                batch = []
        await show(batch)
    usable = statuses.total()
    counts = ", ".join(f"{count:,} {status}" for status, count in statuses.most_common())
    await to_daemon_thread(note, f"usable rows in {source.name}: {counts or 'none'}")
    if problems:
        raise CommandError(
            f"{problems:,} of {problems + usable:,} rows cannot be used",
            status=Status.PARTLY_FAILED if usable else Status.FAILED,
        )
    return Status.DONE
