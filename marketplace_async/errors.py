"""The exceptions of the package.

    MarketplaceError
    |-- APIError                    the service returned an error: status, code, message ...
    |   |-- BadRequestError         400  a parameter is missing or invalid
    |   |-- AuthenticationError     401  the credentials are invalid
    |   |-- PermissionDeniedError   403  the account lacks the permission
    |   |-- NotFoundError           404  the resource does not exist on this account
    |   |-- ConflictError           409  the unique name is taken
    |   |-- RateLimitedError        429  too many concurrent requests on this account: retry_after
    |   `-- ServerError             5xx  the service failed
    |-- ResponseError               the response is not what the API promises
    |   |-- UnusableResponseError   ... but complete: the request was accepted, and is not repeated
    |   `-- IncompleteListError     ... and does not say whether the list goes on: items
    |-- TransportError              no complete response
    |   |-- ConnectError            ... because no connection was established: nothing was sent
    |   `-- RequestTimeoutError     ... within the timeout (also a TimeoutError)
    |-- AmbiguousOutcomeError       a write may have taken effect, and is not safe to repeat
    |-- UnreadableFieldError        a write depends on a field that is unknown: nothing was changed
    |-- NotEnsuredError             the result of `ensure` is not what was asked: differences
    |-- ConfigurationError          a configuration violates the Add-on's schema (also a ValueError)
    |-- SchemaError                 the configuration schema of an Add-on is not usable
    |-- TokenError                  no OAuth access token: nothing was sent
    |-- CredentialsError            credentials are missing or malformed
    |-- ClientClosedError           the client, or its borrowed session, is closed
    |-- WebhookError                a webhook is not signed by Twilio, or is malformed
    `-- MissingExtraError           an optional dependency is not installed (also an ImportError)

Invalid arguments raise ValueError or TypeError before anything is sent.

The text of an error is one line: control characters are escaped. Errors can be pickled. They hold
the request without its credentials, and at most 64 kB of the body of a response, in which the
credentials are masked.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import attrs

from ._core.messages import MAX_ERROR_BODY, Request, Response
from ._core.printable import printable
from ._core.records import Value

# Characters of a message of the service that the text of an error contains.
_MAX_MESSAGE: Final = 1000


class MarketplaceError(Exception):
    """The base class of the errors of this package.

    Attributes:
        resume_at: Where to resume with `list(start=...)`, if a page of a list failed.
        retry_withheld: The retry quota that was used up, so that there was no other attempt:
            "account" or "service"; otherwise None.
        after_unknown: Whether an earlier attempt of a write had an unknown outcome: it may have
            taken effect, and this error may be its consequence.
        account_sid: The account that the credentials belong to, `AC...`, if known.
        attempts: The number of the failed attempt; the first is 1. None if nothing was sent.
        total_elapsed: Seconds that this and all earlier attempts took, with the waits between them.
    """

    resume_at: str | None = None
    retry_withheld: Literal["account", "service"] | None = None
    after_unknown: bool = False
    account_sid: str | None = None
    attempts: int | None = None
    total_elapsed: float = 0.0

    def __str__(self) -> str:
        text = self._text()
        if self.after_unknown:
            text += "; an earlier attempt may have taken effect"
        return printable(text)

    def _text(self) -> str:
        return super().__str__()

    def _where(self, request: Request, response: Response | None = None) -> str:
        attempts = None
        if self.attempts == 1:
            attempts = "attempt 1"
        elif self.attempts is not None:
            attempts = f"after {self.attempts} attempts in {self.total_elapsed:.1f} s"
        request_id = None if response is None else response.request_id
        parts = (request.operation, str(request), self.account_sid, request_id, attempts)
        where = f"({', '.join(part for part in parts if part)})"
        if self.retry_withheld is not None:
            where += f"; not retried: the retry quota of this {self.retry_withheld} is used up"
        return where


def _kept(response: Response) -> Response:
    """Return what an error keeps of a response."""
    bare = response.without_secrets()
    if len(bare.body) > MAX_ERROR_BODY:
        bare = attrs.evolve(bare, body=bare.body[:MAX_ERROR_BODY])
    return bare


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_MESSAGE else text[:_MAX_MESSAGE] + "..."


class APIError(MarketplaceError):
    """The service returned an error.

    Attributes:
        request: The request.
        response: The response, with at most 64 kB of its body.
        code: Twilio's error code, such as 20404, if the body has one.
        message: Twilio's message. If the body is not an error document: the title of a page, the
            address of a redirect, or the start of the body.
        more_info: The URL of Twilio's page about this code, if the body has one.
        details: Anything else that the body says about the cause; free-form.
        paused_for: Seconds for which the account is paused, if the request was not sent because of
            the pause that this response asked for; otherwise None.
    """

    paused_for: float | None = None

    def __init__(
        self,
        request: Request,
        response: Response,
        code: int | None = None,
        message: str = "",
        more_info: str | None = None,
        details: Any = None,
    ) -> None:
        message, more_info = response.mask(message), response.mask(more_info)
        details, response = response.mask(details), _kept(response)
        super().__init__(request, response, code, message, more_info, details)
        self.request = request
        self.response = response
        self.code = code
        self.message = message
        self.more_info = more_info
        self.details = details

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.response.status

    @property
    def request_id(self) -> str | None:
        """The `Twilio-Request-Id` of the response."""
        return self.response.request_id

    def _text(self) -> str:
        code = f" {self.code}" if self.code is not None else ""
        where = self._where(self.request, self.response)
        text = f"{self.status}{code}: {_shortened(self.message)} {where}"
        if self.paused_for is not None:
            text += f"; not sent: the account is paused for {self.paused_for:.1f} s more"
        return text


class BadRequestError(APIError):
    """400: a parameter is missing or invalid; `message` says which."""


class AuthenticationError(APIError):
    """401: the credentials are invalid."""


class PermissionDeniedError(APIError):
    """403: the account lacks the permission, or is suspended or closed."""


class NotFoundError(APIError):
    """404: the resource does not exist, or belongs to another account."""


class ConflictError(APIError):
    """409: the unique name is taken on this account."""


class RateLimitedError(APIError):
    """429: too many concurrent requests on this account; the request was not processed."""

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait before the next request, if the service said so.

        If a pause of the account prevented the request, these are the seconds left of it.
        """
        if self.paused_for is not None:
            return self.paused_for
        return self.response.retry_after


