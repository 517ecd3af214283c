"""The picture of the rooms is drawn from the imports, and is readable on light and dark pages."""

import re
from pathlib import Path

import pytest
from support.paths import PROJECT

from docs.generators import rooms

GRAPH = rooms.room_graph()


def test_the_committed_picture_is_up_to_date() -> None:
    assert rooms.draw(GRAPH) == rooms.PICTURE.read_text(), "run `python -m docs.generators.rooms`"


def test_the_picture_and_the_page_have_every_room() -> None:
    left_out = {"_public.py", "_version.py", "__init__.py", "__main__.py"}
    package = PROJECT / "marketplace_async"
    folders = {f"{each.parent.name}/" for each in package.glob("*/__init__.py")}
    expected = (folders | {each.name for each in package.glob("*.py")}) - left_out
    labels = set(re.findall(r">([\w./]+)</text>", rooms.draw(GRAPH)))
    assert labels == expected
    page = (PROJECT / "docs" / "explanation" / "architecture.md").read_text()
    assert labels == {
        room
        for row in re.findall(r"^\| (`.+?) \|", page, re.MULTILINE)
        for room in re.findall(r"`(.+?)`", row)
    }


def test_all_rooms_above_the_frame_import_one_that_is_in_it() -> None:
    """The picture has no lines for these imports: the frame says so."""
    frame = {"_core", "credentials", "errors", "retry"}
    assert all(others & frame for room, others in GRAPH.items() if room != "observe")
    assert not GRAPH["observe"]


def test_an_import_is_a_line_unless_it_follows_from_others() -> None:
    def lines(graph: rooms.Graph) -> int:
        return rooms.draw(graph).count("<line")

    assert lines({"a": {"b"}, "b": set()}) == 1
    assert lines({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == 2
    assert lines({"a": {"b", "c"}, "b": set(), "c": set()}) == 2
    # Rooms that import each other stand in one frame, which all rooms above use.
    assert lines({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == 0


@pytest.mark.parametrize(
    "statement",
    [
        "from .. import low",
        "from ..low import name",
        "from ..low.deep import name",
        "import package.low.deep",
        "from package import low",
        "from package.low import name",
        "def function():\n    from ..low import name",
        "if TYPE_CHECKING:\n    from ..low import name",
    ],
)
def test_every_way_to_import_is_seen(statement: str, tmp_path: Path) -> None:
    package = tmp_path / "package"
    for name in ("high", "low"):
        (package / name).mkdir(parents=True)
        (package / name / "__init__.py").touch()
    (package / "high" / "file.py").write_text(statement)
    (package / "high" / "other.py").write_text("from . import file\nfrom os import path")
    assert rooms.room_graph(package) == {"high": {"low"}, "low": set()}


def luminance(color: str) -> float:
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_the_picture_has_enough_contrast_on_a_light_and_a_dark_page() -> None:
    for fill in (rooms.FILL, rooms.FILL_OF_CORE):
        assert contrast(rooms.TEXT, fill) >= 4.5
    for page in ("#ffffff", "#1e2129"):  # those of the theme
        assert contrast(rooms.LINE, page) >= 3
    colors = {rooms.TEXT, rooms.FILL, rooms.FILL_OF_CORE, rooms.LINE}
    assert set(re.findall(r"#\w{6}\b", rooms.draw(GRAPH))) <= colors
