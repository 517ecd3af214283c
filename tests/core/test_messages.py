"""Requests, responses, and the checks of their parts: values, without an event loop."""

import pickle
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from random import Random
from typing import Any, Literal
from urllib.parse import parse_qs

import attrs
import pytest
from hypothesis import given, strategies as st
from support.disguises import disguised
from yarl import URL

from marketplace_async import Request, Response
from marketplace_async._core.arguments import (
    check_base_url,
    check_flag,
    check_header_value,
    check_headers,
    check_location,
    check_positive,
    check_positive_int,
    check_sid,
    check_text,
    twilio_url,
)
from marketplace_async._core.codec import plain_object
from marketplace_async._core.messages import Headers, form, trusted_request

DIGITS = "0123456789abcdef0123456789ABCDEF"


def test_a_sid_of_the_right_kind_passes() -> None:
    assert check_sid("XE", f"XE{DIGITS}", "sid") == f"XE{DIGITS}"


@pytest.mark.parametrize(
    "sid",
    [
        "",
        "XE",
        "XE1/../../v1/Listings",
        f"XE{DIGITS}\n",
        f"XE{DIGITS}?",
        f" XE{DIGITS}",
        f"XE{DIGITS}0",
        f"XE{DIGITS[:-1]}",
        f"XE{DIGITS[:-1]}g",
        f"xe{DIGITS}",
        f"XE{DIGITS[:-1]}\N{ARABIC-INDIC DIGIT ONE}",
    ],
)
def test_an_invalid_sid_is_shown_with_the_expectation(sid: str) -> None:
    with pytest.raises(
        ValueError, match=r"installed_sid: .* is not the SID of an installed"
    ) as error:
        check_sid("XE", sid, "installed_sid")
    assert repr(sid) in str(error.value)


def test_a_sid_of_another_kind_is_named() -> None:
    with pytest.raises(
        ValueError, match=r"an installed Add-on \(XE.*the SID of an available Add-on"
    ):
        check_sid("XE", f"XB{DIGITS}", "sid")


@pytest.mark.parametrize("value", [None, 5, b"XE", ["XE"]])
def test_a_sid_that_is_not_text_is_a_type_error(value: object) -> None:
    with pytest.raises(TypeError, match=f"got {type(value).__name__}"):
        check_sid("XE", value, "sid")  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["", " ", "\t\n"])
def test_text_must_not_be_empty(value: str) -> None:
    with pytest.raises(ValueError, match="unique_name: must not be blank"):
        check_text(value, "unique_name")


def test_text_must_be_valid() -> None:
    with pytest.raises(ValueError, match=r"unique_name: '.ud800' is not valid Unicode"):
        check_text("\ud800", "unique_name")


def test_text_must_be_text() -> None:
    with pytest.raises(TypeError, match="unique_name: expected text, got int"):
        check_text(5, "unique_name")  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["true", 1, 0, None])
def test_a_flag_must_be_a_bool(value: object) -> None:
    with pytest.raises(TypeError, match="enabled: expected True or False"):
        check_flag(value, "enabled")  # type: ignore[arg-type]


@given(st.dictionaries(st.sampled_from("ABCDE"), st.text(min_size=1).filter(str.isprintable)))
def test_a_form_survives_a_round_trip(fields: dict[str, str]) -> None:
    read = parse_qs(form(**fields).decode(), strict_parsing=bool(fields))
    assert read == {name: [value] for name, value in fields.items()}


