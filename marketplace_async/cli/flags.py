"""Options without a value."""

from typing import Annotated, TypeAlias

from cyclopts import Parameter

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
