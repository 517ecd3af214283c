"""Finding accounts: the parent's listing, a file, a vault. Their secrets are shown nowhere."""

import asyncio
import json
import logging
import os
import pickle
import threading
import traceback
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st
from support.wire_server import answer, saying, talking

from marketplace_async import (
    Account,
    AccountToken,
    ApiKey,
    ClientCredentials,
    Credentials,
    CredentialsError,
    MarketplaceClient,
    MarketplaceError,
    NotFoundError,
    PermissionDeniedError,
    Response,
    ResponseError,
    Retry,
    accounts,
    capture,
)
from marketplace_async.accounts.listing import _utc
from marketplace_async.emulator import Emulator
from marketplace_async.testing import account, emulated

PARENT = account().account_sid
SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
SECRET = "geheim-42"
PATH = "/2010-04-01/Accounts.json"


def sid_of(number: int) -> str:
    return f"AC{number:032x}"


async def collect(
    source: AsyncIterable[Account], found: list[Account] | None = None
) -> list[Account]:
    """Return all accounts; those before an error are in `found`."""
    found = [] if found is None else found
    async for one in source:
        found.append(one)
    return found


# -- the parent's listing


async def test_a_parent_lists_itself_and_its_subaccounts_with_their_credentials() -> None:
    async with emulated() as (client, emulator):
        made = emulator.add_subaccounts(PARENT, 3, friendly_name="Shop {number}")
        emulator.install(made[1][0], SPAM_SCORE)
        parent, *subaccounts = await client.accounts.list().collect()
        assert (parent.sid, parent.owner_account_sid) == (PARENT, PARENT)
        assert [one.credentials for one in subaccounts] == [AccountToken(*one) for one in made]
        assert [one.friendly_name for one in subaccounts] == ["Shop 1", "Shop 2", "Shop 3"]
        assert {one.owner_account_sid for one in subaccounts} == {PARENT}
        assert {one.status for one in subaccounts} == {"active"}
        for one in subaccounts:
            assert one.credentials is not None
            assert one.date_created is not None
            assert one.date_created.tzinfo is UTC
            assert abs((datetime.now(UTC) - one.date_created).total_seconds()) < 60
            assert await client.accounts.fetch(one.sid) == one
            sibling = client.with_credentials(one.credentials)
            installed = await sibling.installed_add_ons.list().collect()
            assert [each.account_sid for each in installed] == [one.sid] * (one.sid == made[1][0])
            assert await sibling.accounts.list().collect() == [one]


async def test_the_listing_is_paged_over_links_without_a_host() -> None:
    async with emulated() as (client, emulator):
        emulator.add_subaccounts(PARENT, 9, status="suspended")
        emulator.add_subaccounts(PARENT, 1)
        suspended = client.accounts.list(status="suspended", page_size=4)
        pages = [page async for page in suspended.pages()]
        assert [len(page.items) for page in pages] == [4, 4, 1]
        first = pages[0].next_url
        assert first is not None
        assert first.startswith(f"{PATH}?Status=suspended&PageSize=4&Page=1&PageToken=")
        rest = await client.accounts.list(start=first).collect()
        assert rest == [*pages[1].items, *pages[2].items]
        assert await suspended.collect() == [*pages[0].items, *rest]
        assert len(await client.accounts.list(limit=7, page_size=3).collect()) == 7
        assert {entry.path for entry in emulator.log} == {PATH}


async def test_the_listing_tells_active_from_suspended_and_closed() -> None:
    async with emulated() as (client, emulator):
        for status in ("active", "suspended", "closed"):
            emulator.add_subaccounts(PARENT, friendly_name=f"is {status}", status=status)
        everything = await client.accounts.list().collect()
        assert [one.status for one in everything] == ["active", "active", "suspended", "closed"]
        statuses: tuple[accounts.AccountStatus, ...] = ("active", "suspended", "closed")
        for status in statuses:
            (one,) = await client.accounts.list(
                status=status, friendly_name=f"is {status}"
            ).collect()
            assert one.status == status
            assert one.credentials is not None
            sibling = client.with_credentials(one.credentials)
            if status == "active":
                await sibling.installed_add_ons.list().collect()
            else:
                with pytest.raises(PermissionDeniedError, match=f"403 20403: .* is {status}"):
                    await sibling.installed_add_ons.list().collect()
                with pytest.raises(PermissionDeniedError):
                    await sibling.accounts.fetch(one.sid)


