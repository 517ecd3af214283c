"""Sets up the state of an emulator without requests, for tests."""

import re
from collections.abc import Mapping
from typing import Any

from .accounts import STATUSES, AccountRoutes
from .catalogue import Catalogue
from .installed_add_ons import InstalledAddOns
from .responses import ErrorResponse
from .store import Store

_ACCOUNT = re.compile(r"AC[0-9a-fA-F]{32}")


def install(
    store: Store,
    catalogue: Catalogue,
    account_sid: str,
    available_add_on_sid: str,
    configuration: Mapping[str, Any] | None,
    unique_name: str | None,
    times: int,
) -> list[str]:
    """Install an Add-on as `Emulator.install` describes."""
    _check_account(account_sid, "account_sid")
    _check_count(times, "times")
    if unique_name is not None and (not unique_name or times > 1):
        raise ValueError(
            f"unique_name: must be a name that is not empty, for one installation, "
            f"got {unique_name!r} for {times}"
        )
    add_on = catalogue.get(available_add_on_sid)
    if add_on is None:
        raise ValueError(f"available_add_on_sid: {available_add_on_sid} is not in the catalogue")
    installed = InstalledAddOns(store, catalogue)
    try:
        with store.transaction():
            return [
                installed.install(account_sid, add_on, unique_name, dict(configuration or {})).sid
                for _ in range(times)
            ]
    except ErrorResponse as error:
        raise ValueError(error.message) from None


def enable(
    store: Store, catalogue: Catalogue, installed_add_on_sid: str, extension: str, enabled: bool
) -> None:
    """Enable or disable an extension as `Emulator.enable` describes."""
    installation = store.installation(installed_add_on_sid)
    if installation is None:
        raise ValueError(f"installed_add_on_sid: {installed_add_on_sid} is not installed")
    add_on = catalogue.get(installation.available_add_on_sid)
    extensions = add_on.extension_sids() if add_on else {}
    for sid, each in extensions.items():
        if extension in (sid, each.unique_name):
            store.enable_extension(installed_add_on_sid, sid, enabled)
            return
    names = ", ".join(each.unique_name for each in extensions.values()) or "none"
    raise ValueError(f"extension: must be one of {names}, got {extension!r}")


def add_subaccounts(
    store: Store, owner_account_sid: str, count: int, friendly_name: str, status: str
) -> list[tuple[str, str]]:
    """Create subaccounts as `Emulator.add_subaccounts` describes."""
    _check_account(owner_account_sid, "owner_account_sid")
    _check_count(count, "count")
    if status not in STATUSES:
        raise ValueError(f"status: must be one of {STATUSES}, got {status!r}")
    names = (friendly_name.replace("{number}", str(number + 1)) for number in range(count))
    try:
        return AccountRoutes(store).add(owner_account_sid, names, status)
    except ErrorResponse as error:
        raise ValueError(error.message) from None


def _check_account(sid: str, name: str) -> None:
    if not isinstance(sid, str) or not _ACCOUNT.fullmatch(sid):
        raise ValueError(f"{name}: must be AC and 32 hex digits, got {sid!r}")


def _check_count(count: int, name: str) -> None:
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise ValueError(f"{name}: must be a whole number of at least 0, got {count!r}")
