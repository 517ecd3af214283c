"""Counts of a job: what became of each account. They add up to the number of accounts."""

from collections import Counter
from collections.abc import Mapping
from typing import Literal, TypeAlias

import attrs

State: TypeAlias = Literal["done", "skipped", "failed", "unknown"]


@attrs.frozen(kw_only=True)
class Counts:
    """What became of the accounts of a job.

    Attributes:
        done: Accounts that were processed, or needed nothing.
        skipped: Accounts of which a step was skipped, because they changed since the plan.
        failed: Accounts that failed.
        unknown: Accounts of which a write may or may not have taken effect. The next run checks.
        not_begun: Accounts that were listed, and that the job did not get to.
        left_out: Accounts that were not considered: because they are not active, by status, or "not
            selected".
    """

    done: int = 0
    skipped: int = 0
    failed: int = 0
    unknown: int = 0
    not_begun: int = 0
    left_out: Mapping[str, int] = attrs.field(factory=dict, hash=False)

    @property
    def accounts(self) -> int:
        """The number of accounts. Those left out do not count."""
        return self.done + self.skipped + self.failed + self.unknown + self.not_begun


@attrs.define
class Tally:
    """Adds up the accounts of a job.

    Attributes:
        listed: Accounts that the source listed.
    """

    listed: int = 0
    _states: Counter[State] = attrs.field(factory=Counter)

    def add(self, state: State, count: int = 1) -> None:
        """Count accounts that ended."""
        self._states[state] += count

    @property
    def failures(self) -> int:
        """The number of accounts that failed, or of which a write has an unknown outcome."""
        return self._states["failed"] + self._states["unknown"]

    def counts(self, left_out: Mapping[str, int]) -> Counts:
        """Return the counts. Accounts that did not end are not begun."""
        states = self._states
        return Counts(
            done=states["done"],
            skipped=states["skipped"],
            failed=states["failed"],
            unknown=states["unknown"],
            not_begun=max(0, self.listed - states.total()),
            left_out=dict(left_out),
        )
