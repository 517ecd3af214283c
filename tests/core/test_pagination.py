"""Lists: the requests they send, where they end, and how they handle invalid pages."""

import asyncio
import contextlib
import gc
import inspect
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn, TypeVar, get_type_hints

import pytest
from hypothesis import given, strategies as st
from support.faults import until_injected
from support.interruptions import errors_alive, read_interrupted, read_with_heartbeat

from marketplace_async import (
    BadRequestError,
    ClientClosedError,
    ListOptions,
    MarketplaceClient,
    Page,
    Request,
    Response,
    ResponseError,
    Retry,
    ServerError,
    TransportError,
    capture,
)
from marketplace_async._core.operation import Parse
from marketplace_async._core.pagination import Listable
from marketplace_async.accounts import Accounts
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
    """A call that returns prepared pages in turn and records the requests."""

    account_sid: str | None = None

    def __init__(self, *bodies: bytes) -> None:
        self.bodies = list(bodies)
        self.requested: list[str] = []

    async def __call__(self, request: Request, parse: Parse[T], **_: object) -> T:
        self.requested.append(f"{request.path}?{request.query}")
        return parse(request, Response(200, {}, self.bodies.pop(0)))

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


def numbers(items: Iterable[Any]) -> list[int]:
    return [int(item.sid.removeprefix("XE"), 16) for item in items]


async def test_a_list_sends_nothing_before_it_is_iterated() -> None:
    pages = Pages()
    InstalledAddOns(pages).list(limit=5)
    assert pages.requested == []


async def test_pages_are_read_to_the_last() -> None:
    pages = Pages(page([1, 2], f"{HOST}{PATH}?PageSize=2&Page=1&PageToken=PA2"), page([3]))
    assert numbers(await InstalledAddOns(pages).list(page_size=2).collect()) == [1, 2, 3]
    assert pages.requested == [f"{PATH}?PageSize=2", f"{PATH}?PageSize=2&Page=1&PageToken=PA2"]


@pytest.mark.parametrize(
    ("limit", "page_size", "requested"),
    [
        (None, None, 1000),
        (5, None, 5),
        (1000, None, 1000),
        (1001, None, 1000),
        (5, 3, 3),
        (2, 3, 3),
    ],
)
async def test_the_page_size_defaults_to_what_the_limit_needs(
    limit: int | None, page_size: int | None, requested: int
) -> None:
    pages = Pages(page([]))
    await InstalledAddOns(pages).list(limit=limit, page_size=page_size).collect()
    assert pages.requested == [f"{PATH}?PageSize={requested}"]


async def test_a_limit_of_0_returns_nothing_and_sends_nothing() -> None:
    pages = Pages()
    listing = InstalledAddOns(pages).list(limit=0)
    assert await listing.collect() == []
    assert await listing.first() is None
    assert [page async for page in listing.pages()] == []
    assert pages.requested == []


async def test_a_limit_ends_the_list_without_another_request() -> None:
    pages = Pages(page([1, 2], f"{HOST}{PATH}?PageSize=2&PageToken=PA2"))
    assert numbers(await InstalledAddOns(pages).list(limit=2, page_size=2).collect()) == [1, 2]


async def test_a_page_that_the_limit_cuts_resumes_at_itself() -> None:
    link = f"{HOST}{PATH}?PageSize=2&PageToken=PA2"
    pages = Pages(page([1, 2], link), page([3, 4], f"{HOST}{PATH}?PageSize=2&PageToken=PA4"))
    first, second = [p async for p in InstalledAddOns(pages).list(limit=3, page_size=2).pages()]
    assert first.next_url == link
    assert numbers(second.items) == [3]
    assert second.next_url is not None
    resumed = Pages(page([3, 4]))
    await InstalledAddOns(resumed).list(start=second.next_url).collect()
    assert resumed.requested == [f"{PATH}?PageSize=2&PageToken=PA2"]


async def test_first_requests_one_item() -> None:
    pages = Pages(page([1]))
    first = await InstalledAddOns(pages).list().first()
    assert first is not None
    assert numbers([first]) == [1]
    assert pages.requested == [f"{PATH}?PageSize=1"]


