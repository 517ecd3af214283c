"""The client: what it is given, and how the stack is composed from it."""

import copy
import ssl as tls
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self, TypedDict, Unpack

import attrs
from yarl import URL

from ._core.arguments import (
    check_base_url,
    check_flag,
    check_positive,
    check_positive_int,
    check_proxy,
    twilio_url,
)
from ._core.limiter import Limiter, Stats
from ._core.messages import Request, Response
from ._core.oauth import Tokens
from ._core.operation import Call
from ._core.pipeline import Retrying, authorized, limited, parsing, recording
from ._core.session import Pool, Session, Timeout
from ._core.tasks import Tasks
from .accounts import Account, Accounts
from .credentials import (
    AccountToken,
    ApiKey,
    BasicCredentials,
    ClientCredentials,
    Credentials,
    Environment,
    from_env,
)
from .errors import CredentialsError
from .resources import AvailableAddOns, InstalledAddOns, Listings, ReferralConversions
from .retry import Retry

if TYPE_CHECKING:
    import aiohttp


# Accounts whose OAuth tokens are kept, at some kilobyte each.
_MOST_TOKENS = 10_000


class ClientOptions(TypedDict, total=False):
    """What `MarketplaceClient` takes beside credentials, for those who pass it on."""

    session: "aiohttp.ClientSession | None"
    concurrency: int
    requests_per_second: float | None
    timeout: float | Timeout
    retry: Retry
    region: str | None
    edge: str | None
    base_url: str | URL | None
    proxy: str | URL | None
    ssl: "tls.SSLContext | bool | aiohttp.Fingerprint"
    trust_env: bool
    max_response_size: int
    allow_http: bool


