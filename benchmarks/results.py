"""The data model of the results: measurements, comparisons, goals and intervals."""

import random
import statistics
from collections.abc import Sequence
from typing import Final, Literal

import attrs

OURS: Final = "marketplace_async"


@attrs.frozen
class Interval:
    """The median of all rounds with its bootstrapped 95 % confidence interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, rounds: Sequence[float]) -> "Interval":
        generator = random.Random(0)  # seeded: equal rounds have equal intervals
        medians = sorted(
            statistics.median(generator.choices(rounds, k=len(rounds))) for _ in range(2000)
        )
        return cls(statistics.median(rounds), medians[49], medians[1949])


@attrs.frozen
class Goal:
    """A bound for a comparison."""

    bound: Literal["at least", "at most"]
    value: float

    def is_met_by(self, value: float) -> bool:
        return value >= self.value if self.bound == "at least" else value <= self.value


@attrs.frozen
class Comparison:
    """A comparison of two series, round by round, or of one series with a goal.

    Attributes:
        subject: The series to compare.
        against: The series to divide by or to subtract. None if there is none.
        kind: The kind of comparison.
        goal: The goal, if any.
        result: The result over all rounds.
    """

    subject: str
    against: str | None
    kind: Literal["ratio", "difference", "absolute"]
    goal: Goal | None
    result: Interval

    @property
    def met(self) -> bool | None:
        """Whether the median meets the goal. None without a goal."""
        return None if self.goal is None else self.goal.is_met_by(self.result.value)


@attrs.frozen(kw_only=True)
class Measurement:
    """One quantity, measured for several clients or servers.

    Attributes:
        row: The row in the table of results.
        work: The workload.
        measure: The measured quantity, such as CPU time.
        unit: The unit of the values.
        better: Whether more or less is better.
        series: The values of all rounds by name.
        comparisons: The comparisons of the series.
        server_busy: The highest CPU utilization of the server in any run, 0 to 1.
        missing: Why a series was not measured, by name.
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
    kind: Literal["ratio", "difference", "absolute"] = "ratio",
) -> list[Comparison]:
    """Return a list with the comparison, or an empty list if a series is missing."""
    if subject not in series or (against is not None and against not in series):
        return []
    values = series[subject]
    others = values if against is None else series[against]
    rounds = [
        {"ratio": one / other, "difference": one - other, "absolute": one}[kind]
        for one, other in zip(values, others, strict=True)
        if kind != "ratio" or other
    ]
    return [Comparison(subject, against, kind, goal, Interval.of(rounds))]


@attrs.frozen(kw_only=True)
class Results:
    """The results of one benchmark run.

    Attributes:
        date: The date in UTC.
        machine: The machine, and its load before the run.
        versions: The versions of Python and of the packages compared.
        measurements: The measurements in the order of the rows.
        quick: Whether this was a short test run without meaningful values.
    """

    date: str
    machine: dict[str, str]
    versions: dict[str, str]
    measurements: list[Measurement]
    quick: bool = False


def number(value: float) -> str:
    """Format a value with three significant digits, or without decimals from 100."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
