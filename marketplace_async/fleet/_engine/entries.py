"""The records that a job keeps of each account, and the errors of jobs."""

from pathlib import Path
from typing import Any, Literal, TypeAlias

import attrs

from ...errors import MarketplaceError

Remedy: TypeAlias = Literal["resume or overwrite", "resume", "overwrite"]

_ADVICE: dict[Remedy | None, str] = {
    "resume or overwrite": "; pass resume=True to continue it, or overwrite=True to start over",
    "resume": "; then pass resume=True to continue",
    "overwrite": "; pass overwrite=True to start over",
    None: "",
}


class JobError(MarketplaceError):
    """A job cannot start, continue or be resumed. The text says why and what to do.

    Attributes:
        message: What is wrong.
        remedy: The options that help: "resume or overwrite", "resume" (once the cause is removed)
            or "overwrite". None if neither helps; `message` then says what to do.
    """

    def __init__(self, message: str, remedy: Remedy | None = None) -> None:
        super().__init__(message, remedy)
        self.message: str = message
        self.remedy: Remedy | None = remedy

    def _text(self) -> str:
        return self.message + _ADVICE[self.remedy]


@attrs.frozen
class Failure:
    """The failure of one account.

    Attributes:
        account_sid: The account, `AC...`.
        friendly_name: The account's friendly name.
        error: The class of the error, such as "PermissionDeniedError".
        message: The message of the error.
    """

    account_sid: str
    friendly_name: str | None
    error: str
    message: str


@attrs.frozen
class Failures:
    """The failures of a job.

    Attributes:
        count: Number of accounts that failed.
        first: The first 100 failures.
        file: A JSON Lines file of all failures. None if no account failed or no file is written.
    """

    count: int
    first: tuple[Failure, ...]
    file: Path | None


@attrs.frozen
class Entry:
    """The journal's entry for a finished account: its number of records, or its failure."""

    account_sid: str
    friendly_name: str | None
    records: int = 0
    failure: Failure | None = None


WriteOutcome: TypeAlias = Literal["done", "unchanged", "failed", "unknown", "skipped"]


@attrs.frozen
class Kept:
    """A configuration that the service stored differently from how it was sent.

    Attributes:
        sent: A digest of the configuration that was sent.
        kept: A digest of the configuration that the service returned.
        message: What differs.
    """

    sent: str
    kept: str
    message: str


@attrs.frozen
class Write:
    """The result of one step of `apply`.

    Attributes:
        step: The `key` of the `Step`.
        outcome: "done"; "unchanged": no write was needed; "failed": nothing was changed;
            "unknown": the write may have taken effect (the next run checks); or "skipped".
        installed_add_on_sid: The installed Add-on, `XE...`, if known.
        message: Why the step was not done.
        error: The class of the error.
        kept: How the service stored the configuration, if it differs from what was sent.
        before: The configuration that was overwritten or removed, with secrets masked.
        after: The configuration that was sent, with secrets masked.
        handouts: How often the run handed the account to a worker.
    """

    step: str
    outcome: WriteOutcome
    installed_add_on_sid: str | None = None
    message: str | None = None
    error: str | None = None
    kept: Kept | None = None
    before: dict[str, Any] | None = attrs.field(default=None, hash=False)
    after: dict[str, Any] | None = attrs.field(default=None, hash=False)
    handouts: int = 1
