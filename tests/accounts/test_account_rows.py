"""Accounts files as spreadsheets and other programs write them, and rows that cannot be read."""

import asyncio
import csv
import io
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from support.accounts import SECRET, assert_hidden, collect, sid_of

from marketplace_async import Account, AccountToken, ApiKey, CredentialsError, accounts
from marketplace_async.accounts.file import FileAccounts
from marketplace_async.accounts.rows import AnyRow, BadRow, Row

HEADER = "account_sid,auth_token"
A, B, KEY = sid_of(1), sid_of(2), "SK" + "3" * 32
ONE = Account(sid=A, friendly_name="Café", status="active", credentials=AccountToken(A, "one"))

IN_ONE_FOLDER = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def rows(tmp_path: Path) -> Callable[..., list[AnyRow]]:
    """A function that writes a file and returns its rows, compared with each other."""

    def read(content: str | bytes, name: str = "a.csv") -> list[AnyRow]:
        path = tmp_path / name
        path.touch(mode=0o600)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

        async def collected() -> list[AnyRow]:
            return [row async for row in FileAccounts(path).rows()]

        return asyncio.run(collected())

    return read


def bad(rows: list[AnyRow]) -> list[tuple[int, str | None]]:
    """Return line and SID of the bad rows."""
    return [(row.line, row.account_sid) for row in rows if isinstance(row, BadRow)]


def good(rows: list[AnyRow]) -> list[str]:
    return [row.account.sid for row in rows if isinstance(row, Row)]


# -- what is read


@pytest.mark.parametrize(
    "content",
    [
        f"account_sid,auth_token,friendly_name,status\n{A},one,Café,active\n",
        f"\ufeffAccount SID;Auth Token;Friendly Name;Status\r\n{A};one;Café;Active\r\n;;;\r\n",
        f"ACCOUNT_SID\tAUTH_TOKEN\tFRIENDLY NAME\tSTATUS\n{A}\tone\tCafé\tACTIVE\n\t\t\t\n",
        f"AccountSid,authToken,friendlyName,status\n{A},one,Café,active\n",
        f"account-sid, auth-token ,friendly-name,status\n {A} ,\tone , Café\xa0, active \n",
        '"account_sid" , "auth_token" ,"friendly_name","status"\n'
        f'"{A}" , "one" ,"Café", "active"\n',
        f"status,friendly_name,auth_token,account_sid,\nactive,Café,one,{A},\n,,,,\n",
        f"sep=;\r\naccount_sid;auth_token;friendly_name;status\r\n{A};one;Café;active\r\n",
        f",,,\n\naccount_sid,auth_token,friendly_name,status\n\n,,,\n{A},one,Café,active\n,,,",
        # The output of `accounts list -o csv`, with a column of tokens.
        "sid,friendly_name,status,owner_account_sid,date_created,date_updated,auth_token\n"
        f"{A},Café,active,{B},2026-11-24T02:54:00Z,,one\n",
    ],
)
def test_what_spreadsheets_write_is_read(rows: Any, content: str) -> None:
    (row,) = rows(content)
    assert row.account == ONE


def test_the_output_of_accounts_list_is_named_as_lacking_tokens(rows: Any) -> None:
    content = f"sid,friendly_name,status\n{A},Café,active\n"
    with pytest.raises(CredentialsError, match=r"line 1: .*account_sid and auth_token, or with"):
        rows(content)


def test_rows_of_accounts_list_that_are_not_active_need_no_tokens(rows: Any) -> None:
    found = rows(f"sid,status,auth_token\n{A},active,one\n{B},closed,\n{sid_of(3)},suspended,\n")
    assert [row.account.status for row in found] == ["active", "closed", "suspended"]
    assert [row.account.credentials is None for row in found] == [False, True, True]
    json_lines = json.dumps({"sid": B, "status": "closed", "friendly_name": None})
    assert good(rows(json_lines, "a.jsonl")) == [B]


