"""An Add-on that is installed on an account: the record, and the result of `ensure`."""

from typing import Any, Literal

import attrs

from .._core.records import AwareDatetime, Record, absent
from .._core.serializable import Serializable


@attrs.frozen(kw_only=True, weakref_slot=False)
class InstalledAddOn(Record, Serializable):
    """An Add-on that is installed on an account.

    Attributes:
        sid: `XE` and 32 hex digits.
        account_sid: The account, `AC...`.
        friendly_name: The display name of the Add-on.
        description: A short description of the Add-on.
        configuration: The configuration, which meets the Add-on's schema.
        unique_name: A name that is unique within the account.
        date_created: When it was installed. The service writes UTC.
        date_updated: When it was last changed. The service writes UTC.
        url: The absolute URL of this record.
        links: The URLs of related resources: `extensions` and `available_add_on`.
    """

    sid: str
    account_sid: str | None = attrs.field(factory=absent)
    friendly_name: str | None = attrs.field(factory=absent)
    description: str | None = attrs.field(factory=absent)
    configuration: dict[str, Any] | None = attrs.field(factory=absent, hash=False)
    unique_name: str | None = attrs.field(factory=absent)
    date_created: AwareDatetime | None = attrs.field(factory=absent)
    date_updated: AwareDatetime | None = attrs.field(factory=absent)
    url: str | None = attrs.field(factory=absent)
    links: dict[str, Any] | None = attrs.field(factory=absent, hash=False)

    @property
    def available_add_on_sid(self) -> str | None:
        """The SID of the available Add-on, `XB...`, taken from `links`."""
        link = (self.links or {}).get("available_add_on")
        return link.rpartition("/")[2] or None if isinstance(link, str) else None


@attrs.frozen
class Ensured(Serializable):
    """The result of `ensure`.

    Attributes:
        record: The installed Add-on.
        action: What `ensure` did: "installed", "updated" or "unchanged".
    """

    record: InstalledAddOn
    action: Literal["installed", "updated", "unchanged"]
