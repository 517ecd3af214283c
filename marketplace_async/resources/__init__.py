"""One file per noun of the API: the record on top, the collection below."""

from .available_add_ons import AvailableAddOnExtensions, AvailableAddOns
from .installed_add_on_extensions import InstalledAddOnExtensions
from .installed_add_on_usage import InstalledAddOnUsage
from .installed_add_ons import InstalledAddOns
from .listings import Listings
from .referral_conversions import ReferralConversions

__all__ = [
    "AvailableAddOnExtensions",
    "AvailableAddOns",
    "InstalledAddOnExtensions",
    "InstalledAddOnUsage",
    "InstalledAddOns",
    "Listings",
    "ReferralConversions",
]
