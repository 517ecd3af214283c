"""The usage of an installed Add-on, which its partner reports for billing."""

from collections.abc import Iterable
from decimal import Decimal
from typing import cast

import attrs

from .._core.arguments import check_sid
from .._core.codec import encode, to
from .._core.messages import JSON, Request
from .._core.operation import Call


def _to_amount(value: Decimal | int) -> Decimal:
    return Decimal(value) if type(value) is int else cast(Decimal, value)


@attrs.frozen
class BillableItem:
    """An amount to bill.

    Args:
        sid: The SID of the billing item, `BI...`.
        quantity: The exact amount, more than 0, as a Decimal or an int. A float is not accepted:
            it cannot represent 12.355 exactly.
    """

    sid: str
    quantity: Decimal = attrs.field(converter=_to_amount)

    def __attrs_post_init__(self) -> None:
        check_sid("BI", self.sid, "sid")
        if not isinstance(self.quantity, Decimal):
            raise TypeError(f"quantity: expected a Decimal or an int, got {self.quantity!r}")
        if not (self.quantity.is_finite() and self.quantity > 0):
            raise ValueError(f"quantity: expected more than 0, got {self.quantity}")


@attrs.frozen(kw_only=True)
class ReportedItem:
    """The result for one billable item.

    Attributes:
        sid: The SID of the billing item, `BI...`.
        quantity: The reported amount.
        submitted: Whether it was accepted for billing. Each item can fail on its own.
    """

    sid: str
    quantity: Decimal
    submitted: bool


@attrs.frozen(kw_only=True)
class UsageReport:
    """The result of a usage report.

    Attributes:
        billable_items: One result for each reported item. Check `submitted`.
        total_submitted: The sum of the accepted amounts.
    """

    billable_items: tuple[ReportedItem, ...]
    total_submitted: Decimal


@attrs.frozen(eq=False, repr=False)
class _Usage:
    billable_items: tuple[BillableItem, ...]


class InstalledAddOnUsage:
    """`client.installed_add_ons.usage(sid)`: report the usage of one installed Add-on."""

    def __init__(self, call: Call, installed_add_on_path: str) -> None:
        self._call = call
        self._path = f"{installed_add_on_path}/Usage"

    async def create(self, billable_items: Iterable[BillableItem]) -> UsageReport:
        """Report usage. This bills money: a report that may have been billed is not sent again.

        Args:
            billable_items: The amounts to bill, at least one.

        Returns:
            The result for each item. Each can fail on its own.

        Raises:
            ValueError, TypeError: An argument is invalid. Nothing was sent.
            NotFoundError: The Add-on is not installed, or there is no such listing.
            PermissionDeniedError: The account is not the Add-on's partner, or the Add-on does not
                use manual usage reports.
            AmbiguousOutcomeError: The usage may or may not have been billed.
            MarketplaceError: The request failed. The usage was not billed.

        See https://www.twilio.com/docs/marketplace/listings/api-overview-users
        """
        if isinstance(billable_items, BillableItem):
            raise TypeError("billable_items: expected several, such as a list of one")
        items = tuple(billable_items)
        for item in items:
            if not isinstance(item, BillableItem):
                raise TypeError(f"billable_items: expected BillableItem, got {item!r}")
        if not items:
            raise ValueError("billable_items: expected at least one")
        request = Request("POST", self._path, body=encode(_Usage(items)), content_type=JSON)
        return await self._call(request, to(UsageReport))
