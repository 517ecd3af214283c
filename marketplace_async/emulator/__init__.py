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

from .catalogue import AddOn, Catalogue, Extension
from .faults import Fault, Faults, LogEntry, RequestLog
from .records import UsageItem
from .server import Emulator
from .webhooks import DeliveryOptions, WebhookOptions, WebhookResponse

__all__ = [
    "AddOn",
    "Catalogue",
    "DeliveryOptions",
    "Emulator",
    "Extension",
    "Fault",
    "Faults",
    "LogEntry",
    "RequestLog",
    "UsageItem",
    "WebhookOptions",
    "WebhookResponse",
]
