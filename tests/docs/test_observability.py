"""The recipes for logs, traces and metrics run unchanged, with the real libraries."""

import json
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest
from support.paths import PROJECT
from support.programs import environ

from marketplace_async.emulator import Emulator

PAGE = (PROJECT / "docs" / "how-to" / "observability.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def run(library: str, emulator: Emulator) -> tuple[str, str]:
    """Run the program that uses a library. Return what it prints."""
    if find_spec(library.partition(".")[0]) is None or find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    (program,) = (
        each for each in PROGRAMS if f"import {library}" in each or f"from {library}" in each
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environ(emulator.url),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_there_is_a_recipe_for_each_library() -> None:
    assert len(PROGRAMS) == 3


def test_structlog_renders_the_fields(served: Emulator) -> None:
    output, errors = run("structlog", served)
    assert output == "not installed\n"
    lines = [json.loads(line) for line in errors.splitlines()]
    (line,) = [line for line in lines if line.get("operation")]
    (entry,) = served.log
    assert (line["operation"], line["status"]) == ("installed_add_ons.fetch", 404)
    assert (line["account"], line["attempt"]) == (entry.account_sid, 1)
    assert (line["request_id"], line["level"]) == (entry.request_id, "debug")
    assert line["event"].startswith("installed_add_ons.fetch: GET /v1/InstalledAddOns/XE0000")


def test_opentelemetry_exports_the_spans_and_metrics_that_the_page_shows(served: Emulator) -> None:
    output, _ = run("opentelemetry.sdk", served)
    for name in re.findall(
        r"^\| `((?:http|marketplace)\.client\.[a-z_.]+)` \|", PAGE, re.MULTILINE
    ):
        shown = f'"name": "{name}"' in output
        # Nothing was retried or throttled, or had to wait.
        assert shown or name.removeprefix("marketplace.client.") in (
            "retries",
            "throttled",
            "permit.wait",
        )
    (tree,) = re.findall(
        r"^```\n(installed_add_ons\.ensure\n.*?)^```", PAGE, re.MULTILINE | re.DOTALL
    )
    for line in tree.splitlines():
        assert f'"name": "{line.strip("│├└─ ")}"' in output


def test_prometheus_shows_every_metric_of_the_recipe(served: Emulator) -> None:
    output, _ = run("prometheus_client", served)
    labels = 'operation="available_add_ons.list",result="ok"'
    assert f"twilio_marketplace_attempt_seconds_count{{{labels}}} 1.0" in output
    assert "twilio_marketplace_in_flight 0.0" in output
    assert "twilio_marketplace_permit_wait_seconds_count 1.0" in output
