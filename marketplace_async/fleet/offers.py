"""Offers: the prices of Add-ons, and the terms that an installation accepts."""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import attrs

from .._core.codec import encode
from .._core.printable import printable
from ..client import MarketplaceClient
from ..errors import NotFoundError, PermissionDeniedError, UnusableResponseError
from ..resources.available_add_ons import AvailableAddOn
from ..resources.listings import Listing
from .digests import Digests

NOT_STATED: Final = "not stated by the service"
_MAX_TEXT: Final = 300


@attrs.frozen(kw_only=True)
class Offer:
    """The price and the terms of an Add-on, as the service states them.

    Installing an Add-on accepts both. The terms are the policies of its listing, because the API
    does not return any other terms.

    Attributes:
        pricing_type: How its use is charged, such as "per minute". None if not stated.
        pricing: The description of the price in its listing. None if not stated.
        terms: The policies of its listing. None if not stated.
        digest: A digest of the complete offer, to detect changes. The texts above are cut to 300
            characters.
    """

    pricing_type: str | None = None
    pricing: str | None = None
    terms: str | None = None
    digest: str

    @property
    def price_text(self) -> str:
        """The price in words."""
        return "; ".join(filter(None, (self.pricing_type, self.pricing))) or NOT_STATED

    @property
    def terms_text(self) -> str:
        """The terms in words."""
        return self.terms or NOT_STATED


Offers: TypeAlias = Mapping[str, Offer]


def offer_of(add_on: AvailableAddOn, listing: Listing | None) -> Offer:
    """Return the offer of an Add-on. Without a listing, only the pricing type is known."""
    pricing = None if listing is None else listing.pricing
    policies = None if listing is None else listing.policies
    return Offer(
        pricing_type=_text(add_on.pricing_type),
        pricing=_text(pricing),
        terms=_text(policies),
        digest=Digests(None).of([add_on.pricing_type, pricing or None, policies or None]),
    )


async def read_offer(client: MarketplaceClient, add_on: AvailableAddOn) -> Offer:
    """Read the offer of an Add-on. Without a readable listing, only the pricing type is known."""
    try:
        listing = await client.listings.fetch(add_on.sid)
    except (NotFoundError, PermissionDeniedError, UnusableResponseError):
        listing = None
    return offer_of(add_on, listing)


def offer_changes(before: Offer | None, after: Offer | None) -> str:
    """Describe how an offer differs from the approved one."""
    if before is None or after is None:
        return "the price and terms of the Add-on"
    texts = (
        ("price", before.price_text, after.price_text),
        ("terms", before.terms_text, after.terms_text),
    )
    changes = [f"{name}: {old} -> {new}" for name, old, new in texts if old != new]
    return "; ".join(changes) or "details of the price or terms of the Add-on"


def _text(value: Any) -> str | None:
    """Return a part of an offer as text on one line."""
    if not value:
        return None
    match value:
        case str():
            text = value
        case dict() if len(value) == 1 and isinstance(value.get("body"), str):
            text = value["body"]
        case dict() if all(isinstance(item, str) for item in value.values()):
            text = "; ".join(f"{key} {item}" for key, item in sorted(value.items()))
        case _:
            text = encode(value).decode()
    text = printable(" ".join(text.split()))
    if not text:
        return None
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 3]}..."
