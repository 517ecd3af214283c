"""`marketplace-async accounts`: the parent account and its subaccounts."""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import attrs
from cyclopts import App

import marketplace_async as sdk

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

# As in `marketplace_async.accounts`, which help must not import.
AccountStatus: TypeAlias = Literal["active", "suspended", "closed"]

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
