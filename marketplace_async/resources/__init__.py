"""One file for each noun of the API: its record on top, its collection below."""

from .available_add_ons import AvailableAddOnExtensions, AvailableAddOns
from .installed_add_ons import InstalledAddOnExtensions, InstalledAddOns, InstalledAddOnUsage
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
