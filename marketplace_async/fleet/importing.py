"""Drafts a desired state from the installed Add-ons. A plan of the draft changes nothing."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

import attrs

from .._core.frames import hide_arguments
from .._core.masking import MASK
from .._core.printable import printable
from .desired import Desired, Wanted
from .loading import parse
from .outputs import InventoryRecord
from .toml_writing import (
    Tree,
    UnwritableError,
    Variables,
    Writer,
    common,
    difference,
    key_of,
    table_of,
    text_of,
)

_MAX_NAME: Final = 80
_HEAD: Final = """\
# The Add-ons that are installed. A plan of this file changes nothing.
# accept_terms_of_service is true: each Add-on is installed, so its terms were accepted.
"""


@attrs.frozen(kw_only=True)
class Draft:
    """A draft of a desired state. It contains no secrets.

    Attributes:
        text: The TOML text, for a file.
        add_ons: The number of its entries.
        variables: The environment variables that must hold the secret values in use.
        warnings: What the draft does not cover, and why.
    """

    text: str
    add_ons: int
    variables: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@hide_arguments
def draft(
    records: Iterable[InventoryRecord],
    *,
    accounts: Collection[str] | None = None,
    secret: Sequence[str] = (),
) -> Draft:
    """Draft a desired state from the installed Add-ons. A plan of it changes nothing. Blocks.

    Settings that accounts share are written once. Text under a secret key becomes
    `{ env = "NAME" }`. Secret keys are those in `secret`, and keys with names such as api_token and
    password. If the file cannot represent a value, its key is added to `ignore`.

    Args:
        records: The installed Add-ons, from an inventory without masked values. If they have no
            extensions, the draft has none either.
        accounts: The SIDs of all accounts, if they are known. Only then can the draft select
            accounts by "all" or by exceptions, which also select accounts that are added later.
        secret: Further secret keys.

    Raises:
        ValueError: Nothing is installed.
        DesiredStateError: The text would be too long.
    """
    return drafted(records, accounts=accounts, secret=secret)[0]


@hide_arguments
def drafted(
    records: Iterable[InventoryRecord],
    *,
    accounts: Collection[str] | None = None,
    secret: Sequence[str] = (),
) -> tuple[Draft, dict[str, str]]:
    """Return a draft, and the values of its variables. Otherwise like `draft`."""
    warnings: dict[str, None] = {}
    groups = _grouped(records, warnings)
    if not groups:
        raise ValueError("nothing is installed that can be imported")
    without: set[_Key] = set()
    while True:
        variables = Variables()
        entries = [
            _Entry(key, group, secret, variables, is_configured=key not in without)
            for key, group in groups.items()
        ]
        text = _text(entries, accounts, variables)
        desired = parse(text, variables.values)
        # Check the text itself: it is what the user applies.
        wrong = _not_reproduced(entries, desired)
        if not wrong - without:
            break
        without |= wrong
    for entry in entries:
        warnings.update(dict.fromkeys(entry.warnings()))
    for key in secret:
        if key not in variables.keys:
            warnings[f"secret: no configuration has text under the key {key!r}"] = None
    if MASK in variables.values.values():
        warnings["the inventory masks secret values: accounts may have different ones"] = None
    result = Draft(
        text=text,
        add_ons=len(entries),
        variables=tuple(sorted(variables.values)),
        warnings=tuple(warnings),
    )
    return result, variables.values


def _not_reproduced(entries: Sequence["_Entry"], desired: Desired) -> set["_Key"]:
    """Return the entries that differ from what is installed on an account."""
    wrong: set[_Key] = set()
    for sid in sorted({sid for entry in entries for sid in entry.group}):
        wanted = {one.unique_name: one for one in desired.wanted(sid, None)}
        wrong.update(
            entry.key
            for entry in entries
            if sid in entry.group and not entry.is_reproduced_by(wanted, sid)
        )
    return wrong


@attrs.frozen
class _Key:
    """The properties that all installed Add-ons of an entry share."""

    unique_name: str
    available_add_on_sid: str
    has_configuration: bool


_Group = dict[str, InventoryRecord]


def _grouped(records: Iterable[InventoryRecord], warnings: dict[str, None]) -> dict[_Key, _Group]:
    groups: dict[_Key, _Group] = {}
    seen: set[tuple[str, str]] = set()
    for record in sorted(records, key=lambda one: (one.account_sid, one.sid)):
        name, add_on = record.unique_name, record.available_add_on_sid
        where = f"{record.sid} of {record.account_sid}"
        if name is None or not name.strip():
            warnings[f"{where} has no unique name: it is left out"] = None
        elif add_on is None:
            warnings[f"{where} ({name}): its Add-on is unknown: it is left out"] = None
        elif (record.account_sid, name) in seen:
            warnings[f"{where}: a second Add-on is named {name}: it is left out"] = None
        else:
            seen.add((record.account_sid, name))
            key = _Key(name, add_on, record.configuration is not None)
            groups.setdefault(key, {})[record.account_sid] = record
    order = sorted(groups, key=lambda key: (key.unique_name, key.available_add_on_sid))
    return {key: groups[key] for key in order}


class _Entry:
    """One `[[add_ons]]` of the text."""

    def __init__(
        self,
        key: _Key,
        group: _Group,
        secret: Collection[str],
        variables: Variables,
        *,
        is_configured: bool,
    ) -> None:
        self.key = key
        self.group = group
        self._is_left_out = False
        # A configuration that cannot be written must not leave variables behind.
        own = variables.copy()
        self._writer = Writer(key.unique_name, secret, own)
        self._trees: dict[str, Tree] | None = None
        if key.has_configuration and is_configured:
            try:
                self._trees = {
                    sid: self._writer.tree(record.configuration or {}, sid)
                    for sid, record in group.items()
                }
                variables.take(own)
            except UnwritableError:
                self._is_left_out = True
        elif key.has_configuration:
            self._is_left_out = True

    def warnings(self) -> Iterator[str]:
        name = self.key.unique_name
        if self._is_left_out:
            yield f"{name}: the file cannot hold its configuration, which is left as it is"
        elif self._writer.ignored:
            paths = ", ".join(self._writer.ignored)
            yield f"{name}: ignores {paths}: the file cannot hold the value"

    def is_reproduced_by(self, wanted: Mapping[str, Wanted], account_sid: str) -> bool:
        """Return whether the desired state of an account matches the installed Add-on."""
        one, record = wanted.get(self.key.unique_name), self.group[account_sid]
        return (
            one is not None
            and one.available_add_on_sid == record.available_add_on_sid
            and one.is_configured(record.configuration)
        )

    def lines(self, selector: Sequence[str]) -> Iterator[str]:
        """Yield the lines of the entry."""
        first = next(iter(self.group.values()))
        yield "[[add_ons]]"
        yield f"unique_name = {text_of(self.key.unique_name)}"
        yield f"available_add_on_sid = {text_of(self.key.available_add_on_sid)}" + _comment(
            first.friendly_name
        )
        yield "accept_terms_of_service = true"
        ignored = self._writer.ignored if self._trees is not None else {}
        if ignored:
            yield f"ignore = [{', '.join(map(text_of, ignored))}]"
        is_word = len(selector) == 1 and selector[0].startswith("accounts = ")
        if is_word:
            yield selector[0]
        base = None if self._trees is None else common(list(self._trees.values()))
        extensions = {sid: _extensions(record) for sid, record in self.group.items()}
        # An override cannot remove an extension.
        everywhere = set.intersection(*(set(one) for one in extensions.values()))
        shared = {
            name: value
            for name, value in common(list(extensions.values())).items()
            if name in everywhere
        }
        if not is_word:
            yield "[add_ons.accounts]"
            yield from selector
        if base is not None:
            yield "[add_ons.configuration]"
            yield from _pairs(base)
        if shared:
            yield "[add_ons.extensions]"
            yield from _pairs(shared)
        yield from self._overrides(base, extensions, shared)

    def _overrides(
        self, base: Tree | None, extensions: Mapping[str, Tree], shared: Tree
    ) -> Iterator[str]:
        overrides: dict[str, tuple[Tree, Tree, list[str]]] = {}
        for sid in self.group:
            own = difference(base, self._trees[sid]) if self._trees and base is not None else {}
            switched = difference(shared, extensions[sid])
            if own or switched:
                same = json.dumps([own, switched], sort_keys=True)
                overrides.setdefault(same, (own, switched, []))[2].append(sid)
        for own, switched, sids in overrides.values():
            yield ""
            yield "[[add_ons.overrides]]"
            yield "[add_ons.overrides.accounts]"
            yield from _sids("sids", sids, self.group)
            if own:
                yield "[add_ons.overrides.configuration]"
                yield from _pairs(own)
            if switched:
                yield "[add_ons.overrides.extensions]"
                yield from _pairs(switched)


def _extensions(record: InventoryRecord) -> Tree:
    return {
        one.unique_name: "true" if one.enabled else "false"
        for one in record.extensions or ()
        if one.unique_name is not None and one.unique_name.strip() and one.enabled is not None
    }


def _pairs(tree: Tree) -> Iterator[str]:
    for key, value in tree.items():
        yield f"{key_of(key)} = {value if isinstance(value, str) else table_of(value)}"


def _comment(text: str | None) -> str:
    shown = printable(text or "")[:_MAX_NAME].strip()
    return f"  # {shown}" if shown else ""


def _sids(key: str, sids: Iterable[str], names: Mapping[str, InventoryRecord]) -> Iterator[str]:
    yield f"{key} = ["
    for sid in sids:
        name = names[sid].account_friendly_name if sid in names else None
        yield f"  {text_of(sid)},{_comment(name)}"
    yield "]"


def _text(entries: Sequence[_Entry], accounts: Collection[str] | None, variables: Variables) -> str:
    named = [entry.key.unique_name for entry in entries]
    lines = []
    for entry in entries:
        others = None if accounts is None else sorted(set(accounts) - entry.group.keys())
        # Two entries with exceptions would both apply to an account that is added later.
        if others is None or named.count(entry.key.unique_name) > 1:
            selector = list(_sids("sids", entry.group, entry.group))
        elif not others:
            selector = ['accounts = "all"']
        elif len(others) < len(entry.group):
            selector = list(_sids("except_sids", others, {}))
        else:
            selector = list(_sids("sids", entry.group, entry.group))
        lines += ["", *entry.lines(selector)]
    secret = ""
    if variables.keys:
        secret = f"\nsecret = [{', '.join(map(text_of, variables.keys))}]\n"
    return _HEAD + secret + "\n".join(lines) + "\n"
