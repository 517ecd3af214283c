"""The accounts of a job: where they come from, and how they are reached."""

import functools
import math
from pathlib import Path
from typing import Annotated, Self

import attrs
from cyclopts import Group, Parameter

from .. import MarketplaceClient, fleet
from .connection import Connection
from .flags import Flag
from .status import usage_error

_GROUP = Group("Accounts", sort_key=7)


@Parameter(name="*", group=Group("Connection", sort_key=8))
@attrs.frozen(kw_only=True)
class Accounts(Connection):
    __doc__ = Connection.__doc__

    subaccounts: Annotated[
        Flag,
        Parameter(
            group=_GROUP, help="The account that asks, and all of its subaccounts that are active."
        ),
    ] = False
    accounts: Annotated[
        Path | None,
        Parameter(
            group=_GROUP,
            help="Those of a CSV or JSON lines file with account_sid and auth_token, or "
            "account_sid, api_key and api_secret, and if you like friendly_name and status. "
            "Nobody but you may be able to read it.",
        ),
    ] = None
    concurrency: Annotated[
        int | None,
        Parameter(group=_GROUP, help="Requests at once, over all accounts; 64 unless given."),
    ] = None

    def resolved(self) -> Self:
        """Return it with who asks, and where; the accounts of a file ask for themselves."""
        if self.subaccounts is (self.accounts is not None):
            raise usage_error("which accounts? Say --subaccounts or --accounts FILE")
        return super().resolved() if self.subaccounts else self

    def source(self) -> fleet.Source:
        """Return where the accounts come from."""
        options, _ = self.options()
        if self.concurrency is not None:
            options["concurrency"] = self.concurrency
        if self.accounts is not None:
            return fleet.AccountsFile(self.accounts, options)
        access = self.access
        if access is None:
            raise RuntimeError("the connection is not resolved yet")
        return fleet.Subaccounts(
            functools.partial(MarketplaceClient, access.credentials, **options)
        )

    def executor(self) -> fleet.Executor:
        """Return an executor that works on twice as many accounts as there are requests at once."""
        return fleet.EmbeddedExecutor(math.ceil(2 * (self.concurrency or 64) / fleet.SHARD_SIZE))
