"""Formats results as a table, JSON and a chart, and updates the documentation.

    python -m benchmarks.report

regenerates the chart, the table of all results and that of the README from `results.json`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs
import cattrs

from . import chart
from .harness import PROJECT
from .results import OURS, Comparison, Goal, Interval, Measurement, Results, number

FOLDER: Final = Path(__file__).parent
CHART: Final = PROJECT / "docs" / "images" / "results.svg"
PAGE: Final = PROJECT / "docs" / "explanation" / "performance.md"
README: Final = PROJECT / "README.md"
HEADLINES: Final = (1, 2, 5, 7)  # the rows that the README shows
OFFICIAL: Final = "twilio"
BEGIN, END = "<!-- begin benchmark results (nox -s bench) -->", "<!-- end benchmark results -->"


def table(results: Results) -> str:
    """Return the table of results and goals in Markdown."""
    lines = [
        "| | benchmark | ours | other | goal | result (95 % interval) | met |",
        "|" + " --- |" * 7,
    ]
    for one in results.measurements:
        what = f"{one.work}: {one.measure}"
        for cells in _rows(one):
            lines.append(f"| {one.row} | {what} | " + " | ".join(cells) + " |")
            what = "..."
    return "\n".join(lines)


def headlines(results: Results) -> str:
    """Return the README's table: this package beside Twilio's client."""
    lines = ["| measured | this package | Twilio's client |", "| --- | --- | --- |"]
    for one in results.measurements:
        if one.row in HEADLINES and {OURS, OFFICIAL} <= one.series.keys():
            ours, official = (
                f"{number(Interval.of(one.series[name]).value)} {one.unit}"
                for name in (OURS, OFFICIAL)
            )
            lines.append(f"| {one.work}: {one.measure} | {ours} | {official} |")
    return "\n".join(lines)


def _rows(one: Measurement) -> Iterator[tuple[str, str, str, str, str]]:
    for comparison in one.comparisons:
        subject = number(Interval.of(one.series[comparison.subject]).value) + f" {one.unit}"
        if comparison.subject != OURS:
            subject += f", {comparison.subject}"
        compared = ""
        if comparison.against is not None:
            other = Interval.of(one.series[comparison.against]).value
            compared = f"{number(other)}, {comparison.against}"
        goal = comparison.goal
        met = {True: "yes", False: "**no**", None: ""}[comparison.met]
        yield subject, compared, _goal(goal, one, comparison), _result(one, comparison), met
    for name, why in one.missing.items():
        yield "", name, "", f"not measured: {why}", ""


def _goal(goal: Goal | None, one: Measurement, comparison: Comparison) -> str:
    return "" if goal is None else f"{goal.bound} {_value(goal.value, one, comparison)}"


def _result(one: Measurement, comparison: Comparison) -> str:
    if comparison.goal is None and comparison.kind == "absolute":
        result = comparison.result
        return f"({number(result.low)} to {number(result.high)})"
    value, *ends = (
        _value(value, one, comparison)
        for value in (comparison.result.value, comparison.result.low, comparison.result.high)
    )
    return f"{value} ({ends[0]} to {ends[1]})"


def _value(value: float, one: Measurement, comparison: Comparison) -> str:
    if comparison.kind != "ratio":
        sign = "+" if comparison.kind == "difference" and value > 0 else ""
        return f"{sign}{number(value)} {one.unit}"
    scale = comparison.goal.value if comparison.goal is not None else value
    return f"1/{1 / value:.1f}".removesuffix(".0") if scale <= 0.2 else f"{value:.2f}"


def remarks(results: Results) -> Iterator[str]:
    """Yield remarks on missed goals, inconclusive results and missing measurements."""
    if results.quick:
        yield "This was a quick run: its results are meaningless."
    if float(results.machine["load"]) > 0.3:
        yield f"The machine was busy: its load before the run was {results.machine['load']}."
    goals = 0
    missed = []
    for one in results.measurements:
        for comparison in one.comparisons:
            if comparison.goal is None:
                continue
            goals += 1
            ends = {comparison.goal.is_met_by(v) for v in attrs.astuple(comparison.result)[1:]}
            where = f"row {one.row}, {one.measure}"
            where += f" against {comparison.against}" if comparison.against else ""
            if not comparison.met:
                missed.append(where)
            if len(ends) == 2:
                yield f"Inconclusive: the interval of {where} contains the goal."
        for name, why in one.missing.items():
            yield f"Not measured: {name} in row {one.row}: {why}."
        if one.server_busy is not None and one.server_busy > 0.9:
            yield (
                f"Row {one.row} may be limited by the server, which was busy for "
                f"{one.server_busy:.0%} of the time in one run."
            )
    yield f"{goals - len(missed)} of {goals} goals are met."
    for where in missed:
        yield f"MISSED: {where}."


def save(results: Results, folder: Path) -> Results:
    """Write `results.json` and `results.svg`. Return the results as saved, with rounded values."""
    document = _rounded(attrs.asdict(results))
    (folder / "results.json").write_text(json.dumps(document, indent=1) + "\n")
    saved = cattrs.structure(document, Results)
    (folder / "results.svg").write_text(chart.draw(saved))
    return saved


def _rounded(value: object) -> object:
    match value:
        case float():
            return float(f"{value:.5g}")
        case dict():
            return {key: _rounded(item) for key, item in value.items()}
        case list():
            return [_rounded(item) for item in value]
    return value


def load() -> Results:
    """Return the results saved in the repository."""
    return cattrs.structure(json.loads((FOLDER / "results.json").read_bytes()), Results)


def section(results: Results) -> str:
    """Return the text of the page on performance, between the BEGIN and END marks."""
    machine, versions = results.machine, dict(results.versions)
    python = versions.pop("Python")
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"{table(results)}\n\n"
        f"Measured on {results.date} with Python {python} on {machine['system']}, "
        f"{machine['processor']}, {machine['cores']} cores, {machine['placement']}; "
        f"load before: {machine['load']}. {packages}."
    )


def write(results: Results) -> None:
    """Save the results in this folder and update the documentation."""
    saved = save(results, FOLDER)
    (FOLDER / "results.svg").rename(CHART)
    for file, text in ((PAGE, section(saved)), (README, headlines(saved))):
        before, _, rest = file.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        file.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


if __name__ == "__main__":
    write(load())
