"""The operations: what each path does with the state, and what its answer says.

Nothing in here waits or knows HTTP beyond status and document: `server.py` does.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal, localcontext
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import parse_qsl

import attrs
import msgspec

from .answers import Refused
from .catalogue import AddOn, Catalogue
from .paging import Slices, cut, slices_of
from .store import Installation, NameTaken, Slice, Store, UsageItem, new_sid

T = TypeVar("T")

Document: TypeAlias = dict[str, Any]
Answer: TypeAlias = tuple[int, Document | None]

_MAX_POLICIES: Final = 5_000_000
_LISTING_PARTS: Final = {
    "ModuleInfo": "module_info",
    "Description": "description",
    "Documentation": "documentation",
    "Policies": "policies",
    "Support": "support",
    "Configuration": "configuration",
    "Pricing": "pricing",
}


@attrs.frozen(kw_only=True)
class Call:
    """One request, let in and taken apart."""

    account_sid: str
    base_url: str
    method: str
    path: str
    segments: Mapping[str, str]
    query: Mapping[str, str]
    content_type: str
    body: bytes

    def form(self) -> dict[str, str]:
        """Return the fields of a form; a body of another type has none, as with the service."""
        if self.content_type != "application/x-www-form-urlencoded":
            return {}
        try:
            text = self.body.decode("ascii")
            # A field without a value says no more than a field that is left out.
            return dict(parse_qsl(text, errors="strict", max_num_fields=100))
        except ValueError as error:
            raise Refused("body", why=error) from None

    def json(self, cls: type[T]) -> T:
        """Return the JSON body as what it should be."""
        return _read_json(self.body, cls, "body")


def _read_json(data: bytes | str, cls: type[T], answer: str, **values: object) -> T:
    try:
        return msgspec.json.decode(data, type=cls)
    except RecursionError:
        raise Refused(answer, why="nested too deeply", **values) from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise Refused(answer, why=error, **values) from None


def _object(fields: Mapping[str, str], name: str) -> Document | None:
    """Return a form field that holds a JSON object as text."""
    text = fields.get(name)
    return None if text is None else _read_json(text, Document, "parameter_invalid", name=name)


def _flag(fields: Mapping[str, str], name: str) -> bool:
    text = _required(fields, name).lower()
    if text not in ("true", "false"):
        raise Refused("parameter_invalid", name=name, why="expected true or false")
    return text == "true"


def _required(fields: Mapping[str, str], name: str) -> str:
    if name not in fields:
        raise Refused("parameter_missing", name=name)
    return fields[name]


@attrs.frozen
class _BillableItem:
    sid: str
    quantity: Decimal


@attrs.frozen
class _Usage:
    billable_items: tuple[_BillableItem, ...]


@attrs.frozen
class _Referral:
    referral_account_sid: str


Operation: TypeAlias = Callable[[Call], Answer]


class Routes:
    """The operations over one store and one catalogue."""

    def __init__(self, store: Store, catalogue: Catalogue) -> None:
        self._store = store
        self._catalogue = catalogue

    def table(self) -> list[tuple[str, str, Operation]]:
        """Return method, path and operation: all 18 of them."""
        available = "/v1/AvailableAddOns"
        installed = "/v1/InstalledAddOns"
        return [
            ("GET", available, self.list_available),
            ("GET", f"{available}/{{xb}}", self.fetch_available),
            ("GET", f"{available}/{{xb}}/Extensions", self.list_available_extensions),
            ("GET", f"{available}/{{xb}}/Extensions/{{xf}}", self.fetch_available_extension),
            ("POST", installed, self.create_installed),
            ("GET", installed, self.list_installed),
            ("GET", f"{installed}/{{xe}}", self.fetch_installed),
            ("POST", f"{installed}/{{xe}}", self.update_installed),
            ("DELETE", f"{installed}/{{xe}}", self.delete_installed),
            ("GET", f"{installed}/{{xe}}/Extensions", self.list_installed_extensions),
            ("GET", f"{installed}/{{xe}}/Extensions/{{xf}}", self.fetch_installed_extension),
            ("POST", f"{installed}/{{xe}}/Extensions/{{xf}}", self.update_installed_extension),
            ("POST", f"{installed}/{{xe}}/Usage", self.create_usage),
            ("POST", "/v1/ReferralConversion", self.create_referral_conversion),
            ("POST", "/v1/Listings", self.create_listing),
            ("GET", "/v1/Listings", self.list_own_listings),
            ("GET", "/v1/Listing/{xb}", self.fetch_listing),
            ("POST", "/v1/Listing/{xb}", self.update_listing),
        ]

    # -- AvailableAddOns

    def list_available(self, call: Call) -> Answer:
        documents = [_available(call, add_on) for add_on in self._catalogue if add_on.visible]
        return _page(call, "available_add_ons", slices_of(documents))

    def fetch_available(self, call: Call) -> Answer:
        return 200, _available(call, self._visible_add_on(call))

    def list_available_extensions(self, call: Call) -> Answer:
        add_on = self._visible_add_on(call)
        return _page(call, "extensions", slices_of(_available_extensions(call, add_on)))

    def fetch_available_extension(self, call: Call) -> Answer:
        return 200, _with_sid(call, _available_extensions(call, self._visible_add_on(call)))

    # -- InstalledAddOns

    def create_installed(self, call: Call) -> Answer:
        fields = call.form()
        add_on_sid = _required(fields, "AvailableAddOnSid")
        accepted = _flag(fields, "AcceptTermsOfService")
        configuration = _object(fields, "Configuration")
        add_on = self._catalogue.get(add_on_sid)
        if add_on is None or not add_on.visible:
            raise Refused("unknown_add_on", sid=add_on_sid)
        if not accepted:
            raise Refused("terms")
        installation = self.install(
            call.account_sid, add_on, fields.get("UniqueName"), configuration or {}
        )
        return 201, _installed(call, installation)

    def list_installed(self, call: Call) -> Answer:
        def slices(size: int, after: str | None, before: str | None) -> Slice | None:
            found = self._store.installations(call.account_sid, size, after=after, before=before)
            if found is None:
                return None
            return attrs.evolve(found, items=[_installed(call, item) for item in found.items])

        return _page(call, "installed_add_ons", slices)

    def fetch_installed(self, call: Call) -> Answer:
        return 200, _installed(call, self._installation(call))

    def update_installed(self, call: Call) -> Answer:
        installation = self._installation(call)
        fields = call.form()
        configuration = _object(fields, "Configuration")
        unique_name = fields.get("UniqueName")
        if configuration is not None:
            self._check_configuration(installation.available_add_on_sid, configuration)
        if configuration is not None or unique_name is not None:
            try:
                self._store.update_installation(installation.sid, unique_name, configuration)
            except NameTaken:
                raise Refused("unique_name", name=unique_name) from None
        return 200, _installed(call, self._installation(call))

    def delete_installed(self, call: Call) -> Answer:
        self._store.delete_installation(self._installation(call).sid)
        return 204, None

    def list_installed_extensions(self, call: Call) -> Answer:
        return _page(call, "extensions", slices_of(self._installed_extensions(call)))

    def fetch_installed_extension(self, call: Call) -> Answer:
        return 200, _with_sid(call, self._installed_extensions(call))

    def update_installed_extension(self, call: Call) -> Answer:
        extension = _with_sid(call, self._installed_extensions(call))
        enabled = _flag(call.form(), "Enabled")
        self._store.enable_extension(extension["installed_add_on_sid"], extension["sid"], enabled)
        return 200, {**extension, "enabled": enabled}

    def create_usage(self, call: Call) -> Answer:
        installation = self._store.installation(call.segments["xe"])
        add_on = self._catalogue.get(installation.available_add_on_sid) if installation else None
        if installation is None or add_on is None:
            raise Refused("not_found", path=call.path)
        if add_on.partner_account_sid not in (None, call.account_sid):
            raise Refused("usage_not_partner")
        if add_on.partner_account_sid is None and installation.account_sid != call.account_sid:
            raise Refused("not_found", path=call.path)
        if not add_on.manual_usage:
            raise Refused("usage_not_manual")
        if not add_on.billable:
            raise Refused("usage_stage")
        items = call.json(_Usage).billable_items
        if not items:
            raise Refused("parameter_missing", name="billable_items")
        for item in items:
            _check_sid("BI", item.sid, "sid")
            if not (item.quantity.is_finite() and item.quantity > 0):
                raise Refused("usage_quantity")
            if not -30 <= item.quantity.as_tuple().exponent <= item.quantity.adjusted() <= 30:  # type: ignore[operator]
                raise Refused("parameter_invalid", name="quantity", why="out of range")
        known = add_on.billing_items
        accepted = [item for item in items if known is None or item.sid in known]
        with localcontext(prec=100):
            total = sum((item.quantity for item in accepted), Decimal(0))
        self._store.bill(
            UsageItem(call.account_sid, installation.sid, item.sid, item.quantity)
            for item in accepted
        )
        return 202, {
            "total_submitted": total,
            "billable_items": [
                {
                    "quantity": item.quantity,
                    "sid": item.sid,
                    "submitted": known is None or item.sid in known,
                }
                for item in items
            ],
        }

    # -- ReferralConversion

    def create_referral_conversion(self, call: Call) -> Answer:
        referral = call.json(_Referral)
        _check_sid("AC", referral.referral_account_sid, "referral_account_sid")
        return 200, {"converted_account_sid": referral.referral_account_sid}

    # -- Listings

    def create_listing(self, call: Call) -> Answer:
        fields = call.form()
        _required(fields, "ModuleInfo")
        parts = {
            part: _object(fields, name)
            for name, part in _LISTING_PARTS.items()
            if name in ("ModuleInfo", "Configuration")
        }
        sid = new_sid("XB")
        self._store.save_listing(sid, call.account_sid, parts)
        return 200, _listing(call, sid, parts)

    def list_own_listings(self, call: Call) -> Answer:
        # What the description shows of this answer is the module info of each, and no more.
        documents = self._store.listings(call.account_sid)
        return 200, {"listings": [document["module_info"] or {} for document in documents]}

    def fetch_listing(self, call: Call) -> Answer:
        return 200, _listing(call, call.segments["xb"], self._listing_parts(call)[0])

    def update_listing(self, call: Call) -> Answer:
        sid = call.segments["xb"]
        parts, owned = self._listing_parts(call)
        if not owned:
            raise Refused("not_owner")
        fields = call.form()
        if len(fields.get("Policies", "").encode()) > _MAX_POLICIES:
            raise Refused("parameter_invalid", name="Policies", why="larger than 5 MB")
        changes = {
            part: _object(fields, name) for name, part in _LISTING_PARTS.items() if name in fields
        }
        changed = {**parts, **changes}
        if changed == parts:
            return 304, None
        self._store.save_listing(sid, call.account_sid, changed)
        return 200, _listing(call, sid, changed)

    # -- what several of them do

    def install(
        self, account_sid: str, add_on: AddOn, unique_name: str | None, configuration: Document
    ) -> Installation:
        """Install an add-on, under its own name and a number unless a name is given."""
        self._check_configuration(add_on.sid, configuration)
        for name in [unique_name] if unique_name else self._own_names(account_sid, add_on):
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
        raise Refused("unique_name", name=unique_name)

    def _own_names(self, account_sid: str, add_on: AddOn) -> Iterator[str]:
        yield add_on.unique_name
        while True:
            number = self._store.next_number(account_sid, add_on.sid)
            if number:
                yield f"{add_on.unique_name}_{number}"

    def _check_configuration(self, add_on_sid: str, configuration: Document) -> None:
        # An add-on can leave the catalogue between two runs on one file: then nothing is known.
        if self._catalogue.get(add_on_sid) is None:
            return
        errors = self._catalogue.configuration_errors(add_on_sid, configuration)
        if errors:
            first = errors[0]
            why = f"{first['path']}: {first['message']}" if first["path"] else first["message"]
            raise Refused("configuration", why=why, details={"errors": errors})

    def _visible_add_on(self, call: Call) -> AddOn:
        add_on = self._catalogue.get(call.segments["xb"])
        if add_on is None or not add_on.visible:
            raise Refused("not_found", path=call.path)
        return add_on

    def _installation(self, call: Call) -> Installation:
        installation = self._store.installation(call.segments["xe"], call.account_sid)
        if installation is None:
            raise Refused("not_found", path=call.path)
        return installation

    def _installed_extensions(self, call: Call) -> list[Document]:
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

    def _listing_parts(self, call: Call) -> tuple[Document, bool]:
        """Return the parts of a listing, and whether the account owns it."""
        sid = call.segments["xb"]
        parts = self._store.listing(sid, call.account_sid)
        if parts is not None:
            return parts, True
        add_on = self._visible_add_on(call)
        module_info = {"name": add_on.friendly_name, "short_description": add_on.description}
        return {"module_info": module_info}, add_on.partner_account_sid == call.account_sid


def _page(call: Call, key: str, slices: Slices) -> Answer:
    """Answer with one page of a list."""
    page = cut(call.query, slices)

    def url(query: str | None) -> str | None:
        return query and f"{call.base_url}{call.path}?{query}"

    meta = {
        "page": page.number,
        "page_size": page.size,
        "first_page_url": url(page.first),
        "previous_page_url": url(page.previous),
        "url": url(page.here),
        "next_page_url": url(page.following),
        "key": key,
    }
    return 200, {key: page.items, "meta": meta}


def _with_sid(call: Call, extensions: Sequence[Document]) -> Document:
    for extension in extensions:
        if extension["sid"] == call.segments["xf"]:
            return extension
    raise Refused("not_found", path=call.path)


def _check_sid(prefix: str, sid: str, name: str) -> None:
    if not re.fullmatch(f"{prefix}[0-9a-fA-F]{{32}}", sid):
        raise Refused("parameter_invalid", name=name, why=f"expected {prefix} and 32 hex digits")


def _available(call: Call, add_on: AddOn) -> Document:
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


def _available_extensions(call: Call, add_on: AddOn) -> list[Document]:
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


def _installed(call: Call, installation: Installation) -> Document:
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


def _listing(call: Call, sid: str, parts: Document) -> Document:
    empty = dict.fromkeys(_LISTING_PARTS.values())
    return {"sid": sid, "url": f"{call.base_url}/v1/Listing/{sid}", **empty, **parts}
