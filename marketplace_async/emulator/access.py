"""Who is let in, and as which account."""

import base64
import re
from collections.abc import Mapping
from typing import Final

from .answers import Refused
from .store import Account, Store
from .tokens import Tokens

USER: Final = re.compile(r"(?:AC|SK|OQ)[0-9a-fA-F]{32}")


class Access:
    """The door of an emulator.

    Args:
        store: Where the accounts are that were made here: they have secrets of their own.
        secrets: Who else is let in, by SID; anybody unless given.
        token_lifetime: Seconds for which an OAuth access token is good.
    """

    def __init__(
        self, store: Store, secrets: Mapping[str, str] | None, token_lifetime: float
    ) -> None:
        self._store = store
        self._secrets = secrets
        self.tokens = Tokens(self.check, token_lifetime)

    def authenticate(self, authorization: str) -> str:
        """Return the account that an Authorization header is of."""
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() == "bearer":
            account_sid = self.tokens.account_of(encoded)
            _check_active(self._store.account(account_sid))
            return account_sid
        if scheme.lower() != "basic":
            raise Refused("wrong_secret")
        try:
            user, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        except ValueError:
            raise Refused("wrong_user") from None
        if not USER.fullmatch(user) or user.startswith("OQ"):
            raise Refused("wrong_user")
        return self.check(user, secret)

    def check(self, user: str, secret: str) -> str:
        """Return the account of an account, an API key or an OAuth app with this secret."""
        account_sid = "AC" + user[2:]
        account = self._store.account(account_sid)
        expected = None if self._secrets is None else self._secrets.get(user)
        anybody = self._secrets is None
        # Where anybody is let in, a parent is whoever says so: it was not made here.
        if expected is None and account is not None and (account.is_subaccount or not anybody):
            expected = account.auth_token
        if expected is None and not anybody:
            raise Refused("wrong_user")
        if expected is not None and secret != expected:
            raise Refused("wrong_secret")
        _check_active(account)
        return account_sid


def _check_active(account: Account | None) -> None:
    if account is not None and account.status != "active":
        raise Refused("account_inactive", status=account.status)
