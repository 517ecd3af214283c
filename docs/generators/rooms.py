"""Draw the rooms of the package from its imports: `python -m docs.generators.rooms`.

A room is a file or folder at the top level of the package. Rooms that import each other, file by
file without a cycle, are drawn as one frame.
"""

import ast
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

ROOT: Final = Path(__file__).parents[2]
PACKAGE: Final = ROOT / "marketplace_async"
PICTURE: Final = ROOT / "docs" / "images" / "rooms.svg"

# Not rooms: the front page, which only forwards names, the entry point, and the version.
_LEFT_OUT: Final = {"__init__", "__main__", "_public", "_version"}

Graph = Mapping[str, Collection[str]]

# Units of the picture. The text stays readable when the picture is 360 pixels wide.
_WIDTH, _BOX, _HEIGHT, _GAP, _PER_ROW = 720, 158, 46, 44, 4
_FRAME_HEIGHT: Final = _HEIGHT + 50
# White on these fills, and this grey on white or on the dark page, have enough contrast.
FILL, FILL_OF_CORE, LINE, TEXT = "#3f51b5", "#00695c", "#7b8290", "#ffffff"


def room_graph(package: Path = PACKAGE) -> dict[str, set[str]]:
    """Return the rooms of the package, each with the rooms that it imports."""
    files = {
        _room_of(file.relative_to(package)): file for file in package.iterdir() if _is_code(file)
    }
    rooms = files.keys() - _LEFT_OUT
    graph: dict[str, set[str]] = {room: set() for room in sorted(rooms)}
    for room in graph:
        path = files[room]
        for file in [path] if path.is_file() else path.rglob("*.py"):
            graph[room] |= set(_imported(file, package)) & (rooms - {room})
    return graph


def _is_code(path: Path) -> bool:
    return path.suffix == ".py" or (path / "__init__.py").exists()


def _room_of(path: Path) -> str:
    return path.parts[0].removesuffix(".py")


def _imported(file: Path, package: Path) -> Iterator[str]:
    """Yield the rooms that a file imports, in functions and `TYPE_CHECKING` blocks as well."""
    folder = file.relative_to(package).parent.parts
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.ImportFrom(level=0, module=str(module)):
                names = [f"{module}.{alias.name}" for alias in node.names]
            case ast.ImportFrom():
                base = [package.name, *folder][: len(folder) + 2 - node.level]
                names = [
                    ".".join([*base, *filter(None, [node.module]), alias.name])
                    for alias in node.names
                ]
            case ast.Import():
                names = [alias.name for alias in node.names]
            case _:
                continue
        for name in names:
            top, *rest = name.split(".")
            if top == package.name and rest:
                yield rest[0]


def _reachable(graph: Graph, start: str) -> set[str]:
    found: set[str] = set()
    todo = [*graph[start]]
    while todo:
        room = todo.pop()
        if room not in found:
            found.add(room)
            todo += graph[room]
    return found


def _condensed(graph: Graph) -> dict[tuple[str, ...], set[tuple[str, ...]]]:
    """Return the graph of the groups of rooms that import each other."""
    below = {room: _reachable(graph, room) for room in graph}
    group_of = {
        room: (room, *sorted(other for other in below[room] - {room} if room in below[other]))
        for room in graph
    }
    group_of = {room: tuple(sorted(group)) for room, group in group_of.items()}
    condensed: dict[tuple[str, ...], set[tuple[str, ...]]] = {
        group: set() for group in group_of.values()
    }
    for room, others in graph.items():
        condensed[group_of[room]] |= {group_of[each] for each in others} - {group_of[room]}
    return condensed


def _without_shortcuts(
    graph: dict[tuple[str, ...], set[tuple[str, ...]]],
) -> dict[tuple[str, ...], set[tuple[str, ...]]]:
    """Leave out each import that follows from others."""

    def below(group: tuple[str, ...]) -> set[tuple[str, ...]]:
        return {*graph[group], *(each for other in graph[group] for each in below(other))}

    return {
        group: {each for each in others if not any(each in below(other) for other in others)}
        for group, others in graph.items()
    }


def _label(room: str, package: Path) -> str:
    return f"{room}/" if (package / room).is_dir() else f"{room}.py"


