"""How a job ends: with a report, whatever ended it."""

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
        """What became of each account."""
        ...


R = TypeVar("R", bound=Report)


class JobEndedError(JobError, Generic[R]):
    """A job ended early because of an error that is not about one account.

    The error is the `__cause__`. Results up to then are saved: resume the job, or run it again.

    Attributes:
        report: The report, with what became of each account.
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
        """Keep an error of the block."""
        try:
            yield
        except BrokenPipeError:
            raise  # nobody reads the output: there is nothing to report
        except (MarketplaceError, OSError) as error:
            if self.error is None:
                self.error = error

    def report(self, report: R) -> R:
        """Return the report of a job.

        Raises:
            JobEndedError: An error ended the job.
            MarketplaceError, OSError: It did so before any account was listed.
        """
        if self.error is None:
            return report
        if not report.counts.accounts:
            raise self.error
        raise JobEndedError(report, str(self.error)) from self.error