def test_cells_at_the_end_of_a_row_may_be_left_out(rows: Any) -> None:
    (row,) = rows(f"{HEADER},api_key,api_secret,friendly_name\n{A},one\n")
    assert row.account == Account(sid=A, credentials=AccountToken(A, "one"))


def test_further_columns_are_kept_but_not_those_of_secrets(rows: Any) -> None:
    (row,) = rows(
        "Account SID,Auth Token,API Key,api_secret,Secondary Auth Token,Webhook-Secret,"
        f"Région (code),Seats,,status\n{A},{SECRET},{KEY},{SECRET},{SECRET},{SECRET},EU,12,x,\n"
    )
    assert row.account.credentials == ApiKey(KEY, SECRET, A)
    assert row.columns == {"région_code": "EU", "seats": "12"}
    line = {"Account SID": A, "auth_token": SECRET, "Seats": 12, "open": True, "no": None, "l": [1]}
    (row,) = rows(json.dumps(line), "a.jsonl")
    assert row.columns == {"seats": "12", "open": "true"}


def test_a_cell_may_have_several_lines(rows: Any) -> None:
    found = rows(f'{HEADER},friendly_name\n{A},one,"The\r\nShop"\n{B},two,x\n')
    assert [(row.line, row.account.friendly_name) for row in found] == [
        (2, "The\r\nShop"),
        (4, "x"),
    ]


# -- what is not read


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b"", 1, "the file is empty; expected a header with account_sid and auth_token"),
        (f"{A},{SECRET}\n".encode(), 1, "the header is missing; expected a header with account"),
        (f'"{SECRET}","{A}"\n'.encode(), 1, "the header is missing"),
        (b"account_sid,api_key\n", 1, "expected a header with account_sid and"),
        (b"\n,,\nname,token\n", 3, "expected a header with account_sid and"),
        (b"account_sid,auth_token,Auth Token\n", 1, "two columns are named auth_token"),
        (b"account_sid,auth_token,Region,region\n", 1, "two columns are named region"),
        (f"{HEADER}\r{A},{SECRET}\r".encode(), 1, "the header is missing"),
        (f"{HEADER}\rx\r".encode(), 1, "lines end with CR only: save the file as UTF-8"),
        (f"{HEADER}\n{A},{SECRET}\n".encode("utf-16"), 1, 'UTF-16: .* "CSV UTF-8"'),
        (f"{HEADER}\n{A},{SECRET}\n".encode("utf-16-le"), 1, 'UTF-16: .* "CSV UTF-8"'),
        (f"{HEADER},Région\n".encode("latin-1"), 1, "not UTF-8, .* Windows-1252: .*CSV UTF-8"),
        (SECRET.encode() * 66_000, 1, "longer than 65536 bytes"),
    ],
)
def test_a_file_that_cannot_be_read_says_what_to_do(
    rows: Any, content: bytes, line: int, reason: str
) -> None:
    with pytest.raises(CredentialsError, match=rf"a\.csv, line {line}: .*{reason}") as error:
        rows(content)
    assert_hidden(SECRET, error.value)


def test_json_lines_may_be_empty_but_no_array(rows: Any) -> None:
    assert rows("\n\n", "a.jsonl") == []
    for name in ("a.jsonl", "a.txt"):
        with pytest.raises(CredentialsError, match="line 2: a JSON array; write one object per li"):
            rows(f'\n[{{"account_sid": "{A}", "auth_token": "{SECRET}"}}]', name)


TOKEN = f'"auth_token":"{SECRET}"'


