"""The client: its options, and the pipeline that it composes from them."""

import os
import ssl as tls
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, Self, TypedDict, TypeVar, Unpack, overload

import aiohttp  # for its types: `_core` does the I/O
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
from ._core.frames import hide_arguments
from ._core.limiter import Limiter, Stats
from ._core.messages import Host, Request, Response
from ._core.network import Network, Proxy, allows_http, ca_file, trusting
from ._core.oauth import Tokens
from ._core.observing import Audience, Watch
from ._core.operation import Call
from ._core.pipeline import (
    authorized,
    concealing,
    limited,
    parsing,
    recording,
)
from ._core.pool import Pool
from ._core.quota import RetryQuota, RetryQuotas
from ._core.retrying import Retrying
from ._core.session import Session, Timeout, headers_with
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
from .observe import Observer
from .resources import AvailableAddOns, InstalledAddOns, Listings, ReferralConversions
from .retry import Retry

# Number of OAuth apps whose tokens are cached, at about 1 kB each.
_MAX_TOKENS = 10_000


class ClientOptions(TypedDict, total=False):
    """The options of `MarketplaceClient`, for callers that pass them on."""

    session: aiohttp.ClientSession | None
    concurrency: int
    requests_per_second: float | None
    timeout: float | Timeout
    retry: Retry
    region: str | None
    edge: str | None
    base_url: str | URL | None
    proxy: str | URL | None
    ssl: tls.SSLContext | bool | aiohttp.Fingerprint
    trust_env: bool
    max_response_size: int
    allow_http: bool
    fresh_connection_for_unsafe_writes: bool
    user_agent: str | None
    headers: Mapping[str, str] | None
    observers: Sequence[Observer]


class _Collection(Protocol):
    def __init__(self, call: Call) -> None: ...


C = TypeVar("C", bound=_Collection)


class _Resource(Generic[C]):
    """A collection of a client, created on first use.

    On the class, the attribute is the class of the collection: `create_autospec(MarketplaceClient)`
    then knows its methods.
    """

    def __init__(
        self,
        cls: type[C],
        call_of: Callable[["MarketplaceClient"], Call] = lambda client: client._call,
    ) -> None:
        self._class = cls
        self._call_of = call_of

    @overload
    def __get__(self, client: None, owner: object) -> type[C]: ...
    @overload
    def __get__(self, client: "MarketplaceClient", owner: object) -> C: ...
    def __get__(self, client: "MarketplaceClient | None", owner: object) -> type[C] | C:
        if client is None:
            return self._class
        resource = client._resources.get(self._class)
        if resource is None:
            resource = client._resources[self._class] = self._class(self._call_of(client))
        return resource


