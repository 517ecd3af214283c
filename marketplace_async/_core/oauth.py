"""Access tokens of the OAuth 2.0 client credentials grant: one fetch, however many wait for it."""

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

# A token is fetched anew before it expires: by a tenth of its life, but a minute at the most.
_EARLY_SHARE = 0.1
_EARLY_SECONDS = 60.0


@attrs.frozen(eq=False, repr=False)
class _TokenAnswer:
    access_token: str
    expires_in: float


class Tokens:
    """The access tokens of one set of client credentials, for a family of clients.

    A fetch is a task of the family: whoever waits for it can be cancelled without ending it for the
    others.
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
        """Return the current token as an Authorization header, fetching one if need be.

        Raises:
            AuthenticationError: The credentials are wrong.
            TokenError: There is no token to be had.
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
        """Take note that the service refused a token; it goes, if it is still the current one."""
        if self._current is authorization:
            self._current = None

    def _fetched(self, _: object) -> None:
        self._fetching = None

    async def _fetch(self) -> Secret:
        # No variable holds the secret: tracebacks can show those.
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
        asked = time.monotonic()
        try:
            answer = await self._call(request, to(_TokenAnswer))
        except MarketplaceError as error:
            bare = _without_secrets(error, attrs.evolve(request, body=None))
            failure = bare if isinstance(bare, AuthenticationError) else TokenError(bare)
        else:
            life = answer.expires_in
            self._current = Secret(f"Bearer {answer.access_token}")
            self._expires_at = asked + life
            self._renew_at = self._expires_at - min(life * _EARLY_SHARE, _EARLY_SECONDS)
            return self._current
        raise failure


def _without_secrets(error: MarketplaceError, request: Request) -> MarketplaceError:
    """Return an error like this one that holds neither the secret sent nor a token received."""
    match error:
        case ResponseError():
            return ResponseError(request, error.response, "the answer holds no access token")
        case APIError():
            bare_error = AuthenticationError if error.status in (400, 401, 403) else type(error)
            return bare_error(request, error.response, error.code, error.message, error.more_info)
        case TransportError():
            return type(error)(request, error.reason, error.elapsed)
        case _:
            return error
