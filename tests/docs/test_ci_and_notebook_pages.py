"""The workflows, the cells of the notebook and the Lambda function on the pages run as they are."""

import ast
import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.manual import BLOCK, DOCS
from support.paths import PROJECT
from support.raw_servers import free_port

from marketplace_async.emulator import Emulator
from marketplace_async.testing import account

CI = BLOCK.findall((DOCS / "how-to" / "testing-in-ci.md").read_text())
CELLS = [
    text
    for language, text in BLOCK.findall((DOCS / "how-to" / "notebook.md").read_text())
    if language == "py"
]
LAMBDA = (DOCS / "how-to" / "lambda.md").read_text()
PYTHON, OTHER = (yaml.safe_load(text) for language, text in CI if language == "yaml")
(CONFTEST,) = (text for language, text in CI if language == "python")
TEST = """
import pytest

@pytest.mark.asyncio
async def test_it(marketplace_client, marketplace_emulator):
    marketplace_emulator.faults.add("GET", "*", status=503, times=3)
    assert await marketplace_client.installed_add_ons.list().collect() == []
"""
RUN_TESTS = f"""\
#!{sys.executable}
import asyncio
from marketplace_async import MarketplaceClient

async def main():
    async with MarketplaceClient.from_env() as client:
        print([one.unique_name async for one in client.installed_add_ons.list()])

asyncio.run(main())
"""


def commands(workflow: dict[str, Any]) -> list[str]:
    """Return the steps of a workflow that a runner has when nothing has failed."""
    steps = workflow["jobs"]["tests"]["steps"]
    return [step["run"] for step in steps if "run" in step and "if" not in step]


@contextmanager
def runner(folder: Path, workflow: dict[str, Any], port: int) -> Iterator[str]:
    """Run the steps as GitHub does, with `bash -e`. Yields what they print."""
    inherited = {name: value for name, value in os.environ.items() if "TWILIO" not in name}
    environment = {**inherited, **workflow["jobs"]["tests"]["env"], "PYTHONPATH": str(PROJECT)}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    script = "\n".join(step for step in commands(workflow) if not step.startswith("pip install"))
    process = subprocess.Popen(
        ["bash", "-e", "-c", script.replace("8912", str(port))],
        env={name: str(value).replace("8912", str(port)) for name, value in environment.items()},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output
        yield output
    finally:
        # The emulator still runs in the background, in the process group of the shell.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)


def test_the_workflow_in_python_runs_the_tests(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(TEST)
    with runner(tmp_path, PYTHON, 0) as output:
        assert "1 passed" in output


def test_without_the_emulator_a_test_of_the_workflow_reaches_nothing(tmp_path: Path) -> None:
    (tmp_path / "run-tests").write_text(RUN_TESTS)
    finished = subprocess.run(
        [sys.executable, "run-tests"],
        env={
            **os.environ,
            **PYTHON["jobs"]["tests"]["env"],
            "TWILIO_ACCOUNT_SID": account().account_sid,
            "TWILIO_AUTH_TOKEN": "made-up",
            "PYTHONPATH": str(PROJECT),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "cannot connect to 127.0.0.1:9:" in finished.stderr


def test_the_workflow_for_other_languages_starts_and_prepares_the_emulator(tmp_path: Path) -> None:
    tests = tmp_path / "run-tests"
    tests.write_text(RUN_TESTS)
    tests.chmod(0o755)
    with runner(tmp_path, OTHER, free_port()) as output:
        assert "['nomorobo_spamscore']" in output
        assert "POST    /_emulator" not in (tmp_path / "emulator.log").read_text()


def test_every_workflow_has_a_time_limit_and_no_secret() -> None:
    for workflow in (PYTHON, OTHER):
        (job,) = workflow["jobs"].values()
        assert job["timeout-minutes"] <= 10
        assert "secrets." not in str(workflow)
        assert workflow["permissions"] == {"contents": "read"}


async def test_the_cells_of_the_notebook_run_in_one_event_loop(
    served: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """IPython compiles cells with this flag, and awaits them in the loop of the kernel."""
    monkeypatch.setenv("MARKETPLACE_BASE_URL", served.url)
    monkeypatch.setenv("TWILIO_ACCOUNT_SID", account().account_sid)
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "made-up")
    names: dict[str, Any] = {}
    shown = [await run(cell, names) for cell in CELLS]
    assert [add_on.friendly_name for add_on in names["add_ons"]] in shown
    assert shown[3] == names["add_ons"][0].friendly_name
    assert len(names["outcomes"]) == 5
    assert all(outcome.ok for outcome in names["outcomes"])
    assert shown[5] == 1  # an installation in the emulator of the notebook


async def run(cell: str, names: dict[str, Any]) -> object:
    """Run a cell and return the value of its last expression, which a notebook shows."""
    flag = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    *statements, last = ast.parse(cell).body
    if not isinstance(last, ast.Expr):
        statements.append(last)
    module = ast.Module(statements, [])
    value = eval(compile(module, "cell", "exec", flags=flag), names)
    if asyncio.iscoroutine(value):
        await value
    if not isinstance(last, ast.Expr):
        return None
    value = eval(compile(ast.Expression(last.value), "cell", "eval", flags=flag), names)
    return await value if asyncio.iscoroutine(value) else value


def test_the_lambda_page_shows_what_two_invocations_return(served: Emulator) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```", LAMBDA, re.MULTILINE | re.DOTALL)
    (expected,) = re.findall(r"^```\n(\{.*?)^```", LAMBDA, re.MULTILINE | re.DOTALL)
    finished = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program],
        env={
            "MARKETPLACE_BASE_URL": served.url,
            "TWILIO_ACCOUNT_SID": account().account_sid,
            "TWILIO_AUTH_TOKEN": "made-up",
            "PYTHONPATH": str(PROJECT),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (finished.stdout, finished.stderr) == (expected, "")
