"""The operations on available Add-ons and their extensions."""

from .add_ons import AddOn
from .calls import Call, Document, Response
from .catalogue import Catalogue
from .paging import page_response, slices_of


class AvailableAddOns:
    """The operations on the Add-ons of a catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def list_all(self, call: Call) -> Response:
        documents = [_document(call, add_on) for add_on in self._catalogue if add_on.visible]
        return page_response(call, "available_add_ons", slices_of(documents))

    def fetch(self, call: Call) -> Response:
        return 200, _document(call, visible_add_on(call, self._catalogue))

    def list_extensions(self, call: Call) -> Response:
        return page_response(call, "extensions", slices_of(self._extensions(call)))

    def fetch_extension(self, call: Call) -> Response:
        return 200, call.select(self._extensions(call), call.segments["xf"])

    def _extensions(self, call: Call) -> list[Document]:
        add_on = visible_add_on(call, self._catalogue)
        path = f"{call.base_url}/v1/AvailableAddOns/{add_on.sid}/Extensions"
        return [
            {
                "sid": sid,
                "available_add_on_sid": add_on.sid,
                "friendly_name": extension.friendly_name,
                "product_name": extension.product_name,
                "unique_name": extension.unique_name,
                "url": f"{path}/{sid}",
            }
            for sid, extension in add_on.extension_sids().items()
        ]


def visible_add_on(call: Call, catalogue: Catalogue) -> AddOn:
    """Return the Add-on named in the path. Raises the 404 unless it is visible."""
    add_on = catalogue.get(call.segments["xb"])
    if add_on is None or not add_on.visible:
        raise call.not_found()
    return add_on


def _document(call: Call, add_on: AddOn) -> Document:
    url = f"{call.base_url}/v1/AvailableAddOns/{add_on.sid}"
    return {
        "sid": add_on.sid,
        "friendly_name": add_on.friendly_name,
        "description": add_on.description,
        "pricing_type": add_on.pricing_type,
        "configuration_schema": add_on.configuration_schema,
        "url": url,
        "links": {"extensions": f"{url}/Extensions"},
    }
