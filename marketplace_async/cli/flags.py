"""Options that are there or not."""

from typing import Annotated, TypeAlias

from cyclopts import Parameter

Flag: TypeAlias = Annotated[bool, Parameter(negative=(), show_default=False)]
Yes: TypeAlias = Annotated[bool, Parameter(name=("--yes", "-y"), negative=(), show_default=False)]
