"""The operations that partners call: reporting usage and converting referrals."""

from decimal import Decimal, localcontext

import attrs

from .calls import Call, Response, check_sid
from .catalogue import Catalogue
from .records import UsageItem
from .responses import ErrorResponse
from .store import Store


@attrs.frozen
class _BillableItem:
    sid: str
    quantity: Decimal


@attrs.frozen
class _Usage:
    billable_items: tuple[_BillableItem, ...]


@attrs.frozen
class _Referral:
    referral_account_sid: str


class Usage:
    """The operation that reports usage."""

    def __init__(self, store: Store, catalogue: Catalogue) -> None:
        self._store = store
        self._catalogue = catalogue

    def create(self, call: Call) -> Response:
        installation = self._store.installation(call.segments["xe"])
        add_on = self._catalogue.get(installation.available_add_on_sid) if installation else None
        if installation is None or add_on is None:
            raise call.not_found()
        if add_on.partner_account_sid not in (None, call.account_sid):
            raise ErrorResponse("usage_not_partner")
        if add_on.partner_account_sid is None and installation.account_sid != call.account_sid:
            raise call.not_found()
        if not add_on.manual_usage:
            raise ErrorResponse("usage_not_manual")
        if not add_on.billable:
            raise ErrorResponse("usage_stage")
        items = call.json(_Usage).billable_items
        if not items:
            raise ErrorResponse("parameter_missing", name="billable_items")
        for item in items:
            check_sid("BI", item.sid, "sid")
            if not (item.quantity.is_finite() and item.quantity > 0):
                raise ErrorResponse("usage_quantity")
            if not -30 <= item.quantity.as_tuple().exponent <= item.quantity.adjusted() <= 30:  # type: ignore[operator]
                raise ErrorResponse("parameter_invalid", name="quantity", why="out of range")
        known = add_on.billing_items
        accepted = [item for item in items if known is None or item.sid in known]
        with localcontext(prec=100):
            total = sum((item.quantity for item in accepted), Decimal(0))
        self._store.add_usage(
            UsageItem(call.account_sid, installation.sid, item.sid, item.quantity)
            for item in accepted
        )
        return 202, {
            "total_submitted": total,
            "billable_items": [
                {
                    "quantity": item.quantity,
                    "sid": item.sid,
                    "submitted": known is None or item.sid in known,
                }
                for item in items
            ],
        }


def create_referral_conversion(call: Call) -> Response:
    referral = call.json(_Referral)
    check_sid("AC", referral.referral_account_sid, "referral_account_sid")
    return 200, {"converted_account_sid": referral.referral_account_sid}