async def test_another_accounts_account_is_not_found() -> None:
    async with emulated() as (client, emulator):
        ((sid, _),) = emulator.add_subaccounts(sid_of(2))
        with pytest.raises(NotFoundError):
            await client.accounts.fetch(sid)


async def test_bad_arguments_are_refused_before_anything_is_sent() -> None:
    async with emulated() as (client, emulator):
        for options, message in (
            ({"status": "gone"}, "status: expected one of active, suspended, closed, got 'gone'"),
            ({"friendly_name": " "}, "friendly_name: must not be blank"),
            ({"page_size": 0}, "page_size: expected 1 to 1000"),
            ({"start": f"{PATH}?Page=1", "status": "active"}, "Status: not with start="),
            ({"start": "/v1/InstalledAddOns?Page=1"}, "start: expected a link to a page of"),
        ):
            with pytest.raises(ValueError, match=message):
                client.accounts.list(**options)
        with pytest.raises(ValueError, match=r"sid: .* is not the SID of an account"):
            await client.accounts.fetch("../x")
        assert len(emulator.log) == 0


@pytest.mark.parametrize("link", ["repeated", "cyclic", "foreign"])
async def test_links_that_lead_nowhere_end_the_list(link: Any) -> None:
    async with emulated() as (client, emulator):
        made = emulator.add_subaccounts(PARENT, 5)
        emulator.faults.add("GET", PATH, next_link=link, times=None)
        found: list[Account] = []
        with pytest.raises(ResponseError, match="the link to the next page: it leads") as error:
            await collect(client.accounts.list(page_size=4), found)
        assert [one.sid for one in found] == [PARENT, *(sid for sid, _ in made[:3])]
        assert error.value.response.body == b""


async def test_the_listing_is_tried_again_and_shares_the_slots_of_its_client() -> None:
    async with emulated(concurrency=1, retry=Retry(initial_backoff=0.001)) as (client, emulator):
        emulator.faults.add("GET", PATH, status=429)
        emulator.faults.add("GET", PATH, drop=True)
        lists = await asyncio.gather(*(client.accounts.list().collect() for _ in range(5)))
        assert {len(items) for items in lists} == {1}
        assert {entry.status for entry in emulator.log} == {429, None, 200}


async def test_a_token_of_an_oauth_app_lists_too() -> None:
    async with Emulator() as emulator:
        app = ClientCredentials(f"OQ{PARENT[2:]}", "x")
        async with MarketplaceClient(app, base_url=emulator.url) as client:
            assert [one.sid async for one in client.accounts.list()] == [PARENT]


def test_the_vendors_host_for_accounts_has_region_and_edge_too() -> None:
    def host(**options: Any) -> str:
        return MarketplaceClient(account(), **options)._api_url

    assert host() == "https://api.twilio.com"
    assert host(region="au1", edge="sydney") == "https://api.sydney.au1.twilio.com"
    assert host(base_url="http://127.0.0.1:1") == "http://127.0.0.1:1"


# -- what the service may say


def answering(document: Any) -> AbstractAsyncContextManager[MarketplaceClient]:
    """A client of a server that says nothing else."""
    return talking(saying(answer(json.dumps(document).encode())))


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("Thu, 07 Apr 2016 23:52:28 +0000", datetime(2016, 4, 7, 23, 52, 28, tzinfo=UTC)),
        ("Thu, 07 Apr 2016 23:52:28 +0200", datetime(2016, 4, 7, 21, 52, 28, tzinfo=UTC)),
        ("Thu, 07 Apr 2016 23:52:28 -0000", datetime(2016, 4, 7, 23, 52, 28, tzinfo=UTC)),
        (None, None),
    ],
)
async def test_dates_of_rfc_2822_are_aware_and_in_utc(
    text: str | None, date: datetime | None
) -> None:
    async with answering({"sid": PARENT, "date_created": text}) as client:
        found = await client.accounts.fetch(PARENT)
    assert found == Account(sid=PARENT, date_created=date)
    assert date is None or (found.date_created or date).tzinfo is UTC


