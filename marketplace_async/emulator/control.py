"""The control API under `/_emulator`: for a person with a browser, and for programs.

`GET /_emulator/openapi.json` describes it.
"""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import attrs
import msgspec
from aiohttp import web

from .._version import __version__
from .accounts import STATUSES
from .addresses import PublicUrl
from .catalogue import Catalogue
from .control_description import Route, describe
from .control_records import (
    AccountPage,
    AccountRecord,
    AddSubaccounts,
    CataloguePage,
    FaultPage,
    Health,
    Install,
    Installed,
    LogPage,
    LogRecord,
    Problem,
    UsagePage,
    WebhookResult,
)
from .control_routes import ROOT, ROUTES
from .dispatch import Dispatcher, Segments
from .faults import Fault, Faults
from .guard import Guard
from .log_stream import LogStreams
from .page import render_page
from .records import Account, UsageItem
from .request_log import RequestLog
from .state import State, state_of
from .store import Store
from .webhooks import WebhookResponse

_MAX_BODY: Final = 8 * 1024 * 1024
_MAX_AT_ONCE: Final = 10_000
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_encode = msgspec.json.Encoder(decimal_format="number").encode


class Controlled(Protocol):
    """What the control API needs of an emulator."""

    @property
    def faults(self) -> Faults: ...
    @property
    def log(self) -> RequestLog: ...
    def reset(self) -> None: ...
    def usage(self) -> list[UsageItem]: ...
    def install(
        self,
        account_sid: str,
        available_add_on_sid: str,
        configuration: Mapping[str, Any] | None = None,
        *,
        unique_name: str | None = None,
        times: int = 1,
    ) -> list[str]: ...
    def enable(
        self, installed_add_on_sid: str, extension: str, *, enabled: bool = True
    ) -> None: ...
    def add_subaccounts(
        self,
        owner_account_sid: str,
        count: int = 1,
        *,
        friendly_name: str = "",
        status: str = "",
    ) -> list[tuple[str, str]]: ...

    @property
    def webhook(self) -> Callable[..., Awaitable[WebhookResponse]]: ...
    @property
    def deliver_result(self) -> Callable[..., Awaitable[WebhookResponse]]: ...


class Rejected(Exception):
    """Ends a request with a status and a message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@attrs.frozen
class Asked:
    """A request to the control API, after all checks."""

    http: web.BaseRequest
    body: Any
    values: Mapping[str, Any]


class Control:
    """Handles the requests to `/_emulator` of a running emulator.

    Args:
        emulator: The emulator.
        read: Calls a function with the state, and returns its result.
        catalogue: The Add-ons on offer.
        accepts_any_credentials: Whether any well-formed SID is accepted with any secret.
        public_url: The base URL of links.
        guard: Decides which requests may use the control API.
    """

    def __init__(
        self,
        emulator: Controlled,
        read: Callable[[Callable[[Store], object]], Any],
        catalogue: Catalogue,
        *,
        accepts_any_credentials: bool,
        public_url: PublicUrl,
        guard: Guard,
    ) -> None:
        self._emulator = emulator
        self._read = read
        self._catalogue = catalogue
        self._accepts_any_credentials = accepts_any_credentials
        self._public_url = public_url
        self._guard = guard
        self._id = secrets.token_hex(8)
        self._started = datetime.now(UTC)
        self._streams = LogStreams(emulator.log, self._id)
        self._dispatcher: Dispatcher[Route | int] = Dispatcher(
            [(route.method, ROOT + route.path, route) for route in ROUTES],
            not_found=404,
            method_not_allowed=405,
        )

    def close(self) -> None:
        """End all streams, so that the server can stop at once."""
        self._streams.close()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Handle a request to a path that starts with `/_emulator`."""
        try:
            return await self._handle(request)
        except Rejected as error:
            return _json(Problem(message=error.message), error.status)
        except ConnectionError:
            return web.Response()  # the client disconnected while sending the request

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if (objection := self._guard.objection(request)) is not None:
            raise Rejected(403, objection)
        path = request.rel_url.path_safe
        if request.method == "GET":
            if path == ROOT:
                return web.Response(status=308, headers={"Location": "_emulator/"})
            if path == f"{ROOT}/":
                return await render_page()
            if path == f"{ROOT}/openapi.json":
                return _json(describe(ROOT, ROUTES))
        route, segments = self._dispatcher.find(request.method, path)
        if isinstance(route, int):
            raise Rejected(route, f"{request.method} {path}: see {ROOT}/openapi.json")
        asked = Asked(request, await _body(request, route), _values(request, route, segments))
        handler: Callable[[Asked], Awaitable[object]] = getattr(self, route.handle)
        try:
            result = await handler(asked)
        except (ValueError, TypeError) as error:
            raise Rejected(400, str(error)) from None
        if isinstance(result, web.StreamResponse):
            return result
        return _json(result, route.status)

    async def health(self, asked: Asked) -> Health:
        return Health(
            version=__version__,
            emulator=self._id,
            url=self._public_url.of(asked.http),
            started=self._started,
            accepts_any_credentials=self._accepts_any_credentials,
            last_number=self._emulator.log.last_number,
        )

    async def reset(self, asked: Asked) -> None:
        self._emulator.reset()

    async def state(self, asked: Asked) -> State:
        sid, limit = asked.values["account_sid"], asked.values["limit"]
        state: State = self._read(lambda store: state_of(store, self._catalogue, sid, limit))
        return state

    async def list_accounts(self, asked: Asked) -> AccountPage:
        found = self._accounts()
        return AccountPage(accounts=found[: asked.values["limit"]], total=len(found))

    def _accounts(self) -> tuple[AccountRecord, ...]:
        records: tuple[AccountRecord, ...] = self._read(_account_records)
        return records

    async def add_subaccounts(self, asked: Asked) -> AccountPage:
        wanted: AddSubaccounts = asked.body
        _check_number("count", wanted.count)
        created = dict(self._emulator.add_subaccounts(**attrs.asdict(wanted)))
        found = tuple(each for each in self._accounts() if each.sid in created)
        return AccountPage(accounts=found, total=len(found))

    async def install(self, asked: Asked) -> Installed:
        wanted: Install = asked.body
        _check_number("times", wanted.times)
        sids = self._emulator.install(**attrs.asdict(wanted, recurse=False))
        return Installed(sids=tuple(sids))

    async def enable(self, asked: Asked) -> None:
        self._emulator.enable(**attrs.asdict(asked.body))

    async def send_webhook(self, asked: Asked) -> WebhookResult:
        given = {
            name: value
            for name, value in attrs.asdict(asked.body, recurse=False).items()
            if value is not None
        }
        emulator = self._emulator
        is_result = "installed_add_on_sid" in given
        if is_result == bool(given.keys() & {"url", "account_sid"}):
            raise ValueError("give url and account_sid, or installed_add_on_sid")
        if not is_result and not given.keys() >= {"url", "account_sid"}:
            raise ValueError("give both url and account_sid, or installed_add_on_sid")
        send = emulator.deliver_result if is_result else emulator.webhook
        try:
            response = await send(**given)
        except ConnectionError as error:
            raise Rejected(502, str(error)) from None
        return WebhookResult(
            status=response.status,
            headers=dict(response.headers),
            body=response.body.decode(errors="replace"),
        )

    async def list_catalogue(self, asked: Asked) -> CataloguePage:
        return CataloguePage(add_ons=tuple(self._catalogue))

    async def list_faults(self, asked: Asked) -> FaultPage:
        return FaultPage(faults=tuple(self._emulator.faults))

    async def add_fault(self, asked: Asked) -> Fault:
        return self._emulator.faults.append(asked.body)

    async def clear_faults(self, asked: Asked) -> None:
        self._emulator.faults.clear()

    async def list_usage(self, asked: Asked) -> UsagePage:
        return UsagePage(usage=tuple(self._emulator.usage()))

    async def list_log(self, asked: Asked) -> object:
        log, values = self._emulator.log, asked.values
        after, summary = values["after"], values["summaries"] == 1
        if "text/event-stream" in asked.http.headers.get("Accept", ""):
            return await self._streams.serve(asked.http, after, summary=summary)
        entries = log.after(after, values["limit"])
        return LogPage(
            log=tuple(LogRecord.of(number, entry, summary=summary) for number, entry in entries),
            last_number=log.last_number,
        )

    async def fetch_log_entry(self, asked: Asked) -> LogRecord:
        number = asked.values["number"]
        for found, entry in self._emulator.log.after(number - 1, 1):
            if found == number:
                return LogRecord.of(number, entry)
        raise Rejected(404, f"the log has no entry {number}")

    async def clear_log(self, asked: Asked) -> None:
        self._emulator.log.clear()


