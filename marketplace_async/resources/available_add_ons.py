"""The Add-ons that can be installed, and their extensions."""

from collections.abc import Mapping
from typing import Any

import attrs

from .._core.arguments import check_sid
from .._core.codec import to
from .._core.cursor import Meta
from .._core.expectations import expecting, expecting_each
from .._core.messages import trusted_request
from .._core.operation import Call
from .._core.pagination import Listable
from .._core.records import Envelope, Record, absent
from .._core.schema import schema_violations
from .._core.serializable import Serializable
from ..errors import ConfigurationError, ConfigurationIssue, SchemaError


@attrs.frozen(kw_only=True, weakref_slot=False)
class AvailableAddOn(Record, Serializable):
    """An Add-on in the catalogue.

    Attributes:
        sid: `XB` and 32 hex digits.
        friendly_name: A display name.
        description: A short description.
        pricing_type: How its use is charged, such as "per minute".
        configuration_schema: The JSON Schema for configurations.
        url: The absolute URL of this record.
        links: The URLs of related resources: `extensions`.
    """

    sid: str
    friendly_name: str | None = attrs.field(factory=absent)
    description: str | None = attrs.field(factory=absent)
    pricing_type: str | None = attrs.field(factory=absent)
    configuration_schema: dict[str, Any] | None = attrs.field(factory=absent, hash=False)
    url: str | None = attrs.field(factory=absent)
    links: dict[str, Any] | None = attrs.field(factory=absent, hash=False)


@attrs.frozen(kw_only=True, weakref_slot=False)
class AvailableAddOnExtension(Record, Serializable):
    """An extension of an available Add-on: a place in Twilio's products where it can work.

    Attributes:
        sid: `XF` and 32 hex digits.
        available_add_on_sid: The available Add-on, `XB...`.
        friendly_name: A display name, such as "Incoming Voice Call".
        product_name: The product, such as "Programmable Voice".
        unique_name: A stable identifier, such as "voice-incoming".
        url: The absolute URL of this record.
    """

    sid: str
    available_add_on_sid: str | None = attrs.field(factory=absent)
    friendly_name: str | None = attrs.field(factory=absent)
    product_name: str | None = attrs.field(factory=absent)
    unique_name: str | None = attrs.field(factory=absent)
    url: str | None = attrs.field(factory=absent)


@attrs.frozen(eq=False, repr=False)
class _Page(Envelope):
    available_add_ons: tuple[AvailableAddOn, ...]
    meta: Meta = attrs.field(factory=Meta)


@attrs.frozen(eq=False, repr=False)
class _ExtensionsPage(Envelope):
    extensions: tuple[AvailableAddOnExtension, ...]
    meta: Meta = attrs.field(factory=Meta)


class AvailableAddOns(Listable[AvailableAddOn]):
    """`client.available_add_ons`: the catalogue of Add-ons that this account can install.

    See https://www.twilio.com/docs/marketplace/api/available-add-ons
    """

    def __init__(self, call: Call) -> None:
        super().__init__(
            call, "/v1/AvailableAddOns", to(_Page), "available_add_ons", "available_add_ons.list"
        )

    async def fetch(self, sid: str) -> AvailableAddOn:
        """Fetch one Add-on of the catalogue.

        Args:
            sid: The SID of the Add-on, `XB...`.

        Raises:
            ValueError, TypeError: `sid` is not an available Add-on SID. Nothing was sent.
            NotFoundError: There is no such Add-on.
            MarketplaceError: The request failed.
        """
        sid = check_sid("XB", sid, "sid")
        path = f"{self._path}/{sid}"
        request = trusted_request("GET", path, operation="available_add_ons.fetch")
        return await self._call(request, expecting(to(AvailableAddOn), sid=sid))

    def extensions(self, sid: str) -> "AvailableAddOnExtensions":
        """Return the extensions of an available Add-on. Sends nothing by itself.

        Args:
            sid: The SID of the Add-on, `XB...`.

        Raises:
            ValueError, TypeError: `sid` is not an available Add-on SID.
        """
        return AvailableAddOnExtensions(self._call, check_sid("XB", sid, "sid"))


class AvailableAddOnExtensions(Listable[AvailableAddOnExtension]):
    """`client.available_add_ons.extensions(sid)`: the extensions of one available Add-on.

    See https://www.twilio.com/docs/marketplace/api/available-add-ons-extensions
    """

    def __init__(self, call: Call, available_add_on_sid: str) -> None:
        self._available_add_on_sid = available_add_on_sid
        super().__init__(
            call,
            f"/v1/AvailableAddOns/{available_add_on_sid}/Extensions",
            expecting_each(
                to(_ExtensionsPage), _of_other_add_ons, available_add_on_sid=available_add_on_sid
            ),
            "extensions",
            "available_add_ons.extensions.list",
        )

    async def fetch(self, sid: str) -> AvailableAddOnExtension:
        """Fetch one extension.

        Args:
            sid: The SID of the extension, `XF...`.

        Raises:
            ValueError, TypeError: `sid` is not an extension SID. Nothing was sent.
            NotFoundError: The Add-on has no such extension.
            MarketplaceError: The request failed.
        """
        sid = check_sid("XF", sid, "sid")
        path = f"{self._path}/{sid}"
        request = trusted_request("GET", path, operation="available_add_ons.extensions.fetch")
        parse = expecting(
            to(AvailableAddOnExtension), sid=sid, available_add_on_sid=self._available_add_on_sid
        )
        return await self._call(request, parse)


def _of_other_add_ons(page: _ExtensionsPage, sid: str) -> list[AvailableAddOnExtension]:
    return [record for record in page.extensions if record.available_add_on_sid != sid]


def configuration_errors(
    add_on: AvailableAddOn, configuration: Mapping[str, Any]
) -> tuple[ConfigurationIssue, ...]:
    """Check a configuration against the schema of an Add-on, offline.

    Args:
        add_on: The Add-on, as fetched or listed. Without a schema, every configuration is valid.
        configuration: Plain JSON.

    Returns:
        Every violation of the schema; empty if the configuration is valid.

    Raises:
        TypeError, ValueError: The configuration is not plain JSON.
        SchemaError: The schema is not usable.
        MissingExtraError: The extra `schema` is not installed.

    See https://www.twilio.com/docs/marketplace/api/available-add-ons
    """
    if "configuration_schema" in add_on.unreadable:
        raise SchemaError(f"the configuration schema of {add_on.sid} is unknown")
    return schema_violations(add_on.sid, add_on.configuration_schema, configuration)


def check_configuration(add_on: AvailableAddOn, configuration: Mapping[str, Any]) -> None:
    """Raise ConfigurationError if a configuration violates the schema of an Add-on."""
    issues = configuration_errors(add_on, configuration)
    if issues:
        raise ConfigurationError(add_on.sid, issues)
