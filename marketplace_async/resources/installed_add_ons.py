"""The Add-ons that are installed on an account."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import aclosing
from typing import Any, Literal
from unicodedata import normalize

import attrs

from .._core.arguments import check_flag, check_sid, check_text
from .._core.codec import AwareDatetime, json_object_or_none, plain_object_or_none, same_json, to
from .._core.expectations import expecting, expecting_each, mismatches
from .._core.messages import FORM, form, trusted_request
from .._core.operation import Call, Parse
from .._core.pagination import Listable, Meta, complete
from .._core.records import Envelope, Record, absent
from ..errors import (
    AmbiguousOutcomeError,
    ConflictError,
    MarketplaceError,
    NotEnsuredError,
    NotFoundError,
    UnreadableFieldError,
)
from ..retry import Attempts
from .available_add_ons import AvailableAddOns, check_configuration
from .installed_add_on_extensions import InstalledAddOnExtensions
from .installed_add_on_usage import InstalledAddOnUsage


@attrs.frozen(kw_only=True, weakref_slot=False)
class InstalledAddOn(Record):
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
    account_sid: str | None = attrs.field(factory=absent)
    friendly_name: str | None = attrs.field(factory=absent)
    description: str | None = attrs.field(factory=absent)
    configuration: dict[str, Any] | None = attrs.field(factory=absent, hash=False)
    unique_name: str | None = attrs.field(factory=absent)
    date_created: AwareDatetime | None = attrs.field(factory=absent)
    date_updated: AwareDatetime | None = attrs.field(factory=absent)
    url: str | None = attrs.field(factory=absent)
    links: dict[str, Any] | None = attrs.field(factory=absent, hash=False)

    @property
    def available_add_on_sid(self) -> str | None:
        """The SID of the available Add-on, `XB...`, taken from `links`."""
        link = (self.links or {}).get("available_add_on")
        return link.rpartition("/")[2] or None if isinstance(link, str) else None


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
                client looks the installation up and retries; this is raised only if that fails.
            UnusableResponseError: An Add-on was installed, but the response does not confirm that
                it is this one.
            MarketplaceError: The request failed. The Add-on was not installed.
        """
        available_add_on_sid = check_sid("XB", available_add_on_sid, "available_add_on_sid")
        configuration = plain_object_or_none(configuration, "configuration")
        unique_name = None if unique_name is None else check_text(unique_name, "unique_name")
        body = form(
            AvailableAddOnSid=available_add_on_sid,
            AcceptTermsOfService=check_flag(accept_terms_of_service, "accept_terms_of_service"),
            Configuration=json_object_or_none(configuration, "configuration"),
            UniqueName=unique_name,
        )
        if check_flag(check_schema, "check_schema"):
            add_on = await AvailableAddOns(self._call).fetch(available_add_on_sid)
            check_configuration(add_on, configuration or {})
        request = trusted_request(
            "POST", self._path, body=body, content_type=FORM, operation="installed_add_ons.create"
        )
        parse = expecting(
            to(InstalledAddOn),
            account_sid=self._account_sid,
            available_add_on_sid=available_add_on_sid,
            unique_name=unique_name,
        )
        if unique_name is None:
            return await self._call(request, parse)

        call = self._call.within(Attempts())
        wish = _Wish(unique_name, available_add_on_sid, configuration or {}, self._account_sid)

        async def search() -> _Search:
            return await InstalledAddOns(call)._search(unique_name)

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
        configuration = plain_object_or_none(configuration, "configuration")
        unique_name = None if unique_name is None else check_text(unique_name, "unique_name")
        body = form(
            Configuration=json_object_or_none(configuration, "configuration"),
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
        try:
            return await self._call(request, self._expecting(sid, unique_name))
        except ConflictError as error:
            if not error.after_unknown:
                raise
            # This record may already have the name, from an attempt whose response was lost.
            current = await self.fetch(sid)
            renamed = unique_name is None or current.unique_name == unique_name
            known = configuration is None or "configuration" not in current.unreadable
            if not (renamed and known and _has_configuration(current, configuration)):
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
                service may add defaults, or change the case of names.
            UnreadableFieldError: A field that decides what to do is unknown. Nothing was changed.
            IncompleteListError: The list of installed Add-ons does not say that it is complete.
                Nothing was changed.
            MarketplaceError: A request failed.
        """
        unique_name = check_text(unique_name, "unique_name")
        available_add_on_sid = check_sid("XB", available_add_on_sid, "available_add_on_sid")
        check_flag(accept_terms_of_service, "accept_terms_of_service")
        configuration = plain_object_or_none(configuration, "configuration")
        if check_flag(check_schema, "check_schema") and configuration is not None:
            add_on = await AvailableAddOns(self._call).fetch(available_add_on_sid)
            check_configuration(add_on, configuration)
        wish = _Wish(unique_name, available_add_on_sid, configuration, self._account_sid)
        search = _Search(unique_name)
        if inventory is None:
            search = await self._search(unique_name)
        else:
            search.all_of(inventory)
        for rounds_left in reversed(range(_ROUNDS)):
            # After a concurrent change: look the name up and compare again.
            found = search.found
            if found is not None and wish.is_installed_as(found):
                if wish.is_configured(found):
                    return Ensured(found, "unchanged")
                try:
                    updated = await self.update(found.sid, configuration=configuration)
                    return wish.confirmed(updated, "updated")
                except NotFoundError:
                    if not rounds_left:
                        raise
                search = await self._search(unique_name)
            else:
                # If a different Add-on has the name, the service reports the conflict.
                try:
                    installed = await self.create(
                        available_add_on_sid=available_add_on_sid,
                        accept_terms_of_service=accept_terms_of_service,
                        configuration=configuration,
                        unique_name=unique_name,
                    )
                    return wish.confirmed(installed, "installed")
                except ConflictError:
                    search = await self._search(unique_name)
                    found = search.found
                    other = found is not None and not wish.is_installed_as(found)
                    if found is None and search.similar is not None:
                        # The service takes one name for the other.
                        raise NotEnsuredError(
                            search.similar, wish.differences(search.similar)
                        ) from None
                    if other or not rounds_left:
                        raise
        raise AssertionError("the last round returns or raises")

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

    def _path_of(self, sid: str) -> str:
        return f"{self._path}/{check_sid('XE', sid, 'sid')}"

    def _expecting(self, sid: str, unique_name: str | None = None) -> Parse[InstalledAddOn]:
        return expecting(
            to(InstalledAddOn), sid=sid, account_sid=self._account_sid, unique_name=unique_name
        )

    async def _search(self, unique_name: str) -> "_Search":
        search = _Search(unique_name)
        async with aclosing(complete(self.list())) as records:
            async for record in records:
                if search.see(record):
                    return search
        search.end()
        return search


def _of_other_accounts(page: _Page, account_sid: str) -> list[InstalledAddOn]:
    return [record for record in page.installed_add_ons if record.account_sid != account_sid]


class _Search:
    """The search for a unique name among the installed Add-ons of an account.

    Attributes:
        found: The Add-on that has the name.
        similar: One whose name differs in case, in spaces around it, or in its Unicode form.
    """

    def __init__(self, unique_name: str) -> None:
        self.found: InstalledAddOn | None = None
        self.similar: InstalledAddOn | None = None
        self._name = unique_name
        self._unknown: str | None = None

    def see(self, record: InstalledAddOn) -> bool:
        """Look at a record. Return whether it has the name."""
        name = record.unique_name
        if "unique_name" in record.unreadable:
            self._unknown = record.sid
        elif name == self._name:
            self.found = record
        elif name is not None and _folded(name) == _folded(self._name):
            self.similar = record
        return self.found is not None

    def all_of(self, records: Iterable[InstalledAddOn]) -> None:
        """Look at all records of an account."""
        if not any(self.see(record) for record in records):
            self.end()

    def end(self) -> None:
        """Raise UnreadableFieldError if a record whose name is unknown may have the name."""
        if self._unknown is not None:
            raise UnreadableFieldError(self._unknown, ["unique_name"])


def _folded(name: str) -> str:
    return normalize("NFKC", name).casefold().strip()


@attrs.frozen
class _Wish:
    """What `ensure` or a named `create` is asked for. A configuration of None matches any."""

    unique_name: str
    available_add_on_sid: str
    configuration: Mapping[str, Any] | None
    account_sid: str | None

    def is_installed_as(self, record: InstalledAddOn) -> bool:
        """Return whether a record with this name is this Add-on.

        Raises:
            UnreadableFieldError: The record does not tell its Add-on, or its account.
            ValueError: It belongs to another account.
        """
        if self.account_sid is not None and record.account_sid is None:
            raise UnreadableFieldError(record.sid, ["account_sid"])
        # The list was compared with the account. The caller's inventory was not.
        if text := mismatches(record, {"account_sid": self.account_sid}):
            raise ValueError(f"inventory: {record.sid} belongs to another account: {text}")
        if record.available_add_on_sid is None:
            raise UnreadableFieldError(record.sid, ["links"])
        return not mismatches(record, {"available_add_on_sid": self.available_add_on_sid})

    def is_met_by(self, record: InstalledAddOn) -> bool:
        """Return whether a record is all that was asked.

        Raises:
            UnreadableFieldError: The record does not tell.
        """
        named = record.unique_name == self.unique_name
        return named and self.is_installed_as(record) and self.is_configured(record)

    def may_have_become(self, record: InstalledAddOn) -> bool:
        """Return whether a service that adds defaults, or folds names, may have installed this.

        Raises:
            UnreadableFieldError: The record does not tell.
        """
        if not self.is_installed_as(record):
            return False
        if self.configuration is not None and "configuration" in record.unreadable:
            raise UnreadableFieldError(record.sid, ["configuration"])
        return _covers(record.configuration or {}, self.configuration or {})

    def is_configured(self, record: InstalledAddOn) -> bool:
        """Return whether a record has this configuration.

        Raises:
            UnreadableFieldError: Its configuration is unknown.
        """
        if self.configuration is not None and "configuration" in record.unreadable:
            raise UnreadableFieldError(record.sid, ["configuration"])
        return _has_configuration(record, self.configuration)

    def confirmed(self, record: InstalledAddOn, action: Literal["installed", "updated"]) -> Ensured:
        """Return the result of a write, or raise NotEnsuredError if it is not what was asked."""
        differences = self.differences(record)
        if differences:
            raise NotEnsuredError(record, differences, action)
        return Ensured(record, action)

    def differences(self, record: InstalledAddOn) -> list[str]:
        """Return what differs from a record, or is unknown in it; without configuration values."""
        expected = {
            "unique_name": self.unique_name,
            "account_sid": self.account_sid,
            "available_add_on_sid": self.available_add_on_sid,
        }
        found = [
            f"{name} is unknown"
            for name, value in expected.items()
            if value is not None and (getattr(record, name) is None or name in record.unreadable)
        ]
        if text := mismatches(record, expected):
            found.append(text)
        if self.configuration is not None:
            if "configuration" in record.unreadable:
                found.append("configuration is unknown")
            else:
                found += _differences(record.configuration or {}, self.configuration)
        return found


def _has_configuration(record: InstalledAddOn, wanted: Mapping[str, Any] | None) -> bool:
    return wanted is None or same_json(record.configuration or {}, wanted)


def _covers(actual: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Return whether a configuration has all that is wanted, and perhaps more."""
    return all(
        key in actual
        and (
            _covers(actual[key], value)
            if isinstance(actual[key], dict) and isinstance(value, dict)
            else same_json(actual[key], value)
        )
        for key, value in wanted.items()
    )


def _differences(
    actual: Mapping[str, Any], wanted: Mapping[str, Any], path: str = "configuration"
) -> Iterator[str]:
    """Yield the paths at which configurations differ. The values may be secrets."""
    for key in (*wanted, *(key for key in actual if key not in wanted)):
        name = f"{path}.{key}"
        if key not in wanted:
            yield f"{name} was not asked for"
        elif key not in actual:
            yield f"{name} is missing"
        elif isinstance(actual[key], dict) and isinstance(wanted[key], dict):
            yield from _differences(actual[key], wanted[key], name)
        elif not same_json(actual[key], wanted[key]):
            yield f"{name} has another value"