class MarketplaceClient:
    """A client of the Marketplace v1 API, for one account.

    It can be built outside an event loop, and opens its connections on first use. Use it as
    `async with`, or call `aclose()`. One client serves any number of tasks of one event loop.

    Args:
        credentials: Who asks: an `AccountToken`, an `ApiKey` or `ClientCredentials`.
        session: An aiohttp session to borrow; it is never closed. Unless given, the client opens
            one of its own, and closes it.
        concurrency: Maximum number of requests in flight, shared with derived clients. At least 1.
            Within it, each account gets as many as Twilio allows; the client finds out how many.
        requests_per_second: Maximum rate, shared with derived clients. More than 0; no maximum by
            default.
        timeout: Seconds for one attempt, from connecting to the last byte; `Timeout` says more.
        retry: How often, and for how long, to try again what was refused or can be repeated;
            `Retry(attempts=1)` turns it off.
        region: The vendor's region, such as au1.
        edge: The vendor's edge location, such as sydney; alone it implies region us1.
        base_url: What stands for all of the vendor's hosts, such as an emulator. It is used as it
            is given: region and edge do not change it.
        proxy: The URL of an HTTP proxy, as in aiohttp.
        ssl: TLS verification, as in aiohttp.
        trust_env: Whether the proxy comes from the environment, as in aiohttp.
        max_response_size: Bytes that an answer may have at most, decompressed; 1 or more.
        allow_http: Whether credentials may travel unencrypted, to a `base_url` of plain http that
            is not on this machine.

    Attributes:
        accounts: The account itself, and its subaccounts with their credentials.
        available_add_ons: The catalogue.
        installed_add_ons: What is installed on the account.
        listings: The pages that present add-ons, for their owners.
        referral_conversions: Accounts that a referral brought.
        environment: What `from_env()` read, and from which variables; else None.

    Raises:
        ValueError, TypeError: An argument cannot be right.

    See https://www.twilio.com/docs/marketplace/listings/api-overview-users
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        session: "aiohttp.ClientSession | None" = None,
        concurrency: int = 64,
        requests_per_second: float | None = None,
        timeout: float | Timeout = 10.0,
        retry: Retry = Retry(),  # noqa: B008 - frozen
        region: str | None = None,
        edge: str | None = None,
        base_url: str | URL | None = None,
        proxy: str | URL | None = None,
        ssl: "tls.SSLContext | bool | aiohttp.Fingerprint" = True,
        trust_env: bool = False,
        max_response_size: int = 64 * 2**20,
        allow_http: bool = False,
    ) -> None:
        check_positive_int(concurrency, "concurrency")
        if requests_per_second is not None:
            check_positive(requests_per_second, "requests_per_second", "requests per second")
        check_positive_int(max_response_size, "max_response_size")
        check_flag(trust_env, "trust_env")
        check_flag(allow_http, "allow_http")
        vendor = twilio_url("marketplace", region=region, edge=edge)
        self.environment: Environment | None = None
        self._limiter = Limiter(concurrency, requests_per_second)
        self._session = Session(
            Pool(session, trust_env=trust_env),
            vendor if base_url is None else check_base_url(base_url, allow_http=allow_http),
            timeout,
            None if proxy is None else check_proxy(proxy),
            ssl,
            max_response_size,
        )
        self._oauth_url = self._api_url = self._session.base_url
        if base_url is None:
            self._oauth_url = twilio_url("oauth", region=region, edge=edge)
            self._api_url = twilio_url("api", region=region, edge=edge)
        self._tasks = Tasks()
        self._tokens: dict[ClientCredentials, Tokens] = {}
        self._owns_pool = True
        self._compose(credentials, retry)

    def _compose(self, credentials: Credentials, retry: Retry) -> None:
        if not isinstance(credentials, AccountToken | ApiKey | ClientCredentials):
            raise TypeError(
                "credentials: expected AccountToken, ApiKey or ClientCredentials, "
                f"got {type(credentials).__name__}"
            )
        if not isinstance(retry, Retry):
            raise TypeError(f"retry: expected a Retry, such as Retry(attempts=1), got {retry!r}")
        self._credentials = credentials
        self._retry = retry
        self._call = call = self._caller(self._session)
        self.available_add_ons = AvailableAddOns(call)
        self.installed_add_ons = InstalledAddOns(call)
        self.listings = Listings(call)
        self.referral_conversions = ReferralConversions(call)

    def _caller(self, session: Session) -> Call:
        credentials = self._credentials
        who: BasicCredentials | Tokens
        who = (
            self._tokens_of(credentials)
            if isinstance(credentials, ClientCredentials)
            else credentials
        )
        account = _account_of(credentials)
        return Retrying(
            parsing(recording(authorized(limited(session.send, self._limiter, account), who))),
            self._retry,
            self._tasks,
            renewable=isinstance(who, Tokens),
        )

    @property
    def accounts(self) -> Accounts:
        """The account that asks, and its subaccounts with their credentials."""
        # Composed when asked for: few of the derived clients of a client ever are.
        session = attrs.evolve(self._session, base_url=self._api_url, confidential=True)
        return Accounts(self._caller(session))

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] | None = None, **options: Unpack[ClientOptions]
    ) -> Self:
        """Build a client from environment variables; `client.environment` tells which were read.

        An API key (`TWILIO_API_KEY`, `TWILIO_API_SECRET`) goes before an OAuth app
        (`TWILIO_CLIENT_ID`, `TWILIO_CLIENT_SECRET`), and that before an auth token
        (`TWILIO_ACCOUNT_SID`, `TWILIO_AUTH_TOKEN`). `TWILIO_REGION`, `TWILIO_EDGE` and
        `MARKETPLACE_BASE_URL` are optional.

        Args:
            environ: Where to read instead of the process's environment.
            options: As for `MarketplaceClient`; they go before the environment.

        Raises:
            CredentialsError: Variables are missing or malformed; the message names them.
            ValueError, TypeError: An option cannot be right.
        """
        environment = from_env(environ)
        settings: ClientOptions = {
            "region": environment.region,
            "edge": environment.edge,
            "base_url": environment.base_url,
        }
        settings.update(options)
        client = cls(environment.credentials, **settings)
        client.environment = environment
        return client

    def with_credentials(self, credentials: Credentials) -> Self:
        """Return a derived for another account: the same connections, slots and options.

        The client that opened the connections closes them; closing a derived closes nothing.
        """
        derived = self._derived(self._session, credentials, self._retry)
        derived.environment = None
        return derived

    def with_account(self, account: Account) -> Self:
        """Return a derived for an account that was listed, or read from a file or a vault.

        Raises:
            CredentialsError: The account came without credentials.
            TypeError: This is no Account.
        """
        if not isinstance(account, Account):
            raise TypeError(f"account: expected an Account, got {type(account).__name__}")
        if account.credentials is None:
            raise CredentialsError(f"{account.sid} came without credentials")
        return self.with_credentials(account.credentials)

    def with_options(
        self, *, timeout: float | Timeout | None = None, retry: Retry | None = None
    ) -> Self:
        """Return a derived with other options, for the same account over the same connections.

        Args:
            timeout: Seconds for one attempt, or a `Timeout`; this client's unless given.
            retry: How often to try again; this client's unless given.
        """
        session = self._session
        if timeout is not None:
            session = attrs.evolve(session, timeout=timeout)
        return self._derived(session, self._credentials, self._retry if retry is None else retry)

    async def send(self, request: Request) -> Response:
        """Send a request that this package has no method for, with all that surrounds the others.

        Args:
            request: Such as `Request("GET", "/v1/AvailableAddOns", {"PageSize": 5})`.

        Returns:
            The answer, undecoded.

        Raises:
            APIError: The service answered with an error.
            TransportError: No answer came.
            AmbiguousOutcomeError: It may have happened, and `request.repeat` is "if_rejected".
        """
        return await self._call(request, lambda _, response: response)

    @property
    def stats(self) -> Stats:
        """What this client and its derived clients have sent so far."""
        return self._limiter.stats

    async def aclose(self) -> None:
        """Close the connections that this client opened. Derived clients cannot send after that."""
        if self._owns_pool:
            try:
                await self._tasks.aclose()
            finally:
                await self._session.pool.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<MarketplaceClient of {self._credentials!r} at {self._session.base_url}>"

    def _tokens_of(self, credentials: ClientCredentials) -> Tokens:
        # Derived clients of one account share a token and its fetch.
        tokens = self._tokens.get(credentials)
        if tokens is None:
            # Past the slots, which might all be waiting for the token, and past what records.
            session = attrs.evolve(self._session, base_url=self._oauth_url, confidential=True)
            call = Retrying(parsing(session.send), self._retry, self._tasks)
            tokens = Tokens(credentials, call, self._tasks)
            if len(self._tokens) >= _MOST_TOKENS:
                # The oldest goes: whoever comes back for that account gets a new one.
                del self._tokens[next(iter(self._tokens))]
            self._tokens[credentials] = tokens
        return tokens

    def _derived(self, session: Session, credentials: Credentials, retry: Retry) -> Self:
        derived = copy.copy(self)
        derived._owns_pool = False
        derived._session = session
        derived._compose(credentials, retry)
        return derived


def _account_of(credentials: Credentials) -> str:
    """Return what tells apart whose requests the service counts, as far as that is known."""
    if isinstance(credentials, AccountToken):
        return credentials.account_sid
    if isinstance(credentials, ApiKey):
        return credentials.account_sid or credentials.key_sid
    return credentials.account_sid or credentials.client_id
