"""Lists: what they ask for, where they stop, and what they make of odd pages."""

import asyncio
import contextlib
import gc
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any, TypeVar

import pytest
from hypothesis import given, strategies as st

from marketplace_async import (
    BadRequestError,
    ClientClosedError,
    MarketplaceClient,
    Page,
    Request,
    Response,
    ResponseError,
    capture,
)
from marketplace_async._core.operation import Parse
from marketplace_async.emulator import Emulator
from marketplace_async.resources.installed_add_ons import InstalledAddOns
from marketplace_async.testing import account, emulated

T = TypeVar("T")

HOST = "https://marketplace.twilio.com"
PATH = "/v1/InstalledAddOns"
AC = "AC" + "a" * 32
SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"


def page(sids: Iterable[int], next_page_url: str | None = None, **changes: Any) -> bytes:
    items = [{"sid": f"XE{sid:032x}", "account_sid": AC} for sid in sids]
    meta = {"key": "installed_add_ons", "next_page_url": next_page_url, "page": 0}
    return json.dumps({"installed_add_ons": items, "meta": meta, **changes}).encode()


class Pages:
    """What reads prepared pages in turn, and keeps what was asked."""

    def __init__(self, *bodies: bytes) -> None:
        self.bodies = list(bodies)
        self.asked: list[str] = []

    async def __call__(self, request: Request, parse: Parse[T], **_: object) -> T:
        self.asked.append(f"{request.path}?{request.query}")
        return parse(request, Response(200, {}, self.bodies.pop(0)))

    def start(self, request: Request, parse: Parse[T]) -> "asyncio.Task[T]":
        return asyncio.ensure_future(self(request, parse))

    def within(self, attempts: object) -> "Pages":
        return self


def numbers(items: Iterable[Any]) -> list[int]:
    return [int(item.sid.removeprefix("XE"), 16) for item in items]


async def test_nothing_is_asked_before_a_list_is_iterated() -> None:
    pages = Pages()
    InstalledAddOns(pages).list(limit=5)
    assert pages.asked == []


async def test_pages_are_read_to_the_last() -> None:
    pages = Pages(page([1, 2], f"{HOST}{PATH}?PageSize=2&Page=1&PageToken=PA2"), page([3]))
    assert numbers(await InstalledAddOns(pages).list(page_size=2).collect()) == [1, 2, 3]
    assert pages.asked == [f"{PATH}?PageSize=2", f"{PATH}?PageSize=2&Page=1&PageToken=PA2"]


@pytest.mark.parametrize(
    ("limit", "page_size", "asked"),
    [
        (None, None, 1000),
        (5, None, 5),
        (1000, None, 1000),
        (1001, None, 1000),
        (5, 3, 3),
        (2, 3, 3),
    ],
)
async def test_it_asks_for_as_many_as_serve_the_limit(
    limit: int | None, page_size: int | None, asked: int
) -> None:
    pages = Pages(page([]))
    await InstalledAddOns(pages).list(limit=limit, page_size=page_size).collect()
    assert pages.asked == [f"{PATH}?PageSize={asked}"]


async def test_a_limit_of_0_is_none_and_asks_nothing() -> None:
    pages = Pages()
    listing = InstalledAddOns(pages).list(limit=0)
    assert await listing.collect() == []
    assert await listing.first() is None
    assert [page async for page in listing.pages()] == []
    assert pages.asked == []


async def test_a_limit_ends_the_list_without_asking_for_another_page() -> None:
    pages = Pages(page([1, 2], f"{HOST}{PATH}?PageSize=2&PageToken=PA2"))
    assert numbers(await InstalledAddOns(pages).list(limit=2, page_size=2).collect()) == [1, 2]


async def test_a_page_that_the_limit_cuts_resumes_at_itself_so_that_nothing_is_lost() -> None:
    link = f"{HOST}{PATH}?PageSize=2&PageToken=PA2"
    pages = Pages(page([1, 2], link), page([3, 4], f"{HOST}{PATH}?PageSize=2&PageToken=PA4"))
    first, second = [p async for p in InstalledAddOns(pages).list(limit=3, page_size=2).pages()]
    assert first.next_url == link
    assert numbers(second.items) == [3]
    assert second.next_url is not None
    resumed = Pages(page([3, 4]))
    await InstalledAddOns(resumed).list(start=second.next_url).collect()
    assert resumed.asked == [f"{PATH}?PageSize=2&PageToken=PA2"]


