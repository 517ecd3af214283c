"""Add-ons that can be installed, and the extensions that each offers."""

from collections.abc import Mapping
from typing import Any, Unpack

import attrs

from .._core.arguments import check_sid
from .._core.codec import to
from .._core.messages import Request
from .._core.operation import Call
from .._core.pagination import ListOptions, Meta, Paginator
from .._core.schema import schema_violations
from ..errors import ConfigurationError, ConfigurationIssue


@attrs.frozen(kw_only=True)
class AvailableAddOn:
    """An add-on of the catalogue.

    Attributes:
        sid: `XB` and 32 hex digits.
        friendly_name: Its name for people.
        description: What it does, in short.
        pricing_type: How its use is charged, such as "per minute".
        configuration_schema: The JSON Schema that a configuration has to meet.
        url: The absolute URL of this record.
        links: The URLs of what belongs to it: `extensions`.
    """

    sid: str
    friendly_name: str | None = None
    description: str | None = None
    pricing_type: str | None = None
    configuration_schema: dict[str, Any] | None = attrs.field(default=None, hash=False)
    url: str | None = None
    links: dict[str, str] | None = attrs.field(default=None, hash=False)


@attrs.frozen(kw_only=True)
class AvailableAddOnExtension:
    """A place in the vendor's products where an add-on of the catalogue can work.

    Attributes:
        sid: `XF` and 32 hex digits.
        available_add_on_sid: The add-on that offers it, `XB...`.
        friendly_name: Its name for people, such as "Incoming Voice Call".
        product_name: The product that it is part of, such as "Programmable Voice".
        unique_name: Its name for programs, such as "voice-incoming".
        url: The absolute URL of this record.
    """

    sid: str
    available_add_on_sid: str
    friendly_name: str | None = None
    product_name: str | None = None
    unique_name: str | None = None
    url: str | None = None


@attrs.frozen(eq=False, repr=False)
class _AvailableAddOnsPage:
    available_add_ons: tuple[AvailableAddOn, ...]
    meta: Meta


@attrs.frozen(eq=False, repr=False)
class _ExtensionsPage:
    extensions: tuple[AvailableAddOnExtension, ...]
    meta: Meta


class AvailableAddOns:
    """`client.available_add_ons`: the catalogue, as this account sees it."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def fetch(self, sid: str) -> AvailableAddOn:
        """Fetch one add-on of the catalogue.

        Args:
            sid: Its SID, `XB...`.

        Raises:
            ValueError, TypeError: `sid` is no such SID; nothing was sent.
            NotFoundError: There is no such add-on.
            MarketplaceError: Any other failure.

        See https://www.twilio.com/docs/marketplace/api/available-add-ons
        """
        request = Request("GET", f"/v1/AvailableAddOns/{check_sid('XB', sid, 'sid')}")
        return await self._call(request, to(AvailableAddOn))

    def list(self, **options: Unpack[ListOptions]) -> Paginator[AvailableAddOn]:
        """List the add-ons that can be installed; those in GA or beta, says the vendor.

        Args:
            options: `limit`, `page_size` and `start`, as in `ListOptions`.

        Returns:
            A list to iterate with `async for`, or to `collect()`; nothing is sent before that.

        Raises:
            ValueError, TypeError: An option is out of range.

        See https://www.twilio.com/docs/marketplace/api/available-add-ons
        """
        return Paginator(
            self._call,
            "/v1/AvailableAddOns",
            to(_AvailableAddOnsPage),
            "available_add_ons",
            **options,
        )

    def extensions(self, sid: str) -> "AvailableAddOnExtensions":
        """Return the extensions of one add-on, to list or to fetch; nothing is sent yet.

        Args:
            sid: The SID of the add-on, `XB...`.

        Raises:
            ValueError, TypeError: `sid` is no such SID.
        """
        return AvailableAddOnExtensions(self._call, check_sid("XB", sid, "sid"))


class AvailableAddOnExtensions:
    """`client.available_add_ons.extensions(sid)`: where one add-on can work."""

    def __init__(self, call: Call, available_add_on_sid: str) -> None:
        self._call = call
        self._path = f"/v1/AvailableAddOns/{available_add_on_sid}/Extensions"

    async def fetch(self, sid: str) -> AvailableAddOnExtension:
        """Fetch one extension.

        Args:
            sid: Its SID, `XF...`.

        Raises:
            ValueError, TypeError: `sid` is no such SID; nothing was sent.
            NotFoundError: The add-on has no such extension.
            MarketplaceError: Any other failure.

        See https://www.twilio.com/docs/marketplace/api/available-add-ons-extensions
        """
        request = Request("GET", f"{self._path}/{check_sid('XF', sid, 'sid')}")
        return await self._call(request, to(AvailableAddOnExtension))

    def list(self, **options: Unpack[ListOptions]) -> Paginator[AvailableAddOnExtension]:
        """List the extensions that the add-on offers.

        Args:
            options: `limit`, `page_size` and `start`, as in `ListOptions`.

        Returns:
            A list to iterate with `async for`, or to `collect()`; nothing is sent before that.

        Raises:
            ValueError, TypeError: An option is out of range.

        See https://www.twilio.com/docs/marketplace/api/available-add-ons-extensions
        """
        return Paginator(
            self._call,
            self._path,
            to(_ExtensionsPage),
            "extensions",
            **options,
        )


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
    return schema_violations(add_on.sid, add_on.configuration_schema, configuration)


def check_configuration(add_on: AvailableAddOn, configuration: Mapping[str, Any]) -> None:
    """Raise ConfigurationError if a configuration violates the schema of an Add-on."""
    issues = configuration_errors(add_on, configuration)
    if issues:
        raise ConfigurationError(add_on.sid, issues)
