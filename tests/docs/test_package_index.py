"""The README as a package index shows it: rendered, with links that lead somewhere."""

import re
import subprocess
import sys
import tomllib
from html.parser import HTMLParser

import pytest
from readme_renderer import markdown
from support.paths import PROJECT

REPOSITORY = "https://github.com/marketplace-async/marketplace_async/blob/main/"
RAW = "https://raw.githubusercontent.com/marketplace-async/marketplace_async/main/"


@pytest.fixture(scope="module")
def page() -> str:
    """The README as it is in the metadata of the package, as HTML."""
    text = subprocess.run(
        [sys.executable, "-m", "hatch_fancy_pypi_readme"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    rendered = markdown.render(text)
    assert rendered is not None
    return rendered


class Targets(HTMLParser):
    """Collects where links lead and pictures come from."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.pictures: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "a":
            self.links.append(values.get("href") or "")
        if tag == "img":
            self.pictures.append(values.get("src") or "")


def test_every_link_is_absolute_and_leads_to_a_file_that_exists(page: str) -> None:
    targets = Targets(page)
    assert len(targets.links) > 20
    for link in targets.links:
        if link.startswith("#user-content-"):  # of a heading to itself
            continue
        assert link.startswith("https://"), link
        if link.startswith(REPOSITORY):
            path, _, _ = link.removeprefix(REPOSITORY).partition("#")
            assert (PROJECT / path).is_file(), link


def test_the_picture_is_absolute_and_exists(page: str) -> None:
    (picture,) = Targets(page).pictures
    assert (PROJECT / picture.removeprefix(RAW)).is_file()


def test_tables_and_code_are_rendered(page: str) -> None:
    readme = (PROJECT / "README.md").read_text()
    tables = len(re.findall(r"^\|(?: ?-+ ?\|)+$", readme, re.MULTILINE))
    assert page.count("<table>") == tables
    assert page.count("<pre") == len(re.findall(r"^```\w+$", readme, re.MULTILINE))
    assert "```" not in page
    assert "| ---" not in page


def test_the_links_of_the_project_lead_to_the_repository_of_the_readme() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    root = REPOSITORY.removesuffix("/blob/main/")
    assert all(url.startswith(root) for url in project["urls"].values())
    assert {"Documentation", "Source", "Issues", "Changelog"} <= project["urls"].keys()
