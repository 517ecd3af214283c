"""Add-ons that are installed on an account, with their extensions and their usage."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Literal, Unpack, cast

import attrs

from .._core.arguments import check_flag, check_sid, check_text
from .._core.codec import AwareDatetime, encode, json_object_or_none, same_json, to
from .._core.messages import FORM, JSON, Request, form
from .._core.operation import Call
from .._core.pagination import ListOptions, Meta, Paginator
from ..errors import AmbiguousOutcomeError, ConflictError, MarketplaceError, NotFoundError
from ..retry import Attempts
from .available_add_ons import AvailableAddOns, check_configuration


@attrs.frozen(kw_only=True)
class InstalledAddOn:
    """An add-on that is installed on an account.

    Attributes:
        sid: `XE` and 32 hex digits.
        account_sid: The account that it is installed on, `AC...`.
        friendly_name: The add-on's name for people.
        description: What the add-on does, in short.
        configuration: How it is configured; meets the add-on's schema.
        unique_name: Its name for programs, unique on the account.
        date_created: When it was installed, with the zone that the service says: UTC.
        date_updated: When it was last changed, likewise.
        url: The absolute URL of this record.
        links: The URLs of what belongs to it: `extensions` and `available_add_on`.
    """

    sid: str
    account_sid: str
    friendly_name: str | None = None
    description: str | None = None
    configuration: dict[str, Any] | None = attrs.field(default=None, hash=False)
    unique_name: str | None = None
    date_created: AwareDatetime | None = None
    date_updated: AwareDatetime | None = None
    url: str | None = None
    links: dict[str, str] | None = attrs.field(default=None, hash=False)

    @property
    def available_add_on_sid(self) -> str | None:
        """The SID of the add-on that this is an installation of, `XB...`, as its links tell it."""
        link = (self.links or {}).get("available_add_on")
        return link.rpartition("/")[2] if link else None


@attrs.frozen(kw_only=True)
class InstalledAddOnExtension:
    """A place in the vendor's products where an installed add-on works, or could.

    Attributes:
        sid: `XF` and 32 hex digits.
        installed_add_on_sid: The installed add-on that it is part of, `XE...`.
        enabled: Whether the add-on is called there. Those of a new installation are not.
        friendly_name: Its name for people, such as "Incoming Voice Call".
        product_name: The product that it is part of, such as "Programmable Voice".
        unique_name: Its name for programs, such as "voice-incoming".
        url: The absolute URL of this record.
    """

    sid: str
    installed_add_on_sid: str
    enabled: bool | None = None
    friendly_name: str | None = None
    product_name: str | None = None
    unique_name: str | None = None
    url: str | None = None


def _to_amount(value: Decimal | int) -> Decimal:
    return Decimal(value) if type(value) is int else cast(Decimal, value)


@attrs.frozen
class BillableItem:
    """An amount to bill.

    Args:
        sid: The billing item, `BI` and 32 hex digits.
        quantity: More than 0, exactly as it is to be billed: a Decimal or an int. A float is
            refused, because 12.355 is none.
    """

    sid: str
    quantity: Decimal = attrs.field(converter=_to_amount)

    def __attrs_post_init__(self) -> None:
        check_sid("BI", self.sid, "sid")
        if not isinstance(self.quantity, Decimal):
            raise TypeError(f"quantity: expected a Decimal or an int, got {self.quantity!r}")
        if not (self.quantity.is_finite() and self.quantity > 0):
            raise ValueError(f"quantity: expected more than 0, got {self.quantity}")


@attrs.frozen(kw_only=True)
class ReportedItem:
    """What became of one billable item.

    Attributes:
        sid: The billing item, `BI...`.
        quantity: The amount that was reported.
        submitted: Whether it was accepted for billing: each item can fail alone.
    """

    sid: str
    quantity: Decimal
    submitted: bool


@attrs.frozen(kw_only=True)
class UsageReport:
    """What became of a report of usage.

    Attributes:
        billable_items: One for each item that was reported. Look at `submitted`.
        total_submitted: The sum of those that were accepted.
    """

    billable_items: tuple[ReportedItem, ...]
    total_submitted: Decimal


@attrs.frozen
class Ensured:
    """What `ensure` came to.

    Attributes:
        record: The installed add-on, as it stands.
        action: What was done: "installed", "updated" or "unchanged".
    """

    record: InstalledAddOn
    action: Literal["installed", "updated", "unchanged"]


# How often `ensure` looks again when somebody else changes what it looks at.
_ROUNDS = 3


@attrs.frozen(eq=False, repr=False)
class _InstalledAddOnsPage:
    installed_add_ons: tuple[InstalledAddOn, ...]
    meta: Meta


@attrs.frozen(eq=False, repr=False)
class _ExtensionsPage:
    extensions: tuple[InstalledAddOnExtension, ...]
    meta: Meta


@attrs.frozen(eq=False, repr=False)
class _Usage:
    billable_items: tuple[BillableItem, ...]


class InstalledAddOns:
    """`client.installed_add_ons`: what is installed on the account of the client."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def create(
        self,
        *,
        available_add_on_sid: str,
        accept_terms_of_service: bool,
        configuration: Mapping[str, Any] | None = None,
        unique_name: str | None = None,
        check_schema: bool = False,
    ) -> InstalledAddOn:
        """Install an add-on. Its extensions are disabled until they are updated.

        Args:
            available_add_on_sid: What to install, `XB...`.
            accept_terms_of_service: Whether its terms of service are accepted.
            configuration: Plain JSON that meets the add-on's `configuration_schema`.
            unique_name: Its name for programs, unique on the account; the add-on's own unless
                given.
            check_schema: Whether to fetch the add-on first, and check the configuration against its
                schema; needs the extra `schema`.

        Raises:
            ValueError, TypeError: An argument cannot be right; nothing was sent.
            ConfigurationError: `check_schema` found it wrong; it is a ValueError, too.
            BadRequestError: The configuration does not meet the schema.
            ConflictError: The unique name is taken.
            NotFoundError: There is no such add-on.
            AmbiguousOutcomeError: It may be installed or not. With a unique name it is looked up
                and tried again, so that this is only raised if that fails too.
            MarketplaceError: Any other failure; it is not installed.

        See https://www.twilio.com/docs/marketplace/api/installed-add-ons
        """
        body = form(
            AvailableAddOnSid=check_sid("XB", available_add_on_sid, "available_add_on_sid"),
            AcceptTermsOfService=check_flag(accept_terms_of_service, "accept_terms_of_service"),
            Configuration=json_object_or_none(configuration, "configuration"),
            UniqueName=None if unique_name is None else check_text(unique_name, "unique_name"),
        )
        if check_flag(check_schema, "check_schema"):
            add_on = await AvailableAddOns(self._call).fetch(available_add_on_sid)
            check_configuration(add_on, configuration or {})
        request = Request("POST", "/v1/InstalledAddOns", body=body, content_type=FORM)
        if unique_name is None:
            return await self._call(request, to(InstalledAddOn))

        call = self._call.within(Attempts())

        async def reconcile() -> InstalledAddOn | None:
            found = await InstalledAddOns(call)._find(unique_name)
            same = found is not None and _agrees(found, available_add_on_sid, configuration or {})
            return found if same else None

        try:
            return await call(request, to(InstalledAddOn), reconcile=reconcile)
        except ConflictError as error:
            if not error.after_unknown:
                raise
            # Ours, from a try that nobody had an answer to, or somebody else's?
            try:
                found = await reconcile()
            except MarketplaceError as failure:
                raise AmbiguousOutcomeError(request, failure) from failure
            if found is None:
                raise
            return found

    async def fetch(self, sid: str) -> InstalledAddOn:
        """Fetch one installed add-on.

        Args:
            sid: Its SID, `XE...`.

        Raises:
            ValueError, TypeError: `sid` is no such SID; nothing was sent.
            NotFoundError: It is not installed on this account.
            MarketplaceError: Any other failure.

        See https://www.twilio.com/docs/marketplace/api/installed-add-ons
        """
        request = Request("GET", _path(sid))
        return await self._call(request, to(InstalledAddOn))

    def list(self, **options: Unpack[ListOptions]) -> Paginator[InstalledAddOn]:
        """List what is installed on the account.

        Args:
            options: `limit`, `page_size` and `start`, as in `ListOptions`.

        Returns:
            A list to iterate with `async for`, or to `collect()`; nothing is sent before that.

        Raises:
            ValueError, TypeError: An option is out of range.

        See https://www.twilio.com/docs/marketplace/api/installed-add-ons
        """
        return Paginator(
            self._call,
            "/v1/InstalledAddOns",
            to(_InstalledAddOnsPage),
            "installed_add_ons",
            **options,
        )

    async def update(
        self,
        sid: str,
        *,
        configuration: Mapping[str, Any] | None = None,
        unique_name: str | None = None,
    ) -> InstalledAddOn:
        """Change the configuration of an installed add-on, its unique name, or both.

        Args:
            sid: Its SID, `XE...`.
            configuration: The whole new configuration, plain JSON; {} is an empty one.
            unique_name: The new name for programs, unique on the account.

        Raises:
            ValueError, TypeError: An argument cannot be right, or there is nothing to change;
                nothing was sent.
            BadRequestError: The configuration does not meet the schema.
            ConflictError: The unique name is taken.
            NotFoundError: It is not installed on this account.
            MarketplaceError: Any other failure.

        See https://www.twilio.com/docs/marketplace/api/installed-add-ons
        """
        path = _path(sid)
        if configuration is None and unique_name is None:
            raise ValueError("nothing to change: give a configuration, a unique_name, or both")
        body = form(
            Configuration=json_object_or_none(configuration, "configuration"),
            UniqueName=None if unique_name is None else check_text(unique_name, "unique_name"),
        )
        request = Request("POST", path, body=body, content_type=FORM, repeat="always")
        try:
            return await self._call(request, to(InstalledAddOn))
        except ConflictError as error:
            if not error.after_unknown:
                raise
            # The name may be taken by this very record, from a try that nobody had an answer to.
            current = await self.fetch(sid)
            renamed = unique_name is None or current.unique_name == unique_name
            if not (renamed and _agrees(current, None, configuration)):
                raise
            return current

    async def delete(self, sid: str) -> None:
        """Remove an installed add-on from the account.

        Args:
            sid: Its SID, `XE...`.

        Raises:
            ValueError, TypeError: `sid` is no such SID; nothing was sent.
            NotFoundError: It is not installed on this account.
            MarketplaceError: Any other failure.

        See https://www.twilio.com/docs/marketplace/api/installed-add-ons
        """
        request = Request("DELETE", _path(sid), repeat="always")
        try:
            await self._call(request, lambda _, __: None)
        except NotFoundError as error:
            if not error.after_unknown:
                raise

    async def ensure(
        self,
        *,
        unique_name: str,
        available_add_on_sid: str,
        accept_terms_of_service: bool,
        configuration: Mapping[str, Any] | None = None,
        inventory: Iterable[InstalledAddOn] | None = None,
        check_schema: bool = False,
    ) -> Ensured:
        """Make an add-on installed under a unique name with a configuration, whatever there is now.

        It installs where nothing has the name, updates where the configuration differs, and leaves
        alone where it does not. Doing it again, or ten times at once, makes no second installation.

        Args:
            unique_name: Its name for programs, unique on the account.
            available_add_on_sid: What to install, `XB...`.
            accept_terms_of_service: Whether its terms of service are accepted.
            configuration: Plain JSON that meets the add-on's `configuration_schema`; None is an
                empty one for a new installation, and leaves that of an existing one alone.
            inventory: What is installed on the account, if it was read already; it is listed
                otherwise.
            check_schema: As for `create`; checked whatever there is now.

        Returns:
            The record as it stands, and what was done.

        Raises:
            ValueError, TypeError: An argument cannot be right; nothing was sent.
            ConfigurationError: `check_schema` found it wrong; it is a ValueError, too.
            ConflictError: Another add-on has the name.
            MarketplaceError: Any other failure.

        See https://www.twilio.com/docs/marketplace/api/installed-add-ons
        """
        check_text(unique_name, "unique_name")
        check_sid("XB", available_add_on_sid, "available_add_on_sid")
        check_flag(accept_terms_of_service, "accept_terms_of_service")
        json_object_or_none(configuration, "configuration")
        if check_flag(check_schema, "check_schema") and configuration is not None:
            add_on = await AvailableAddOns(self._call).fetch(available_add_on_sid)
            check_configuration(add_on, configuration)
        if inventory is None:
            found = await self._find(unique_name)
        else:
            found = next((one for one in inventory if one.unique_name == unique_name), None)
        rounds = _ROUNDS
        while True:
            rounds -= 1
            # When somebody else was faster: read again, and compare again.
            if found is not None and _agrees(found, available_add_on_sid, None):
                if _agrees(found, None, configuration):
                    return Ensured(found, "unchanged")
                try:
                    updated = await self.update(found.sid, configuration=configuration)
                    return Ensured(updated, "updated")
                except NotFoundError:
                    if not rounds:
                        raise
                found = await self._find(unique_name)
            else:
                # If another add-on has the name, it is for the service to say so.
                try:
                    installed = await self.create(
                        available_add_on_sid=available_add_on_sid,
                        accept_terms_of_service=accept_terms_of_service,
                        configuration=configuration,
                        unique_name=unique_name,
                    )
                    return Ensured(installed, "installed")
                except ConflictError:
                    found = await self._find(unique_name)
                    other = found is not None and not _agrees(found, available_add_on_sid, None)
                    if other or not rounds:
                        raise

    async def _find(self, unique_name: str) -> InstalledAddOn | None:
        async for one in self.list():
            if one.unique_name == unique_name:
                return one
        return None

    def extensions(self, sid: str) -> "InstalledAddOnExtensions":
        """Return the extensions of one installed add-on, to list, fetch or update; sends nothing.

        Args:
            sid: The SID of the installed add-on, `XE...`.

        Raises:
            ValueError, TypeError: `sid` is no such SID.
        """
        return InstalledAddOnExtensions(self._call, sid)

    def usage(self, sid: str) -> "InstalledAddOnUsage":
        """Return the usage of one installed add-on, to report more of it; sends nothing.

        Args:
            sid: The SID of the installed add-on, `XE...`.

        Raises:
            ValueError, TypeError: `sid` is no such SID.
        """
        return InstalledAddOnUsage(self._call, sid)


