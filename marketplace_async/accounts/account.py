"""The record of an account, and what every source of accounts can do."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final, Literal, Protocol, TypeAlias

import attrs

from ..credentials import Credentials

AccountStatus: TypeAlias = Literal["active", "suspended", "closed"]

STATUSES: Final = ("active", "suspended", "closed")


@attrs.frozen(kw_only=True)
class Account:
    """An account, and who may ask for it.

    It is never pickled together with credentials: send its SID, and `fetch` it where it is needed.

    Attributes:
        sid: `AC` and 32 hex digits.
        friendly_name: Its name for people, if known.
        status: "active", "suspended" or "closed"; None where the source does not say. The service
            refuses what is asked for an account that is not active.
        owner_account_sid: The parent, `AC...`, if known; that of a parent is itself.
        date_created: When it was made, in UTC, if known.
        date_updated: When it was changed last, in UTC, if known.
        credentials: What `client.with_credentials` takes; None if the service kept them to itself.
    """

    sid: str
    friendly_name: str | None = None
    status: str | None = None
    owner_account_sid: str | None = None
    date_created: datetime | None = None
    date_updated: datetime | None = None
    credentials: Credentials | None = None


class AccountSource(Protocol):
    """Accounts with their credentials, as a list that nobody has read yet.

    Iterating it twice reads twice.
    """

    def __aiter__(self) -> AsyncIterator[Account]:
        """Iterate over the accounts."""
        ...

    async def fetch(self, sid: str) -> Account:
        """Fetch one account.

        Args:
            sid: Its SID, `AC...`.

        Raises:
            ValueError, TypeError: `sid` is no such SID.
            CredentialsError: There is no such account, or no use can be made of what there is.
        """
        ...


def check_status(status: str) -> str:
    """Return `status` if it is one that an account can have."""
    if status not in STATUSES:
        raise ValueError(f"status: expected one of {', '.join(STATUSES)}, got {status!r}")
    return status
