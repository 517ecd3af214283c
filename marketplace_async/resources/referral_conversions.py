"""Accounts that signed up through a partner's referral."""

import attrs

from .._core.arguments import check_sid
from .._core.codec import encode, to
from .._core.expectations import expecting
from .._core.messages import JSON, trusted_request
from .._core.operation import Call
from .._core.records import Record, absent
from .._core.serializable import Serializable


@attrs.frozen(kw_only=True, weakref_slot=False)
class ReferralConversion(Record, Serializable):
    """A referral that was converted.

    Attributes:
        converted_account_sid: The account that was converted, `AC...`. None if the service did not
            return it.
    """

    converted_account_sid: str | None = attrs.field(factory=absent)


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
            UnusableResponseError: Something was converted, but the response does not confirm that
                it is this account.
            MarketplaceError: The request failed. The referral was not converted.

        See https://www.twilio.com/docs/marketplace/listings/api-overview-users
        """
        sid = check_sid("AC", referral_account_sid, "referral_account_sid")
        request = trusted_request(
            "POST",
            "/v1/ReferralConversion",
            body=encode(_Referral(sid)),
            content_type=JSON,
            operation="referral_conversions.create",
        )
        parse = expecting(to(ReferralConversion), converted_account_sid=sid)
        return await self._call(request, parse)
