"""The account options of a fleet job."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypedDict

import attrs
from cyclopts import Group, Parameter

from .connection import GROUP as CONNECTION, Connection
from .help_format import shared_options
from .options import AccountsFormat, Flag, check_accounts_file
from .status import usage_error

if TYPE_CHECKING:
    from .. import fleet


class JobOptions(TypedDict):
    """The options that all jobs share."""

    account_timeout: float
    executor: "fleet.Executor"


_UNENCRYPTED: Final = "dask+unencrypted://"
_GROUP = Group("Accounts", sort_key=6)
_MORE = shared_options("Limits", more="help accounts", sort_key=7)


@Parameter(name="*", group=CONNECTION)
@attrs.frozen(kw_only=True)
class Accounts(Connection):
    __doc__ = Connection.__doc__

    subaccounts: Annotated[
        Flag,
        Parameter(group=_GROUP, help="The parent account and all of its active subaccounts."),
    ] = False
    accounts: Annotated[
        Path | None,
        Parameter(
            group=_GROUP,
            allow_leading_hyphen=True,  # "-" is standard input
            validator=check_accounts_file,
            help="The accounts in a CSV or JSON Lines file, or - for standard input. "
            "`marketplace-async help accounts` describes the file.",
        ),
    ] = None
    accounts_format: Annotated[
        AccountsFormat | None,
        Parameter(
            group=_MORE,
            help="The format of --accounts. Default: the suffix decides, or else JSON Lines if the "
            "file starts with {.",
        ),
    ] = None
    concurrency: Annotated[
        int | None,
        Parameter(group=_MORE, help="Maximum concurrent requests over all accounts. Default: 64."),
    ] = None
    requests_per_second: Annotated[
        float | None,
        Parameter(
            group=_MORE, help="Maximum requests per second over all accounts. Default: no maximum."
        ),
    ] = None
    processes: Annotated[
        int | None,
        Parameter(
            group=_MORE,
            help="Use this many processes of this machine. Default: 1, this one.",
        ),
    ] = None
    executor_address: Annotated[
        str | None,
        Parameter(
            name="--executor",
            group=_MORE,
            help="Use the workers of a Dask cluster: dask://HOST:PORT or tls://HOST:PORT.",
        ),
    ] = None
    account_timeout: Annotated[
        float | None,
        Parameter(
            group=_MORE,
            help="Maximum seconds for one account. Then it fails, and the others continue. "
            "Default: 300.",
        ),
    ] = None

    def needs_access(self) -> bool:
        """Return whether the command needs `access`. An accounts file has its own credentials.

        Raises:
            CommandError: There is not exactly one source of accounts.
        """
        if self.subaccounts is (self.accounts is not None):
            raise usage_error("no accounts selected: pass either --subaccounts or --accounts FILE")
        if self.concurrency is not None and self.concurrency < 1:
            raise usage_error(f"--concurrency: must be at least 1, got {self.concurrency}")
        rate = self.requests_per_second
        if rate is not None and not 0 < rate < math.inf:
            raise usage_error(f"--requests-per-second: must be more than 0, got {rate:g}")
        if self.processes is not None and self.processes < 1:
            raise usage_error(f"--processes: must be at least 1, got {self.processes}")
        if self.processes is not None and self.executor_address is not None:
            raise usage_error("--processes cannot be combined with --executor")
        seconds = self.account_timeout
        if seconds is not None and not 0 < seconds < math.inf:
            raise usage_error(f"--account-timeout: must be more than 0 seconds, got {seconds:g}")
        if self.accounts is None and self.accounts_format is not None:
            raise usage_error("--accounts-format requires --accounts FILE")
        return self.subaccounts

    def source(self) -> "fleet.Source":
        """Return the source of the accounts."""
        from .. import fleet
        from .elsewhere import JobClient
        from .resolution import client_options, named_profile

        options, _ = client_options(self)
        if self.concurrency is not None:
            options["concurrency"] = self.concurrency
        if self.requests_per_second is not None:
            options["requests_per_second"] = self.requests_per_second
        if self.accounts is not None:
            return fleet.AccountsFile(self.accounts, options, format=self.accounts_format)
        access = self.access
        if access is None:
            raise RuntimeError("call resolve() first")
        connection = attrs.evolve(self, profile=named_profile(self))
        return fleet.Subaccounts(JobClient(access.credentials, options, connection))

    def described(self) -> str:
        """Return where the credentials come from, without secrets, for the journal."""
        if self.access is None:
            return f"accounts file {self.accounts}"
        return f"{self.access.source}: {self.access.identity}"

    def options(self) -> "JobOptions":
        """Return the options that all jobs share."""
        from ..fleet import ACCOUNT_TIMEOUT

        seconds = self.account_timeout
        return {
            "account_timeout": ACCOUNT_TIMEOUT if seconds is None else seconds,
            "executor": self.executor(),
        }

    def executor(self) -> "fleet.Executor":
        """Return an executor for twice as many accounts as concurrent requests."""
        from .. import fleet

        if self.executor_address is not None:
            return _dask_executor(self.executor_address)
        if self.processes is not None and self.processes > 1:
            return fleet.ProcessExecutor(self.processes)
        return fleet.EmbeddedExecutor(2 * (self.concurrency or 64))


def _dask_executor(address: str) -> "fleet.Executor":
    from .. import fleet

    unencrypted = address.startswith(_UNENCRYPTED)
    if unencrypted:
        address = "dask://" + address.removeprefix(_UNENCRYPTED)
    try:
        return fleet.DaskExecutor(address, allow_unencrypted=unencrypted)
    except ValueError:
        raise usage_error(
            f"--executor: expected dask://HOST:PORT or tls://HOST:PORT, got {address!r}"
        ) from None
