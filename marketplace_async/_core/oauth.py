"""OAuth 2.0 client credentials: concurrent requests share one access token and its fetch."""

import asyncio
from typing import Any

import attrs

from ..credentials import ClientCredentials, Secret
from ..errors import (
    APIError,
    AuthenticationError,
    MarketplaceError,
    ResponseError,
    TokenError,
    TransportError,
)
from .arguments import is_header_value
from .clocks import monotonic
from .codec import decode
from .masking import redacted
from .messages import FORM, Request, Response, form, trusted_request
from .operation import Call
from .tasks import Tasks, result_of

# A token is renewed when a tenth of its lifetime is left, but at most a minute before it expires.
_RENEWAL_SHARE = 0.1
_RENEWAL_SECONDS = 60.0
# At its very end it is not used, since it could expire on the way: a twentieth of its lifetime, but
# at most 5 seconds.
_END_SHARE = 0.05
_END_SECONDS = 5.0
# Seconds until a renewal that failed is repeated, while the token is still valid.
_RENEWAL_PAUSE = 1.0
# The lifetime of a token whose response omits it. A token that expires earlier is renewed
# after a 401.
_DEFAULT_LIFETIME = 3600.0


@attrs.frozen(eq=False, repr=False)
class _TokenDocument:
    access_token: Any = attrs.field(default=None, repr=False)
    # RFC 6749 only recommends it, and some services send text.
    expires_in: Any = None

    @property
    def fault(self) -> str | None:
        """Why the access token cannot be used, if it cannot."""
        if not isinstance(self.access_token, str):
            return "the response contains no access token"
        if not is_header_value(self.access_token):
            return "no header can hold the access token in the response"
        return None

    @property
    def lifetime(self) -> float:
        """Seconds from the request to the end of the token."""
        match self.expires_in:
            case bool():
                return _DEFAULT_LIFETIME
            case int() | float() | str() as value:
                try:
                    seconds = float(value)
                except (ValueError, OverflowError):
                    return _DEFAULT_LIFETIME
                return seconds if 0 < seconds < float("inf") else _DEFAULT_LIFETIME
            case _:
                return _DEFAULT_LIFETIME


def _parsed(request: Request, response: Response) -> tuple[_TokenDocument, Response]:
    return decode(request, response, cls=_TokenDocument), response


class Tokens:
    """The access tokens of one set of client credentials.

    The client owns the task that fetches a token. Cancelling a request that waits for it does not
    affect other requests.
    """

    def __init__(self, credentials: ClientCredentials, call: Call, tasks: Tasks) -> None:
        self._credentials = credentials
        self._call = call
        self._tasks = tasks
        self._current: Secret | None = None
        self._renew_at = 0.0
        self._ends_at = 0.0
        self._fetching: asyncio.Task[Secret] | None = None

    async def authorization(self) -> Secret:
        """Return the Authorization header, and fetch a token first if necessary.

        Raises:
            AuthenticationError: The credentials are invalid.
            TokenError: The token could not be fetched.
        """
        now = monotonic()
        if self._current is not None and now < self._renew_at:
            return self._current
        if self._fetching is None or self._fetching.get_loop().is_closed():
            self._fetching = self._tasks.start(self._fetch())
            self._fetching.add_done_callback(self._fetched)
        if self._current is not None and now < self._ends_at:
            # Its renewal may fail, or hang. Nothing waits for it as long as this token is valid.
            return self._current
        return await result_of(self._fetching)

    def reject(self, authorization: Secret) -> None:
        """Discard a token that the service rejected, if it is still the current one."""
        if self._current is authorization:
            self._current = None

    def _fetched(self, task: asyncio.Task[Secret]) -> None:
        self._fetching = None
        if not task.cancelled() and task.exception() is not None:
            # The next request asks again, but not each of those that follow at once.
            again_at = max(self._renew_at, monotonic() + _RENEWAL_PAUSE)
            self._renew_at = min(again_at, self._ends_at)

    async def _fetch(self) -> Secret:
        # Keep the secret out of local variables: tracebacks can show them.
        request = trusted_request(
            "POST",
            "/v2/token",
            body=form(
                grant_type="client_credentials",
                client_id=self._credentials.client_id,
                client_secret=self._credentials.client_secret.reveal(),
            ),
            content_type=FORM,
            repeat="always",
            operation="oauth.create_token",
        )
        started = monotonic()
        try:
            document, response = await self._call(request, _parsed)
        except MarketplaceError as error:
            bare = _without_secrets(
                error, attrs.evolve(request, body=None), self._credentials.client_secret
            )
            bare.account_sid, bare.attempts = error.account_sid, error.attempts
            bare.total_elapsed = error.total_elapsed
            failure = bare if isinstance(bare, AuthenticationError) else TokenError(bare)
        else:
            fault = document.fault
            if fault is not None:
                # The next token would be no better, so this is not retried.
                raise TokenError(ResponseError(attrs.evolve(request, body=None), response, fault))
            lifetime = document.lifetime
            self._current = Secret(f"Bearer {document.access_token}")
            expires_at = started + lifetime
            self._renew_at = expires_at - min(lifetime * _RENEWAL_SHARE, _RENEWAL_SECONDS)
            self._ends_at = expires_at - min(lifetime * _END_SHARE, _END_SECONDS)
            return self._current
        try:
            raise failure
        finally:
            # Its traceback refers to this frame.
            del failure, bare


def _without_secrets(error: MarketplaceError, request: Request, secret: Secret) -> MarketplaceError:
    """Return a copy of the error that contains neither the secret nor a token."""
    match error:
        case ResponseError():
            return ResponseError(request, error.response, "the response contains no access token")
        case APIError():
            bare_error = AuthenticationError if error.status in (400, 401, 403) else type(error)
            return bare_error(
                *(request, error.response, error.code, error.message),
                *(error.more_info, error.details),
            )
        case TransportError():
            reason = redacted(error.reason, (secret.reveal(),))
            return type(error)(request, reason, error.elapsed)
        case _:
            return error
