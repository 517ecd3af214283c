"""The control API: faults, log and usage over HTTP, for programs in any language.

POST /_emulator/faults      adds a fault: a JSON object with the attributes of a `Fault`
GET /_emulator/faults       returns all faults with their hits
DELETE /_emulator/faults    removes all faults
GET /_emulator/log          returns the latest requests, oldest first
DELETE /_emulator/log       clears the log
GET /_emulator/usage        returns all accepted usage
"""

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import msgspec
from aiohttp import web

from .dispatch import Segments
from .faults import Fault, Faults, RequestLog
from .records import UsageItem

_encode = msgspec.json.Encoder(decimal_format="number").encode


def control_routes(
    faults: Faults, log: RequestLog, usage: Callable[[], list[UsageItem]]
) -> list[tuple[str, str, Callable[[web.BaseRequest, Segments], Awaitable[web.Response]]]]:
    """Return the method, path and handler of each control route."""

    async def add_fault(request: web.BaseRequest, _: Segments) -> web.Response:
        try:
            attributes = msgspec.json.decode(await request.read(), type=dict[str, Any])
            fields = {field.name for field in attrs.fields(Fault) if field.init}
            if unknown := attributes.keys() - fields:
                raise ValueError(f"a fault has no attribute {min(unknown)!r}")
            fault = faults.append(Fault(**attributes))
        except (msgspec.MsgspecError, ValueError, TypeError) as error:
            return _json({"message": str(error)}, status=400)
        return _json(attrs.asdict(fault), status=201)

    async def list_faults(*_: object) -> web.Response:
        return _json({"faults": [attrs.asdict(fault) for fault in faults]})

    async def clear_faults(*_: object) -> web.Response:
        faults.clear()
        return web.Response(status=204)

    async def list_log(*_: object) -> web.Response:
        entries = [
            {**attrs.asdict(entry), "body": entry.body.decode(errors="replace")} for entry in log
        ]
        return _json({"log": entries})

    async def clear_log(*_: object) -> web.Response:
        log.clear()
        return web.Response(status=204)

    async def list_usage(*_: object) -> web.Response:
        return _json({"usage": [attrs.asdict(item) for item in usage()]})

    return [
        ("POST", "/_emulator/faults", add_fault),
        ("GET", "/_emulator/faults", list_faults),
        ("DELETE", "/_emulator/faults", clear_faults),
        ("GET", "/_emulator/log", list_log),
        ("DELETE", "/_emulator/log", clear_log),
        ("GET", "/_emulator/usage", list_usage),
    ]


def _json(document: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(
        status=status, body=_encode(document), content_type="application/json", charset="utf-8"
    )
