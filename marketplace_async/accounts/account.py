"""The account record, and the interface of every source of accounts."""

from collections.abc import AsyncIterator
from typing import Final, Literal, Protocol, TypeAlias

import attrs

from .._core.arguments import plain_text
from .._core.records import AwareDatetime, Record
from .._core.serializable import Serializable
from ..credentials import Credentials

AccountStatus: TypeAlias = Literal["active", "suspended", "closed"]

STATUSES: Final = ("active", "suspended", "closed")


@attrs.frozen(kw_only=True)
class Account(Record, Serializable):
    """An account and its credentials.

    An account with credentials cannot be pickled: send its SID, and `fetch` it where you need it.
    `to_dict` and `to_json` leave the credentials out.

    Attributes:
        sid: `AC` and 32 hex digits.
        friendly_name: Its display name, if known.
        status: "active", "suspended" or "closed"; None if the source does not say. The service
            rejects requests for an account that is not active.
        owner_account_sid: The SID of the parent account, if known. A parent account has its own.
        date_created: When the account was created, in UTC, if known.
        date_updated: When the account was last changed, in UTC, if known.
        credentials: The argument for `client.with_credentials`; None if Twilio did not return them.
    """

    sid: str
    friendly_name: str | None = None
    status: str | None = None
    owner_account_sid: str | None = None
    date_created: AwareDatetime | None = None
    date_updated: AwareDatetime | None = None
    credentials: Credentials | None = None


class AccountSource(Protocol):
    """Accounts with their credentials. They are read only while you iterate.

    Each iteration starts over. An iterator goes on after an interruption, as that of a list does.
    """

    def __aiter__(self) -> AsyncIterator[Account]:
        """Iterate over the accounts."""
        ...

    async def fetch(self, sid: str) -> Account:
        """Fetch one account.

        Args:
            sid: The account SID, `AC...`.

        Raises:
            ValueError, TypeError: `sid` is not an account SID.
            CredentialsError: The source does not have the account, or cannot be read.
        """
        ...


def check_status(status: str) -> str:
    """Return `status` if it is an account status."""
    if not isinstance(status, str) or plain_text(status) not in STATUSES:
        raise ValueError(f"status: expected one of {', '.join(STATUSES)}, got {status!r}")
    return plain_text(status)