@given(st.text())
def test_a_date_that_is_none_is_a_value_error(text: str) -> None:
    try:
        assert _utc(text, "date") is not None
    except ValueError as error:
        assert str(error) == "date: expected a date as in RFC 2822"  # noqa: PT017 - or it is one


async def test_an_account_without_a_token_has_no_credentials() -> None:
    for token in ({}, {"auth_token": None}, {"auth_token": ""}):
        async with answering({"sid": PARENT, **token}) as client:
            found = await client.accounts.fetch(PARENT)
        assert found.credentials is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sid": SECRET}, "sid: expected the SID of an account"),
        ({"sid": None}, r"Expected `str`, got `null` - at `\$.accounts\[1\].sid`"),
        ({"auth_token": [SECRET]}, r"Expected `str | null`, got `array`"),
        ({"auth_token": " "}, "expected text that is not empty"),
        ({"date_created": SECRET}, "date_created: expected a date as in RFC 2822"),
        ({"date_updated": "2016-04-07T23:52:28Z"}, "date_updated: expected a date"),
        ({"friendly_name": 5}, "Expected `str | null`, got `int`"),
    ],
)
async def test_what_the_service_does_not_promise_is_an_error_that_shows_no_secret(
    changes: dict[str, Any], reason: str
) -> None:
    good = {"sid": PARENT, "auth_token": SECRET}
    page = {"accounts": [good, {**good, **changes}], "next_page_uri": None}
    async with answering(page) as client:
        with pytest.raises(ResponseError, match=reason) as error:
            await client.accounts.list().collect()
    assert_hidden(SECRET, error.value)


# -- secrets are shown nowhere


def assert_hidden(secret: str, error: BaseException, *more: str) -> None:
    """Neither the error says it, nor a variable of a frame of ours that its traceback leads to."""
    shown: traceback.TracebackException | None
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    texts = [str(error), repr(error), repr(vars(error)), repr(pickle.dumps(error)), *more]
    while shown is not None:
        texts.append(str(shown))
        ours = [frame for frame in shown.stack if "/marketplace_async/" in frame.filename]
        texts += [repr(frame.locals) for frame in ours]
        shown = shown.__cause__ or shown.__context__
    for text in texts:
        assert secret not in text


async def test_no_token_is_captured_logged_or_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with emulated() as (client, emulator):
        ((sid, token),) = emulator.add_subaccounts(PARENT)
        with capture() as exchanges:
            found = await client.accounts.list().collect()
            found.append(await client.accounts.fetch(sid))
        assert found[1] == found[2]
        assert len(exchanges) == 2
        for exchange in exchanges:
            assert exchange.response is not None
            assert exchange.response.status == 200
            assert exchange.response.body == b""
            assert exchange.response.request_id is not None
        shown = [repr(found), str(found), repr(client.accounts), repr(client.accounts.list())]
        for text in (caplog.text, repr(exchanges), repr(pickle.dumps(exchanges)), *shown):
            assert token not in text
        assert f"GET {PATH} -> 200" in caplog.text


async def test_an_account_is_not_pickled_with_its_credentials() -> None:
    found = Account(sid=PARENT, credentials=AccountToken(PARENT, SECRET))
    with pytest.raises(TypeError, match="a secret is never pickled"):
        pickle.dumps(found)
    bare = attrs.evolve(found, credentials=None)
    assert pickle.loads(pickle.dumps(bare)) == bare
    assert len({found, bare}) == 2


