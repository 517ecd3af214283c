"""Every Python block of `docs/how-to/testing.md` runs unchanged."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import PROJECT

from marketplace_async.emulator import Catalogue, Emulator

PAGE = (PROJECT / "docs" / "how-to" / "testing.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PYTHON = [block for language, block in BLOCKS if language == "python"]
NAMED = {block.split("\n")[0].removeprefix("# "): block for block in PYTHON if block[0] == "#"}


def test_the_pytest_examples_pass(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini(
        "[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error"
    )
    for name, block in NAMED.items():
        if name != "twilio_client.py":
            Path(name).write_text(block)
    arguments = ("-p", "pytest_asyncio.plugin", "-p", "no:cacheprovider")
    pytester.runpytest_subprocess(*arguments, timeout=60).assert_outcomes(passed=4)


def run(program: str, url: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"MARKETPLACE_BASE_URL": url, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_program_with_an_add_on_of_its_own_prints_what_is_wrong(served: Emulator) -> None:
    (program,) = (block for block in PYTHON if block not in NAMED.values())
    assert '"api_token" is a required property' in run(program, served.url)


def test_the_official_client_lists_the_catalogue(served: Emulator) -> None:
    pytest.importorskip("twilio")
    count = len([add_on for add_on in Catalogue.built_in() if add_on.visible])
    assert run(NAMED["twilio_client.py"], served.url) == f"{count}\n"


def test_the_catalogue_file_is_valid_and_its_error_is_the_real_one(tmp_path: Path) -> None:
    (block,) = (block for language, block in BLOCKS if language == "json")
    file = tmp_path / "catalogue.json"
    file.write_text(block)
    *_, mine = Catalogue.load(file)
    assert mine.unique_name == "my_add_on"
    document = json.loads(block)
    document["add_ons"][0]["sid"] = "XB1"
    file.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"catalogue\.json") as error:
        Catalogue.load(file)
    assert str(error.value).removeprefix(f"{tmp_path}/") in PAGE


def test_the_error_for_a_fault_without_a_route_is_the_real_one() -> None:
    with Emulator() as emulator, pytest.raises(ValueError, match="matches no route") as error:
        emulator.faults.add("GET", "/v1/InstaledAddOns", status=500)
    assert f"ValueError: {error.value}" in PAGE


def test_every_method_of_the_emulator_is_in_the_documentation() -> None:
    methods = {
        name
        for name, value in vars(Emulator).items()
        if callable(value) and not name.startswith("_") and name not in ("start", "stop")
    }
    assert methods == set(re.findall(r"^\| `(\w+)\(", PAGE, re.MULTILINE))