async def test_first_of_an_empty_list_is_none() -> None:
    assert await InstalledAddOns(Pages(page([]))).list().first() is None


async def test_an_empty_page_with_a_next_link_does_not_end_the_list() -> None:
    link = f"{HOST}{PATH}?PageToken=PA"
    first = await InstalledAddOns(Pages(page([], link), page([1]))).list().first()
    assert first is not None
    assert numbers(await InstalledAddOns(Pages(page([], link), page([1]))).list().collect()) == [1]


async def test_only_the_query_of_a_next_link_is_used_so_no_other_host_gets_the_credentials() -> (
    None
):
    pages = Pages(page([1], f"https://evil.example{PATH}?PageToken=PA1"), page([2]))
    await InstalledAddOns(pages).list().collect()
    assert pages.requested[1] == f"{PATH}?PageToken=PA1"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            b'{"meta":{"key":"installed_add_ons","next_page_url":null}}',
            r"\$.installed_add_ons is missing",
        ),
        (
            page([], meta={"key": "extensions", "next_page_url": None}),
            "expected a page of installed",
        ),
        (page([], f"{HOST}/v1/Listings?PageToken=PA"), "expected a link to a page of"),
        (page([], f"{HOST}{PATH}"), "expected a link to a page of"),
        (page([], "nowhere"), "expected a link to a page of"),
        (page([], "http://[::1"), "the link to the next page"),
        (page([], f"{HOST}{PATH}?PageSize=1000"), "points back"),
    ],
)
async def test_an_invalid_page_is_an_error(body: bytes, reason: str) -> None:
    with pytest.raises(ResponseError, match=reason):
        await InstalledAddOns(Pages(body)).list().collect()


@pytest.mark.parametrize("link", [f"{HOST}{PATH}", f"{HOST}{PATH}?PageSize=1000"])
async def test_the_page_before_an_invalid_link_is_returned(link: str) -> None:
    assert await InstalledAddOns(Pages(page([1], link))).list().first() is not None
    items = aiter(InstalledAddOns(Pages(page([1, 2], link))).list())
    assert numbers([await anext(items), await anext(items)]) == [1, 2]
    with pytest.raises(ResponseError, match="the link to the next page"):
        await anext(items)