@pytest.mark.parametrize(
    "fault",
    [
        {"body": "garbled"},
        {"body": "cut"},
        {"status": 500, "when": "after"},
        {"status": 200, "when": "after"},
        {"drop": True, "when": "after"},
    ],
)
@pytest.mark.parametrize("operation", ["fetch", "list"])
async def test_no_token_is_in_an_error_or_its_causes(
    fault: Any, operation: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with emulated(retry=Retry(attempts=1)) as (client, emulator):
        ((sid, token),) = emulator.add_subaccounts(PARENT)
        emulator.faults.add("GET", "/2010-04-01/*", times=None, **fault)
        listing = client.accounts.list()
        call = client.accounts.fetch(sid) if operation == "fetch" else listing.collect()
        with capture() as exchanges, pytest.raises(MarketplaceError) as error:
            await call
    assert_hidden(token, error.value, caplog.text, repr(exchanges), repr(pickle.dumps(exchanges)))


def test_an_answer_that_holds_secrets_is_pickled_without_its_body() -> None:
    answer = Response(200, {"A": "b"}, SECRET.encode(), confidential=True)
    assert SECRET.encode() not in pickle.dumps(answer)
    assert pickle.loads(pickle.dumps(answer)) == answer.without_secrets()
    assert Response(200, {}, b"body").without_secrets().body == b"body"


# -- a file

HEADER = "account_sid,auth_token\n"


@pytest.fixture
def keep(tmp_path: Path) -> Any:
    """Write a file that its owner alone can read."""

    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(0o600)
        return path

    return write


ROWS: list[dict[str, str]] = [
    {"account_sid": sid_of(1), "auth_token": "one", "friendly_name": 'Shop, "the" 1'},
    {"account_sid": sid_of(2), "api_key": "SK" + "2" * 32, "api_secret": "two", "status": "active"},
    {"account_sid": sid_of(3), "auth_token": "three", "status": "suspended"},
    {"account_sid": sid_of(4), "auth_token": "four", "status": "closed", "note": "what else"},
]
FOUND = [
    Account(
        sid=sid_of(1), friendly_name='Shop, "the" 1', credentials=AccountToken(sid_of(1), "one")
    ),
    Account(sid=sid_of(2), status="active", credentials=ApiKey("SK" + "2" * 32, "two", sid_of(2))),
    Account(sid=sid_of(3), status="suspended", credentials=AccountToken(sid_of(3), "three")),
    Account(sid=sid_of(4), status="closed", credentials=AccountToken(sid_of(4), "four")),
]


def as_csv(rows: list[dict[str, str]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, *([row.get(name, "") for name in names] for row in rows)]
    quoted = [['"' + cell.replace('"', '""') + '"' for cell in line] for line in lines]
    return "".join(",".join(line) + "\r\n" for line in quoted)


def as_json(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("accounts.csv", as_csv(ROWS)),
        ("accounts.CSV", "\ufeff" + as_csv(ROWS)),
        ("accounts.csv", as_csv(ROWS).replace("\r\n", "\n").removesuffix("\n")),
        ("accounts.csv", as_csv(ROWS).replace('"AC', '" AC').replace("\r\n", "\r\n\r\n")),
        ("accounts.jsonl", as_json(ROWS)),
        ("accounts.ndjson", "\ufeff" + as_json(ROWS).replace("\n", "\r\n\n")),
    ],
)
async def test_a_file_lists_accounts(keep: Any, name: str, content: str) -> None:
    source = accounts.from_file(keep(name, content))
    assert await collect(source) == FOUND
    assert await collect(source) == FOUND
    assert [await source.fetch(one.sid) for one in reversed(FOUND)] == FOUND[::-1]


async def test_a_file_tells_active_from_suspended_and_closed(keep: Any) -> None:
    path = str(keep("a.jsonl", as_json(ROWS)))
    assert await collect(accounts.from_file(path, status="active")) == FOUND[:2]
    assert await collect(accounts.from_file(path, status="suspended")) == FOUND[2:3]
    assert await collect(accounts.from_file(path, status="closed")) == FOUND[3:]


async def test_nothing_is_read_before_it_is_iterated(keep: Any, tmp_path: Path) -> None:
    source = accounts.from_file(tmp_path / "later.csv")
    for read in (lambda: collect(source), lambda: source.fetch(sid_of(1))):
        with pytest.raises(CredentialsError, match=r"later\.csv: No such file"):
            await read()
    keep("later.csv", HEADER + f"{sid_of(1)},one\n")
    assert len(await collect(source)) == 1
    assert await collect(accounts.from_file(keep("empty.jsonl", ""))) == []


def test_a_name_or_status_that_cannot_be_right_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a file named \.csv, \.jsonl, \.ndjson, got"):
        accounts.from_file("accounts.txt")
    with pytest.raises(ValueError, match="status: expected one of"):
        accounts.from_file("accounts.csv", status="gone")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "lines", "line", "reason"),
    [
        ("a.csv", [f"{sid_of(1)},{SECRET}"], 1, "expected a header with account_sid and"),
        ("a.csv", ["account_sid,api_key"], 1, "expected a header with account_sid and"),
        ("a.csv", ["", HEADER], 1, "expected a header"),
        ("a.csv", ["account_sid,auth_token,auth_token"], 1, "each column once"),
        ("a.csv", [HEADER.strip(), "", f"{sid_of(1)},{SECRET},x"], 3, "expected 2 cells"),
        ("a.csv", [HEADER.strip(), f'{sid_of(1)},"{SECRET}', "x"], 3, "unexpected end of data"),
        ("a.csv", [HEADER.strip(), f'{sid_of(1)},"{SECRET}"x'], 2, "',' expected after"),
        ("a.csv", [HEADER.strip(), f"{SECRET},{sid_of(1)}"], 2, "account_sid: expected the SID"),
        ("a.csv", [HEADER.strip(), f"{sid_of(1)},"], 2, "expected an auth_token, or an api_key"),
        ("a.csv", [HEADER.strip(), f",{SECRET}"], 2, "account_sid: expected the SID"),
        ("a.csv", [HEADER.strip(), SECRET + "x" * 65_536], 2, "longer than 65536 bytes"),
        ("a.csv", [HEADER.strip(), f"{sid_of(1)},{SECRET}\r\rx"], 2, "new-line character"),
        ("a.jsonl", ["{}"], 1, "account_sid: expected the SID of an account"),
        ("a.jsonl", [f'["{SECRET}"]'], 1, "not an object of text: Expected `object`"),
        ("a.jsonl", ["", f'{{"auth_token":"{SECRET}'], 2, "not JSON: Input data was truncated"),
        ("a.jsonl", [f'{{"account_sid":"{sid_of(1)}","auth_token":5}}'], 1, "got `int`"),
        ("a.jsonl", ['{"auth_token":' + "[" * 9000 + "]" * 9000 + "}"], 1, "not|nested"),
        (
            "a.jsonl",
            [f'{{"account_sid":"{sid_of(1)}","auth_token":"x","status":"{SECRET}"}}'],
            1,
            "status: expected one of active, suspended, closed$",
        ),
        (
            "a.jsonl",
            [f'{{"account_sid":"{sid_of(1)}","api_secret":"{SECRET}"}}'],
            1,
            "expected api_key and api_secret together",
        ),
        (
            "a.jsonl",
            [f'{{"account_sid":"{sid_of(1)}","api_key":"{SECRET}","api_secret":"x"}}'],
            1,
            r"api_key: expected the SID of an API key \(SK and 32 hex digits\), got 9 characters",
        ),
    ],
)
async def test_a_malformed_line_is_named_and_its_secret_is_not(
    keep: Any, name: str, lines: list[str], line: int, reason: str
) -> None:
    path = keep(name, "\n".join(lines))
    source = accounts.from_file(path)
    for read in (lambda: collect(source), lambda: source.fetch(sid_of(1))):
        with pytest.raises(CredentialsError, match=reason) as error:
            await read()
        assert str(error.value).startswith(f"{path}, line {line}: ")
        assert_hidden(SECRET, error.value)


