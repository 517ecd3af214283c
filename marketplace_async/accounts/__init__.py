"""Accounts and their credentials: asked of the parent account, read from a file, or out of a vault.

    client.accounts.list(status="active")          the parent's listing
    accounts.from_file("accounts.csv")             a file that you keep
    accounts.from_vault(sids, find)                your vault, through a callable

Each is a list of `Account`s to iterate with `async for`, as often as you like, and gives a single
one with `fetch(sid)`.
"""

from typing import TYPE_CHECKING

from .account import Account, AccountSource, AccountStatus
from .listing import Accounts

if TYPE_CHECKING:
    from .file import from_file
    from .vault import from_vault

__all__ = ["Account", "AccountSource", "AccountStatus", "Accounts", "from_file", "from_vault"]


def __getattr__(name: str) -> object:
    # Every client imports this package for `client.accounts`; few read files.
    if name == "from_file":
        from .file import from_file

        return from_file
    if name == "from_vault":
        from .vault import from_vault

        return from_vault
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