class ServerError(APIError):
    """5xx: the service failed."""


class ResponseError(MarketplaceError):
    """The response is not what the API promises.

    Attributes:
        request: The request.
        response: The response, with at most 64 kB of its body.
        reason: What is wrong, with the path in the document if there is one.
        permanent: Whether another attempt would fail in the same way, as with a body that is larger
            than `max_response_size`. It is not made then.
    """

    permanent: bool = False

    def __init__(self, request: Request, response: Response, reason: str) -> None:
        reason, response = response.mask(reason), _kept(response)
        super().__init__(request, response, reason)
        self.request = request
        self.response = response
        self.reason = reason

    def _text(self) -> str:
        where = self._where(self.request, self.response)
        return f"{self.response.status}: {_shortened(self.reason)} {where}"


class UnusableResponseError(ResponseError):
    """The service accepted the request, but its response is not usable.

    The response is complete, with a status of 2xx and a JSON body. The body has another shape than
    the API promises, or it is about something other than what was asked. The request is not
    repeated. A write has taken effect in some way: check the account.

    Attributes:
        request: The request.
        response: The response, with at most 64 kB of its body.
        reason: What is wrong, with the path in the document if there is one.
        document: The parsed body. None if the body is larger than 64 kB, or confidential.
        sid: The SID in the body, if there is one.
    """

    def __init__(
        self,
        request: Request,
        response: Response,
        reason: str,
        document: Any = None,
        sid: str | None = None,
    ) -> None:
        if response.confidential or len(response.body) > MAX_ERROR_BODY:
            document = None
        document, sid = response.mask(document), response.mask(sid)
        super().__init__(request, response, reason)
        self.args: tuple[Any, ...] = (self.request, self.response, self.reason, document, sid)
        self.document = document
        self.sid = sid

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.response.status

    @property
    def is_write(self) -> bool:
        """Whether the request was a write, which has changed something."""
        return self.request.method not in ("GET", "HEAD")

    def _text(self) -> str:
        where = self._where(self.request, self.response)
        accepted = "the request was accepted, but " if self.is_write else ""
        return f"{self.status}: {accepted}{_shortened(self.reason)} {where}"


class IncompleteListError(ResponseError):
    """A list may have more items than the service returned.

    Raised if a full page does not say whether there is another one. Also raised for a list on which
    a write depends, if its last page does not say that it is the last, or if it has no end.

    Attributes:
        request: The request for the last page.
        response: The response, with at most 64 kB of its body.
        reason: What is missing.
        items: The items: all of them from `collect()`, otherwise those of the last page.
    """

    def __init__(
        self, request: Request, response: Response, reason: str, items: Sequence[Any] = ()
    ) -> None:
        super().__init__(request, response, reason)
        self.args: tuple[Any, ...] = (self.request, self.response, self.reason, tuple(items))
        self.items: tuple[Any, ...] = tuple(items)

    def with_items(self, items: Sequence[Any]) -> "IncompleteListError":
        """Return the same error with other items."""
        error = IncompleteListError(self.request, self.response, self.reason, items)
        vars(error).update({**vars(self), "items": tuple(items)})
        return error


class TransportError(MarketplaceError):
    """There was no complete response: the connection failed, or broke before the last byte.

    Attributes:
        request: The request.
        reason: What failed.
        elapsed: Seconds until the failure.
        timed_out: Whether a timeout or deadline of the client ended the attempt.
    """

    timed_out: bool = False

    def __init__(self, request: Request, reason: str, elapsed: float = 0.0) -> None:
        super().__init__(request, reason, elapsed)
        self.request = request
        self.reason = reason
        self.elapsed = elapsed

    def _text(self) -> str:
        return f"{_shortened(self.reason)} {self._where(self.request)}"


