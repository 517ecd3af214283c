"""Accounts and their credentials: asked of the parent account, read from a file, or out of a vault.

    client.accounts.list(status="active")          the parent's listing
    accounts.from_file("accounts.csv")             a file that you keep
    accounts.from_vault(sids, find)                your vault, through a callable

Each is a list of `Account`s to iterate with `async for`, as often as you like, and gives a single
one with `fetch(sid)`.
"""

from .account import Account, AccountSource, AccountStatus
from .file import from_file
from .listing import Accounts
from .vault import from_vault

__all__ = ["Account", "AccountSource", "AccountStatus", "Accounts", "from_file", "from_vault"]
