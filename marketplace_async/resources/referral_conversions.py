"""Accounts that signed up through a partner's referral."""

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
    """`client.referral_conversions`: report accounts that signed up through a referral."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def create(self, *, referral_account_sid: str) -> ReferralConversion:
        """Report an account that was referred.

        Args:
            referral_account_sid: The account, `AC...`.

        Raises:
            ValueError, TypeError: `referral_account_sid` is not an account SID. Nothing was sent.
            BadRequestError: The account is not a valid referral.
            AmbiguousOutcomeError: The referral may or may not have been converted.
            MarketplaceError: The request failed. The referral was not converted.

        See https://www.twilio.com/docs/marketplace/listings/api-overview-users
        """
        referral = _Referral(check_sid("AC", referral_account_sid, "referral_account_sid"))
        request = Request(
            "POST", "/v1/ReferralConversion", body=encode(referral), content_type=JSON
        )
        return await self._call(request, to(ReferralConversion))
