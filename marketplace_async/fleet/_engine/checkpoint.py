"""An output with a journal of its progress, so that an interrupted job can be resumed.

Methods block; call them in a thread.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from ..._core.codec import encode
from ..outputs import FailureOutput, Output
from .journal import Entry, Failures, JobError, Journal

R = TypeVar("R")


class Checkpoint(Generic[R]):
    """An output and its journal.

    Args:
        output: Where records are written.
        file: The output's file. The journal is stored beside it. None if the job cannot be resumed.
        settings: The settings of the job, as plain JSON. Only a job with equal settings can resume.
        resume: Continue the job in the file. Starts one if the file does not exist.
        overwrite: Start over, even if the file exists.

    Raises:
        JobError: The file exists and must not be overwritten, or the job cannot be resumed.
        OSError: A file cannot be written.
    """

    def __init__(
        self,
        output: Output[R],
        file: Path | None,
        settings: Mapping[str, Any],
        *,
        resume: bool,
        overwrite: bool,
    ) -> None:
        self._file = file
        self._output = output
        self.resumed = False
        path = beside(file, "journal")
        if path is not None and not resume and not overwrite and file is not None and file.exists():
            raise JobError(f"{file} already exists")
        new = path is None or not path.exists()
        if resume and new and file is not None and file.exists():
            raise JobError(f"{file} cannot be resumed: its journal {path} does not exist")
        self._journal = journal = Journal(path)
        try:
            earlier = journal.settings()
            if not (resume and earlier):
                journal.begin(settings)
                output.begin()
            elif earlier != settings:
                raise JobError(
                    f"{file} cannot be resumed: it was started with other settings "
                    f"({_shown(earlier)}; now {_shown(settings)})"
                )
            else:
                self.resumed = True
                output.resume(journal.position())
                journal.clear_failures()
        except BaseException:
            self.close()
            raise

    def finished(self, sids: Sequence[str]) -> set[str]:
        """Return which of these accounts are already in the output."""
        return self._journal.finished(sids)

    def write(self, entries: Sequence[tuple[Entry, Sequence[R]]]) -> None:
        """Write the records of some accounts durably."""
        for entry, records in entries:
            self._output.write(entry.account_sid, records)
        self._journal.commit([entry for entry, _ in entries], self._output.sync())

    def totals(self) -> tuple[int, int, int]:
        """Return the number of accounts finished, of their records, and of failed accounts."""
        return self._journal.totals()

    def failures(self) -> Failures:
        """Write the failures to a file beside the output, and to an output that wants them."""
        if isinstance(self._output, FailureOutput):
            for failure in self._journal.failures():
                self._output.fail(failure)
        return self._journal.write_failures(beside(self._file, "failures.jsonl"))

    def close(self) -> None:
        """Close the output and the journal."""
        try:
            self._output.close()
        finally:
            self._journal.close()


def beside(file: Path | None, suffix: str) -> Path | None:
    """Return the path of a companion file: the same path with `.suffix` appended."""
    return None if file is None else file.with_name(f"{file.name}.{suffix}")


def _shown(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {encode(value).decode()}" for name, value in settings.items())
