"""What the client reads each successful response of Twilio's OpenAPI description as."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import attrs

from marketplace_async import (
    AvailableAddOn,
    AvailableAddOnExtension,
    InstalledAddOn,
    InstalledAddOnExtension,
    Listing,
    ReferralConversion,
    UsageReport,
)
from marketplace_async._core.codec import encode, same_json
from marketplace_async.resources import (
    available_add_ons,
    installed_add_on_extensions,
    installed_add_ons,
    listings,
)

INSTALLED = "/v1/InstalledAddOns"
EXTENSIONS = "/v1/InstalledAddOns/{InstalledAddOnSid}/Extensions"
AVAILABLE = "/v1/AvailableAddOns"
AVAILABLE_EXTENSIONS = "/v1/AvailableAddOns/{AvailableAddOnSid}/Extensions"

# By operation and status.
CLASSES: dict[str, type[Any]] = {
    f"get {AVAILABLE} 200": available_add_ons._Page,
    f"get {AVAILABLE}/{{Sid}} 200": AvailableAddOn,
    f"get {AVAILABLE_EXTENSIONS} 200": available_add_ons._ExtensionsPage,
    f"get {AVAILABLE_EXTENSIONS}/{{Sid}} 200": AvailableAddOnExtension,
    f"post {INSTALLED} 201": InstalledAddOn,
    f"get {INSTALLED} 200": installed_add_ons._Page,
    f"get {INSTALLED}/{{Sid}} 200": InstalledAddOn,
    f"post {INSTALLED}/{{Sid}} 200": InstalledAddOn,
    f"get {EXTENSIONS} 200": installed_add_on_extensions._Page,
    f"get {EXTENSIONS}/{{Sid}} 200": InstalledAddOnExtension,
    f"post {EXTENSIONS}/{{Sid}} 200": InstalledAddOnExtension,
    f"post {INSTALLED}/{{InstalledAddOnSid}}/Usage 202": UsageReport,
    "post /v1/ReferralConversion 200": ReferralConversion,
    "post /v1/ReferralConversion 202": ReferralConversion,
    "post /v1/Listings 200": Listing,
    "get /v1/Listings 200": listings._OwnListings,
    "post /v1/Listing/{Sid} 200": Listing,
    "get /v1/Listing/{Sid} 200": Listing,
}


def assert_read(value: Any, document: dict[str, Any]) -> None:
    """Check each field: it has the value of the document, or is noted as unknown."""
    unreadable = getattr(value, "unreadable", {})
    for field in attrs.fields(type(value)):
        name, actual = field.name, getattr(value, field.name)
        if name == "meta":
            link = document.get("meta", {}).get("next_page_url", ...)
            assert link is ... or actual.next_page_url == link
        elif name not in document:
            assert actual is None
            assert unreadable[name] is attrs.NOTHING
        elif isinstance(actual, tuple) and name != "listings":
            for item, part in zip(actual, document[name], strict=True):
                assert_read(item, part)
        elif name in unreadable:
            # A leap second, which Python cannot hold, or a number beyond a double's range.
            assert name.startswith("date_") or not same_json(actual, document[name])
            assert actual is None
        elif isinstance(actual, datetime):
            assert actual.tzinfo is not None
        elif isinstance(actual, Decimal):
            assert actual == Decimal(str(document[name]))
        else:
            assert same_json(list(actual) if name == "listings" else actual, document[name])
    if unreadable:
        encode(value)
