"""Draws the results as an SVG of bar charts with marks for the goals."""

import textwrap
from collections.abc import Iterator, Sequence
from html import escape

from .results import OURS, Comparison, Interval, Measurement, Results, number

_WIDTH, _PANEL, _MARGIN = 960, 440, 24
_LABELS, _BARS, _BAR, _STEP = 172, 180, 14, 21
_OURS, _OTHERS, _INK, _FAINT = "#2563eb", "#a3aab5", "#1f2430", "#626b7a"
_MET, _MISSED = "#15803d", "#c2410c"
_FONT = "Helvetica, Arial, DejaVu Sans, sans-serif"


def draw(results: Results) -> str:
    """Return the SVG. Its white background is legible on light and dark pages."""
    panels = [one for one in results.measurements if any(c.goal for c in one.comparisons)]
    content: list[str] = []
    y = 64
    for index in range(0, len(panels), 2):
        row = panels[index : index + 2]
        for column, panel in enumerate(row):
            x = _MARGIN + column * (_PANEL + _WIDTH - 2 * _MARGIN - 2 * _PANEL)
            content += _panel(panel, x, y)
        y += max(_height(panel) for panel in row) + 22
    machine = results.machine
    footer = (
        f"{results.date}, Python {results.versions['Python']}, {machine['processor']}, "
        f"{machine['system']}; loopback, {machine['placement']}, load before: {machine['load']}"
    )
    title = "Benchmark results compared with other clients"
    legend = (
        "Bars show medians, whiskers 95 % intervals. Vertical marks show goals, compared round by "
        "round: green if met, red if missed."
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y + 24}" '
            f'viewBox="0 0 {_WIDTH} {y + 24}" font-family="{_FONT}" '
            f'role="img" aria-label="{title}">',
            f'<rect width="{_WIDTH}" height="{y + 24}" rx="10" fill="#ffffff"/>',
            _text(_MARGIN, 30, title, size=18, weight="bold"),
            _text(_MARGIN, 48, legend, size=12, fill=_FAINT),
            *content,
            _text(_MARGIN, y + 6, footer, size=11, fill=_FAINT),
            "</svg>\n",
        ]
    )


def _lines(panel: Measurement) -> list[str]:
    return textwrap.wrap(f"{panel.work}: {panel.measure}", 62)


def _height(panel: Measurement) -> int:
    return 18 * len(_lines(panel)) + 16 + _STEP * len(panel.series)


def _panel(panel: Measurement, x: int, y: int) -> Iterator[str]:
    for line in _lines(panel):
        yield _text(x, y + 13, line, size=13, weight="bold")
        y += 18
    yield _text(x, y + 9, f"{panel.unit}, {panel.better} is better", size=11, fill=_FAINT)
    y += 18
    intervals = {name: Interval.of(rounds) for name, rounds in panel.series.items()}
    goals = {name: _goals(panel.comparisons, name, intervals) for name in intervals}
    ends = [interval.high for interval in intervals.values()]
    ends += [goal for marks in goals.values() for goal, _ in marks]
    scale = _BARS / max(ends)
    subjects = {comparison.subject for comparison in panel.comparisons}
    for name, interval in intervals.items():
        middle = y + _BAR / 2
        fill = _OURS if name in subjects else _OTHERS
        left = x + _LABELS
        weight = "bold" if name == OURS else "normal"
        yield _text(left - 8, middle + 4, name, size=12, weight=weight, anchor="end")
        length = max(interval.value * scale, 1)
        yield f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{_BAR}" fill="{fill}"/>'
        low, high = left + interval.low * scale, left + interval.high * scale
        yield _line(low, middle, high, middle, _INK)
        for end in (low, high):
            yield _line(end, middle - 3, end, middle + 3, _INK)
        right = left + max(length, interval.high * scale)
        for goal, met in goals[name]:
            at = left + goal * scale
            right = max(right, at)
            yield _line(at, y - 4, at, y + _BAR + 4, _MET if met else _MISSED, 2.5)
        yield _text(right + 7, middle + 4, number(interval.value), size=12)
        if not all(met for _, met in goals[name]):
            after = right + 15 + 7 * len(number(interval.value))
            yield _text(after, middle + 4, "missed", size=11, fill=_MISSED)
        y += _STEP


def _goals(
    comparisons: Sequence[Comparison], subject: str, intervals: dict[str, Interval]
) -> list[tuple[float, bool]]:
    """Return the position of each goal of a series on the axis, and whether it is met."""
    goals = []
    for one in comparisons:
        if one.subject == subject and one.goal is not None:
            other = 0.0 if one.against is None else intervals[one.against].value
            at = other * one.goal.value if one.kind == "ratio" else other + one.goal.value
            goals.append((at, one.met is True))
    return goals


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int,
    fill: str = _INK,
    weight: str = "normal",
    anchor: str = "start",
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{fill}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, stroke: str, width: float = 1.0) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}" '
        f'stroke-width="{width}"/>'
    )
