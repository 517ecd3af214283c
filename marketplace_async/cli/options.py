"""Types of options that several commands have."""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from cyclopts import Parameter

Format: TypeAlias = Literal["table", "json", "jsonl", "csv"]
AccountsFormat: TypeAlias = Literal["csv", "jsonl"]
Flag: TypeAlias = Annotated[bool, Parameter(negative=(), show_default=False)]
Yes: TypeAlias = Annotated[
    bool,
    Parameter(
        name=("--yes", "-y"),
        negative=(),
        show_default=False,
        help="Do not ask for confirmation. Required without a terminal.",
    ),
]


def check_accounts_file(_: object, file: Path | None) -> None:
    """Reject an option in place of a file: only "-" may start with a hyphen."""
    if str(file).startswith("-") and str(file) != "-":
        raise ValueError(f"Expected a file, or - for standard input, got {str(file)!r}")