def _rows(graph: dict[tuple[str, ...], set[tuple[str, ...]]]) -> list[list[tuple[str, ...]]]:
    """Return the rows from the top: a room stands above everything that it imports."""
    heights: dict[tuple[str, ...], int] = {}

    def height(group: tuple[str, ...]) -> int:
        if group not in heights:
            heights[group] = 1 + max((height(each) for each in graph[group]), default=-1)
        return heights[group]

    imported = {each for others in graph.values() for each in others}
    # Rooms that no other imports stand below their neighbors, where they are in the way of no line.
    ranks = sorted({(height(group), group in imported) for group in graph}, reverse=True)
    above = {group: [each for each in graph if group in graph[each]] for group in graph}
    rows: list[list[tuple[str, ...]]] = []
    # From 0 at the left to 1 at the right.
    places: dict[tuple[str, ...], float] = {}
    for rank in ranks:
        row = [group for group in graph if (height(group), group in imported) == rank]

        row.sort(key=lambda group: (_mean([places[each] for each in above[group]]), group))
        for start in range(0, len(row), _PER_ROW):
            part = row[start : start + _PER_ROW]
            rows.append(part)
            places |= {group: (each + 0.5) / len(part) for each, group in enumerate(part)}
    return rows


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def draw(graph: Graph, package: Path = PACKAGE) -> str:
    """Return the picture of a graph of rooms, as SVG."""
    groups = _without_shortcuts(_condensed(graph))
    rows = _rows(groups)
    # The lowest group of several is the foundation: no lines lead to it, because all rooms use it.
    foundation = next((group for row in rows for group in row if len(group) > 1), None)
    boxes: list[str] = []
    lines: list[str] = []
    at: dict[tuple[str, ...], tuple[float, float]] = {}
    top = 10.0
    for row in rows:
        for number, group in enumerate(row):
            center = _WIDTH * (number + 0.5) / len(row)
            at[group] = (center, top)
            boxes += _frame(group, center, top, package)
        top += max(map(_height_of, row)) + _GAP
    for group, others in groups.items():
        for other in sorted(others - {foundation}):
            center, top_of_group = at[group]
            lines.append(_line((center, top_of_group + _height_of(group)), at[other]))
    height = round(top - _GAP + 10)
    sentences = "; ".join(
        f"{', '.join(group)} imports {', '.join(sorted(room for each in others for room in each))}"
        for group, others in sorted(groups.items())
        if others
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
            f'width="{_WIDTH}" height="{height}" role="img" '
            'font-family="Helvetica, Arial, DejaVu Sans, sans-serif" text-anchor="middle">',
            f"<title>The rooms of the package and their imports</title><desc>{sentences}</desc>",
            '<defs><marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
            'markerHeight="7" orient="auto">'
            f'<path d="M0 0L10 5L0 10z" fill="{LINE}"/></marker></defs>',
            *lines,
            *boxes,
            "</svg>\n",
        ]
    )


def _height_of(group: tuple[str, ...]) -> int:
    return _HEIGHT if len(group) == 1 else _FRAME_HEIGHT


def _frame(group: tuple[str, ...], center: float, top: float, package: Path) -> list[str]:
    if len(group) == 1:
        return [_box(_label(group[0], package), center, top, FILL)]
    width = _WIDTH - 20
    boxes = [
        f'<rect x="{center - width / 2:g}" y="{top:g}" width="{width}" height="{_FRAME_HEIGHT}" '
        f'rx="10" fill="none" stroke="{LINE}" stroke-width="2"/>'
    ]
    boxes.append(
        f'<text x="{center:g}" y="{top + 24:g}" font-size="17" fill="{LINE}">'
        "used by all rooms above</text>"
    )
    for number, room in enumerate(group):
        x = center - width / 2 + width * (number + 0.5) / len(group)
        boxes.append(_box(_label(room, package), x, top + 38, FILL_OF_CORE))
    return boxes


def _box(label: str, center: float, top: float, fill: str) -> str:
    return (
        f'<rect x="{center - _BOX / 2:g}" y="{top:g}" width="{_BOX}" height="{_HEIGHT}" rx="8" '
        f'fill="{fill}"/><text x="{center:g}" y="{top + 29:g}" font-size="18" fill="{TEXT}">'
        f"{escape(label)}</text>"
    )


def _line(start: tuple[float, float], end: tuple[float, float]) -> str:
    return (
        f'<line x1="{start[0]:g}" y1="{start[1]:g}" x2="{end[0]:g}" y2="{end[1]:g}" '
        f'stroke="{LINE}" stroke-width="2" marker-end="url(#arrow)"/>'
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(room_graph()))