async def test_a_cycle_of_links_is_an_error() -> None:
    a, b = f"{HOST}{PATH}?PageToken=PA1", f"{HOST}{PATH}?PageToken=PA2"
    pages = Pages(page([1], a), page([2], b), page([3], a))
    with pytest.raises(ResponseError, match="points back"):
        await InstalledAddOns(pages).list().collect()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"limit": -1}, ValueError, "limit: expected at least 0, got -1"),
        ({"limit": 1.0}, TypeError, "limit: expected an integer"),
        ({"limit": True}, TypeError, "limit: expected an integer"),
        ({"page_size": 0}, ValueError, "page_size: expected 1 to 1000, got 0"),
        ({"page_size": 1001}, ValueError, "page_size: expected 1 to 1000, got 1001"),
        ({"start": f"{HOST}/v1/Listings?a=b"}, ValueError, "expected a link to a page of"),
        ({"start": ""}, ValueError, "expected a link to a page of"),
        (
            {"start": f"{PATH}?a=b", "page_size": 5},
            ValueError,
            "page_size: cannot be combined with start",
        ),
        ({"size": 5}, TypeError, "unexpected keyword argument 'size'"),
    ],
)
def test_invalid_options_are_refused_before_iteration(
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
def test_any_limit_and_page_size_return_the_first_items_in_order(
    total: int, page_size: int, limit: int | None, prefetch: bool
) -> None:
    chunks = [range(i, min(i + page_size, total)) for i in range(0, total, page_size)] or [range(0)]
    links = [f"{HOST}{PATH}?PageToken=PA{n}" for n in range(1, len(chunks))]
    pages = Pages(*(page(*pair) for pair in zip(chunks, [*links, None], strict=True)))
    listing = InstalledAddOns(pages).list(limit=limit, page_size=page_size, prefetch=prefetch)
    assert numbers(asyncio.run(listing.collect())) == list(range(total))[:limit]


async def test_a_list_is_complete_resumable_and_repeatable(
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


async def test_leaving_a_list_early_requests_no_page_after_the_next_one(
    marketplace_client: MarketplaceClient, marketplace_emulator: Emulator
) -> None:
    marketplace_emulator.install(account().account_sid, SPAM_SCORE, times=25)
    async for _ in marketplace_client.installed_add_ons.list(page_size=5):
        break
    await asyncio.sleep(0.05)
    assert len(marketplace_emulator.log) <= 2  # the prefetch may have begun


async def test_awaiting_a_list_says_what_to_do_instead() -> None:
    awaited: Any = InstalledAddOns(Pages()).list()
    with pytest.raises(TypeError, match=r"iterate it with `async for`, or `await .*collect\(\)`"):
        await awaited


async def test_iterators_of_a_list_can_be_closed() -> None:
    pages = Pages(page([1, 2], f"{HOST}{PATH}?PageToken=PA2"), page([3]))
    async with contextlib.aclosing(aiter(InstalledAddOns(pages).list(prefetch=False))) as items:
        assert numbers([await anext(items)]) == [1]
    with pytest.raises(StopAsyncIteration):
        await anext(items)


def test_every_list_documents_its_options() -> None:
    for function in (Listable.list, Accounts.list):
        parameters = inspect.signature(function).parameters
        for option, annotation in get_type_hints(ListOptions).items():
            assert parameters[option].kind is inspect.Parameter.KEYWORD_ONLY
            assert parameters[option].annotation == annotation
            assert f"{option}: " in (function.__doc__ or "")


# -- prefetch


@pytest.fixture
async def fifty(
    marketplace_client: MarketplaceClient, marketplace_emulator: Emulator
) -> AsyncIterator[tuple[MarketplaceClient, Emulator]]:
    marketplace_emulator.install(account().account_sid, SPAM_SCORE, times=50)
    yield marketplace_client, marketplace_emulator
    async with asyncio.timeout(0.3):  # the loop closes the iterator after a `break`
        while marketplace_client.stats.in_flight:
            await asyncio.sleep(0.01)


def pass_through(emulator: Emulator, times: int) -> None:
    """Do not apply the faults that are added next to this number of requests."""
    emulator.faults.add("GET", "*", delay=1e-6, times=times)


async def test_one_page_is_prefetched_while_the_caller_works(
    fifty: tuple[MarketplaceClient, Emulator],
) -> None:
    client, emulator = fifty
    seen = 0
    async for _ in client.installed_add_ons.list(page_size=5).pages():
        seen += 1
        await asyncio.sleep(0.02)
        assert len(emulator.log) == min(seen + 1, 10)
    assert seen == 10


async def test_a_prefetch_starts_even_if_the_caller_never_awaits(
    fifty: tuple[MarketplaceClient, Emulator],
) -> None:
    client, _ = fifty
    async for _page in client.installed_add_ons.list(page_size=25).pages():
        if client.stats.sent == 2:
            break
        pytest.fail("the second page was not requested")


async def test_without_prefetch_a_page_is_requested_when_it_is_needed(
    fifty: tuple[MarketplaceClient, Emulator],
) -> None:
    client, emulator = fifty
    seen = 0
    async for _ in client.installed_add_ons.list(page_size=5, prefetch=False).pages():
        seen += 1
        await asyncio.sleep(0.01)
        assert len(emulator.log) == seen


async def test_nothing_is_prefetched_beyond_the_limit_or_after_first(
    fifty: tuple[MarketplaceClient, Emulator],
) -> None:
    client, emulator = fifty
    async for _ in client.installed_add_ons.list(page_size=5, limit=10):
        await asyncio.sleep(0.002)
    assert len(emulator.log) == 2
    await client.installed_add_ons.list(page_size=5).first()
    await asyncio.sleep(0.02)
    assert len(emulator.log) == 3


@pytest.mark.parametrize("exit_by", ["break", "raise", "cancel", "aclose"])
async def test_leaving_early_cancels_the_prefetch(
    fifty: tuple[MarketplaceClient, Emulator], exit_by: str
) -> None:
    client, emulator = fifty
    pass_through(emulator, 1)
    slow = emulator.faults.add("GET", "*", delay=0.5, times=None)
    before = asyncio.all_tasks()
    pages = client.installed_add_ons.list(page_size=5).pages()

    async def iterate(pages: AsyncIterator[object]) -> None:
        async for _ in pages:
            assert client.stats.in_flight == 1
            if exit_by == "cancel":
                await asyncio.sleep(30)
            if exit_by == "raise":
                raise LookupError
            break

    task = asyncio.ensure_future(iterate(pages))
    await until_injected(slow)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, LookupError):
        await task
    if exit_by == "aclose":
        await pages.aclose()
    del pages, task
    gc.collect()
    async with asyncio.timeout(0.3):
        while client.stats.in_flight:
            await asyncio.sleep(0.01)
    left = {task for task in asyncio.all_tasks() - before if "Retrying" in repr(task)}
    assert not left


async def test_closing_the_client_cancels_the_prefetch(
    fifty: tuple[MarketplaceClient, Emulator],
) -> None:
    client, emulator = fifty
    items = client.installed_add_ons.list(page_size=5).pages()
    pass_through(emulator, 1)
    emulator.faults.add("GET", "*", delay=5, times=None)
    await anext(items)
    assert client.stats.in_flight == 1
    await client.aclose()
    assert client.stats.in_flight == 0
    # Not CancelledError: this task was not cancelled, and a TaskGroup would suppress it.
    with pytest.raises(ClientClosedError, match="closed"):
        await anext(items)


async def test_an_error_of_a_prefetch_is_raised_after_the_page_before_it(
    fifty: tuple[MarketplaceClient, Emulator],
) -> None:
    client, emulator = fifty
    pass_through(emulator, 1)
    emulator.faults.add("GET", "*", status=400)
    pages = client.installed_add_ons.list(page_size=5).pages()
    assert len((await anext(pages)).items) == 5
    with pytest.raises(BadRequestError) as failed:
        await anext(pages)
    assert failed.value.resume_at is not None
    rest = await client.installed_add_ons.list(start=failed.value.resume_at).collect()
    assert len(rest) == 45


async def test_an_error_of_a_prefetch_is_not_reported_after_leaving(
    fifty: tuple[MarketplaceClient, Emulator],
) -> None:
    client, emulator = fifty
    pass_through(emulator, 1)
    emulator.faults.add("GET", "*", status=400)
    async for _ in client.installed_add_ons.list(page_size=5).pages():
        await asyncio.sleep(0.05)
        break
    gc.collect()  # a task exception that is never retrieved would be logged


async def test_a_capture_contains_prefetched_pages(
    fifty: tuple[MarketplaceClient, Emulator],
) -> None:
    client, _ = fifty
    with capture() as exchanges:
        await client.installed_add_ons.list(page_size=10).collect()
    assert len(exchanges) == 5


async def test_one_permit_is_enough_to_prefetch() -> None:
    async with emulated(concurrency=1) as (client, emulator):
        emulator.install(account().account_sid, SPAM_SCORE, times=9)
        async for installed in client.installed_add_ons.list(page_size=2):
            await client.installed_add_ons.fetch(installed.sid)


# -- interruptions


class UnsteadyPages:
    """A call whose requests take some turns of the event loop, and fail at first if told to."""

    account_sid: str | None = None

    def __init__(self, sizes: Iterable[int], turns: Iterable[int], failures: Iterable[int]) -> None:
        self.requested: list[str] = []
        self.pages: dict[str, tuple[int, bytes]] = {}
        self.failures: dict[str, int] = {}
        first = 0
        pages = list(zip(sizes, turns, failures, strict=True))
        for number, (size, wait, failed) in enumerate(pages):
            query = f"PageToken=PA{number}"
            link = f"{HOST}{PATH}?PageToken=PA{number + 1}" if number + 1 < len(pages) else None
            self.pages[query] = wait, page(range(first, first + size), link)
            self.failures[query] = failed
            first += size

    async def __call__(self, request: Request, parse: Parse[T], **_: object) -> T:
        self.requested.append(str(request.query))
        turns, body = self.pages[str(request.query)]
        for _turn in range(turns):
            await asyncio.sleep(0)
        if self.failures[str(request.query)]:
            self.failures[str(request.query)] -= 1
            raise TransportError(request, "lost")
        return parse(request, Response(200, {}, body))

    def start(self, request: Request, parse: Parse[T]) -> "asyncio.Task[T]":
        return asyncio.ensure_future(self(request, parse))

    def within(self, attempts: object) -> "UnsteadyPages":
        return self

    def operation(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    def one_deadline(self) -> AbstractContextManager[None]:
        return nullcontext()

    def fail(self, request: Request, error: ResponseError) -> NoReturn:
        raise error


@given(data=st.data(), prefetch=st.booleans(), limit=st.none() | st.integers(0, 20))
def test_an_interrupted_list_yields_everything_once_with_one_request_per_page(
    data: st.DataObject, prefetch: bool, limit: int | None
) -> None:
    sizes = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=6))
    numbers_of = st.lists(st.integers(0, 3), min_size=len(sizes), max_size=len(sizes))
    call = UnsteadyPages(sizes, data.draw(numbers_of), failures := data.draw(numbers_of))
    patience = data.draw(st.lists(st.integers(0, 6), max_size=30))
    listing = InstalledAddOns(call).list(
        start=f"{PATH}?PageToken=PA0", limit=limit, prefetch=prefetch
    )

    async def read() -> list[int]:
        if data.draw(st.booleans()):
            return numbers(await read_interrupted(aiter(listing), patience, TransportError))
        pages = await read_interrupted(listing.pages(), patience, TransportError)
        return [number for page in pages for number in numbers(page.items)]

    assert asyncio.run(read()) == list(range(sum(sizes)))[:limit]
    requested = [
        query for number, query in enumerate(call.pages) for _ in range(1 + failures[number])
    ]
    assert call.requested == requested[: len(call.requested)]


