"""Accounts and their credentials: listed by the parent account, in a file, or in a vault.

    client.accounts.list(status="active")          the accounts that the parent account lists
    accounts.from_file("accounts.csv")             the accounts in a file
    accounts.from_vault(sids, find)                your vault, through a callable

Iterate each of them with `async for`, as often as you like. It yields `Account`s; `fetch(sid)`
returns a single one.
"""

from typing import TYPE_CHECKING

from .account import Account, AccountSource, AccountStatus
from .listing import Accounts

if TYPE_CHECKING:
    from .file import from_file
    from .vault import from_vault

__all__ = ["Account", "AccountSource", "AccountStatus", "Accounts", "from_file", "from_vault"]


def __getattr__(name: str) -> object:
    # Every client imports this package for `client.accounts`; few read files or vaults.
    if name == "from_file":
        from .file import from_file

        return from_file
    if name == "from_vault":
        from .vault import from_vault

        return from_vault
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
