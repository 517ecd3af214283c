"""Listings: the Marketplace pages that present Add-ons, for the partners who own them."""

from collections.abc import Mapping
from typing import Any

import attrs

from .._core.arguments import check_sid
from .._core.codec import json_object, json_object_or_none, to
from .._core.expectations import expecting
from .._core.messages import FORM, form, trusted_request
from .._core.operation import Call
from .._core.records import Envelope, Record, absent
from .._core.serializable import Serializable
from ..errors import APIError

_MAX_POLICIES = 5_000_000


@attrs.frozen(kw_only=True, weakref_slot=False)
class Listing(Record, Serializable):
    """The Marketplace page of one Add-on. All parts but `sid` and `url` are free-form JSON.

    Attributes:
        sid: `XB` and 32 hex digits.
        module_info: Name, tagline, logo and similar.
        description: The text, highlights and code samples of the description tab.
        documentation: How to use the Add-on.
        policies: Privacy and legal.
        support: Where to get help.
        configuration: Buttons and notification URLs.
        pricing: A description of the price.
        url: The absolute URL of this record.
    """

    sid: str
    module_info: dict[str, Any] | None = attrs.field(factory=absent, hash=False)
    description: dict[str, Any] | None = attrs.field(factory=absent, hash=False)
    documentation: dict[str, Any] | None = attrs.field(factory=absent, hash=False)
    policies: dict[str, Any] | None = attrs.field(factory=absent, hash=False)
    support: dict[str, Any] | None = attrs.field(factory=absent, hash=False)
    configuration: dict[str, Any] | None = attrs.field(factory=absent, hash=False)
    pricing: dict[str, Any] | None = attrs.field(factory=absent, hash=False)
    url: str | None = attrs.field(factory=absent)


@attrs.frozen(eq=False, repr=False)
class _OwnListings(Envelope):
    listings: tuple[dict[str, Any], ...]


class Listings:
    """`client.listings`: the listings of the Marketplace.

    See https://www.twilio.com/docs/marketplace/listings/api-overview-users
    """

    def __init__(self, call: Call) -> None:
        self._call = call

    async def create(
        self, *, module_info: Mapping[str, Any], configuration: Mapping[str, Any] | None = None
    ) -> Listing:
        """Create a listing that this account owns.

        Args:
            module_info: Name, tagline, logo and similar, as plain JSON.
            configuration: Buttons and notification URLs, as plain JSON.

        Raises:
            ValueError, TypeError: An argument is invalid. Nothing was sent.
            BadRequestError: A part is not valid.
            AmbiguousOutcomeError: The listing may or may not have been created.
            UnusableResponseError: A listing was created, but the response is not readable.
            MarketplaceError: The request failed. The listing was not created.
        """
        body = form(
            ModuleInfo=json_object(module_info, "module_info"),
            Configuration=json_object_or_none(configuration, "configuration"),
        )
        request = trusted_request(
            "POST", "/v1/Listings", body=body, content_type=FORM, operation="listings.create"
        )
        return await self._call(request, to(Listing))

    async def list_own(self) -> tuple[dict[str, Any], ...]:
        """List the listings that this account owns, in one response without pages.

        Returns:
            Free-form JSON for each listing. The API does not define its fields.

        Raises:
            MarketplaceError: The request failed.
        """
        request = trusted_request("GET", "/v1/Listings", operation="listings.list_own")
        return (await self._call(request, to(_OwnListings))).listings

    async def fetch(self, sid: str) -> Listing:
        """Fetch one listing.

        Args:
            sid: The SID of the listing, `XB...`.

        Raises:
            ValueError, TypeError: `sid` is not a listing SID. Nothing was sent.
            NotFoundError: There is no such listing.
            MarketplaceError: The request failed.
        """
        sid = check_sid("XB", sid, "sid")
        request = trusted_request("GET", _path(sid), operation="listings.fetch")
        return await self._call(request, expecting(to(Listing), sid=sid))

    async def update(
        self,
        sid: str,
        *,
        module_info: Mapping[str, Any] | None = None,
        description: Mapping[str, Any] | None = None,
        documentation: Mapping[str, Any] | None = None,
        policies: Mapping[str, Any] | None = None,
        support: Mapping[str, Any] | None = None,
        configuration: Mapping[str, Any] | None = None,
        pricing: Mapping[str, Any] | None = None,
    ) -> Listing:
        """Replace parts of a listing that this account owns.

        Each part is plain JSON. Omitted parts keep their content.

        Args:
            sid: The SID of the listing, `XB...`.
            module_info: Name, tagline, logo and similar.
            description: The text, highlights and code samples of the description tab.
            documentation: How to use the Add-on.
            policies: Privacy and legal; at most 5 MB of JSON.
            support: Where to get help.
            configuration: Buttons and notification URLs.
            pricing: A description of the price.

        Returns:
            The updated listing. If the service returns 304 because nothing changed, the client
            fetches the listing.

        Raises:
            ValueError, TypeError: An argument is invalid, or there is nothing to change. Nothing
                was sent.
            PermissionDeniedError: The account does not own the listing.
            NotFoundError: There is no such listing.
            MarketplaceError: The request failed.
        """
        sid = check_sid("XB", sid, "sid")
        body = form(
            ModuleInfo=json_object_or_none(module_info, "module_info"),
            Description=json_object_or_none(description, "description"),
            Documentation=json_object_or_none(documentation, "documentation"),
            Policies=_check_policies(json_object_or_none(policies, "policies")),
            Support=json_object_or_none(support, "support"),
            Configuration=json_object_or_none(configuration, "configuration"),
            Pricing=json_object_or_none(pricing, "pricing"),
        )
        if not body:
            raise ValueError("nothing to change: give at least one part of the listing")
        request = trusted_request(
            "POST",
            _path(sid),
            body=body,
            content_type=FORM,
            repeat="always",
            operation="listings.update",
        )
        with self._call.operation("listings.update"):
            try:
                return await self._call(request, expecting(to(Listing), sid=sid))
            except APIError as error:
                if error.status != 304:
                    raise
            return await self.fetch(sid)


def _path(sid: str) -> str:
    # Singular, unlike the path of the list.
    return f"/v1/Listing/{sid}"


def _check_policies(text: str | None) -> str | None:
    size = len(text.encode()) if text is not None else 0
    if size > _MAX_POLICIES:
        raise ValueError(f"policies: expected at most {_MAX_POLICIES} bytes of JSON, got {size}")
    return text