@pytest.mark.parametrize("prefetch", [True, False])
@pytest.mark.parametrize("by_page", [True, False])
async def test_a_heartbeat_of_10_ms_over_pages_of_100_ms_sends_one_request_per_page(
    fifty: tuple[MarketplaceClient, Emulator], prefetch: bool, by_page: bool
) -> None:
    client, emulator = fifty
    emulator.faults.add("GET", "*", delay=0.1, times=None)
    listing = client.installed_add_ons.list(page_size=10, prefetch=prefetch)
    stream: AsyncIterator[Any] = listing.pages() if by_page else aiter(listing)
    found, timeouts = await read_with_heartbeat(stream, 0.01)
    assert len({item.sid for page in found for item in (page.items if by_page else [page])}) == 50
    assert len(found) == (5 if by_page else 50)
    assert timeouts >= 5
    assert len(emulator.log) == 5


async def test_wait_for_a_step_that_times_out_loses_nothing(
    fifty: tuple[MarketplaceClient, Emulator],
) -> None:
    client, emulator = fifty
    items = aiter(client.installed_add_ons.list(page_size=25, prefetch=False))
    found = [await anext(items) for _ in range(25)]
    emulator.faults.add("GET", "*", delay=0.2)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(items), 0.01)
    found += [item async for item in items]
    assert len({item.sid for item in found}) == len(found) == 50
    assert len(emulator.log) == 2


