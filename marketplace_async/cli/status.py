"""Exit statuses, and messages on standard error."""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING

import attrs

from .. import (
    AmbiguousOutcomeError,
    APIError,
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    ConnectError,
    CredentialsError,
    MarketplaceError,
    MissingExtraError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    RequestTimeoutError,
    SchemaError,
    ServerError,
    TokenError,
    TransportError,
)
from .printable import printable

if TYPE_CHECKING:
    from .access import Access


class Status(IntEnum):
    """The exit statuses of all commands."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    PARTLY_FAILED = 3
    UNKNOWN = 4
    CHANGES = 5
    INTERRUPTED = 130
    CLOSED_PIPE = 141


@attrs.frozen
class CommandError(Exception):
    """Ends a command with a message.

    Attributes:
        message: What is wrong.
        hint: How to fix it.
        status: The exit status.
        details: One line for each of several problems.
    """

    message: str
    hint: str | None = None
    status: Status = Status.FAILED
    details: Sequence[str] = ()

    def __str__(self) -> str:
        return self.message


def usage_error(message: str, hint: str | None = None) -> CommandError:
    """Return the error of a command that is invalid or incomplete. Nothing was changed."""
    return CommandError(message, hint, Status.USAGE)


def explain(error: Exception, access: "Access | None" = None) -> CommandError:
    """Convert an exception of a command into a message, a hint and an exit status.

    Args:
        error: A MarketplaceError, ValueError or OSError. Any other exception is raised again.
        access: The credentials and options of the command, which some hints mention.
    """
    explained = _explain(error, access)
    resume_at = getattr(error, "resume_at", None)
    if resume_at is not None:
        resume = f"To continue from the page that failed, add --start '{resume_at}'."
        hint = f"{explained.hint} {resume}" if explained.hint else resume
        explained = attrs.evolve(explained, hint=hint)
    return explained


def _explain(error: Exception, access: "Access | None") -> CommandError:
    match error:
        case CommandError():
            return error
        case ConfigurationError():
            sid = error.available_add_on_sid
            return CommandError(
                f"the configuration does not match the schema of {sid}; nothing was sent",
                f"`marketplace-async available fetch {sid}` shows the schema.",
                Status.USAGE,
                [f"{issue.path or '(top level)'}: {issue.message}" for issue in error.issues],
            )
        case AmbiguousOutcomeError():
            return CommandError(str(error), "Check the account before retrying.", Status.UNKNOWN)
        case TokenError():
            return attrs.evolve(_explain(error.error, access), message=str(error))
        case CredentialsError() | MissingExtraError():
            return usage_error(str(error))
        case MarketplaceError():
            return CommandError(str(error), _hint(error, access))
        case ValueError():
            return usage_error(str(error))
        case OSError() if error.filename is not None and error.strerror:
            return CommandError(f"{error.filename}: {error.strerror}")
        case OSError():
            return CommandError(str(error))
    raise error


def _hint(error: MarketplaceError, access: "Access | None") -> str | None:
    match error:
        case AuthenticationError() | PermissionDeniedError() if access:
            return f"Credentials: {access.identity}, from {access.source}."
        case NotFoundError() if error.request.path.startswith("/v1/AvailableAddOns"):
            return "`marketplace-async available list` shows the catalogue."
        case NotFoundError() if access:
            return (
                "Check that it belongs to this account. "
                f"Credentials: {access.identity}, from {access.source}."
            )
        case ConflictError():
            return "`marketplace-async installed list` shows which Add-on uses the name."
        case RateLimitedError():
            seconds = error.retry_after
            when = "later" if seconds is None else f"in {seconds:.0f} s"
            return (
                "Twilio throttled the request: the account has too many requests in flight. "
                f"Nothing was changed. Retry {when}."
            )
        case ConnectError() if access:
            return (
                f"Nothing was sent. Requests go to {access.address} (from {access.address_source})."
            )
        case ConnectError():
            return "Nothing was sent. Check --base-url or MARKETPLACE_BASE_URL, if set."
        case RequestTimeoutError():
            return "Use --timeout to allow more time per attempt."
        case ServerError() | TransportError():
            return "Retry later."
        case SchemaError():
            return "Use --no-check-schema to leave the check to the service."
        case APIError() if error.more_info:
            return error.more_info
    return None


@contextmanager
def warn_if_interrupted() -> Iterator[None]:
    """Warn that the outcome is unknown if a write is interrupted."""
    try:
        yield
    except asyncio.CancelledError:
        warn("interrupted; outcome unknown: check the account before retrying")
        raise


def print_error(error: CommandError) -> None:
    """Print an error and its hint to standard error."""
    _print("error", "bold red", error.message, *error.details)
    if error.hint:
        _print("hint", "bold", error.hint)


def warn(text: str) -> None:
    """Print a warning to standard error."""
    _print("warning", "bold yellow", text)


def note(text: str) -> None:
    """Print a note to standard error."""
    _print("note", "bold", text)


def _print(label: str, style: str, *lines: str) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
    text = "\n  ".join(printable(line) for line in lines)
    console.print(Text.assemble((f"{label}:", style), " ", text))
