"""An emulator of the Marketplace v1 API. It shares no code with the client.

The emulator keeps state, checks configurations against schemas, paginates lists and isolates
accounts. It bills nothing and calls no Add-on. Where Twilio does not document a response, it sends
the one in `responses.INFERRED`.
"""

try:
    import jsonschema_rs as _jsonschema_rs  # noqa: F401
except ModuleNotFoundError:
    from ..errors import MissingExtraError

    raise MissingExtraError("the emulator", "emulator") from None

from .add_ons import AddOn, Extension
from .catalogue import Catalogue
from .faults import Fault, Faults
from .records import UsageItem
from .request_log import LogEntry, RequestLog
from .server import Emulator
from .state import AccountState, ExtensionState, InstallationState, ListingState, State
from .webhooks import DeliveryOptions, WebhookOptions, WebhookResponse

__all__ = [
    "AccountState",
    "AddOn",
    "Catalogue",
    "DeliveryOptions",
    "Emulator",
    "Extension",
    "ExtensionState",
    "Fault",
    "Faults",
    "InstallationState",
    "ListingState",
    "LogEntry",
    "RequestLog",
    "State",
    "UsageItem",
    "WebhookOptions",
    "WebhookResponse",
]
