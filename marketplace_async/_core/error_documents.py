"""Error responses: Twilio's own format, RFC 9457, OAuth's, nested ones, and pages of proxies."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

from ..errors import APIError, api_error_class
from .masking import MASK, redacted
from .messages import Request, Response

T = TypeVar("T")

# Characters of a body that is not an error document.
_EXCERPT: Final = 80
# Characters of a page within which its title is looked for.
_HEAD: Final = 4096
_TITLE: Final = re.compile(r"<(title|h1)\b[^<>]{0,200}>([^<]{1,500})</\1", re.IGNORECASE)
_CODE: Final = re.compile(r"[0-9]{1,9}")
_SID: Final = re.compile(r"[A-Z]{2}[0-9a-fA-F]{32}")
# Auth tokens have 32 hex digits, as SIDs do after their prefix.
_SID_OR_TOKEN: Final = re.compile(rf"\b({_SID.pattern})\b|[0-9a-fA-F]{{32,}}")
# Of a value that a request sent. Anything shorter occurs by chance.
_SHORTEST: Final = 4

_CODES: Final = ("code", "error_code", "errorcode")
_MESSAGES: Final = ("message", "error_message", "msg", "detail", "faultstring", "title", "error")
_LINKS: Final = ("more_info", "error_uri", "type")
_DETAILS: Final = ("details", "params", "errors")
# Where gateways put an error document inside another.
_NESTED: Final = ("error", "errors", "fault", "detail")
_MAX_NESTED: Final = 8
# Code that shows or pickles the details of an error descends into them.
_MAX_DEPTH: Final = 100


def api_error(request: Request, response: Response) -> APIError:
    """Return the error that a response reports."""
    documents = list(_documents(_parsed(response)))
    code = _first(documents, _CODES, _to_code)
    message = _oauth_message(documents) or _first(documents, _MESSAGES, _to_text)
    if response.confidential and message is not None:
        message = _without_values(message, request)
    location = response.headers.get("Location")
    if location and 300 <= response.status < 400:
        if response.confidential:
            # The query of a signed URL is a credential.
            location = location.partition("?")[0]
        redirect = f"redirected to {location}, which is not followed"
        message = redirect if message is None else f"{message}; {redirect}"
    error = api_error_class(response.status)(
        request,
        response,
        code=code,
        message=_description(response) if message is None else message,
        # Of the token endpoint, only the secret that was sent is to be masked.
        more_info=None if request.host == "api" else _first(documents, _LINKS, _to_text),
        details=None if response.confidential else _details(documents),
    )
    error.after_unknown = response.resent
    return error


def _without_values(message: str, request: Request) -> str:
    """Mask in a message what may be a secret: what the request sent, and auth tokens."""
    sent = [value for value in _values_of(request) if not _SID.fullmatch(value)]
    message = redacted(message, (value for value in sent if len(value) >= _SHORTEST))
    return _SID_OR_TOKEN.sub(lambda match: match[1] or MASK, message)


def _values_of(request: Request) -> Iterator[str]:
    body = (request.body or b"").decode(errors="replace")
    fields = [value for text in (request.query, body) for _, value in parse_qsl(text)]
    yield from fields
    for text in (body, *fields):
        with suppress(ValueError, RecursionError):
            yield from _texts_in(json.loads(text))


def _texts_in(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for item in value.values():
                yield from _texts_in(item)
        case list():
            for item in value:
                yield from _texts_in(item)


def _parsed(response: Response) -> Any:
    try:
        # Not msgspec: half of a surrogate pair would cost the whole document.
        value = json.loads(response.body.decode("utf-8-sig", errors="replace"))
    except (ValueError, RecursionError):
        return None
    return value if _is_within(value, _MAX_DEPTH) else None


def _is_within(value: Any, depth: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    items = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_is_within(item, depth - 1) for item in items)


def _documents(value: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """Yield a document and those inside it, outermost first."""
    match value:
        case dict():
            yield value
            if depth < _MAX_NESTED:
                for name in _NESTED:
                    yield from _documents(value.get(name), depth + 1)
        case [first, *_] if depth < _MAX_NESTED:
            yield from _documents(first, depth + 1)


def _oauth_message(documents: list[dict[str, Any]]) -> str | None:
    for document in documents:
        error, description = (_to_text(document.get(f"error{end}")) for end in ("", "_description"))
        if description is not None:
            return description if error is None else f"{error}: {description}"
    return None


def _first(
    documents: list[dict[str, Any]],
    names: tuple[str, ...],
    convert: Callable[[object], T | None],
) -> T | None:
    for document in documents:
        for name in names:
            value = convert(document.get(name))
            if value is not None:
                return value
    return None


def _to_code(value: object) -> int | None:
    match value:
        case bool():
            return None
        case int():
            return value
        case float() if value.is_integer():
            return int(value)
        case str() if _CODE.fullmatch(value):
            return int(value)
        case _:
            return None


def _to_text(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _details(documents: list[dict[str, Any]]) -> Any:
    """Return what a document says beside code and message: one value, or several by name."""
    for document in documents:
        found = {name: value for name in _DETAILS if (value := document.get(name)) is not None}
        if found:
            (value, *others) = found.values()
            return found if others else value
    return None


def _description(response: Response) -> str:
    """Describe a body that is not an error document."""
    if not response.body:
        return "empty body"
    if response.confidential:
        return "unexpected body"
    # Masked before it is cut: a part of a secret is not recognized.
    body = response.without_secrets().body
    head = body[:_HEAD].decode(errors="replace")
    title = _TITLE.search(head)
    if title is not None and (text := _plain_text(title[2])):
        return f"a page with the title {text!r}"
    return f"unexpected body: {head[:_EXCERPT]!r}" + ("..." if len(head) > _EXCERPT else "")


def _plain_text(markup: str) -> str:
    import html  # here, because it is slow to import

    return " ".join(html.unescape(markup).split())