@pytest.mark.parametrize(
    ("name", "row", "sid", "reason"),
    [
        ("a.csv", f"{A},{SECRET},x", A, "expected 2 cells as in the header, got 3"),
        ("a.csv", f'{A},"{SECRET}', A, "a quote is not closed"),
        ("a.csv", f'{A},"{SECRET}"x', A, "a quote is misplaced: ',' expected after '\"'"),
        ("a.csv", f"{SECRET},{A}", None, "account_sid: expected the SID of an account .*, got 9 c"),
        ("a.csv", f"{KEY},{SECRET}", None, "it is the SID of an API key"),
        ("a.csv", f"{A},", A, "expected auth_token, or api_key and api_secret"),
        ("a.csv", SECRET + "x" * 65_536, None, "longer than 65536 bytes"),
        ("a.csv", f"{A},{SECRET}\r\rx", A, r"a carriage return \(CR\) inside a line"),
        ("a.csv", f"{A},{SECRET}\udce9", A, 'not UTF-8, but perhaps .* in Excel as "CSV UTF-8"'),
        ("a.csv", f"1.23457E+31,{SECRET}", None, "account_sid: a spreadsheet has changed it"),
        ("a.csv", f"#NAME?,{SECRET}", None, "account_sid: a spreadsheet has changed it"),
        ("a.csv", f"{A},1.23457E+31", A, "auth_token: a spreadsheet has changed it into a number"),
        ("a.csv", f"{A},1E+31", A, "auth_token: .*; format the column as text and enter it again"),
        ("a.csv", f"{A},########", A, "auth_token: a spreadsheet has changed it"),
        ("a.jsonl", "{}", None, "account_sid: expected the SID of an account"),
        ("a.jsonl", f'"{SECRET}"', None, "not an object: Expected `object`"),
        ("a.jsonl", f'{{"auth_token":"{SECRET}', None, "not JSON: JSON is malformed: invalid"),
        (
            "a.jsonl",
            f'{{"account_sid":"{A}","auth_token":5}}',
            A,
            "auth_token: expected text, got i",
        ),
        (
            "a.jsonl",
            f'{{"account_sid":["{SECRET}"]}}',
            None,
            "account_sid: expected text, got list",
        ),
        ("a.jsonl", '{"x":' + "[" * 9000 + "]" * 9000 + "}", None, "not|nested|account_sid"),
        (
            "a.jsonl",
            f'{{"account_sid":"{A}",{TOKEN},"Auth Token":"x"}}',
            None,
            "two columns are na",
        ),
        (
            "a.jsonl",
            f'{{"account_sid":"{A}",{TOKEN},"status":"{SECRET}"}}',
            A,
            "status: expected on",
        ),
        (
            "a.jsonl",
            f'{{"account_sid":"{A}","api_secret":"{SECRET}"}}',
            A,
            "api_key and api_secret",
        ),
        (
            "a.jsonl",
            f'{{"account_sid":"{A}","api_key":"{SECRET}","api_secret":"x"}}',
            A,
            r"api_key: expected the SID of an API key \(SK and 32 hex digits\), got 9 characters",
        ),
        (
            "a.jsonl",
            f'{{"account_sid":"{A}",{TOKEN},"n":"\udce9"}}',
            None,
            "not UTF-8, but perhaps",
        ),
        ("a.jsonl", f'{{"a":"{SECRET}' + "x" * 65_536, None, "longer than 65536 bytes"),
    ],
)
async def test_a_bad_row_is_told_by_its_line_and_costs_no_other(
    tmp_path: Path, name: str, row: str, sid: str | None, reason: str
) -> None:
    path = tmp_path / name
    path.touch(mode=0o600)
    others = [sid_of(8), sid_of(9)]
    if name == "a.csv":
        before, after = (f"{other},x" for other in others)
        lines = [HEADER, "", before, row, after]
    else:
        before, after = (json.dumps({"account_sid": one, "auth_token": "x"}) for one in others)
        lines = ["", "", before, row, after]
    path.write_text("\n".join(lines), errors="surrogateescape")
    found: list[Account] = []
    with pytest.raises(CredentialsError, match=reason) as error:
        await collect(accounts.from_file(path), found)
    assert str(error.value).startswith(f"{path}, line 4: ")
    assert_hidden(SECRET, error.value)
    assert [one.sid for one in found] == others
    all_rows = [each async for each in FileAccounts(path).rows()]
    assert bad(all_rows) == [(4, sid)]
    assert SECRET not in repr(all_rows)


