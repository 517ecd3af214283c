"""Compares the settings of two jobs, which are stored in their journals."""

from collections.abc import Mapping
from typing import Any, Final

# What each setting is called in messages. The first group identifies the fleet.
_FLEET: Final = {
    "source": "the source of the accounts",
    "base_url": "the base URL",
    "parent": "the parent account",
    "accounts_file": "the accounts file",
    "vault": "the vault",
}
_JOB: Final = {
    "job": "the job",
    **_FLEET,
    "accounts": "the accounts in the accounts file",
    "desired": "the desired state",
    "part": "the selection",
    "extensions": "the option for extensions",
    "secret": "the list of secret keys",
}
# Digests say that something changed, not what.
_DIGESTS: Final = {"accounts", "desired"}


def differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Describe how the settings of two jobs differ. Return an empty string if they are equal."""
    return _differences(earlier, now, [*_JOB, *(earlier.keys() | now.keys()) - _JOB.keys()])


def fleet_differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Describe how the fleets of two jobs differ. Return an empty string if they are the same.

    Two jobs on one fleet may differ in everything else, such as the desired state and the number
    of accounts.
    """
    return _differences(earlier, now, [*_FLEET])


def _differences(earlier: Mapping[str, Any], now: Mapping[str, Any], names: list[str]) -> str:
    return "; ".join(
        f"{_JOB.get(name, name)} changed"
        if name in _DIGESTS
        else f"{_JOB.get(name, name)} was {_shown(earlier.get(name))} and is now "
        f"{_shown(now.get(name))}"
        for name in names
        if earlier.get(name) != now.get(name)
    )


def _shown(value: Any) -> str:
    match value:
        case None | [] | "":
            return "none"
        case bool():
            return "on" if value else "off"
        case list():
            return ", ".join(map(str, value))
        case _:
            return str(value)
