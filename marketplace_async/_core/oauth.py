"""OAuth 2.0 client credentials: concurrent requests share one access token and its fetch."""

import asyncio
import time

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
from .codec import to
from .messages import FORM, Request, form
from .operation import Call
from .tasks import Tasks, result_of

# A token is renewed when a tenth of its lifetime is left, but at most a minute before it expires.
_RENEWAL_SHARE = 0.1
_RENEWAL_SECONDS = 60.0


@attrs.frozen(eq=False, repr=False)
class _TokenDocument:
    access_token: str
    expires_in: float


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
        self._expires_at = 0.0
        self._fetching: asyncio.Task[Secret] | None = None

    async def authorization(self) -> Secret:
        """Return the Authorization header, and fetch a token first if necessary.

        Raises:
            AuthenticationError: The credentials are invalid.
            TokenError: The token could not be fetched.
        """
        now = time.monotonic()
        if self._current is not None and now < self._renew_at:
            return self._current
        if self._fetching is None:
            self._fetching = self._tasks.start(self._fetch())
            self._fetching.add_done_callback(self._fetched)
        try:
            return await result_of(self._fetching)
        except MarketplaceError:
            if self._current is not None and time.monotonic() < self._expires_at:
                return self._current
            raise

    def reject(self, authorization: Secret) -> None:
        """Discard a token that the service rejected, if it is still the current one."""
        if self._current is authorization:
            self._current = None

    def _fetched(self, _: object) -> None:
        self._fetching = None

    async def _fetch(self) -> Secret:
        # Keep the secret out of local variables: tracebacks can show them.
        request = Request(
            "POST",
            "/v2/token",
            body=form(
                grant_type="client_credentials",
                client_id=self._credentials.client_id,
                client_secret=self._credentials.client_secret.reveal(),
            ),
            content_type=FORM,
            repeat="always",
        )
        started = time.monotonic()
        try:
            document = await self._call(request, to(_TokenDocument))
        except MarketplaceError as error:
            bare = _without_secrets(error, attrs.evolve(request, body=None))
            failure = bare if isinstance(bare, AuthenticationError) else TokenError(bare)
        else:
            lifetime = document.expires_in
            self._current = Secret(f"Bearer {document.access_token}")
            self._expires_at = started + lifetime
            self._renew_at = self._expires_at - min(lifetime * _RENEWAL_SHARE, _RENEWAL_SECONDS)
            return self._current
        raise failure


def _without_secrets(error: MarketplaceError, request: Request) -> MarketplaceError:
    """Return a copy of the error that contains neither the secret nor a token."""
    match error:
        case ResponseError():
            return ResponseError(request, error.response, "the response contains no access token")
        case APIError():
            bare_error = AuthenticationError if error.status in (400, 401, 403) else type(error)
            return bare_error(request, error.response, error.code, error.message, error.more_info)
        case TransportError():
            return type(error)(request, error.reason, error.elapsed)
        case _:
            return error