def test_a_token_of_hex_digits_is_not_taken_for_a_number(rows: Any) -> None:
    tokens = ["1" * 32, "12345678901234567890123456789e31", "0" * 32]
    found = rows(HEADER + "\n" + "".join(f"{sid_of(n)},{one}\n" for n, one in enumerate(tokens)))
    assert bad(found) == []


@pytest.mark.parametrize(
    "lines",
    [
        [f'{sid_of(9)},x,"', f"{A},x,n", '"'],
        [f'{sid_of(9)},"x', f"{A},x,n", '",n'],
        [f'{sid_of(9)},x,"n', f'"{A}","x","n"', f'"{B}","x","n"', '"'],
        [f'"{sid_of(9)}', f"{A},x,n", '",x,n'],
    ],
)
def test_a_quote_that_is_not_closed_takes_in_no_other_row(rows: Any, lines: list[str]) -> None:
    found = rows("account_sid,auth_token,friendly_name\n" + "\n".join(lines))
    assert good(found) == [sid for sid in (A, B) if any(sid in line for line in lines)]
    assert bad(found)[0][0] == 2


@given(
    junk=st.lists(
        st.tuples(st.integers(0, 6), st.text(st.sampled_from('",;x \t\r\x00é\\{'), max_size=9)),
        max_size=6,
    ),
    quoted=st.booleans(),
    cut=st.integers(1, 7),
)
@IN_ONE_FOLDER
def test_no_junk_between_rows_costs_a_good_row(
    rows: Any, monkeypatch: Any, junk: list[tuple[int, str]], quoted: bool, cut: int
) -> None:
    # Small batches: a batch must not end between a line and those that were put back.
    monkeypatch.setattr("marketplace_async.accounts.file.BATCH_SIZE", cut)
    sids = [sid_of(number) for number in range(7)]
    lines = [f'"{sid}","x","n"' if quoted else f"{sid},x,n" for sid in sids]
    for place, text in sorted(junk, reverse=True):
        lines.insert(place, text)
    found = rows("account_sid,auth_token,friendly_name\n" + "\n".join(lines))
    assert good(found) == sids
    for row in found:
        expected = row.account_sid if isinstance(row, BadRow) else row.account.sid
        assert expected is None or expected in lines[row.line - 2]