async def test_the_first_asks_for_one() -> None:
    pages = Pages(page([1]))
    first = await InstalledAddOns(pages).list().first()
    assert first is not None
    assert numbers([first]) == [1]
    assert pages.asked == [f"{PATH}?PageSize=1"]


async def test_the_first_of_an_empty_list_is_none() -> None:
    assert await InstalledAddOns(Pages(page([]))).list().first() is None


async def test_an_empty_page_with_a_next_link_does_not_end_the_list() -> None:
    link = f"{HOST}{PATH}?PageToken=PA"
    first = await InstalledAddOns(Pages(page([], link), page([1]))).list().first()
    assert first is not None
    assert numbers(await InstalledAddOns(Pages(page([], link), page([1]))).list().collect()) == [1]


async def test_only_the_query_of_a_next_link_is_used_so_that_no_host_gets_the_credentials() -> None:
    pages = Pages(page([1], f"https://evil.example{PATH}?PageToken=PA1"), page([2]))
    await InstalledAddOns(pages).list().collect()
    assert pages.asked[1] == f"{PATH}?PageToken=PA1"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b'{"installed_add_ons":[]}', "Object missing required field `meta`"),
        (b'{"meta":{"key":"installed_add_ons","next_page_url":null}}', "missing required field"),
        (
            page([], meta={"key": "extensions", "next_page_url": None}),
            "expected a page of installed",
        ),
        (page([], meta={"key": "installed_add_ons"}), "missing required field `next_page_url`"),
        (page([], ""), "expected a link to a page of"),
        (page([], f"{HOST}/v1/Listings?PageToken=PA"), "expected a link to a page of"),
        (page([], f"{HOST}{PATH}"), "expected a link to a page of"),
        (page([], "nowhere"), "expected a link to a page of"),
        (page([], "http://[::1"), "the link to the next page"),
        (page([], f"{HOST}{PATH}?PageSize=1000"), "leads back"),
    ],
)
async def test_a_page_that_cannot_be_right_is_an_error(body: bytes, why: str) -> None:
    with pytest.raises(ResponseError, match=why):
        await InstalledAddOns(Pages(body)).list().collect()


@pytest.mark.parametrize("link", ["", f"{HOST}{PATH}", f"{HOST}{PATH}?PageSize=1000"])
async def test_a_bad_link_takes_nothing_from_the_page_that_it_came_with(link: str) -> None:
    assert await InstalledAddOns(Pages(page([1], link))).list().first() is not None
    items = aiter(InstalledAddOns(Pages(page([1, 2], link))).list())
    assert numbers([await anext(items), await anext(items)]) == [1, 2]
    with pytest.raises(ResponseError, match="the link to the next page"):
        await anext(items)


