"""What observers and the log are told of an error: its reason in one line, without secrets."""

import asyncio
import re
from typing import Final

from ..errors import (
    AmbiguousOutcomeError,
    APIError,
    ClientClosedError,
    MarketplaceError,
    ResponseError,
    TokenError,
    TransportError,
)
from .messages import Response
from .printable import printable

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9]{1,64}")
# Characters of a reason. The service may send a long message.
_MAX_REASON: Final = 1000


def has_given_up(error: BaseException | None) -> bool:
    """Return True if a call got no response that says what became of its request."""
    match error:
        case APIError(status=status):
            return error.paused_for is not None or status == 429 or not 200 <= status < 500
        case ClientClosedError():
            return False
        case TransportError() | ResponseError() | AmbiguousOutcomeError() | TokenError():
            return True
        case _:
            return False


def reason_of(error: BaseException | None) -> str | None:
    """Return what went wrong in one line, without what else an event says."""
    match error:
        case None:
            return None
        case MarketplaceError():
            reason = _text_of(error)
        case asyncio.CancelledError() | GeneratorExit():
            reason = "cancelled"
        case _:
            # A hook of the session raised it. Its text may hold what was sent.
            reason = f"{type(error).__name__} was raised"
    return printable(reason)


def _text_of(error: MarketplaceError) -> str:
    match error:
        case APIError():
            text = error.message if error.code is None else f"{error.code}: {error.message}"
            if error.paused_for is not None:
                text += "; the account is paused"
        case ResponseError() | TransportError():
            text = error.reason
        case AmbiguousOutcomeError():
            return f"it may or may not have taken effect: {_text_of(error.error)}"
        case TokenError():
            return f"no access token: {_text_of(error.error)}"
        case _:
            return str(error)
    if len(text) > _MAX_REASON:
        text = text[:_MAX_REASON] + "..."
    if error.retry_withheld is not None:
        text += f"; not retried: the retry quota of this {error.retry_withheld} is used up"
    return text


def innermost(error: MarketplaceError) -> MarketplaceError:
    while isinstance(error, AmbiguousOutcomeError | TokenError):
        error = error.error
    return error


def request_id_of(response: Response) -> str | None:
    """Return the request ID without the credentials, should the service echo them there."""
    value = response.request_id
    # Masking looks for many forms of a secret, which takes longer than the rest of an event.
    if value is None or (_REQUEST_ID.fullmatch(value) and not response.quotes_secret(value)):
        return value
    return response.mask(value)
