"""What an emulator holds, as plain values: for the assertions of a test, and for a page."""

from collections.abc import Iterable
from typing import Any

import attrs
import msgspec

from .catalogue import Catalogue
from .records import Account, UsageItem
from .store import Store


@attrs.frozen
class AccountState:
    """A parent account, which owns itself, or a subaccount.

    Attributes:
        sid: The account, `AC...`.
        owner_account_sid: Its parent, or the account itself.
        friendly_name: Its display name.
        status: "active", "suspended" or "closed".
    """

    sid: str
    owner_account_sid: str
    friendly_name: str
    status: str


@attrs.frozen
class InstallationState:
    """An installed Add-on.

    Attributes:
        sid: The installation, `XE...`.
        account_sid: The account it is installed on.
        available_add_on_sid: The Add-on, `XB...`.
        unique_name: Its name, unique on the account.
        friendly_name: The display name of the Add-on.
        configuration: Its configuration.
        date_created: When it was installed, such as "2026-11-27T06:40:00Z".
        date_updated: When it was last changed.
    """

    sid: str
    account_sid: str
    available_add_on_sid: str
    unique_name: str
    friendly_name: str
    configuration: dict[str, Any] = attrs.field(hash=False)
    date_created: str
    date_updated: str


@attrs.frozen
class ExtensionState:
    """An extension of an installed Add-on.

    Attributes:
        sid: The extension, `XF...`.
        installed_add_on_sid: The installation.
        unique_name: Its unique name, such as "voice-incoming".
        enabled: Whether it is enabled.
    """

    sid: str
    installed_add_on_sid: str
    unique_name: str
    enabled: bool


@attrs.frozen
class ListingState:
    """A listing that was created in the emulator.

    Attributes:
        sid: The listing, `XB...`.
        account_sid: The account that owns it.
        document: Its parts by name: "module_info", "pricing" ...
    """

    sid: str
    account_sid: str
    document: dict[str, Any] = attrs.field(hash=False)


@attrs.frozen(kw_only=True)
class State:
    """Everything an emulator holds at one moment, without auth tokens. Each part is oldest first.

    Attributes:
        accounts: The accounts that were created or listed, then all other owners of something.
        installations: The installed Add-ons.
        extensions: The extensions of each installed Add-on.
        usage: The usage accepted for billing.
        listings: The listings.
    """

    accounts: tuple[AccountState, ...] = ()
    installations: tuple[InstallationState, ...] = ()
    extensions: tuple[ExtensionState, ...] = ()
    usage: tuple[UsageItem, ...] = ()
    listings: tuple[ListingState, ...] = ()


def state_of(
    store: Store, catalogue: Catalogue, account_sid: str | None = None, limit: int | None = None
) -> State:
    """Return the state of a store.

    Args:
        store: The store.
        catalogue: The Add-ons on offer.
        account_sid: Only what this account has.
        limit: Maximum number of installations, usage items and listings, the oldest of each.
    """
    installations = tuple(
        InstallationState(
            each.sid,
            each.account_sid,
            each.available_add_on_sid,
            each.unique_name,
            each.friendly_name,
            msgspec.json.decode(each.configuration),
            each.date_created,
            each.date_updated,
        )
        for each in store.all_installations(account_sid, limit)
    )
    usage = tuple(store.usage(account_sid, limit))
    listings = tuple(ListingState(*each) for each in store.all_listings(account_sid, limit))
    owners = [each.account_sid for part in (installations, usage, listings) for each in part]
    if account_sid is None:
        known: Iterable[Account] = store.all_accounts()
    else:
        account = store.account(account_sid)
        known = [] if account is None else [account]
    return State(
        accounts=tuple(_accounts(known, owners)),
        installations=installations,
        extensions=tuple(_extensions(store, catalogue, installations)),
        usage=usage,
        listings=listings,
    )


def _accounts(known: Iterable[Account], owners: Iterable[str]) -> Iterable[AccountState]:
    found = {
        each.sid: AccountState(each.sid, each.owner_account_sid, each.friendly_name, each.status)
        for each in known
    }
    for sid in owners:
        # An account that was never listed has no record. It would be a parent account.
        found.setdefault(sid, AccountState(sid, sid, sid, "active"))
    return found.values()


def _extensions(
    store: Store, catalogue: Catalogue, installations: Iterable[InstallationState]
) -> Iterable[ExtensionState]:
    enabled = store.all_enabled_extensions()
    sids = {add_on.sid: add_on.extension_sids() for add_on in catalogue}
    for installation in installations:
        for sid, extension in sids.get(installation.available_add_on_sid, {}).items():
            yield ExtensionState(
                sid,
                installation.sid,
                extension.unique_name,
                (installation.sid, sid) in enabled,
            )