async def test_what_stands_before_a_malformed_line_comes_first(keep: Any) -> None:
    rows = [f"{sid_of(number)},{SECRET}" for number in range(1000)]
    rows[700] = "nonsense"
    path = keep("a.csv", HEADER + "\n".join(rows))
    found: list[Account] = []
    with pytest.raises(CredentialsError, match="line 702: expected 2 cells as in the header"):
        await collect(accounts.from_file(path), found)
    assert [one.sid for one in found] == [sid_of(number) for number in range(700)]


async def test_a_file_that_is_no_text_is_refused(keep: Any) -> None:
    for name in ("a.csv", "a.jsonl"):
        start = HEADER.encode() if name == "a.csv" else b""
        path = keep(name, start + b"\xff\xfe" + SECRET.encode() + b"\n")
        with pytest.raises(CredentialsError, match=r"line \d: ") as error:
            await collect(accounts.from_file(path))
        assert_hidden(SECRET, error.value)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o622, 0o644])
async def test_a_file_that_others_can_read_is_refused(keep: Any, mode: int) -> None:
    path = keep("a.csv", HEADER + f"{sid_of(1)},{SECRET}\n")
    path.chmod(mode)
    source = accounts.from_file(path)
    for read in (lambda: collect(source), lambda: source.fetch(sid_of(1))):
        with pytest.raises(CredentialsError) as error:
            await read()
        assert str(error.value).endswith(f"have access: chmod 600 {path}")
    path.chmod(0o400)
    assert len(await collect(source)) == 1


