"""OAuth access tokens, issued for client credentials."""

import re
import secrets
import time
from collections.abc import Callable

from .calls import Call, Response
from .responses import ErrorResponse

_CLIENT_ID = re.compile(r"OQ[0-9a-fA-F]{32}")


class Tokens:
    """The access tokens of an emulator, kept in memory.

    Args:
        check: Returns the account SID for a client ID and secret, or raises ErrorResponse.
        lifetime: Lifetime of a token in seconds.
    """

    def __init__(self, check: Callable[[str, str], str], lifetime: float) -> None:
        self._check = check
        self._lifetime = lifetime
        self._issued: dict[str, tuple[str, float]] = {}

    def issue(self, call: Call) -> Response:
        """Handle `POST /v2/token`."""
        fields = call.form()
        client_id = fields.get("client_id", "")
        if fields.get("grant_type") != "client_credentials":
            raise ErrorResponse("grant_type")
        if not _CLIENT_ID.fullmatch(client_id) or "client_secret" not in fields:
            raise ErrorResponse("wrong_user")
        account_sid = self._check(client_id, fields["client_secret"])
        token = secrets.token_urlsafe(32)
        self._issued[token] = (account_sid, time.monotonic() + self._lifetime)
        return 200, {
            "access_token": token,
            "token_type": "bearer",
            "expires_in": self._lifetime,
        }

    def account_of(self, token: str) -> str:
        """Return the account SID that a valid token belongs to."""
        account_sid, expires_at = self._issued.get(token, ("", 0.0))
        if time.monotonic() >= expires_at:
            self._issued.pop(token, None)
            raise ErrorResponse("wrong_secret")
        return account_sid

    def revoke_all(self) -> None:
        """Revoke all tokens."""
        self._issued.clear()
