"""How a command ends: its exit status, and what it says of an error."""

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
    """The exit statuses, the same for every command."""

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
    """What ends a command: one sentence, and what to do about it.

    Attributes:
        sentence: What is wrong.
        hint: What to do about it.
        status: The exit status.
        details: A line for each of several things that are wrong.
    """

    sentence: str
    hint: str | None = None
    status: Status = Status.FAILED
    details: Sequence[str] = ()

    def __str__(self) -> str:
        return self.sentence


def usage_error(sentence: str, hint: str | None = None) -> CommandError:
    """Return the error of a command that is wrong, or lacks something; nothing was sent."""
    return CommandError(sentence, hint, Status.USAGE)


def explain(error: Exception, access: "Access | None" = None) -> CommandError:
    """Turn what a command raised into what is said of it.

    Args:
        error: Anything under `MarketplaceError`, a ValueError or an OSError.
        access: Who asked, and where: some hints name it.
    """
    explained = _explain(error, access)
    resume_at = getattr(error, "resume_at", None)
    if resume_at is not None:
        more = f"To go on from the page that failed, add --start '{resume_at}'."
        hint = f"{explained.hint} {more}" if explained.hint else more
        explained = attrs.evolve(explained, hint=hint)
    return explained


def _explain(error: Exception, access: "Access | None") -> CommandError:
    match error:
        case CommandError():
            return error
        case ConfigurationError():
            sid = error.available_add_on_sid
            return CommandError(
                f"the configuration does not meet the schema of {sid}; nothing was sent",
                f"`marketplace-async available fetch {sid}` shows the schema.",
                Status.USAGE,
                [f"{issue.path or '(the whole)'}: {issue.message}" for issue in error.issues],
            )
        case AmbiguousOutcomeError():
            return CommandError(
                str(error), "Look at the account before you do it again.", Status.UNKNOWN
            )
        case TokenError():
            inner = _explain(error.error, access)
            return attrs.evolve(inner, sentence=str(error))
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
        case AuthenticationError() if access:
            return f"The credentials are those of {access.who}, from {access.source}."
        case PermissionDeniedError() if access:
            return f"The credentials are those of {access.who}, from {access.source}."
        case NotFoundError() if error.request.path.startswith("/v1/AvailableAddOns"):
            return "`marketplace-async available list` shows the catalogue."
        case NotFoundError() if access:
            return f"Is it on this account? You are {access.who}, from {access.source}."
        case ConflictError():
            return "`marketplace-async installed list` shows what has that name."
        case RateLimitedError():
            seconds = error.retry_after
            when = "later" if seconds is None else f"in {seconds:.0f} s"
            return f"Too many requests at once on this account: nothing was done. Try again {when}."
        case ConnectError() if access:
            return (
                f"Nothing was sent. The address is {access.address}, from {access.address_source}."
            )
        case ConnectError():
            return "Nothing was sent. --base-url or MARKETPLACE_BASE_URL says where to, if set."
        case RequestTimeoutError():
            return "--timeout gives each try more seconds."
        case ServerError() | TransportError():
            return "Try again later."
        case SchemaError():
            return "--no-check-schema leaves the check to the service."
        case APIError() if error.more_info:
            return error.more_info
    return None


@contextmanager
def may_have_happened() -> Iterator[None]:
    """Say so when a write is interrupted: what was being sent may have arrived."""
    try:
        yield
    except asyncio.CancelledError:
        note("what was being sent may have happened: look at the account before you do it again")
        raise


def tell(error: CommandError) -> None:
    """Say on standard error what is wrong, and what to do about it."""
    _say("error", "bold red", error.sentence, *error.details)
    if error.hint:
        _say("hint", "bold", error.hint)


def note(text: str) -> None:
    """Say on standard error something that is no error."""
    _say("note", "bold", text)


def _say(label: str, style: str, *lines: str) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
    text = "\n  ".join(printable(line) for line in lines)
    console.print(Text.assemble((f"{label}:", style), " ", text))
