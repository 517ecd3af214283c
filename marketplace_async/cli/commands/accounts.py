"""`marketplace-async accounts`: the parent account and its subaccounts."""

from collections.abc import Mapping
from typing import Any

from cyclopts import App

from ..._core.rows import field_names
from ...accounts import Account, AccountStatus
from ..connection import Connection
from ..output import Output
from ..paging import Paging

app: App = App(
    name="accounts",
    help_epilogue="""\
Examples:
  marketplace-async accounts list --status active
  marketplace-async accounts list --output csv > subaccounts.csv""",
)

# Auth tokens are never shown.
_FIELDS = tuple(name for name in field_names(Account) if name != "credentials")
_COLUMNS = ("sid", "friendly_name", "status", "date_created")


def _without_auth_token(account: Account) -> Mapping[str, Any]:
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
        await output.pages(accounts, _FIELDS, _COLUMNS, convert=_without_auth_token)


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
