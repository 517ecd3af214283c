"""The usage of an installed Add-on, which its partner reports for billing."""

from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal

import attrs

from .._core.arguments import check_sid, plain_int
from .._core.codec import encode, to, unusable
from .._core.messages import JSON, Request, Response, trusted_request
from .._core.operation import Call, Parse
from .._core.records import Record, absent
from .._core.serializable import Serializable


def _to_amount(value: Decimal | int) -> Decimal:
    # A plain Decimal, also of a subclass that shows itself as something else.
    if isinstance(value, Decimal):
        return Decimal(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(plain_int(value))
    raise TypeError(f"quantity: expected a Decimal or an int, got {value!r}")


@attrs.frozen
class BillableItem(Serializable):
    """An amount to bill.

    Args:
        sid: The SID of the billing item, `BI...`.
        quantity: The exact amount, more than 0. A Decimal or an int: a float of Python cannot
            represent 12.355 exactly.
    """

    sid: str
    quantity: Decimal = attrs.field(converter=_to_amount)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "sid", check_sid("BI", self.sid, "sid"))
        if not (self.quantity.is_finite() and self.quantity > 0):
            raise ValueError(f"quantity: expected more than 0, got {self.quantity}")


@attrs.frozen(kw_only=True, weakref_slot=False)
class ReportedItem(Record, Serializable):
    """The result for one billable item. A field that the service did not return is None.

    Attributes:
        sid: The SID of the billing item, `BI...`.
        quantity: The reported amount.
        submitted: Whether it was accepted for billing. Each item can fail on its own.
    """

    sid: str | None = attrs.field(factory=absent)
    quantity: Decimal | None = attrs.field(factory=absent)
    submitted: bool | None = attrs.field(factory=absent)


@attrs.frozen(kw_only=True, weakref_slot=False)
class UsageReport(Record, Serializable):
    """The result of a usage report. The service accepted it, whatever fields it returned.

    Attributes:
        billable_items: One result for each reported item. Check `submitted`. None if the service
            returned no results.
        total_submitted: The sum of the accepted amounts. None if the service did not return it.
    """

    billable_items: tuple[ReportedItem, ...] | None = attrs.field(factory=absent)
    total_submitted: Decimal | None = attrs.field(factory=absent)


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
            UnusableResponseError: The usage was accepted, but the response does not confirm which.
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
        request = trusted_request(
            "POST",
            self._path,
            body=encode(_Usage(items)),
            content_type=JSON,
            operation="installed_add_ons.usage.create",
        )
        return await self._call(request, _reporting(items))


def _reporting(items: Sequence[BillableItem]) -> Parse[UsageReport]:
    """Return a parser that compares the results with the reported items."""
    parse = to(UsageReport)
    asked = Counter(item.sid.lower() for item in items)

    def parse_and_compare(request: Request, response: Response) -> UsageReport:
        report = parse(request, response)
        results = report.billable_items
        if results is None:
            return report
        if len(results) != len(items):
            reason = f"{len(items)} billable items were reported, and {len(results)} returned"
            raise unusable(request, response, reason)
        known = Counter(
            result.sid.lower()
            for result in results
            if result.sid is not None and "sid" not in result.unreadable
        )
        if others := known - asked:
            reason = f"the response is about billing items that were not reported: {min(others)}"
            raise unusable(request, response, reason)
        return report

    return parse_and_compare
