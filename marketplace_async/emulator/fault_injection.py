"""Fault injection: what a fault does to a response."""

import asyncio
import math
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import web
from multidict import CIMultiDict

from .calls import Document, Response
from .faults import Fault
from .responses import error_body

_DEFAULT_CODES: Final = {400: 20001, 401: 20003, 405: 20004}
_FOREIGN_HOST: Final = "http://127.0.0.2:9"


def fault_response(fault: Fault) -> Response | None:
    """Return the response that replaces the operation's, or None to keep that."""
    if fault.drop:
        return 500, None
    if fault.status is None:
        return None
    code = fault.code or _DEFAULT_CODES.get(fault.status, 20000 + fault.status)
    try:
        message = HTTPStatus(fault.status).phrase
    except ValueError:
        message = "Injected fault"
    return fault.status, error_body(fault.status, code, message)


def with_bad_link(fault: Fault, document: Document | None) -> Document | None:
    """Return a page with its next link replaced as the fault specifies."""
    if fault.next_link is None or document is None:
        return document
    if "meta" in document:
        meta: dict[str, Any] = document["meta"]
        link = _bad_link(fault, meta["url"], meta["first_page_url"], meta["next_page_url"])
        return {**document, "meta": {**meta, "next_page_url": link}}
    if "next_page_uri" in document:
        uris = (document[name] for name in ("uri", "first_page_uri", "next_page_uri"))
        return {**document, "next_page_uri": _bad_link(fault, *uris)}
    return document


def _bad_link(fault: Fault, current: str, first: str, following: str | None) -> str:
    match fault.next_link:
        case "repeated":
            return current
        case "cyclic":
            return first
        case _:
            link = urlsplit(following or f"{current}&PageToken=PA")
            return f"{_FOREIGN_HOST}{link.path}?{link.query}"


async def send_faulty(
    fault: Fault, request: web.BaseRequest, status: int, headers: CIMultiDict[str], content: bytes
) -> web.StreamResponse:
    """Send a response as the fault specifies: dropped, cut off, garbled or byte by byte."""
    if fault.drop:
        _abort(request)
    if fault.retry_after is not None:
        after = fault.retry_after
        headers["Retry-After"] = after if isinstance(after, str) else str(math.ceil(after))
    if fault.body == "garbled":
        content = content[: len(content) // 2] + b"\xff<html>"
    if fault.body != "cut" and not fault.drip:
        return web.Response(status=status, headers=headers, body=content or None)
    headers["Content-Length"] = str(len(content))
    response = web.StreamResponse(status=status, headers=headers)
    await response.prepare(request)
    if fault.body == "cut":
        await response.write(content[: len(content) // 2])
        _abort(request)
    else:
        # The client may time out.
        with suppress(ConnectionError):
            for byte in content:
                await response.write(bytes([byte]))
                await asyncio.sleep(fault.drip)
            await response.write_eof()
    return response


def _abort(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()
