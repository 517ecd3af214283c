"""The Add-ons that are installed on an account."""

from collections.abc import Iterable, Mapping
from contextlib import aclosing
from typing import Any

import attrs

from .._core.arguments import check_flag, check_sid, check_text
from .._core.codec import plain_and_json, to, unusable
from .._core.cursor import Meta
from .._core.expectations import expecting, expecting_each
from .._core.messages import FORM, Request, Response, form, trusted_request
from .._core.operation import Call, Parse
from .._core.pagination import Listable, complete
from .._core.records import Envelope
from ..errors import (
    AmbiguousOutcomeError,
    ConflictError,
    MarketplaceError,
    NotEnsuredError,
    NotFoundError,
)
from ..retry import Attempts
from .available_add_ons import AvailableAddOns, check_configuration
from .installed_add_on import Ensured, InstalledAddOn
from .installed_add_on_extensions import InstalledAddOnExtensions
from .installed_add_on_usage import InstalledAddOnUsage
from .wishes import Search, Wish, has_configuration

# How often `ensure` compares again after a concurrent change.
_ROUNDS = 3


@attrs.frozen(eq=False, repr=False)
class _Page(Envelope):
    installed_add_ons: tuple[InstalledAddOn, ...]
    meta: Meta = attrs.field(factory=Meta)


