"""One instance of every error class of the package, holding what its arguments are given."""

from collections.abc import Iterator
from typing import Any

import marketplace_async
from marketplace_async import (
    AmbiguousOutcomeError,
    ClientClosedError,
    ConfigurationError,
    ConfigurationIssue,
    ConnectError,
    CredentialsError,
    IncompleteListError,
    InstalledAddOn,
    MarketplaceError,
    MissingExtraError,
    NotEnsuredError,
    Request,
    RequestTimeoutError,
    Response,
    ResponseError,
    SchemaError,
    TokenError,
    TransportError,
    UnreadableFieldError,
    UnusableResponseError,
    WebhookError,
    fleet,
)
from marketplace_async._core.error_documents import api_error
from marketplace_async.fleet._engine.entries import Failure
from marketplace_async.fleet._engine.notifier import AccountError

REPORT = fleet.InventoryReport(
    counts=fleet.Counts(), records=0, failures=fleet.Failures(0, (), None), complete=False
)
STATUSES = (302, 400, 401, 403, 404, 409, 418, 429, 500, 503)
INSTALLED = InstalledAddOn(sid="XE" + "1" * 32, account_sid="AC" + "1" * 32)


def every_class() -> set[type[MarketplaceError]]:
    """Return every error class that can be raised: those of the package, but the base class."""

    def below(cls: type[MarketplaceError]) -> Iterator[type[MarketplaceError]]:
        for child in cls.__subclasses__():
            if child.__module__.startswith(marketplace_async.__name__):
                yield child
                yield from below(child)

    return set(below(MarketplaceError))


def every_error(request: Request, response: Response, text: str) -> list[MarketplaceError]:
    """Return errors of every class about this request and response, with this text in each."""

    def of_status(status: int) -> Response:
        return Response(
            status,
            response.headers,
            response.body,
            authorization=response._authorization,
        )

    reset = TransportError(request, text, 0.25)
    document: Any = {text: [text]}
    return [
        *(api_error(request, of_status(status)) for status in STATUSES),
        ResponseError(request, response, text),
        UnusableResponseError(request, response, text, document, text),
        IncompleteListError(request, response, text, [INSTALLED]),
        reset,
        ConnectError(request, text),
        RequestTimeoutError(request, text),
        AmbiguousOutcomeError(request, reset),
        ConfigurationError(text, [ConfigurationIssue(text, text)]),
        SchemaError(text),
        TokenError(reset),
        CredentialsError(text),
        ClientClosedError(text),
        UnreadableFieldError(text, [text]),
        NotEnsuredError(INSTALLED, [text], "updated"),
        WebhookError(text),
        MissingExtraError(text, "emulator"),
        fleet.JobError(text),
        fleet.DesiredStateError(text),
        fleet.AccountTimeoutError(1.0),
        fleet.WorkerLostError(text, is_certain=True),
        fleet.JobEndedError(REPORT, text),
        AccountError(Failure("AC" + "1" * 32, text, "APIError", text)),
    ]