@pytest.mark.parametrize("prefetch", [True, False])
async def test_after_an_error_the_same_page_is_requested_again(prefetch: bool) -> None:
    async with emulated(retry=Retry(attempts=1)) as (client, emulator):
        emulator.install(account().account_sid, SPAM_SCORE, times=50)
        pages = client.installed_add_ons.list(page_size=10, prefetch=prefetch).pages()
        pass_through(emulator, 1)
        emulator.faults.add("GET", "*", status=503, times=2)
        found = [await anext(pages)]
        for _ in range(2):
            with pytest.raises(ServerError) as failed:
                await anext(pages)
            assert failed.value.resume_at == (found[0].next_url or "").removeprefix(emulator.url)
        found += [page async for page in pages]
        assert [len(page.items) for page in found] == [10] * 5
        assert len({item.sid for page in found for item in page.items}) == 50
        assert len(emulator.log) == 7


async def test_an_invalid_link_and_an_end_are_reported_at_each_step() -> None:
    invalid = aiter(InstalledAddOns(Pages(page([1], f"{HOST}{PATH}"))).list())
    ended = aiter(InstalledAddOns(Pages(page([1]))).list())
    assert numbers([await anext(invalid), await anext(ended)]) == [1, 1]
    for _ in range(3):
        with pytest.raises(ResponseError, match="the link to the next page"):
            await anext(invalid)
        with pytest.raises(StopAsyncIteration):
            await anext(ended)


