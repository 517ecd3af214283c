"""The workflow of docs/how-to/ci.md: its steps run as GitHub runs them, with `bash -e`."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.paths import PROJECT
from support.shops import TOKEN, Shops, shops_of
from support.terminal import PROGRAM

from marketplace_async.emulator import Emulator

FILE = PROJECT / "examples" / "fleet_workflow.yml"
# The steps call gh, the client of GitHub. This one keeps comments and artifacts in a folder.
GH = """#!/bin/bash -e
echo "$*" >> "$SITE/calls"
case "$1 $2" in
  "pr comment") cp "$5" "$SITE/comment.md" ;;
  "run list") [ "$6" = "$HEAD_SHA" ] && cat "$SITE/run" ;;
  "api repos/"*) ls "$SITE/artifacts" | wc -l ;;
  "run download") cp "$SITE/artifacts/plan.jsonl" . ;;
  *) exit 9 ;;
esac
"""


class Workflow:
    """A checkout in which the steps of the workflow run."""

    def __init__(self, shops: Shops, folder: Path) -> None:
        self.shops = shops
        self.site = folder / "site"
        (self.site / "artifacts").mkdir(parents=True)
        (self.site / "run").write_text("42\n")
        programs = folder / "bin"
        programs.mkdir()
        command = " ".join(f"'{part}'" for part in PROGRAM)
        for name, text in (
            ("gh", GH),
            ("marketplace-async", f'#!/bin/bash\nexec {command} "$@"\n'),
        ):
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        self.outputs = folder / "outputs"
        self.outputs.touch()
        self.env = {
            **shops.env,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "SITE": str(self.site),
            "GITHUB_OUTPUT": str(self.outputs),
            "MARKETPLACE_PLAN_KEY": "k" * 32,
            "HEAD_SHA": "abc",
            "GH_REPO": "octo/fleet",
            "PULL_REQUEST": "7",
        }
        self.jobs: dict[str, Any] = yaml.safe_load(FILE.read_text())["jobs"]

    def run(self, job: str, name: str) -> "subprocess.CompletedProcess[str]":
        (step,) = (one for one in self.jobs[job]["steps"] if one.get("name") == name)
        script = self.site / "step.sh"
        script.write_text(step["run"])
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            env=self.env,
            cwd=self.shops.desired.parent,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )

    def output(self) -> str:
        """Return the last output of a step."""
        return self.outputs.read_text().splitlines()[-1]

    @property
    def folder(self) -> Path:
        return self.shops.desired.parent


@pytest.fixture
def workflow(tmp_path: Path) -> Iterator[Workflow]:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    with Emulator() as emulator:
        yield Workflow(shops_of(emulator, checkout), tmp_path)


def test_the_workflow_has_the_events_and_rights_that_it_needs() -> None:
    document = yaml.safe_load(FILE.read_text())
    # YAML 1.1 reads the key "on" as true.
    assert "closed" in document[True]["pull_request"]["types"]
    assert document["jobs"]["plan"]["permissions"]["pull-requests"] == "write"
    assert "merged" in document["jobs"]["apply"]["if"]
    # What an attacker can write, such as a branch name, is in no script.
    for job in document["jobs"].values():
        for step in job["steps"]:
            assert "${{" not in step.get("run", "")


def test_a_pull_request_with_changes_is_planned_commented_and_applied(workflow: Workflow) -> None:
    planned = workflow.run("plan", "Plan")
    assert planned.returncode == 0, planned.stderr
    assert workflow.output() == "changes=true"
    assert workflow.run("plan", "Comment").returncode == 0
    comment = (workflow.site / "comment.md").read_text()
    assert "## Plan: 231 steps to do on 61 of 61 accounts" in comment
    assert TOKEN not in comment
    os.rename(workflow.folder / "plan.jsonl", workflow.site / "artifacts" / "plan.jsonl")

    fetched = workflow.run("apply", "Fetch the plan")
    assert fetched.returncode == 0, fetched.stderr
    assert workflow.output() == "changes=true"
    applied = workflow.run("apply", "Apply")
    assert applied.returncode == 0, applied.stderr
    assert (workflow.folder / "fleet.journal").exists()

    # The next pull request changes nothing.
    again = workflow.run("plan", "Plan")
    assert again.returncode == 0, again.stderr
    assert workflow.output() == "changes=false"
    assert "nothing to do on 61 accounts" in (workflow.folder / "plan.md").read_text()
    (workflow.site / "artifacts" / "plan.jsonl").unlink()
    assert workflow.run("apply", "Fetch the plan").returncode == 0
    assert workflow.output() == "changes=false"


def test_a_plan_that_fails_fails_the_step_and_is_commented(workflow: Workflow) -> None:
    workflow.shops.emulator.faults.add("GET", "/v1/InstalledAddOns", status=403, times=1)
    planned = workflow.run("plan", "Plan")
    assert planned.returncode == 3, planned.stderr
    assert workflow.outputs.read_text() == ""
    assert workflow.run("plan", "Comment").returncode == 0
    comment = (workflow.site / "comment.md").read_text()
    assert "1 account could not be planned" in comment
    assert "403" in comment

    workflow.shops.desired.write_text("[[add_ons]]\n")
    assert workflow.run("plan", "Plan").returncode == 2


def test_a_pull_request_without_a_plan_is_not_applied(workflow: Workflow) -> None:
    (workflow.site / "run").write_text("")
    fetched = workflow.run("apply", "Fetch the plan")
    assert fetched.returncode == 1
    assert "has no successful plan" in fetched.stderr
