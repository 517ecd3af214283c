"""The public names of the package, which `marketplace_async` imports when one is used."""

from ._core.cursor import Page
from ._core.limiter import AccountStats, Stats
from ._core.messages import Exchange, Request, Response
from ._core.pagination import ListOptions, Paginator
from ._core.pipeline import capture
from ._core.session import Timeout
from ._version import __version__
from .accounts import Account, AccountSource
from .client import ClientOptions, MarketplaceClient
from .credentials import AccountToken, ApiKey, ClientCredentials, Credentials, Environment, Secret
from .errors import (
    AmbiguousOutcomeError,
    APIError,
    AuthenticationError,
    BadRequestError,
    ClientClosedError,
    ConfigurationError,
    ConfigurationIssue,
    ConflictError,
    ConnectError,
    CredentialsError,
    IncompleteListError,
    MarketplaceError,
    MissingExtraError,
    NotEnsuredError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    RequestTimeoutError,
    ResponseError,
    SchemaError,
    ServerError,
    TokenError,
    TransportError,
    UnreadableFieldError,
    UnusableResponseError,
    WebhookError,
)
from .resources.available_add_ons import (
    AvailableAddOn,
    AvailableAddOnExtension,
    configuration_errors,
)
from .resources.installed_add_on import Ensured, InstalledAddOn
from .resources.installed_add_on_extensions import InstalledAddOnExtension
from .resources.installed_add_on_usage import BillableItem, ReportedItem, UsageReport
from .resources.listings import Listing
from .resources.referral_conversions import ReferralConversion
from .retry import Retry
from .serialization import from_dict, from_json, to_dict, to_json

__all__ = [
    "APIError",
    "Account",
    "AccountSource",
    "AccountStats",
    "AccountToken",
    "AmbiguousOutcomeError",
    "ApiKey",
    "AuthenticationError",
    "AvailableAddOn",
    "AvailableAddOnExtension",
    "BadRequestError",
    "BillableItem",
    "ClientClosedError",
    "ClientCredentials",
    "ClientOptions",
    "ConfigurationError",
    "ConfigurationIssue",
    "ConflictError",
    "ConnectError",
    "Credentials",
    "CredentialsError",
    "Ensured",
    "Environment",
    "Exchange",
    "IncompleteListError",
    "InstalledAddOn",
    "InstalledAddOnExtension",
    "ListOptions",
    "Listing",
    "MarketplaceClient",
    "MarketplaceError",
    "MissingExtraError",
    "NotEnsuredError",
    "NotFoundError",
    "Page",
    "Paginator",
    "PermissionDeniedError",
    "RateLimitedError",
    "ReferralConversion",
    "ReportedItem",
    "Request",
    "RequestTimeoutError",
    "Response",
    "ResponseError",
    "Retry",
    "SchemaError",
    "Secret",
    "ServerError",
    "Stats",
    "Timeout",
    "TokenError",
    "TransportError",
    "UnreadableFieldError",
    "UnusableResponseError",
    "UsageReport",
    "WebhookError",
    "__version__",
    "capture",
    "configuration_errors",
    "from_dict",
    "from_json",
    "to_dict",
    "to_json",
]

# Reprs, pickles and tracebacks name the module to import a class from.
for _name in __all__:
    if isinstance(_class := globals()[_name], type):
        _class.__module__ = "marketplace_async"