class InstalledAddOns(Listable[InstalledAddOn]):
    """`client.installed_add_ons`: the Add-ons that are installed on the client's account.

    See https://www.twilio.com/docs/marketplace/api/installed-add-ons
    """

    def __init__(self, call: Call) -> None:
        self._account_sid = call.account_sid
        super().__init__(
            call,
            "/v1/InstalledAddOns",
            expecting_each(to(_Page), _of_other_accounts, account_sid=self._account_sid),
            "installed_add_ons",
            "installed_add_ons.list",
        )

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
                client looks the installation up and retries; this is raised if a look-up fails, or
                the one after the last attempt finds nothing.
            UnusableResponseError: An Add-on was installed, but the response does not confirm that
                it is this one.
            MarketplaceError: The request failed. The Add-on was not installed.
        """
        available_add_on_sid = check_sid("XB", available_add_on_sid, "available_add_on_sid")
        configuration, text = plain_and_json(configuration, "configuration")
        unique_name = None if unique_name is None else check_text(unique_name, "unique_name")
        body = form(
            AvailableAddOnSid=available_add_on_sid,
            AcceptTermsOfService=check_flag(accept_terms_of_service, "accept_terms_of_service"),
            Configuration=text,
            UniqueName=unique_name,
        )
        check_schema = check_flag(check_schema, "check_schema")
        request = trusted_request(
            "POST", self._path, body=body, content_type=FORM, operation="installed_add_ons.create"
        )
        parse = expecting(
            to(InstalledAddOn),
            account_sid=self._account_sid,
            available_add_on_sid=available_add_on_sid,
            unique_name=unique_name,
        )
        with self._call.operation("installed_add_ons.create"):
            if check_schema:
                add_on = await AvailableAddOns(self._call).fetch(available_add_on_sid)
                check_configuration(add_on, configuration or {})
            if unique_name is None:
                return await self._call(request, parse)
            wish = Wish(unique_name, available_add_on_sid, configuration or {}, self._account_sid)
            return await self._create(wish, request, parse)

    async def fetch(self, sid: str) -> InstalledAddOn:
        """Fetch one installed Add-on.

        Args:
            sid: The SID of the installed Add-on, `XE...`.

        Raises:
            ValueError, TypeError: `sid` is not an installed Add-on SID. Nothing was sent.
            NotFoundError: It is not installed on this account.
            MarketplaceError: The request failed.
        """
        sid = check_sid("XE", sid, "sid")
        path = f"{self._path}/{sid}"
        request = trusted_request("GET", path, operation="installed_add_ons.fetch")
        return await self._call(request, self._expecting(sid))

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
            UnusableResponseError: Something was changed, but the response does not confirm that it
                is this.
            MarketplaceError: The request failed.
        """
        sid = check_sid("XE", sid, "sid")
        if configuration is None and unique_name is None:
            raise ValueError("nothing to change: give a configuration, a unique_name, or both")
        configuration, text = plain_and_json(configuration, "configuration")
        unique_name = None if unique_name is None else check_text(unique_name, "unique_name")
        body = form(
            Configuration=text,
            UniqueName=unique_name,
        )
        request = trusted_request(
            "POST",
            f"{self._path}/{sid}",
            body=body,
            content_type=FORM,
            repeat="always",
            operation="installed_add_ons.update",
        )
        with self._call.operation("installed_add_ons.update"):
            try:
                return await self._call(request, self._expecting(sid, unique_name))
            except ConflictError as error:
                if not error.after_unknown:
                    raise
                # This record may already have the name, from an attempt whose response was lost.
                try:
                    current = await self.fetch(sid)
                except MarketplaceError as failure:
                    failure.after_unknown = True
                    raise
                renamed = unique_name is None or current.unique_name == unique_name
                known = configuration is None or "configuration" not in current.unreadable
                if not (renamed and known and has_configuration(current, configuration)):
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
        request = trusted_request(
            "DELETE", self._path_of(sid), repeat="always", operation="installed_add_ons.delete"
        )
        with self._call.operation("installed_add_ons.delete"):
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

        The result is compared with what was asked. Configurations are compared by the rules of JSON
        Schema, where 1.0 equals 1.

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
            NotEnsuredError: The result is not what was asked; the error says what differs. The
                service may add defaults, or treat names as equal that differ in case.
            UnusableResponseError: Something was changed, but the response does not confirm that it
                is this: it has another name, for example in lower case, or another SID. Also: a SID
                that the service returned is malformed, and nothing was changed.
            UnreadableFieldError: A field that decides what to do is unknown. Nothing was changed.
            IncompleteListError: The list of installed Add-ons does not say that it is complete.
                Nothing was changed.
            MarketplaceError: A request failed.
        """
        unique_name = check_text(unique_name, "unique_name")
        available_add_on_sid = check_sid("XB", available_add_on_sid, "available_add_on_sid")
        check_flag(accept_terms_of_service, "accept_terms_of_service")
        configuration, _ = plain_and_json(configuration, "configuration")
        check_schema = check_flag(check_schema, "check_schema")
        wish = Wish(unique_name, available_add_on_sid, configuration, self._account_sid)
        with self._call.operation("installed_add_ons.ensure"):
            if check_schema and configuration is not None:
                add_on = await AvailableAddOns(self._call).fetch(available_add_on_sid)
                check_configuration(add_on, configuration)
            return await self._ensure(wish, accept_terms_of_service, inventory)

    def extensions(self, sid: str) -> InstalledAddOnExtensions:
        """Return the extensions of an installed Add-on. Sends nothing by itself.

        Args:
            sid: The SID of the installed Add-on, `XE...`.

        Raises:
            ValueError, TypeError: `sid` is not an installed Add-on SID.
        """
        return InstalledAddOnExtensions(self._call, check_sid("XE", sid, "sid"))

    def usage(self, sid: str) -> InstalledAddOnUsage:
        """Return the usage of an installed Add-on, to report more. Sends nothing by itself.

        Args:
            sid: The SID of the installed Add-on, `XE...`.

        Raises:
            ValueError, TypeError: `sid` is not an installed Add-on SID.
        """
        return InstalledAddOnUsage(self._call, self._path_of(sid))

    async def _ensure(
        self,
        wish: Wish,
        accept_terms_of_service: bool,
        inventory: Iterable[InstalledAddOn] | None,
    ) -> Ensured:
        search = Search(wish.unique_name)
        if inventory is None:
            search = await self._search(wish.unique_name)
        else:
            search.all_of(inventory)
            if search.found is not None:
                check_sid("XE", search.found.sid, "inventory: sid")
        for rounds_left in reversed(range(_ROUNDS)):
            # After a concurrent change: look the name up and compare again.
            found = search.found
            if found is not None and wish.is_installed_as(found):
                if wish.is_configured(found):
                    return Ensured(found, "unchanged")
                try:
                    updated = await self.update(found.sid, configuration=wish.configuration)
                    return wish.confirmed(updated, "updated")
                except NotFoundError:
                    if not rounds_left:
                        raise
                search = await self._search(wish.unique_name)
            else:
                # If a different Add-on has the name, the service reports the conflict.
                try:
                    installed = await self.create(
                        available_add_on_sid=wish.available_add_on_sid,
                        accept_terms_of_service=accept_terms_of_service,
                        configuration=wish.configuration,
                        unique_name=wish.unique_name,
                    )
                    return wish.confirmed(installed, "installed")
                except ConflictError:
                    search = await self._search(wish.unique_name)
                    found = search.found
                    other = found is not None and not wish.is_installed_as(found)
                    if found is None and search.similar is not None:
                        # The service treats the two names as equal.
                        raise NotEnsuredError(
                            search.similar, wish.differences(search.similar)
                        ) from None
                    if other or not rounds_left:
                        raise
        raise AssertionError("the last round returns or raises")

    async def _create(
        self, wish: Wish, request: Request, parse: Parse[InstalledAddOn]
    ) -> InstalledAddOn:
        """Create what has a unique name: it can be looked up after a lost response."""
        call = self._call.within(Attempts())

        async def search() -> Search:
            return await InstalledAddOns(call)._search(wish.unique_name)

        async def reconcile() -> InstalledAddOn | None:
            found = (await search()).found
            return found if found is not None and wish.is_met_by(found) else None

        try:
            return await call(request, parse, reconcile=reconcile)
        except ConflictError as error:
            if not error.after_unknown:
                raise
            # Did an earlier attempt whose response was lost create it, or did someone else?
            try:
                result = await search()
                found = result.found or result.similar
                if found is not None and wish.is_met_by(found):
                    return found
                if found is None or not wish.may_have_become(found):
                    raise
                raise NotEnsuredError(found, wish.differences(found))
            except ConflictError:
                raise
            except MarketplaceError as failure:
                raise AmbiguousOutcomeError(request, failure) from failure

    def _path_of(self, sid: str) -> str:
        return f"{self._path}/{check_sid('XE', sid, 'sid')}"

    def _expecting(self, sid: str, unique_name: str | None = None) -> Parse[InstalledAddOn]:
        return expecting(
            to(InstalledAddOn), sid=sid, account_sid=self._account_sid, unique_name=unique_name
        )

    async def _search(self, unique_name: str) -> Search:
        search = Search(unique_name)
        found = Listable[InstalledAddOn](
            self._call,
            self._path,
            _addressable(self._parse_page, unique_name),
            self._key,
            self._operation,
        )
        async with aclosing(complete(found.list())) as records:
            async for record in records:
                if search.see(record):
                    return search
        search.end()
        return search


def _addressable(parse: Parse[_Page], unique_name: str) -> Parse[_Page]:
    """Return a parser that also checks the SID of the record with this name: it is to be used."""

    def parse_and_check(request: Request, response: Response) -> _Page:
        page = parse(request, response)
        for number, record in enumerate(page.installed_add_ons):
            if record.unique_name == unique_name:
                try:
                    check_sid("XE", record.sid, f"installed_add_ons[{number}].sid")
                except ValueError as error:
                    raise unusable(request, response, str(error)) from None
        return page

    return parse_and_check


def _of_other_accounts(page: _Page, account_sid: str) -> list[InstalledAddOn]:
    return [record for record in page.installed_add_ons if record.account_sid != account_sid]