async def test_links_that_go_in_a_circle_are_an_error() -> None:
    a, b = f"{HOST}{PATH}?PageToken=PA1", f"{HOST}{PATH}?PageToken=PA2"
    pages = Pages(page([1], a), page([2], b), page([3], a))
    with pytest.raises(ResponseError, match="leads back"):
        await InstalledAddOns(pages).list().collect()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"limit": -1}, ValueError, "limit: expected at least 0, got -1"),
        ({"limit": 1.0}, TypeError, "limit: expected a whole number"),
        ({"limit": True}, TypeError, "limit: expected a whole number"),
        ({"page_size": 0}, ValueError, "page_size: expected 1 to 1000, got 0"),
        ({"page_size": 1001}, ValueError, "page_size: expected 1 to 1000, got 1001"),
        ({"start": f"{HOST}/v1/Listings?a=b"}, ValueError, "expected a link to a page of"),
        ({"start": ""}, ValueError, "expected a link to a page of"),
        ({"start": f"{PATH}?a=b", "page_size": 5}, ValueError, "page_size: not with start="),
        ({"size": 5}, TypeError, "size: a list takes limit, page_size, start and prefetch"),
    ],
)
def test_options_out_of_range_are_refused_at_once(
    options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        InstalledAddOns(Pages()).list(**options)


@given(
    total=st.integers(0, 30),
    page_size=st.integers(1, 10),
    limit=st.none() | st.integers(0, 40),
    prefetch=st.booleans(),
)
def test_any_limit_and_page_size_give_the_first_items_in_order(
    total: int, page_size: int, limit: int | None, prefetch: bool
) -> None:
    chunks = [range(i, min(i + page_size, total)) for i in range(0, total, page_size)] or [range(0)]
    links = [f"{HOST}{PATH}?PageToken=PA{n}" for n in range(1, len(chunks))]
    pages = Pages(*(page(*pair) for pair in zip(chunks, [*links, None], strict=True)))
    listing = InstalledAddOns(pages).list(limit=limit, page_size=page_size, prefetch=prefetch)
    assert numbers(asyncio.run(listing.collect())) == list(range(total))[:limit]


async def test_a_list_of_a_server_is_complete_resumable_and_repeatable(
    marketplace_client: MarketplaceClient, marketplace_emulator: Emulator
) -> None:
    sids = marketplace_emulator.install(account().account_sid, SPAM_SCORE, times=25)
    listing = marketplace_client.installed_add_ons.list(page_size=10)
    pages: list[Page[Any]] = [page async for page in listing.pages()]
    assert [len(page.items) for page in pages] == [10, 10, 5]
    assert [item.sid for page in pages for item in page.items] == sids
    assert [item.sid for item in await listing.collect()] == sids
    rest = marketplace_client.installed_add_ons.list(start=pages[0].next_url)
    assert [item.sid for item in await rest.collect()] == sids[10:]


async def test_deleting_while_paging_skips_nothing(
    marketplace_client: MarketplaceClient, marketplace_emulator: Emulator
) -> None:
    marketplace_emulator.install(account().account_sid, SPAM_SCORE, times=25)
    deleted = 0
    async for installed in marketplace_client.installed_add_ons.list(page_size=10):
        await marketplace_client.installed_add_ons.delete(installed.sid)
        deleted += 1
    assert deleted == 25


async def test_leaving_a_list_early_asks_for_no_further_page(
    marketplace_client: MarketplaceClient, marketplace_emulator: Emulator
) -> None:
    marketplace_emulator.install(account().account_sid, SPAM_SCORE, times=25)
    async for _ in marketplace_client.installed_add_ons.list(page_size=10):
        break
    assert len(marketplace_emulator.log) == 1


# -- look-ahead


@pytest.fixture
async def fifty(
    marketplace_client: MarketplaceClient, marketplace_emulator: Emulator
) -> AsyncIterator[tuple[MarketplaceClient, Emulator]]:
    marketplace_emulator.install(account().account_sid, SPAM_SCORE, times=50)
    yield marketplace_client, marketplace_emulator
    async with asyncio.timeout(0.3):  # the loop closes what a `break` has left
        while marketplace_client.stats.in_flight:
            await asyncio.sleep(0.01)


def at_once(emulator: Emulator, times: int) -> None:
    """Let so many requests pass before the faults that are added next."""
    emulator.faults.add("GET", "*", delay=1e-6, times=times)


async def test_while_the_caller_works_the_next_page_comes_and_never_more_than_one(
    fifty: tuple[MarketplaceClient, Emulator],
) -> None:
    client, emulator = fifty
    seen = 0
    async for _ in client.installed_add_ons.list(page_size=5).pages():
        seen += 1
        await asyncio.sleep(0.02)
        assert len(emulator.log) == min(seen + 1, 10)
    assert seen == 10


async def test_it_goes_out_even_if_the_caller_never_waits(
    fifty: tuple[MarketplaceClient, Emulator],
) -> None:
    client, _ = fifty
    async for _page in client.installed_add_ons.list(page_size=25).pages():
        if client.stats.sent == 2:
            break
        pytest.fail("the second page was not asked for")


async def test_without_look_ahead_a_page_is_asked_for_when_it_is_needed(
    fifty: tuple[MarketplaceClient, Emulator],
) -> None:
    client, emulator = fifty
    seen = 0
    async for _ in client.installed_add_ons.list(page_size=5, prefetch=False).pages():
        seen += 1
        await asyncio.sleep(0.01)
        assert len(emulator.log) == seen


async def test_nothing_is_asked_for_beyond_the_limit_or_after_the_first(
    fifty: tuple[MarketplaceClient, Emulator],
) -> None:
    client, emulator = fifty
    async for _ in client.installed_add_ons.list(page_size=5, limit=10):
        await asyncio.sleep(0.002)
    assert len(emulator.log) == 2
    await client.installed_add_ons.list(page_size=5).first()
    await asyncio.sleep(0.02)
    assert len(emulator.log) == 3


@pytest.mark.parametrize("way", ["break", "raise", "cancel", "aclose"])
async def test_who_leaves_early_ends_what_is_under_way(
    fifty: tuple[MarketplaceClient, Emulator], way: str
) -> None:
    client, emulator = fifty
    at_once(emulator, 1)
    emulator.faults.add("GET", "*", delay=0.5, times=None)
    before = asyncio.all_tasks()
    pages = client.installed_add_ons.list(page_size=5).pages()

    async def walk(pages: AsyncIterator[object]) -> None:
        async for _ in pages:
            assert client.stats.in_flight == 1
            if way == "cancel":
                await asyncio.sleep(30)
            if way == "raise":
                raise LookupError
            break

    task = asyncio.ensure_future(walk(pages))
    await asyncio.sleep(0.1)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, LookupError):
        await task
    if way == "aclose":
        await pages.aclose()
    del pages, task
    gc.collect()
    async with asyncio.timeout(0.3):
        while client.stats.in_flight:
            await asyncio.sleep(0.01)
    ours = {task for task in asyncio.all_tasks() - before if "Retrying" in repr(task)}
    assert not ours


