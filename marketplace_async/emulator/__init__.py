"""An emulator of the Marketplace v1 API: a second reading, that shares no code with the client.

It keeps state, checks configurations against schemas, pages, and isolates accounts. It is not the
service: it bills nobody, calls no add-on, and where the vendor says nothing of an answer, it gives
the one in `answers.INFERRED`.
"""

try:
    import jsonschema_rs as _jsonschema_rs  # noqa: F401
except ModuleNotFoundError:
    from ..errors import MissingExtraError

    raise MissingExtraError("the emulator", "emulator") from None

from .catalogue import AddOn, Catalogue, Extension
from .faults import Fault, Faults, LogEntry, RequestLog
from .server import Emulator
from .store import UsageItem

__all__ = [
    "AddOn",
    "Catalogue",
    "Emulator",
    "Extension",
    "Fault",
    "Faults",
    "LogEntry",
    "RequestLog",
    "UsageItem",
]
