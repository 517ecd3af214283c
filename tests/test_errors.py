"""Errors: their messages, their attributes, and pickling."""

import pickle
import re
from typing import Any

import pytest

from marketplace_async import (
    AmbiguousOutcomeError,
    APIError,
    AuthenticationError,
    BadRequestError,
    ClientClosedError,
    ConfigurationError,
    ConfigurationIssue,
    ConflictError,
    ConnectError,
    CredentialsError,
    MarketplaceError,
    MissingExtraError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    Request,
    RequestTimeoutError,
    Response,
    ResponseError,
    SchemaError,
    ServerError,
    TokenError,
    TransportError,
    errors,
)
from marketplace_async._core.codec import api_error

REQUEST = Request("POST", "/v1/InstalledAddOns", body=b"a=b")


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


def test_the_message_contains_status_code_request_and_request_id() -> None:
    error = api_error(REQUEST, response(403, b'{"code": 20003, "message": "Permission denied"}'))
    assert str(error) == "403 20003: Permission denied (POST /v1/InstalledAddOns), RQ1"
    assert (error.status, error.code, error.request_id) == (403, 20003, "RQ1")
    assert error.request is REQUEST


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
        (
            b'{"code":"7","message":5}',
            (None, 'unexpected body: \'{"code":"7","message":5}\'', None, None),
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


def test_a_rate_limit_error_has_the_time_to_wait() -> None:
    error = api_error(REQUEST, response(429, b"", **{"Retry-After": "7"}))
    assert isinstance(error, RateLimitedError)
    assert error.retry_after == 7.0


@pytest.mark.parametrize(
    "error",
    [
        api_error(
            REQUEST, response(404, b'{"code":20404,"message":"not found","details":{"a":1}}')
        ),
        api_error(REQUEST, response(429, b"", **{"Retry-After": "7"})),
        ResponseError(REQUEST, response(200, b"<html>"), "not JSON"),
        TransportError(REQUEST, "reset"),
        ConnectError(REQUEST, "refused"),
        RequestTimeoutError(REQUEST, "no answer within 10 s"),
        AmbiguousOutcomeError(REQUEST, TransportError(REQUEST, "reset")),
        ConfigurationError("XB1", [ConfigurationIssue("a", "is wrong")]),
        SchemaError("a schema"),
        TokenError(TransportError(REQUEST, "reset")),
        CredentialsError("TWILIO_ACCOUNT_SID is missing"),
        ClientClosedError("closed"),
        MissingExtraError("the emulator", "emulator"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_pickling(error: MarketplaceError) -> None:
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
