"""Proves that credentials belong to the account that they are used for."""

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
    """Return whether the client's credentials are proven to belong to this account.

    The user name of an auth token is its account. An API key or an OAuth app does not name its
    account: a request with the key of another account succeeds, and changes that account.

    Returns:
        True if they belong to this account. False if this is not proven: for example, a standard
        API key may not read accounts.

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
        return True  # only its own credentials can see a parent account
    # The credentials of its parent can see a subaccount as well, but they also see other accounts.
    async with aclosing(complete(client.accounts.list(page_size=2))) as visible:
        async for other in visible:
            if other.sid != account_sid:
                raise CredentialsError(
                    f"the credentials of {account_sid} belong to another account: they also see "
                    f"{other.sid}"
                )
    return True