async def test_closing_the_client_ends_a_look_ahead(
    fifty: tuple[MarketplaceClient, Emulator],
) -> None:
    client, emulator = fifty
    items = client.installed_add_ons.list(page_size=5).pages()
    at_once(emulator, 1)
    emulator.faults.add("GET", "*", delay=5, times=None)
    await anext(items)
    assert client.stats.in_flight == 1
    await client.aclose()
    assert client.stats.in_flight == 0
    # No CancelledError: nobody cancelled this task, and a TaskGroup would keep silent about it.
    with pytest.raises(ClientClosedError, match="closed"):
        await anext(items)


async def test_an_error_ahead_comes_with_its_page_and_takes_nothing_from_the_one_before(
    fifty: tuple[MarketplaceClient, Emulator],
) -> None:
    client, emulator = fifty
    at_once(emulator, 1)
    emulator.faults.add("GET", "*", status=400)
    pages = client.installed_add_ons.list(page_size=5).pages()
    assert len((await anext(pages)).items) == 5
    with pytest.raises(BadRequestError) as failed:
        await anext(pages)
    assert failed.value.resume_at is not None
    rest = await client.installed_add_ons.list(start=failed.value.resume_at).collect()
    assert len(rest) == 45


async def test_an_error_ahead_of_who_has_left_is_not_complained_about(
    fifty: tuple[MarketplaceClient, Emulator],
) -> None:
    client, emulator = fifty
    at_once(emulator, 1)
    emulator.faults.add("GET", "*", status=400)
    async for _ in client.installed_add_ons.list(page_size=5).pages():
        await asyncio.sleep(0.05)
        break
    gc.collect()  # an exception that nobody retrieved would be logged, and a warning here


async def test_what_is_looked_ahead_is_in_the_capture(
    fifty: tuple[MarketplaceClient, Emulator],
) -> None:
    client, _ = fifty
    with capture() as exchanges:
        await client.installed_add_ons.list(page_size=10).collect()
    assert len(exchanges) == 5


async def test_one_slot_is_enough_to_look_ahead() -> None:
    async with emulated(concurrency=1) as (client, emulator):
        emulator.install(account().account_sid, SPAM_SCORE, times=9)
        async for installed in client.installed_add_ons.list(page_size=2):
            await client.installed_add_ons.fetch(installed.sid)
