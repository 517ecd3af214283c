"""Outputs of jobs that print records."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .options import Format
from .output import StandardOutput

if TYPE_CHECKING:
    from .. import fleet


class Display:
    """Base class of job outputs that print. Subclasses implement `write`."""

    def begin(self) -> None:
        """Print what precedes the records."""

    def resume(self, position: int) -> None:
        """Raise ValueError: printed records cannot be resumed."""
        raise ValueError("printed output cannot be resumed")

    def sync(self) -> int:
        """Return 0: nothing is stored."""
        return 0

    def close(self) -> None:
        """Do nothing."""


class RecordDisplay(Display):
    """Prints records in the format of `--output`.

    Args:
        format: The output format.
        kind: The attrs class of the records.
        columns: The fields of a table, most important first.
        convert: Converts a record to the attrs value or mapping to print.
    """

    def __init__(
        self,
        format: Format,
        kind: type,
        columns: Sequence[str],
        *,
        convert: Callable[[Any], Any] | None = None,
    ) -> None:
        self._format = format
        self._convert = convert
        self._out = StandardOutput(format, kind, columns)

    def begin(self) -> None:
        self._out.begin()

    def write(self, account_sid: str, records: Sequence[Any]) -> None:
        """Print the records of an account."""
        if records:
            convert = self._convert
            self._out.chunk(records if convert is None else [convert(one) for one in records])

    def fail(self, failure: "fleet.Failure") -> None:
        """Print a failure where a line or an element can be one. Other formats have columns."""
        if self._format in ("json", "jsonl"):
            self._out.chunk([failure])

    def end(self) -> None:
        """Finish the output of a complete job, such as a JSON array."""
        self._out.end()
