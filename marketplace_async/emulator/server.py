"""The emulator: its settings, its lifecycle, and methods to set up its state."""

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeAlias, Unpack

from aiohttp import web

from .accounts import STATUSES, AccountRoutes
from .authentication import USER, Authenticator
from .calls import Call, Operation, Response
from .catalogue import Catalogue
from .control import control_routes
from .core_api import SIGNED_DATA, CoreApi
from .dispatch import Dispatcher, Segments
from .faults import Faults, RequestLog
from .handler import RequestHandler
from .installed_add_ons import InstalledAddOns
from .records import UsageItem
from .responses import ErrorResponse
from .routes import marketplace_routes
from .store import Store
from .webhooks import DeliveryOptions, WebhookOptions, WebhookResponse, Webhooks, webhook_routes

_Handler: TypeAlias = Callable[[web.BaseRequest, Segments], Awaitable[web.StreamResponse]]

_ACCOUNT = re.compile(r"AC[0-9a-fA-F]{32}")


class Emulator:
    """The Marketplace v1 API on a local port, with state, faults and a log.

    Use `async with Emulator() as emulator`, or call `start()` and `stop()`.

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
        self._catalogue = catalogue or Catalogue.built_in()
        self._handler = RequestHandler(
            self.faults, self.log, concurrency, latency, lambda: self._store is not None
        )
        self._token_lifetime = token_lifetime
        self._authenticator: Authenticator | None = None
        self._store: Store | None = None
        self._runner: web.ServerRunner | None = None

    @property
    def url(self) -> str:
        """The base URL for clients."""
        if self._runner is None or not self._runner.addresses:
            raise RuntimeError("the emulator is not running")
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def start(self) -> None:
        """Open the state and start listening.

        Raises:
            OSError: The port cannot be opened, or the state file: it is damaged, or not one of the
                emulator.
            RuntimeError: The emulator is already running.
        """
        if self._runner is not None:
            raise RuntimeError("the emulator is already running")
        store = Store(self._db)
        authenticator = Authenticator(store, self._accounts, self._token_lifetime)
        dispatcher = self._dispatcher(store, authenticator)

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            handler, segments = dispatcher.find(request.method, request.rel_url.path_safe)
            return await handler(request, segments)

        # `web.Application` matches routes one by one and wraps handlers, which takes longer than
        # an entire fetch does here.
        server = web.Server(handle, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=1.0)
        try:
            await runner.setup()
            await web.TCPSite(runner, self._host, self._port).start()
        except BaseException:
            await runner.cleanup()
            store.close()
            raise
        self._runner, self._store, self._authenticator = runner, store, authenticator

    async def stop(self) -> None:
        """Stop listening and close the state. Requests in flight get one second to finish."""
        runner, store = self._runner, self._store
        self._runner = self._store = None
        if runner is not None:
            await runner.cleanup()
        if store is not None:
            store.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def revoke_tokens(self) -> None:
        """Revoke all OAuth access tokens."""
        if self._authenticator is not None:
            self._authenticator.tokens.revoke_all()

    def usage(self) -> list[UsageItem]:
        """Return all usage accepted for billing, oldest first."""
        return self._running_store().usage()

    def install(
        self,
        account_sid: str,
        available_add_on_sid: str,
        configuration: Mapping[str, Any] | None = None,
        *,
        times: int = 1,
    ) -> list[str]:
        """Install an Add-on without a request, to set up a test.

        Args:
            account_sid: The account, `AC...`.
            available_add_on_sid: The Add-on, `XB...`.
            configuration: The configuration, an empty one by default.
            times: The number of installations.

        Returns:
            The SIDs of the installations, `XE...`.

        Raises:
            ValueError: An argument is invalid.
            RuntimeError: The emulator is not running.
        """
        _check_account(account_sid, "account_sid")
        add_on = self._catalogue.get(available_add_on_sid)
        if add_on is None:
            raise ValueError(
                f"available_add_on_sid: {available_add_on_sid} is not in the catalogue"
            )
        store = self._running_store()
        installed = InstalledAddOns(store, self._catalogue)
        try:
            with store.transaction():
                return [
                    installed.install(account_sid, add_on, None, dict(configuration or {})).sid
                    for _ in range(times)
                ]
        except ErrorResponse as error:
            raise ValueError(error.message) from None

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
        _check_account(owner_account_sid, "owner_account_sid")
        if status not in STATUSES:
            raise ValueError(f"status: must be one of {STATUSES}, got {status!r}")
        names = (friendly_name.replace("{number}", str(number + 1)) for number in range(count))
        try:
            return AccountRoutes(self._running_store()).add(owner_account_sid, names, status)
        except ErrorResponse as error:
            raise ValueError(error.message) from None

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
        return await self._webhooks().webhook(url, account_sid, **options).send()

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
        return await self._webhooks().result(installed_add_on_sid, **options).send()

    def _webhooks(self) -> Webhooks:
        return Webhooks(self._running_store(), self._accounts, self.url)

    def _running_store(self) -> Store:
        if self._store is None:
            raise RuntimeError("the emulator is not running")
        return self._store

    def _dispatcher(self, store: Store, authenticator: Authenticator) -> Dispatcher[_Handler]:
        def not_found(call: Call) -> Response:
            raise call.not_found()

        def method_not_allowed(call: Call) -> Response:
            raise ErrorResponse("method_not_allowed", path=call.path, method=call.method)

        def handler(operation: Operation) -> _Handler:
            return partial(self._handler.serve, operation, authenticator.authenticate)

        core = CoreApi(store)
        operations = [
            *marketplace_routes(store, self._catalogue),
            *AccountRoutes(store, self._accounts).routes(),
            *core.routes(),
        ]
        return Dispatcher(
            [
                *((method, path, handler(operation)) for method, path, operation in operations),
                (
                    "POST",
                    "/v2/token",
                    partial(self._handler.serve, authenticator.tokens.issue, None),
                ),
                *control_routes(self.faults, self.log, self.usage),
                *webhook_routes(self.webhook, self.deliver_result),
                ("GET", SIGNED_DATA, partial(self._handler.serve, core.signed_data, None)),
            ],
            not_found=handler(not_found),
            method_not_allowed=handler(method_not_allowed),
        )


def _check_account(sid: str, name: str) -> None:
    if not isinstance(sid, str) or not _ACCOUNT.fullmatch(sid):
        raise ValueError(f"{name}: must be AC and 32 hex digits, got {sid!r}")
