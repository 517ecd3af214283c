"""Cuts one page out of a list, and makes the links that lead from it to the others."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import urlencode

import attrs

from .answers import Refused
from .store import Slice

_PAGE_TOKEN = re.compile(r"(PA|PB)([A-Z]{2}[0-9a-fA-F]{32})")

# What cuts (size, after a SID, before a SID) out of a list; None if it knows no such SID.
Slices: TypeAlias = Callable[[int, str | None, str | None], Slice | None]


@attrs.frozen(kw_only=True)
class Cut:
    """One page. Its links are queries, for the path and the host that serve it."""

    items: Sequence[dict[str, Any]]
    number: int
    size: int
    first: str
    here: str
    previous: str | None
    following: str | None


def cut(query: Mapping[str, str], slices: Slices, filters: Sequence[str] = ()) -> Cut:
    """Return the page that a query asks for; `filters` are the parameters that links keep."""
    size = _count(query, "PageSize", 50)
    if not 1 <= size <= 1000:
        raise Refused("page_size")
    number = _count(query, "Page", 0)
    token = query.get("PageToken")
    if token is None and number > 0:
        raise Refused("page_without_token")
    after = before = None
    if token is not None:
        match = _PAGE_TOKEN.fullmatch(token)
        if match is None:
            raise Refused("page_token")
        after, before = (match[2], None) if match[1] == "PA" else (None, match[2])
    part = slices(size, after, before)
    if part is None:
        raise Refused("page_token")
    kept = {name: query[name] for name in filters if name in query}

    def link(page: int, page_token: str | None) -> str:
        fields = {**kept, "PageSize": size, "Page": page}
        return urlencode({**fields, "PageToken": page_token} if page_token else fields)

    items = part.items
    return Cut(
        items=items,
        number=number,
        size=size,
        first=link(0, None),
        here=link(number, token),
        previous=(
            link(max(number - 1, 0), f"PB{items[0]['sid']}") if items and part.before else None
        ),
        following=link(number + 1, f"PA{items[-1]['sid']}") if items and part.after else None,
    )


def _count(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if not text:
        return default
    if not re.fullmatch("[0-9]{1,9}", text):
        raise Refused("parameter_invalid", name=name, why="expected a whole number")
    return int(text)


def slices_of(documents: Sequence[dict[str, Any]]) -> Slices:
    """Return what cuts pages out of documents that are all at hand."""

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
