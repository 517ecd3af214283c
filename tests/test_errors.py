"""Errors: their messages, their attributes, and pickling."""

import json
import pickle
import re
import time
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st
from support.every_error import every_class, every_error

from marketplace_async import (
    AmbiguousOutcomeError,
    APIError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    MarketplaceError,
    MissingExtraError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    Request,
    RequestTimeoutError,
    Response,
    ResponseError,
    ServerError,
    TransportError,
    errors,
)
from marketplace_async._core.error_documents import api_error
from marketplace_async._core.printable import UNPRINTABLE

REQUEST = Request("POST", "/v1/InstalledAddOns", body=b"a=b")


SAMPLES = every_error(REQUEST, Response(200, {"Retry-After": "7"}, b'{"details":{"a":1}}'), "why")


def response(status: int, body: bytes, **headers: str) -> Response:
    return Response(status, {"Twilio-Request-Id": "RQ1", **headers}, body)


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (409, ConflictError),
        (429, RateLimitedError),
        (500, ServerError),
        (502, ServerError),
        (503, ServerError),
        (599, ServerError),
        (302, APIError),
        (418, APIError),
    ],
)
def test_the_status_determines_the_class(status: int, cls: type[APIError]) -> None:
    assert type(api_error(REQUEST, response(status, b""))) is cls


ACCOUNT = "AC" + "1" * 32
CREATE = Request("POST", "/v1/InstalledAddOns", body=b"a=b", operation="installed_add_ons.create")


def test_the_message_says_what_was_sent_where_and_how_often() -> None:
    denied = response(403, b'{"code": 20003, "message": "Permission denied"}')
    error = api_error(CREATE, denied)
    assert (error.status, error.code, error.request_id) == (403, 20003, "RQ1")
    assert error.request is CREATE
    start = "403 20003: Permission denied (installed_add_ons.create, POST /v1/InstalledAddOns"
    assert str(error) == f"{start}, RQ1)"
    error.account_sid = ACCOUNT
    error.attempts = 1
    assert str(error) == f"{start}, {ACCOUNT}, RQ1, attempt 1)"
    error.attempts, error.total_elapsed = 4, 2.14
    assert str(error) == f"{start}, {ACCOUNT}, RQ1, after 4 attempts in 2.1 s)"
    plain = str(api_error(REQUEST, response(403, denied.body)))
    assert plain == "403 20003: Permission denied (POST /v1/InstalledAddOns, RQ1)"
    lost = TransportError(CREATE, "reset")
    lost.attempts = 1
    assert str(lost) == "reset (installed_add_ons.create, POST /v1/InstalledAddOns, attempt 1)"
    ambiguous = AmbiguousOutcomeError(CREATE, lost)
    assert str(ambiguous) == f"installed_add_ons.create may or may not have taken effect: {lost}"
    assert (ambiguous.attempts, ambiguous.account_sid) == (1, None)


def test_the_text_of_an_error_contains_the_start_of_a_long_message() -> None:
    error = api_error(REQUEST, response(400, b'{"message": "' + b"m" * 60_000 + b'"}'))
    assert len(error.message) == 60_000
    assert len(str(error)) < 1100


