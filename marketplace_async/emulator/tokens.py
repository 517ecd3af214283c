"""OAuth access tokens: issued for client credentials, good for a while."""

import re
import secrets
import time
from collections.abc import Callable

from .answers import Refused
from .routes import Answer, Call

_CLIENT_ID = re.compile(r"OQ[0-9a-fA-F]{32}")


class Tokens:
    """The access tokens of an emulator. They do not survive it.

    Args:
        check: Gives the account of a client ID with a secret, or raises Refused.
        lifetime: Seconds for which a token is good.
    """

    def __init__(self, check: Callable[[str, str], str], lifetime: float) -> None:
        self._check = check
        self._lifetime = lifetime
        self._issued: dict[str, tuple[str, float]] = {}

    def issue(self, call: Call) -> Answer:
        """Answer `POST /v2/token`."""
        fields = call.form()
        client_id = fields.get("client_id", "")
        if fields.get("grant_type") != "client_credentials":
            raise Refused("grant_type")
        if not _CLIENT_ID.fullmatch(client_id) or "client_secret" not in fields:
            raise Refused("wrong_user")
        account_sid = self._check(client_id, fields["client_secret"])
        token = secrets.token_urlsafe(32)
        self._issued[token] = (account_sid, time.monotonic() + self._lifetime)
        return 200, {
            "access_token": token,
            "token_type": "bearer",
            "expires_in": self._lifetime,
        }

    def account_of(self, token: str) -> str:
        """Return the account that a token is for."""
        account_sid, expires_at = self._issued.get(token, ("", 0.0))
        if time.monotonic() >= expires_at:
            self._issued.pop(token, None)
            raise Refused("wrong_secret")
        return account_sid

    def revoke_all(self) -> None:
        """Let no token be good any more."""
        self._issued.clear()