class ConnectError(TransportError):
    """No connection was established, so nothing was sent.

    Attributes:
        permanent: Whether another attempt would fail in the same way, as with a certificate that
            is not trusted. If so, the client makes none.
    """

    permanent = False


class RequestTimeoutError(TransportError, TimeoutError):
    """There was no complete response within the timeout of one attempt."""

    timed_out: bool = True

    def __init__(self, request: Request, reason: str, elapsed: float = 0.0) -> None:
        super().__init__(request, reason, elapsed)
        # OSError sets these from its first arguments.
        self.errno: int | None = None
        self.strerror: str | None = None
        self.filename: Any = None


class AmbiguousOutcomeError(MarketplaceError):
    """A write may or may not have taken effect, and it is not safe to repeat it.

    Raised for requests that could install, bill or create twice. Check the account before you
    repeat the request.

    Attributes:
        request: The request.
        error: The error of the last attempt; also the cause of this error.
    """

    def __init__(self, request: Request, error: MarketplaceError) -> None:
        super().__init__(request, error)
        self.request = request
        self.error = error
        self.account_sid: str | None = error.account_sid
        self.attempts: int | None = error.attempts
        self.total_elapsed: float = error.total_elapsed
        self.after_unknown: bool = error.after_unknown

    def _text(self) -> str:
        name = self.request.operation or self.request
        return f"{name} may or may not have taken effect: {self.error._text()}"


class UnreadableFieldError(MarketplaceError):
    """A write depends on a field that is missing in a response, or could not be read.

    Nothing was changed.

    Attributes:
        sid: The SID of the record.
        fields: The names of the fields.
    """

    def __init__(self, sid: str, fields: Sequence[str]) -> None:
        super().__init__(sid, fields)
        self.sid = sid
        self.fields: tuple[str, ...] = tuple(fields)

    def _text(self) -> str:
        return (
            f"{self.sid}: the service did not return a readable {', '.join(self.fields)}, "
            "so nothing was decided on it"
        )


class NotEnsuredError(MarketplaceError):
    """The result of `ensure` is not what was asked.

    Attributes:
        record: The installed Add-on.
        differences: What differs, one sentence for each field. They contain no configuration
            values.
        action: What `ensure` did: "installed" or "updated"; None if it changed nothing.
    """

    def __init__(
        self,
        record: Any,
        differences: Sequence[str],
        action: Literal["installed", "updated"] | None = None,
    ) -> None:
        super().__init__(record, differences, action)
        self.record = record
        self.differences: tuple[str, ...] = tuple(differences)
        self.action = action

    def _text(self) -> str:
        done = f"{self.action}, but" if self.action else "unchanged, and"
        return f"{self.record.sid}: {done} not as asked: {'; '.join(self.differences)}"


@attrs.frozen
class ConfigurationIssue(Value):
    """One violation of an Add-on's configuration schema.

    Attributes:
        path: The path in the configuration, such as "callback_url" or "rules/0/name"; "" is the
            root.
        message: What is wrong.
    """

    path: str
    message: str


class ConfigurationError(MarketplaceError, ValueError):
    """A configuration violates the Add-on's schema. It was not sent.

    Attributes:
        available_add_on_sid: The Add-on, `XB...`.
        issues: Every violation, with `path` and `message`.
    """

    def __init__(self, available_add_on_sid: str, issues: Sequence[ConfigurationIssue]) -> None:
        super().__init__(available_add_on_sid, issues)
        self.available_add_on_sid = available_add_on_sid
        self.issues: tuple[ConfigurationIssue, ...] = tuple(issues)

    def _text(self) -> str:
        issues = "; ".join(f"{issue.path or 'the root'}: {issue.message}" for issue in self.issues)
        sid = self.available_add_on_sid
        return f"the configuration does not meet the schema of {sid}: {issues}"


class SchemaError(MarketplaceError):
    """The configuration schema of an Add-on is not usable; the message says why."""


class TokenError(MarketplaceError):
    """The client could not obtain an OAuth access token, so nothing was sent.

    Attributes:
        error: The error of the last attempt to obtain one.
    """

    def __init__(self, error: MarketplaceError) -> None:
        super().__init__(error)
        self.error = error

    def _text(self) -> str:
        return f"no access token: {self.error}"


class CredentialsError(MarketplaceError):
    """Credentials are missing or malformed; the message names the variable, or file and line."""


class ClientClosedError(MarketplaceError):
    """The client, or its borrowed session, is closed."""


class WebhookError(MarketplaceError):
    """A webhook is not signed by Twilio, or its parameters are malformed."""


class MissingExtraError(MarketplaceError, ImportError):
    """An optional dependency is not installed; the message names the extra to install."""

    def __init__(self, part: str, extra: str) -> None:
        super().__init__(part, extra)
        self.part = part
        self.extra = extra

    def _text(self) -> str:
        return f"{self.part} needs an extra: install marketplace_async[{self.extra}]"


_BY_STATUS: Mapping[int, type[APIError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    429: RateLimitedError,
}


def api_error_class(status: int) -> type[APIError]:
    """Return the APIError class for an HTTP status."""
    return _BY_STATUS.get(status, ServerError if status >= 500 else APIError)
