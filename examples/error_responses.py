"""One table for every web framework: what to respond when a call of the client fails."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from marketplace_async import (
    AmbiguousOutcomeError,
    APIError,
    BadRequestError,
    ConfigurationError,
    ConflictError,
    MarketplaceError,
    NotFoundError,
    RateLimitedError,
    RequestTimeoutError,
    to_dict,
)


class InvalidArgumentError(Exception):
    """An argument that came from the caller of this service is invalid."""


@contextmanager
def arguments_of_the_caller() -> Iterator[None]:
    """Blame the caller for the arguments of the calls in this block. Nothing was sent."""
    try:
        yield
    except ConfigurationError:
        raise
    except (ValueError, TypeError) as error:
        raise InvalidArgumentError(str(error)) from None


# The exceptions to register with the framework.
HANDLED = (MarketplaceError, InvalidArgumentError)


def response_to(error: Exception) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Return the status, the JSON document and the headers of the response to an error."""
    headers: dict[str, str] = {}
    document: dict[str, Any] = {"error": "Twilio did not respond as expected"}
    match error:
        case InvalidArgumentError():
            status, document["error"] = 422, str(error)
        case ConfigurationError():
            status, document["error"] = 422, "the configuration does not match the schema"
            document["issues"] = [to_dict(issue) for issue in error.issues]
        case BadRequestError():
            status, document["error"] = 422, error.message
        case NotFoundError():
            status, document["error"] = 404, "no such Add-on"
        case ConflictError():
            status, document["error"] = 409, "the unique name is taken"
        case RateLimitedError():
            status, document["error"] = 503, "too many requests"
            headers["Retry-After"] = str(max(1, round(error.retry_after or 1)))
        case RequestTimeoutError():
            status, document["error"] = 504, "Twilio did not respond in time"
        case AmbiguousOutcomeError():
            status, document["error"] = 502, "it may have been done: look before you repeat it"
        case _:
            # Credentials, permissions, outages: the log says which. The caller cannot change it.
            status = 502
    if isinstance(error, APIError) and error.request_id is not None:
        document["request_id"] = error.request_id
    return status, document, headers
