"""Types of options that several commands have."""

from typing import Annotated, Literal, TypeAlias

from cyclopts import Parameter

Format: TypeAlias = Literal["table", "json", "jsonl", "csv"]
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
