"""The handling of a request: authentication, limits, latency, faults and the log."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

import msgspec
from aiohttp import HttpVersion11, web
from multidict import CIMultiDict, CIMultiDictProxy

from .accounts import ROOT
from .addresses import PublicUrl
from .calls import Call, Operation, Response
from .dispatch import Segments
from .fault_injection import fault_response, send_faulty, with_bad_link
from .faults import Fault, Faults
from .plain_response import respond
from .request_log import Exchange, RequestLog
from .responses import ErrorResponse
from .store import new_sid

_log = logging.getLogger("marketplace_async.emulator")

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


class RequestHandler:
    """Handles the requests of an emulator.

    Args:
        faults: The faults to inject.
        log: Receives an entry for each request.
        public_url: The base URL of links.
        concurrency: Maximum number of concurrent requests per account, or None.
        latency: Minimum duration of each request in seconds.
        is_running: Whether the emulator is still running.
    """

    def __init__(
        self,
        faults: Faults,
        log: RequestLog,
        public_url: PublicUrl,
        concurrency: int | None,
        latency: float,
        is_running: Callable[[], bool],
    ) -> None:
        self._faults = faults
        self._log = log
        self._public_url = public_url
        self._concurrency = concurrency
        self._latency = latency
        self._is_running = is_running
        self._in_flight: dict[str, int] = {}

    async def serve(
        self,
        operation: Operation,
        authenticate: Callable[[str], str] | None,
        request: web.BaseRequest,
        segments: Segments,
    ) -> web.StreamResponse:
        """Handle and log one request.

        Without `authenticate`, any client may call the operation, and the bodies are secrets.
        """
        arrived, started = time.time(), time.perf_counter()
        request_id = new_sid("RQ")
        method, path, query = request.method, request.path, request.query_string
        host = "api" if path.startswith(f"{ROOT}/") else "marketplace"
        headers = _HEADERS.copy()
        headers["Twilio-Request-Id"] = request_id
        headers["X-Api-Domain"] = f"{host}.twilio.com"
        account_sid: str | None = None
        body = b""
        fault: Fault | None = None
        response: Response
        try:
            if request.body_exists:
                body = await _read_body(request)
            authorization = request.headers.get("Authorization", "")
            account_sid = authenticate(authorization) if authenticate else ""
            headers["Twilio-Concurrent-Requests"] = str(self._enter(account_sid))
            try:
                fault = self._faults.take(method, path)
                call = Call(
                    account_sid=account_sid,
                    base_url=self._public_url.of(request),
                    method=method,
                    path=path,
                    segments=segments,
                    query=request.query if query else {},
                    content_type=request.content_type if body else "",
                    body=body,
                )
                response = await self._process(call, operation, fault)
            finally:
                self._leave(account_sid)
        except ErrorResponse as error:
            response = error.status, error.body
        except ConnectionError:
            # The client disconnected while sending the request.
            return web.Response()
        except Exception:  # noqa: BLE001 - a server always sends a response
            if not self._is_running():
                # The emulator was stopped and its connections are closed.
                return web.Response()
            _log.exception("%s %s failed", method, path)
            internal_error = ErrorResponse("internal_error")
            response = internal_error.status, internal_error.body
        status, document = response
        dropped = fault is not None and fault.drop
        duration = time.perf_counter() - started
        if status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="Twilio API"'
        if isinstance(document, dict) and "redirect_to" in document:
            headers["Location"] = document["redirect_to"]
        headers["Twilio-Request-Duration"] = f"{duration:.3f}"
        content = b""
        if document is not None:
            headers["Content-Type"] = "application/json; charset=utf-8"
            content = _encode(document)
        self._log.append(
            Exchange(
                method,
                path,
                query,
                request.raw_headers,
                body if authenticate else b"",
                account_sid,
                None if dropped else status,
                content if authenticate else b"",
                request_id,
                arrived,
                duration,
                fault,
            )
        )
        if fault is not None:
            return await send_faulty(fault, request, status, headers, content)
        return respond(request, status, headers, content)

    async def _process(self, call: Call, operation: Operation, fault: Fault | None) -> Response:
        if self._latency:
            await asyncio.sleep(self._latency)
        if fault is None:
            return operation(call)
        replacement = fault_response(fault)
        if fault.when == "before":
            await asyncio.sleep(fault.delay)
            if replacement is not None:
                return replacement
        try:
            status, document = operation(call)
        except ErrorResponse as error:
            status, document = error.status, error.body
        if fault.when == "after":
            await asyncio.sleep(fault.delay)
        return replacement or (status, with_bad_link(fault, document))

    def _enter(self, account_sid: str) -> int:
        """Count a request and return the account's number of requests in flight.

        Raises ErrorResponse (429) if the account is at its limit.
        """
        in_flight = self._in_flight.get(account_sid, 0) + 1
        if self._concurrency is not None and in_flight > self._concurrency:
            raise ErrorResponse("too_many_requests")
        self._in_flight[account_sid] = in_flight
        return in_flight

    def _leave(self, account_sid: str) -> None:
        remaining = self._in_flight.pop(account_sid) - 1
        if remaining:
            self._in_flight[account_sid] = remaining


def is_preflight(request: web.BaseRequest) -> bool:
    """Return whether a browser asks whether a page of another origin may send a request."""
    return request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers


def preflight(call: Call) -> Response:
    """Permit it: the headers of every response say what is permitted."""
    return 204, None


async def _read_body(request: web.BaseRequest) -> bytes:
    expected = request.headers.get("Expect", "").lower()
    if expected == "100-continue" and request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the interim response does not count as output
    try:
        return await request.clone(client_max_size=_MAX_BODY).read()
    except web.HTTPRequestEntityTooLarge:
        raise ErrorResponse("body_too_large") from None
    except web.RequestPayloadError as error:
        raise ErrorResponse("body", why=error) from None
