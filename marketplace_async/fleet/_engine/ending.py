"""Ends every job with a report, even after an error."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar

import attrs

from ...errors import MarketplaceError
from .entries import JobError
from .tally import Counts


class Report(Protocol):
    """The report of a job."""

    @property
    def counts(self) -> Counts:
        """The number of accounts by outcome."""
        ...


R = TypeVar("R", bound=Report)


class JobEndedError(JobError, Generic[R]):
    """A job ended early because of an error that is not about one account.

    The error is the `__cause__`. The results so far are saved: resume the job or run it again.

    Attributes:
        report: The report of the job up to the error.
    """

    def __init__(self, report: R, message: str) -> None:
        super().__init__(message)
        self.args: tuple[Any, ...] = (report, message)
        self.report = report


@attrs.define
class Ending:
    """Catches the error that ends a job, so that the job can still report."""

    error: MarketplaceError | OSError | None = None

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Catch an error from the block. Only the first one is kept."""
        try:
            yield
        except BrokenPipeError:
            raise  # the output pipe is closed: nobody would read the report
        except (MarketplaceError, OSError) as error:
            if self.error is None:
                self.error = error

    def report(self, report: R) -> R:
        """Return the report of a job.

        Raises:
            JobEndedError: An error ended the job after accounts were listed.
            MarketplaceError, OSError: An error ended the job before any account was listed.
        """
        if self.error is None:
            return report
        if not report.counts.accounts:
            raise self.error
        raise JobEndedError(report, str(self.error)) from self.error