class InstalledAddOnExtensions:
    """`client.installed_add_ons.extensions(sid)`: where one installed add-on works."""

    def __init__(self, call: Call, installed_add_on_sid: str) -> None:
        self._call = call
        self._path = f"{_path(installed_add_on_sid)}/Extensions"

    async def fetch(self, sid: str) -> InstalledAddOnExtension:
        """Fetch one extension.

        Args:
            sid: Its SID, `XF...`.

        Raises:
            ValueError, TypeError: `sid` is no such SID; nothing was sent.
            NotFoundError: The installed add-on has no such extension.
            MarketplaceError: Any other failure.

        See https://www.twilio.com/docs/marketplace/api/installed-add-ons-extensions
        """
        request = Request("GET", f"{self._path}/{check_sid('XF', sid, 'sid')}")
        return await self._call(request, to(InstalledAddOnExtension))

    def list(self, **options: Unpack[ListOptions]) -> Paginator[InstalledAddOnExtension]:
        """List the extensions, with what is enabled.

        Args:
            options: `limit`, `page_size` and `start`, as in `ListOptions`.

        Returns:
            A list to iterate with `async for`, or to `collect()`; nothing is sent before that.

        Raises:
            ValueError, TypeError: An option is out of range.

        See https://www.twilio.com/docs/marketplace/api/installed-add-ons-extensions
        """
        return Paginator(self._call, self._path, to(_ExtensionsPage), "extensions", **options)

    async def update(self, sid: str, *, enabled: bool) -> InstalledAddOnExtension:
        """Enable or disable an extension.

        Args:
            sid: Its SID, `XF...`.
            enabled: Whether the add-on is called there.

        Raises:
            ValueError, TypeError: An argument cannot be right; nothing was sent.
            NotFoundError: The installed add-on has no such extension.
            MarketplaceError: Any other failure.

        See https://www.twilio.com/docs/marketplace/api/installed-add-ons-extensions
        """
        path = f"{self._path}/{check_sid('XF', sid, 'sid')}"
        body = form(Enabled=check_flag(enabled, "enabled"))
        request = Request("POST", path, body=body, content_type=FORM, repeat="always")
        return await self._call(request, to(InstalledAddOnExtension))


