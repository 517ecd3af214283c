"""Where a list ends: a link that is null or empty, a short page, or an error."""

import asyncio
import json
import pickle
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn, TypeVar

import pytest

from marketplace_async import IncompleteListError, Request, Response, ResponseError
from marketplace_async._core.operation import Parse
from marketplace_async._core.pagination import complete
from marketplace_async.accounts import Accounts
from marketplace_async.resources import InstalledAddOns

T = TypeVar("T")

HOST = "https://marketplace.twilio.com"
PATH = "/v1/InstalledAddOns"
NEXT = f"{HOST}{PATH}?PageSize=2&PageToken=PA2"
KEY = "installed_add_ons"


class Pages:
    """A call that returns prepared pages in turn and records the requests."""

    account_sid: str | None = None

    def __init__(self, *documents: Any) -> None:
        self.documents = list(documents)
        self.requested: list[str] = []

    async def __call__(self, request: Request, parse: Parse[T], **_: object) -> T:
        self.requested.append(f"{request.path}?{request.query}")
        return parse(request, Response(200, {}, json.dumps(self.documents.pop(0)).encode()))

    def start(self, request: Request, parse: Parse[T]) -> "asyncio.Task[T]":
        return asyncio.ensure_future(self(request, parse))

    def within(self, attempts: object) -> "Pages":
        return self

    def operation(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    def one_deadline(self) -> AbstractContextManager[None]:
        return nullcontext()

    def fail(self, request: Request, error: ResponseError) -> NoReturn:
        raise error


def page(numbers: Iterable[int], *meta: Any, **fields: Any) -> dict[str, Any]:
    """Return a page with this `meta`; without one, with a `meta` of these fields."""
    items = [{"sid": f"XE{number:032x}"} for number in numbers]
    return {KEY: items, "meta": meta[0] if meta else fields}


def numbers(items: Iterable[Any]) -> list[int]:
    return [int(item.sid.removeprefix("XE"), 16) for item in items]


UNSTATED: list[Any] = [
    {},
    {"key": KEY},
    {"next_page_url": 5},
    {"next_page_url": {}},
    None,
    "none",
    [],
]


@pytest.mark.parametrize("link", [None, ""])
async def test_a_link_that_is_null_or_empty_is_the_end(link: str | None) -> None:
    document = page([1, 2], next_page_url=link)
    assert numbers(await InstalledAddOns(Pages(document)).list(page_size=2).collect()) == [1, 2]
    listed = complete(InstalledAddOns(Pages(document)).list(page_size=2))
    assert numbers([item async for item in listed]) == [1, 2]
    (one,) = [each async for each in InstalledAddOns(Pages(document)).list().pages()]
    assert one.next_url is None


@pytest.mark.parametrize("meta", UNSTATED)
async def test_a_short_page_that_does_not_say_whether_there_is_another_is_the_end(
    meta: Any,
) -> None:
    for items in ([], [1]):
        call = Pages(page(items, meta))
        assert numbers(await InstalledAddOns(call).list(page_size=2).collect()) == items
    without = page([1], None)
    del without["meta"]
    assert numbers(await InstalledAddOns(Pages(without)).list(page_size=2).collect()) == [1]


@pytest.mark.parametrize("meta", UNSTATED)
async def test_a_full_page_that_does_not_say_whether_there_is_another_is_an_error(
    meta: Any,
) -> None:
    items = aiter(InstalledAddOns(Pages(page([1, 2], meta))).list(page_size=2))
    assert numbers([await anext(items), await anext(items)]) == [1, 2]
    for _ in range(2):
        with pytest.raises(IncompleteListError, match="the page is full"):
            await anext(items)


@pytest.mark.parametrize(
    ("fields", "options", "full"),
    [
        ({}, {"page_size": 3}, False),
        ({}, {"page_size": 2}, True),
        ({}, {"start": f"{PATH}?PageSize=2&PageToken=PA0"}, True),
        ({}, {"start": f"{PATH}?PageSize=3&PageToken=PA0"}, False),
        ({}, {"start": f"{PATH}?PageToken=PA0"}, False),  # 50
        ({}, {"start": f"{PATH}?PageSize=%C2%B2&PageToken=PA0"}, False),
        ({"page_size": 2}, {}, True),  # the service allows fewer than were asked for
        ({"page_size": 50}, {"page_size": 2}, False),
        ({"page_size": "2"}, {"page_size": 2}, True),
        ({"page_size": 0}, {"page_size": 2}, True),
        ({"page_size": None}, {"page_size": 3}, False),
    ],
)
async def test_the_page_size_is_that_of_the_response_or_of_the_request(
    fields: dict[str, Any], options: Any, full: bool
) -> None:
    listing = InstalledAddOns(Pages(page([1, 2], **fields))).list(**options)
    if full:
        with pytest.raises(IncompleteListError):
            await listing.collect()
    else:
        assert numbers(await listing.collect()) == [1, 2]


async def test_the_error_of_an_incomplete_list_carries_the_items() -> None:
    def pages() -> Pages:
        return Pages(page([1, 2], next_page_url=NEXT), page([3, 4]))

    with pytest.raises(IncompleteListError) as raised:
        await InstalledAddOns(pages()).list(page_size=2).collect()
    assert issubclass(IncompleteListError, ResponseError)
    for error in (raised.value, pickle.loads(pickle.dumps(raised.value))):
        assert numbers(error.items) == [1, 2, 3, 4]
    with pytest.raises(IncompleteListError) as raised:
        async for _ in InstalledAddOns(pages()).list(page_size=2).pages():
            pass
    assert numbers(raised.value.items) == [3, 4]


async def test_a_limit_needs_no_statement() -> None:
    listing = InstalledAddOns(Pages(page([1, 2]))).list(limit=2)
    assert numbers(await listing.collect()) == [1, 2]
    assert await InstalledAddOns(Pages(page([1]))).list().first() is not None


@pytest.mark.parametrize(
    "link",
    [
        NEXT,
        NEXT.replace("https", "http"),
        f"http://marketplace.twilio.com:8080{PATH}?PageSize=2&PageToken=PA2",
        f"{PATH}?PageSize=2&PageToken=PA2",
        "?PageSize=2&PageToken=PA2",
        "InstalledAddOns?PageSize=2&PageToken=PA2",
        f"//marketplace.twilio.com{PATH}?PageSize=2&PageToken=PA2",
    ],
)
@pytest.mark.parametrize("url", [None, f"{HOST}{PATH}?PageSize=2", 5, "y", "http://[::1", HOST])
async def test_only_the_query_of_a_link_counts(link: str, url: Any) -> None:
    call = Pages(page([1, 2], next_page_url=link, url=url), page([3], next_page_url=None))
    assert numbers(await InstalledAddOns(call).list(page_size=2).collect()) == [1, 2, 3]
    assert call.requested[1] == f"{PATH}?PageSize=2&PageToken=PA2"


async def test_a_link_to_another_host_than_the_page_is_an_error() -> None:
    document = page([1], next_page_url=f"https://x.example{PATH}?A=1", url=f"{HOST}{PATH}?B=2")
    with pytest.raises(ResponseError, match="points to a different host"):
        await InstalledAddOns(Pages(document)).list().collect()


@pytest.mark.parametrize("meta", UNSTATED)
async def test_a_complete_list_says_that_it_ends(meta: Any) -> None:
    items = complete(InstalledAddOns(Pages(page([1], meta))).list())
    assert numbers([await anext(items)]) == [1]
    with pytest.raises(IncompleteListError, match="does not say that it is the last"):
        await anext(items)


async def test_a_complete_list_has_a_bounded_number_of_pages() -> None:
    links = [f"{HOST}{PATH}?PageToken=PA{number}" for number in range(9)]
    call = Pages(*(page([n], next_page_url=link) for n, link in enumerate(links)))
    with pytest.raises(IncompleteListError, match="does not end after 3 pages"):
        async for _ in complete(InstalledAddOns(call).list(), max_pages=3):
            pass
    assert len(call.requested) == 3


async def test_a_list_of_accounts_ends_by_the_same_rules() -> None:
    account = {"sid": "AC" + "1" * 32}

    def listing(**fields: Any) -> Any:
        return Accounts(Pages({"accounts": [account], **fields})).list(page_size=1)

    for link in (None, ""):
        assert len(await listing(next_page_uri=link).collect()) == 1
    assert len(await listing(page_size=2).collect()) == 1
    with pytest.raises(IncompleteListError):
        await listing().collect()
    with pytest.raises(IncompleteListError):
        [one async for one in complete(listing(page_size=2))]
