"""What every list takes."""

import attrs
from cyclopts import Parameter

from .. import ListOptions


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Paging:
    """How much of a list.

    Parameters
    ----------
    limit
        At most so many records; all unless given.
    page_size
        Records a request, 1 to 1000; as many as serve the limit unless given.
    start
        The link to go on from, as an error of a list that broke off names it.
    """

    limit: int | None = None
    page_size: int | None = None
    start: str | None = None

    @property
    def options(self) -> ListOptions:
        """These, as a list takes them."""
        return {"limit": self.limit, "page_size": self.page_size, "start": self.start}
