"""An output with the journal that says how far it is certain: what can be killed and gone on with.

It blocks, and is called in a thread.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from ..._core.codec import encode
from ..outputs import Output
from .journal import Done, Failures, JobError, Journal

R = TypeVar("R")


class Checkpoint(Generic[R]):
    """An output, and its journal.

    Args:
        output: Where records go.
        file: The file of that output, beside which the journal is; without one there is nothing to
            go on with.
        facts: What the job was asked for, as plain JSON: another job does not go on with it.
        resume: Whether to go on with what there is; it begins where there is nothing.
        overwrite: Whether to begin anew where there is something.

    Raises:
        JobError: There is something, and it is not to be gone on with or overwritten, or cannot be.
        OSError: A file cannot be written.
    """

    def __init__(
        self,
        output: Output[R],
        file: Path | None,
        facts: Mapping[str, Any],
        *,
        resume: bool,
        overwrite: bool,
    ) -> None:
        self._file = file
        self._output = output
        self.resumed = False
        path = beside(file, "journal")
        if path is not None and not resume and not overwrite and file is not None and file.exists():
            raise JobError(f"{file} is there already")
        new = path is None or not path.exists()
        if resume and new and file is not None and file.exists():
            raise JobError(f"{file} is there, and no {path} that says how far it is certain")
        self._journal = journal = Journal(path)
        try:
            begun = journal.facts()
            if not (resume and begun):
                journal.begin(facts)
                output.begin()
            elif begun != facts:
                raise JobError(
                    f"{file} was begun otherwise ({_told(begun)}) than it is to be gone on with "
                    f"({_told(facts)})"
                )
            else:
                self.resumed = True
                output.resume(journal.position())
                journal.forget_failures()
        except BaseException:
            self.close()
            raise

    def known(self, sids: Sequence[str]) -> set[str]:
        """Return those of some accounts that are in the output already."""
        return self._journal.known(sids)

    def write(self, done: Sequence[tuple[Done, Sequence[R]]]) -> None:
        """Make certain the records of some accounts."""
        for one, records in done:
            self._output.write(one.account_sid, records)
        self._journal.commit([one for one, _ in done], self._output.sync())

    def totals(self) -> tuple[int, int, int]:
        """Return how many accounts were worked through, their records, and how many failed."""
        return self._journal.totals()

    def failures(self) -> Failures:
        """Write the failures to a file beside the output, and return them."""
        return self._journal.write_failures(beside(self._file, "failures.jsonl"))

    def close(self) -> None:
        """Close output and journal."""
        try:
            self._output.close()
        finally:
            self._journal.close()


def beside(file: Path | None, suffix: str) -> Path | None:
    """Return the file that stands beside another."""
    return None if file is None else file.with_name(f"{file.name}.{suffix}")


def _told(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {encode(value).decode()}" for name, value in facts.items())
