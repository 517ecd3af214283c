"""Proof that credentials are those of the account they are used for."""

from contextlib import aclosing

from .._core.pagination import complete
from ..client import MarketplaceClient
from ..credentials import AccountToken
from ..errors import (
    AuthenticationError,
    CredentialsError,
    NotFoundError,
    PermissionDeniedError,
)


async def prove_owner(client: MarketplaceClient, account_sid: str) -> bool:
    """Return whether the client's credentials are those of this account.

    The user name of an auth token is its account. An API key or an OAuth app does not name one: a
    request with the key of another account succeeds, and changes that account.

    Returns:
        True if they are. False if that cannot be told: a standard API key may not read accounts.

    Raises:
        CredentialsError: They belong to another account.
        MarketplaceError: A request failed.
    """
    credentials = client._credentials
    if isinstance(credentials, AccountToken):
        return credentials.account_sid == account_sid
    try:
        account = await client.accounts.fetch(account_sid)
    except NotFoundError:
        raise CredentialsError(
            f"the credentials of {account_sid} belong to another account: they cannot see it"
        ) from None
    except (AuthenticationError, PermissionDeniedError):
        return False
    if account.owner_account_sid == account_sid:
        return True  # nobody but a parent account sees the parent account
    # The credentials of its parent see a subaccount as well. But they see other accounts, too.
    async with aclosing(complete(client.accounts.list(page_size=2))) as visible:
        async for other in visible:
            if other.sid != account_sid:
                raise CredentialsError(
                    f"the credentials of {account_sid} belong to another account: they also see "
                    f"{other.sid}"
                )
    return True
