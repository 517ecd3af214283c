"""Undoes a run of `apply`: writes a desired state that reverts its changes.

An undo is a desired state, not a list of steps: `plan` compares it with the current state of the
accounts, and `apply` asks for approval, compares and records as always.
"""

import json
import os
import shlex
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

import attrs

from .._core.masking import MASK
from .history import JournalWrite, read_journal

_Content: TypeAlias = tuple[str, str | None, str, str, str]

# The names of values that are not JSON in a desired state.
_SPECIAL: Final = frozenset({"env", "null", "literal", "remove"})


@attrs.frozen(kw_only=True)
class Undo:
    """The undo of a run.

    Attributes:
        run: The run.
        desired: The desired state, as TOML. None if nothing can be reverted.
        changes: Number of changes that it reverts, if the accounts are as the run left them.
        variables: The environment variables that must hold secret values from before the run,
            because the journal has no secrets.
        not_undone: A message for each write that it does not undo, with the command to run if
            there is one.
    """

    run: str
    desired: str | None
    changes: int
    variables: tuple[str, ...]
    not_undone: tuple[str, ...]


def undo_of(journal: str | os.PathLike[str], *, run: str = "last") -> Undo:
    """Return a desired state that reverts what a run updated, renamed, enabled or disabled.

    Blocks. Review and apply it like any other: `plan` shows how it differs from the current state
    of the accounts. Installations and removals are not undone: `not_undone` has the commands for
    them.

    Args:
        journal: The journal of `apply`.
        run: The run: its name or a prefix of it, or "last".

    Raises:
        ValueError: No run has this name or prefix, or several runs have it.
        JobError: The file is in use, damaged, of another version, or not a journal of `apply`.
        OSError: The file cannot be read.
    """
    writes = read_journal(journal, run=run)
    name = writes[0].run
    entries: dict[tuple[str, str], _Entry] = {}
    not_undone: list[str] = []
    removed = {
        (one.account_sid, one.step.unique_name)
        for one in writes
        if one.step.action in ("install", "remove") and one.outcome in ("done", "unknown")
    }
    for write in writes:
        if write.outcome not in ("done", "unknown", "begun"):
            continue
        problem = _problem(write, removed)
        if problem is not None:
            not_undone.append(problem)
            continue
        entry = entries.setdefault((write.account_sid, write.step.unique_name), _Entry(write))
        if write.step.action == "update":
            entry.configuration = write.before
        elif write.step.action == "rename":
            entry.previous_name = write.step.previous_name
        elif write.step.extension is not None:
            entry.extensions[write.step.extension] = write.step.action == "disable"
        entry.changes += 1
    secrets = _Secrets()
    text = _document(name, entries.values(), secrets, not_undone)
    return Undo(
        run=name,
        desired=text if entries else None,
        changes=sum(one.changes for one in entries.values()),
        variables=tuple(sorted(secrets.variables.values())),
        not_undone=tuple(not_undone),
    )


@attrs.define
class _Entry:
    write: JournalWrite
    configuration: dict[str, Any] | None = None
    extensions: dict[str, bool] = attrs.field(factory=dict)
    # The unique name before the run, if the run renamed the Add-on.
    previous_name: str | None = None
    changes: int = 0


def _problem(write: JournalWrite, changed: set[tuple[str, str]]) -> str | None:
    """Return why a write is not undone, and the command to run; None if it is."""
    step = write.step
    head = f"{write.account_sid}: {step}"
    if write.outcome != "done":
        return f"{head}: its outcome is unknown; check the account"
    if step.action == "install":
        command = f"marketplace-async installed delete {write.installed_add_on_sid or 'XE...'}"
        return f"{head}: to undo it, run with the account's credentials: {command}"
    if step.action == "remove":
        return f"{head}: to undo it, run with the account's credentials: {_install(write)}"
    if (write.account_sid, step.unique_name) in changed:
        return f"{head}: the run installed or removed the Add-on itself"
    if step.available_add_on_sid is None:
        return f"{head}: the journal does not say which Add-on it is"
    if step.action == "update" and write.before is None:
        return f"{head}: the run was interrupted before it recorded the configuration"
    if step.action == "update" and write.before is not None:
        try:
            _Writer(write.account_sid, _Secrets()).table(write.before)
        except _UnwritableError as error:
            return f"{head}: {error}"
    return None


def _install(write: JournalWrite) -> str:
    step = write.step
    words = ["marketplace-async", "installed", "create", step.available_add_on_sid or "XB..."]
    words += ["--accept-terms-of-service", "--unique-name", step.unique_name]
    if write.before:
        words += ["--configuration", json.dumps(write.before, ensure_ascii=False)]
    masked = MASK in json.dumps(write.before)
    return shlex.join(words) + (f" (replace {MASK} with the secrets)" if masked else "")


class _UnwritableError(ValueError):
    """A desired state cannot represent a configuration. The message says why."""


