"""The operations on listings."""

from typing import Final

from .available_add_ons import visible_add_on
from .calls import Call, Document, Response, json_object, required
from .catalogue import Catalogue
from .responses import ErrorResponse
from .store import Store, new_sid

_MAX_POLICIES: Final = 5_000_000
_PARTS: Final = {
    "ModuleInfo": "module_info",
    "Description": "description",
    "Documentation": "documentation",
    "Policies": "policies",
    "Support": "support",
    "Configuration": "configuration",
    "Pricing": "pricing",
}


class Listings:
    """The operations on listings: those of the store, and those of visible Add-ons."""

    def __init__(self, store: Store, catalogue: Catalogue) -> None:
        self._store = store
        self._catalogue = catalogue

    def create(self, call: Call) -> Response:
        fields = call.form()
        required(fields, "ModuleInfo")
        parts = {
            part: json_object(fields, name)
            for name, part in _PARTS.items()
            if name in ("ModuleInfo", "Configuration")
        }
        sid = new_sid("XB")
        self._store.save_listing(sid, call.account_sid, parts)
        return 200, _document(call, sid, parts)

    def list_own(self, call: Call) -> Response:
        # The OpenAPI description shows only the module info of each listing in this response.
        documents = self._store.listings(call.account_sid)
        return 200, {"listings": [document["module_info"] or {} for document in documents]}

    def fetch(self, call: Call) -> Response:
        return 200, _document(call, call.segments["xb"], self._parts(call)[0])

    def update(self, call: Call) -> Response:
        sid = call.segments["xb"]
        parts, owned = self._parts(call)
        if not owned:
            raise ErrorResponse("not_owner")
        fields = call.form()
        if len(fields.get("Policies", "").encode()) > _MAX_POLICIES:
            raise ErrorResponse("parameter_invalid", name="Policies", why="larger than 5 MB")
        changes = {
            part: json_object(fields, name) for name, part in _PARTS.items() if name in fields
        }
        changed = {**parts, **changes}
        if changed == parts:
            return 304, None
        self._store.save_listing(sid, call.account_sid, changed)
        return 200, _document(call, sid, changed)

    def _parts(self, call: Call) -> tuple[Document, bool]:
        """Return the parts of a listing, and whether the account owns it."""
        parts = self._store.listing(call.segments["xb"], call.account_sid)
        if parts is not None:
            return parts, True
        add_on = visible_add_on(call, self._catalogue)
        partner = add_on.partner_account_sid
        if partner is not None:
            parts = self._store.listing(add_on.sid, partner)
        if parts is None:
            parts = {
                "module_info": {
                    "name": add_on.friendly_name,
                    "short_description": add_on.description,
                }
            }
        return parts, partner == call.account_sid


def _document(call: Call, sid: str, parts: Document) -> Document:
    empty = dict.fromkeys(_PARTS.values())
    return {"sid": sid, "url": f"{call.base_url}/v1/Listing/{sid}", **empty, **parts}
