"""What a fault makes of an answer."""

import asyncio
import math
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from .answers import error_body
from .faults import Fault
from .routes import Answer, Call, Document

_USUAL_CODES: Final = {400: 20001, 401: 20003, 405: 20004}
_NOBODY: Final = "http://127.0.0.2:9"


def failure_of(fault: Fault) -> Answer | None:
    """Return the answer that a fault gives in place of the operation's, if it does."""
    if fault.drop:
        return 500, None
    if fault.status is None:
        return None
    code = fault.code or _USUAL_CODES.get(fault.status, 20000 + fault.status)
    try:
        message = HTTPStatus(fault.status).phrase
    except ValueError:
        message = "A fault of the emulator"
    return fault.status, error_body(fault.status, code, message)


def relinked(fault: Fault, document: Document | None, call: Call) -> Document | None:
    """Return the page of a list with the next link that the fault wants, and all else as it is."""
    if fault.next_link is None or document is None or "meta" not in document:
        return document
    meta: dict[str, Any] = document["meta"]
    following = {
        "repeated": meta["url"],
        "cyclic": meta["first_page_url"],
        "foreign": (meta["next_page_url"] or f"{meta['url']}&PageToken=PA").replace(
            call.base_url, _NOBODY
        ),
    }
    return {**document, "meta": {**meta, "next_page_url": following[fault.next_link]}}


async def answer_with(
    fault: Fault, request: web.Request, status: int, headers: dict[str, str], content: bytes
) -> web.StreamResponse:
    """Send an answer as the fault wants it: dropped, cut off, garbled, late, byte by byte."""
    if fault.drop:
        _abort(request)
    if fault.retry_after is not None:
        after = fault.retry_after
        headers["Retry-After"] = after if isinstance(after, str) else str(math.ceil(after))
    if fault.body == "garbled":
        content = content[: len(content) // 2] + b"\xff<html>"
    if fault.body != "cut" and not fault.drip:
        return web.Response(status=status, headers=headers, body=content or None)
    response = web.StreamResponse(
        status=status, headers={**headers, "Content-Length": str(len(content))}
    )
    await response.prepare(request)
    if fault.body == "cut":
        await response.write(content[: len(content) // 2])
        _abort(request)
    else:
        for byte in content:
            await response.write(bytes([byte]))
            await asyncio.sleep(fault.drip)
        await response.write_eof()
    return response


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
