"""The options that limit a plan or an apply to a part of the fleet."""

from typing import TYPE_CHECKING, Annotated

import attrs
from cyclopts import Parameter

from .help_format import shared_options
from .status import usage_error

if TYPE_CHECKING:
    from .. import fleet

GROUP = shared_options("Selection", more="--help-all", sort_key=5)
_OPTIONS = {
    "accounts": "--account",
    "friendly_names": "--friendly-name",
    "add_ons": "--add-on",
    "limit": "--limit",
    "actions": "--only",
    "max_failures": "--max-failures",
}


@Parameter(name="*", group=GROUP)
@attrs.frozen(kw_only=True)
class Selection:
    """The part of the fleet, and when to stop.

    Parameters
    ----------
    account
        Only this account (AC...). Can be repeated.
    friendly_name
        Only accounts whose friendly name matches this pattern, such as "Shop *". Can be repeated,
        and adds to --account.
    add_on
        Only the entries of the desired state with this unique name. Can be repeated.
    limit
        Only the first accounts in the order of their SIDs, at most this many: a canary.
    only
        Only these actions, such as install,update. A replacement needs both install and remove.
    max_failures
        Start no further account once more than this many have failed. Default: no limit.
    """

    account: Annotated[list[str] | None, Parameter(negative=())] = None
    friendly_name: Annotated[list[str] | None, Parameter(negative=())] = None
    add_on: Annotated[list[str] | None, Parameter(negative=())] = None
    limit: int | None = None
    only: Annotated[list[str] | None, Parameter(negative=())] = None
    max_failures: int | None = None

    def part(self, desired: "fleet.Desired") -> "fleet.Part":
        """Return the part of the fleet.

        Raises:
            CommandError: An option has a wrong value.
        """
        from .. import fleet

        if self.max_failures is not None and self.max_failures < 0:
            raise usage_error(f"--max-failures: must be 0 or more, got {self.max_failures}")
        actions = [action.strip() for text in self.only or () for action in text.split(",")]
        try:
            part = fleet.Part(
                accounts=self.account or (),
                friendly_names=self.friendly_name or (),
                add_ons=self.add_on or (),
                limit=self.limit,
                actions=actions,
            )
            part.check(desired)
        except ValueError as error:
            name, colon, message = str(error).partition(":")
            raise usage_error(f"{_OPTIONS.get(name, name)}{colon}{message}") from None
        return part
