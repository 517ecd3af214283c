"""`marketplace-async accounts`: the account that asks, and its subaccounts."""

from collections.abc import Mapping
from typing import Any

from cyclopts import App

from ...accounts import Account, AccountStatus
from ..connection import Connection
from ..output import Output, fields_of
from ..paging import Paging

app = App(
    name="accounts",
    help_epilogue="""\
Examples:
  marketplace-async accounts list --status active
  marketplace-async accounts list --output csv > subaccounts.csv""",
)

# The auth tokens that come with them are never shown.
_FIELDS = tuple(name for name in fields_of(Account) if name != "credentials")
_COLUMNS = ("sid", "friendly_name", "status", "date_created")


def _shown(account: Account) -> Mapping[str, Any]:
    return {name: getattr(account, name) for name in _FIELDS}


@app.command(name="list")
async def list_(
    *,
    status: AccountStatus | None = None,
    friendly_name: str | None = None,
    paging: Paging = Paging(),
    connection: Connection = Connection(),
    output: Output = Output(),
) -> None:
    """List the account that asks and its subaccounts, without their auth tokens.

    Parameters
    ----------
    status
        Only those that are active, suspended or closed.
    friendly_name
        Only those of exactly this name.
    """
    async with connection.client() as client:
        accounts = client.accounts.list(
            status=status, friendly_name=friendly_name, **paging.options
        )
        await output.pages(accounts, _FIELDS, _COLUMNS, shown=_shown)


@app.command
async def fetch(
    sid: str, /, *, connection: Connection = Connection(), output: Output = Output()
) -> None:
    """Show the account that asks or one of its subaccounts, without its auth token.

    Parameters
    ----------
    sid
        Its SID, AC...
    """
    async with connection.client() as client:
        await output.record(_shown(await client.accounts.fetch(sid)))