def test_a_form_writes_lowercase_flags_and_omits_none() -> None:
    assert form(A=True, B=False, C=None, D="x y") == b"A=true&B=false&D=x+y"


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("get", "/v1/X", ""),
        ("GET\r\n", "/v1/X", ""),
        ("GET", "", ""),
        ("GET", "v1/X", ""),
        ("GET", "https://example.com/v1/X", ""),
        ("GET", "/v1/../X", ""),
        ("GET", "/v1/..", ""),
        ("GET", "/v1/./X", ""),
        ("GET", "/v1/X?a=b", ""),
        ("GET", "/v1/X#a", ""),
        ("GET", "/v1/X y", ""),
        ("GET", "/v1/X\n", ""),
        ("GET", "/v1/%zz", ""),
        ("GET", "/v1/%2e%2e/X", ""),
        ("GET", "/v1/a%2Fb", ""),
        ("GET", "/v1/X", "a=b#c"),
        ("GET", "/v1/X", "a=b c"),
        ("GET", "/v1/X", "a=b\r\nHost: x"),
    ],
)
def test_a_request_with_an_ambiguous_target_is_refused(method: str, path: str, query: str) -> None:
    with pytest.raises(ValueError, match=r"(method|path|query): expected"):
        Request(method, path, query)


@pytest.mark.parametrize("part", ["method", "path", "content_type"])
def test_the_parts_of_a_request_are_text(part: str) -> None:
    with pytest.raises(TypeError, match=f"{part}: expected text, got bytes"):
        Request(**{"method": "POST", "path": "/v1/X", part: b"x"})  # type: ignore[arg-type]


def test_a_bool_in_a_query_is_true_or_false() -> None:
    request = Request("GET", "/v1/X", {"a": True, "b": False, "c": 1})
    assert request.query == "a=true&b=false&c=1"


@given(st.randoms(use_true_random=False))
def test_a_request_holds_the_plain_values_of_its_parts(random: Random) -> None:
    parts: dict[str, Any] = {
        "method": "POST",
        "path": "/v1/X",
        "query": "a=b",
        "body": b"{}",
        "content_type": "text/plain",
        "repeat": "always",
        "operation": "x.y",
        "host": "api",
    }
    request = Request(**{name: disguised(value, random) for name, value in parts.items()})
    assert request == Request(**parts)
    for name, value in parts.items():
        assert type(getattr(request, name)) is type(value)


@given(st.sampled_from(["GET", "POST", "DELETE"]), st.sampled_from([None, "always"]))
def test_a_trusted_request_equals_a_checked_one(
    method: str, repeat: Literal["always"] | None
) -> None:
    parts = (method, "/v1/X", "a=b", b"{}", "text/plain", repeat)
    trusted = trusted_request(*parts, host="api")
    assert trusted == Request(*parts, host="api")
    assert repr(trusted) == repr(Request(*parts, host="api"))
    assert attrs.evolve(trusted, body=None) == Request(*parts[:3], None, *parts[4:], host="api")
    assert pickle.loads(pickle.dumps(trusted)) == trusted


@given(
    sid=st.text("0123456789abcdefABCDEF", min_size=32, max_size=32).map("XE".__add__),
    name=st.text(min_size=1).filter(str.strip),
    number=st.integers(1),
    seconds=st.floats(0.001, 1e6),
    value=st.dictionaries(st.text(), st.lists(st.text() | st.integers() | st.floats(-1, 1))),
    random=st.randoms(use_true_random=False),
)
def test_every_check_returns_the_plain_value(
    sid: str, name: str, number: int, seconds: float, value: dict[str, Any], random: Random
) -> None:
    def check(check: Callable[..., Any], given: Any, *args: str) -> None:
        checked = check(disguised(given, random), *args)
        assert (checked, type(checked)) == (given, type(given))

    check(partial(check_sid, "XE"), sid, "sid")
    check(check_text, name, "unique_name")
    check(check_positive_int, number, "limit")
    check(check_positive, seconds, "timeout", "seconds")
    check(check_positive, number, "timeout", "seconds")
    check(check_location, "au1", "region")
    check(check_base_url, "http://127.0.0.1:1")
    check(check_header_value, "a b", "user_agent")
    check(check_headers, {"X-A": "1"})
    check(plain_object, value, "configuration")
    assert repr(plain_object(disguised(value, random), "configuration")) == repr(value)
    assert twilio_url("api", region=disguised("au1", random)) == "https://api.au1.twilio.com"


