"""The emulator as a server: lets accounts in, limits, delays, fails on demand, and answers."""

import asyncio
import logging
import re
import sqlite3
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import msgspec
from aiohttp import web

from .access import USER, Access
from .accounts import ROOT, STATUSES, AccountRoutes
from .answers import Refused
from .catalogue import Catalogue
from .control import control_routes
from .failing import answer_with, failure_of, relinked
from .faults import Fault, Faults, LogEntry, RequestLog
from .routes import Answer, Call, Operation, Routes
from .store import Store, UsageItem

_log = logging.getLogger("marketplace_async.emulator")

_Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

_ACCESS = web.AppKey("access", Access)
_ACCOUNT = re.compile(r"AC[0-9a-fA-F]{32}")
_MAX_BODY: Final = 32 * 1024 * 1024
_HEADERS: Final = {
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Allow-Headers": "Accept, Authorization, Content-Type, If-Match",
    "Access-Control-Allow-Methods": "GET, POST, DELETE, OPTIONS",
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "ETag, Twilio-Request-Id",
    "Strict-Transport-Security": "max-age=31536000",
    "X-Home-Region": "us1",
    "X-Powered-By": "marketplace_async emulator",
    "X-Shenanigans": "none",
}

_encode = msgspec.json.Encoder(decimal_format="number").encode


