"""The records that the emulator stores."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import attrs


class NameTaken(Exception):
    """The unique name is already in use on the account."""


class Installation(NamedTuple):
    """An Add-on installed on an account. The configuration is JSON text."""

    sid: str
    account_sid: str
    available_add_on_sid: str
    friendly_name: str
    description: str
    unique_name: str
    configuration: str
    date_created: str
    date_updated: str


@attrs.frozen
class UsageItem:
    """Usage that was accepted for billing.

    Attributes:
        account_sid: The account that reported it.
        installed_add_on_sid: The installation.
        sid: The billing item, `BI...`.
        quantity: The quantity reported.
    """

    account_sid: str
    installed_add_on_sid: str
    sid: str
    quantity: Decimal = attrs.field(converter=Decimal)


@attrs.frozen
class Account:
    """A parent account, which owns itself, or a subaccount."""

    sid: str
    owner_account_sid: str
    friendly_name: str
    status: str
    auth_token: str = attrs.field(repr=False)
    date_created: str
    date_updated: str

    @property
    def is_subaccount(self) -> bool:
        return self.owner_account_sid != self.sid


@attrs.frozen
class Slice:
    """Consecutive items of a list, and whether more exist before and after them."""

    items: Sequence[Any]
    before: bool
    after: bool