async def test_only_a_regular_file_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.csv", 0o600)
    (tmp_path / "b.csv").mkdir(0o700)
    for name in ("a.csv", "b.csv"):
        with pytest.raises(CredentialsError, match="expected a regular file"):
            await collect(accounts.from_file(tmp_path / name))


async def test_a_file_that_changes_while_it_is_read_is_not_read_on(keep: Any) -> None:
    rows = "".join(f"{sid_of(number)},x\n" for number in range(1000))
    path = keep("a.csv", HEADER + rows)
    source = accounts.from_file(path)
    stream = aiter(source)
    assert (await anext(stream)).sid == sid_of(0)
    keep("a.csv", HEADER + rows + f"{sid_of(1000)},x\n")
    with pytest.raises(CredentialsError, match="it changed while it was read"):
        await collect(stream)
    assert (await source.fetch(sid_of(999))).sid == sid_of(999)
    keep("a.csv", HEADER + f"{sid_of(1)},other\n")
    found = await source.fetch(sid_of(1))
    assert found.credentials == AccountToken(sid_of(1), "other")
    with pytest.raises(CredentialsError, match=f"there is no account {sid_of(999)} in it"):
        await source.fetch(sid_of(999))


async def test_an_account_that_stands_in_a_file_twice_is_not_guessed_at(keep: Any) -> None:
    path = keep("a.csv", HEADER + f"{sid_of(1)},one\n{sid_of(1)},two\n")
    with pytest.raises(CredentialsError, match=f"account {sid_of(1)} stands in it twice"):
        await accounts.from_file(path).fetch(sid_of(1))


async def test_a_file_is_sent_to_a_worker_by_name(keep: Any) -> None:
    source = accounts.from_file(keep("a.jsonl", as_json(ROWS)), status="closed")
    await source.fetch(sid_of(1))
    pickled = pickle.dumps(source)
    assert b"four" not in pickled
    assert await collect(pickle.loads(pickled)) == FOUND[3:]
    assert repr(source).endswith("a.jsonl>")


