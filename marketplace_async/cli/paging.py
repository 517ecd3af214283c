"""The options of every list."""

from typing import TYPE_CHECKING

import attrs
from cyclopts import Parameter

if TYPE_CHECKING:
    from .. import ListOptions


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Paging:
    """The options of a list.

    Parameters
    ----------
    limit
        Maximum number of records. Default: all.
    page_size
        Records per request, 1 to 1000. Default: chosen to suit the limit.
    start
        Continue from this page URL, as given in the error of an interrupted list.
    """

    limit: int | None = None
    page_size: int | None = None
    start: str | None = None

    @property
    def options(self) -> "ListOptions":
        """The options as keyword arguments of a list."""
        return {"limit": self.limit, "page_size": self.page_size, "start": self.start}
