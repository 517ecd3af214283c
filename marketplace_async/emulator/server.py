"""The emulator: its settings, its lifecycle, and methods to set up its state."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Any, Self, TypeAlias, TypeVar, Unpack

from aiohttp import web

from . import setup
from .accounts import AccountRoutes
from .addresses import PublicUrl, check_public_url, listening_url, origin_host
from .authentication import USER, Authenticator
from .background import Background
from .calls import Call, Operation, Response
from .catalogue import Catalogue
from .control import Control
from .control_routes import ROOT
from .core_api import SIGNED_DATA, CoreApi
from .dispatch import Dispatcher, Segments
from .faults import Faults
from .guard import Guard
from .handler import RequestHandler, is_preflight, preflight
from .records import UsageItem
from .request_log import RequestLog
from .responses import ErrorResponse
from .routes import marketplace_routes
from .state import State, state_of
from .store import Store
from .webhooks import DeliveryOptions, WebhookOptions, WebhookResponse, Webhooks

_Handler: TypeAlias = Callable[[web.BaseRequest, Segments], Awaitable[web.StreamResponse]]

A = TypeVar("A")
R = TypeVar("R")


class Emulator:
    """The Marketplace v1 API on a local port, with state, faults and a log.

    `with Emulator() as emulator` runs it in a thread with an event loop of its own. It then serves
    any program: synchronous clients, several event loops, tests that block.
    `async with Emulator() as emulator`, or `start()` and `stop()`, run it on the current event
    loop. All methods, `faults` and `log` can be used from any thread.

    Args:
        host: The address to listen on.
        port: The port. 0 selects a free port.
        db: A file for the state, which then survives a restart. By default, state is in memory.
        accounts: The secrets of accounts, API keys and OAuth apps by SID. By default, any
            well-formed SID is accepted with any secret. The API key `SK...` and the OAuth app
            `OQ...` belong to the account `AC...` with the same digits. Subaccounts created in the
            emulator always authenticate with their own auth tokens.
        catalogue: The available Add-ons. Defaults to the built-in catalogue.
        concurrency: Maximum number of concurrent requests per account (at least 1). Further
            requests are throttled (429). By default, there is no limit.
        latency: Minimum duration of each request in seconds.
        token_lifetime: Lifetime of an OAuth access token in seconds.
        public_url: The base URL that clients use, such as that of a proxy in front of the
            emulator. Links in responses start with it. By default, they start with what the
            request says: its `Host` header, and `X-Forwarded-Proto` and `X-Forwarded-Host` from a
            proxy on this machine.
        trust_proxy: Whether to believe these two headers from every peer.
        allow_hosts: Further host names for the control API. On a loopback address, it only accepts
            requests to the names of this machine, so that no web page can drive it.
        tls: Serve HTTPS with this server-side context.

    Attributes:
        faults: The faults to inject.
        log: The latest requests.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        db: Path | None = None,
        accounts: Mapping[str, str] | None = None,
        catalogue: Catalogue | None = None,
        concurrency: int | None = None,
        latency: float = 0.0,
        token_lifetime: float = 3600,
        public_url: str | None = None,
        trust_proxy: bool = False,
        allow_hosts: Iterable[str] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        for user in accounts or ():
            if not USER.fullmatch(user):
                raise ValueError(f"accounts: must be AC, SK or OQ and 32 hex digits, got {user!r}")
        if concurrency is not None and concurrency < 1:
            raise ValueError(f"concurrency: must be at least 1, got {concurrency}")
        if not 0 <= latency < float("inf"):
            raise ValueError(f"latency: must be at least 0 seconds, got {latency}")
        self.faults: Faults = Faults()
        self.log: RequestLog = RequestLog()
        self._host = host
        self._port = port
        self._db = db
        self._accounts = accounts
        self._catalogue = Catalogue.built_in() if catalogue is None else catalogue
        self._tls = tls
        if isinstance(allow_hosts, str):
            raise ValueError(f"allow_hosts: must be several host names, got {allow_hosts!r}")
        if public_url is not None:
            public_url = check_public_url(public_url)
            allow_hosts = (*allow_hosts, origin_host(public_url))
        self._public_url = PublicUrl(self._scheme, public_url, trust_proxy)
        self._guard = Guard(self._public_url, allow_hosts)
        self._handler = RequestHandler(
            self.faults,
            self.log,
            self._public_url,
            concurrency,
            latency,
            lambda: self._store is not None,
        )
        self._token_lifetime = token_lifetime
        # Held while the state is read or changed, by a request or by another thread.
        self._lock = RLock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._background: Background | None = None
        self._authenticator: Authenticator | None = None
        self._store: Store | None = None
        self._control: Control | None = None
        self._runner: web.ServerRunner | None = None

    def __repr__(self) -> str:
        return f"<Emulator at {self.url}>" if self._runner else "<Emulator, not running>"

    @property
    def url(self) -> str:
        """The base URL for clients on this machine.

        Raises:
            RuntimeError: The emulator is not running.
        """
        if self._runner is None or not self._runner.addresses:
            raise RuntimeError("the emulator is not running")
        return listening_url(self._scheme, *self._runner.addresses[0][:2])

    @property
    def _scheme(self) -> str:
        return "http" if self._tls is None else "https"

    async def start(self) -> None:
        """Open the state and start listening, on the current event loop.

        Raises:
            OSError: The port cannot be opened, or the state file: it is damaged, in use, or not one
                of the emulator.
            RuntimeError: The emulator is already running, or no asyncio event loop is.
            ValueError: A fault matches no route.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                "the emulator needs a running asyncio event loop; "
                "`with Emulator()` runs it in a thread with an event loop of its own"
            ) from None
        with self._lock:
            if self._loop is not None:
                raise RuntimeError("the emulator is already running")
            self._loop = loop
        try:
            await self._start()
        except BaseException:
            self._loop = None
            raise

    async def _start(self) -> None:
        store = Store(self._db)
        runner: web.ServerRunner | None = None
        try:
            authenticator = Authenticator(store, self._accounts, self._token_lifetime)
            dispatcher = self._dispatcher(store, authenticator)
            control = self._new_control(store)

            async def handle(request: web.BaseRequest) -> web.StreamResponse:
                path = request.rel_url.path_safe
                if path.startswith(ROOT):
                    return await control.handle(request)
                if path == "/" and "text/html" in request.headers.get("Accept", ""):
                    return web.Response(status=302, headers={"Location": f"{ROOT[1:]}/"})
                handler, segments = dispatcher.find(request.method, path)
                if is_preflight(request):
                    return await self._handler.serve(preflight, None, request, segments)
                return await handler(request, segments)

            # `web.Application` matches routes one by one and wraps handlers, which takes longer
            # than an entire fetch does here.
            runner = web.ServerRunner(web.Server(handle, access_log=None), shutdown_timeout=1.0)
            await runner.setup()
            await web.TCPSite(runner, self._host, self._port, ssl_context=self._tls).start()
        except BaseException:
            if runner is not None:
                await runner.cleanup()
            store.close()
            raise
        self._public_url.listening_on(*runner.addresses[0][:2])
        self._guard.listening_on(address[0] for address in runner.addresses)
        self._runner, self._store, self._authenticator = runner, store, authenticator
        self._control = control

    async def stop(self) -> None:
        """Stop listening and close the state. Requests in flight get one second to finish.

        Raises:
            RuntimeError: The event loop of the emulator is not running.
        """
        loop = self._loop
        if loop is None:
            return
        if loop is asyncio.get_running_loop():
            await self._stop()
        elif loop.is_running():
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._stop(), loop))
        else:
            raise RuntimeError(
                "the emulator belongs to another event loop, which is not running; "
                "`with Emulator()` runs it in a thread with an event loop of its own"
            )

    async def _stop(self) -> None:
        with self._lock:
            runner, store = self._runner, self._store
            self._runner = self._store = None
        if self._control is not None:
            self._control.close()
        if runner is not None:
            await runner.cleanup()
        if store is not None:
            store.close()
        self._loop = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def __enter__(self) -> Self:
        background = Background(self, "marketplace emulator")
        background.start()
        self._background = background
        return self

    def __exit__(self, *_: object) -> None:
        background, self._background = self._background, None
        if background is not None:
            background.stop()

    def revoke_tokens(self) -> None:
        """Revoke all OAuth access tokens."""
        with self._lock:
            if self._authenticator is not None:
                self._authenticator.tokens.revoke_all()

    def state(self) -> State:
        """Return everything that the emulator holds, as plain values.

        Raises:
            RuntimeError: The emulator is not running.
        """
        with self._running() as store:
            return state_of(store, self._catalogue)

    def reset(self) -> None:
        """Return to the state of a new emulator.

        Deletes accounts, installations, listings and usage (in the state file as well), revokes
        all OAuth access tokens, and removes all faults and log entries.

        Raises:
            RuntimeError: The emulator is not running.
        """
        with self._running() as store:
            store.clear()
            self.revoke_tokens()
            self.faults.clear()
            self.log.clear()

    def usage(self) -> list[UsageItem]:
        """Return all usage accepted for billing, oldest first.

        Raises:
            RuntimeError: The emulator is not running.
        """
        with self._running() as store:
            return store.usage()

    def install(
        self,
        account_sid: str,
        available_add_on_sid: str,
        configuration: Mapping[str, Any] | None = None,
        *,
        unique_name: str | None = None,
        times: int = 1,
    ) -> list[str]:
        """Install an Add-on without a request, to set up a test.

        Args:
            account_sid: The account, `AC...`.
            available_add_on_sid: The Add-on, `XB...`.
            configuration: The configuration, an empty one by default.
            unique_name: A name that is unique on the account, for a single installation. Defaults
                to the Add-on's own, with a suffix from the second installation on.
            times: The number of installations, at least 0.

        Returns:
            The SIDs of the installations, `XE...`.

        Raises:
            ValueError: An argument is invalid.
            RuntimeError: The emulator is not running.
        """
        with self._running() as store:
            return setup.install(
                store,
                self._catalogue,
                account_sid,
                available_add_on_sid,
                configuration,
                unique_name,
                times,
            )

    def enable(self, installed_add_on_sid: str, extension: str, *, enabled: bool = True) -> None:
        """Enable or disable an extension without a request, to set up a test.

        Args:
            installed_add_on_sid: The installation, `XE...`.
            extension: The unique name of the extension, such as "voice-incoming", or its SID.
            enabled: Whether to enable it.

        Raises:
            ValueError: There is no such installation, or it has no such extension.
            RuntimeError: The emulator is not running.
        """
        with self._running() as store:
            setup.enable(store, self._catalogue, installed_add_on_sid, extension, enabled)

    def add_subaccounts(
        self,
        owner_account_sid: str,
        count: int = 1,
        *,
        friendly_name: str = "Subaccount {number}",
        status: str = "active",
    ) -> list[tuple[str, str]]:
        """Create subaccounts without requests, to set up a test.

        Each subaccount authenticates with its own auth token only.

        Args:
            owner_account_sid: The parent account, `AC...`.
            count: The number of subaccounts.
            friendly_name: The name of each subaccount. {number} is replaced by 1, 2, 3 ...
            status: "active", "suspended" or "closed".

        Returns:
            The SID and auth token of each subaccount, the arguments of an `AccountToken`.

        Raises:
            ValueError: An argument is invalid.
            RuntimeError: The emulator is not running.
        """
        with self._running() as store:
            return setup.add_subaccounts(store, owner_account_sid, count, friendly_name, status)

    async def webhook(
        self, url: str, account_sid: str, **options: Unpack[WebhookOptions]
    ) -> WebhookResponse:
        """Send a signed webhook to your service, as Twilio does for a call or a message.

        Args:
            url: The URL of your service.
            account_sid: The account, `AC...`. The form has it as `AccountSid`.
            options: `add_ons`, the results of Add-ons by unique name; `fields` or `json`;
                `method`; `auth_token` or `shared_key`, to sign with; and `public_url`. See
                `WebhookOptions`.

        Raises:
            ValueError, TypeError: An argument is invalid.
            ConnectionError: Your service did not respond within 15 seconds.
            RuntimeError: The emulator is not running.
        """
        with self._running() as store:
            webhook = self._webhooks(store).webhook(url, account_sid, **options)
        return await webhook.send()

    async def deliver_result(
        self, installed_add_on_sid: str, **options: Unpack[DeliveryOptions]
    ) -> WebhookResponse:
        """Send the result of a recording Add-on to the `callback_url` of its configuration.

        The core API then has the result, with its payload, among the `AddOnResults` of the
        recording.

        Args:
            installed_add_on_sid: The installation, `XE...`.
            options: `result`, any JSON value; `status`, `message` and `code`; `recording_sid`;
                `auth_token` or `shared_key`, to sign with; and `public_url`. See
                `DeliveryOptions`.

        Raises:
            ValueError, TypeError: An argument is invalid, or the configuration has no
                `callback_url`.
            ConnectionError: Your service did not respond within 15 seconds.
            RuntimeError: The emulator is not running.
        """
        with self._running() as store:
            webhook = self._webhooks(store).result(installed_add_on_sid, **options)
        return await webhook.send()

    def _webhooks(self, store: Store) -> Webhooks:
        return Webhooks(store, self._accounts, self.url)

    @contextmanager
    def _running(self) -> Iterator[Store]:
        """Hold the lock of the state."""
        with self._lock:
            if self._store is None:
                raise RuntimeError("the emulator is not running")
            yield self._store

    def _locked(self, function: Callable[[A], R]) -> Callable[[A], R]:
        lock = self._lock

        def call(argument: A) -> R:
            with lock:
                return function(argument)

        return call

    def _new_control(self, store: Store) -> Control:
        return Control(
            self,
            self._locked(lambda query: query(store)),
            self._catalogue,
            accepts_any_credentials=self._accounts is None,
            public_url=self._public_url,
            guard=self._guard,
        )

    def _dispatcher(self, store: Store, authenticator: Authenticator) -> Dispatcher[_Handler]:
        def not_found(call: Call) -> Response:
            raise call.not_found()

        def method_not_allowed(call: Call) -> Response:
            raise ErrorResponse("method_not_allowed", path=call.path, method=call.method)

        authenticate = self._locked(authenticator.authenticate)

        def handler(operation: Operation) -> _Handler:
            return partial(self._handler.serve, self._locked(operation), authenticate)

        core = CoreApi(store)
        operations = [
            *marketplace_routes(store, self._catalogue),
            *AccountRoutes(store, self._accounts).routes(),
            *core.routes(),
        ]
        self.faults.check_against(
            [
                *((method, path) for method, path, _ in operations),
                ("POST", "/v2/token"),
                ("GET", SIGNED_DATA),
            ]
        )
        return Dispatcher(
            [
                *((method, path, handler(operation)) for method, path, operation in operations),
                (
                    "POST",
                    "/v2/token",
                    partial(self._handler.serve, self._locked(authenticator.tokens.issue), None),
                ),
                (
                    "GET",
                    SIGNED_DATA,
                    partial(self._handler.serve, self._locked(core.signed_data), None),
                ),
            ],
            not_found=handler(not_found),
            method_not_allowed=handler(method_not_allowed),
        )
