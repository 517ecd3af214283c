"""Configurations are checked against schemas from the network before they are sent."""

import subprocess
import sys
import time
from typing import Any

import pytest

from marketplace_async import (
    AvailableAddOn,
    ConfigurationError,
    ConfigurationIssue,
    SchemaError,
    configuration_errors,
)
from marketplace_async.testing import emulated

SPEECH_TO_TEXT = "XB85b56ed9ce713e0ac62342b901233193"


def issues(schema: Any, configuration: Any) -> tuple[ConfigurationIssue, ...]:
    return configuration_errors(
        AvailableAddOn(sid="XB1", configuration_schema=schema), configuration
    )


def test_every_violation_is_found_with_its_path() -> None:
    schema = {
        "type": "object",
        "required": ["a"],
        "properties": {"b": {"type": "string"}, "c": {"items": {"type": "integer"}}},
    }
    found = issues(schema, {"b": 5, "c": [1, "x"]})
    assert {(issue.path, issue.message) for issue in found} == {
        ("", '"a" is a required property'),
        ("b", '5 is not of type "string"'),
        ("c/1", '"x" is not of type "integer"'),
    }
    assert issues(schema, {"a": 1, "b": "x"}) == ()
    assert issues(None, {"whatever": 1}) == ()


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"properties": {"a": {"$ref": "file:///etc/passwd"}}},
        {"type": 5},
        {"properties": {"a": {"pattern": "("}}},
    ],
)
def test_a_schema_with_a_remote_reference_or_an_error_is_refused_immediately(schema: Any) -> None:
    started = time.perf_counter()
    with pytest.raises(SchemaError, match="the configuration schema of XB1: "):
        issues(schema, {"a": "x"})
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize("pattern", ["^(a+)+$", r"^(?=(a+)+b)(a+)+\1$", "^(a|a)*$"])
def test_a_catastrophic_pattern_does_not_block(pattern: str) -> None:
    started = time.perf_counter()
    issues({"properties": {"a": {"pattern": pattern}}}, {"a": "a" * 5000 + "!"})
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize("configuration", [[], "x", {"a": {1}}, {"a": float("nan")}])
def test_a_configuration_must_be_plain_json(configuration: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="configuration"):
        issues({"type": "object"}, configuration)


async def test_create_and_ensure_check_the_configuration_on_request() -> None:
    async with emulated() as (client, emulator):
        wrong = {"callback_url": 5, "callback_method": "PUT"}
        for operation in (client.installed_add_ons.create, client.installed_add_ons.ensure):
            with pytest.raises(ConfigurationError, match="callback_url: 5 is not of type") as error:
                await operation(
                    available_add_on_sid=SPEECH_TO_TEXT,
                    accept_terms_of_service=True,
                    configuration=wrong,
                    unique_name="x",
                    check_schema=True,
                )
            assert isinstance(error.value, ValueError)
            assert {issue.path for issue in error.value.issues} == wrong.keys()
        assert {entry.method for entry in emulator.log} == {"GET"}
        await client.installed_add_ons.ensure(
            available_add_on_sid=SPEECH_TO_TEXT,
            accept_terms_of_service=True,
            configuration={"callback_method": "POST"},
            unique_name="x",
            check_schema=True,
        )


def test_the_missing_extra_is_named() -> None:
    program = (
        "import sys; sys.modules['jsonschema_rs'] = None\n"
        "from marketplace_async import *\n"
        "add_on = AvailableAddOn(sid='XB1', configuration_schema={})\n"
        "try: configuration_errors(add_on, {})\n"
        "except MissingExtraError as error: print(error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    sentence = "checking a configuration needs an extra: install marketplace_async[schema]\n"
    assert run.stdout == sentence