class Emulator:
    """The Marketplace v1 API on a local port, with state, faults and a log.

    Use it as `async with Emulator() as emulator`, or call `start()` and `stop()`.

    Args:
        host: The address to listen on.
        port: The port; 0 takes a free one.
        db: A file for the state, which survives a restart; in memory unless given.
        accounts: The SIDs of accounts, API keys or OAuth apps that are let in, with their secrets.
            Unless given, any well-formed SID with any secret is let in. The API key `SK...` and the
            OAuth app `OQ...` belong to the account `AC...` with the same digits. Subaccounts that
            are made here are let in besides, with their own auth tokens only.
        catalogue: The add-ons on offer; the built-in ones unless given.
        concurrency: Requests at once per account, 1 or more; those beyond it are answered 429. No
            limit unless given.
        latency: Seconds that each answer takes at least.
        token_lifetime: Seconds for which an OAuth access token is good.

    Attributes:
        faults: Failures on demand.
        log: The latest requests.
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
                raise ValueError(f"accounts: expected AC, SK or OQ and 32 hex digits, got {user!r}")
        if concurrency is not None and concurrency < 1:
            raise ValueError(f"concurrency: expected 1 or more, got {concurrency}")
        if not 0 <= latency < float("inf"):
            raise ValueError(f"latency: expected 0 seconds or more, got {latency}")
        self.faults = Faults()
        self.log = RequestLog()
        self._host = host
        self._port = port
        self._db = db
        self._accounts = accounts
        self._catalogue = catalogue or Catalogue.built_in()
        self._concurrency = concurrency
        self._latency = latency
        self._in_flight: Counter[str] = Counter()
        self._token_lifetime = token_lifetime
        self._access: Access | None = None
        self._store: Store | None = None
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where it listens: what a client takes as its base URL."""
        if self._runner is None or not self._runner.addresses:
            raise RuntimeError("the emulator is not running")
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def start(self) -> None:
        """Open the state and listen."""
        if self._runner is not None:
            raise RuntimeError("the emulator is running already")
        try:
            store = Store(self._db)
        except sqlite3.Error as error:
            raise OSError(f"{self._db}: {error}") from error
        app = web.Application(client_max_size=_MAX_BODY, middlewares=[self._outside_the_api])
        access = app[_ACCESS] = Access(store, self._accounts, self._token_lifetime)
        app.router.add_post("/v2/token", self._handler(access.tokens.issue, public=True))
        app.router.add_routes(control_routes(self.faults, self.log, self.usage))
        accounts = AccountRoutes(store, self._accounts)
        for method, path, operation in Routes(store, self._catalogue).table() + accounts.table():
            app.router.add_route(method, path, self._handler(operation))
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        try:
            await runner.setup()
            await web.TCPSite(runner, self._host, self._port).start()
        except BaseException:
            await runner.cleanup()
            store.close()
            raise
        self._runner, self._store, self._access = runner, store, access

    async def stop(self) -> None:
        """Give what is in flight a second to end, and close the state; in memory it is gone."""
        runner, store = self._runner, self._store
        self._runner = self._store = None
        if runner is not None:
            await runner.cleanup()
        if store is not None:
            store.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    def revoke_tokens(self) -> None:
        """Let no OAuth access token that was issued be good any more."""
        if self._access is not None:
            self._access.tokens.revoke_all()

    def usage(self) -> list[UsageItem]:
        """Return all usage that was accepted for billing, oldest first."""
        return self._running_store().usage()

    def install(
        self,
        account_sid: str,
        available_add_on_sid: str,
        configuration: Mapping[str, Any] | None = None,
        *,
        times: int = 1,
    ) -> list[str]:
        """Install an add-on without a request, for what begins with a full account.

        Args:
            account_sid: The account, `AC...`.
            available_add_on_sid: The add-on, `XB...`.
            configuration: What it is configured with.
            times: How often.

        Returns:
            The SIDs, `XE...`.
        """
        _check_account(account_sid, "account_sid")
        add_on = self._catalogue.get(available_add_on_sid)
        if add_on is None:
            raise ValueError(f"available_add_on_sid: {available_add_on_sid} is not on offer")
        store = self._running_store()
        routes = Routes(store, self._catalogue)
        try:
            with store.transaction():
                return [
                    routes.install(account_sid, add_on, None, dict(configuration or {})).sid
                    for _ in range(times)
                ]
        except Refused as refusal:
            raise ValueError(refusal.message) from None

    def add_subaccounts(
        self,
        owner_account_sid: str,
        count: int = 1,
        *,
        friendly_name: str = "Subaccount {number}",
        status: str = "active",
    ) -> list[tuple[str, str]]:
        """Make subaccounts without requests, for what begins with many.

        They are let in with their own auth tokens only. `install` fills them.

        Args:
            owner_account_sid: The parent, `AC...`.
            count: How many.
            friendly_name: The name of each; {number} in it stands for 1, 2, 3 ...
            status: "active", "suspended" or "closed".

        Returns:
            The SID and the auth token of each: what an `AccountToken` takes.
        """
        _check_account(owner_account_sid, "owner_account_sid")
        if status not in STATUSES:
            raise ValueError(f"status: expected one of {STATUSES}, got {status!r}")
        names = (friendly_name.replace("{number}", str(number + 1)) for number in range(count))
        try:
            return AccountRoutes(self._running_store()).add(owner_account_sid, names, status)
        except Refused as refusal:
            raise ValueError(refusal.message) from None

    def _running_store(self) -> Store:
        if self._store is None:
            raise RuntimeError("the emulator is not running")
        return self._store

    def _handler(self, operation: Operation, *, public: bool = False) -> _Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._serve(request, operation, public=public)

        return handle

    @property
    def _outside_the_api(self) -> Any:
        def no_such_path(call: Call) -> Answer:
            raise Refused("not_found", path=call.path)

        def no_such_method(call: Call) -> Answer:
            raise Refused("method", path=call.path, method=call.method)

        @web.middleware
        async def handle(request: web.Request, handler: _Handler) -> web.StreamResponse:
            try:
                return await handler(request)
            except web.HTTPNotFound:
                return await self._serve(request, no_such_path)
            except web.HTTPMethodNotAllowed:
                return await self._serve(request, no_such_method)

        return handle

    async def _serve(
        self, request: web.Request, operation: Operation, *, public: bool = False
    ) -> web.StreamResponse:
        """Answer one request, whatever becomes of it, and log it."""
        started = time.perf_counter()
        request_id = f"RQ{uuid.uuid4().hex}"
        host = "api" if request.path.startswith(f"{ROOT}/") else "marketplace"
        headers = {
            **_HEADERS,
            "Twilio-Request-Id": request_id,
            "X-Api-Domain": f"{host}.twilio.com",
        }
        account_sid: str | None = None
        body = b""
        fault: Fault | None = None
        answer: Answer
        try:
            body = await _read(request)
            authorization = request.headers.get("Authorization", "")
            account_sid = "" if public else request.app[_ACCESS].authenticate(authorization)
            with self._counted(account_sid) as at_once:
                headers["Twilio-Concurrent-Requests"] = str(at_once)
                fault = self.faults.take(request.method, request.path)
                answer = await self._process(_call(request, account_sid, body), operation, fault)
        except Refused as refusal:
            answer = refusal.status, refusal.body
        except ConnectionError:
            # The caller has hung up in the middle of its request: there is nothing to answer.
            return web.Response()
        except Exception:  # noqa: BLE001 - a server answers, whatever happens
            _log.exception("%s %s failed", request.method, request.path)
            failure = Refused("failed")
            answer = failure.status, failure.body
        status, document = answer
        dropped = fault is not None and fault.drop
        self.log.append(
            LogEntry(
                method=request.method,
                path=request.path,
                query=request.query_string,
                body=b"" if public else body,
                account_sid=account_sid,
                status=None if dropped else status,
                request_id=request_id,
            )
        )
        if status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="Twilio API"'
        headers["Twilio-Request-Duration"] = f"{time.perf_counter() - started:.3f}"
        content = b""
        if document is not None:
            headers["Content-Type"] = "application/json; charset=utf-8"
            content = _encode(document)
        if fault is not None:
            return await answer_with(fault, request, status, headers, content)
        return web.Response(status=status, headers=headers, body=content or None)

    async def _process(self, call: Call, operation: Operation, fault: Fault | None) -> Answer:
        if self._latency:
            await asyncio.sleep(self._latency)
        if fault is None:
            return operation(call)
        failure = failure_of(fault)
        if fault.when == "before":
            await asyncio.sleep(fault.delay)
            if failure is not None:
                return failure
        try:
            answer = operation(call)
        except Refused as refusal:
            answer = refusal.status, refusal.body
        if fault.when == "after":
            await asyncio.sleep(fault.delay)
        return failure or (answer[0], relinked(fault, answer[1]))

    @contextmanager
    def _counted(self, account_sid: str) -> Iterator[int]:
        """Count a request of this account while it is in flight."""
        at_once = self._in_flight[account_sid] + 1
        if self._concurrency is not None and at_once > self._concurrency:
            raise Refused("too_many_requests")
        self._in_flight[account_sid] = at_once
        try:
            yield at_once
        finally:
            self._in_flight[account_sid] -= 1
            if not self._in_flight[account_sid]:
                del self._in_flight[account_sid]


def _check_account(sid: str, name: str) -> None:
    if not isinstance(sid, str) or not _ACCOUNT.fullmatch(sid):
        raise ValueError(f"{name}: expected AC and 32 hex digits, got {sid!r}")


async def _read(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise Refused("body_too_large") from None
    except web.RequestPayloadError as error:
        raise Refused("body", why=error) from None


def _call(request: web.Request, account_sid: str, body: bytes) -> Call:
    return Call(
        account_sid=account_sid,
        base_url=f"{request.scheme}://{request.host.encode(errors='replace').decode()}",
        method=request.method,
        path=request.path,
        segments=request.match_info,
        query=request.query,
        content_type=request.content_type,
        body=body,
    )
