"""Pages of lists, with links to the other pages."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import urlencode

import attrs

from .calls import Call, Response
from .records import Slice
from .responses import ErrorResponse

_PAGE_TOKEN = re.compile(r"(PA|PB)([A-Z]{2}[0-9a-fA-F]{32})")

# Returns the slice for (size, after SID, before SID), or None if the list has no such SID.
Slices: TypeAlias = Callable[[int, str | None, str | None], Slice | None]


@attrs.frozen(kw_only=True)
class Page:
    """One page. Its links are query strings."""

    items: Sequence[dict[str, Any]]
    number: int
    size: int
    first: str
    current: str
    previous: str | None
    next: str | None


def paginate(query: Mapping[str, str], slices: Slices, filters: Sequence[str] = ()) -> Page:
    """Return the page that a query selects. Its links keep the parameters named in `filters`."""
    size = _whole_number(query, "PageSize", 50)
    if not 1 <= size <= 1000:
        raise ErrorResponse("page_size")
    number = _whole_number(query, "Page", 0)
    token = query.get("PageToken")
    if token is None and number > 0:
        raise ErrorResponse("page_without_token")
    after = before = None
    if token is not None:
        match = _PAGE_TOKEN.fullmatch(token)
        if match is None:
            raise ErrorResponse("page_token")
        after, before = (match[2], None) if match[1] == "PA" else (None, match[2])
    part = slices(size, after, before)
    if part is None:
        raise ErrorResponse("page_token")
    filtered = {name: query[name] for name in filters if name in query}

    def link(page: int, page_token: str | None) -> str:
        fields = {**filtered, "PageSize": size, "Page": page}
        return urlencode({**fields, "PageToken": page_token} if page_token else fields)

    items = part.items
    return Page(
        items=items,
        number=number,
        size=size,
        first=link(0, None),
        current=link(number, token),
        previous=(
            link(max(number - 1, 0), f"PB{items[0]['sid']}") if items and part.before else None
        ),
        next=link(number + 1, f"PA{items[-1]['sid']}") if items and part.after else None,
    )


def _whole_number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if not text:
        return default
    if not re.fullmatch("[0-9]{1,9}", text):
        raise ErrorResponse("parameter_invalid", name=name, why="must be a whole number")
    return int(text)


def page_response(call: Call, key: str, slices: Slices) -> Response:
    """Return one page in the format of the v1 API: items under `key`, links under `meta`."""
    page = paginate(call.query, slices)

    def url(query: str | None) -> str | None:
        return query and f"{call.base_url}{call.path}?{query}"

    meta = {
        "page": page.number,
        "page_size": page.size,
        "first_page_url": url(page.first),
        "previous_page_url": url(page.previous),
        "url": url(page.current),
        "next_page_url": url(page.next),
        "key": key,
    }
    return 200, {key: page.items, "meta": meta}


def slices_of(documents: Sequence[dict[str, Any]]) -> Slices:
    """Return the slices of a list that is in memory."""

    def slices(size: int, after: str | None, before: str | None) -> Slice | None:
        positions = {document["sid"]: index for index, document in enumerate(documents)}
        start, stop = 0, size
        if sid := after or before:
            if sid not in positions:
                return None
            start = positions[sid] + 1 if after else max(positions[sid] - size, 0)
            stop = start + size if after else positions[sid]
        return Slice(documents[start:stop], before=start > 0, after=stop < len(documents))

    return slices
