"""The operations on installed Add-ons and their extensions."""

from collections.abc import Iterator

import attrs
import msgspec

from .add_ons import AddOn
from .calls import Call, Document, Response, boolean, json_object, required
from .catalogue import Catalogue
from .paging import page_response, slices_of
from .records import Installation, NameTaken, Slice
from .responses import ErrorResponse
from .store import Store


class InstalledAddOns:
    """The operations on the installations of a store."""

    def __init__(self, store: Store, catalogue: Catalogue) -> None:
        self._store = store
        self._catalogue = catalogue

    def create(self, call: Call) -> Response:
        fields = call.form()
        add_on_sid = required(fields, "AvailableAddOnSid")
        terms_accepted = boolean(fields, "AcceptTermsOfService")
        configuration = json_object(fields, "Configuration")
        add_on = self._catalogue.get(add_on_sid)
        if add_on is None or not add_on.visible:
            raise ErrorResponse("unknown_add_on", sid=add_on_sid)
        if not terms_accepted:
            raise ErrorResponse("terms")
        installation = self.install(
            call.account_sid, add_on, fields.get("UniqueName"), configuration or {}
        )
        return 201, _document(call, installation)

    def list_all(self, call: Call) -> Response:
        def slices(size: int, after: str | None, before: str | None) -> Slice | None:
            found = self._store.installations(call.account_sid, size, after=after, before=before)
            if found is None:
                return None
            return attrs.evolve(found, items=[_document(call, item) for item in found.items])

        return page_response(call, "installed_add_ons", slices)

    def fetch(self, call: Call) -> Response:
        return 200, _document(call, self._installation(call))

    def update(self, call: Call) -> Response:
        installation = self._installation(call)
        fields = call.form()
        configuration = json_object(fields, "Configuration")
        unique_name = fields.get("UniqueName")
        if configuration is not None:
            self._check_configuration(installation.available_add_on_sid, configuration)
        if configuration is not None or unique_name is not None:
            try:
                self._store.update_installation(installation.sid, unique_name, configuration)
            except NameTaken:
                raise ErrorResponse("unique_name", name=unique_name) from None
        return 200, _document(call, self._installation(call))

    def delete(self, call: Call) -> Response:
        self._store.delete_installation(self._installation(call).sid)
        return 204, None

    def list_extensions(self, call: Call) -> Response:
        return page_response(call, "extensions", slices_of(self._extensions(call)))

    def fetch_extension(self, call: Call) -> Response:
        return 200, call.select(self._extensions(call), call.segments["xf"])

    def update_extension(self, call: Call) -> Response:
        extension = call.select(self._extensions(call), call.segments["xf"])
        enabled = boolean(call.form(), "Enabled")
        self._store.enable_extension(extension["installed_add_on_sid"], extension["sid"], enabled)
        return 200, {**extension, "enabled": enabled}

    def install(
        self, account_sid: str, add_on: AddOn, unique_name: str | None, configuration: Document
    ) -> Installation:
        """Install an Add-on. The unique name defaults to the Add-on's own, with a suffix."""
        self._check_configuration(add_on.sid, configuration)
        for name in [unique_name] if unique_name else self._default_names(account_sid, add_on):
            try:
                return self._store.install(
                    account_sid=account_sid,
                    available_add_on_sid=add_on.sid,
                    friendly_name=add_on.friendly_name,
                    description=add_on.description,
                    unique_name=name,
                    configuration=configuration,
                )
            except NameTaken:
                continue
        raise ErrorResponse("unique_name", name=unique_name)

    def _default_names(self, account_sid: str, add_on: AddOn) -> Iterator[str]:
        yield add_on.unique_name
        while True:
            number = self._store.next_number(account_sid, add_on.sid)
            if number:
                yield f"{add_on.unique_name}_{number}"

    def _check_configuration(self, add_on_sid: str, configuration: Document) -> None:
        # A state file can contain Add-ons that are not in this catalogue. They have no schema.
        if self._catalogue.get(add_on_sid) is None:
            return
        errors = self._catalogue.configuration_errors(add_on_sid, configuration)
        if errors:
            first = errors[0]
            why = f"{first['path']}: {first['message']}" if first["path"] else first["message"]
            raise ErrorResponse("configuration", why=why, details={"errors": errors})

    def _installation(self, call: Call) -> Installation:
        installation = self._store.installation(call.segments["xe"], call.account_sid)
        if installation is None:
            raise call.not_found()
        return installation

    def _extensions(self, call: Call) -> list[Document]:
        installation = self._installation(call)
        add_on = self._catalogue.get(installation.available_add_on_sid)
        enabled = self._store.enabled_extensions(installation.sid)
        path = f"{call.base_url}/v1/InstalledAddOns/{installation.sid}/Extensions"
        return [
            {
                "sid": sid,
                "installed_add_on_sid": installation.sid,
                "friendly_name": extension.friendly_name,
                "product_name": extension.product_name,
                "unique_name": extension.unique_name,
                "enabled": sid in enabled,
                "url": f"{path}/{sid}",
            }
            for sid, extension in (add_on.extension_sids() if add_on else {}).items()
        ]


def _document(call: Call, installation: Installation) -> Document:
    url = f"{call.base_url}/v1/InstalledAddOns/{installation.sid}"
    return {
        "sid": installation.sid,
        "account_sid": installation.account_sid,
        "friendly_name": installation.friendly_name,
        "description": installation.description,
        "configuration": msgspec.Raw(installation.configuration),
        "unique_name": installation.unique_name,
        "date_created": installation.date_created,
        "date_updated": installation.date_updated,
        "url": url,
        "links": {
            "extensions": f"{url}/Extensions",
            "available_add_on": (
                f"{call.base_url}/v1/AvailableAddOns/{installation.available_add_on_sid}"
            ),
        },
    }
