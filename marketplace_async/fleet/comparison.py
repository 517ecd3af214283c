"""Compares configurations: their differences, and the keys that a desired state ignores."""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs

from .._core.codec import same_json
from .._core.masking import MASK
from .masking import masked, secret_values

KEY_PATH: Final = r"""(?:"[^"]+"|'[^']+'|[^."']+)(?:\.(?:"[^"]+"|'[^']+'|[^."']+)){0,31}"""
"""A path of at most 32 keys. A key that contains a dot or a quotation mark is quoted."""

_KEY = re.compile(r"""\.?(?:"([^"]+)"|'([^']+)'|([^."']+))""")
# The ignored keys: None for a key that is ignored with everything below it.
_Ignored: TypeAlias = "dict[str, _Ignored | None]"


@attrs.frozen
class Change:
    """One difference between the current and the desired configuration.

    Attributes:
        path: The path of keys, separated by dots.
        before: The current value as JSON text, masked if it is secret. None if it is not set.
        after: The desired value as JSON text, masked if it is secret. None if it is not set.
    """

    path: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        if self.before is None:
            return f"+ {self.path} = {self.after}"
        if self.after is None:
            return f"- {self.path} = {self.before}"
        return f"~ {self.path} = {self.before} -> {self.after}"


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any], secret: Collection[str], path: str = ""
) -> Iterator[Change]:
    """Yield the differences between two configurations, with the values of secret keys masked."""
    for key in (*before, *(key for key in after if key not in before)):
        old, new = before.get(key), after.get(key)
        if key in before and key in after and same_json(old, new):
            continue
        tables = isinstance(old, dict | None) and isinstance(new, dict | None)
        if tables and (old or new) and key not in secret:
            yield from differences(old or {}, new or {}, secret, f"{path}{key}.")
            continue
        yield Change(
            f"{path}{key}",
            _text(key, old, secret) if key in before else None,
            _text(key, new, secret) if key in after else None,
        )


def _text(key: str, value: Any, secret: Collection[str]) -> str:
    return MASK if key in secret else json.dumps(masked(value, secret), ensure_ascii=False)


def is_configured(
    wanted: Mapping[str, Any], current: Mapping[str, Any], ignore: Sequence[str]
) -> bool:
    """Return whether a configuration has all wanted values, apart from the ignored keys.

    Numbers are compared by value: 1 equals 1.0. True does not equal 1.
    """
    return same_json(_with_ignored(wanted, current, _parsed(ignore)), current)


def configuration_to_write(
    wanted: Mapping[str, Any],
    current: Mapping[str, Any] | None,
    ignore: Sequence[str],
    secret: Collection[str],
) -> dict[str, Any]:
    """Return the wanted configuration, with the current values of the ignored keys.

    A secret key that is ignored gets the wanted value, if there is one: Twilio may mask secrets in
    its responses, and the masked value must not be written.

    Args:
        wanted: The wanted configuration.
        current: The current configuration. None if the Add-on is not installed: then the
            ignored keys get the wanted values.
        ignore: The paths of the ignored keys.
        secret: The secret keys.
    """
    if current is None:
        return dict(wanted)
    return _with_ignored(wanted, current, _parsed(ignore), secret)


def without_ignored(configuration: Mapping[str, Any], ignore: Sequence[str]) -> dict[str, Any]:
    """Return a configuration without the ignored keys."""
    return _with_ignored(configuration, {}, _parsed(ignore))


def kept_by_service(
    sent: Mapping[str, Any],
    returned: Mapping[str, Any],
    ignore: Sequence[str],
    secret: Collection[str],
) -> tuple[Change, ...]:
    """Return what the service changed in a configuration, apart from the ignored keys.

    Examples are added defaults and masked values. `kept_message` describes a change.

    Args:
        sent: The configuration that was sent.
        returned: The configuration in the response.
        ignore: The paths of the ignored keys.
        secret: The secret keys. Their values are masked in the result.
    """
    expected = _with_ignored(sent, returned, _parsed(ignore))
    return tuple(differences(expected, returned, secret))


def kept_message(change: Change) -> str:
    """Describe a change from `kept_by_service`, and what to do about it."""
    path, sent, kept = change.path, change.before, change.after
    if kept is None:
        return f"drops {path}: remove it from the configuration, or ignore it"
    if sent is None:
        return f"keeps {path} = {kept}: add it to the configuration, or ignore it"
    if kept == sent:
        return f"returns another value of {path}, which may be masked: ignore it"
    return f"keeps {path} = {kept}, not {sent}: change it in the configuration, or ignore it"


def _parsed(ignore: Sequence[str]) -> _Ignored:
    ignored: _Ignored = {}
    for path in ignore:
        *parents, last = (match[1] or match[2] or match[3] for match in _KEY.finditer(path))
        level: _Ignored | None = ignored
        for key in parents:
            level = level.setdefault(key, {}) if level is not None else None
        if level is not None:
            level[last] = None
    return ignored


def _with_ignored(
    wanted: Mapping[str, Any],
    current: Mapping[str, Any],
    ignored: _Ignored,
    secret: Collection[str] = (),
) -> dict[str, Any]:
    """Return a wanted configuration in which ignored keys are as in the current one."""
    result = dict(wanted)
    for key, below in ignored.items():
        if below is None:
            if key in current:
                result[key] = _without_masks(current[key], wanted, key, secret)
            elif key not in secret:
                result.pop(key, None)
            continue
        old, new = current.get(key), wanted.get(key, {})
        if not isinstance(new, dict):
            continue
        table = _with_ignored(new, old if isinstance(old, dict) else {}, below, secret)
        # A table that only consists of ignored keys exists if the account has it.
        if table or (key in wanted if not new else isinstance(old, dict) and key in wanted):
            result[key] = table
        else:
            result.pop(key, None)
    return result


def _without_masks(
    current: Any, wanted: Mapping[str, Any], key: str, secret: Collection[str]
) -> Any:
    """Return the current value of a key, with the wanted values of secret keys."""
    if key not in wanted:
        return current
    if key not in secret and isinstance(current, dict) and isinstance(wanted[key], dict):
        return {name: _without_masks(current[name], wanted[key], name, secret) for name in current}
    return wanted[key] if secret_values({key: wanted[key]}, secret) else current
