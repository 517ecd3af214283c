"""Counts the accounts of a job by outcome. The counts add up to the number of accounts."""

from collections import Counter
from collections.abc import Mapping
from typing import Literal, TypeAlias

import attrs

State: TypeAlias = Literal["done", "skipped", "failed", "unknown"]


@attrs.frozen(kw_only=True)
class Counts:
    """The number of accounts of a job, by outcome.

    Attributes:
        done: Accounts that were processed, or needed no change.
        skipped: Accounts with a step that was skipped, because they changed since the plan.
        failed: Accounts that failed.
        unknown: Accounts with a write that may or may not have taken effect. The next run checks
            them.
        not_begun: Accounts that were listed, but that the job did not start.
        left_out: Number of accounts that do not belong to the job, by reason: the status of
            accounts that are not active, or "not selected".
    """

    done: int = 0
    skipped: int = 0
    failed: int = 0
    unknown: int = 0
    not_begun: int = 0
    left_out: Mapping[str, int] = attrs.field(factory=dict, hash=False)

    @property
    def accounts(self) -> int:
        """The number of accounts, not counting those left out."""
        return self.done + self.skipped + self.failed + self.unknown + self.not_begun


@attrs.define
class Tally:
    """Counts the accounts of a job.

    Attributes:
        listed: Accounts that the source listed.
    """

    listed: int = 0
    _states: Counter[State] = attrs.field(factory=Counter)

    def add(self, state: State, count: int = 1) -> None:
        """Count accounts as ended in this state."""
        self._states[state] += count

    @property
    def failures(self) -> int:
        """The number of accounts that failed, or have a write with an unknown outcome."""
        return self._states["failed"] + self._states["unknown"]

    def counts(self, left_out: Mapping[str, int]) -> Counts:
        """Return the counts. Accounts that have not ended count as not begun."""
        states = self._states
        return Counts(
            done=states["done"],
            skipped=states["skipped"],
            failed=states["failed"],
            unknown=states["unknown"],
            not_begun=max(0, self.listed - states.total()),
            left_out=dict(left_out),
        )