class InstalledAddOnUsage:
    """`client.installed_add_ons.usage(sid)`: what the partner of an add-on bills for its use."""

    def __init__(self, call: Call, installed_add_on_sid: str) -> None:
        self._call = call
        self._path = f"{_path(installed_add_on_sid)}/Usage"

    async def create(self, billable_items: Iterable[BillableItem]) -> UsageReport:
        """Report usage. This bills money: a report that may have been billed is not sent again.

        Args:
            billable_items: What to bill, at least one.

        Returns:
            What became of each item: one can fail alone.

        Raises:
            ValueError, TypeError: An argument cannot be right; nothing was sent.
            NotFoundError: It is not installed, or there is no such listing.
            PermissionDeniedError: The account is not the add-on's partner, or the add-on is not set
                up for usage that is reported by hand.
            AmbiguousOutcomeError: It may be billed or not.
            MarketplaceError: Any other failure; it is not billed.

        See https://www.twilio.com/docs/marketplace/listings/api-overview-users
        """
        if isinstance(billable_items, BillableItem):
            raise TypeError("billable_items: expected several, such as a list of one")
        items = tuple(billable_items)
        for item in items:
            if not isinstance(item, BillableItem):
                raise TypeError(f"billable_items: expected BillableItem, got {item!r}")
        if not items:
            raise ValueError("billable_items: expected at least one")
        request = Request("POST", self._path, body=encode(_Usage(items)), content_type=JSON)
        return await self._call(request, to(UsageReport))


def _agrees(
    record: InstalledAddOn,
    available_add_on_sid: str | None,
    configuration: Mapping[str, Any] | None,
) -> bool:
    """Tell whether a record is of this add-on and has this configuration; None is any."""
    if available_add_on_sid not in (None, record.available_add_on_sid):
        return False
    return configuration is None or same_json(record.configuration or {}, configuration)


def _path(sid: str) -> str:
    return f"/v1/InstalledAddOns/{check_sid('XE', sid, 'sid')}"