class MarketplaceClient:
    """A client of the Marketplace v1 API, for one account.

    You can create it outside an event loop; it opens connections on first use. Use it as
    `async with`, or call `aclose()`. One client serves any number of tasks of one event loop. When
    that loop is closed, another one can use the client.

    Args:
        credentials: An `AccountToken`, an `ApiKey` or `ClientCredentials`.
        session: An aiohttp session to borrow, without `auth=`; the client never closes it. Cookies
            that responses set are not sent. By default the client opens a session, and closes it.
        concurrency: Maximum number of requests in flight, shared with derived clients. At least 1.
            Within it, each account has an adaptive limit.
        requests_per_second: Maximum rate, shared with derived clients. More than 0; unlimited by
            default.
        timeout: Seconds for one attempt, from connecting to the last byte, or a `Timeout`.
        retry: The retry policy. `Retry(attempts=1)` disables retries.
        region: Twilio's region, such as au1.
        edge: Twilio's edge location, such as sydney. Without a region it implies us1.
        base_url: A URL that replaces all of Twilio's hosts, such as an emulator's. Region and edge
            do not change it.
        proxy: The URL of an HTTP proxy. It can read requests to an http `base_url`, which need
            `allow_http`.
        ssl: TLS verification, as in aiohttp.
        trust_env: Whether to read the proxy (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`) and the CAs
            (`SSL_CERT_FILE`) from the environment of the process. Nothing else is read. A proxy
            from the environment is not used for this machine.
        max_response_size: Maximum size of a decompressed response body in bytes. At least 1.
        allow_http: Whether credentials may be sent unencrypted to an http `base_url` on another
            machine, or through a proxy.
        fresh_connection_for_unsafe_writes: Whether a request that is not safe to repeat opens a
            connection for itself: a usage report, or a create. A server that closes an idle
            connection at the moment of such a request then leaves no outcome unknown. The cost is
            one connection per such request: two or three round trips, and CPU time for TLS.
        user_agent: What your application calls itself, such as "billing/1.4". The `User-Agent`
            header starts with it.
        headers: Headers to add to every request, for example for a gateway. They cannot replace
            those that the client sets.
        observers: Objects that are told about every call and attempt of this client and its derived
            clients; see `marketplace_async.observe`.

    Attributes:
        accounts: The account itself, and its subaccounts with their credentials.
        available_add_ons: The catalogue of Add-ons.
        installed_add_ons: The Add-ons installed on the account.
        listings: The Marketplace pages of Add-ons, for their owners.
        referral_conversions: Accounts that signed up through a referral.
        environment: The settings that `from_env()` read, and their variables; otherwise None.

    Raises:
        ValueError, TypeError: An argument is invalid.

    See https://www.twilio.com/docs/marketplace/listings/api-overview-users
    """

    accounts: _Resource[Accounts] = _Resource(Accounts, lambda client: client._call_to("api"))
    available_add_ons: _Resource[AvailableAddOns] = _Resource(AvailableAddOns)
    installed_add_ons: _Resource[InstalledAddOns] = _Resource(InstalledAddOns)
    listings: _Resource[Listings] = _Resource(Listings)
    referral_conversions: _Resource[ReferralConversions] = _Resource(ReferralConversions)

    @hide_arguments
    def __init__(
        self,
        credentials: Credentials,
        *,
        session: aiohttp.ClientSession | None = None,
        concurrency: int = 64,
        requests_per_second: float | None = None,
        timeout: float | Timeout = 10.0,
        retry: Retry = Retry(),  # noqa: B008 - frozen
        region: str | None = None,
        edge: str | None = None,
        base_url: str | URL | None = None,
        proxy: str | URL | None = None,
        ssl: tls.SSLContext | bool | aiohttp.Fingerprint = True,
        trust_env: bool = False,
        max_response_size: int = 64 * 2**20,
        allow_http: bool = False,
        fresh_connection_for_unsafe_writes: bool = False,
        user_agent: str | None = None,
        headers: Mapping[str, str] | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        concurrency = check_positive_int(concurrency, "concurrency")
        if requests_per_second is not None:
            requests_per_second = check_positive(
                requests_per_second, "requests_per_second", "requests per second"
            )
        max_response_size = check_positive_int(max_response_size, "max_response_size")
        check_flag(trust_env, "trust_env")
        if trust_env and session is not None:
            raise ValueError("trust_env: set it on the session that you pass in")
        check_flag(allow_http, "allow_http")
        fresh = fresh_connection_for_unsafe_writes
        check_flag(fresh, "fresh_connection_for_unsafe_writes")
        if fresh and session is not None:
            raise ValueError(
                "fresh_connection_for_unsafe_writes: create the session that you pass in with "
                "TCPConnector(force_close=True)"
            )
        url = twilio_url("marketplace", region=region, edge=edge)
        if base_url is not None:
            url = check_base_url(base_url, allow_http=allow_http)
        passed = None if proxy is None else Proxy(check_proxy(proxy), "proxy=")
        if passed is not None and url.startswith("http:") and not allow_http:
            raise ValueError(
                "proxy: the proxy would read the credentials in requests to an http base_url: "
                "use https, or pass allow_http"
            )
        self.environment: Environment | None = None
        self._audience = Audience(observers)
        self._limiter = Limiter(concurrency, requests_per_second)
        self._session = Session(
            Pool(session, keep_alive=not fresh),
            url,
            timeout,
            Network(passed),
            ssl,
            max_response_size,
            fresh=fresh,
            headers=headers_with(user_agent, headers),
        )
        self._oauth_url = self._api_url = self._session.base_url
        if base_url is None:
            self._oauth_url = twilio_url("oauth", region=region, edge=edge)
            self._api_url = twilio_url("api", region=region, edge=edge)
        self._tasks = Tasks()
        self._tokens: dict[ClientCredentials, Tokens] = {}
        self._quotas = RetryQuotas(self._limiter)
        self._owns_pool = True
        self._deadline: float | None = None
        self._set(credentials, retry)
        if trust_env:
            self._trust(os.environ)

    def _set(self, credentials: Credentials, retry: Retry) -> None:
        if not isinstance(credentials, AccountToken | ApiKey | ClientCredentials):
            raise TypeError(
                "credentials: expected AccountToken, ApiKey or ClientCredentials, "
                f"got {type(credentials).__name__}"
            )
        if not isinstance(retry, Retry):
            raise TypeError(f"retry: expected a Retry, such as Retry(attempts=1), got {retry!r}")
        self._credentials = credentials
        self._retry = retry
        self._calls: dict[Host, Call] = {}
        self._resources: dict[type[Any], Any] = {}

    def _trust(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Take proxies and CAs from environment variables. Return those of this base URL."""
        session = self._session
        network, ssl = session.network.with_environment(environ), session.ssl
        variables = {}
        ca = ca_file(environ)
        if ca is not None and ssl is True and session.base_url.startswith("https:"):
            variables["ssl"], path = ca
            ssl = trusting(path, variables["ssl"])
        self._session = session = attrs.evolve(session, network=network, ssl=ssl)
        if session.proxy is not None and network.passed is None:
            variables["proxy"] = session.proxy.source
        return variables

    @property
    def _call(self) -> Call:
        return self._call_to("marketplace")

    def _call_to(self, host: Host) -> Call:
        # Composed on first use, so that deriving a client is cheap.
        call = self._calls.get(host)
        if call is None:
            session = self._session
            if host == "api":
                # Its responses hold auth tokens, of subaccounts and of keys.
                session = attrs.evolve(session, base_url=self._api_url, confidential=True)
            call = self._calls[host] = self._caller(session)
        return call

    def _caller(self, session: Session) -> Call:
        credentials = self._credentials
        auth: BasicCredentials | Tokens
        if isinstance(credentials, ClientCredentials):
            auth = self._tokens_of(credentials)
        else:
            auth = credentials
        account = _account_of(credentials)
        send = authorized(limited(session.send, self._limiter), auth, account)
        return Retrying(
            parsing(recording(send, account)),
            self._retry,
            self._tasks,
            RetryQuota(self._quotas, account, session.base_url),
            watch=self._watch(session, credentials),
            deadline=self._deadline,
            renewable=isinstance(auth, Tokens),
            account_sid=credentials.account_sid,
        )

    def _watch(self, session: Session, credentials: Credentials) -> Watch:
        account, sid = _account_of(credentials), credentials.account_sid
        return Watch(self._audience, account, sid, session.base_url)

    @classmethod
    @hide_arguments
    def from_env(
        cls, environ: Mapping[str, str] | None = None, **options: Unpack[ClientOptions]
    ) -> Self:
        """Create a client from environment variables; `client.environment` lists those it read.

        An API key (`TWILIO_API_KEY`, `TWILIO_API_SECRET`) takes precedence over an OAuth app
        (`TWILIO_CLIENT_ID`, `TWILIO_CLIENT_SECRET`), and an OAuth app over an auth token
        (`TWILIO_ACCOUNT_SID`, `TWILIO_AUTH_TOKEN`). `TWILIO_REGION`, `TWILIO_EDGE`,
        `MARKETPLACE_BASE_URL` and `MARKETPLACE_ALLOW_HTTP` are optional.

        Unless a session is borrowed, `trust_env` is True by default. `MARKETPLACE_PROXY` and
        `MARKETPLACE_CA_FILE` take precedence over `HTTPS_PROXY` and `SSL_CERT_FILE`.

        Args:
            environ: Read from this mapping instead of the environment of the process.
            options: As for `MarketplaceClient`. They take precedence over the environment.

        Raises:
            CredentialsError: Variables are missing or malformed; the message names them.
            ValueError, TypeError: An option is invalid.
        """
        environ = os.environ if environ is None else environ
        environment = from_env(environ)
        settings: ClientOptions = {
            "region": environment.region,
            "edge": environment.edge,
            "base_url": environment.base_url,
        }
        try:
            settings["allow_http"] = allows_http(environ)
        except ValueError as error:
            raise CredentialsError(str(error)) from None
        settings.update(options)
        # A borrowed session has settings of its own.
        owned = settings.get("session") is None
        trust_env = check_flag(settings.get("trust_env", owned), "trust_env")
        settings["trust_env"] = trust_env and not owned
        client = cls(environment.credentials, **settings)
        if trust_env:
            try:
                variables = {**environment.variables, **client._trust(environ)}
            except ValueError as error:
                raise CredentialsError(str(error)) from None
            environment = attrs.evolve(environment, variables=variables)
        client.environment = environment
        return client

    @hide_arguments
    def with_credentials(self, credentials: Credentials) -> Self:
        """Return a derived client for another account. It shares connections, limits and options.

        Closing a derived client closes nothing: the original client owns the connections.
        """
        derived = self._derived(self._session, credentials, self._retry)
        derived.environment = None
        return derived

    def with_account(self, account: Account) -> Self:
        """Return a derived client for an account that was listed, or read from a file or a vault.

        Raises:
            CredentialsError: The account has no credentials.
            TypeError: `account` is not an Account.
        """
        if not isinstance(account, Account):
            raise TypeError(f"account: expected an Account, got {type(account).__name__}")
        if account.credentials is None:
            raise CredentialsError(f"{account.sid} has no credentials")
        return self.with_credentials(account.credentials)

    def with_options(
        self,
        *,
        timeout: float | Timeout | None = None,
        retry: Retry | None = None,
        deadline: float | None = None,
    ) -> Self:
        """Return a derived client with other options, for the same account.

        Args:
            timeout: Seconds for one attempt, or a `Timeout`. Defaults to this client's.
            retry: The retry policy. Defaults to this client's.
            deadline: Seconds for a whole call: all of its requests, their attempts, the waits
                between them, and the wait for a permit. `collect()` and `first()` of a list are
                one call. While you iterate a list, each page is a call of its own: the time that
                your code takes does not count. Unlimited by default; a derived client inherits
                it. A call that exceeds it raises RequestTimeoutError, or AmbiguousOutcomeError if
                it may have taken effect and is not safe to repeat.
        """
        session = self._session
        if timeout is not None:
            session = attrs.evolve(session, timeout=timeout)
        derived = self._derived(session, self._credentials, self._retry if retry is None else retry)
        if deadline is not None:
            derived._deadline = check_positive(deadline, "deadline", "seconds")
        return derived

    async def send(self, request: Request) -> Response:
        """Send a request that this package has no method for.

        Limits, retries, logging and errors apply as to any operation.

        Args:
            request: Such as `Request("GET", "/v1/AvailableAddOns", {"PageSize": 5})`. With
                `host="api"`, it goes to Twilio's core API.

        Returns:
            The response, not decoded. One from the host "api" is confidential: its body is in no
            log, error, pickle or `capture()`.

        Raises:
            APIError: The service returned an error.
            TransportError: There was no complete response.
            AmbiguousOutcomeError: The outcome is unknown, and `request.repeat` is "if_rejected".
        """
        call = self._call_to(request.host)
        return await call(request, lambda _, response: response)

    @property
    def account_sid(self) -> str | None:
        """The account that the credentials belong to, `AC...`. None if they do not say it."""
        return self._credentials.account_sid

    @property
    def base_url(self) -> str:
        """The URL of the service, without `/v1`."""
        return self._session.base_url

    @property
    def retry(self) -> Retry:
        """The retry policy."""
        return self._retry

    @property
    def stats(self) -> Stats:
        """Request counters of this client and all clients that share its connections.

        They are those of the moment. `stats.account(sid)` has the current ones of one account.
        """
        return self._limiter.stats

    async def aclose(self) -> None:
        """Close the client and its connections. Its derived clients cannot send afterwards."""
        if self._owns_pool:
            try:
                await self._tasks.aclose()
            finally:
                await self._session.pool.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __copy__(self) -> Self:
        return self._derived(self._session, self._credentials, self._retry)

    def __repr__(self) -> str:
        return f"<MarketplaceClient of {self._credentials!r} at {self._session.base_url}>"

    def _tokens_of(self, credentials: ClientCredentials) -> Tokens:
        # Derived clients of one account share a token and its fetch.
        tokens = self._tokens.get(credentials)
        if tokens is None:
            # Bypass the limiter, whose permits may all be held by requests that wait for the token,
            # and the recording.
            session = attrs.evolve(self._session, base_url=self._oauth_url, confidential=True)
            account = _account_of(credentials)
            call = Retrying(
                parsing(concealing(session.send, credentials.client_secret, account)),
                self._retry,
                self._tasks,
                watch=self._watch(session, credentials),
                account_sid=credentials.account_sid,
            )
            tokens = Tokens(credentials, call, self._tasks)
            if len(self._tokens) >= _MAX_TOKENS:
                # Evict the oldest entry.
                del self._tokens[next(iter(self._tokens))]
            self._tokens[credentials] = tokens
        return tokens

    def _derived(self, session: Session, credentials: Credentials, retry: Retry) -> Self:
        derived = type(self).__new__(type(self))
        vars(derived).update(vars(self))
        derived._owns_pool = False
        derived._session = session
        derived._set(credentials, retry)
        return derived


def _account_of(credentials: Credentials) -> str:
    """Return the limiter's key for these credentials: the account SID, if known."""
    if isinstance(credentials, AccountToken):
        return credentials.account_sid
    if isinstance(credentials, ApiKey):
        return credentials.account_sid or credentials.key_sid
    return credentials.account_sid or credentials.client_id
