"""The emulator as a server: lets accounts in, limits, delays, fails on demand, and answers."""

import asyncio
import logging
import re
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

import msgspec
from aiohttp import HttpVersion11, web
from multidict import CIMultiDict, CIMultiDictProxy

from .access import USER, Access
from .accounts import ROOT, STATUSES, AccountRoutes
from .answers import Refused
from .catalogue import Catalogue
from .control import control_routes
from .dispatch import Dispatcher, Segments
from .failing import answer_with, failure_of, relinked
from .faults import Fault, Faults, LogEntry, RequestLog
from .routes import Answer, Call, Operation, Routes
from .store import Store, UsageItem, new_sid

_log = logging.getLogger("marketplace_async.emulator")

_Handler: TypeAlias = Callable[[web.BaseRequest, Segments], Awaitable[web.StreamResponse]]

_ACCOUNT = re.compile(r"AC[0-9a-fA-F]{32}")
_MAX_BODY: Final = 32 * 1024 * 1024
_HEADERS: Final = CIMultiDictProxy(
    CIMultiDict(
        {
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
    )
)

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
        self._in_flight: dict[str, int] = {}
        self._token_lifetime = token_lifetime
        self._access: Access | None = None
        self._store: Store | None = None
        self._runner: web.ServerRunner | None = None

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
        access = Access(store, self._accounts, self._token_lifetime)
        dispatcher = self._dispatcher(store, access)

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            handler, segments = dispatcher.find(request.method, request.rel_url.path_safe)
            return await handler(request, segments)

        # A `web.Application` tries paths one after another, and wraps what answers: that alone
        # takes longer than to answer a fetch.
        server = web.Server(handle, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=1.0)
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

    async def __aexit__(self, *_: object) -> None:
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

    def _dispatcher(self, store: Store, access: Access) -> Dispatcher[_Handler]:
        def no_such_path(call: Call) -> Answer:
            raise Refused("not_found", path=call.path)

        def no_such_method(call: Call) -> Answer:
            raise Refused("method", path=call.path, method=call.method)

        def served(operation: Operation) -> _Handler:
            return partial(self._serve, operation, access.authenticate)

        operations = [
            *Routes(store, self._catalogue).table(),
            *AccountRoutes(store, self._accounts).table(),
        ]
        return Dispatcher(
            [
                *((method, path, served(operation)) for method, path, operation in operations),
                ("POST", "/v2/token", partial(self._serve, access.tokens.issue, None)),
                *control_routes(self.faults, self.log, self.usage),
            ],
            no_path=served(no_such_path),
            no_method=served(no_such_method),
        )

    async def _serve(
        self,
        operation: Operation,
        authenticate: Callable[[str], str] | None,
        request: web.BaseRequest,
        segments: Segments,
    ) -> web.StreamResponse:
        """Answer one request, whatever becomes of it, and log it.

        What authenticates nobody is open to all, and has a secret in its body.
        """
        started = time.perf_counter()
        request_id = new_sid("RQ")
        method, path, query = request.method, request.path, request.query_string
        host = "api" if path.startswith(f"{ROOT}/") else "marketplace"
        headers = _HEADERS.copy()
        headers["Twilio-Request-Id"] = request_id
        headers["X-Api-Domain"] = f"{host}.twilio.com"
        account_sid: str | None = None
        body = b""
        fault: Fault | None = None
        answer: Answer
        try:
            if request.body_exists:
                body = await _read(request)
            authorization = request.headers.get("Authorization", "")
            account_sid = authenticate(authorization) if authenticate else ""
            headers["Twilio-Concurrent-Requests"] = str(self._enter(account_sid))
            try:
                fault = self.faults.take(method, path)
                call = Call(
                    account_sid=account_sid,
                    base_url=f"http://{request.host.encode(errors='replace').decode()}",
                    method=method,
                    path=path,
                    segments=segments,
                    query=request.query if query else {},
                    content_type=request.content_type if body else "",
                    body=body,
                )
                answer = await self._process(call, operation, fault)
            finally:
                self._leave(account_sid)
        except Refused as refusal:
            answer = refusal.status, refusal.body
        except ConnectionError:
            # The caller has hung up in the middle of its request: there is nothing to answer.
            return web.Response()
        except Exception:  # noqa: BLE001 - a server answers, whatever happens
            if self._store is None:
                # It was stopped meanwhile, and nobody waits for the answer.
                return web.Response()
            _log.exception("%s %s failed", method, path)
            failure = Refused("failed")
            answer = failure.status, failure.body
        status, document = answer
        dropped = fault is not None and fault.drop
        self.log.append(
            LogEntry(
                method=method,
                path=path,
                query=query,
                body=body if authenticate else b"",
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

    def _enter(self, account_sid: str) -> int:
        """Count a request of this account in; return how many of them are in flight."""
        at_once = self._in_flight.get(account_sid, 0) + 1
        if self._concurrency is not None and at_once > self._concurrency:
            raise Refused("too_many_requests")
        self._in_flight[account_sid] = at_once
        return at_once

    def _leave(self, account_sid: str) -> None:
        """Count a request of this account out."""
        left = self._in_flight.pop(account_sid) - 1
        if left:
            self._in_flight[account_sid] = left


def _check_account(sid: str, name: str) -> None:
    if not isinstance(sid, str) or not _ACCOUNT.fullmatch(sid):
        raise ValueError(f"{name}: expected AC and 32 hex digits, got {sid!r}")


async def _read(request: web.BaseRequest) -> bytes:
    expected = request.headers.get("Expect", "").lower()
    if expected == "100-continue" and request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # what was sent is no part of the answer
    try:
        return await request.clone(client_max_size=_MAX_BODY).read()
    except web.HTTPRequestEntityTooLarge:
        raise Refused("body_too_large") from None
    except web.RequestPayloadError as error:
        raise Refused("body", why=error) from None