@given(
    cells=st.lists(
        # Python's writer leaves a lone CR without quotes.
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=6),
            st.sampled_from(["", "active", "Closed"]),
        ),
        max_size=8,
    ),
    dialect=st.sampled_from([",", ";", "\t"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n"]),
    bom=st.sampled_from(["", "\ufeff"]),
)
@IN_ONE_FOLDER
def test_whatever_a_csv_writer_writes_is_read(
    rows: Any,
    cells: list[tuple[str, str]],
    dialect: str,
    quoting: Any,
    end: str,
    bom: str,
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=dialect, quoting=quoting, lineterminator=end)
    writer.writerow(["Account SID", "Friendly Name", "STATUS", "auth_token"])
    for number, (name, status) in enumerate(cells):
        writer.writerow([sid_of(number), name, status, "token"])
        writer.writerow(["", "", "", ""])
    found = rows(bom + text.getvalue())
    assert bad(found) == []
    expected = [(name.strip() or None, status.lower() or None) for name, status in cells]
    assert [(row.account.friendly_name, row.account.status) for row in found] == expected


# -- rows that contradict each other


def test_an_equal_row_fails_and_the_first_is_used(rows: Any) -> None:
    found = rows(f"{HEADER}\n{A},one\n{B},two\n{A},one\n{A},one\n")
    assert good(found) == [A, B]
    assert [str(row) for row in found[2:]] == [
        f"line 4: {A} is already on line 2",
        f"line 5: {A} is already on line 2",
    ]
    assert bad(found) == [(4, None), (5, None)]  # the SID stands for the first row


@pytest.mark.parametrize(
    ("header", "first", "second"),
    [
        (HEADER, f"{A},one", f"{A},two"),
        (HEADER, f"{A},one", f"{A[:2] + A[2:].upper()},two"),
        (f"{HEADER},status", f"{A},one,active", f"{A},one,suspended"),
        (f"{HEADER},friendly_name", f"{A},one,Shop", f"{A},one,Cafe"),
        (f"{HEADER},region", f"{A},one,eu", f"{A},one,us"),
        (f"{HEADER},api_key,api_secret", f"{A},one,,", f"{A},,{KEY},one"),
    ],
)
def test_rows_that_describe_an_account_differently_all_fail(
    rows: Any, header: str, first: str, second: str
) -> None:
    found = rows(f"{header}\n{first}\n{B},b\n{second}\n")
    assert good(found) == [B]
    assert bad(found) == [(2, A), (4, None)]
    assert f"lines 2 and 4 describe {A} differently" in str(found[0])
    assert f"lines 2 and 4 describe {A} differently" in str(found[2])


def test_accounts_with_one_api_key_all_fail(rows: Any) -> None:
    lines = [f"{sid_of(number)},{KEY},{number}" for number in range(9)]
    other = f"{sid_of(9)},{'SK' + '4' * 32},x"
    found = rows("account_sid,api_key,api_secret\n" + "\n".join([*lines, other]))
    assert good(found) == [sid_of(9)]
    assert bad(found) == [(number + 2, sid_of(number)) for number in range(9)]
    reason = "lines 2, 3, 4, 5, 6 and 4 more have the same API key, which belongs to only one accou"
    assert all(reason in str(row) for row in found[:9])


def test_a_malformed_row_does_not_stand_for_the_good_row_of_its_account(rows: Any) -> None:
    found = rows(f"{HEADER}\n{A},\n{A},one\n{A},x,y\n")
    assert good(found) == [A]
    assert bad(found) == [(2, None), (4, None)]
    assert str(found[0]) == f"line 2: {A}: expected auth_token, or api_key and api_secret"
    found = rows(f"{HEADER}\n{A},\n{A},x,y\n")
    assert bad(found) == [(2, A), (3, None)]


async def test_fetching_an_account_compares_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.touch(mode=0o600)
    path.write_text(f"{HEADER}\n{A},one\n{B},two\n{A},one\n{B},three\n{sid_of(3)},3\n")
    source = accounts.from_file(path)
    assert (await source.fetch(A)).credentials == AccountToken(A, "one")
    assert (await source.fetch(sid_of(3))).credentials == AccountToken(sid_of(3), "3")
    with pytest.raises(CredentialsError, match=f"lines 3 and 5 describe {B} differently"):
        await source.fetch(B)


@given(numbers=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), max_size=12))
@IN_ONE_FOLDER
def test_each_account_has_at_most_one_good_row_and_every_row_is_told(
    rows: Any, numbers: list[tuple[int, int]]
) -> None:
    found = rows(HEADER + "\n" + "".join(f"{sid_of(n)},token-{token}\n" for n, token in numbers))
    assert [row.line for row in found] == [index + 2 for index in range(len(numbers))]
    tokens = {n: {token for other, token in numbers if other == n} for n, _ in numbers}
    assert sorted(good(found)) == sorted(sid_of(n) for n in tokens if len(tokens[n]) == 1)
    named = [*good(found), *(sid for _, sid in bad(found) if sid is not None)]
    assert sorted(named) == sorted(sid_of(n) for n in tokens)


async def test_the_index_of_a_file_takes_little_memory_for_each_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.touch(mode=0o600)
    path.write_text(HEADER + "\n" + "".join(f"{sid_of(n)},{n:032x}\n" for n in range(20_000)))
    source = FileAccounts(path)
    tracemalloc.start()
    try:
        await source.fetch(sid_of(1))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 20_000 * 60
    assert (await source.fetch(sid_of(19_999))).sid == sid_of(19_999)
