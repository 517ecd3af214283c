"""The Add-ons that are installed on an account."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import attrs

from .._core.arguments import check_flag, check_sid, check_text
from .._core.codec import AwareDatetime, json_object_or_none, same_json, to
from .._core.messages import FORM, Request, form
from .._core.operation import Call
from .._core.pagination import Listable, Meta
from ..errors import AmbiguousOutcomeError, ConflictError, MarketplaceError, NotFoundError
from ..retry import Attempts
from .available_add_ons import AvailableAddOns, check_configuration
from .installed_add_on_extensions import InstalledAddOnExtensions
from .installed_add_on_usage import InstalledAddOnUsage


@attrs.frozen(kw_only=True)
class InstalledAddOn:
    """An Add-on that is installed on an account.

    Attributes:
        sid: `XE` and 32 hex digits.
        account_sid: The account, `AC...`.
        friendly_name: The display name of the Add-on.
        description: A short description of the Add-on.
        configuration: The configuration, which meets the Add-on's schema.
        unique_name: A name that is unique within the account.
        date_created: When it was installed, in UTC.
        date_updated: When it was last changed, in UTC.
        url: The absolute URL of this record.
        links: The URLs of related resources: `extensions` and `available_add_on`.
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
        """The SID of the available Add-on, `XB...`, taken from `links`."""
        link = (self.links or {}).get("available_add_on")
        return link.rpartition("/")[2] if link else None


@attrs.frozen
class Ensured:
    """The result of `ensure`.

    Attributes:
        record: The installed Add-on.
        action: What `ensure` did: "installed", "updated" or "unchanged".
    """

    record: InstalledAddOn
    action: Literal["installed", "updated", "unchanged"]


# How often `ensure` compares again after a concurrent change.
_ROUNDS = 3


@attrs.frozen(eq=False, repr=False)
class _Page:
    installed_add_ons: tuple[InstalledAddOn, ...]
    meta: Meta


