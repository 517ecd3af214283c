"""Authentication: which account sent a request."""

import base64
import re
from collections.abc import Mapping
from typing import Final

from .records import Account
from .responses import ErrorResponse
from .store import Store
from .tokens import Tokens

USER: Final = re.compile(r"(?:AC|SK|OQ)[0-9a-fA-F]{32}")


class Authenticator:
    """Authenticates the requests of an emulator.

    Args:
        store: The accounts created in the emulator, with their auth tokens.
        secrets: Secrets of other users by SID. None accepts any well-formed SID.
        token_lifetime: Lifetime of an OAuth access token in seconds.
    """

    def __init__(
        self, store: Store, secrets: Mapping[str, str] | None, token_lifetime: float
    ) -> None:
        self._store = store
        self._secrets = secrets
        self.tokens: Tokens = Tokens(self.check, token_lifetime)

    def authenticate(self, authorization: str) -> str:
        """Return the account SID for an Authorization header. Raises ErrorResponse."""
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() == "bearer":
            account_sid = self.tokens.account_of(encoded)
            _check_active(self._store.account(account_sid))
            return account_sid
        if scheme.lower() != "basic":
            raise ErrorResponse("wrong_secret")
        try:
            user, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        except ValueError:
            raise ErrorResponse("wrong_user") from None
        if not USER.fullmatch(user) or user.startswith("OQ"):
            raise ErrorResponse("wrong_user")
        return self.check(user, secret)

    def check(self, user: str, secret: str) -> str:
        """Return the account SID for the SID and secret of an account, API key or OAuth app."""
        account_sid = "AC" + user[2:]
        account = self._store.account(account_sid)
        expected = None if self._secrets is None else self._secrets.get(user)
        accept_any = self._secrets is None
        # With accept_any, a parent authenticates with any secret, because it was not created here.
        if expected is None and account is not None and (account.is_subaccount or not accept_any):
            expected = account.auth_token
        if expected is None and not accept_any:
            raise ErrorResponse("wrong_user")
        if expected is not None and secret != expected:
            raise ErrorResponse("wrong_secret")
        _check_active(account)
        return account_sid


def _check_active(account: Account | None) -> None:
    if account is not None and account.status != "active":
        raise ErrorResponse("account_inactive", status=account.status)
