"""What hooks of a borrowed session raise: its middlewares and traces."""

import traceback

from ..errors import AmbiguousOutcomeError, TransportError
from .messages import Request


def hook_failure(
    error: Exception, request: Request, written: bool, elapsed: float
) -> tuple[Exception, BaseException | None]:
    """Return the error to raise, and its cause.

    Args:
        error: What the hook, or aiohttp, raised.
        request: The request.
        written: Whether it may have been sent.
        elapsed: Seconds since the attempt began.
    """
    _clear_frames(error)
    if not written:
        return error, None
    name = type(error).__name__
    failure = TransportError(request, f"a {name} was raised after the request was sent", elapsed)
    if request.method != "GET":
        return AmbiguousOutcomeError(request, failure), error
    # aiohttp raises ValueError for some malformed responses.
    return (failure, error) if isinstance(error, ValueError) else (error, None)


def _clear_frames(error: BaseException) -> None:
    """Clear the variables in the frames that an exception shows: some hold the headers."""
    pending, seen = [error], {id(error)}
    while pending:
        error = pending.pop()
        traceback.clear_frames(error.__traceback__)
        nested = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
        for each in (error.__cause__, error.__context__, *nested):
            if each is not None and id(each) not in seen:
                seen.add(id(each))
                pending.append(each)
