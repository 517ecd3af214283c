"""Tells results: the table of goals, JSON, the chart, and the README's part.

    python -m benchmarks.report

writes the chart and the README's table anew from `results.json`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs
import cattrs

from . import chart
from .figures import OURS, Comparison, Goal, Interval, Measurement, Results, number
from .harness import PROJECT

FOLDER: Final = Path(__file__).parent
README: Final = PROJECT / "README.md"
BEGIN, END = "<!-- begin of what nox -s bench writes -->", "<!-- end of it -->"


def table(results: Results) -> str:
    """Return the table of goals and figures, in Markdown."""
    lines = ["| | work | ours | beside | goal | figure (95 % interval) | met |", "|" + " --- |" * 7]
    for one in results.measurements:
        what = f"{one.work}: {one.measure}"
        for cells in _rows(one):
            lines.append(f"| {one.row} | {what} | " + " | ".join(cells) + " |")
            what = "..."
    return "\n".join(lines)


def _rows(one: Measurement) -> Iterator[tuple[str, str, str, str, str]]:
    for comparison in one.comparisons:
        subject = number(Interval.of(one.series[comparison.subject]).value) + f" {one.unit}"
        if comparison.subject != OURS:
            subject += f", {comparison.subject}"
        beside = ""
        if comparison.against is not None:
            other = Interval.of(one.series[comparison.against]).value
            beside = f"{number(other)}, {comparison.against}"
        goal = comparison.goal
        met = {True: "yes", False: "**no**", None: ""}[comparison.met]
        yield subject, beside, _goal(goal, one, comparison), _figure(one, comparison), met
    for name, why in one.missing.items():
        yield "", name, "", f"not measured: {why}", ""


def _goal(goal: Goal | None, one: Measurement, comparison: Comparison) -> str:
    return "" if goal is None else f"{goal.bound} {_value(goal.value, one, comparison)}"


def _figure(one: Measurement, comparison: Comparison) -> str:
    if comparison.goal is None and comparison.kind == "itself":
        figure = comparison.figure
        return f"({number(figure.low)} to {number(figure.high)})"
    value, *ends = (
        _value(value, one, comparison)
        for value in (comparison.figure.value, comparison.figure.low, comparison.figure.high)
    )
    return f"{value} ({ends[0]} to {ends[1]})"


def _value(value: float, one: Measurement, comparison: Comparison) -> str:
    if comparison.kind != "ratio":
        sign = "+" if comparison.kind == "difference" and value > 0 else ""
        return f"{sign}{number(value)} {one.unit}"
    scale = comparison.goal.value if comparison.goal is not None else value
    return f"1/{1 / value:.1f}".removesuffix(".0") if scale <= 0.2 else f"{value:.2f}"


def remarks(results: Results) -> Iterator[str]:
    """Say which goals are missed, which figures are too close to tell, and who was not there."""
    if results.quick:
        yield "This was a quick run: its figures mean nothing."
    if float(results.machine["load"]) > 0.3:
        yield f"The machine had other work: its load was {results.machine['load']} before."
    judged = 0
    missed = []
    for one in results.measurements:
        for comparison in one.comparisons:
            if comparison.goal is None:
                continue
            judged += 1
            ends = {comparison.goal.is_met_by(v) for v in attrs.astuple(comparison.figure)[1:]}
            where = f"row {one.row}, {one.measure}"
            where += f" against {comparison.against}" if comparison.against else ""
            if not comparison.met:
                missed.append(where)
            if len(ends) == 2:
                yield f"Too close to be sure: the interval of {where} has the goal in it."
        for name, why in one.missing.items():
            yield f"Not measured: {name} in row {one.row}: {why}."
        if one.server_busy is not None and one.server_busy > 0.9:
            yield (
                f"Take row {one.row} with care: its server was busy for {one.server_busy:.0%} "
                "of the time in one run."
            )
    yield f"{judged - len(missed)} of {judged} goals are met."
    for where in missed:
        yield f"MISSED: {where}."


def save(results: Results, folder: Path) -> Results:
    """Write `results.json` and `results.svg`; return the results as they can be read again."""
    document = _rounded(attrs.asdict(results))
    (folder / "results.json").write_text(json.dumps(document, indent=1) + "\n")
    kept = cattrs.structure(document, Results)
    (folder / "results.svg").write_text(chart.draw(kept))
    return kept


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
    """Return the results that are kept in the repository."""
    return cattrs.structure(json.loads((FOLDER / "results.json").read_bytes()), Results)


def section(results: Results) -> str:
    """Return what stands in the README between the two marks."""
    machine, versions = results.machine, dict(results.versions)
    python = versions.pop("Python")
    taking_part = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"{table(results)}\n\n"
        f"Measured on {results.date} with Python {python} on {machine['system']}, "
        f"{machine['processor']}, {machine['cores']} cores, {machine['placing']}; "
        f"load before: {machine['load']}. {taking_part}."
    )


def write(results: Results) -> None:
    """Write the results beside this file, and their table into the README."""
    kept = save(results, FOLDER)
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(f"{before}{BEGIN}\n{section(kept)}\n{END}{after}")


if __name__ == "__main__":
    write(load())