class InstalledAddOns(Listable[InstalledAddOn]):
    """`client.installed_add_ons`: the Add-ons that are installed on the client's account.

    See https://www.twilio.com/docs/marketplace/api/installed-add-ons
    """

    def __init__(self, call: Call) -> None:
        super().__init__(call, "/v1/InstalledAddOns", to(_Page), "installed_add_ons")

    async def create(
        self,
        *,
        available_add_on_sid: str,
        accept_terms_of_service: bool,
        configuration: Mapping[str, Any] | None = None,
        unique_name: str | None = None,
        check_schema: bool = False,
    ) -> InstalledAddOn:
        """Install an Add-on. Its extensions are disabled until they are updated.

        Args:
            available_add_on_sid: The Add-on to install, `XB...`.
            accept_terms_of_service: Whether you accept the Add-on's terms of service.
            configuration: Plain JSON that meets the Add-on's `configuration_schema`.
            unique_name: A name that is unique within the account. Defaults to the Add-on's own
                unique name.
            check_schema: Whether to fetch the Add-on first and check the configuration against its
                schema. Needs the extra `schema`.

        Raises:
            ValueError, TypeError: An argument is invalid. Nothing was sent.
            ConfigurationError: `check_schema` found violations. This is a ValueError, too.
            BadRequestError: The configuration does not meet the schema.
            ConflictError: The unique name is taken.
            NotFoundError: There is no such Add-on.
            AmbiguousOutcomeError: The Add-on may or may not be installed. With a unique name, the
                client looks the installation up and retries; this is raised only if that fails.
            MarketplaceError: The request failed. The Add-on was not installed.
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
        request = Request("POST", self._path, body=body, content_type=FORM)
        if unique_name is None:
            return await self._call(request, to(InstalledAddOn))

        call = self._call.within(Attempts())

        async def reconcile() -> InstalledAddOn | None:
            found = await InstalledAddOns(call)._find(unique_name)
            same = found is not None and _matches(found, available_add_on_sid, configuration or {})
            return found if same else None

        try:
            return await call(request, to(InstalledAddOn), reconcile=reconcile)
        except ConflictError as error:
            if not error.after_unknown:
                raise
            # Did an earlier attempt whose response was lost create it, or did someone else?
            try:
                found = await reconcile()
            except MarketplaceError as failure:
                raise AmbiguousOutcomeError(request, failure) from failure
            if found is None:
                raise
            return found

    async def fetch(self, sid: str) -> InstalledAddOn:
        """Fetch one installed Add-on.

        Args:
            sid: The SID of the installed Add-on, `XE...`.

        Raises:
            ValueError, TypeError: `sid` is not an installed Add-on SID. Nothing was sent.
            NotFoundError: It is not installed on this account.
            MarketplaceError: The request failed.
        """
        request = Request("GET", self._path_of(sid))
        return await self._call(request, to(InstalledAddOn))

    async def update(
        self,
        sid: str,
        *,
        configuration: Mapping[str, Any] | None = None,
        unique_name: str | None = None,
    ) -> InstalledAddOn:
        """Change the configuration of an installed Add-on, its unique name, or both.

        Args:
            sid: The SID of the installed Add-on, `XE...`.
            configuration: The whole new configuration, as plain JSON. {} clears it.
            unique_name: The new name, unique within the account.

        Raises:
            ValueError, TypeError: An argument is invalid, or there is nothing to change. Nothing
                was sent.
            BadRequestError: The configuration does not meet the schema.
            ConflictError: The unique name is taken.
            NotFoundError: It is not installed on this account.
            MarketplaceError: The request failed.
        """
        path = self._path_of(sid)
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
            # This record may already have the name, from an attempt whose response was lost.
            current = await self.fetch(sid)
            renamed = unique_name is None or current.unique_name == unique_name
            if not (renamed and _matches(current, None, configuration)):
                raise
            return current

    async def delete(self, sid: str) -> None:
        """Remove an installed Add-on from the account.

        Args:
            sid: The SID of the installed Add-on, `XE...`.

        Raises:
            ValueError, TypeError: `sid` is not an installed Add-on SID. Nothing was sent.
            NotFoundError: It is not installed on this account.
            MarketplaceError: The request failed.
        """
        request = Request("DELETE", self._path_of(sid), repeat="always")
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
        """Ensure that an Add-on is installed under a unique name with a configuration.

        Installs the Add-on if the name is free, and updates the configuration if it differs.
        Otherwise changes nothing. Repeated and concurrent calls do not install the Add-on twice.

        Args:
            unique_name: A name that is unique within the account.
            available_add_on_sid: The Add-on to install, `XB...`.
            accept_terms_of_service: Whether you accept the Add-on's terms of service.
            configuration: Plain JSON that meets the Add-on's `configuration_schema`. None keeps the
                configuration of an existing installation; a new one gets an empty configuration.
            inventory: The Add-ons installed on the account, if you have listed them already.
            check_schema: As for `create`.

        Returns:
            The installed Add-on, and what was done.

        Raises:
            ValueError, TypeError: An argument is invalid. Nothing was sent.
            ConfigurationError: `check_schema` found violations. This is a ValueError, too.
            ConflictError: A different Add-on uses the name. It is left unchanged.
            MarketplaceError: A request failed.
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
            # After a concurrent change: look the name up and compare again.
            if found is not None and _matches(found, available_add_on_sid, None):
                if _matches(found, None, configuration):
                    return Ensured(found, "unchanged")
                try:
                    updated = await self.update(found.sid, configuration=configuration)
                    return Ensured(updated, "updated")
                except NotFoundError:
                    if not rounds:
                        raise
                found = await self._find(unique_name)
            else:
                # If a different Add-on has the name, the service reports the conflict.
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
                    other = found is not None and not _matches(found, available_add_on_sid, None)
                    if other or not rounds:
                        raise

    def extensions(self, sid: str) -> InstalledAddOnExtensions:
        """Return the extensions of an installed Add-on. Sends nothing by itself.

        Args:
            sid: The SID of the installed Add-on, `XE...`.

        Raises:
            ValueError, TypeError: `sid` is not an installed Add-on SID.
        """
        return InstalledAddOnExtensions(self._call, self._path_of(sid))

    def usage(self, sid: str) -> InstalledAddOnUsage:
        """Return the usage of an installed Add-on, to report more. Sends nothing by itself.

        Args:
            sid: The SID of the installed Add-on, `XE...`.

        Raises:
            ValueError, TypeError: `sid` is not an installed Add-on SID.
        """
        return InstalledAddOnUsage(self._call, self._path_of(sid))

    def _path_of(self, sid: str) -> str:
        return f"{self._path}/{check_sid('XE', sid, 'sid')}"

    async def _find(self, unique_name: str) -> InstalledAddOn | None:
        async for one in self.list():
            if one.unique_name == unique_name:
                return one
        return None


def _matches(
    record: InstalledAddOn,
    available_add_on_sid: str | None,
    configuration: Mapping[str, Any] | None,
) -> bool:
    """Return whether a record has this Add-on and this configuration. None matches any."""
    if available_add_on_sid not in (None, record.available_add_on_sid):
        return False
    return configuration is None or same_json(record.configuration or {}, configuration)
