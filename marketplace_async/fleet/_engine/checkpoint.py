"""An output with a journal of its progress, so that an interrupted job can be resumed.

Methods block; call them in a thread.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from ..._core.files import check_distinct, check_output
from ..outputs import FailureOutput, Output, Removable
from .entries import Entry, Failures, JobError
from .identity import differences, fleet_differences
from .journal import Journal

R = TypeVar("R")


class Checkpoint(Generic[R]):
    """An output and its journal.

    A rejected job creates no files and changes none. A job that ends before it has recorded an
    account deletes the files that it created, and overwrites none.

    Args:
        output: Where records are written.
        file: The output's file. The journal is stored beside it. None if the job cannot be resumed.
        settings: The identity and the options of the job, as plain JSON. Only a job with equal
            settings can resume it.
        resume: Continue the job in the file. Starts one if the file does not exist.
        overwrite: Start over, even if the file exists.
        inputs: Files that the job reads, which it must not overwrite.

    Raises:
        JobError: The file exists and must not be overwritten, the job is complete or cannot be
            resumed, or the journal is damaged or in use.
        OSError: A file cannot be written, is not a regular file, or is an input.
    """

    def __init__(
        self,
        output: Output[R],
        file: Path | None,
        settings: Mapping[str, Any],
        *,
        resume: bool,
        overwrite: bool,
        inputs: Sequence[Path] = (),
    ) -> None:
        self._file = file
        self._output = output
        self._settings = settings
        self.resumed = False
        # Unless something was recorded, `close` deletes the files that were begun.
        self._recorded = False
        self._began_journal = False
        self._began_output = False
        path = beside(file, "journal")
        exists = file is not None and _check_files(file, inputs, "journal", "failures.jsonl")
        if exists and not (resume or overwrite):
            raise JobError(f"{file} already exists", "resume or overwrite")
        if exists and resume and path is not None and not path.exists():
            raise JobError(
                f"{file} cannot be resumed: its journal {path} does not exist", "overwrite"
            )
        if exists and isinstance(output, Removable):
            output.check_removable()
        self._journal = journal = Journal(path)
        # The old files are kept until there is something to replace them with.
        self._pending = exists and overwrite
        try:
            if journal.settings().get("job") == "apply" or journal.has_writes():
                raise JobError(
                    f"{path} is the journal of apply, with its audit log: pass another path"
                )
            if resume and (earlier := journal.settings()):
                self._resume(earlier)
            elif not self._pending:
                self._begin()
        except BaseException:
            self.close()
            raise

    def _resume(self, earlier: Mapping[str, Any]) -> None:
        journal = self._journal
        if changes := differences(earlier, self._settings):
            raise JobError(f"{self._file} cannot be resumed: {changes}", "overwrite")
        journal.check()
        _, _, failed = journal.totals()
        if (completed := journal.completed()) is not None and not failed:
            raise JobError(f"{self._file} was completed at {completed}", "overwrite")
        self._output.resume(journal.position())
        journal.reopen()
        self.resumed = self._recorded = True

    def _begin(self) -> None:
        self._journal.begin(self._settings)
        self._began_journal = True
        if self._pending and isinstance(self._output, Removable):
            self._output.remove()
        self._pending = False
        self._began_output = True
        try:
            self._output.begin()
        except FileExistsError:
            self._began_output = False
            if self._file is None:
                raise
            raise JobError(f"{self._file} already exists", "overwrite") from None

    def finished(self, sids: Sequence[str]) -> set[str]:
        """Return which of these accounts are already in the output."""
        return set() if self._pending else self._journal.finished(sids)

    def write(self, entries: Sequence[tuple[Entry, Sequence[R]]]) -> None:
        """Write the records of some accounts durably.

        Raises:
            JobError: A file cannot be written. The message counts the accounts that are saved.
        """
        with self._counting():
            if self._pending:
                self._begin()
            for entry, records in entries:
                self._output.write(entry.account_sid, records)
            self._journal.commit([entry for entry, _ in entries], self._output.sync())
            self._recorded = True

    def totals(self) -> tuple[int, int, int]:
        """Return the number of accounts finished, of their records, and of failed accounts."""
        return (0, 0, 0) if self._pending else self._journal.totals()

    def end(self, *, complete: bool, arrange: Callable[[], None] | None = None) -> Failures:
        """Write the failures to a file beside the output, and to a `FailureOutput` as well.

        Args:
            complete: Whether all accounts were processed.
            arrange: Called if so. Rewrites the output in another order, without changing its size.

        Raises:
            JobError: A file cannot be written.
        """
        with self._counting():
            if self._pending:
                if not complete:
                    return Failures(0, (), None)
                self._begin()
            if isinstance(self._output, FailureOutput):
                for failure in self._journal.failures():
                    self._output.fail(failure)
            failures = self._journal.write_failures(beside(self._file, "failures.jsonl"))
            if complete:
                if arrange is not None:
                    self._output.close()  # some platforms do not replace open files
                    arrange()
                self._journal.complete()
                self._recorded = True
        return failures

    def first_failures(self) -> Failures:
        """Return the failures without writing a file."""
        return Failures(0, (), None) if self._pending else self._journal.write_failures(None)

    def close(self) -> None:
        """Close the output and the journal. Delete them if nothing was recorded."""
        output, journal = self._output, self._journal
        unused = self._file is not None and not self._recorded
        try:
            output.close()
            if unused and self._began_output and isinstance(output, Removable):
                output.remove()
        finally:
            if unused and self._began_journal and journal.is_new:
                journal.delete()
            else:
                journal.close()

    @contextmanager
    def _counting(self) -> Iterator[None]:
        """Add to an error of the disk how many accounts are saved, and how to continue."""
        try:
            yield
        except OSError as error:
            if self._file is None:
                raise
            accounts, records, _ = self.totals()
            reason = f"{error.filename or self._file}: {error.strerror or error}"
            raise JobError(
                f"{reason}; {accounts:,} accounts with {records:,} records are saved: free some "
                "disk space or repair the disk",
                "resume",
            ) from error


def open_for_apply(file: Path, settings: Mapping[str, Any], inputs: Sequence[Path]) -> Journal:
    """Open the journal of `apply`, or create it.

    Args:
        file: The journal.
        settings: The identity of the fleet. An earlier run on the same fleet may have had another
            desired state, or other accounts.
        inputs: Files that the job reads, which it must not overwrite.

    Raises:
        JobError: The journal belongs to another job or fleet, is in use or damaged.
        OSError: The journal cannot be written, is not a regular file, or is an input.
    """
    _check_files(file, inputs, "failures.jsonl")
    journal = Journal(file)
    try:
        earlier = journal.settings()
        if (job := earlier.get("job", "apply")) != "apply":
            raise JobError(f"{file} is the journal of another job ({job}): pass another path")
        if earlier and (changes := fleet_differences(earlier, settings)):
            raise JobError(
                f"{file} belongs to another fleet: {changes}. Pass another path for this fleet"
            )
    except BaseException:
        journal.close()
        raise
    return journal


def _check_files(file: Path, inputs: Sequence[Path], *suffixes: str) -> bool:
    """Return whether `file` exists.

    Raises:
        OSError: The file or one of its companions is an input, or is not a regular file.
    """
    outputs = [file, *(_beside(file, suffix) for suffix in suffixes)]
    exists, *_ = [check_output(output) for output in outputs]
    check_distinct(outputs, inputs)
    return exists


def beside(file: Path | None, suffix: str) -> Path | None:
    """Return the path of a companion file: the same path with `.suffix` appended."""
    return None if file is None else _beside(file, suffix)


def _beside(file: Path, suffix: str) -> Path:
    return file.with_name(f"{file.name}.{suffix}")
