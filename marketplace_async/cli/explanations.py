"""Explains exceptions to the user of a command: a message, a hint and an exit status."""

from typing import Final, TypeAlias

import attrs

from ..errors import (
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
    UnusableResponseError,
)
from .access import Access
from .status import CommandError, Status, usage_error

Explained: TypeAlias = CommandError | MarketplaceError | ValueError | OSError
EXPLAINED: Final = (CommandError, MarketplaceError, ValueError, OSError)


def explain(error: Explained, access: Access | None = None) -> CommandError:
    """Convert an exception of a command into a message, a hint and an exit status.

    Args:
        error: The exception.
        access: The credentials and options of the command, which some hints mention.
    """
    explained = _explain(error, access)
    resume_at = getattr(error, "resume_at", None)
    if resume_at is not None:
        resume = f"To continue from the page that failed, add --start '{resume_at}'."
        hint = f"{explained.hint} {resume}" if explained.hint else resume
        explained = attrs.evolve(explained, hint=hint)
    return explained


def _explain(error: Explained, access: Access | None) -> CommandError:
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
        case UnusableResponseError() if error.is_write:
            return CommandError(str(error), "Check the account.", Status.UNKNOWN)
        case TokenError():
            return attrs.evolve(_explain(error.error, access), message=str(error))
        case MarketplaceError() if problems := getattr(error, "problems", ()):
            # An invalid desired state. Its class is in `fleet`, which is slow to import.
            return CommandError(
                getattr(error, "summary", str(error)),
                "`marketplace-async schema` describes the file.",
                Status.USAGE,
                problems if len(problems) > 1 else (),
            )
        case CredentialsError() | MissingExtraError():
            return usage_error(str(error))
        case MarketplaceError() if isinstance(error, ValueError):
            return usage_error(str(error))
        case MarketplaceError():
            return CommandError(str(error), _hint(error, access))
        case ValueError():
            return usage_error(str(error))
        case OSError() if error.filename is not None and error.strerror:
            wrong_path = isinstance(error, FileNotFoundError | NotADirectoryError)
            status = Status.USAGE if wrong_path else Status.FAILED
            return CommandError(f"{error.filename}: {error.strerror}", status=status)
        case OSError():
            return CommandError(str(error))


def _hint(error: MarketplaceError, access: Access | None) -> str | None:
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