@pytest.mark.parametrize(
    ("headers", "error", "message"),
    [
        ([("X-A", "1")], TypeError, "headers: expected a mapping, got list"),
        ({5: "1"}, TypeError, "headers: expected text as a name, got int"),
        ({"X-A": 5}, TypeError, "headers: X-A: expected text, got int"),
        ({"X-A": None}, TypeError, "headers: X-A: expected text, got NoneType"),
        ({"": "1"}, ValueError, "headers: '' is not the name of a header"),
        ({"X A": "1"}, ValueError, "headers: 'X A' is not the name"),
        ({"X-A:": "1"}, ValueError, "headers: 'X-A:' is not the name"),
        ({"X-A\r\nX-B": "1"}, ValueError, "headers: .* is not the name"),
        ({"X-Ä": "1"}, ValueError, "headers: 'X-Ä' is not the name"),
        *(
            ({"X-A": value}, ValueError, "headers: X-A: expected printable ASCII")
            for value in ("", " ", "a ", " a", "geheim\r\nX: y", "a\n", "a\0", "a\x7f", "é", "名")
        ),
        *(
            ({name: "1"}, ValueError, f"headers: the client sets {name} itself")
            for name in ("Authorization", "host", "USER-AGENT", "Content-Length", "Connection")
        ),
        ({"X-A": "1", "x-a": "2"}, ValueError, "headers: x-a is given twice"),
    ],
)
def test_a_header_that_cannot_be_added_is_refused_without_showing_its_value(
    headers: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        check_headers(headers)
    assert "geheim" not in str(raised.value)


@given(st.dictionaries(st.text(min_size=1), st.text(min_size=1)))
def test_a_mapping_is_encoded_as_a_query(query: dict[str, str]) -> None:
    read = parse_qs(Request("GET", "/v1/X", query).query, strict_parsing=bool(query))
    assert read == {name: [value] for name, value in query.items()}


def test_a_path_may_be_percent_encoded_and_contain_dots_in_names() -> None:
    assert str(Request("GET", "/v1/a%20b/.well/..known")) == "GET /v1/a%20b/.well/..known"


@pytest.mark.parametrize(
    ("part", "error"),
    [
        ({"query": {"a": None}}, TypeError),
        ({"body": "text"}, TypeError),
        ({"content_type": "a/b\r\nX: y"}, ValueError),
        ({"content_type": "text"}, ValueError),
        ({"repeat": "sometimes"}, ValueError),
        ({"query": 5}, TypeError),
        ({"query": {5: "a"}}, TypeError),
        ({"query": {"a": 1.5}}, TypeError),
    ],
)
def test_the_other_parts_of_a_request_are_checked_too(
    part: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match=f"{next(iter(part))}: expected"):
        Request("POST", "/v1/X", **part)


def test_the_repr_of_a_request_omits_its_body() -> None:
    assert "geheim" not in repr(Request("POST", "/v1/X", body=b"geheim"))


def test_headers_are_case_insensitive_and_survive_pickling() -> None:
    response = Response(200, {"twilio-request-id": "RQ1"}, b"{}")
    assert response.request_id == "RQ1"
    copy = pickle.loads(pickle.dumps(response))
    assert copy == response
    assert copy.headers["TWILIO-REQUEST-ID"] == "RQ1"
    assert hash(copy) == hash(response)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("5", 5.0),
        (" 120 ", 120.0),
        ("0", 0.0),
        ("-5", None),
        ("soon", None),
        ("1e3", None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Thu, 99 Jan 1970 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_parsed_as_seconds_and_invalid_values_are_ignored(
    value: str | None, seconds: float | None
) -> None:
    headers = {} if value is None else {"Retry-After": value}
    assert Response(429, headers, b"").retry_after == seconds


def test_retry_after_is_parsed_as_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    seconds = Response(429, {"Retry-After": date}, b"").retry_after
    assert seconds is not None
    assert 55 < seconds <= 60 + time.get_clock_info("time").resolution


@pytest.fixture(params=["UTC", "America/New_York", "Asia/Kolkata"])
def _zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of a process cannot be changed")
@pytest.mark.usefixtures("_zone")
@pytest.mark.parametrize("date", ["Fri, 06 Nov 2026 08:49:17 GMT", "Fri Nov  6 08:49:17 2026"])
@pytest.mark.parametrize(
    "after",
    [
        "Fri, 06 Nov 2026 08:49:37 GMT",
        "Friday, 06-Nov-26 08:49:37 GMT",
        "Fri Nov  6 08:49:37 2026",
        "Fri, 06 Nov 2026 08:49:37 -0000",
        "Fri, 06 Nov 2026 08:49:37",
    ],
)
def test_a_date_is_in_utc_and_measured_against_the_date_of_the_response(
    date: str, after: str
) -> None:
    assert Response(429, {"Retry-After": after, "Date": date}, b"").retry_after == 20.0


def test_a_retry_after_before_the_date_of_the_response_is_now() -> None:
    headers = {
        "Retry-After": "Fri, 06 Nov 2099 08:49:37 GMT",
        "Date": "Sat, 07 Nov 2099 08:49:37 GMT",
    }
    assert Response(503, headers, b"").retry_after == 0.0


@given(value=st.text(), date=st.text())
def test_any_retry_after_and_any_date_are_read_or_ignored(value: str, date: str) -> None:
    seconds = Response(429, {"Retry-After": value, "Date": date}, b"").retry_after
    assert seconds is None or seconds >= 0


@pytest.mark.parametrize(
    ("region", "edge", "host"),
    [
        (None, None, "https://marketplace.twilio.com"),
        ("au1", None, "https://marketplace.au1.twilio.com"),
        (None, "sydney", "https://marketplace.sydney.us1.twilio.com"),
        ("au1", "sydney", "https://marketplace.sydney.au1.twilio.com"),
    ],
)
def test_region_and_edge_are_part_of_the_host(
    region: str | None, edge: str | None, host: str
) -> None:
    assert twilio_url("marketplace", region=region, edge=edge) == host


@pytest.mark.parametrize("name", ["", "a.b", "evil.com/", "AU1", "-a", "a b"])
def test_a_region_that_could_change_the_host_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="region: expected a name such as au1"):
        twilio_url("marketplace", region=name)


@pytest.mark.parametrize(
    ("base_url", "normalized"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("http://localhost/twilio/", "http://localhost/twilio"),
        ("https://[::1]:443", "https://[::1]"),
        (URL("http://localhost:1"), "http://localhost:1"),
    ],
)
def test_a_base_url_is_normalized(base_url: str | URL, normalized: str) -> None:
    assert check_base_url(base_url) == normalized


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8080",
        "ftp://127.0.0.1",
        "http://",
        "http://[",
        "http://h/?a=b",
        "http://h/#a",
        "http://h/v1/",
    ],
)
def test_an_invalid_base_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"base_url: (expected|must not have|leave out)"):
        check_base_url(url)


def test_a_base_url_with_a_password_is_refused_without_showing_it() -> None:
    for url in ("http://user:geheim@h", "ftp://user:geheim@h", "user:geheim@h", "http://[@geheim"):
        with pytest.raises(ValueError, match="must not contain a user name") as error:
            check_base_url(url)
        assert "geheim" not in str(error.value)


@pytest.mark.parametrize("name", ["A", "X-Two", "x-TWO", "Empty", "Other", "Two", "b: c", "é", ""])
def test_one_header_is_found_without_parsing_the_others(name: str) -> None:
    head = (
        b"HTTP/1.1 200 OK\r\nA: 1\r\nX-Two:  b: c \r\nEmpty:\r\nX-Two: again\r\nOther: A:\r\n\r\n"
    )
    alone, parsed = Headers.from_head(head), Headers.from_head(head)
    assert len(parsed) == 5
    assert alone.get(name, "nothing") == parsed.get(name, "nothing")
