"""The documentation is complete and up to date. It is built by `nox -s docs`, not here."""

import re
import tomllib
from collections.abc import Iterator
from importlib import import_module

import pytest
from support.manual import BLOCK, COURSE, DOCS, PAGES
from support.paths import PROJECT

from docs.generators import reference
from marketplace_async import _public

GENERATED = reference.pages()
MODULES = ("accounts", "bulk", "emulator", "fleet", "observe", "otel", "testing", "webhooks")


@pytest.mark.parametrize("name", GENERATED)
def test_a_generated_page_is_up_to_date(name: str) -> None:
    assert (reference.FOLDER / name).read_text() == GENERATED[name], (
        "run `python -m docs.generators.reference`"
    )


def test_the_reference_has_every_public_name() -> None:
    documented = {
        name
        for text in GENERATED.values()
        for name in re.findall(r"^::: (\S+)", text, re.MULTILINE)
    }
    expected = {f"marketplace_async.{name}" for name in _public.__all__ if name != "__version__"}
    for module in MODULES:
        for name in import_module(f"marketplace_async.{module}").__all__:
            if not hasattr(_public, name):
                expected.add(f"marketplace_async.{module}.{name}")
    assert expected <= documented


def variables() -> Iterator[str]:
    for file in (PROJECT / "marketplace_async").rglob("*.py"):
        yield from re.findall(r"\b(?:MARKETPLACE|TWILIO)_[A-Z_]+[A-Z]\b", file.read_text())


def test_the_reference_has_every_environment_variable() -> None:
    page = (DOCS / "reference" / "environment.md").read_text()
    assert {*variables()} == set(re.findall(r"`((?:MARKETPLACE|TWILIO)_\w+)`", page))


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r": (\S+\.md)$", (PROJECT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert listed == {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}


def test_every_python_block_belongs_to_a_page_whose_blocks_are_run() -> None:
    run = {*PAGES, *COURSE, *(DOCS / "how-to").glob("*.md")}  # the latter by `tests/examples`
    for page in DOCS.rglob("*.md"):
        languages = {language for language, _ in BLOCK.findall(page.read_text())}
        assert page in run or not languages & {"python", "py"}, page


def test_every_transcript_belongs_to_the_manual() -> None:
    emulator = DOCS / "how-to" / "emulator.md"  # the output of a server, which does not end
    for page in {*DOCS.rglob("*.md")} - {*PAGES, *COURSE, emulator}:
        assert not re.search(r"^```console\n\$ ", page.read_text(), re.MULTILINE), page


def test_the_site_loads_nothing_from_elsewhere() -> None:
    assert "font: false" in (PROJECT / "mkdocs.yml").read_text()
    for page in DOCS.rglob("*.md"):
        assert not re.search(r"!\[[^\]]*\]\(https?:|<script|<img", page.read_text()), page


def test_the_group_for_contributors_has_the_extras_of_the_tests() -> None:
    document = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    extras = document["project"]["optional-dependencies"]
    development = document["dependency-groups"]["dev"]
    assert {*extras["cli"], *extras["emulator"]} <= {
        each for each in development if isinstance(each, str)
    }


def test_ci_runs_sessions_that_exist() -> None:
    workflow = (PROJECT / ".github" / "workflows" / "ci.yml").read_text()
    (listed,) = re.findall(r"session: \[(.+)\]", workflow)
    sessions = re.findall(
        r"^@nox\.session.*\n(?:@.*\n)*def (\w+)", (PROJECT / "noxfile.py").read_text(), re.MULTILINE
    )
    assert {*listed.split(", ")} <= {*sessions}