async def test_many_fetches_at_once_index_the_file_once(
    keep: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from marketplace_async.accounts import file

    indexed = []
    index_of = file._index_of

    def counted(path: Path) -> Any:
        indexed.append(path)
        return index_of(path)

    monkeypatch.setattr(file, "_index_of", counted)
    rows = [{"account_sid": sid_of(number), "auth_token": f"t{number}"} for number in range(500)]
    source = accounts.from_file(keep("a.jsonl", as_json(rows)))
    found = await asyncio.gather(*(source.fetch(sid_of(number)) for number in range(500)))
    assert [one.credentials for one in found] == [
        AccountToken(sid_of(number), f"t{number}") for number in range(500)
    ]
    assert len(indexed) == 1


async def test_a_hundred_thousand_lines_are_read_off_the_loop_and_not_held(keep: Any) -> None:
    path = keep("a.csv", HEADER + "".join(f"{sid_of(n)},{n:032x}\n" for n in range(100_000)))
    held: weakref.WeakSet[Account] = weakref.WeakSet()
    turns = read = most = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    task = asyncio.create_task(others())
    async for one in accounts.from_file(path):
        read += 1
        held.add(one)
        most = max(most, len(held))
    task.cancel()
    assert read == 100_000
    # Others have a turn between any two batches, and no more than two batches are there at once.
    assert turns > 100_000 / 256
    assert most <= 2 * 256


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
async def test_leaving_early_leaves_no_file_open(keep: Any) -> None:
    path = keep("a.csv", HEADER + "".join(f"{sid_of(n)},x\n" for n in range(1000)))

    def is_open() -> bool:
        return path in [link.resolve() for link in Path("/proc/self/fd").iterdir()]

    with path.open():
        assert await asyncio.to_thread(is_open)
    stream = aiter(accounts.from_file(path))
    await anext(stream)
    assert not await asyncio.to_thread(is_open)


# -- a vault

VAULT: dict[str, Credentials] = {
    sid_of(1): AccountToken(sid_of(1), "one"),
    sid_of(2): ApiKey("SK" + "2" * 32, "two"),
    sid_of(3): ClientCredentials("OQ" + "3" * 32, "three", sid_of(3)),
}
OF_THE_VAULT = [Account(sid=sid, credentials=found) for sid, found in VAULT.items()]


async def find_later(sid: str) -> Credentials | None:
    await asyncio.sleep(0)
    return VAULT.get(sid)


class Finder:
    async def __call__(self, sid: str) -> Credentials | None:
        return await find_later(sid)


@pytest.mark.parametrize("find", [find_later, Finder(), VAULT.get, lambda sid: find_later(sid)])
async def test_a_vault_gives_credentials_by_name(find: Any) -> None:
    source = accounts.from_vault(list(VAULT), find)
    assert await collect(source) == OF_THE_VAULT
    assert await collect(source) == OF_THE_VAULT
    assert await source.fetch(sid_of(2)) == OF_THE_VAULT[1]
    with pytest.raises(CredentialsError, match=f"no credentials for {sid_of(9)}"):
        await source.fetch(sid_of(9))


async def test_a_plain_callable_may_wait_without_holding_up_the_loop() -> None:
    threads = []

    def find(sid: str) -> Credentials:
        threads.append(threading.current_thread())
        return VAULT[sid]

    assert await collect(accounts.from_vault(VAULT, find)) == OF_THE_VAULT
    assert threading.main_thread() not in threads


async def test_the_sids_of_a_vault_can_come_from_a_list_of_the_parents() -> None:
    asked = []

    async def find(sid: str) -> Credentials:
        asked.append(sid)
        return AccountToken(sid, "from the vault")

    async with emulated() as (client, emulator):
        made = emulator.add_subaccounts(PARENT, 3)
        emulator.add_subaccounts(PARENT, 3, status="closed")

        async def sids() -> AsyncIterator[str]:
            async for one in client.accounts.list(status="active"):
                yield one.sid

        source = accounts.from_vault(sids(), find)
        assert [one.sid async for one in source] == [PARENT, *(sid for sid, _ in made)]
        assert len(asked) == 4
        with pytest.raises(RuntimeError, match="sids: an iterator that is used up"):
            await collect(source)


async def test_a_vault_is_asked_one_by_one_as_it_is_iterated() -> None:
    asked: list[str] = []

    def sids() -> Iterator[str]:
        number = 0
        while True:
            yield sid_of(number)
            number += 1

    async def find(sid: str) -> Credentials:
        asked.append(sid)
        return AccountToken(sid, SECRET)

    stream = aiter(accounts.from_vault(sids(), find))
    for number in range(1, 4):
        assert SECRET not in repr(await anext(stream))
        assert len(asked) == number


async def test_a_vault_that_gives_what_cannot_be_right_is_found_out() -> None:
    wrong = accounts.from_vault([sid_of(2)], lambda _: AccountToken(sid_of(1), SECRET))
    with pytest.raises(CredentialsError, match=f"credentials of {sid_of(1)} for {sid_of(2)}"):
        await collect(wrong)
    text: Any = lambda _: SECRET  # noqa: E731
    with pytest.raises(TypeError, match=r"find: expected AccountToken, .*, got str") as error:
        await collect(accounts.from_vault([sid_of(2)], text))
    assert SECRET not in str(error.value)
    with pytest.raises(ValueError, match=r"sid: .* is not the SID of an account"):
        await collect(accounts.from_vault(["me"], VAULT.get))
    with pytest.raises(KeyError):
        await collect(accounts.from_vault([sid_of(9)], VAULT.__getitem__))
    for sids, find in ((sid_of(1), VAULT.get), (5, VAULT.get), ([], None)):
        with pytest.raises(TypeError, match=r"sids: expected|find: expected"):
            accounts.from_vault(sids, find)  # type: ignore[arg-type]
