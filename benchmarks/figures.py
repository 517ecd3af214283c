"""Figures: what was measured, how it compares, and how sure that is."""

import random
import statistics
from collections.abc import Sequence
from typing import Final, Literal

import attrs

OURS: Final = "marketplace_async"


@attrs.frozen
class Interval:
    """The median over all rounds, with the bootstrapped 95 % interval of it."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, rounds: Sequence[float]) -> "Interval":
        chance = random.Random(0)  # the same rounds give the same interval
        medians = sorted(
            statistics.median(chance.choices(rounds, k=len(rounds))) for _ in range(2000)
        )
        return cls(statistics.median(rounds), medians[49], medians[1949])


@attrs.frozen
class Goal:
    """What a comparison is to come to."""

    bound: Literal["at least", "at most"]
    value: float

    def is_met_by(self, figure: float) -> bool:
        """Tell whether a figure is good enough."""
        return figure >= self.value if self.bound == "at least" else figure <= self.value


@attrs.frozen
class Comparison:
    """One figure against another, or against nothing but its goal, round by round.

    Attributes:
        subject: The series that is judged.
        against: The series that it is divided by, or that is taken from it; None for itself alone.
        kind: What is done with the two.
        goal: None where it is only told.
        figure: What it came to.
    """

    subject: str
    against: str | None
    kind: Literal["ratio", "difference", "itself"]
    goal: Goal | None
    figure: Interval

    @property
    def met(self) -> bool | None:
        """Whether the goal is met by the median; None without a goal."""
        return None if self.goal is None else self.goal.is_met_by(self.figure.value)


@attrs.frozen(kw_only=True)
class Measurement:
    """One thing that was measured, for each who did it.

    Attributes:
        row: The row of the table of goals that it belongs to.
        work: What was done.
        measure: What of it was measured, such as CPU.
        unit: What the figures are in.
        better: Whether more or less of it is better.
        series: Who did it, and the figure of each round.
        comparisons: How they compare.
        server_busy: The greatest part of the time for which the server's core had work.
        missing: Who could not be measured, and why.
    """

    row: int
    work: str
    measure: str
    unit: str
    better: Literal["more", "less"]
    series: dict[str, list[float]]
    comparisons: list[Comparison]
    server_busy: float | None = None
    missing: dict[str, str] = attrs.Factory(dict)


def compare(
    series: dict[str, list[float]],
    against: str | None,
    goal: Goal | None = None,
    *,
    subject: str = OURS,
    kind: Literal["ratio", "difference", "itself"] = "ratio",
) -> list[Comparison]:
    """Return the comparison, or nothing where one of the two was not measured."""
    if subject not in series or (against is not None and against not in series):
        return []
    ours = series[subject]
    theirs = ours if against is None else series[against]
    rounds = [
        {"ratio": one / other, "difference": one - other, "itself": one}[kind]
        for one, other in zip(ours, theirs, strict=True)
        if kind != "ratio" or other
    ]
    return [Comparison(subject, against, kind, goal, Interval.of(rounds))]


@attrs.frozen(kw_only=True)
class Results:
    """Everything that one run of the benchmark measured.

    Attributes:
        date: The day, in UTC.
        machine: What it ran on, and the load that it had before.
        versions: The versions of Python and of all who took part.
        measurements: In the order of the table of goals.
        quick: Whether too little was done for figures that mean anything.
    """

    date: str
    machine: dict[str, str]
    versions: dict[str, str]
    measurements: list[Measurement]
    quick: bool = False


def number(value: float) -> str:
    """Return a figure with three digits that count, or all of those before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