async def _body(request: web.BaseRequest, route: Route) -> Any:
    if route.accepts is None:
        return None
    if request.content_type != "application/json":
        # A form of a web page cannot send this type.
        raise Rejected(415, "send JSON, with the header Content-Type: application/json")
    try:
        data = await request.clone(client_max_size=_MAX_BODY).read()
    except web.HTTPRequestEntityTooLarge:
        raise Rejected(413, f"the body is larger than {_MAX_BODY} bytes") from None
    except web.RequestPayloadError as error:
        raise Rejected(400, f"the body cannot be read: {error}") from None
    try:
        document = msgspec.json.decode(data, type=dict[str, Any])
        known = {field.name for field in attrs.fields(route.accepts) if field.init}
        if unknown := document.keys() - known:
            names = ", ".join(sorted(known))
            raise Rejected(400, f"unknown attribute {min(unknown)!r}: must be one of {names}")
        return msgspec.convert(document, type=route.accepts)
    except RecursionError:
        raise Rejected(400, "the body is nested too deeply") from None
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise Rejected(400, str(error)) from None


def _values(request: web.BaseRequest, route: Route, segments: Segments) -> dict[str, Any]:
    texts = {**request.query, **segments}
    try:
        return {one.name: one.parse(texts.get(one.name)) for one in route.parameters}
    except ValueError as error:
        raise Rejected(400, str(error)) from None


def _account_records(store: Store) -> tuple[AccountRecord, ...]:
    counts = store.counts()
    known = {account.sid: account for account in store.all_accounts()}
    return tuple(
        _account_record(sid, known.get(sid), *counts.get(sid, (0, 0, 0)))
        for sid in {**known, **counts}
    )


def _account_record(
    sid: str, account: Account | None, installations: int, usage_items: int, listings: int
) -> AccountRecord:
    # An account that was never listed has no record. It would be a parent account.
    found = account or Account(sid, sid, sid, STATUSES[0], "", "", "")
    return AccountRecord(
        sid=sid,
        owner_account_sid=found.owner_account_sid,
        friendly_name=found.friendly_name,
        status=found.status,
        auth_token=found.auth_token if found.is_subaccount else None,
        installations=installations,
        usage_items=usage_items,
        listings=listings,
    )


def _check_number(name: str, value: int) -> None:
    if value > _MAX_AT_ONCE:
        raise ValueError(f"{name}: must be at most {_MAX_AT_ONCE}, got {value}")


def _json(document: object, status: int = 200) -> web.Response:
    if document is None:
        return web.Response(status=status, headers=_HEADERS)
    return web.Response(
        status=status,
        body=_encode(document),
        headers=_HEADERS,
        content_type="application/json",
        charset="utf-8",
    )
