"""What can go wrong, as a tree.

    MarketplaceError
    |-- APIError                    the service answered with an error: status, code, message ...
    |   |-- BadRequestError         400  something that was sent is wrong or missing
    |   |-- AuthenticationError     401  the credentials are wrong
    |   |-- PermissionDeniedError   403  the account may not do this
    |   |-- NotFoundError           404  not there, or on another account
    |   |-- ConflictError           409  the unique name is taken
    |   |-- RateLimitedError        429  too many requests at once on this account: retry_after
    |   `-- ServerError             5xx  the service failed
    |-- ResponseError               the service answered, but not with what the API promises
    |-- TransportError              no answer
    |   |-- ConnectError            ... because no connection was made: nothing was sent
    |   `-- RequestTimeoutError     ... within the time allowed (also a TimeoutError)
    |-- AmbiguousOutcomeError       a write may have happened, and may not be sent again
    |-- ConfigurationError          a configuration does not meet the schema (also a ValueError)
    |-- SchemaError                 the schema of an add-on cannot be used
    |-- TokenError                  no OAuth access token could be had: nothing was sent
    |-- CredentialsError            the environment, a file or a vault lacks usable credentials
    |-- ClientClosedError           the client, or the session that it borrowed, is closed
    `-- MissingExtraError           an optional dependency is not installed (also an ImportError)

Bad arguments raise ValueError or TypeError before anything is sent. All errors can be pickled, and
hold the request without its credentials.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from ._core.messages import Request, Response


class MarketplaceError(Exception):
    """The root of all errors that this package raises, bad arguments aside.

    Attributes:
        resume_at: Where to resume with `list(start=...)`, if it was a page of a list that failed.
    """

    resume_at: str | None = None


class APIError(MarketplaceError):
    """The service answered with an error.

    Attributes:
        request: What was asked.
        response: What came back.
        code: The vendor's error code, such as 20404, if the body had one.
        message: The vendor's message, or the start of a body that is no error document.
        more_info: The vendor's page on this code, if the body had one.
        details: Whatever else the body says about the cause; free-form.
        after_unknown: Whether an earlier try of the same request may have happened, so that this
            answer may be its consequence.
    """

    after_unknown = False

    def __init__(
        self,
        request: Request,
        response: Response,
        code: int | None = None,
        message: str = "",
        more_info: str | None = None,
        details: Any = None,
    ) -> None:
        response = response.without_secrets()
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
        """The `Twilio-Request-Id` of the answer."""
        return self.response.request_id

    def __str__(self) -> str:
        code = f" {self.code}" if self.code is not None else ""
        return f"{self.status}{code}: {self.message} {_where(self.request, self.response)}"


class BadRequestError(APIError):
    """400: something that was sent is wrong or missing; `message` says what."""


class AuthenticationError(APIError):
    """401: the credentials are wrong."""


class PermissionDeniedError(APIError):
    """403: the account lacks the permission, or is suspended or closed."""


class NotFoundError(APIError):
    """404: the resource does not exist, or belongs to another account."""


class ConflictError(APIError):
    """409: the unique name is taken on this account."""


class RateLimitedError(APIError):
    """429: too many requests at once on this account; the request was not processed."""

    @property
    def retry_after(self) -> float | None:
        """Seconds until the service wants to be asked again, if it said."""
        return self.response.retry_after


class ServerError(APIError):
    """5xx: the service failed."""


class ResponseError(MarketplaceError):
    """The service answered, but not with what the API promises.

    Attributes:
        request: What was asked.
        response: What came back.
        reason: What is wrong with it, with the path into the document where there is one.
    """

    def __init__(self, request: Request, response: Response, reason: str) -> None:
        response = response.without_secrets()
        super().__init__(request, response, reason)
        self.request = request
        self.response = response
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.response.status}: {self.reason} {_where(self.request, self.response)}"


class TransportError(MarketplaceError):
    """No answer came: the connection failed, or broke before the last byte.

    Attributes:
        request: What was asked.
        reason: What failed.
        elapsed: Seconds until it did.
    """

    def __init__(self, request: Request, reason: str, elapsed: float = 0.0) -> None:
        super().__init__(request, reason, elapsed)
        self.request = request
        self.reason = reason
        self.elapsed = elapsed

    def __str__(self) -> str:
        return f"{self.reason} {_where(self.request)}"


class ConnectError(TransportError):
    """No connection was made, so that nothing was sent."""


class RequestTimeoutError(TransportError, TimeoutError):
    """No answer came within the time that one attempt has."""

    def __init__(self, request: Request, reason: str, elapsed: float = 0.0) -> None:
        super().__init__(request, reason, elapsed)
        # An OSError takes its first arguments for these.
        self.errno = self.strerror = self.filename = None


class AmbiguousOutcomeError(MarketplaceError):
    """A write may have happened or not, and it is not safe to send it again.

    Raised for what could install, bill or create twice: look at the account before you repeat it.

    Attributes:
        request: What was sent.
        error: What came of the last try; also the cause of this error.
    """

    def __init__(self, request: Request, error: MarketplaceError) -> None:
        super().__init__(request, error)
        self.request = request
        self.error = error

    def __str__(self) -> str:
        return f"{self.request} may or may not have happened: {self.error}"


@attrs.frozen
class ConfigurationIssue:
    """One violation of an Add-on's configuration schema.

    Attributes:
        path: Where in the configuration, such as "callback_url" or "rules/0/name"; "" is the whole.
        message: What is wrong.
    """

    path: str
    message: str


class ConfigurationError(MarketplaceError, ValueError):
    """A configuration was checked before it was sent, and does not meet the add-on's schema.

    Attributes:
        available_add_on_sid: The add-on, `XB...`.
        issues: Everything that is wrong, each with `path` and `message`.
    """

    def __init__(self, available_add_on_sid: str, issues: Sequence[ConfigurationIssue]) -> None:
        super().__init__(available_add_on_sid, issues)
        self.available_add_on_sid = available_add_on_sid
        self.issues = tuple(issues)

    def __str__(self) -> str:
        wrong = "; ".join(f"{issue.path or 'the whole'}: {issue.message}" for issue in self.issues)
        return f"the configuration does not meet the schema of {self.available_add_on_sid}: {wrong}"


class SchemaError(MarketplaceError):
    """The configuration schema of an add-on cannot be used; the message says why."""


class TokenError(MarketplaceError):
    """No OAuth access token could be had, so that nothing was sent.

    Attributes:
        error: What came of the last try to get one.
    """

    def __init__(self, error: MarketplaceError) -> None:
        super().__init__(error)
        self.error = error

    def __str__(self) -> str:
        return f"no access token: {self.error}"


class CredentialsError(MarketplaceError):
    """Credentials are missing or malformed; the message names the variable, or file and line."""


class ClientClosedError(MarketplaceError):
    """The client, or the session that it borrowed, is closed."""


class MissingExtraError(MarketplaceError, ImportError):
    """A part of the package lacks what it needs; the message names the extra to install."""

    def __init__(self, part: str, extra: str) -> None:
        super().__init__(part, extra)
        self.part = part
        self.extra = extra

    def __str__(self) -> str:
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
    """Return the class of the error that an answer with this status is."""
    return _BY_STATUS.get(status, ServerError if status >= 500 else APIError)


def _where(request: Request, response: Response | None = None) -> str:
    request_id = response.request_id if response is not None else None
    return f"({request})" + (f", {request_id}" if request_id else "")
