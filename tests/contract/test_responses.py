"""Everything that Twilio's OpenAPI description allows as a response is read."""

import json
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from hypothesis_jsonschema import from_schema
from support.paths import DESCRIPTION, NO_DESCRIPTION
from support.responses import CLASSES, assert_read

from marketplace_async import Request, Response
from marketplace_async._core.codec import to

REQUEST = Request("GET", "/v1/X")
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
EXAMPLES = int(os.environ.get("MARKETPLACE_EXAMPLES", "25"))

# These must be in a response: nothing can be done without them.
REQUIRED = {
    *("available_add_ons", "extensions", "installed_add_ons", "listings"),
    "sid",
}


Schema = dict[str, Any]


@pytest.fixture(autouse=True)
def exchange() -> None:
    """Run once: these tests send nothing."""


plain_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def documents(schema: Schema, definitions: Schema) -> st.SearchStrategy[Any]:
    """Return all documents that a schema of OpenAPI 3.0 allows, with any subset of properties."""
    if "$ref" in schema:
        return documents(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    found: st.SearchStrategy[Any]
    if "properties" in schema:
        # An item of a usage report is known by its place.
        needed = set() if "quantity" in schema["properties"] else REQUIRED
        required, optional = {}, {}
        for name, part in schema["properties"].items():
            if name in needed:
                required[name] = documents({**part, "nullable": False}, definitions)
            else:
                optional[name] = documents(part, definitions)
        found = st.fixed_dictionaries(required, optional=optional)
    elif schema["type"] == "object":
        found = st.dictionaries(st.text(), plain_json, max_size=4)
    elif schema["type"] == "array":
        found = st.lists(documents(schema["items"], definitions), max_size=3)
    else:
        # The formats of URLs and integers do not matter: any text is read.
        formats = {"format": "date-time"} if schema.get("format") == "date-time" else {}
        keys = ("type", "pattern", "minLength", "maxLength")
        found = from_schema({key: schema[key] for key in keys if key in schema} | formats)
    return found | st.none() if schema.get("nullable") else found


def responses() -> dict[str, st.SearchStrategy[Any]]:
    """Return the documents of every successful response that has a body."""
    description = json.loads(DESCRIPTION.read_text())
    definitions = description["components"]["schemas"]
    found = {}
    for path, item in description["paths"].items():
        for method in item.keys() & {"get", "post", "delete"}:
            for status, response in item[method]["responses"].items():
                content = response.get("content", {}).get("application/json")
                if status.startswith("2") and content:
                    found[f"{method} {path} {status}"] = documents(content["schema"], definitions)
    return found


if DESCRIPTION.is_file():
    RESPONSES = responses()

    def test_every_response_of_the_description_is_tested() -> None:
        assert CLASSES.keys() == RESPONSES.keys()

    @pytest.mark.parametrize("operation", CLASSES)
    def test_every_response_that_the_description_allows_is_read(operation: str) -> None:
        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=SLOW)
        @given(RESPONSES[operation])
        def read(document: dict[str, Any]) -> None:
            response = Response(200, {}, json.dumps(document).encode())
            assert_read(to(CLASSES[operation])(REQUEST, response), document)

        read()

else:

    @pytest.mark.skip(reason=NO_DESCRIPTION)
    def test_every_response_that_is_allowed_is_read() -> None: ...
