"""Accounts that signed up by a partner's referral."""

import attrs

from .._core.arguments import check_sid
from .._core.codec import encode, to
from .._core.messages import JSON, Request
from .._core.operation import Call


@attrs.frozen(kw_only=True)
class ReferralConversion:
    """A referral that was converted.

    Attributes:
        converted_account_sid: The account that was converted, `AC...`.
    """

    converted_account_sid: str


@attrs.frozen(eq=False, repr=False)
class _Referral:
    referral_account_sid: str


class ReferralConversions:
    """`client.referral_conversions`: tells the vendor of accounts that a referral brought."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def create(self, *, referral_account_sid: str) -> ReferralConversion:
        """Report an account that was referred.

        Args:
            referral_account_sid: The account, `AC...`.

        Raises:
            ValueError, TypeError: `referral_account_sid` is no such SID; nothing was sent.
            BadRequestError: The service refuses the account.
            AmbiguousOutcomeError: It may be converted or not.
            MarketplaceError: Any other failure; it is not converted.

        See https://www.twilio.com/docs/marketplace/listings/api-overview-users
        """
        referral = _Referral(check_sid("AC", referral_account_sid, "referral_account_sid"))
        request = Request(
            "POST", "/v1/ReferralConversion", body=encode(referral), content_type=JSON
        )
        return await self._call(request, to(ReferralConversion))
