"""The routes of the Marketplace v1 API."""

from .available_add_ons import AvailableAddOns
from .calls import Operation
from .catalogue import Catalogue
from .installed_add_ons import InstalledAddOns
from .listings import Listings
from .store import Store
from .usage import Usage, create_referral_conversion


def marketplace_routes(store: Store, catalogue: Catalogue) -> list[tuple[str, str, Operation]]:
    """Return the method, path and operation of each of the 18 routes."""
    available, installed = AvailableAddOns(catalogue), InstalledAddOns(store, catalogue)
    usage, listings = Usage(store, catalogue), Listings(store, catalogue)
    xb, xe = "/v1/AvailableAddOns/{xb}", "/v1/InstalledAddOns/{xe}"
    return [
        ("GET", "/v1/AvailableAddOns", available.list_all),
        ("GET", xb, available.fetch),
        ("GET", f"{xb}/Extensions", available.list_extensions),
        ("GET", f"{xb}/Extensions/{{xf}}", available.fetch_extension),
        ("POST", "/v1/InstalledAddOns", installed.create),
        ("GET", "/v1/InstalledAddOns", installed.list_all),
        ("GET", xe, installed.fetch),
        ("POST", xe, installed.update),
        ("DELETE", xe, installed.delete),
        ("GET", f"{xe}/Extensions", installed.list_extensions),
        ("GET", f"{xe}/Extensions/{{xf}}", installed.fetch_extension),
        ("POST", f"{xe}/Extensions/{{xf}}", installed.update_extension),
        ("POST", f"{xe}/Usage", usage.create),
        ("POST", "/v1/ReferralConversion", create_referral_conversion),
        ("POST", "/v1/Listings", listings.create),
        ("GET", "/v1/Listings", listings.list_own),
        ("GET", "/v1/Listing/{xb}", listings.fetch),
        ("POST", "/v1/Listing/{xb}", listings.update),
    ]