@attrs.define
class _Secrets:
    """The environment variables of masked values, by account and path.

    The values of two accounts may differ, so each account has its own variables.
    """

    variables: dict[tuple[str, tuple[str, ...]], str] = attrs.field(factory=dict)
    keys: set[str] = attrs.field(factory=set)

    def variable(self, account_sid: str, path: tuple[str, ...]) -> str:
        self.keys.add(path[-1])
        key = account_sid, path
        if key not in self.variables:
            text = "_".join((*path, account_sid)).upper()
            base = "UNDO_" + "".join(c if c.isascii() and c.isalnum() else "_" for c in text)
            name, number, taken = base, 2, set(self.variables.values())
            while name in taken:
                name, number = f"{base}_{number}", number + 1
            self.variables[key] = name
        return self.variables[key]


def _document(
    run: str, entries: Iterable[_Entry], secrets: _Secrets, not_undone: Iterable[str]
) -> str:
    # Accounts with equal content share an entry.
    accounts: dict[_Content, list[str]] = {}
    for entry in entries:
        step = entry.write.step
        configuration = ""
        if entry.configuration is not None:
            writer = _Writer(entry.write.account_sid, secrets)
            configuration = writer.table(entry.configuration)
        extensions = ", ".join(
            f"{_text(name)} = {'true' if enabled else 'false'}"
            for name, enabled in sorted(entry.extensions.items())
        )
        content = (
            *(entry.previous_name or step.unique_name, entry.previous_name and step.unique_name),
            *(step.available_add_on_sid or "", configuration, extensions),
        )
        accounts.setdefault(content, []).append(entry.write.account_sid)
    lines = [f"# Reverts what run {run} of apply updated, renamed, enabled or disabled."]
    lines += ["# Review it with plan: an Add-on that was removed since would be installed again."]
    if secrets.variables:
        lines += ["# Secrets cannot be restored from the journal, which masks them. Set their"]
        lines += ["# environment variables to the earlier values; accounts may share a variable."]
    lines += [f"# Not undone: {_comment(one)}" for one in not_undone]
    if secrets.variables:
        lines += [f"secret = [{', '.join(map(_text, sorted(secrets.keys)))}]"]
    for (unique_name, renamed, add_on, configuration, extensions), sids in accounts.items():
        lines += ["", "[[add_ons]]", f"unique_name = {_text(unique_name)}"]
        if renamed is not None:
            lines += [f"previous_names = [{_text(renamed)}]"]
        lines += [f"available_add_on_sid = {_text(add_on)}", "accept_terms_of_service = true"]
        lines += ["accounts = { sids = [", *(f"    {_text(sid)}," for sid in sids), "] }"]
        if configuration:
            lines.append(f"configuration = {configuration}")
        if extensions:
            lines.append(f"extensions = {{ {extensions} }}")
    return "\n".join(lines) + "\n"


def _comment(text: str) -> str:
    return "".join(one if one.isprintable() else "?" for one in text)


@attrs.frozen
class _Writer:
    """Writes the configuration of an account as TOML that a desired state reads back unchanged."""

    account_sid: str
    secrets: _Secrets

    def table(self, table: Mapping[str, Any], path: tuple[str, ...] = ()) -> str:
        pairs = []
        for key, value in table.items():
            if MASK in key:
                raise _UnwritableError("the name of a key contains a secret, which is not recorded")
            below = (*path, key)
            if isinstance(value, str) and MASK in value:
                variable = self.secrets.variable(self.account_sid, below)
                pairs.append(f"{_text(key)} = {{ env = {_text(variable)} }}")
            else:
                pairs.append(f"{_text(key)} = {self.value(value, below)}")
        return "{" + ", ".join(pairs) + "}"

    def value(self, value: Any, path: tuple[str, ...]) -> str:
        match value:
            case None:
                return "{ null = true }"
            case str() if "{" in value:
                return f"{{ literal = {_plain(value)} }}"
            case dict() if len(value) == 1 and not _SPECIAL.isdisjoint(value):
                return f"{{ literal = {_plain(value)} }}"
            case dict():
                return self.table(value, path)
            case list():
                return f"[{', '.join(self.value(item, path) for item in value)}]"
            case _:
                return _plain(value)


def _plain(value: Any) -> str:
    match value:
        case None:
            raise _UnwritableError("TOML has no null within a literal value")
        case bool():
            return "true" if value else "false"
        case str() if MASK in value:
            raise _UnwritableError("a list or a literal contains a secret, which is not recorded")
        case str():
            return _text(value)
        case dict():
            pairs = (f"{_text(key)} = {_plain(item)}" for key, item in value.items())
            return "{" + ", ".join(pairs) + "}"
        case list():
            return f"[{', '.join(map(_plain, value))}]"
        case _:
            return repr(value)


def _text(text: str) -> str:
    # TOML accepts the escapes of JSON, but also requires DEL to be escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
