"""Every Python block of the pages under `docs/how-to` is a program that runs unchanged."""

import re

import pytest
from support.manual import PAGES as MANUAL_PAGES
from support.paths import PROJECT
from support.services import output_of

from marketplace_async.emulator import Emulator

# `tests/docs/test_readme.py` runs the programs of the manual.
PAGES = sorted({*(PROJECT / "docs" / "how-to").glob("*.md")} - {*MANUAL_PAGES})
PROGRAMS = [
    pytest.param(program, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, program in enumerate(
        re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL), 1
    )
]
OPTIONAL = ("fastapi", "orjson", "pandas", "polars")


@pytest.mark.parametrize("program", PROGRAMS)
async def test_each_program_runs(program: str, marketplace_emulator: Emulator) -> None:
    for name in OPTIONAL:
        if re.search(rf"^(?:import|from) {name}\b", program, re.MULTILINE):
            pytest.importorskip(name, reason="the recipe uses it")
    output = await output_of("-c", program, base_url=marketplace_emulator.url)
    assert output or "print(" not in program


async def test_the_programs_print_what_the_pages_say(marketplace_emulator: Emulator) -> None:
    async def output(part: str) -> str:
        (program,) = (each.values[0] for each in PROGRAMS if part in str(each.values[0]))
        return await output_of("-c", str(program), base_url=marketplace_emulator.url)

    assert "XB06d5274893cc9af4198667d2f7d74d09" in await output("properties=True")
    assert await output("partial.unreadable") == (
        "InstalledAddOnExtension: enabled: expected true or false, got text; "
        "unique_name: expected text, got a number\n"
        "['friendly_name', 'installed_add_on_sid', 'product_name', 'unique_name', 'url']\n"
    )
    assert '"error":{"type":"TimeoutError","message":"too late"}' in await output("bulk.Failure")
    assert b'"date_created":1577836800' in (await output("seconds = make")).encode()


def test_links_between_the_pages_lead_somewhere() -> None:
    for page in [PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