@given(st.text(), st.sampled_from(range(len(SAMPLES))))
def test_the_text_of_every_error_is_one_line_without_control_characters(
    text: str, number: int
) -> None:
    body = json.dumps({"message": text, "code": 1}).encode()
    error = every_error(CREATE, Response(200, {"Location": "/"}, body), text)[number]
    lines = str(error).splitlines() or [""]
    assert len(lines) == 1
    assert not UNPRINTABLE.search(lines[0])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            b'{"code":20404,"message":"not found","more_info":"https://x/20404","status":404}',
            (20404, "not found", "https://x/20404", None),
        ),
        (b'{"code":1,"message":"m","details":{"a":[1]}}', (1, "m", None, {"a": [1]})),
        (b'{"code":1,"message":"m","params":{"a":1}}', (1, "m", None, {"a": 1})),
        (
            b'{"type":"https://x/p","title":"T","status":400,"code":7,"detail":"D","errors":[1]}',
            (7, "D", "https://x/p", [1]),
        ),
        (b'{"title":"T"}', (None, "T", None, None)),
        (b'{"code":"20404","message":"m"}', (20404, "m", None, None)),
        (b'{"code":20404.0,"message":"m"}', (20404, "m", None, None)),
        (b'\xef\xbb\xbf{"code":7,"message":"cut \\ud83d"}', (7, "cut \ud83d", None, None)),
        (
            b'{"code":"7","message":5}',
            (7, 'unexpected body: \'{"code":"7","message":5}\'', None, None),
        ),
        (b'{"error":{"code":"20404","message":"m","details":[1]}}', (20404, "m", None, [1])),
        (
            b'{"errors":[{"code":1,"message":"m"},{"code":2,"message":"n"}]}',
            (1, "m", None, [{"code": 1, "message": "m"}, {"code": 2, "message": "n"}]),
        ),
        (b'[{"code":1,"message":"m"}]', (1, "m", None, None)),
        (
            b'{"fault":{"faultstring":"quota","detail":{"errorcode":"429"}}}',
            (429, "quota", None, None),
        ),
        (b'{"error":"not found"}', (None, "not found", None, None)),
        (
            b'{"error":"invalid_client","error_description":"no such client"}',
            (None, "invalid_client: no such client", None, None),
        ),
        (
            b'{"message":"m","details":{"a":1},"params":["b"],"errors":0}',
            (None, "m", None, {"details": {"a": 1}, "params": ["b"], "errors": 0}),
        ),
        (
            b"<!DOCTYPE html><html><head>\n<TITLE lang=en>502\n Bad &amp; Gateway</TITLE></head>",
            (None, "a page with the title '502 Bad & Gateway'", None, None),
        ),
        (
            b"<html><body><h1>503 Service Unavailable</h1>\nNo server is available.",
            (None, "a page with the title '503 Service Unavailable'", None, None),
        ),
        (b'{"code":true}', (None, "unexpected body: '{\"code\":true}'", None, None)),
        (b"[1]", (None, "unexpected body: '[1]'", None, None)),
        (b"", (None, "empty body", None, None)),
        (
            b"<html>" + b"x" * 200,
            (None, "unexpected body: '<html>" + "x" * 74 + "'...", None, None),
        ),
        (b"\xff\xfe", (None, "unexpected body: '\ufffd\ufffd'", None, None)),
    ],
)
def test_every_format_of_error_document_is_parsed(body: bytes, expected: tuple[Any, ...]) -> None:
    error = api_error(REQUEST, response(400, body))
    assert (error.code, error.message, error.more_info, error.details) == expected


def test_an_error_document_that_is_nested_too_deeply_is_ignored() -> None:
    body = b'{"details":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    assert api_error(REQUEST, response(500, body)).code is None


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_a_redirect_says_where_to(status: int) -> None:
    redirect = response(status, b"", Location="https://example.com/login\x1b[31m")
    error = api_error(REQUEST, redirect)
    assert error.message == "redirected to https://example.com/login\x1b[31m, which is not followed"
    assert "\x1b" not in str(error)
    document = response(status, b'{"message": "moved"}', Location="/v2")
    assert api_error(REQUEST, document).message == "moved; redirected to /v2, which is not followed"


@pytest.mark.parametrize(
    "body", [b"<title>" * 9000, b"<title " * 9000, b"<h1>&" * 13_000, b'{"error":' * 7000]
)
def test_a_hostile_page_is_described_at_once(body: bytes) -> None:
    started = time.perf_counter()
    api_error(REQUEST, response(500, body))
    assert time.perf_counter() - started < 0.5


def test_errors_keep_64_kb_of_a_body() -> None:
    large = response(200, b"x" * 100_000)
    for error in (
        api_error(REQUEST, attrs.evolve(large, status=400)),
        ResponseError(REQUEST, large, "not JSON"),
    ):
        assert len(error.response.body) == 65_536
        assert len(pickle.dumps(error)) < 70_000


def test_a_rate_limit_error_has_the_time_to_wait() -> None:
    error = api_error(REQUEST, response(429, b"", **{"Retry-After": "7"}))
    assert isinstance(error, RateLimitedError)
    assert error.retry_after == 7.0


def test_there_is_a_sample_of_every_class() -> None:
    assert {type(error) for error in SAMPLES} >= every_class()


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
def test_errors_survive_pickling(error: MarketplaceError) -> None:
    error.account_sid, error.attempts, error.total_elapsed = ACCOUNT, 4, 2.1
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert {name: str(value) for name, value in vars(copy).items()} == {
        name: str(value) for name, value in vars(error).items()
    }


def test_a_timeout_is_a_timeout_error_and_a_missing_extra_an_import_error() -> None:
    assert isinstance(RequestTimeoutError(REQUEST, "too late"), TimeoutError)
    assert isinstance(MissingExtraError("the emulator", "emulator"), ImportError)


def test_the_docstring_draws_the_tree() -> None:
    tree = errors.__doc__ or ""
    drawn = {
        name: len(indent) // 4 - 1
        for indent, name in re.findall(r"^([ |`-]+)(\w+Error)\b", tree, re.MULTILINE)
    }
    actual = {
        name: sum(issubclass(base, MarketplaceError) for base in cls.__mro__) - 1
        for name, cls in vars(errors).items()
        if isinstance(cls, type) and issubclass(cls, MarketplaceError)
    }
    assert drawn == actual
