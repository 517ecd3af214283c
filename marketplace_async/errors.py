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
    |-- TransportError              no complete response
    |   |-- ConnectError            ... because no connection was established: nothing was sent
    |   `-- RequestTimeoutError     ... within the timeout (also a TimeoutError)
    |-- AmbiguousOutcomeError       a write may have taken effect, and is not safe to repeat
    |-- ConfigurationError          a configuration violates the Add-on's schema (also a ValueError)
    |-- SchemaError                 the configuration schema of an Add-on is not usable
    |-- TokenError                  no OAuth access token: nothing was sent
    |-- CredentialsError            credentials are missing or malformed
    |-- ClientClosedError           the client, or its borrowed session, is closed
    `-- MissingExtraError           an optional dependency is not installed (also an ImportError)

Invalid arguments raise ValueError or TypeError before anything is sent. Errors can be pickled. The
request that they hold contains no credentials.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs

from ._core.messages import Request, Response


class MarketplaceError(Exception):
    """The base class of the errors of this package.

    Attributes:
        resume_at: Where to resume with `list(start=...)`, if a page of a list failed.
        retry_withheld: The retry quota that was used up, so that there was no other attempt:
            "account" or "service"; otherwise None.
    """

    resume_at: str | None = None
    retry_withheld: Literal["account", "service"] | None = None

    def _where(self, request: Request, response: Response | None = None) -> str:
        request_id = response.request_id if response is not None else None
        where = f"({request})" + (f", {request_id}" if request_id else "")
        if self.retry_withheld is not None:
            where += f"; not retried: the retry quota of this {self.retry_withheld} is used up"
        return where


class APIError(MarketplaceError):
    """The service returned an error.

    Attributes:
        request: The request.
        response: The response.
        code: Twilio's error code, such as 20404, if the body has one.
        message: Twilio's message, or the start of a body that is not an error document.
        more_info: The URL of Twilio's page about this code, if the body has one.
        details: Anything else that the body says about the cause; free-form.
        after_unknown: Whether an earlier attempt had an unknown outcome, so that this response may
            be its consequence.
        paused_for: Seconds for which the account is paused, if the request was not sent because of
            the pause that this response asked for; otherwise None.
    """

    after_unknown = False
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
        """The `Twilio-Request-Id` of the response."""
        return self.response.request_id

    def __str__(self) -> str:
        code = f" {self.code}" if self.code is not None else ""
        text = f"{self.status}{code}: {self.message} {self._where(self.request, self.response)}"
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
        response: The response.
        reason: What is wrong, with the path in the document if there is one.
    """

    def __init__(self, request: Request, response: Response, reason: str) -> None:
        response = response.without_secrets()
        super().__init__(request, response, reason)
        self.request = request
        self.response = response
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.response.status}: {self.reason} {self._where(self.request, self.response)}"


class TransportError(MarketplaceError):
    """There was no complete response: the connection failed, or broke before the last byte.

    Attributes:
        request: The request.
        reason: What failed.
        elapsed: Seconds until the failure.
    """

    def __init__(self, request: Request, reason: str, elapsed: float = 0.0) -> None:
        super().__init__(request, reason, elapsed)
        self.request = request
        self.reason = reason
        self.elapsed = elapsed

    def __str__(self) -> str:
        return f"{self.reason} {self._where(self.request)}"


class ConnectError(TransportError):
    """No connection was established, so nothing was sent."""


class RequestTimeoutError(TransportError, TimeoutError):
    """There was no complete response within the timeout of one attempt."""

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

    def __str__(self) -> str:
        return f"{self.request} may or may not have taken effect: {self.error}"


@attrs.frozen
class ConfigurationIssue:
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

    def __str__(self) -> str:
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

    def __str__(self) -> str:
        return f"no access token: {self.error}"


class CredentialsError(MarketplaceError):
    """Credentials are missing or malformed; the message names the variable, or file and line."""


class ClientClosedError(MarketplaceError):
    """The client, or its borrowed session, is closed."""


class MissingExtraError(MarketplaceError, ImportError):
    """An optional dependency is not installed; the message names the extra to install."""

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
    """Return the APIError class for an HTTP status."""
    return _BY_STATUS.get(status, ServerError if status >= 500 else APIError)