@pytest.mark.parametrize("end_by", ["aclose", "aclosing", "client", "garbage collection"])
async def test_the_request_of_an_interrupted_iterator_ends_with_it(
    fifty: tuple[MarketplaceClient, Emulator], end_by: str
) -> None:
    client, emulator = fifty
    slow = emulator.faults.add("GET", "*", delay=5, times=None)
    before = asyncio.all_tasks()
    items = aiter(client.installed_add_ons.list())
    waiting = asyncio.ensure_future(anext(items))
    await until_injected(slow)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert client.stats.in_flight == 1
    match end_by:
        case "aclose":
            await items.aclose()
            assert client.stats.in_flight == 0
            with pytest.raises(StopAsyncIteration):
                await anext(items)
        case "aclosing":
            async with contextlib.aclosing(items):
                pass
            assert client.stats.in_flight == 0
        case "client":
            await client.aclose()
            assert client.stats.in_flight == 0
            for _ in range(2):
                with pytest.raises(ClientClosedError):
                    await anext(items)
        case _:
            gc.disable()
            try:
                del items  # its reference count is enough
                async with asyncio.timeout(0.3):
                    while client.stats.in_flight:
                        await asyncio.sleep(0.01)
            finally:
                gc.enable()
    await asyncio.sleep(0)
    assert not {task for task in asyncio.all_tasks() - before if "Retrying" in repr(task)}


async def test_cancelling_collect_or_first_cancels_the_request(
    fifty: tuple[MarketplaceClient, Emulator],
) -> None:
    client, emulator = fifty
    emulator.faults.add("GET", "*", delay=5, times=None)
    listing = client.installed_add_ons.list()
    for work in (listing.collect(), listing.first()):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(work, 0.02)
        assert client.stats.in_flight == 0


def test_an_iterator_that_outlives_its_event_loop_goes_on_in_the_next() -> None:
    call = UnsteadyPages([3, 3, 3], [0, 9, 0], [0, 0, 0])
    items = aiter(InstalledAddOns(call).list(start=f"{PATH}?PageToken=PA0"))

    async def read(count: int) -> list[int]:
        return numbers([await anext(items) for _ in range(count)])

    # The first loop cancels the prefetch of the second page and closes the generator.
    assert asyncio.run(read(2)) == [0, 1]
    assert asyncio.run(read(7)) == [2, 3, 4, 5, 6, 7, 8]


def test_an_interrupted_iterator_may_outlive_its_event_loop_and_be_dropped() -> None:
    call = UnsteadyPages([1], [10**6], [0])
    iterators = [aiter(InstalledAddOns(call).list(start=f"{PATH}?PageToken=PA0"))]

    async def interrupted() -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(anext(iterators[0]), 0.01)

    asyncio.run(interrupted())
    iterators.clear()
    gc.collect()  # an exception in a finalizer would be reported


async def test_an_error_of_a_list_forms_no_reference_cycle() -> None:
    call = UnsteadyPages([1], [0], [1])
    items = aiter(InstalledAddOns(call).list(start=f"{PATH}?PageToken=PA0"))
    gc.collect()
    gc.disable()
    try:
        before = errors_alive(TransportError)
        with contextlib.suppress(TransportError):
            await anext(items)
        await asyncio.sleep(0)
        assert errors_alive(TransportError) <= before
    finally:
        gc.enable()
