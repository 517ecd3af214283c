"""The audit log of `apply`: who changed what, when, and with which outcome."""

import json
import os
from pathlib import Path
from typing import Any

import attrs

from .._core.codec import from_json
from ._engine.entries import JobError
from ._engine.journal import Journal
from .steps import Step


@attrs.frozen(kw_only=True)
class JournalWrite:
    """One write of a run of `apply`. It contains no secrets.

    Attributes:
        run: The run: 32 hexadecimal digits.
        begun: When the write was recorded, before it was sent, such as "2026-11-27T11:00:00Z".
        ended: When its outcome was recorded. None if the run is in progress or was interrupted.
        credentials: The credentials of the run, such as `profile "work"`, if known.
        user: Who ran it, and where: user@host.
        desired: The digest of the desired state.
        account_sid: The account, `AC...`.
        friendly_name: The account's friendly name.
        step: The approved step, with the planned changes.
        outcome: "begun" (the run is in progress or was interrupted), "done", "unchanged" (no write
            was needed), "failed", "unknown" (it may have taken effect) or "skipped".
        installed_add_on_sid: The installed Add-on, `XE...`, if known.
        before: The configuration that was overwritten or removed, with secrets masked.
        after: The configuration that was sent, with secrets masked.
        handouts: How often the run handed the account to a worker. More than 1 if a worker was
            lost.
        message: Why the step was not done.
    """

    run: str
    begun: str
    ended: str | None
    credentials: str | None
    user: str
    desired: str
    account_sid: str
    friendly_name: str | None
    step: Step
    outcome: str
    installed_add_on_sid: str | None
    before: dict[str, Any] | None = attrs.field(hash=False)
    after: dict[str, Any] | None = attrs.field(hash=False)
    handouts: int
    message: str | None


def read_journal(
    journal: str | os.PathLike[str], *, run: str | None = None, account_sid: str | None = None
) -> tuple[JournalWrite, ...]:
    """Return the writes in the journal of `apply`, in the order of runs. Blocks.

    Args:
        journal: The journal.
        run: Only the writes of this run: its name or a prefix of it, or "last".
        account_sid: Only the writes to this account.

    Raises:
        ValueError: No run has this name or prefix, or several runs have it.
        JobError: The file is in use, damaged, of another version, or not a journal of `apply`.
        OSError: The file cannot be read.
    """
    file = Path(journal)
    if not file.stat().st_size:
        raise JobError(f"{file} is empty: expected the journal of apply")
    with Journal(file) as opened:
        if (job := opened.settings().get("job", "apply")) != "apply":
            raise JobError(f"{file} is the journal of another job ({job}), not of apply")
        name = None if run is None else _found(run, opened.runs())
        return tuple(map(_write, opened.audit_log(name, account_sid)))


def _found(run: str, runs: list[str]) -> str:
    found = runs[:1] if run == "last" else [one for one in runs if one.startswith(run)]
    if run and len(found) == 1:
        return found[0]
    known = ", ".join(one[:8] for one in runs[:5]) or "none"
    if not found:
        raise ValueError(f"run: the journal has no run {run!r}; its latest runs are: {known}")
    raise ValueError(f"run: {run!r} is a prefix of {len(found)} runs; the latest are: {known}")


def _write(row: dict[str, Any]) -> JournalWrite:
    documents = {
        name: None if row[name] is None else json.loads(row[name]) for name in ("before", "after")
    }
    step = from_json(row.pop("planned").encode(), Step, "a step")
    return JournalWrite(**{**row, **documents, "step": step})
